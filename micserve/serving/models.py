"""The networks in memory: each loaded once, checked first, kept while in use.

A pool under a memory budget. What it does not hold it loads; what was used
longest ago goes first; what a request holds never goes. How a version becomes
a network is `micserve.serving.loading`'s.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from micserve.errors import IntegrityError
from micserve.predict import LoadedModel
from micserve.registry import ModelVersion
from micserve.serving.metrics import Metrics

FORGET_FAILURE_S = 30.0
"""So long a damaged version is refused from memory, before it is fetched and checked again."""

Key = tuple[str, int]
"""Name and version number."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network that reproduced its test tensors."""

    model: LoadedModel
    size_bytes: int
    """What it is counted with in the budget."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a version is not loaded, in words."""

    name: str
    version: int
    error: IntegrityError
    at: float


@dataclass(slots=True)
class _Entry:
    loaded: Loaded
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)


class ModelPool:
    """Thread-safe.

    Parameters
    ----------
    load
        From a version to a checked network; may take seconds.
    budget_bytes
        For all networks. One that is larger alone is loaded all the same, and so is one that is
        asked for while all others are in use: the budget decides what is kept, not what is served.
    """

    def __init__(
        self,
        load: Callable[[ModelVersion], Loaded],
        *,
        budget_bytes: int,
        metrics: Metrics,
    ) -> None:
        self._load, self._budget, self._metrics = load, budget_bytes, metrics
        self._lock = threading.Lock()
        self._entries: dict[Key, _Entry] = {}
        self._loading: dict[Key, Future[None]] = {}
        self._failures: dict[Key, Failure] = {}
        self._current: frozenset[Key] = frozenset()

    @contextmanager
    def lease(self, version: ModelVersion) -> Iterator[LoadedModel]:
        """The network of a version, which stays loaded while the block lasts.

        Raises
        ------
        PackageError, DigestMismatchError, VerificationError
            When the version is damaged; nothing of it was kept.
        """
        with self._lock:
            found = (version.name, version.version) in self._entries
        self._metrics.network_lookups.labels("hit" if found else "miss").inc()
        entry = self._acquire(version)
        try:
            yield entry.loaded.model
        finally:
            with self._lock:
                entry.users -= 1
                entry.used_at = time.monotonic()
                self._make_room()

    def preload(self, version: ModelVersion) -> None:
        """Load a version before anybody asks for it."""
        with self.lease(version):
            pass

    def keep(self, current: Iterable[Key]) -> None:
        """Which versions aliases point to now; all others go before these when memory is short."""
        with self._lock:
            self._current = frozenset(current)
            self._failures = {k: f for k, f in self._failures.items() if k in self._current}
            self._make_room()

    def fits(self, size_bytes: int) -> bool:
        """Whether one more network of this size leaves the others in place."""
        with self._lock:
            return self._used_bytes() + size_bytes <= self._budget

    def loaded(self) -> tuple[Loaded, ...]:
        with self._lock:
            return tuple(self._entries[key].loaded for key in sorted(self._entries))

    def failures(self) -> tuple[Failure, ...]:
        with self._lock:
            return tuple(self._failures[key] for key in sorted(self._failures))

    def close(self) -> None:
        with self._lock:
            self._entries.clear()

    def _acquire(self, version: ModelVersion) -> _Entry:
        key = (version.name, version.version)
        while True:
            with self._lock:
                if entry := self._entries.get(key):
                    entry.users += 1
                    return entry
                self._refuse_failed(key)
                others = self._loading.get(key)
                if others is None:
                    mine = self._loading[key] = Future()
            if others is None:
                return self._load_now(version, key, mine)
            others.result()

    def _load_now(self, version: ModelVersion, key: Key, done: "Future[None]") -> _Entry:
        started = time.perf_counter()
        try:
            entry = _Entry(self._load(version), users=1)
        except BaseException as error:
            with self._lock:
                del self._loading[key]
                if isinstance(error, IntegrityError):
                    self._failures[key] = Failure(*key, error, time.monotonic())
            self._metrics.loads.labels(version.name, "failed").inc()
            done.set_exception(error)
            raise
        with self._lock:
            del self._loading[key]
            self._failures.pop(key, None)
            self._entries[key] = entry
            self._make_room()
        self._metrics.loads.labels(version.name, "loaded").inc()
        self._metrics.load_seconds.observe(time.perf_counter() - started)
        done.set_result(None)
        return entry

    def _refuse_failed(self, key: Key) -> None:
        failure = self._failures.get(key)
        if failure and time.monotonic() - failure.at < FORGET_FAILURE_S:
            raise failure.error

    def _make_room(self) -> None:
        idle = sorted(
            (key for key, entry in self._entries.items() if not entry.users),
            key=lambda key: (key in self._current, self._entries[key].used_at),
        )
        for key in idle:
            if self._used_bytes() <= self._budget or len(self._entries) == 1:
                break
            del self._entries[key]
        self._metrics.networks.set(len(self._entries))
        self._metrics.network_bytes.set(self._used_bytes())

    def _used_bytes(self) -> int:
        return sum(entry.loaded.size_bytes for entry in self._entries.values())
