"""How the command line speaks: results on standard output, progress and complaints beside it."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def complain(sentence: str) -> None:
    """One sentence on standard error, in red where there is colour."""
    err.print(f"[red]micserve:[/] {sentence}", markup=True, soft_wrap=True)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on a terminal; silence in a log file."""
    with err.status(what):
        yield
