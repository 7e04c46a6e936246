"""`/v1/qc`: a quality report while the client waits, or begun and fetched later.

Knows routes; what is judged is `services.gateway.reports`', how far it is
`services.gateway.reports_begun`'s.
"""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from micserve.errors import NotFoundError
from micserve.qc import RestorationDocument
from micserve.qc.segmentation import SegmentationDocument
from micserve.serving.problems import problem_responses
from services.gateway import negotiation, reports
from services.gateway.callers import WhoAsks
from services.gateway.catalogue import progress_line
from services.gateway.openapi import answers
from services.gateway.parcels import TSV, listed
from services.gateway.parts import Accept, Here
from services.gateway.quality import FORMATS, ReportFormat
from services.gateway.reports_begun import ReportState

Prefer = Annotated[
    str,
    Header(
        description="`respond-async`: answer 202 at once with the address of the report's state, "
        "and make all forms of it (RFC 7240)."
    ),
]

FILES: dict[ReportFormat, str] = {
    "application/json": "report/report.json",
    "text/html": "report/report.html",
    "application/pdf": "report/report.pdf",
    "text/csv": "report/metrics.csv",
    "application/zip": "report.zip",
}
"""In the folder of a report that was begun."""


def add_quality(app: FastAPI) -> None:
    """The routes."""

    @app.post(
        "/v1/qc",
        summary="Compare a result with ground truth",
        response_class=Response,
        responses={
            200: {"model": RestorationDocument | SegmentationDocument},
            202: {"model": ReportState, "description": "With `Prefer: respond-async`: begun."},
            **problem_responses(404, 406, 413, 422, 503),
        },
        openapi_extra=reports.OPENAPI,
    )
    async def quality(
        request: Request, here: Here, caller: WhoAsks, accept: Accept = "*/*", prefer: Prefer = ""
    ) -> Response:
        begin = any(
            part.partition(";")[0].strip().lower() == "respond-async" for part in prefer.split(",")
        )
        return await reports.compare(request, accept, here, owner=caller.name, begin=begin)

    @app.get(
        "/v1/qc/{report}.tsv",
        summary="How far a report is, as one line for macros",
        response_class=Response,
        responses=answers(TSV) | problem_responses(404, 422),
    )
    async def state_line(report: str, here: Here, caller: WhoAsks) -> Response:
        found = here.reports_begun.find(report, caller)
        state = await asyncio.to_thread(found.state)
        text = progress_line(state.state, state.fraction, state.message, state.seconds_left)
        return Response(text, media_type=TSV)

    @app.get(
        "/v1/qc/{report}",
        summary="How far a report is that was begun",
        responses=problem_responses(404, 422),
    )
    async def state_of(report: str, here: Here, caller: WhoAsks) -> ReportState:
        found = here.reports_begun.find(report, caller)
        return await asyncio.to_thread(found.state)

    @app.get(
        "/v1/qc/{report}/report",
        summary="A report that was begun and is finished, in the form that Accept prefers",
        response_class=Response,
        responses=answers(*FORMATS, TSV) | problem_responses(404, 406, 409, 413, 422, 503),
    )
    async def finished(
        report: str, here: Here, caller: WhoAsks, accept: Accept = "*/*"
    ) -> Response:
        found = here.reports_begun.find(report, caller)
        chosen = negotiation.choose(accept, (*FORMATS, TSV))
        if not found.job.done():
            state = await asyncio.to_thread(found.state)
            raise HTTPException(409, f"The report is not finished: {100 * state.fraction:.0f} %.")
        made = found.outcome()
        if not isinstance(made, Path):
            return made
        if chosen == TSV:
            return await listed(here.parcels, made, {})
        wanted = next(kind for kind in FORMATS if kind == chosen)
        path = found.folder / FILES[wanted]
        if not path.is_file():
            raise NotFoundError(f"This report has no form {wanted}; ask for another.")
        return reports.file_answer(path, wanted, name=found.name)

    @app.delete(
        "/v1/qc/{report}",
        status_code=204,
        summary="Cancel a report that is being made, or remove one that is finished",
        response_class=Response,
        responses=problem_responses(404, 422),
    )
    async def cancel(report: str, here: Here, caller: WhoAsks) -> Response:
        here.reports_begun.cancel(here.reports_begun.find(report, caller))
        return Response(status_code=204)
