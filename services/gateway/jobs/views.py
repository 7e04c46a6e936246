"""A job as people, pages and macros see it: from what the tracking server, the executor and the
spool know of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel

from micserve.registry import Progress
from micserve.registry.jobs import JobRecord
from services.gateway.callers import Caller
from services.gateway.catalogue import tab_separated
from services.gateway.jobs.desk import JobDesk, last_line

JOB_COLUMNS = (
    *("id", "kind", "state", "fraction", "message", "seconds_left", "queue_position"),
    *("owner", "family", "model", "version", "created", "ended"),
)
CURVE_COLUMNS = ("epoch", "loss", "val_loss", "learning_rate")


class ResultView(BaseModel):
    name: str
    bytes: int
    address: str


class JobView(BaseModel):
    """One job; what is not known yet is null."""

    id: str
    kind: Literal["train", "predict"]
    state: Literal["queued", "running", "finished", "failed", "cancelled"]
    fraction: float
    """Done, 0 to 1."""
    phase: str
    message: str
    """The program's last words, for people."""
    seconds_left: float | None
    queue_position: int | None
    """1 is the next one to start."""
    owner: str
    created: AwareDatetime
    started: AwareDatetime | None
    ended: AwareDatetime | None
    family: str
    model: str
    version: int | None
    """That predicts, or that the training published."""
    source: str
    target: str | None
    ndim: int
    preset: str
    output: str
    parameters: dict[str, Any]
    metrics: dict[str, float]
    """The last value of each."""
    log_tail: tuple[str, ...]
    results: tuple[ResultView, ...]
    error: str | None


class JobListing(BaseModel):
    jobs: tuple[JobView, ...]


def seen_by(caller: Caller, desk: JobDesk, identity: str) -> JobView:
    """A job now; NotFoundError for what is not there or not the caller's to see."""
    return view_of(desk, desk.one(identity, caller))


def view_of(desk: JobDesk, record: JobRecord, *, whole: bool = True) -> JobView:
    """A job now. In listings (`whole` false) log and results of ended jobs are left out."""
    order = record.order
    model, _, pointer = order.model.partition("@")
    lines = desk.log_tail(record) if whole or record.state == "running" else []
    return JobView(
        id=record.id,
        kind=order.kind,
        state=record.state,
        **_progress(record, lines, desk.why_waiting(record)),
        queue_position=desk.position(record),
        owner=order.owner,
        created=record.created,
        started=record.started,
        ended=record.ended,
        family=order.family,
        model=model,
        version=int(pointer) if pointer else record.version,
        source=order.source,
        target=order.target,
        ndim=order.ndim,
        preset=order.preset,
        output=order.output,
        parameters=order.parameters,
        metrics=record.metrics,
        log_tail=tuple(lines) if whole else (),
        results=results_of(desk, record) if whole else (),
        error=record.error,
    )


def results_of(desk: JobDesk, record: JobRecord) -> tuple[ResultView, ...]:
    if record.order.kind == "train":
        return ()
    return tuple(
        ResultView(
            name=result.name,
            bytes=result.bytes,
            address=f"/v1/jobs/{record.id}/results/{result.name}",
        )
        for result in desk.spool.results(record.id)
    )


def _progress(record: JobRecord, lines: list[str], waits_for: str) -> dict[str, Any]:
    """`fraction`, `phase`, `message` and `seconds_left`."""
    said = record.progress
    fraction = said.fraction if said else 0.0
    last = last_line(lines)
    if record.state == "running":
        return _running(said, last)
    words = {
        "queued": ("waiting", waits_for or "It waits for its turn."),
        "finished": ("done", last or "It is done."),
        "cancelled": ("cancelled", record.error or "It was cancelled."),
        "failed": ("failed", record.error or last),
    }
    return _four(1.0 if record.state == "finished" else fraction, *words[record.state])


def _running(said: Progress | None, last: str) -> dict[str, Any]:
    if said is None:
        return _four(0.0, "starting", last or "Loading what it needs and reading the images.")
    since = max((datetime.now(UTC) - said.at).total_seconds(), 0.0)
    left = None if said.seconds_left is None else max(said.seconds_left - since, 0.0)
    return _four(said.fraction, said.phase, last or said.phase, left)


def _four(
    fraction: float, phase: str, message: str, seconds_left: float | None = None
) -> dict[str, Any]:
    return {
        "fraction": fraction,
        "phase": phase,
        "message": message,
        "seconds_left": seconds_left,
    }


def jobs_table(views: tuple[JobView, ...]) -> str:
    """One line per job under a line of column names."""
    return tab_separated(JOB_COLUMNS, (_cells(v.model_dump(mode="json")) for v in views))


def _cells(values: Mapping[str, Any]) -> list[str]:
    return ["" if values[name] is None else str(values[name]) for name in JOB_COLUMNS]


def curves_table(rows: list[dict[str, float]]) -> str:
    """One line per epoch; a cell is empty where the program said nothing."""
    return tab_separated(
        CURVE_COLUMNS,
        (
            [f"{row[name]:.8g}" if name in row else "" for name in CURVE_COLUMNS]
            for row in rows
        ),
    )  # fmt: skip
