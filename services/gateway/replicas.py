"""The replicas of one service: which is asked next, and which is left out for a moment.

Knows addresses and how many requests each has; opens no connection.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

LEFT_OUT_S = 1.0
"""So long a replica that did not listen is asked only when no other is there."""


@dataclass(slots=True, eq=False)
class Replica:
    """One address of a service."""

    address: str
    open: int = 0
    """Requests that it has now."""
    away_until: float = field(default=0.0)

    def leave_out(self) -> None:
        self.away_until = time.monotonic() + LEFT_OUT_S

    @property
    def is_left_out(self) -> bool:
        return time.monotonic() < self.away_until

    @contextmanager
    def counted(self) -> Iterator[None]:
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


class Replicas:
    """Used from one thread, the event loop's."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._all = [Replica(address) for address in addresses]
        self._turn = 0

    def next(self) -> Replica:
        """The one with the fewest requests of those that listen; among equals, by turns."""
        self._turn += 1
        ordered = (
            self._all[self._turn % len(self._all) :] + self._all[: self._turn % len(self._all)]
        )
        return min(ordered, key=lambda replica: (replica.is_left_out, replica.open))

    @property
    def all_left_out(self) -> bool:
        return all(replica.is_left_out for replica in self._all)

    def __str__(self) -> str:
        return ", ".join(replica.address for replica in self._all)
