"""Quality reports that nobody waits for: begun, looked at, fetched, cancelled.

They live as long as this process, and some minutes after they are done: a report
can be made again from its images. Knows who began each; how it is made is given.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from micserve.errors import MicserveError, NotFoundError
from micserve.serving import problems
from micserve.serving.problems import Problem
from services.gateway.callers import Caller
from services.gateway.parcels import KEPT_S, TSV
from services.gateway.quality import told_of

log = logging.getLogger(__name__)

MOST = 32
"""Kept at a time; of those that are done the oldest gives way."""
FORESEEABLE = 0.05
"""Share that must be done before the rest is foretold."""

Outcome = Path | Response
"""The zip of the report; or the problem of the service that should have predicted."""


class ReportState(BaseModel):
    """How far a quality report is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str = Field(description="Of the image.")
    state: Literal["queued", "running", "finished", "failed"]
    fraction: float = Field(ge=0, le=1)
    message: str = Field(description="What is being done, for a person.")
    seconds_left: float | None = Field(description="null while it cannot be foretold.")
    created: datetime
    address: str = Field(description="Of this; DELETE cancels.")
    report: str | None = Field(description="Address of the report once it is finished.")
    error: Problem | None = Field(default=None, description="Why it failed.")


@dataclass(eq=False, slots=True)
class Begun:
    """One report."""

    id: str
    owner: str
    name: str
    folder: Path
    job: asyncio.Task[Outcome]
    kept: ExitStack
    """Closing it removes the folder."""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: float | None = None
    """On the monotonic clock."""

    @property
    def address(self) -> str:
        return f"/v1/qc/{self.id}"

    def outcome(self) -> Outcome:
        """Of what is done; raises what it failed with."""
        return self.job.result()

    def state(self) -> ReportState:
        """May read a file."""
        state, fraction, message, left, error = self._now()
        return ReportState(
            id=self.id,
            name=self.name,
            state=state,
            fraction=fraction,
            message=message,
            seconds_left=left,
            created=self.created,
            address=self.address,
            report=f"{self.address}/report" if state == "finished" else None,
            error=error,
        )

    def _now(
        self,
    ) -> tuple[
        Literal["queued", "running", "finished", "failed"],
        float,
        str,
        float | None,
        Problem | None,
    ]:
        if self.job.done():
            error = problem_in(self.job)
            if error is not None:
                return "failed", 0.0, error.detail, None, error
            return "finished", 1.0, "done", 0.0, None
        told = told_of(self.folder)
        if told is None:
            return "queued", 0.0, "waiting for its turn", None, None
        left = None
        if told.fraction >= FORESEEABLE:
            passed = time.time() - told.started
            left = round(passed * (1 - told.fraction) / told.fraction, 1)
        return "running", round(told.fraction, 4), told.message, left, None


class ReportsBegun:
    """All of this process; used from the event loop's thread only."""

    def __init__(self) -> None:
        self._all: dict[str, Begun] = {}

    def begin(
        self,
        owner: str,
        name: str,
        folder: Path,
        work: Callable[[], Awaitable[Outcome]],
        *,
        place: ExitStack,
        kept: ExitStack,
    ) -> Begun:
        """Start `work`; `place` is closed when it is done, `kept` when nobody needs the folder."""
        self._forget_old()

        async def run() -> Outcome:
            return await work()

        one = Begun(secrets.token_hex(16), owner, name, folder, asyncio.create_task(run()), kept)
        self._all[one.id] = one

        def done(job: asyncio.Task[Outcome]) -> None:
            one.ended = time.monotonic()
            place.close()
            if not job.cancelled() and (error := job.exception()) is not None:
                log.info("the quality report of %s failed: %s", name, error)

        one.job.add_done_callback(done)
        return one

    def find(self, identity: str, caller: Caller) -> Begun:
        """NotFoundError for what is not there, is too old, or is another person's."""
        self._forget_old()
        one = self._all.get(identity)
        if one is None or (one.owner != caller.name and caller.role == "user"):
            raise NotFoundError(
                f"There is no quality report {identity[:40]!r}: it was cancelled, is another "
                f"person's, or was made more than {KEPT_S / 60:.0f} minutes ago. Make it again."
            )
        return one

    def cancel(self, one: Begun) -> None:
        """Stop it if it is being made, and remove what there is of it."""
        self._all.pop(one.id, None)
        one.job.cancel()
        one.kept.close()  # the process that makes it sees that its folder is gone, and stops

    def close(self) -> None:
        for one in list(self._all.values()):
            self.cancel(one)

    def _forget_old(self) -> None:
        done = [one for one in self._all.values() if one.ended is not None]
        done.sort(key=lambda one: one.ended or 0.0)
        too_old = time.monotonic() - KEPT_S
        for at, one in enumerate(done):
            if (one.ended or 0.0) < too_old or len(done) - at >= MOST:
                self.cancel(one)


def problem_in(job: asyncio.Task[Outcome]) -> Problem | None:
    """Why a job that is done failed; None when it did not."""
    error = job.exception()
    if isinstance(error, MicserveError):
        return problems.problem_of(error)
    if error is not None:
        return Problem.model_validate_json(bytes(problems.unexpected_answer(error).body))  # type: ignore[arg-type]
    found = job.result()
    return None if isinstance(found, Path) else Problem.model_validate_json(bytes(found.body))


def accepted(one: Begun, *, as_line: bool) -> Response:
    """202: where to look."""
    headers = {"Location": one.address, "Preference-Applied": "respond-async"}
    if as_line:
        text = f"{one.id}\t{one.address}\n"
        return Response(text, 202, headers, media_type=TSV)
    text = one.state().model_dump_json()
    return Response(text, 202, headers, media_type="application/json")
