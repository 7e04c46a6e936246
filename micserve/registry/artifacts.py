"""Where the registry's files lie: behind its server, or in the folder beside its database.

Both speak of a file by the same key, the path below the artifact root, and
runs always record `mlflow-artifacts:/<key>`. MLflow alone can read that form
only through a server; because it is resolved here instead, a folder written
directly is served later without a change, and the other way round.
"""

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import requests
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from micserve.errors import (
    IntegrityError,
    NotFoundError,
    ParameterError,
    RegistryUnavailableError,
)
from micserve.files import settle
from micserve.registry.connection import Connection, translated
from micserve.registry.server import ARTIFACTS

SCHEME = "mlflow-artifacts"
ROUTE = "/api/2.0/mlflow-artifacts/artifacts"
TIMEOUT_S = (5, 120)
"""To connect, and between bytes: a server may copy a large package elsewhere before it answers."""
CHUNK = 1 << 20


class Artifacts(Protocol):
    """Files by key. Thread-safe."""

    def put(self, file: Path, key: str) -> None:
        """Store one file; raises unless all of it is stored."""

    def get(self, key: str, to: Path) -> None:
        """Write the file to a path; NotFoundError when there is none."""

    def list(self, key: str) -> list[tuple[str, bool]]:
        """Names in a folder, each with whether it is a folder; none when there is no folder."""


def artifacts_of(connection: Connection) -> Artifacts:
    if connection.database is None:
        return ServerArtifacts(connection)
    return FolderArtifacts(connection.database.parent / ARTIFACTS)


def key_of(uri: str) -> str:
    """`mlflow-artifacts:/a/b` to `a/b`."""
    parts = urlsplit(uri)
    if parts.scheme != SCHEME:
        raise IntegrityError(
            f"The registry keeps these files at {uri!r}, where micserve does not look: it reads "
            f"{SCHEME}: addresses only. Was this published by another program?"
        )
    return parts.path.strip("/")


def uri_of(key: str) -> str:
    return f"{SCHEME}:/{key}"


def safe_path(path: str) -> str:
    """A relative path that stays inside its folder, `.` as the empty path.

    Raises
    ------
    ParameterError
        For any other.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise ParameterError(
            f"{path!r} is not a path inside the model's files, like qc/report.html."
        )
    return "" if str(pure) == "." else str(pure)


class FolderArtifacts:
    """A folder on this machine; every file appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, file: Path, key: str) -> None:
        final = self._root / key
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=final.parent, prefix=".put-") as folder:
                temporary = Path(folder) / final.name
                shutil.copyfile(file, temporary)
                settle(temporary, final)
        except OSError as error:
            raise RegistryUnavailableError(
                f"The registry's folder {self._root} does not take the file {file.name}: "
                f"{error.strerror or error}. Check that it has space and that you may write there."
            ) from error

    def get(self, key: str, to: Path) -> None:
        try:
            shutil.copyfile(self._root / key, to)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFoundError(f"The registry has no file {key}.") from error

    def list(self, key: str) -> list[tuple[str, bool]]:
        try:
            with os.scandir(self._root / key) as entries:
                found = [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".put-")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found)


class ServerArtifacts:
    """The artifact routes of a tracking server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, file: Path, key: str) -> None:
        def send(_: Any) -> None:
            with file.open("rb") as body:
                headers = {"Content-Type": "application/octet-stream"}
                self._answer("PUT", _route(key), data=body, extra_headers=headers).close()

        self._connection.call(send)

    def get(self, key: str, to: Path) -> None:
        def receive(_: Any) -> None:
            answer = self._answer("GET", _route(key), stream=True)
            with answer, to.open("wb") as file:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)

        self._connection.call(receive)

    def list(self, key: str) -> list[tuple[str, bool]]:
        def ask(_: Any) -> list[tuple[str, bool]]:
            with self._answer("GET", ROUTE, params={"path": key}) as answer:
                files = answer.json().get("files", [])
            return sorted((file["path"], bool(file.get("is_dir"))) for file in files)

        return self._connection.call(ask)

    def _answer(self, method: str, route: str, **request: Any) -> requests.Response:
        answer: requests.Response = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(self._connection.uri),  # type: ignore[no-untyped-call]
            route,
            method,
            timeout=TIMEOUT_S,
            **request,
        )
        if answer.ok:
            return answer
        with answer:
            raise _refusal(answer)


def _refusal(answer: requests.Response) -> Exception:
    if answer.status_code in (requests.codes.not_found, requests.codes.bad_request):
        # 400 is what a folder gets.
        return NotFoundError(f"The registry has no file {answer.url.partition(ROUTE)[2]}.")
    return translated(MlflowException(f"{answer.status_code} {answer.text[:200]}"), answer.url)


def _route(key: str) -> str:
    return f"{ROUTE}/{quote(key)}"
