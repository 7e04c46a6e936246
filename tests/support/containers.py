"""Our images as an engine runs them: built here from a base made here, then real containers.

Podman as root with images of its own (tests/containers/engine.sh). Nothing is asked of any
registry; packages come from where pip gets them on this machine.
"""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from micserve import __version__

ROOT = Path(__file__).resolve().parents[2]
IMAGES: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "containers/images.toml").read_text())[
    "images"
]
ASKED = "MICSERVE_TEST_IMAGES"
"""Names of the images that are built and tested, with commas between; `all` for every one."""

READY_WITHIN_S = 300

LOCKED = (
    *("--network", "host", "--read-only", "--tmpfs", "/tmp:rw,mode=1777"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)


def asked_for() -> list[str]:
    """The images that this run of the tests is to build."""
    words = [word for word in os.environ.get(ASKED, "").split(",") if word]
    return list(IMAGES) if words == ["all"] else words


def missing() -> str:
    """Why there can be no containers here, or nothing."""
    if not asked_for():
        return f"no images were asked for: make test-images, or {ASKED}=n2v,gateway"
    if os.getuid():
        return "images are made and run as root here"
    tools = ("podman", "buildah", "runc", "mmdebstrap")
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} is not installed (apt-get install {' '.join(tools)} netavark)"
    return ""


@dataclass
class Engine:
    """Podman with a storage of its own."""

    environment: Mapping[str, str]
    running: list[str] = field(default_factory=list)

    @classmethod
    def prepare(cls) -> "Engine":
        """The engine, with the base image there."""
        script = ROOT / "tests/containers/engine.sh"
        shown = subprocess.run(
            ["bash", "-c", f". '{script}' && env -0"], check=True, capture_output=True
        )
        entries = [entry.partition("=") for entry in shown.stdout.decode().split("\0") if entry]
        engine = cls({name: value for name, _, value in entries})
        _checked([ROOT / "tests/containers/make_base.sh"], engine.environment)
        return engine

    def build(self, names: list[str]) -> None:
        """As `make images` does it."""
        command = [sys.executable, ROOT / "containers/build.py", *names]
        _checked([*command, "--engine", "podman", "--offline"], self.environment)

    def podman(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["podman", *map(str, words)], env=self.environment, capture_output=True, text=True
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr}"
        return done

    def once(self, image: str, *command: str, check: bool = True) -> str:
        """What a program in a locked container prints."""
        words = ["run", "--rm", *LOCKED, "--entrypoint", command[0], reference(image)]
        done = self.podman(*words, *command[1:], check=check)
        return done.stdout + done.stderr

    def start(self, image: str, **settings: str) -> str:
        """A service in a locked container; its name."""
        name = f"micserve-test-{image}-{uuid4().hex[:8]}"
        variables = [word for item in settings.items() for word in ("--env", "=".join(item))]
        self.podman("run", "--detach", "--name", name, *LOCKED, *variables, reference(image))
        self.running.append(name)
        return name

    def inside(self, name: str, *command: str, check: bool = True) -> str:
        done = self.podman("exec", name, *command, check=check)
        return done.stdout + done.stderr

    def wait(self, name: str, url: str, good: Callable[[httpx.Response], bool]) -> httpx.Response:
        """Until the address answers as it should."""
        deadline = time.monotonic() + READY_WITHIN_S
        answer = None
        while time.monotonic() < deadline:
            state = self.podman("inspect", "--format", "{{.State.Running}}", name).stdout.strip()
            if state != "true":
                break
            try:
                answer = httpx.get(url, timeout=5)
            except httpx.TransportError:
                answer = None
            if answer is not None and good(answer):
                return answer
            time.sleep(0.3)
        said = "" if answer is None else answer.text
        log = self.podman("logs", name, check=False)
        raise AssertionError(f"{name} at {url}: {said}\n{log.stdout[-3000:]}{log.stderr[-3000:]}")

    def stop(self, name: str) -> int:
        """As `docker stop` does it: the image's signal, and time to end. The exit status."""
        self.podman("stop", "--time", "90", name)
        self.running.remove(name)
        status = self.podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout
        self.podman("rm", "--force", "--volumes", name)
        return int(status)

    def close(self) -> None:
        for name in self.running:
            self.podman("rm", "--force", "--volumes", "--time", "5", name, check=False)


def reference(image: str) -> str:
    return f"localhost/micserve-{image}:{__version__}"


def _checked(command: list[Any], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [str(word) for word in command], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        pytest.fail(
            f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"[-6000:]
        )
