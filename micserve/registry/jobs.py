"""Jobs as the tracking server keeps them: one run per job, from the moment it is ordered.

A training's run is the one that the trainer itself records into; a prediction has a run of its
own. Whose it is, what was ordered and what became of it are tags, so that a gateway that was
killed finds everything again. Knows nothing of where a job runs.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from mlflow.entities import RunTag
from pydantic import AwareDatetime, Field

from micserve.artifact.contract import Contract
from micserve.errors import NotFoundError
from micserve.registry.connection import Connection
from micserve.registry.model import Progress
from micserve.registry.runs import PROGRESS, Runs
from micserve.registry.tags import bounded, moment

JobState = Literal["queued", "running", "finished", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"finished", "failed", "cancelled"})

KEPT = "micserve.job"
"""`active` while somebody must look after it, `ended`, or `deleted` by its owner."""
OWNER = "micserve.job.owner"
ORDER = "micserve.job.order"
ERROR = "micserve.job.error"
HANDLE = "micserve.job.handle"
ATTEMPT = "micserve.job.attempt"
STATE = "micserve.job.state"
STARTED = "micserve.job.started"
ENDED_AT = "micserve.job.ended"
VERSION = "micserve.job.version"

CURVES = ("loss", "val_loss", "learning_rate")
MOST_LISTED = 500
LONGEST_ORDER = 7500
"""Characters; MLflow keeps 8000 of a run's tag."""


class JobOrder(Contract):
    """What was ordered: fixed for ever."""

    kind: Literal["train", "predict"]
    family: str
    model: str
    """Name of the model that is trained; `name@version` of the one that predicts."""
    owner: str
    source: str
    """Place of the images; for one image that was sent with the order, its name."""
    target: str | None = None
    ndim: int = 2
    preset: str = "recommended"
    output: str = "image"
    parameters: dict[str, Any] = Field(default_factory=dict)


class JobRecord(Contract):
    """What is known of a job."""

    id: str
    order: JobOrder
    state: JobState
    created: AwareDatetime
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    handle: str | None = None
    """Of the executor; None before it was submitted."""
    attempt: int = 1
    error: str | None = None
    version: int | None = None
    """That a training published."""
    progress: Progress | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    run_status: str = ""
    """What the program itself noted: RUNNING, FINISHED, FAILED, KILLED, or SCHEDULED."""


class JobRecords:
    """All jobs of one registry. Thread-safe; every method may raise RegistryUnavailableError."""

    def __init__(self, connection: Connection, runs: Runs) -> None:
        self._connection, self._runs = connection, runs

    def create(self, order: JobOrder, tags: Mapping[str, str]) -> str:
        """A new job, `queued`; its id is the id of its run."""
        name = order.model.partition("@")[0]
        text = bounded(order.model_dump_json(), LONGEST_ORDER, "The order of this job")
        own = {KEPT: "active", OWNER: order.owner, STATE: "queued", ORDER: text}
        return self._runs.schedule(family=order.family, name=name, tags={**tags, **own})

    def read(self, identity: str) -> JobRecord:
        """NotFoundError for what is no job, or was deleted."""
        record = _record(self._runs.raw(identity))
        if record is None:
            raise NotFoundError(f"There is no job {identity}; GET /v1/jobs lists yours.")
        return record

    def listing(self, owner: str | None = None) -> list[JobRecord]:
        """Of one person or of all, newest first."""
        wanted = f"tags.`{KEPT}` != 'deleted'"
        if owner is not None:
            wanted += " and tags.`{}` = '{}'".format(OWNER, owner.replace("'", ""))
        return self._search(wanted)

    def active(self) -> list[JobRecord]:
        """Those that have not ended as far as is noted, oldest first."""
        return self._search(f"tags.`{KEPT}` = 'active'")[::-1]

    def note(self, identity: str, tags: Mapping[str, str]) -> None:
        """Set tags of a job, all in one request."""
        entries = [RunTag(key, value) for key, value in tags.items()]
        self._connection.call(lambda c: c.log_batch(identity, tags=entries))

    def note_start(self, identity: str) -> None:
        self.note(identity, {STATE: "running", STARTED: _now()})

    def note_end(
        self, identity: str, state: JobState, *, error: str = "", version: int | None = None
    ) -> None:
        """The last word on a job, and the end of its run if the program left it open."""
        tags = {STATE: state, ENDED_AT: _now(), ERROR: error[:4000]}
        if version is not None:
            tags[VERSION] = str(version)
        self._runs.close_if_open(
            identity, {"finished": "FINISHED", "failed": "FAILED"}.get(state, "KILLED")
        )
        self.note(identity, {**tags, KEPT: "ended"})

    def delete(self, identity: str) -> None:
        """From the lists. The run stays: a version may have its files there."""
        self.note(identity, {KEPT: "deleted"})

    def curves(self, identity: str) -> list[dict[str, float]]:
        """One row per epoch: `epoch`, `loss`, `val_loss`, `learning_rate`."""
        rows: dict[int, dict[str, float]] = {}
        for name in CURVES:
            for point in self._history(identity, name):
                rows.setdefault(point.step, {"epoch": point.step})[name] = point.value
        return [rows[step] for step in sorted(rows)]

    def _history(self, identity: str, name: str) -> Iterable[Any]:
        found: Iterable[Any] = self._connection.call(lambda c: c.get_metric_history(identity, name))
        return found

    def _search(self, wanted: str) -> list[JobRecord]:
        experiment = self._runs.experiment_id()
        runs = self._connection.call(
            lambda c: c.search_runs(
                [experiment],
                filter_string=wanted,
                max_results=MOST_LISTED,
                order_by=["attributes.start_time DESC"],
            )
        )
        return [record for run in runs if (record := _record(run)) is not None]


def _record(run: Any) -> JobRecord | None:
    tags = run.data.tags
    if ORDER not in tags or tags.get(KEPT) == "deleted":
        return None
    progress = tags.get(PROGRESS)
    return JobRecord.model_validate(
        {
            "id": run.info.run_id,
            "order": json.loads(tags[ORDER]),
            "state": tags[STATE],
            "created": moment(run.info.start_time),
            "started": tags.get(STARTED),
            "ended": tags.get(ENDED_AT),
            "handle": tags.get(HANDLE),
            "attempt": int(tags.get(ATTEMPT, "1")),
            "error": tags.get(ERROR) or None,
            "version": int(tags[VERSION]) if VERSION in tags else None,
            "progress": Progress.model_validate_json(progress) if progress else None,
            "metrics": dict(run.data.metrics),
            "run_status": run.info.status,
        }
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()
