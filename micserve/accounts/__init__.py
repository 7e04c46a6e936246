"""People, their tokens and sessions, whom a model belongs to, and who did what.

`store` is a small SQLite file, `audit` a file of JSON lines beside it. Both are
below `MICSERVE_HOME/accounts`, so that the command line and the gateway speak
of the same people. Knows no HTTP.
"""

from micserve.accounts.audit import AuditLog
from micserve.accounts.people import ROLES, Person, Role, Token, at_least
from micserve.accounts.store import AccountStore

__all__ = ["ROLES", "AccountStore", "AuditLog", "Person", "Role", "Token", "at_least"]
