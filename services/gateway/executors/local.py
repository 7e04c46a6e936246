"""Jobs as processes of this machine: one training per GPU, one on a machine without.

There is no scheduler on one machine, so that a folder per job is the queue: `task.json` says what
is to run and in which order, and the program's own shell notes that it began, its process id and
its exit status. All of it is on the disk, so that a new gateway finds what the old one started;
the programs are in sessions of their own and go on when the gateway ends, however it ends.
"""

import contextlib
import fcntl
import json
import logging
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from micserve.files import publish_file, said_when_full
from services.gateway.executors.base import (
    LOG,
    STOP_PATIENCE_S,
    Task,
    TaskState,
    exit_status,
    tail_of,
)
from services.gateway.executors.commands import Commands

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.3
LOOK_IDLE_S = 3.0
MARK = "MICSERVE_JOB_FOLDER"
"""Variable of every program of a job: who carries it belongs to the job, whatever its number."""
TASK, PID, CANCELLED = "task.json", "pid", "cancelled"

SHELL = """
folder=$1; attempt=$2; shift 2
mkdir "$folder/began-$attempt" 2>/dev/null || exit 0
echo $$ >"$folder/pid.part" && mv "$folder/pid.part" "$folder/pid"
trap : TERM INT HUP
"$@" >>"$folder/log.txt" 2>&1 </dev/null
status=$?
echo $status >"$folder/exit.part" && mv "$folder/exit.part" "$folder/exit"
"""
"""Runs one task. Only the first of two shells that start the same attempt goes on."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One task of the spool that may not have begun."""

    order: int
    folder: Path
    kind: str
    attempt: int
    command: Sequence[str]
    environment: Mapping[str, str]

    @property
    def began(self) -> bool:
        return (self.folder / f"began-{self.attempt}").is_dir()

    @property
    def is_over(self) -> bool:
        return exit_status(self.folder) is not None or (self.folder / CANCELLED).exists()


