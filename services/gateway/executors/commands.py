"""How a task becomes a command line: the same that `make train-<family>` runs.

Each training stack has an environment of its own (`make setup-n2v` and so on). What the gateway
alone may know, such as the login's secret, is not handed on.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from micserve.errors import ExecutorUnavailableError
from services.gateway.executors.base import Task

ROOT = Path(__file__).resolve().parents[3]

STACKS: Mapping[str, str] = {
    "n2v": "n2v",
    "care": "tf",
    "stardist": "tf",
    "unet": "torch",
    "fnet": "torch",
}
"""Family to the environment that trains it, as in the Makefile."""

SECRETS = ("MICSERVE_OIDC_CLIENT_SECRET",)


class Commands:
    """Command lines of tasks.

    Parameters
    ----------
    environments
        Folder that holds the training environments, one per stack.
    """

    def __init__(self, environments: Path, folder: Path = ROOT) -> None:
        self._environments = environments
        self.folder = folder
        """Where commands are run."""

    def of(self, task: Task) -> tuple[str, ...]:
        """The words of the command.

        Raises
        ------
        ExecutorUnavailableError
            When the environment is not set up, with the command that sets it up.
        """
        python = Path(sys.executable) if task.kind == "predict" else self.python_of(task.family)
        return (str(python), "-m", task.module, *task.arguments)

    def python_of(self, family: str) -> Path:
        stack = STACKS[family]
        given = os.environ.get(f"MICSERVE_VENV_{stack.upper()}")
        python = (Path(given) if given else self._environments / stack) / "bin" / "python"
        if not python.is_file():
            raise ExecutorUnavailableError(
                f"This server cannot train {family} yet: its environment is not set up. The "
                f"facility's staff can do so with make setup-{stack}."
            )
        return python

    def inherited(self) -> dict[str, str]:
        """Of the gateway's own environment, what a job may know."""
        kept = {k: v for k, v in os.environ.items() if k not in SECRETS}
        path = os.pathsep.join(filter(None, (str(self.folder), kept.get("PYTHONPATH", ""))))
        return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
