"""A job's folder: what its program needs to be started again, its log and its results.

    jobs/<id>/spec.json      module, arguments and environment of the program
    jobs/<id>/log.txt        what it printed
    jobs/<id>/input/…        an image that was sent with the order
    jobs/<id>/results/…      what a prediction made; kept until the job is deleted

Knows files; whose a job is and how far it is, the tracking server knows.
"""

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from micserve.errors import NotFoundError
from micserve.files import publish_file, said_when_full, sync_folder
from micserve.registry.jobs import JobRecord
from services.gateway.executors.base import Task

SPEC, RESULTS, INPUT = "spec.json", "results", "input"
_ID = re.compile(r"[0-9a-f]{32}")


class Spec(BaseModel):
    """The program of a job, but for its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str
    arguments: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """One file that a job made."""

    name: str
    bytes: int


class Spool:
    """All jobs' folders.

    Parameters
    ----------
    trainings
        Where trainers keep their checkpoints; those of a deleted job go with it.
    """

    def __init__(self, folder: Path, *, trainings: Path) -> None:
        with said_when_full("The folder of jobs"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder, self._trainings = folder, trainings
        for left in (*folder.glob(".deleted-*"), *folder.glob(".arriving-*")):
            shutil.rmtree(left, ignore_errors=True)

    def of(self, identity: str) -> Path:
        """Of one job; NotFoundError for what is no id."""
        if not _ID.fullmatch(identity):
            raise NotFoundError(f"There is no job {identity[:40]!r}; GET /v1/jobs lists yours.")
        return self.folder / identity

    def arriving(self) -> Path:
        """A folder for what comes with an order, before the job has an id."""
        folder = self.folder / f".arriving-{secrets.token_hex(8)}"
        with said_when_full("The image"):
            folder.mkdir()
        return folder

    def begin(self, identity: str, spec: Spec, arrived: Path | None = None) -> Path:
        """Make a job's folder; the spec is written last, so that its being there means all is."""
        folder = self.of(identity)
        with said_when_full("The job"):
            folder.mkdir()
            if arrived is not None:
                arrived.rename(folder / INPUT)
            (folder / RESULTS).mkdir()
            with publish_file(folder / SPEC) as part:
                part.write_text(spec.model_dump_json(), encoding="utf-8")
            sync_folder(self.folder)
        return folder

    def task(self, record: JobRecord) -> Task | None:
        """What to run; None where the gateway was killed before all of it was written."""
        folder = self.of(record.id)
        try:
            spec = Spec.model_validate_json((folder / SPEC).read_bytes())
        except FileNotFoundError:
            return None
        return Task(
            id=record.id,
            kind=record.order.kind,
            family=record.order.family,
            module=spec.module,
            arguments=spec.arguments,
            folder=folder,
            environment=spec.environment,
            attempt=record.attempt,
        )

    def results(self, identity: str) -> list[Result]:
        """Whole files only, by name."""
        base = self.of(identity) / RESULTS
        return [
            Result(path.relative_to(base).as_posix(), path.stat().st_size)
            for path in sorted(base.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        ]

    def result(self, identity: str, name: str) -> Path:
        """One of them; NotFoundError for anything else."""
        if name not in {result.name for result in self.results(identity)}:
            raise NotFoundError(f"Job {identity} has no result {name}.")
        return self.of(identity) / RESULTS / name

    def remove(self, identity: str) -> None:
        folder = self.of(identity)
        shutil.rmtree(self._trainings / identity, ignore_errors=True)
        if folder.is_dir():
            gone = self.folder / f".deleted-{identity}-{secrets.token_hex(4)}"
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
