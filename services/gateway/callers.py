"""Who asks. Routes take it as `caller: WhoAsks`; who that is, is decided before them.

`current_caller` tells the same to code that has no request in hand, in the
request's task and in the threads that it starts.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from micserve.accounts import Role, at_least
from micserve.errors import AccessRefusedError


@dataclass(frozen=True, slots=True)
class Caller:
    """One person, or whoever sits at this machine where there are no accounts."""

    name: str
    role: Role
    groups: frozenset[str] = frozenset()
    max_jobs: int | None = None
    """Jobs that may wait or run at the same time; None without a limit."""

    def require(self, role: Role, to_do: str) -> None:
        """AccessRefusedError for who has a lesser role; `to_do` ends the sentence."""
        if not at_least(self.role, role):
            raise AccessRefusedError(
                f"{self.name} has the role {self.role}; it takes a {role} to {to_do}. Ask the "
                "facility's staff."
            )


ANYBODY = Caller("local", "admin")
"""Where accounts are off: only this machine reaches the gateway."""

NOBODY = Caller("nobody", "user")
"""Where accounts are on: who has not said a name yet, at the login page."""

_current: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)


def current_caller() -> Caller:
    """Of the request that is being answered; ANYBODY outside of one."""
    return _current.get()


def remember_caller(caller: Caller) -> None:
    """For the rest of this task; only what decides who asks calls this."""
    _current.set(caller)


def _caller(request: Request) -> Caller:
    caller: Caller = getattr(request.state, "caller", ANYBODY)
    return caller


WhoAsks = Annotated[Caller, Depends(_caller)]
