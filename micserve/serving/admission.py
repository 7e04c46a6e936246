"""Who may come in, who waits, and who is sent away before a byte of the image is read."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from micserve.errors import BusyError
from micserve.serving.metrics import Metrics

FIRST_GUESS_S = 2.0
"""Duration of a prediction before one was seen."""

LONGEST_WAIT_S = 120


class Admission:
    """A bounded number of places: `running` at work and `waiting` behind them.

    Used from one thread, the event loop's.
    """

    def __init__(self, *, running: int, waiting: int, metrics: Metrics) -> None:
        self._running, self._places, self._metrics = running, running + waiting, metrics
        metrics.places.set(self._places)
        self._taken = 0
        self._typical_s = FIRST_GUESS_S

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place from before the upload until the answer is sent.

        Raises
        ------
        BusyError
            When all are taken, with a guess when one may be free.
        """
        if self._taken >= self._places:
            self._metrics.refused.inc()
            raise BusyError(
                f"The service is busy: {self._taken} images are being processed or wait. Send "
                "this one again in a moment.",
                retry_after=self._seconds_until_free(),
            )
        self._taken += 1
        self._metrics.waiting.inc()
        try:
            yield
        finally:
            self._taken -= 1
            self._metrics.waiting.dec()

    def note(self, seconds: float) -> None:
        """How long one prediction took; recent ones count most."""
        self._typical_s += 0.3 * (seconds - self._typical_s)

    def _seconds_until_free(self) -> int:
        return min(max(math.ceil(self._typical_s / self._running), 1), LONGEST_WAIT_S)
