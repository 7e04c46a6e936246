"""A real tracking server for tests: started on a free port, killed by its own process group.

`registry_server` is one server for the whole session, so tests choose model
names of their own. A test that kills its server makes one with `RegistryServer`.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from micserve.registry import RegistrySettings, open_registry
from micserve.registry.server import DATABASE, server_command, server_environment

READY_WITHIN_S = 300


class RegistryServer:
    """The server of one registry folder; it may be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                server_command(self.folder, port=self.port),
                env=server_environment(os.environ),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait()

    def kill(self) -> None:
        """kill -9, of the server and its workers: their process group is theirs alone."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        log = (self.folder / "server.log").read_text()[-3000:]
        self.kill()
        pytest.fail(f"the registry server did not come up:\n{log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables of an empty registry; copied, because to make it takes seconds."""
    pytest.importorskip("sqlalchemy", reason="needs the whole mlflow")
    folder = tmp_path_factory.mktemp("empty-registry")
    settings = RegistrySettings(cache=folder / "cache")
    open_registry(f"sqlite:///{folder / DATABASE}", settings=settings)
    return folder


@pytest.fixture(scope="session")
def registry_server(
    empty_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RegistryServer]:
    """The session's tracking server; `open_registry(registry_server.url)`."""
    folder = tmp_path_factory.mktemp("registry-server")
    shutil.copyfile(empty_registry / DATABASE, folder / DATABASE)
    server = RegistryServer(folder)
    server.start()
    yield server
    server.kill()
