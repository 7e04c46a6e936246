"""The one place where MLflow is asked something, and where its errors become ours.

Three things can be wrong with an answer: the registry is away
(RegistryUnavailableError), it does not know the thing (NotFoundError), or it
refuses (RefusedError). Callers above word the latter two better, because they
know what was asked for.
"""

import fcntl
import importlib.util
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from urllib3.exceptions import ReadTimeoutError

from micserve.errors import (
    MicserveError,
    NotFoundError,
    ParameterError,
    RefusedError,
    RegistryUnavailableError,
)

T = TypeVar("T")

PAUSE_S = 0.2
"""Before a question is asked once more: long enough for a locked database, short for a person."""


class Connection:
    """An MLflow client for one address. Thread-safe."""

    def __init__(self, uri: str) -> None:
        self.uri, self.database = _check(uri)
        self.shown = _without_password(self.uri)
        self.client = self._open()

    def call(self, what: Callable[[MlflowClient], T], *, again: bool = True) -> T:
        """The answer to one request.

        Parameters
        ----------
        again
            Whether the request may be sent twice: true for all but those that make
            something new each time.
        """
        try:
            return what(self.client)
        except (MlflowException, requests.RequestException) as error:
            trouble = translated(error, self.shown)
            if not (again and isinstance(trouble, RegistryUnavailableError)) or _timed_out(error):
                raise trouble from error
        time.sleep(PAUSE_S)
        return self.call(what, again=False)

    def _open(self) -> MlflowClient:
        if self.database is None:
            return MlflowClient(self.uri, self.uri)
        _refuse_without_sqlalchemy(self.uri)
        _refuse_bad_database(self.database)
        # Two programs that make the tables of one new database at once get in each other's way.
        with self.database.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                client = MlflowClient(self.uri, self.uri)
                client.search_registered_models(max_results=1)
            except MlflowException as error:
                raise translated(error, self.shown) from error
        return client


def translated(error: Exception, uri: str) -> MicserveError:
    """Our error for one of MLflow's or of its HTTP library."""
    code = getattr(error, "error_code", None)
    reason = " ".join(str(error).split())[:300]
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
        return NotFoundError(reason)
    if code in ("RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE"):
        return RefusedError(reason)
    return RegistryUnavailableError(
        f"The registry at {uri} does not answer as it should: {_cause(error, reason)}. Check that "
        "it runs and that MICSERVE_REGISTRY holds its address, then try again."
    )


def _cause(error: Exception, reason: str) -> str:
    """In words; MLflow hides the network's error below its own."""
    below = _network_error(error)
    if _timed_out(error):
        return "it took too long"
    if isinstance(below, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(below, requests.exceptions.RetryError):
        return "it reports an error of its own"
    if isinstance(below, requests.ConnectionError):
        return "nothing listens there, or the connection broke"
    return reason.rstrip(".")


def _timed_out(error: Exception) -> bool:
    below = _network_error(error)
    # A read that times out arrives as a connection error, because a retry policy is set.
    reason = getattr(below.args[0], "reason", None) if below.args else None
    return isinstance(below, requests.exceptions.Timeout) or isinstance(reason, ReadTimeoutError)


def _network_error(error: Exception) -> BaseException:
    if isinstance(error, requests.RequestException):
        return error
    return error.__cause__ or error.__context__ or error


def _check(uri: str) -> tuple[str, Path | None]:
    """The address made absolute, with the database's file where it is one."""
    if uri.startswith(("http://", "https://")) and urlsplit(uri).hostname:
        return uri.rstrip("/"), None
    path = uri.removeprefix("sqlite:///")
    if path == uri or not path or path.startswith(":"):
        raise ParameterError(
            f"The registry's address is {_without_password(uri)!r}: MICSERVE_REGISTRY needs "
            "http://host:port of a tracking server, or sqlite:///folder/mlflow.db."
        )
    database = Path(path).absolute()
    return f"sqlite:///{database}", database


def _without_password(uri: str) -> str:
    scheme, mark, rest = uri.partition("://")
    return scheme + mark + rest.rpartition("@")[2] if mark else uri


def _refuse_without_sqlalchemy(uri: str) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("sqlalchemy", "alembic")):
        raise RegistryUnavailableError(
            f"The registry {uri} is a database file, which needs the whole mlflow package; only "
            "mlflow-skinny is installed here. Set MICSERVE_REGISTRY to the http:// address of "
            "the registry's server, or install mlflow."
        )


def _refuse_bad_database(database: Path) -> None:
    """MLflow would try for minutes to open a file that cannot be opened."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(database) as probe:
            probe.execute("select count(*) from sqlite_master")
        probe.close()
    except (OSError, sqlite3.Error) as error:
        raise RegistryUnavailableError(
            f"The registry's database {database} cannot be opened ({error}). Check MICSERVE_HOME "
            "and MICSERVE_REGISTRY, and that you may write there."
        ) from error
