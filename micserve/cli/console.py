"""How the command line speaks: results on standard output, progress and complaints beside it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.status import Status

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def complain(sentence: str) -> None:
    """One sentence on standard error, in red where there is colour."""
    err.print(f"[red]micserve:[/] {sentence}", markup=True, soft_wrap=True)


@contextmanager
def working(what: str) -> Iterator[Status]:
    """A spinner on a terminal, whose words may be changed; silence in a log file."""
    with err.status(what) as status:
        yield status


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
