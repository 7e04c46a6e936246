"""Errors as HTTP answers: one table from error to status, one shape (RFC 9457) for all of them.

Every answer that is not a success is `application/problem+json` with `type`,
`title`, `status`, `detail` and `request_id`, those of the web framework too. A
traceback goes to the log under the same request id, never to the caller.
"""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from micserve import errors
from micserve.serving.logs import current_request_id

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[errors.MicserveError], int] = {
    errors.MicserveError: 500,
    errors.InputError: 422,
    errors.ImageTooLargeError: 413,
    errors.DataTooLargeError: 413,
    errors.UploadOffsetError: 409,
    errors.NotFoundError: 404,
    errors.RefusedError: 403,
    errors.PromotionRefusedError: 409,
    errors.InUseError: 409,
    errors.IntegrityError: 500,
    errors.UnavailableError: 503,
    errors.RateLimitError: 429,
    errors.StorageFullError: 507,
    errors.CancelledError: 503,
}
"""An error without a line of its own has the status of the nearest error it derives from."""

RETRY_AFTER_S = 5
"""Where an error does not say how long to wait: about as long as a service takes to come back."""


UNREADABLE = "There was an error parsing the body"
"""What FastAPI says, with 400, of a body that is not even text; other bad bodies are 422."""


class Problem(BaseModel):
    """One error as it is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    """`urn:micserve:error:…`, as in `docs/errors.md`; `about:blank` for plain HTTP."""
    title: str
    status: int
    detail: str
    """One or two sentences for a person."""
    request_id: str


def status_of(error: errors.MicserveError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def type_of(kind: type[errors.MicserveError]) -> str:
    """`ImageTooLargeError` to `urn:micserve:error:image-too-large`."""
    name = kind.__name__.removesuffix("Error")
    return "urn:micserve:error:" + "".join(
        f"-{c.lower()}" if c.isupper() and at else c.lower() for at, c in enumerate(name)
    )


def problem_of(error: errors.MicserveError) -> Problem:
    kind = type(error)
    return Problem(
        type=type_of(kind),
        title=(kind.__doc__ or kind.__name__).partition("\n")[0].rstrip("."),
        status=status_of(error),
        detail=str(error),
        request_id=current_request_id(),
    )


def answer(error: errors.MicserveError) -> Response:
    """The HTTP answer of an error, with `Retry-After` where it pays to come back."""
    problem = problem_of(error)
    headers = {}
    if problem.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers["Retry-After"] = str(getattr(error, "retry_after", RETRY_AFTER_S))
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("%s", error, extra={"error": type(error).__name__})
    return _render(problem, headers)


def plain_answer(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An answer for what HTTP itself has words for: no such route, wrong method."""
    problem = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        request_id=current_request_id(),
    )
    return _render(problem, headers or {})


def unexpected_answer(error: Exception) -> Response:
    """For an error that nobody foresaw: the log knows more."""
    log.error("unexpected error", exc_info=error)
    return plain_answer(
        500,
        "The server made a mistake that is not yours. Try again; if it comes back, tell the "
        f"facility's staff this request id: {current_request_id()}",
    )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: these statuses answer with a problem."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {s: {"description": HTTPStatus(s).phrase, "content": content} for s in statuses}


class CatchUnexpected:
    """ASGI middleware, outside of all routes and inside of the request's log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await unexpected_answer(error)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Make every error of this app a problem."""
    app.add_middleware(CatchUnexpected)
    app.add_exception_handler(errors.MicserveError, _on_micserve_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


async def _on_micserve_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.MicserveError)
    return answer(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.detail == UNREADABLE:
        return answer(errors.ParameterError("The body is not JSON in UTF-8. See /docs."))
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods_at(request)) or headers.get("Allow", "")
    details = {
        404: f"There is nothing at {request.url.path}. The routes are listed at /docs.",
        405: f"{request.url.path} does not take {request.method}"
        + (f", but {headers['Allow']}" if headers.get("Allow") else "")
        + ". The routes are listed at /docs.",
    }
    detail = details.get(error.status_code, str(error.detail))
    return plain_answer(error.status_code, detail, headers)


def _methods_at(request: Request) -> list[str]:
    """Of all routes of this address; the framework would name those of the first route alone.

    Where several patterns fit, the address is that of the most exact one.
    """
    fit = [r for r in request.app.routes if r.matches(request.scope)[0] is not Match.NONE]
    found: dict[str, set[str]] = {}
    for route in fit:
        found.setdefault(getattr(route, "path", ""), set()).update(
            getattr(route, "methods", None) or ()
        )
    best = min(found, key=lambda path: (path.count("{"), -len(path)), default="")
    return sorted(found.get(best, ()))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    sentences = [f"{_where(entry)}: {entry['msg']}" for entry in error.errors()]
    return answer(errors.ParameterError("; ".join(sentences) + ". See /docs."))


def _where(entry: dict[str, Any]) -> str:
    return ".".join(str(part) for part in entry["loc"][1:]) or str(entry["loc"][0])


def _render(problem: Problem, headers: dict[str, str]) -> Response:
    return Response(
        problem.model_dump_json(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )
