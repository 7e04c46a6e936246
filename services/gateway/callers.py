"""Who asks. Routes take it as `caller: WhoAsks`; who that is, is decided before them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request

Role = Literal["user", "maintainer", "admin"]


@dataclass(frozen=True, slots=True)
class Caller:
    """One person, or whoever sits at this machine where there are no accounts."""

    name: str
    role: Role
    groups: frozenset[str] = frozenset()


ANYBODY = Caller("local", "admin")
"""Where accounts are off: only this machine reaches the gateway."""


def _caller(request: Request) -> Caller:
    caller: Caller = getattr(request.state, "caller", ANYBODY)
    return caller


WhoAsks = Annotated[Caller, Depends(_caller)]
