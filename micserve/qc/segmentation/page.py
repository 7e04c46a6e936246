"""A segmentation report as one HTML file, in the same dress as that of a restoration.

Knows how a page is laid out, not how anything was measured. `micserve.qc.segmentation.pdf`
prints the same rows.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from micserve.qc.about import About
from micserve.qc.intervals import Interval, in_words
from micserve.qc.page import SIGNS, Cell, template
from micserve.qc.segmentation.measures import Scores, SegmentationMeasure
from micserve.qc.segmentation.pictures import SegmentationPicture
from micserve.qc.segmentation.report import PREDICTION, SegmentationReport

TITLE = "Segmentation quality control"
IN_IMAGE_TABLE = (
    "mean_ap", "ap_50", "precision", "recall", "f1", "panoptic_quality", "n_true", "n_found",
    "missed", "false", "split", "merged", "iou", "dice", "pixel_accuracy",
)  # fmt: skip
"""Measures that fit side by side; the CSV has all."""


@dataclass(frozen=True, slots=True)
class MeasureRow:
    measure: SegmentationMeasure
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class SegmentedRows:
    name: str
    size: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """(method label, one cell per measure)."""


def segmentation_html(
    report: SegmentationReport,
    pictures: Sequence[SegmentationPicture] = (),
    *,
    about: About | None = None,
) -> str:
    """The whole page, UTF-8; pictures from `draw_segmentation`."""
    about = about or About(title=TITLE)
    shown = [(one, _data_address(one.png)) for one in pictures]
    return template("segmentation/report.html").render(
        about=about,
        header=list(header_lines(report, about)),
        light=report.summary.light,
        sign=SIGNS[report.summary.light],
        headline=report.summary.headline,
        sentence=report.summary.sentence,
        methods=[method.label for method in report.methods],
        rows=measure_rows(report),
        intervals=interval_words(report),
        images=list(image_rows(report)),
        measures=image_measures(report),
        measures_in_full=report.measures,
        count=len(report.images),
        notes=report.notes,
        of_all=[one for one in shown if not one[0].image],
        pictures=[one for one in shown if one[0].image],
    )


def header_lines(report: SegmentationReport, about: About) -> Iterator[tuple[str, str]]:
    """(what, value)."""
    if about.model:
        yield "Model", about.model
    if about.digest:
        yield "Digest", f"sha256 {about.digest.removeprefix('sha256:')[:16]}…"
    count = len(report.images)
    what = "objects" if report.reading == "objects" else "classes of pixels"
    yield "Compared", f"{what} in {count} {'image' if count == 1 else 'images'} with ground truth"
    if about.made_at is not None:
        yield "Made", f"{about.made_at.day} {about.made_at:%B %Y, %H:%M %Z}".strip()
    yield from about.details


def measure_rows(report: SegmentationReport) -> list[MeasureRow]:
    """One per measure over all methods."""
    return [MeasureRow(measure, _cells(report, measure)) for measure in report.measures]


def _cells(report: SegmentationReport, measure: SegmentationMeasure) -> tuple[Cell, ...]:
    keys = [method.key for method in report.methods]
    cells = _marked(measure, [report.summary.values[key] for key in keys])
    known = [report.summary.intervals[key].get(measure.key) for key in keys]
    return tuple(
        replace(cell, around=_span(one, measure)) for cell, one in zip(cells, known, strict=True)
    )


def interval_words(report: SegmentationReport) -> str:
    """What the intervals in the table are."""
    of = report.summary.intervals[PREDICTION]
    return in_words(next(iter(of.values()), None))


def image_measures(report: SegmentationReport) -> list[SegmentationMeasure]:
    return [measure for measure in report.measures if measure.key in IN_IMAGE_TABLE]


def image_rows(report: SegmentationReport) -> Iterator[SegmentedRows]:
    """Every image with every method."""
    for image in report.images:
        columns = [
            _marked(measure, [image.results[method.key].whole for method in report.methods])
            for measure in image_measures(report)
        ]
        yield SegmentedRows(
            image.name,
            " × ".join(str(length) for length in image.shape) + " px",
            tuple(
                (method.label, tuple(column[place] for column in columns))
                for place, method in enumerate(report.methods)
            ),
        )


def _marked(measure: SegmentationMeasure, scores: Sequence[Scores]) -> tuple[Cell, ...]:
    """The best as printed is marked; nothing is marked where all are the same."""
    values = [one.get(measure.key) for one in scores]
    rounded = [None if value is None else round(value, measure.decimals) for value in values]
    known = [value for value in rounded if value is not None]
    best = None
    if len(set(known)) > 1 and measure.better:
        best = max(known) if measure.better == "higher" else min(known)
    return tuple(
        Cell(number(value, measure), short is not None and short == best)
        for value, short in zip(values, rounded, strict=True)
    )


def number(value: float | None, measure: SegmentationMeasure) -> str:
    """As printed; – where there is no meaning."""
    return "–" if value is None else f"{value:.{measure.decimals}f}"


def _span(one: Interval | None, measure: SegmentationMeasure) -> str:
    if one is None:
        return ""
    return f"{number(one.low, measure)} to {number(one.high, measure)}"


def _data_address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
