"""From what a request carries to the person who asks, and what that person may use."""

from collections.abc import Mapping
from dataclasses import dataclass

from micserve.accounts import AccountStore, AuditLog, Person, at_least
from micserve.errors import AccessRefusedError
from services.gateway.callers import ANYBODY, NOBODY, Caller, current_caller
from services.gateway.settings import GatewaySettings

SESSION_COOKIE = "micserve_session"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one person may send."""

    requests_per_minute: int
    max_request_bytes: int


@dataclass(frozen=True, slots=True)
class Accounts:
    """The people of this server; where accounts are off, everybody is ANYBODY."""

    settings: GatewaySettings
    store: AccountStore
    audit: AuditLog

    @property
    def on(self) -> bool:
        return self.settings.accounts_on

    def identify(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Person | None:
        """The person of a request; None where it carries nothing.

        Raises
        ------
        AccessRefusedError
            For a token that is not good. A cookie that is not good any more counts as none.
        """
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if secret:
            if scheme.lower() != "bearer":
                raise AccessRefusedError(
                    f"The Authorization header says {scheme[:20]!r}; send `Authorization: Bearer "
                    "<token>`."
                )
            found = self.store.whose_token(secret.strip())
            if found is None:
                raise AccessRefusedError(
                    "This token is unknown, expired or revoked. Ask the facility's staff for a "
                    "new one (micserve token create)."
                )
            return found[0]
        cookie = cookies.get(SESSION_COOKIE, "")
        return self.store.whose_session(cookie) if cookie else None

    def caller(self, person: Person | None) -> Caller:
        """As routes see the person."""
        if person is None:
            return NOBODY if self.on else ANYBODY
        own = person.max_jobs
        jobs = self.settings.person_max_jobs if own is None else own
        return Caller(person.name, person.role, person.groups, jobs)

    def limits(self, person: Person) -> Limits:
        settings = self.settings
        return Limits(
            person.requests_per_minute or settings.person_requests_per_minute,
            min(person.max_request_mib or settings.max_request_mib, settings.max_request_mib) << 20,
        )

    def may_see(self, model: str) -> bool:
        """Whether the model belongs to all or to a group of the person who asks now."""
        caller = current_caller()
        if not self.on or at_least(caller.role, "admin"):
            return True
        groups = self.store.groups_of(model)
        return not groups or bool(groups & caller.groups)


def open_accounts(settings: GatewaySettings) -> Accounts:
    folder = settings.accounts_folder
    return Accounts(settings, AccountStore(folder), AuditLog(folder))
