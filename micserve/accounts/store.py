"""People, tokens, sessions and the groups of models, in one SQLite file.

Tokens and session cookies are 256 random bits, so that a plain sha256 keeps
them safe: there is nothing to guess, and looking one up costs microseconds.
The file is below `MICSERVE_HOME/accounts`, readable by its owner alone.
"""

import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from micserve.accounts.people import Person, Role, Token, checked_name, checked_role
from micserve.errors import NotFoundError, ParameterError

PREFIX = "mic_"
"""What every token begins with, so that secret scanners and people know one when they see it."""

ID_LENGTH = 12

SCHEMA = """
CREATE TABLE IF NOT EXISTS person (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, groups TEXT NOT NULL DEFAULT '',
    max_jobs INTEGER, max_request_mib INTEGER, requests_per_minute INTEGER);
CREATE TABLE IF NOT EXISTS token (
    id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, person TEXT NOT NULL, note TEXT NOT NULL,
    created TEXT NOT NULL, expires TEXT, last_used TEXT, revoked TEXT);
CREATE TABLE IF NOT EXISTS session (
    hash TEXT PRIMARY KEY, person TEXT NOT NULL, token TEXT, expires TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS model_group (
    model TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (model, name));
"""

USED_EVERY = timedelta(minutes=5)
"""How exactly `last_used` is kept; a write per request would be a write too many."""


