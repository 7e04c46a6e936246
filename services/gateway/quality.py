"""Quality reports on request: computed in processes of their own, a bounded number at a time.

A report of large stacks takes seconds to minutes of a processor; in the
gateway's own process it would hold up every image on its way through. How far
it is stands in a file of its folder; when the folder is gone, it stops.
"""

import asyncio
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from micserve.errors import BusyError, CancelledError, ServiceUnavailableError
from micserve.qc import (
    About,
    RestorationReport,
    draw_pictures,
    evaluate_restoration,
    report_csv,
    report_html,
    report_json,
)
from micserve.qc.segmentation import (
    SegmentationReport,
    draw_segmentation,
    evaluate_segmentation,
    segmentation_csv,
    segmentation_html,
    segmentation_json,
)
from micserve.qc.segmentation.evaluate import Asked
from micserve.qc.segmentation.page import TITLE as SEGMENTATION_TITLE
from micserve.serving.process import die_with_parent
from micserve.serving.report_files import read_case, write_report
from micserve.serving.segmentation_files import read_segmentation, write_segmentation

ReportFormat = Literal[
    "application/json", "text/html", "application/pdf", "text/csv", "application/zip"
]

FORMATS: tuple[ReportFormat, ...] = (
    "application/json",
    "text/html",
    "application/pdf",
    "text/csv",
    "application/zip",
)

ENDINGS: dict[ReportFormat, str] = {
    "application/json": "json",
    "text/html": "html",
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/zip": "zip",
}

ReportKind = Literal["restoration", "segmentation"]

USUAL_WAIT_S = 30

PROGRESS = "progress.json"
TOLD_EVERY_S = 0.3
"""How often the file of the progress is written at most."""
COMPARING = 0.8
"""Share of the work, by time; the rest is drawing and writing."""


@dataclass(frozen=True, slots=True)
class ReportOrder:
    """One image to be judged. Sources are files or their bytes."""

    name: str
    prediction: bytes | Path
    target: bytes | Path
    source: bytes | Path | None
    model: str
    """`name@version`, or empty."""
    digest: str
    format: ReportFormat
    folder: Path
    """Where the report may be written."""
    kind: ReportKind = "restoration"
    numbers: Asked = "auto"
    """Of a segmentation: whether they mean objects or classes."""
    dimensions: int | None = None
    """Of a segmentation's objects; None: 3 in stacks."""


class QualityDesk:
    """Runs reports; used from the event loop's thread only."""

    def __init__(self, *, processes: int, waiting: int) -> None:
        self._processes, self._places = processes, processes + waiting
        self._taken = 0
        self._pool = self._new_pool()

    async def report(self, order: ReportOrder) -> Path:
        """The finished report, a file in the order's folder. For who has a place.

        Raises
        ------
        QualityControlError, ImageFormatError
            What is wrong with the images.
        """
        try:
            future = self._pool.submit(make_report, order)
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            self._pool = self._new_pool()
            raise ServiceUnavailableError(
                "The quality report ended before it was done, most likely because the images "
                "need more memory than there is. Crop them, or send fewer slices."
            ) from error

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places in the line, for as long as the block runs; BusyError without one."""
        self.refuse_when_full()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    def refuse_when_full(self) -> None:
        if self._taken >= self._places:
            raise BusyError(
                f"{self._taken} quality reports are being made or wait. Ask again in a moment.",
                retry_after=USUAL_WAIT_S,
            )

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._processes, mp_context=get_context("spawn"), initializer=die_with_parent
        )


@dataclass(frozen=True, slots=True)
class Told:
    """How far a report is."""

    fraction: float
    message: str
    started: float
    """Seconds since 1970, when a process took it up."""


def told_of(folder: Path) -> Told | None:
    """What the process that makes the report in `folder` said last; None before it began."""
    try:
        return Told(**json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


class Teller:
    """Writes how far a report is into its folder, and stops the work when the folder is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._started, self._last = folder, time.time(), 0.0

    def __call__(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        if now - self._last < TOLD_EVERY_S:
            return
        self._last = now
        told = Told(fraction, message, self._started)
        part = self._folder / f"{PROGRESS}.part"
        try:
            part.write_text(json.dumps(asdict(told)), encoding="utf-8")
            os.replace(part, self._folder / PROGRESS)
        except FileNotFoundError as error:
            raise CancelledError("Nobody waits for this report any more.") from error

    def between(self, low: float, high: float) -> Callable[[float, str], None]:
        """For a part of the work."""
        return lambda fraction, message: self(low + fraction * (high - low), message)


def make_report(order: ReportOrder) -> Path:
    """Read, measure, write. Runs in a process of the desk."""
    tell = Teller(order.folder)
    tell(0.0, "reading")
    path = order.folder / f"report.{ENDINGS[order.format]}"
    if order.kind == "segmentation":
        _make_segmentation(order, path, tell)
    else:
        _make_restoration(order, path, tell)
    return path


def _make_restoration(order: ReportOrder, path: Path, tell: Teller) -> None:
    case, truth = read_case(
        order.name, prediction=order.prediction, target=order.target, source=order.source
    )
    report = evaluate_restoration([case], progress=tell.between(0.0, COMPARING))
    about = About(model=order.model, digest=order.digest, made_at=datetime.now(UTC))
    match order.format:
        case "application/zip":
            files = order.folder / "report"
            write_report(
                report,
                files,
                about=about,
                truths={order.name: truth},
                progress=tell.between(COMPARING, 1.0),
            )
            _archive(files, path)
        case "application/pdf":
            from micserve.qc.pdf import report_pdf  # loads ReportLab

            path.write_bytes(report_pdf(report, draw_pictures(report), about=about))
        case text:
            path.write_text(_TEXTS[text](report, about), encoding="utf-8")


_TEXTS: dict[ReportFormat, Callable[[RestorationReport, About], str]] = {
    "application/json": lambda report, about: report_json(report, about=about).model_dump_json(),
    "text/html": lambda report, about: report_html(report, draw_pictures(report), about=about),
    "text/csv": lambda report, _: report_csv(report),
}


def _make_segmentation(order: ReportOrder, path: Path, tell: Teller) -> None:
    case, truth = read_segmentation(
        order.name, prediction=order.prediction, target=order.target, source=order.source
    )
    report = evaluate_segmentation(
        [case],
        reading=order.numbers,
        ndim=order.dimensions,
        progress=tell.between(0.0, COMPARING),
    )
    about = About(
        title=SEGMENTATION_TITLE,
        model=order.model,
        digest=order.digest,
        made_at=datetime.now(UTC),
    )
    match order.format:
        case "application/zip":
            files = order.folder / "report"
            tell(COMPARING, "drawing and writing")
            write_segmentation(report, files, about=about, truths={order.name: truth})
            _archive(files, path)
        case "application/pdf":
            from micserve.qc.segmentation.pdf import segmentation_pdf  # loads ReportLab

            path.write_bytes(segmentation_pdf(report, draw_segmentation(report), about=about))
        case text:
            path.write_text(_SEGMENTATION_TEXTS[text](report, about), encoding="utf-8")


_SEGMENTATION_TEXTS: dict[ReportFormat, Callable[[SegmentationReport, About], str]] = {
    "application/json": lambda report, about: segmentation_json(
        report, about=about
    ).model_dump_json(),
    "text/html": lambda report, about: segmentation_html(
        report, draw_segmentation(report), about=about
    ),
    "text/csv": lambda report, _: segmentation_csv(report),
}


def _archive(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder))
