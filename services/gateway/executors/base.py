"""The seam between jobs and where they run.

An executor starts a program somewhere and knows what became of it; it knows nothing of people,
models or metrics. The site's scheduler keeps the queue. What must outlive the gateway is in the
scheduler, in the job's folder and in the tracking server, never in an executor's memory: a new
process asks `state` with the handle that `submit` once gave, and gets the truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

LOG = "log.txt"
"""In the job's folder: what its program printed, both streams."""

EXIT = "exit"
"""In the job's folder: the program's exit status as text, once it has ended; whole or absent."""

TaskState = Literal["waiting", "running", "succeeded", "failed", "cancelled", "lost"]
"""`lost`: neither there nor ended as far as anybody knows (the machine went down, the scheduler
forgot it). Whoever asks may submit the task again: every task goes on where it was."""

STOP_PATIENCE_S = 5.0
"""Between asking a program to end and ending it. A training notes in the registry that it was
stopped within this time; a cancel then took seconds and the GPU is free."""


@dataclass(frozen=True, slots=True)
class Task:
    """One program to run: `python -m <module> <arguments>` in the environment of its family."""

    id: str
    """Of the job: 32 hexadecimal digits, also the id of its run in the tracking server."""
    kind: Literal["train", "predict"]
    """A training may need a GPU; a prediction only talks to the inference services."""
    family: str
    """`n2v`, `care`, `stardist`, `unet` or `fnet`."""
    module: str
    """`training.n2v`; `services.gateway.jobs.predicting` for a prediction."""
    arguments: tuple[str, ...]
    folder: Path
    """The job's own folder, absolute; on a disk that the gateway and the job both see."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """On top of what the program inherits: MICSERVE_HOME, MICSERVE_REGISTRY, …"""
    attempt: int = 1
    """Counts from 1; more when a lost task is submitted again."""


class Executor(Protocol):
    """One place where tasks run. Thread-safe; every method may block for seconds, none for minutes.

    Where the place itself does not answer (a scheduler that is down), every method raises
    `micserve.errors.ExecutorUnavailableError` with a sentence, and the caller asks again later.
    """

    @property
    def name(self) -> str:
        """`local`, `slurm` or `kubernetes`."""

    def submit(self, task: Task) -> str:
        """Have it run as soon as there is room, and return its handle at once.

        The handle is a short text that is good after a restart. To submit the same task and
        attempt again gives the same running task and not a second one, as far as the scheduler
        can tell.
        """

    def state(self, task: Task, handle: str) -> TaskState:
        """What became of it."""

    def cancel(self, task: Task, handle: str) -> None:
        """End it within seconds, with everything that it started; one that has ended is left."""

    def log_tail(self, task: Task, handle: str, lines: int) -> list[str]:
        """The last lines that it printed; empty where it printed nothing yet."""

    def position(self, task: Task, handle: str) -> int | None:
        """1 for the next one to start; None for what does not wait, or where nobody knows."""

    def why_waiting(self, task: Task, handle: str) -> str:
        """A sentence on what a waiting task waits for, where the scheduler says so; else empty."""

    def forget(self, task: Task, handle: str) -> None:
        """Remove what the executor keeps of an ended task outside of the job's folder."""

    def close(self) -> None:
        """The gateway ends; tasks go on."""


def exit_status(folder: Path) -> int | None:
    """Of a program that has ended; None while it has not."""
    try:
        return int((folder / EXIT).read_text("ascii"))
    except (OSError, ValueError):
        return None


def tail_of(path: Path, lines: int, *, most_bytes: int = 64 << 10) -> list[str]:
    """The last lines of a text that may be growing; a progress bar's rewritten line counts once."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most_bytes))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    whole = [line.rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in whole[-lines - 1 :] if line.strip()][-lines:]