class LocalExecutor:
    """The `Executor` of one machine.

    Parameters
    ----------
    folder
        Of all jobs; each job's own folder is below it.
    trainings, predictions
        How many of each run at the same time; 0 trainings: as many as there are GPUs, at
        least one.
    """

    name = "local"

    def __init__(
        self, folder: Path, commands: Commands, *, trainings: int = 0, predictions: int = 1
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._commands = folder, commands
        self._gpus = gpu_count()
        self._room = {"train": trainings or max(self._gpus, 1), "predict": predictions}
        self._ending = threading.Event()
        self._soon = threading.Event()
        self._children: list[subprocess.Popen[bytes]] = []
        self._over: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="local-jobs", daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> str:
        """Put it into the spool; the same attempt twice is one task."""
        command = self._commands.of(task)
        for old in ("exit", PID, CANCELLED):
            if task.attempt > 1 and not (task.folder / f"began-{task.attempt}").exists():
                (task.folder / old).unlink(missing_ok=True)
        entry = {
            "order": _order_of(task.folder) or time.time_ns(),
            "kind": task.kind,
            "attempt": task.attempt,
            "command": list(command),
            "environment": {**task.environment, MARK: str(task.folder)},
        }
        with said_when_full("The job"), publish_file(task.folder / TASK) as part:
            part.write_text(json.dumps(entry), encoding="utf-8")
        self._soon.set()
        return f"local-{task.attempt}"

    def state(self, task: Task, handle: str) -> TaskState:
        waiting = _read(task.folder)
        if waiting is None:
            return "lost"
        status = exit_status(task.folder)
        if (task.folder / CANCELLED).exists() and (status is not None or _alive(waiting) is None):
            return "cancelled"
        if status is not None:
            return "succeeded" if status == 0 else "failed"
        if not waiting.began:
            return "waiting"
        lives = _alive(waiting) is not None or _just_began(waiting) or any(_marked(waiting))
        return "running" if lives else "lost"

    def cancel(self, task: Task, handle: str) -> None:
        """Ask, then end, with everything that it started."""
        waiting = _read(task.folder)
        if waiting is None or exit_status(task.folder) is not None:
            return
        (task.folder / CANCELLED).touch()
        if not waiting.began:
            return
        shell = _alive(waiting)
        if shell is not None:
            _signal_all(waiting, signal.SIGTERM)
            with contextlib.suppress(psutil.Error):
                shell.wait(timeout=STOP_PATIENCE_S)
        _signal_all(waiting, signal.SIGKILL)

    def log_tail(self, task: Task, handle: str, lines: int) -> list[str]:
        return tail_of(task.folder / LOG, lines)

    def position(self, task: Task, handle: str) -> int | None:
        mine = _read(task.folder)
        if mine is None or mine.began or mine.is_over:
            return None
        before = (w for w in self._spool() if w.kind == mine.kind and not w.began)
        return 1 + sum(w.order < mine.order for w in before)

    def why_waiting(self, task: Task, handle: str) -> str:
        return ""

    def forget(self, task: Task, handle: str) -> None:
        """All of it is in the job's folder."""

    def close(self) -> None:
        self._ending.set()
        self._soon.set()
        self._thread.join()

    # --- the spool ------------------------------------------------------------------------------
    def _work(self) -> None:
        """Start what has room. Of several gateways on one folder, one at a time does this."""
        with self._alone() as alone:
            if not alone:
                return
            busy = True
            while not self._ending.is_set():
                self._soon.wait(LOOK_EVERY_S if busy else LOOK_IDLE_S)
                self._soon.clear()
                self._children = [c for c in self._children if c.poll() is None]
                try:
                    busy = self._start_what_fits()
                except OSError as error:
                    log.error("jobs cannot be started: %s", error)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        with (self._folder / ".lock").open("w") as lock:
            while not self._ending.is_set():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._ending.wait(1.0)
                else:
                    yield True
                    return
            yield False

    def _spool(self) -> list[Waiting]:
        """Everything that has not ended, in order."""
        folders = (path.parent for path in self._folder.glob(f"*/{TASK}"))
        found = [w for f in folders if f.name not in self._over and (w := _read(f)) is not None]
        # What is over stays so: results are kept for months, and not looked through every time.
        self._over |= {w.folder.name for w in found if w.is_over}
        return sorted((w for w in found if not w.is_over), key=lambda w: w.order)

    def _start_what_fits(self) -> bool:
        """Whether there is anything to look at again soon."""
        spool = self._spool()
        for kind, room in self._room.items():
            mine = [w for w in spool if w.kind == kind]
            running = [w for w in mine if w.began and (_alive(w) is not None or _just_began(w))]
            free = max(room - len(running), 0)
            taken = {_gpu_of(w) for w in running}
            for waiting in [w for w in mine if not w.began][:free]:
                gpu = next((n for n in range(self._gpus) if n not in taken), None)
                taken.add(gpu)
                self._start(waiting, gpu if kind == "train" else None)
        return bool(spool)

    def _start(self, waiting: Waiting, gpu: int | None) -> None:
        environment = {**self._commands.inherited(), **waiting.environment}
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
        words = ["/bin/sh", "-c", SHELL, "micserve-job", str(waiting.folder), str(waiting.attempt)]
        self._children.append(
            subprocess.Popen(
                [*words, *waiting.command],
                cwd=self._commands.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        deadline = time.monotonic() + 10
        while not waiting.began and time.monotonic() < deadline:
            # The next look must count it; a shell notes this in a millisecond.
            time.sleep(0.005)


def gpu_count() -> int:
    """NVIDIA GPUs of this machine."""
    folder = Path("/proc/driver/nvidia/gpus")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def _read(folder: Path) -> Waiting | None:
    try:
        entry = json.loads((folder / TASK).read_bytes())
    except (OSError, ValueError):
        return None
    return Waiting(
        order=entry["order"],
        folder=folder,
        kind=entry["kind"],
        attempt=entry["attempt"],
        command=entry["command"],
        environment=entry["environment"],
    )


def _order_of(folder: Path) -> int | None:
    """Of an earlier attempt: a task that was lost does not lose its place."""
    before = _read(folder)
    return None if before is None else before.order


def _alive(waiting: Waiting) -> psutil.Process | None:
    """The task's shell, if the process of its number is really it."""
    try:
        process = psutil.Process(int((waiting.folder / PID).read_text("ascii")))
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if process.environ().get(MARK) == str(waiting.folder) else None
    except (OSError, ValueError, psutil.Error):
        return None


def _just_began(waiting: Waiting) -> bool:
    """Its shell may be between two lines."""
    try:
        age = time.time() - (waiting.folder / f"began-{waiting.attempt}").stat().st_mtime
    except FileNotFoundError:
        return False
    return age < 5 and not (waiting.folder / PID).exists()


def _gpu_of(waiting: Waiting) -> int | None:
    process = _alive(waiting)
    if process is None:
        return None
    try:
        number = process.environ().get("CUDA_VISIBLE_DEVICES", "")
    except psutil.Error:
        return None
    return int(number) if number.isdigit() else None


def _marked(waiting: Waiting) -> Iterator[psutil.Process]:
    """Every process of a job: a program may leave its group and its shell, not its mark."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.environ().get(MARK) == str(waiting.folder)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                yield process


def _signal_all(waiting: Waiting, number: signal.Signals) -> None:
    for process in _marked(waiting):
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def remove(folder: Path) -> None:
    """A job's folder with all that it holds."""
    shutil.rmtree(folder, ignore_errors=True)
