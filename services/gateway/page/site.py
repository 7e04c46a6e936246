"""The addresses of the pages: which facts each shows. All that acts is under `/v1`."""

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from micserve.families import FAMILIES
from micserve.registry import ModelVersion
from micserve.registry.gate import difference_in_words
from services.gateway.callers import WhoAsks
from services.gateway.page import facts
from services.gateway.page.pixels import add_pixels
from services.gateway.page.shell import add_error_pages, add_static, page
from services.gateway.page.status import add_status
from services.gateway.parts import Here, Parts

THUMBNAILS_KEPT = 256


def add_pages(app: FastAPI) -> None:
    """All pages, what they need of images, and their static files."""
    _add_models(app)
    _add_work(app)
    add_status(app)
    add_pixels(app)
    add_static(app)
    add_error_pages(app)


def _add_models(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def models(request: Request, here: Here) -> Response:
        found = await asyncio.to_thread(here.catalogue.models)
        return page(
            request,
            "models.html",
            shelves=facts.shelves(found),
            trouble=here.directory.trouble,
            quality=facts.quality,
            address=_address(request),
        )

    @app.get("/models/{name}", include_in_schema=False)
    async def model(request: Request, name: str, here: Here, caller: WhoAsks) -> Response:
        versions = await asyncio.to_thread(here.catalogue.versions, name)
        moves = await asyncio.to_thread(here.directory.registry.promotions, name)
        chosen = _chosen(versions, request.query_params.get("version", ""))
        return page(
            request,
            "model.html",
            name=name,
            versions=versions,
            version_now=chosen,
            family=FAMILIES[chosen.family],
            moves=tuple(reversed(moves)),
            quality=facts.quality,
            trained_by=facts.trained_by,
            training=facts.training(chosen),
            micrometres=facts.micrometres,
            address=_address(request),
            may_promote=caller.role != "user",
            groups=sorted(here.accounts.store.groups_of(name)),
        )

    @app.get("/models/{name}/compare", include_in_schema=False)
    async def compare(request: Request, name: str, a: int, b: int, here: Here) -> Response:
        one = await asyncio.to_thread(here.catalogue.fresh_version, name, str(a))
        other = await asyncio.to_thread(here.catalogue.fresh_version, name, str(b))
        return page(
            request,
            "compare.html",
            name=name,
            one=one,
            other=other,
            rows=facts.differences(one, other),
            paired=await asyncio.to_thread(facts.compared, here.directory.registry, one, other),
            in_words=difference_in_words,
            quality=facts.quality,
        )

    @app.get("/models/{name}/{version}/{which}.png", include_in_schema=False)
    async def thumbnail(name: str, version: int, which: str, here: Here) -> Response:
        found = await asyncio.to_thread(here.catalogue.version, name, str(version))
        pictures = await asyncio.to_thread(_thumbnails, here, found)
        headers = {"Cache-Control": "private, max-age=86400"}
        return Response(
            pictures["after" if which == "after" else "before"],
            media_type="image/png",
            headers=headers,
        )


def _add_work(app: FastAPI) -> None:
    def plain(path: str, template: str) -> None:
        @app.get(path, include_in_schema=False, name=template)
        async def show(request: Request, here: Here, caller: WhoAsks) -> Response:
            models = await asyncio.to_thread(_for_scripts, here)
            return page(request, template, models=models, may_promote=caller.role != "user")

    plain("/predict", "predict.html")
    plain("/qc", "qc.html")
    plain("/train", "train.html")
    plain("/jobs", "jobs.html")

    @app.get("/jobs/{job}", include_in_schema=False)
    async def job(request: Request, job: str, caller: WhoAsks) -> Response:
        return page(request, "job.html", job=job, may_promote=caller.role != "user")


def _for_scripts(here: Parts) -> list[dict[str, Any]]:
    """What a page's script asks of each model, without a request per model."""
    return [
        {
            "name": model.name,
            "family": model.latest.family,
            "title": FAMILIES[model.latest.family].title,
            "axes": model.latest.card.axes,
            "channels": model.latest.card.channels,
            "production": model.aliases.get("production"),
            "latest": model.latest.version,
            "outputs": list(FAMILIES[model.latest.family].outputs),
        }
        for model in here.catalogue.models()
    ]


def _chosen(versions: tuple[ModelVersion, ...], asked: str) -> ModelVersion:
    """The version that is asked for; else the one in production; else the newest."""
    by_number = {str(v.version): v for v in versions}
    production = next((v for v in versions if "production" in v.aliases), versions[0])
    return by_number.get(asked, production)


def _address(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _thumbnails(here: Parts, version: ModelVersion) -> dict[str, bytes]:
    return _drawn(here.directory.registry.fetch(version), version.digest)


@lru_cache(maxsize=THUMBNAILS_KEPT)
def _drawn(package: Path, digest: str) -> dict[str, bytes]:
    return facts.thumbnails(package)
