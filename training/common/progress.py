"""How a training looks while it runs: a bar on a terminal, one line per epoch elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Display:
    """A training's progress for people; and how long it will still take."""

    def __init__(self, *, epochs: int, steps: int, done: int, console: Console) -> None:
        self._epochs, self._steps, self._done = epochs, steps, done
        self._console = console
        self._started = time.monotonic()
        self._first = done * steps
        self._last = "waiting for the first epoch"
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f} %  {task.fields[losses]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=self._console,
            )
            self._task = self._bar.add_task(
                "", total=self._epochs * self._steps, epoch="", losses="", left=""
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, step: int, loss: float) -> tuple[float, float | None]:
        """The fraction done and the seconds left, after one step of an epoch counted from 0."""
        done = epoch * self._steps + step
        total = self._epochs * self._steps
        spent = time.monotonic() - self._started
        fresh = done - self._first
        left = spent / fresh * (total - done) if fresh else None
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=done,
                epoch=f"{epoch + 1}/{self._epochs}",
                losses=f"loss {loss:.4f}  {self._last}",
                left=f"{duration(left)} left" if left is not None else "",
            )
        return done / total, left

    def epoch(self, number: int, metrics: Mapping[str, float], seconds_left: float | None) -> None:
        """One epoch is done, counted from 1."""
        self._last = f"val_loss {metrics['val_loss']:.4f}  lr {metrics['learning_rate']:.1e}"
        if self._bar is None:
            left = f", {duration(seconds_left)} left" if seconds_left is not None else ""
            self._console.print(
                f"epoch {number}/{self._epochs}: loss {metrics['loss']:.4f}, "
                f"val_loss {metrics['val_loss']:.4f}, "
                f"learning_rate {metrics['learning_rate']:.2e}{left}",
                highlight=False,
                soft_wrap=True,
            )


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`"""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