class AccountStore:
    """Thread-safe; several processes may have the same file open."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "accounts.db"
        path.touch(mode=0o600)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=10, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # --- people -------------------------------------------------------------------------------
    def put_person(
        self,
        name: str,
        *,
        role: Role | None = None,
        groups: frozenset[str] | None = None,
        max_jobs: int | None = None,
        max_request_mib: int | None = None,
        requests_per_minute: int | None = None,
    ) -> Person:
        """Make a person, or change what is given of one; the rest stays as it is."""
        old = self._find(checked_name(name))
        kept = old or Person(name, "user")
        groups = kept.groups if groups is None else groups
        row = (
            name,
            checked_role(role or kept.role),
            ",".join(sorted(checked_name(group, what="group") for group in groups)),
            kept.max_jobs if max_jobs is None else max_jobs,
            kept.max_request_mib if max_request_mib is None else max_request_mib,
            kept.requests_per_minute if requests_per_minute is None else requests_per_minute,
        )
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO person VALUES (?, ?, ?, ?, ?, ?)", row)
        return self.person(name)

    def person(self, name: str) -> Person:
        """NotFoundError where there is none of this name."""
        found = self._find(name)
        if found is None:
            raise NotFoundError(f"There is nobody named {name!r}; micserve token people lists all.")
        return found

    def people(self) -> tuple[Person, ...]:
        """By name."""
        return tuple(map(_person, self._all("SELECT * FROM person ORDER BY name")))

    def remove_person(self, name: str) -> None:
        """With all tokens and sessions: from now on this person is refused."""
        self.person(name)
        with self._writing() as db:
            db.execute("DELETE FROM session WHERE person = ?", (name,))
            db.execute("DELETE FROM token WHERE person = ?", (name,))
            db.execute("DELETE FROM person WHERE name = ?", (name,))

    # --- tokens -------------------------------------------------------------------------------
    def make_token(self, name: str, *, note: str = "", days: int | None = None) -> str:
        """A new token of this person. It is shown now, and never again."""
        self.person(name)
        if days is not None and days < 1:
            raise ParameterError(f"A token cannot be good for {days} days: give 1 or more.")
        secret = PREFIX + secrets.token_urlsafe(32)
        expires = None if days is None else _text(_now() + timedelta(days=days))
        row = (secret[:ID_LENGTH], _hash(secret), name, note, _text(_now()), expires)
        with self._writing() as db:
            db.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)", row)
        return secret

    def tokens(self, name: str | None = None) -> tuple[Token, ...]:
        """Of one person or of all, newest first; revoked ones too."""
        query = "SELECT * FROM token WHERE ? IS NULL OR person = ? ORDER BY created DESC"
        return tuple(map(_token, self._all(query, (name, name))))

    def revoke(self, token: str, *, person: str | None = None) -> Token:
        """By its id or the whole token; sessions that were opened with it end too."""
        found = [t for t in self.tokens(person) if t.id == token[:ID_LENGTH]]
        if not found:
            raise NotFoundError(f"There is no token {token[:ID_LENGTH]!r}; list them first.")
        with self._writing() as db:
            db.execute(
                "UPDATE token SET revoked = coalesce(revoked, ?) WHERE id = ?",
                (_text(_now()), found[0].id),
            )
            db.execute("DELETE FROM session WHERE token = ?", (found[0].id,))
        return next(t for t in self.tokens() if t.id == found[0].id)

    def whose_token(self, secret: str) -> tuple[Person, str] | None:
        """The person and the token's id; None for a token that is unknown, old or revoked."""
        now = _now()
        rows = self._all(
            "SELECT * FROM token WHERE hash = ? AND revoked IS NULL "
            "AND (expires IS NULL OR expires > ?)",
            (_hash(secret), _text(now)),
        )
        person = self._find(rows[0]["person"]) if rows else None
        if person is None:
            return None
        used = rows[0]["last_used"]
        if used is None or datetime.fromisoformat(used) < now - USED_EVERY:
            with self._writing() as db:
                db.execute(
                    "UPDATE token SET last_used = ? WHERE id = ?", (_text(now), rows[0]["id"])
                )
        return person, str(rows[0]["id"])

    # --- sessions -----------------------------------------------------------------------------
    def open_session(self, name: str, *, hours: float, token: str | None = None) -> str:
        """What the browser's cookie holds; `token` is the id of the one that was shown."""
        secret = secrets.token_urlsafe(32)
        ends = _text(_now() + timedelta(hours=hours))
        with self._writing() as db:
            db.execute("DELETE FROM session WHERE expires < ?", (_text(_now()),))
            db.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?)", (_hash(secret), name, token, ends)
            )
        return secret

    def whose_session(self, secret: str) -> Person | None:
        """None when the session has ended or never was."""
        rows = self._all(
            "SELECT person.* FROM session JOIN person ON person.name = session.person "
            "WHERE hash = ? AND expires > ?",
            (_hash(secret), _text(_now())),
        )
        return _person(rows[0]) if rows else None

    def close_session(self, secret: str) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM session WHERE hash = ?", (_hash(secret),))

    # --- whom a model belongs to --------------------------------------------------------------
    def share_model(self, model: str, groups: frozenset[str]) -> None:
        """Only these groups see the model from now on; all do when there are none."""
        rows = [(model, checked_name(group, what="group")) for group in sorted(groups)]
        with self._writing() as db:
            db.execute("DELETE FROM model_group WHERE model = ?", (model,))
            db.executemany("INSERT INTO model_group VALUES (?, ?)", rows)

    def groups_of(self, model: str) -> frozenset[str]:
        """Empty for a model that belongs to all."""
        rows = self._all("SELECT name FROM model_group WHERE model = ?", (model,))
        return frozenset(row["name"] for row in rows)

    # ------------------------------------------------------------------------------------------
    def _find(self, name: str) -> Person | None:
        rows = self._all("SELECT * FROM person WHERE name = ?", (name,))
        return _person(rows[0]) if rows else None

    def _all(self, query: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _person(row: sqlite3.Row) -> Person:
    groups = frozenset(filter(None, row["groups"].split(",")))
    limits = (row["max_jobs"], row["max_request_mib"], row["requests_per_minute"])
    return Person(row["name"], checked_role(row["role"]), groups, *limits)


def _token(row: sqlite3.Row) -> Token:
    def when(column: str) -> datetime | None:
        return datetime.fromisoformat(row[column]) if row[column] else None

    created = datetime.fromisoformat(row["created"])
    rest = (when("expires"), when("last_used"), when("revoked"))
    return Token(row["id"], row["person"], row["note"], created, *rest)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> datetime:
    return datetime.now(UTC)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
