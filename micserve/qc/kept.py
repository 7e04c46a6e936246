"""Planes that took long to make, kept while there is room: slow filters are looked at often.

A report measures each plane twice and then draws, maps and searches it. Knows
nothing of filters; bounded, so that a long stack costs time and not memory.
"""

import threading
from collections.abc import Callable, Hashable

from micserve.qc.planes import Pixels, Plane, Planes

MOST_BYTES = 128 << 20


class KeptPlanes:
    """Thread-safe. What does not fit is made again each time it is asked for."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._room = most_bytes
        self._kept: dict[Hashable, Plane] = {}
        self._lock = threading.Lock()

    def planes(self, pixels: Pixels, change: Callable[[Plane], Plane], *, key: Hashable) -> Planes:
        """As `Planes(pixels, change)`; the same key must mean the same pixels and change."""
        return Planes(pixels, change, keep=lambda index, make: self._get((key, index), make))

    def _get(self, key: Hashable, make: Callable[[], Plane]) -> Plane:
        with self._lock:
            found = self._kept.get(key)
        if found is not None:
            return found
        made = make().copy()
        made.flags.writeable = False
        with self._lock:
            if key not in self._kept and made.nbytes <= self._room:
                self._kept[key] = made
                self._room -= made.nbytes
        return made
