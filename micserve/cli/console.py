"""How the command line speaks: results on standard output, progress and complaints beside it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

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


@contextmanager
def progressing(what: str) -> Iterator[Callable[[float, str], None]]:
    """A bar with the time left on a terminal; silence in a log file.

    Yields what takes (fraction done, what is being done).
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[part]}", style="dim"),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=1.0, part="")
        yield lambda fraction, part: bar.update(task, completed=fraction, part=part)
