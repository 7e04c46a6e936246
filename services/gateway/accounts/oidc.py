"""Login with the institute's account: OpenID Connect, through authlib.

The provider says who somebody is and in which groups; roles come from two of
those groups. authlib is an optional dependency, asked for only here.
"""

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from micserve.accounts import Role
from micserve.errors import AccessRefusedError, ParameterError
from services.gateway.page.shell import page
from services.gateway.parts import Here
from services.gateway.settings import GatewaySettings

LOGIN_WITHIN_S = 600
"""How long somebody may take at the provider's own page."""


def add_oidc(app: FastAPI, settings: GatewaySettings) -> None:
    """`/login/oidc` sends a browser to the provider, `/login/oidc/callback` gets it back."""
    # Imported here: login imports this module, and this module needs its cookie.
    from services.gateway.accounts.login import begin_session, own_path

    provider = _provider(app, settings)

    @app.get("/login/oidc", include_in_schema=False)
    async def leave(request: Request, next: str = "/") -> Response:  # noqa: A002
        request.session["next"] = own_path(next)
        address = str(request.url_for("come_back"))
        answer: Response = await provider.authorize_redirect(request, address)
        return answer

    @app.get("/login/oidc/callback", include_in_schema=False)
    async def come_back(request: Request, here: Here) -> Response:
        claims = await _claims(provider, request)
        name, role, groups = person_of(claims, settings)
        person = await asyncio.to_thread(
            here.accounts.store.put_person, name, role=role, groups=groups
        )
        # A page and not a redirect: a SameSite=Strict cookie is not sent along a chain of
        # redirects that another site began.
        answer = page(request, "entered.html", next=own_path(request.session.pop("next", "/")))
        await begin_session(request, answer, here.accounts, person)
        return answer


def person_of(
    claims: Mapping[str, Any], settings: GatewaySettings
) -> tuple[str, Role, frozenset[str]]:
    """Name, role and groups from what the provider says."""
    names = (claims.get(c) for c in (settings.oidc_name_claim, "email", "sub"))
    name = next((str(n) for n in names if n), "")
    listed = claims.get(settings.oidc_groups_claim) or []
    groups = frozenset(listed if isinstance(listed, list) else str(listed).split())
    role: Role = "user"
    if settings.oidc_maintainers in groups:
        role = "maintainer"
    if settings.oidc_admins in groups:
        role = "admin"
    return name, role, groups


async def _claims(provider: Any, request: Request) -> Mapping[str, Any]:
    from authlib.integrations.base_client import OAuthError

    try:
        token = await provider.authorize_access_token(request)
    except OAuthError as error:
        raise AccessRefusedError(
            f"The login was not completed ({error.error}). Go back to /login and try again."
        ) from error
    told: Mapping[str, Any] = token["userinfo"]
    more: Mapping[str, Any] = {}
    if (await provider.load_server_metadata()).get("userinfo_endpoint"):
        more = await provider.userinfo(token=token)
    return {**more, **told}


def _provider(app: FastAPI, settings: GatewaySettings) -> Any:
    try:
        from authlib.integrations.starlette_client import OAuth
        from starlette.middleware.sessions import SessionMiddleware
    except ImportError as error:
        raise ParameterError(
            "MICSERVE_OIDC_ISSUER is set, but authlib is not installed: pip install "
            "'micserve[oidc]', or unset it."
        ) from error
    app.add_middleware(
        SessionMiddleware,
        secret_key=_secret(settings.accounts_folder),
        session_cookie="micserve_login",
        max_age=LOGIN_WITHIN_S,
        same_site="lax",
        path="/login",
    )
    issuer = str(settings.oidc_issuer).rstrip("/")
    return OAuth().register(
        "institute",
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret.get_secret_value(),
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
    )


def _secret(folder: Path) -> str:
    """Signs the cookie of a login that is under way; the same after a restart."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "login.key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_text()
