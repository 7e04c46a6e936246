"""The words of accounts: a person, a role, a token. Knows no database."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from micserve.errors import ParameterError

Role = Literal["user", "maintainer", "admin"]

ROLES: tuple[Role, ...] = get_args(Role)
"""From the least to the most: each may do what those before it may."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}"
"""Of persons and groups: login names and e-mail addresses fit."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may use the server.

    Parameters
    ----------
    max_jobs, max_request_mib, requests_per_minute
        This person's own limits; None where the server's setting holds.
    """

    name: str
    role: Role
    groups: frozenset[str] = frozenset()
    max_jobs: int | None = None
    max_request_mib: int | None = None
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is listed; the secret itself is shown once and kept nowhere."""

    id: str
    """What `revoke` wants; it is the token's visible beginning."""
    person: str
    note: str
    created: datetime
    expires: datetime | None
    last_used: datetime | None
    revoked: datetime | None


def at_least(role: Role, wanted: Role) -> bool:
    """Whether `role` may do what `wanted` may."""
    return ROLES.index(role) >= ROLES.index(wanted)


def checked_name(name: str, *, what: str = "person") -> str:
    """The name; ParameterError for what cannot be one."""
    if not re.fullmatch(NAME, name):
        raise ParameterError(
            f"{name!r} cannot be the name of a {what}: use letters, digits and . _ @ + -, at most "
            "100, and begin with a letter or a digit."
        )
    return name


def checked_role(role: str) -> Role:
    """The role; ParameterError for what is none."""
    for known in ROLES:
        if role == known:
            return known
    raise ParameterError(f"There is no role {role!r}: choose {', '.join(ROLES)}.")
