"""A training run's diary, kept by a thread, so that training never waits for the registry.

Values are put into a buffer and sent in batches; while the registry is away
they stay there and are sent when it is back. Knows nothing of MLflow: where
batches and files go are two functions it is given.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from micserve.errors import MicserveError, ParameterError, UnavailableError
from micserve.registry.model import Progress

log = logging.getLogger(__name__)

METRIC_NAME = r"[\w./ :-]{1,250}"
"""What MLflow takes as a metric's name."""

MOST_METRICS = 900
"""Per request; MLflow takes 1000 values of all kinds."""

PAUSE_S = 5.0
"""Between attempts while the registry is away."""

LAST_PAUSE_S = 0.5
"""Between attempts once the training is over and somebody waits."""

PATIENCE_S = 30.0
"""How long `finish` waits for what was not sent yet."""


@dataclass(frozen=True, slots=True)
class Point:
    """One metric at one step; `at` in milliseconds since 1970."""

    name: str
    value: float
    step: int
    at: int


@dataclass(slots=True)
class Batch:
    """What is sent in one request."""

    points: list[Point] = field(default_factory=list)
    progress: Progress | None = None
    files: list[tuple[Path, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.points or self.progress or self.files)


class RecordedRun:
    """The `Run` of a registry.

    Parameters
    ----------
    send
        Delivers points and progress; may deliver the same twice without harm.
    store
        Keeps one file in a folder of the run.
    close
        Notes the run's end.
    """

    def __init__(
        self,
        run_id: str,
        *,
        send: Callable[[list[Point], Progress | None], None],
        store: Callable[[Path, str], None],
        close: Callable[[str], None],
        pause: float = PAUSE_S,
        patience: float = PATIENCE_S,
    ) -> None:
        self.id = run_id
        self._send, self._store, self._close = send, store, close
        self._pause, self._patience = pause, patience
        self._waiting = Batch()
        self._deadline: float | None = None
        self._away = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"run-{run_id}", daemon=True)
        self._thread.start()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Loss and the like at one step; returns at once."""
        for name in metrics:
            if not re.fullmatch(METRIC_NAME, name):
                raise ParameterError(
                    f"{name!r} cannot name a metric: use letters, digits and . _ - / : or spaces."
                )
        now = time.time_ns() // 1_000_000
        with self._changed:
            self._waiting.points += [Point(k, float(v), step, now) for k, v in metrics.items()]
            self._changed.notify()

    def log_progress(self, fraction: float, phase: str, seconds_left: float | None) -> None:
        """0 to 1; only the last one is kept; returns at once."""
        fraction = min(max(float(fraction), 0.0), 1.0)
        progress = Progress(
            fraction=fraction, phase=phase, seconds_left=seconds_left, at=datetime.now(UTC)
        )
        with self._changed:
            self._waiting.progress = progress
            self._changed.notify()

    def log_file(self, path: Path, folder: str = "") -> None:
        """Keep a copy of one file with the run; it must stay in place until `finish`."""
        with self._changed:
            self._waiting.files.append((Path(path), folder))
            self._changed.notify()

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Send what is left, waiting a bounded time for the registry, and close the run."""
        with self._changed:
            self._deadline = time.monotonic() + self._patience
            self._changed.notify()
        self._thread.join()
        left = self._waiting
        if left:
            log.warning(
                "the registry stayed away: %d metric values and %d files of run %s are lost",
                len(left.points),
                len(left.files),
                self.id,
            )
        try:
            self._close(status)
        except MicserveError as error:
            log.warning("run %s is not marked as %s in the registry: %s", self.id, status, error)

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            if self._delivered(batch):
                continue
            with self._changed:
                self._put_back(batch)
                finishing = self._deadline
                if finishing is not None and time.monotonic() >= finishing:
                    return
                pause = self._pause if finishing is None else min(self._pause, LAST_PAUSE_S)
                self._changed.wait_for(partial(self._finishes_otherwise_than, finishing), pause)

    def _next(self) -> Batch | None:
        """What may be sent now; None when the run is finished and all is sent."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._deadline is not None)
            if not self._waiting:
                return None
            full, self._waiting = self._waiting, Batch()
            self._waiting.points = full.points[MOST_METRICS:]
            full.points = full.points[:MOST_METRICS]
            return full

    def _delivered(self, batch: Batch) -> bool:
        """False when the registry is away; what is left in the batch then waits."""
        if batch.points or batch.progress:
            if not self._taken(partial(self._send, batch.points, batch.progress)):
                return False
            batch.points, batch.progress = [], None
        while batch.files:
            if not self._taken(partial(self._store, *batch.files[0])):
                return False
            batch.files.pop(0)
        return True

    def _taken(self, deliver: Callable[[], None]) -> bool:
        """False when the registry is away. What it refuses is dropped, with a warning."""
        try:
            deliver()
        except UnavailableError as error:
            if not self._away:
                log.warning("training goes on, its diary waits for the registry: %s", error)
            self._away = True
            return False
        except (MicserveError, OSError) as error:
            log.warning("a part of run %s's diary was not kept: %s", self.id, error)
        if self._away:
            log.warning("the registry is back; run %s is recorded again", self.id)
        self._away = False
        return True

    def _put_back(self, batch: Batch) -> None:
        self._waiting.points[:0] = batch.points
        self._waiting.files[:0] = batch.files
        self._waiting.progress = self._waiting.progress or batch.progress

    def _finishes_otherwise_than(self, before: float | None) -> bool:
        return self._deadline != before
