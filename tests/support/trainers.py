"""Trainers as people run them: programs of their own environment, with a real registry."""

import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.registry_server import RegistryServer

ROOT = Path(__file__).resolve().parents[2]

WITHIN_S = 400
"""For one run of a trainer; frameworks take ten seconds to load on a busy machine."""


def python_of(environment: str) -> Path:
    """The interpreter of `.venvs/<environment>`; the test is skipped where it is not set up."""
    variable = f"MICSERVE_VENV_{environment.upper()}"
    found = Path(os.environ.get(variable, ROOT / ".venvs" / environment)) / "bin" / "python"
    if not found.is_file():
        pytest.skip(f"no training environment at {found.parent.parent}; set {variable}")
    return found


class TrainerProgram:
    """Starts one family's trainer, with its own home and a model name of its own."""

    def __init__(self, family: str, python: Path, home: Path, server: RegistryServer) -> None:
        self.family, self._python, self.home = family, python, home
        self.name = f"{family}-{uuid4().hex[:8]}"
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MICSERVE_HOME": str(home),
            "MICSERVE_REGISTRY": server.url,
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *arguments: str, **parameters: object) -> tuple[int, str]:
        """Exit status and output."""
        process = self._start(arguments, parameters)
        output, _ = process.communicate(timeout=WITHIN_S)
        return process.returncode, output

    def killed_after_an_epoch(self, **parameters: object) -> str:
        """The run id of a long training that got a kill -9."""
        process = self._start((), {**parameters, "number_of_epochs": 500})
        watchdog = threading.Timer(WITHIN_S, process.kill)
        watchdog.start()
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGKILL)
        watchdog.cancel()
        process.wait()
        found = re.search(r"run ([0-9a-f]{32})", "".join(seen))
        assert found, "".join(seen)
        return found[1]

    def shorten(self, run_id: str, epochs: int) -> None:
        """A long training that is to end soon: what its folder says was asked for."""
        path = self.home / "training" / run_id / "asked.json"
        asked = json.loads(path.read_text())
        asked["config"]["number_of_epochs"] = epochs
        path.write_text(json.dumps(asked))

    def _start(
        self, arguments: tuple[str, ...], parameters: dict[str, object]
    ) -> subprocess.Popen[str]:
        flags = [word for key, value in parameters.items() for word in (f"--{key}", str(value))]
        return subprocess.Popen(
            [str(self._python), "-m", f"training.{self.family}", *flags, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
