"""`/v1/jobs…`: order a training or a prediction, follow it, cancel it, fetch what it made."""

import asyncio
import shutil
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from starlette.responses import FileResponse, Response, StreamingResponse

from micserve.errors import NotFoundError
from micserve.files import said_when_full
from micserve.registry.jobs import ENDED, JobRecord
from micserve.serving.answers import disposition
from micserve.serving.problems import problem_responses
from micserve.serving.uploads import UploadLimits, receive_image
from services.gateway.callers import Caller, WhoAsks
from services.gateway.catalogue import progress_line
from services.gateway.jobs.events import events_of
from services.gateway.jobs.orders import Order, TrainOrder, prediction, training
from services.gateway.jobs.views import (
    JobListing,
    JobView,
    curves_table,
    jobs_table,
    seen_by,
    view_of,
)
from services.gateway.openapi import BINARY, BINARY_BODY, answers
from services.gateway.parcels import TSV, TYPES
from services.gateway.parts import Accept, Here, Parts

EVENTS = "text/event-stream"
EVENTS_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "The events.", "content": {EVENTS: {"schema": {"type": "object"}}}}
}
DELETED: dict[int | str, dict[str, Any]] = {204: {"description": "It had ended; it is deleted."}}


def add_jobs(app: FastAPI) -> None:
    """All routes of this module."""
    _add_orders(app)
    _add_listings(app)
    _add_following(app)
    _add_results(app)


