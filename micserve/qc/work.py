"""What every evaluation begins with: cases that can be told apart, and work that is counted."""

from collections.abc import Callable, Sequence

from micserve.errors import QualityControlError

Progress = Callable[[float, str], None]
"""(fraction done, what is being done); may raise to stop."""


class Work:
    """Counts units that take about as long as one another: planes, images, trials."""

    def __init__(self, tell: Progress | None, units: int) -> None:
        self._tell, self._units, self._done = tell, max(units, 1), 0

    def __call__(self, what: str) -> None:
        if self._tell is not None:
            self._tell(min(self._done / self._units, 1.0), what)
        self._done += 1

    def end(self) -> None:
        if self._tell is not None:
            self._tell(1.0, "done")


def refuse_unnamed(names: Sequence[str]) -> None:
    """Cases are at least one, each with its own name."""
    if not names:
        raise QualityControlError(
            "there is no image to compare; give at least one prediction with its ground truth."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QualityControlError(
            f"more than one image is called {twice[0]!r}; give each its own name."
        )
