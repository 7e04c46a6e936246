"""Keeps a service's networks in step with the registry, without a request waiting for it.

Looks every few seconds which version `production` means for each model of the
family, loads a new one while the old one goes on serving, and then lets the
old one go.
"""

import logging
import threading
import time
from dataclasses import dataclass

from micserve.errors import MicserveError, RegistryUnavailableError
from micserve.registry import ModelRef, ModelVersion
from micserve.serving.directory import Directory
from micserve.serving.loading import network_bytes
from micserve.serving.metrics import Metrics
from micserve.serving.models import Key, ModelPool

log = logging.getLogger(__name__)

ALIAS = "production"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a service may be sent images, and if not, why."""

    ready: bool
    reasons: tuple[str, ...] = ()


class Watcher:
    """One thread that looks and loads.

    Parameters
    ----------
    required
        Models without which the service is not ready; when empty, all models of the family
        are loaded as memory allows, and one of them, or there being none, makes it ready.
    """

    def __init__(
        self,
        directory: Directory,
        pool: ModelPool,
        *,
        family: str,
        required: tuple[str, ...],
        poll_s: float,
        metrics: Metrics,
    ) -> None:
        self._directory, self._pool, self._metrics = directory, pool, metrics
        self._family, self._required, self._poll_s = family, required, poll_s
        self._offered: set[Key] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._readiness = Readiness(False, ("The first models are being loaded.",))

    @property
    def readiness(self) -> Readiness:
        return self._readiness

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=self._poll_s)

    def look(self) -> None:
        """Ask the registry once, and load what is new."""
        try:
            wanted = self._wanted()
        except RegistryUnavailableError as error:
            self._note_registry(str(error))
            return
        self._note_registry("")
        troubles = [t for version in wanted if (t := self._load(version))]
        self._pool.keep((v.name, v.version) for v in wanted)
        self._readiness = self._judge(wanted, troubles)

    def _run(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self.look()
            except Exception:
                log.exception("the look for new versions failed")
            self._stop.wait(max(self._poll_s - (time.monotonic() - started), 0.1))

    def _wanted(self) -> list[ModelVersion]:
        models = self._directory.registry.list_models()
        found = []
        for model in models:
            number = model.aliases.get(ALIAS)
            if number is None or model.latest.family != self._family:
                continue
            if self._required and model.name not in self._required:
                continue
            version = self._directory.resolve(ModelRef(name=model.name, version=number))
            self._directory.note([(ModelRef(name=model.name, alias=ALIAS), version)])
            found.append(version)
        return found

    def _load(self, version: ModelVersion) -> str:
        """Load what is new, if there is room; say what is wrong, if anything.

        Once: what memory was too short for later is loaded when somebody asks for it.
        """
        key = (version.name, version.version)
        optional = not self._required and not self._serves_another(version)
        size = network_bytes(version.card.size_bytes)
        if key in self._offered or (optional and not self._pool.fits(size)):
            return ""
        try:
            self._pool.preload(version)
        except MicserveError as error:
            trouble = f"{version.name}@{version.version} is not loaded: {error}"
            if trouble not in self._readiness.reasons:
                log.warning("%s", trouble)
            return trouble
        self._offered.add(key)
        log.info("loaded %s@%s", version.name, version.version)
        return ""

    def _serves_another(self, version: ModelVersion) -> bool:
        """A loaded model must be replaced whether there is room or not."""
        return any(loaded.model.contract.name == version.name for loaded in self._pool.loaded())

    def _judge(self, wanted: list[ModelVersion], troubles: list[str]) -> Readiness:
        missing = sorted(set(self._required) - {version.name for version in wanted})
        reasons = [
            f"The model {name} was asked for at the start, but it has no {ALIAS} version."
            for name in missing
        ] + troubles
        if self._required:
            ready = not reasons or self._readiness.ready
        else:
            ready = not troubles or len(troubles) < len(wanted) or self._readiness.ready
        return Readiness(ready, tuple(reasons))

    def _note_registry(self, trouble: str) -> None:
        self._metrics.registry_up.set(0 if trouble else 1)
        if trouble:
            self._readiness = Readiness(self._readiness.ready, (trouble,))
