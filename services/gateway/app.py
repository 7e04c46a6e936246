"""The one door: routes for people, scripts and macros. Passes images through, looks into none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.responses import FileResponse, PlainTextResponse

from micserve import __version__
from micserve.errors import NotFoundError
from micserve.families import FAMILIES
from micserve.registry import ModelVersion, Registry
from micserve.serving import metrics as exposition
from micserve.serving import problems
from micserve.serving.answers import HeadAsGet, disposition
from micserve.serving.logs import RequestLog
from micserve.serving.problems import problem_responses
from micserve.serving.schema import predict_openapi
from services.gateway import negotiation, reports
from services.gateway.accounts.door import Door
from services.gateway.accounts.login import add_login
from services.gateway.catalogue import Listing, ModelDetail, VersionView, version_view
from services.gateway.data.routes import add_data
from services.gateway.estimate import add_estimate
from services.gateway.fiji import add_fiji
from services.gateway.jobs.families import add_families
from services.gateway.jobs.routes import add_jobs
from services.gateway.metrics import CountRequests, GatewayMetrics
from services.gateway.openapi import answers, describe
from services.gateway.page.site import add_pages
from services.gateway.parcels import TSV, predict_listed
from services.gateway.parts import Accept, Here, Parts, open_parts
from services.gateway.promotions import add_promotions
from services.gateway.quality_routes import add_quality
from services.gateway.settings import GatewaySettings
from services.gateway.training_tables import add_training_tables

DESCRIPTION = (
    "Send an image to a model and get the result back; compare a result with ground truth. "
    "Every error is a problem document (RFC 9457) with one sentence in `detail`."
)


def create_app(
    settings: GatewaySettings | None = None, *, registry: Registry | None = None
) -> FastAPI:
    """The gateway as an ASGI app."""
    settings = settings or GatewaySettings()
    metrics = GatewayMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = app.state.parts = open_parts(settings, registry, metrics)
        parts.jobs.start()
        try:
            yield
        finally:
            await asyncio.to_thread(parts.jobs.close)
            parts.accounts.store.close()
            await parts.upstreams.close()
            parts.reports_begun.close()
            parts.quality.close()
            parts.parcels.close()
            parts.scratch.close()

    app = FastAPIOffline(
        redoc_url=None,
        title="micserve",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.add_middleware(Door)
    app.add_middleware(CountRequests, metrics=metrics)
    app.add_middleware(HeadAsGet)
    problems.install(app)
    app.add_middleware(RequestLog)
    _add_listings(app)
    _add_files(app)
    _add_work(app)
    add_promotions(app)
    add_quality(app)
    _add_probes(app, metrics)
    add_data(app)
    add_families(app)
    add_jobs(app)
    add_estimate(app)
    add_login(app, settings)
    add_pages(app)
    add_fiji(app)
    add_training_tables(app)
    describe(app, accounts_on=settings.accounts_on)
    return app


def _add_listings(app: FastAPI) -> None:
    @app.get("/v1/models", summary="All models", responses=problem_responses(503))
    async def models(here: Here) -> Listing:
        return await asyncio.to_thread(here.catalogue.listing)

    @app.get(
        "/v1/models.tsv",
        summary="All models as tab-separated text, for macros",
        response_class=Response,
        responses=answers(TSV) | problem_responses(503),
    )
    async def models_table(here: Here) -> Response:
        text = await asyncio.to_thread(here.catalogue.tsv)
        return Response(text, media_type=TSV)

    @app.get(
        "/v1/models/{name}",
        summary="One model with all its versions",
        responses=problem_responses(404, 422, 503),
    )
    async def model(name: str, here: Here) -> ModelDetail:
        return await asyncio.to_thread(here.catalogue.detail, name)

    @app.get(
        "/v1/models/{name}/versions/{version}",
        summary="One version, by number or alias, and the parameters that it takes",
        responses=problem_responses(404, 422, 503),
    )
    async def version_of(name: str, version: str, here: Here) -> VersionView:
        return version_view(await asyncio.to_thread(here.catalogue.fresh_version, name, version))


def _add_files(app: FastAPI) -> None:
    @app.get(
        "/v1/models/{name}/versions/{version}/package",
        summary="The bioimage.io model package, a zip",
        response_class=Response,
        responses=answers("application/zip") | problem_responses(404, 422, 503),
    )
    async def package(name: str, version: str, here: Here) -> Response:
        found = await asyncio.to_thread(here.catalogue.version, name, version)
        path = await asyncio.to_thread(here.directory.registry.fetch, found)
        headers = {
            "Content-Disposition": disposition(f"{found.name}-{found.version}.zip"),
            "X-Micserve-Digest": f"sha256:{found.digest}",
        }
        return FileResponse(path, media_type="application/zip", headers=headers)

    @app.get(
        "/v1/models/{name}/versions/{version}/report",
        summary="The training report, HTML or PDF",
        response_class=Response,
        responses=answers("text/html", "application/pdf") | problem_responses(404, 406, 422, 503),
    )
    async def report(name: str, version: str, here: Here, accept: Accept = "*/*") -> Response:
        found = await asyncio.to_thread(here.catalogue.version, name, version)
        registry = here.directory.registry
        files = await asyncio.to_thread(registry.list_files, found)
        return await _kept_file(
            here, found, reports.training_reports(files), accept, what="training report"
        )

    @app.get(
        "/v1/models/{name}/versions/{version}/qc",
        summary="The quality report that was attached last: its numbers (JSON), or the page (HTML)",
        response_class=Response,
        responses=answers("application/json", "text/html", "application/pdf")
        | problem_responses(404, 406, 422, 503),
    )
    async def quality_of(name: str, version: str, here: Here, accept: Accept = "*/*") -> Response:
        found = await asyncio.to_thread(here.catalogue.fresh_version, name, version)
        if found.qc is None:
            raise NotFoundError(
                f"{found.ref} has no quality report yet. Make one with micserve qc."
            )
        files = await asyncio.to_thread(here.directory.registry.list_files, found, found.qc.folder)
        kept = reports.quality_reports(files)
        if negotiation.choose(accept, ["application/json", *kept]) == "application/json":
            return Response(found.qc.model_dump_json(), media_type="application/json")
        return await _kept_file(here, found, kept, accept, what="quality report")


async def _kept_file(
    here: Parts, version: ModelVersion, kept: dict[str, str], accept: str, *, what: str
) -> Response:
    """One of several forms of a file that the registry keeps, by what the client accepts."""
    if not kept:
        raise NotFoundError(f"{version.ref} has no {what}.")
    media_type = negotiation.choose(accept, list(kept))
    content = await asyncio.to_thread(here.directory.registry.read_file, version, kept[media_type])
    return Response(content, media_type=media_type)


def _add_work(app: FastAPI) -> None:
    @app.post(
        "/v1/models/{name}/predict",
        summary="Run a model on an image",
        response_class=Response,
        responses=problem_responses(404, 413, 422, 503),
        openapi_extra=predict_openapi(FAMILIES.values()),
    )
    async def predict(name: str, request: Request, here: Here, accept: Accept = "*/*") -> Response:
        query = request.query_params
        pointer = query.get("version", "production")
        version = await asyncio.to_thread(here.catalogue.version, name, pointer)
        rest = [(k, v) for k, v in query.multi_items() if k != "version"]
        asked = [("version", str(version.version)), *rest]
        address = f"/v1/models/{version.name}/predict"
        if accept.startswith(TSV):
            return await predict_listed(
                request,
                version.family,
                address,
                asked,
                parcels=here.parcels,
                upstreams=here.upstreams,
                scratch=here.scratch,
                limits=here.limits,
            )
        return await here.upstreams.forward(version.family, address, asked, request, here.limits)


def _add_probes(app: FastAPI, metrics: GatewayMetrics) -> None:
    @app.get("/livez", summary="Whether the process answers", response_class=PlainTextResponse)
    async def livez() -> str:
        return "alive\n"

    @app.get(
        "/readyz",
        summary="Whether the registry answers",
        response_class=PlainTextResponse,
        responses=problem_responses(503),
    )
    async def readyz(here: Here) -> Response:
        await asyncio.to_thread(here.directory.list_models)
        if here.directory.trouble:
            return problems.plain_answer(503, here.directory.trouble, {"Retry-After": "2"})
        return PlainTextResponse("ready\n")

    @app.get("/metrics", include_in_schema=False)
    async def scrape(here: Here) -> Response:
        metrics.registry_up.set(not here.directory.trouble)
        metrics.note_jobs(here.jobs.active, here.jobs.ended)
        return Response(metrics.render(), media_type=exposition.CONTENT_TYPE)
