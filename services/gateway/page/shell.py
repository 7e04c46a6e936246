"""What every page has: the frame around it, who is logged in, and headers that keep it shut in.

Knows templates; knows nothing of models.
"""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from micserve import __version__
from micserve.errors import MicserveError
from services.gateway.callers import NOBODY

HERE = Path(__file__).parent

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "frame-src 'self' blob:; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
)
"""No script but ours, nothing from other hosts. Inline styles are those of the quality reports,
which a frame shows with this page's policy."""

_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def page(request: Request, template: str, *, status: int = 200, **facts: Any) -> HTMLResponse:
    """One page, with the frame's own facts added."""
    accounts = request.app.state.parts.accounts
    caller = getattr(request.state, "caller", NOBODY)
    text = _templates.get_template(template).render(
        **facts,
        version=__version__,
        accounts_on=accounts.on,
        caller=caller,
        logged_in=accounts.on and caller is not NOBODY,
        path=request.url.path,
        has_jobs=_has_jobs(request.app),
    )
    headers = {
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(text, status_code=status, headers=headers)


def _has_jobs(app: FastAPI) -> bool:
    """A gateway without jobs does not show pages for them."""
    return any(getattr(route, "path", "") == "/v1/jobs" for route in app.routes)


def add_error_pages(app: FastAPI) -> None:
    """Errors as pages for who looks at pages; problems for all others, as before."""
    for kind in (MicserveError, HTTPException):
        app.add_exception_handler(kind, _for_people(app.exception_handlers[kind]))


def _for_people(otherwise: Any) -> Any:
    async def handle(request: Request, error: Exception) -> Response:
        answer: Response = await otherwise(request, error)
        wants_page = "text/html" in request.headers.get("accept", "")
        if request.url.path.startswith("/v1") or not wants_page:
            return answer
        problem = json.loads(bytes(answer.body))
        return page(
            request,
            "error.html",
            status=answer.status_code,
            title=problem["title"],
            detail=problem["detail"],
        )

    return handle


def add_static(app: FastAPI) -> None:
    """Style, scripts and the library that draws curves; all from this server."""
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
