"""A job on the server, as Python sees it: trainings and predictions that go on when you leave.

    with Client() as client:
        job = client.train("n2v", "n2v-mine", Path("noisy"), preset="quick")
        job.wait()                                   # a progress bar; ctrl-C leaves the job alone
        client.predict_folder(f"n2v-mine@{job.version}", Path("noisy")).wait().save(Path("out"))

Speaks HTTP through the `Client` that made it.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from micserve.errors import CancelledError, MicserveError, UnavailableError

if TYPE_CHECKING:
    from micserve.client import Client

ENDED = frozenset({"finished", "failed", "cancelled"})
EVERY_S = 1.0
PATIENCE_S = 300.0
"""How long `wait` waits for a server that is away; the job does not mind."""

Watch = Callable[[Mapping[str, Any]], None]
"""Told what is known of the job, about once a second."""


class Job:
    """One job; what is known of it is as old as the last `refresh` or `wait`."""

    def __init__(self, client: "Client", facts: Mapping[str, Any]) -> None:
        self._client = client
        self.facts = facts
        """All that `GET /v1/jobs/{id}` says."""

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.state}>"

    @property
    def id(self) -> str:
        return str(self.facts["id"])

    @property
    def state(self) -> str:
        """`queued`, `running`, `finished`, `failed` or `cancelled`."""
        return str(self.facts["state"])

    @property
    def version(self) -> int | None:
        """That a finished training published."""
        return self.facts.get("version")

    def refresh(self) -> Self:
        self.facts = self._client.ask("GET", f"/v1/jobs/{self.id}").json()
        return self

    def wait(self, watch: Watch | None = None, *, every: float = EVERY_S) -> Self:
        """Until it has ended; with a progress bar unless `watch` is given.

        Raises
        ------
        CancelledError
            When somebody cancelled it.
        MicserveError
            When it failed, in the server's words.
        """
        if watch is None:
            with _bar(self) as shown:
                self._until_ended(shown, every)
        else:
            self._until_ended(watch, every)
        if self.state == "cancelled":
            raise CancelledError(f"The job {self.id} was cancelled.")
        if self.state == "failed":
            raise MicserveError(str(self.facts.get("error") or f"The job {self.id} failed."))
        return self

    def _until_ended(self, watch: Watch, every: float) -> None:
        away_since: float | None = None
        while True:
            try:
                self.refresh()
                away_since = None
            except UnavailableError:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_S:
                    raise
            watch(self.facts)
            if self.state in ENDED:
                return
            time.sleep(every)

    def cancel(self) -> Self:
        """End it within seconds; what has ended stays as it is."""
        if self.refresh().state not in ENDED:
            self._client.ask("DELETE", f"/v1/jobs/{self.id}")
        return self.refresh()

    def delete(self) -> None:
        """With its results; one that runs is cancelled first. A published version stays."""
        if self.cancel().state in ENDED:
            self._client.ask("DELETE", f"/v1/jobs/{self.id}")

    def metrics(self) -> list[dict[str, float]]:
        """One row per epoch of a training: `epoch`, `loss`, `val_loss`, `learning_rate`."""
        head, *lines = self._client.ask("GET", f"/v1/jobs/{self.id}/metrics.tsv").text.splitlines()
        names = head.split("\t")
        rows = (zip(names, line.split("\t"), strict=True) for line in lines)
        return [{name: float(cell) for name, cell in row if cell} for row in rows]

    def save(self, folder: Path) -> list[Path]:
        """Every result into a folder; each file appears when it is whole."""
        written = []
        for result in self.refresh().facts["results"]:
            target = folder.joinpath(*str(result["name"]).split("/"))
            written.append(self._client.download(str(result["address"]), target))
        return written


@contextmanager
def _bar(job: Job) -> Iterator[Watch]:
    """A progress bar on a terminal, silence elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[said]}", style="dim"),
    )
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(str(job.facts.get("model") or job.id), total=1.0, said="")

        def show(facts: Mapping[str, Any]) -> None:
            bar.update(task, completed=facts["fraction"], said=_in_words(facts))

        yield show


def _in_words(facts: Mapping[str, Any]) -> str:
    waits, left = facts.get("queue_position"), facts.get("seconds_left")
    said = f"number {waits} in the queue" if waits else str(facts.get("message") or "")
    return said + (f", {left:.0f} s left" if left else "")
