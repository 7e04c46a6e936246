"""HTTP around one inference service: the predict contract, the listing, probes and metrics.

Knows requests, answers and who waits; hands everything else over to
`micserve.serving.inference`. The same app runs below BentoML, below uvicorn
and in a test.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from threading import Event

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.responses import PlainTextResponse

from micserve import __version__
from micserve.errors import MicserveError
from micserve.serving import metrics, problems
from micserve.serving.admission import Admission
from micserve.serving.answers import FileAnswer, result_headers
from micserve.serving.inference import Answer, InferenceService, Order, ServiceState
from micserve.serving.logs import RequestLog
from micserve.serving.problems import problem_responses
from micserve.serving.schema import predict_openapi
from micserve.serving.scratch import Scratch
from micserve.serving.settings import ServiceSettings
from micserve.serving.uploads import UploadLimits, receive_image, refuse_too_large


def create_app(family: str, settings: ServiceSettings | None = None) -> FastAPI:
    """The service of one family as an ASGI app; models are loaded when it starts."""
    settings = settings or ServiceSettings()
    service = InferenceService(family, settings)
    desk = Desk(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk.open()
        service.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.stop)
            desk.close()

    app = FastAPIOffline(
        redoc_url=None,
        title=f"micserve {service.family.title}",
        description=f"Inference service of one model family: {service.family.job}.",
        version=__version__,
        lifespan=lifespan,
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.state.service = service
    problems.install(app)
    app.add_middleware(RequestLog)
    _add_routes(app, service, desk)
    return app


def _add_routes(app: FastAPI, service: InferenceService, desk: "Desk") -> None:
    @app.post(
        "/v1/models/{name}/predict",
        summary="Run a model on an image",
        response_class=Response,
        responses=problem_responses(404, 413, 422, 503),
        openapi_extra=predict_openapi([service.family]),
    )
    async def predict(name: str, request: Request) -> Response:
        return await desk.predict(name, request)

    @app.get("/v1/models", summary="What is loaded, and what could not be")
    async def models() -> ServiceState:
        return service.state()

    @app.get("/livez", summary="Whether the process answers", response_class=PlainTextResponse)
    async def livez() -> str:
        return "alive\n"

    @app.get("/readyz", summary="Whether images may be sent", responses=problem_responses(503))
    async def readyz() -> Response:
        state = service.state()
        if not state.ready:
            return problems.plain_answer(503, " ".join(state.reasons), {"Retry-After": "2"})
        return PlainTextResponse("ready\n")

    @app.get("/metrics", include_in_schema=False)
    async def scrape() -> Response:
        return Response(service.metrics.render(), media_type=metrics.CONTENT_TYPE)


class Desk:
    """Takes one request after another: lets in, receives, queues, runs, answers."""

    def __init__(self, service: InferenceService) -> None:
        settings = service.settings
        self._service = service
        self._limits = UploadLimits(
            max_bytes=settings.max_request_bytes,
            spool_bytes=settings.spool_bytes,
            patience_s=settings.upload_patience_s,
        )
        self._admission = Admission(
            running=settings.concurrency, waiting=settings.queue, metrics=service.metrics
        )
        self._turns = asyncio.Semaphore(settings.concurrency)

    def open(self) -> None:
        settings = self._service.settings
        self._scratch = Scratch(settings.scratch_folder)
        self._threads = ThreadPoolExecutor(settings.concurrency, "predict")

    def close(self) -> None:
        self._threads.shutdown()
        self._scratch.close()

    async def predict(self, name: str, request: Request) -> Response:
        """One request from its first byte to the last but the answer's.

        The place is given up before the answer is sent: what is left then is the client's pace.
        """
        labels, status = ("", ""), 500
        try:
            with self._admission.place():
                refuse_too_large(request, self._limits)
                query = request.query_params.multi_items()
                order = await asyncio.to_thread(self._service.prepare, name, query)
                labels = (order.version.name, str(order.version.version))
                answer = await self._process(order, request)
            status = 200
        except MicserveError as error:
            status = problems.status_of(error)
            raise
        finally:
            self._service.metrics.predictions.labels(*labels, str(status)).inc()
        return _respond(answer)

    async def _process(self, order: Order, request: Request) -> Answer:
        with self._scratch.folder() as folder:
            began = time.perf_counter()
            upload = await receive_image(request, folder, self._limits)
            arrived = time.perf_counter()
            async with _noticing_departure(request) as gone, self._turns:
                queued = time.perf_counter() - arrived
                answer = await self._run(order, upload.source, folder, gone)
        answer.seconds.update(receive=arrived - began, queue=queued)
        self._service.note(answer)
        return answer

    async def _run(self, order: Order, source: bytes | Path, folder: Path, gone: Event) -> Answer:
        """In a thread; waits for it even when this task is cancelled, for it holds the files."""
        started = time.perf_counter()
        self._service.metrics.running.inc()

        def work() -> Answer:
            return self._service.predict(order, source, folder=folder, cancelled=gone.is_set)

        # The thread logs with this request's id.
        context = copy_context()
        future = asyncio.get_running_loop().run_in_executor(self._threads, context.run, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            gone.set()
            with suppress(MicserveError):
                await future
            raise
        finally:
            self._service.metrics.running.dec()
            self._admission.note(time.perf_counter() - started)


@asynccontextmanager
async def _noticing_departure(request: Request) -> AsyncIterator[Event]:
    """An event that is set when the client hangs up; its body must have been read."""
    gone = Event()

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    listening = asyncio.create_task(listen())
    try:
        yield gone
    finally:
        listening.cancel()


def _respond(answer: Answer) -> Response:
    model = answer.model
    headers = result_headers(
        model=model.contract.name,
        version=model.version,
        digest=model.digest,
        seconds=answer.seconds,
        warnings=answer.warnings,
        trust=answer.trust.line,
        filename=answer.filename,
    )
    if isinstance(answer.content, bytes):
        return Response(answer.content, media_type=answer.media_type, headers=headers)
    return FileAnswer(answer.content, answer.size, media_type=answer.media_type, headers=headers)
