"""micserve as its users run it: real processes of the n2v service and the gateway on free ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

READY_WITHIN_S = 300
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Program:
    """One program in a process group of its own; it may be killed and started again."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment},
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.wait_for("/readyz", 200)

    def wait_for(self, path: str, status: int) -> httpx.Response:
        """Until the path answers with this status."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            try:
                answer = httpx.get(self.url + path, timeout=5)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == status:
                return answer
            time.sleep(0.1)
        text = self.log.read_text(errors="replace")[-4000:]
        raise AssertionError(f"{self.command[-1]} did not answer {path} with {status}:\n{text}")

    def kill_parent(self) -> None:
        """kill -9 of the program's first process alone; what it started must end by itself."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(children, timeout=30)

    def terminate(self) -> int:
        """As a supervisor stops it."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=60)

    def stop(self) -> None:
        """Whatever state it is in."""
        if self.process is None:
            return
        started: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            started = psutil.Process(self.process.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # A worker may answer one more image before it ends.
        psutil.wait_procs(started, timeout=30)
        self.process = None


def n2v_service(home: Path, registry: str, **settings: str) -> Program:
    return family_service("n2v", home, registry, **settings)


def family_service(family: str, home: Path, registry: str, **settings: str) -> Program:
    port = free_port()
    command = (
        str(Path(sys.executable).parent / "bentoml"),
        *("serve", f"services.{family}.service"),
        *("--host", "127.0.0.1", "--port", str(port)),
    )
    log = home / f"{family}-{port}.log"
    return Program(command, _environment(home, registry, settings), port, log)


def gateway(home: Path, registry: str, *, n2v: str, **settings: str) -> Program:
    port = free_port()
    settings = {"MICSERVE_GATEWAY_PORT": str(port), "MICSERVE_N2V_URL": n2v, **settings}
    command = (sys.executable, "-m", "services.gateway")
    environment = _environment(home, registry, settings)
    return Program(command, environment, port, home / f"gateway-{port}.log")


def _environment(home: Path, registry: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "MICSERVE_HOME": str(home),
        "MICSERVE_REGISTRY": registry,
        "MICSERVE_PROVIDER": "cpu",
        "MICSERVE_POLL_S": "0.3",
        "MICSERVE_ALIAS_S": "0.3",
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(home / "bentoml"),
        **settings,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
