"""What references mean, remembered: aliases for a moment, versions for ever.

A registry that is away does not stop what was known before; `available` and
`trouble` say so.
"""

import threading
import time
from collections.abc import Iterable

from micserve.errors import RegistryUnavailableError
from micserve.registry import Model, ModelRef, ModelVersion, Registry

LONGEST_MEMORY = 4096
"""Versions that are remembered; a version is about a kilobyte."""


class Directory:
    """A registry with a short memory. Thread-safe.

    Parameters
    ----------
    alias_seconds
        How long an alias is taken for granted.
    """

    def __init__(self, registry: Registry, *, alias_seconds: float) -> None:
        self.registry = registry
        self._alias_seconds = alias_seconds
        self._lock = threading.Lock()
        self._versions: dict[tuple[str, int], ModelVersion] = {}
        self._aliases: dict[tuple[str, str], tuple[int, float]] = {}
        self._models: tuple[tuple[Model, ...], float] | None = None
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why the registry did not answer the last time; empty when it did."""
        return self._trouble

    def resolve(self, ref: ModelRef) -> ModelVersion:
        """The version that a reference means.

        Raises
        ------
        ModelNotFoundError, VersionNotFoundError
            Naming what there is instead.
        RegistryUnavailableError
            When the registry is away and this reference was never resolved before.
        """
        known, fresh = self._known(ref)
        if known and fresh:
            return known
        try:
            version = self.registry.resolve(ref)
        except RegistryUnavailableError as error:
            self._trouble = str(error)
            if known:
                return known
            raise
        self._trouble = ""
        self._remember(ref, version)
        return version

    def list_models(self) -> tuple[Model, ...]:
        """All models; the last list when the registry is away.

        Raises
        ------
        RegistryUnavailableError
            When the registry is away and there was no list before.
        """
        known = self._models
        if known and time.monotonic() - known[1] < self._alias_seconds:
            return known[0]
        try:
            models = self.registry.list_models()
        except RegistryUnavailableError as error:
            self._trouble = str(error)
            if known:
                return known[0]
            raise
        self._trouble = ""
        self._models = (models, time.monotonic())
        return models

    def note(self, versions: Iterable[tuple[ModelRef, ModelVersion]]) -> None:
        """Remember what somebody else resolved just now."""
        for ref, version in versions:
            self._remember(ref, version)

    def _known(self, ref: ModelRef) -> tuple[ModelVersion | None, bool]:
        with self._lock:
            if ref.version is not None:
                return self._versions.get((ref.name, ref.version)), True
            number, at = self._aliases.get((ref.name, ref.alias or ""), (0, 0.0))
            fresh = time.monotonic() - at < self._alias_seconds
            return self._versions.get((ref.name, number)), fresh

    def _remember(self, ref: ModelRef, version: ModelVersion) -> None:
        with self._lock:
            if len(self._versions) >= LONGEST_MEMORY:
                self._versions.clear()
            self._versions[version.name, version.version] = version
            if ref.alias is not None:
                self._aliases[ref.name, ref.alias] = (version.version, time.monotonic())
