"""Waiting for what happens by itself, as tests of running programs do."""

import time
from collections.abc import Callable


def until(holds: Callable[[], object], *, within_s: float = 60, every_s: float = 0.05) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"it did not come true within {within_s:.0f} s"
        time.sleep(every_s)
