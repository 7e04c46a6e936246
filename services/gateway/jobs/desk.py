"""Where jobs are ordered, followed to their end, cancelled and found again.

State, parameters, metrics and progress are in the tracking server (`JobRecords`); where a program
runs is the executor's; files are in the spool. This module keeps nothing that a restart would
lose: it looks at all three once a second and writes down what changed.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from micserve.errors import InUseError, MicserveError, NotFoundError, RateLimitError
from micserve.registry import Registry
from micserve.registry.jobs import (
    ATTEMPT,
    ENDED,
    HANDLE,
    STATE,
    JobOrder,
    JobRecord,
    JobRecords,
)
from services.gateway.callers import Caller
from services.gateway.executors.base import Executor, Task, TaskState, exit_status
from services.gateway.jobs.ends import DISK_IS_FULL, STOPPED, has_no_room, in_words
from services.gateway.jobs.spool import Spec, Spool

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.7
LOOK_IDLE_S = 15.0
"""While this gateway knows of no job: another one may have taken an order."""
MOST_ATTEMPTS = 3
"""Of a program whose machine went down under it."""
LOG_LINES = 40


class JobDesk:
    """All jobs of one gateway. Thread-safe; every method may block.

    Parameters
    ----------
    executors
        By kind, `train` and `predict`.
    """

    def __init__(self, registry: Registry, spool: Spool, executors: Mapping[str, Executor]) -> None:
        self._registry, self.spool, self._executors = registry, spool, executors
        self._ordering = threading.Lock()
        self._stepping = threading.Lock()
        self._ending, self._soon = threading.Event(), threading.Event()
        self.leaving = threading.Event()
        """Set when the gateway is told to stop: who follows a job must not hold it up."""
        self._thread = threading.Thread(target=self._follow, name="jobs", daemon=True)
        self._followed: dict[str, str] = {}
        self.active: Counter[tuple[str, str]] = Counter()
        """Kind and state of jobs that have not ended, to their number; for metrics."""
        self.ended: Counter[tuple[str, str]] = Counter()
        """Of those that ended while this gateway ran."""

    @property
    def records(self) -> JobRecords:
        return self._registry.jobs

    def start(self) -> None:
        """Find the jobs that are there, and go on following them."""
        self._thread.start()

    def close(self) -> None:
        """The gateway ends; jobs go on."""
        self._ending.set()
        self._soon.set()
        self._thread.join()
        for executor in set(self._executors.values()):
            executor.close()

    # --- ordering -------------------------------------------------------------------------------
    def order(
        self,
        order: JobOrder,
        program: Callable[[str], Spec],
        caller: Caller,
        *,
        arrived: Path | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> JobRecord:
        """Take an order: from here on it is found again, whatever happens.

        Parameters
        ----------
        program
            What to run, once the job has an id.
        arrived
            A folder of images that came with the order; it becomes the job's.

        Raises
        ------
        RateLimitError
            When the caller has as many jobs as they may.
        """
        with self._ordering:
            # Until its folder is whole, the thread that follows must not take it for a remnant.
            self._refuse_too_many(caller)
            identity = self.records.create(order, tags or {})
            try:
                self.spool.begin(identity, program(identity), arrived)
                self._submit(self.records.read(identity))
            except MicserveError as error:
                self.records.note_end(identity, "failed", error=str(error))
                self.records.delete(identity)
                self.spool.remove(identity)
                raise
        self._soon.set()
        return self.records.read(identity)

    def _refuse_too_many(self, caller: Caller) -> None:
        if caller.max_jobs is None:
            return
        mine = [r for r in self.records.active() if r.order.owner == caller.name]
        if len(mine) >= caller.max_jobs:
            raise RateLimitError(
                f"{caller.name} has {len(mine)} jobs waiting or running, and may have "
                f"{caller.max_jobs}. Wait for one to end, or cancel one."
            )

    # --- looking --------------------------------------------------------------------------------
    def one(self, identity: str, caller: Caller) -> JobRecord:
        """NotFoundError for what is not there or not the caller's to see."""
        self.spool.of(identity)
        record = self.records.read(identity)
        if caller.name != record.order.owner and caller.role != "admin":
            raise NotFoundError(f"There is no job {identity}; GET /v1/jobs lists yours.")
        return record

    def listing(self, caller: Caller) -> list[JobRecord]:
        """The caller's, newest first; of all people for an admin."""
        return self.records.listing(None if caller.role == "admin" else caller.name)

    def log_tail(self, record: JobRecord, lines: int = LOG_LINES) -> list[str]:
        sent = self._sent(record)
        return self._executor(record).log_tail(*sent, lines) if sent else []

    def position(self, record: JobRecord) -> int | None:
        """In the queue, from 1; None for what does not wait."""
        sent = self._sent(record) if record.state == "queued" else None
        return self._executor(record).position(*sent) if sent else None

    def why_waiting(self, record: JobRecord) -> str:
        """What the scheduler says of a job that waits; empty where it says nothing."""
        sent = self._sent(record) if record.state == "queued" else None
        return self._executor(record).why_waiting(*sent) if sent else ""

    def refuse_in_use(self, place: str) -> None:
        """InUseError when a job that has not ended reads what is to be deleted."""
        for record in self.records.active():
            for used in filter(None, (record.order.source, record.order.target)):
                one, other = (text.rstrip("/") + "/" for text in (used, place))
                if one.startswith(other) or other.startswith(one):
                    raise InUseError(
                        f"A job of {record.order.owner} ({record.order.kind} "
                        f"{record.order.model}) works on these images. Wait for it, or cancel it."
                    )

    # --- ending ---------------------------------------------------------------------------------
    def cancel(self, record: JobRecord) -> JobRecord:
        """End it within seconds; what has ended stays as it is."""
        if record.state not in ENDED:
            if sent := self._sent(record):
                self._executor(record).cancel(*sent)
                self._step(record)
            else:
                self.records.note_end(record.id, "cancelled")
        self._soon.set()
        return self.records.read(record.id)

    def delete(self, record: JobRecord) -> None:
        """An ended job with its results; a version that it published stays."""
        if sent := self._sent(record):
            self._executor(record).forget(*sent)
        self.records.delete(record.id)
        self.spool.remove(record.id)

    # --- following ------------------------------------------------------------------------------
    def _follow(self) -> None:
        away, active = False, True
        while not self._ending.is_set():
            try:
                jobs = self.records.active()
                active, away = bool(jobs), False
                self._count(jobs)
                for record in jobs:
                    if self._ending.is_set():
                        return
                    self._step_or_complain(record)
            except MicserveError as error:
                if not away:
                    log.warning("jobs go on unwatched for the moment: %s", error)
                away = True
            except Exception:
                log.exception("following jobs met a mistake of ours")
            self._soon.wait(LOOK_EVERY_S if active or away else LOOK_IDLE_S)
            self._soon.clear()

    def _count(self, jobs: Sequence[JobRecord]) -> None:
        """What waits and runs, and what became of those that are no more among them."""
        now: dict[str, str] = {record.id: record.order.kind for record in jobs}
        for identity, kind in self._followed.items():
            if identity not in now:
                state = self._last_state(identity)
                self.ended[kind, state] += state in ENDED
        self._followed = now
        self.active = Counter((record.order.kind, record.state) for record in jobs)

    def _last_state(self, identity: str) -> str:
        try:
            return self.records.read(identity).state
        except NotFoundError:  # deleted since
            return "cancelled"

    def _step_or_complain(self, record: JobRecord) -> None:
        """One job that cannot be looked after does not keep the others waiting."""
        try:
            self._step(record)
        except MicserveError as error:
            log.warning("job %s is not looked after for the moment: %s", record.id, error)

    def _step(self, record: JobRecord) -> None:
        """Write down what changed of one job."""
        with self._stepping:
            # A cancel may have been here since the list was made.
            record = self.records.read(record.id)
            if record.state in ENDED:
                return
            if sent := self._sent(record):
                self._settle(record, *sent)
            else:
                self._take_up(record.id)

    def _take_up(self, identity: str) -> None:
        """An order that a gateway was killed over; one that is being taken now is waited for."""
        with self._ordering:
            record = self.records.read(identity)
            if record.state in ENDED or record.handle is not None:
                return
            if self.spool.task(record) is not None:
                self._submit(record)
                return
            sentence = "The server ended before the order was complete. Order it again."
            self.records.note_end(identity, "failed", error=sentence)

    def _settle(self, record: JobRecord, task: Task, handle: str) -> None:
        state = self._truth(record, self._executor(record).state(task, handle))
        match state:
            case "running" if record.state == "queued":
                self.records.note_start(record.id)
            case "succeeded":
                self._finish(record)
            case "cancelled":
                self.records.note_end(record.id, "cancelled")
            case "failed":
                self._fail(record, task, handle)
            case "lost":
                self._again(record)
            case _:
                pass

    def _truth(self, record: JobRecord, state: TaskState) -> TaskState:
        """A scheduler forgets; what the program itself noted last does not."""
        said: dict[str, TaskState] = {
            "FINISHED": "succeeded",
            "FAILED": "failed",
            "KILLED": "cancelled",
        }
        return said.get(record.run_status, state) if state == "lost" else state

    def _finish(self, record: JobRecord) -> None:
        version = self._published(record) if record.order.kind == "train" else None
        if record.order.kind == "train" and version is None:
            sentence = "The training ended well but its version is not in the registry."
            self.records.note_end(record.id, "failed", error=sentence)
            return
        self.records.note_end(record.id, "finished", version=version)

    def _published(self, record: JobRecord) -> int | None:
        versions = self._registry.list_versions(record.order.model)
        return next((v.version for v in versions if v.run_id == record.id), None)

    def _fail(self, record: JobRecord, task: Task, handle: str) -> None:
        status = exit_status(task.folder)
        lines = self._executor(record).log_tail(task, handle, LOG_LINES)
        if status == STOPPED:
            self.records.note_end(record.id, "cancelled", error="It was stopped on its machine.")
            return
        full = has_no_room(task.folder)
        error = DISK_IS_FULL if full else in_words(lines, status)
        self.records.note_end(record.id, "failed", error=error)

    def _again(self, record: JobRecord) -> None:
        """Its machine went down: every program goes on where it was."""
        if has_no_room(self.spool.folder):
            self.records.note_end(record.id, "failed", error=DISK_IS_FULL)
            return
        if record.attempt >= MOST_ATTEMPTS:
            sentence = (
                f"The program disappeared {MOST_ATTEMPTS} times without ending. Tell the "
                "facility's staff the job's number."
            )
            self.records.note_end(record.id, "failed", error=sentence)
            return
        log.warning("job %s was lost and is started again", record.id)
        attempt = record.attempt + 1
        self.records.note(record.id, {ATTEMPT: str(attempt), STATE: "queued"})
        self._submit(record.model_copy(update={"attempt": attempt}))

    def _sent(self, record: JobRecord) -> tuple[Task, str] | None:
        """The task and the handle that the executor gave it; None before it was submitted."""
        if record.handle is None:
            return None
        task = self.spool.task(record)
        return None if task is None else (task, record.handle)

    def _submit(self, record: JobRecord) -> None:
        task = self.spool.task(record)
        assert task is not None
        handle = self._executor(record).submit(task)
        self.records.note(record.id, {HANDLE: handle})

    def _executor(self, record: JobRecord) -> Executor:
        return self._executors[record.order.kind]


def last_line(lines: Sequence[str]) -> str:
    return lines[-1].strip() if lines else ""
