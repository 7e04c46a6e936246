"""ASGI middleware around all routes: who asks, may they, how much, and what did they do.

Knows HTTP and people; nothing of models. Every request that changes something
is written to the audit log here, so that no route can forget to.
"""

import asyncio
import time
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from micserve.accounts import Person
from micserve.errors import (
    AccessRefusedError,
    ImageTooLargeError,
    MicserveError,
    RateLimitError,
)
from micserve.serving import problems
from micserve.serving.logs import current_request_id
from services.gateway.accounts.people import Accounts, Limits
from services.gateway.callers import remember_caller

OPEN = ("/livez", "/readyz", "/metrics", "/favicon.ico")
OPEN_BELOW = ("/login", "/static/", "/fiji")
"""Probes and scrapers have no token; a login page is for those who are not in yet; the Fiji
downloads are programs without a secret, fetched by ImageJ's own updater."""

SAFE = {"GET", "HEAD", "OPTIONS"}


class Door:
    """Let in who may come in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._rates = Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        accounts: Accounts = scope["app"].state.parts.accounts
        request = Request(scope)
        who, noted = accounts.caller(None).name, request.method in SAFE

        async def send_and_note(message: Message) -> None:
            nonlocal noted
            if message["type"] == "http.response.start" and not noted:
                # Before the answer: whoever has it finds the line.
                noted = True
                await _write_down(accounts, request, who, message["status"])
            await send(message)

        try:
            person = self._admit(request, accounts)
            caller = accounts.caller(person)
            scope.setdefault("state", {})["caller"] = caller
            remember_caller(caller)
            who = caller.name
            if person is not None:
                receive = self._within_limits(request, receive, accounts.limits(person), person)
            await self.app(scope, receive, send_and_note)
        except MicserveError as error:
            await _refusal(request, error)(scope, receive, send_and_note)
        finally:
            if not noted:
                await _write_down(accounts, request, who, 500)

    def _admit(self, request: Request, accounts: Accounts) -> Person | None:
        refuse_foreign_origin(request)
        if not accounts.on:
            return None
        is_open = request.url.path in OPEN or request.url.path.startswith(OPEN_BELOW)
        try:
            person = accounts.identify(request.headers, request.cookies)
        except AccessRefusedError:
            if is_open:
                return None
            raise
        if person is None and not is_open:
            raise AccessRefusedError(
                "This server wants to know who asks: send `Authorization: Bearer <token>`, or log "
                "in at /login. The facility's staff hands out tokens."
            )
        return person

    def _within_limits(
        self, request: Request, receive: Receive, limits: Limits, person: Person
    ) -> Receive:
        self._rates.count(person.name, limits.requests_per_minute)
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > limits.max_request_bytes:
            raise _too_large(int(announced), limits)
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > limits.max_request_bytes:
                raise _too_large(arrived, limits)
            return message

        return counted


class Rates:
    """Requests per person: a bucket that fills within a minute."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def count(self, name: str, per_minute: int) -> None:
        """RateLimitError when the bucket is empty."""
        now = time.monotonic()
        left, since = self._buckets.get(name, (float(per_minute), now))
        left = min(float(per_minute), left + (now - since) * per_minute / 60)
        if left < 1:
            raise RateLimitError(
                f"{name} sent more than {per_minute} requests in a minute. Wait a few seconds and "
                "go on; ask the facility's staff if you need more."
            )
        self._buckets[name] = (left - 1, now)


def refuse_foreign_origin(request: Request) -> None:
    """A page of another site cannot act with this browser's login, or on this machine's server.

    Programs send neither header; browsers send at least one with whatever may change something.
    """
    if request.method in SAFE:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site in ("same-origin", "none") or (site is None and origin is None):
        return
    if (
        site is None
        and origin is not None
        and urlsplit(origin).netloc == request.headers.get("host")
    ):
        return
    raise AccessRefusedError(
        "This request was sent by a page of another address. Open this server's own page and try "
        "again."
    )


def _refusal(request: Request, error: MicserveError) -> Response:
    """People are led to the login page; programs get a problem."""
    wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if (
        isinstance(error, AccessRefusedError)
        and wants_page
        and not request.url.path.startswith("/v1")
    ):
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(target, safe='/')}", status_code=303)
    return problems.answer(error)


def _too_large(size: int, limits: Limits) -> ImageTooLargeError:
    return ImageTooLargeError(
        f"The request has {size >> 20} MiB, but you may send {limits.max_request_bytes >> 20} MiB "
        "at a time. Crop or send fewer frames, or ask the facility's staff for more."
    )


async def _write_down(accounts: Accounts, request: Request, who: str, status: int) -> None:
    route = getattr(request.scope.get("route"), "path", "")
    await asyncio.to_thread(
        accounts.audit.note,
        who,
        f"{request.method} {route or request.url.path}",
        request.url.path,
        status=status,
        query=request.url.query,
        request_id=current_request_id(),
        address=request.client.host if request.client else "",
    )