def _add_orders(app: FastAPI) -> None:
    @app.post(
        "/v1/jobs",
        status_code=202,
        summary="Order a training, or the prediction of a folder or an image of the server",
        responses=problem_responses(403, 404, 422, 429, 503, 507),
    )
    async def order(
        order: Annotated[Order, Body()],
        here: Here,
        caller: WhoAsks,
        response: Response,
    ) -> JobView:
        record = await asyncio.to_thread(_ordered, here, order, caller)
        response.headers["Location"] = f"/v1/jobs/{record.id}"
        return await asyncio.to_thread(view_of, here.jobs, record)

    @app.post(
        "/v1/models/{name}/jobs",
        status_code=202,
        summary="Order the prediction of the image that is sent; the query is that of predict",
        response_model=JobView,
        responses=problem_responses(403, 404, 413, 422, 429, 503, 507),
        openapi_extra=BINARY_BODY,
    )
    async def order_image(
        name: str, request: Request, here: Here, caller: WhoAsks, accept: Accept = "*/*"
    ) -> Response:
        query = dict(request.query_params)
        pointer = query.pop("version", "production")
        version = await asyncio.to_thread(here.catalogue.version, name, pointer)
        folder = await asyncio.to_thread(here.jobs.spool.arriving)
        try:
            limits = UploadLimits(here.limits.max_bytes, 0, here.limits.patience_s)
            with said_when_full("The image"):
                upload = await receive_image(request, folder, limits)
                image = folder / "image.tif"
                if isinstance(upload.source, bytes):
                    await asyncio.to_thread(image.write_bytes, upload.source)
                else:
                    upload.source.rename(image)
            kept, program = prediction(
                here,
                caller,
                version=version,
                place=upload.filename or "image.tif",
                source=None,
                output=query.pop("output", "image"),
                parameters=query,
            )
            record = await asyncio.to_thread(here.jobs.order, kept, program, caller, arrived=folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        _note(here, caller, record)
        return await _ordered_answer(here, record, accept)


async def _ordered_answer(here: Parts, record: JobRecord, accept: str) -> Response:
    address = f"/v1/jobs/{record.id}"
    headers = {"Location": address}
    if accept.startswith(TSV):
        return Response(f"{record.id}\t{address}\n", 202, headers, TSV)
    view = await asyncio.to_thread(view_of, here.jobs, record)
    return Response(view.model_dump_json(), 202, headers, "application/json")


def _ordered(here: Parts, order: Order, caller: Caller) -> JobRecord:
    if isinstance(order, TrainOrder):
        kept, program = training(order, here, caller)
    else:
        kept, program = prediction(
            here,
            caller,
            version=here.catalogue.find(order.model),
            place=order.source,
            source=here.library.find(order.source, caller)[1],
            output=order.output,
            parameters=order.parameters,
        )
    record = here.jobs.order(kept, program, caller)
    _note(here, caller, record)
    return record


def _note(here: Parts, caller: Caller, record: JobRecord) -> None:
    order = record.order
    here.accounts.audit.note(
        caller.name,
        "job.start",
        record.id,
        kind=order.kind,
        family=order.family,
        model=order.model,
        source=order.source,
    )


def _add_listings(app: FastAPI) -> None:
    @app.get("/v1/jobs", summary="Your jobs, newest first", responses=problem_responses(503))
    async def listing(here: Here, caller: WhoAsks) -> JobListing:
        return JobListing(jobs=await asyncio.to_thread(_views, here, caller))

    @app.get(
        "/v1/jobs.tsv",
        summary="Your jobs as tab-separated text, for macros",
        response_class=Response,
        responses=answers(TSV) | problem_responses(503),
    )
    async def table(here: Here, caller: WhoAsks) -> Response:
        views = await asyncio.to_thread(_views, here, caller)
        return Response(jobs_table(views), media_type=TSV)


def _views(here: Parts, caller: Caller) -> tuple[JobView, ...]:
    found = here.jobs.listing(caller)
    return tuple(view_of(here.jobs, record, whole=False) for record in found)


def _add_following(app: FastAPI) -> None:
    @app.get(
        "/v1/jobs/{job}.tsv",
        summary="One line: state, fraction, message, seconds left; for macros",
        response_class=Response,
        responses=answers(TSV) | problem_responses(404, 503),
    )
    async def line(job: str, here: Here, caller: WhoAsks) -> Response:
        view = await asyncio.to_thread(seen_by, caller, here.jobs, job)
        text = progress_line(view.state, view.fraction, view.message, view.seconds_left)
        return Response(text, media_type=TSV)

    @app.get(
        "/v1/jobs/{job}",
        summary="One job: state, progress, metrics, log, results",
        responses=problem_responses(404, 503),
    )
    async def one(job: str, here: Here, caller: WhoAsks) -> JobView:
        return await asyncio.to_thread(seen_by, caller, here.jobs, job)

    @app.delete(
        "/v1/jobs/{job}",
        summary="Cancel a job; delete one that has ended, with its results",
        response_model=JobView,
        responses=DELETED | problem_responses(404, 503),
    )
    async def delete(job: str, here: Here, caller: WhoAsks) -> Response:
        record = await asyncio.to_thread(here.jobs.one, job, caller)
        if record.state in ENDED:
            await asyncio.to_thread(here.jobs.delete, record)
            here.accounts.audit.note(caller.name, "job.delete", job)
            return Response(status_code=204)
        record = await asyncio.to_thread(here.jobs.cancel, record)
        here.accounts.audit.note(caller.name, "job.cancel", job)
        view = await asyncio.to_thread(view_of, here.jobs, record)
        return Response(view.model_dump_json(), media_type="application/json")

    @app.get(
        "/v1/jobs/{job}/metrics.tsv",
        summary="One line per epoch: loss, validation loss, learning rate",
        response_class=Response,
        responses=answers(TSV) | problem_responses(404, 503),
    )
    async def metrics(job: str, here: Here, caller: WhoAsks) -> Response:
        record = await asyncio.to_thread(here.jobs.one, job, caller)
        rows = await asyncio.to_thread(here.jobs.records.curves, record.id)
        return Response(curves_table(rows), media_type=TSV)

    @app.get(
        "/v1/jobs/{job}/events",
        summary="Progress, metrics and log as they come: server-sent events",
        response_class=Response,
        responses=EVENTS_ANSWER | problem_responses(404, 503),
    )
    async def events(job: str, here: Here, caller: WhoAsks) -> Response:
        await asyncio.to_thread(here.jobs.one, job, caller)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        stream = events_of(here.jobs, job, caller)
        return StreamingResponse(stream, media_type=EVENTS, headers=headers)


def _add_results(app: FastAPI) -> None:
    @app.get(
        "/v1/jobs/{job}/result.tif",
        summary="The result of a job of one image",
        response_class=Response,
        responses=answers("image/tiff", "application/zip", "text/csv")
        | problem_responses(404, 503),
    )
    async def only(job: str, here: Here, caller: WhoAsks) -> Response:
        record = await asyncio.to_thread(here.jobs.one, job, caller)
        results = await asyncio.to_thread(here.jobs.spool.results, job)
        images = [r.name for r in results if not r.name.endswith(".tsv")]
        if len(images) != 1:
            raise NotFoundError(
                f"Job {job} has {len(images)} results and is {record.state}; this address is for "
                "a finished job of one image. GET /v1/jobs/{id} lists the results."
            )
        return await _file(here, job, images[0])

    @app.get(
        "/v1/jobs/{job}/results/{name:path}",
        summary="One file that a job made",
        response_class=Response,
        responses=answers(BINARY, *sorted({t.partition(";")[0] for t in TYPES.values()}), TSV)
        | problem_responses(404, 503),
    )
    async def result(job: str, name: str, here: Here, caller: WhoAsks) -> Response:
        await asyncio.to_thread(here.jobs.one, job, caller)
        return await _file(here, job, name)


async def _file(here: Parts, job: str, name: str) -> Response:
    path = await asyncio.to_thread(here.jobs.spool.result, job, name)
    kind = {**TYPES, ".tsv": TSV}.get(path.suffix.lower(), BINARY)
    headers = {"Content-Disposition": disposition(path.name), "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=kind, headers=headers)
