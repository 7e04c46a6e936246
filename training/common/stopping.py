"""Ctrl-C and SIGTERM, turned into a question that the loop asks after every step.

The first signal asks for a clean end; a second one ends the program at once.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from micserve.errors import CancelledError


class Stop:
    """Whether somebody asked the training to stop."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(number, signal.SIG_DFL)

    def check(self) -> None:
        if self._asked:
            raise CancelledError("The training was stopped; nothing was published.")


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Listen while the block runs; what was there before is put back."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop.ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
