"""`/login` and `/logout`: from a token, or the institute's own login, to a session cookie.

The cookie is HttpOnly and SameSite=Strict; with the check of a request's
origin in `door`, no page of another site can use it.
"""

import asyncio
from typing import Annotated

from fastapi import FastAPI, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from micserve.accounts import Person
from services.gateway.accounts.oidc import add_oidc
from services.gateway.accounts.people import SESSION_COOKIE, Accounts
from services.gateway.page.shell import page
from services.gateway.parts import Here
from services.gateway.settings import GatewaySettings


def add_login(app: FastAPI, settings: GatewaySettings) -> None:
    """The routes; those of OpenID Connect where it is configured."""

    @app.get("/login", include_in_schema=False)
    async def login(request: Request, next: str = "/") -> Response:  # noqa: A002
        return _form(request, settings, next)

    @app.post("/login", include_in_schema=False)
    async def enter(
        request: Request,
        here: Here,
        token: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "/",  # noqa: A002
    ) -> Response:
        found = await asyncio.to_thread(here.accounts.store.whose_token, token.strip())
        if found is None:
            sentence = "This token is unknown, expired or revoked. Ask the facility's staff."
            return _form(request, settings, next, sentence, status=403)
        answer = RedirectResponse(own_path(next), status_code=303)
        await begin_session(request, answer, here.accounts, found[0], token_id=found[1])
        return answer

    @app.post("/logout", include_in_schema=False)
    async def leave(request: Request, here: Here) -> Response:
        cookie = request.cookies.get(SESSION_COOKIE, "")
        await asyncio.to_thread(here.accounts.store.close_session, cookie)
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(SESSION_COOKIE)
        return answer

    if settings.oidc_issuer:
        add_oidc(app, settings)


async def begin_session(
    request: Request,
    answer: Response,
    accounts: Accounts,
    person: Person,
    *,
    token_id: str | None = None,
) -> None:
    """Open a session and put its cookie into the answer."""
    hours = accounts.settings.session_hours
    secret = await asyncio.to_thread(
        accounts.store.open_session, person.name, hours=hours, token=token_id
    )
    await asyncio.to_thread(accounts.audit.note, person.name, "session.open", token_id or "oidc")
    answer.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=int(hours * 3600),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def own_path(path: str) -> str:
    """A path on this server; the first page for anything that leads elsewhere."""
    leads_away = not path.startswith("/") or path.startswith(("//", "/\\"))
    return "/" if leads_away or any(ord(c) < 32 for c in path) else path


def _form(
    request: Request, settings: GatewaySettings, target: str, sentence: str = "", status: int = 200
) -> HTMLResponse:
    return page(
        request,
        "login.html",
        status=status,
        next=own_path(target),
        sentence=sentence,
        oidc=bool(settings.oidc_issuer),
    )
