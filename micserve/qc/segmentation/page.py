"""A segmentation report as one HTML file, in the same dress as that of a restoration.

Knows how a page is laid out, not how anything was measured. `micserve.qc.segmentation.pdf`
prints the same rows.
"""

from collections.abc import Iterator, Sequence

from micserve.qc.about import About
from micserve.qc.intervals import in_words
from micserve.qc.page import (
    SIGNS,
    ImageRows,
    Row,
    about_lines,
    data_address,
    marked,
    row,
    size_words,
    template,
)
from micserve.qc.segmentation.measures import SegmentationMeasure
from micserve.qc.segmentation.pictures import SegmentationPicture
from micserve.qc.segmentation.report import PREDICTION, SegmentationReport

TITLE = "Segmentation quality control"
IN_IMAGE_TABLE = (
    "mean_ap", "ap_50", "precision", "recall", "f1", "panoptic_quality", "n_true", "n_found",
    "missed", "false", "split", "merged", "iou", "dice", "pixel_accuracy",
)  # fmt: skip
"""Measures that fit side by side; the CSV has all."""


def segmentation_html(
    report: SegmentationReport,
    pictures: Sequence[SegmentationPicture] = (),
    *,
    about: About | None = None,
) -> str:
    """The whole page, UTF-8; pictures from `draw_segmentation`."""
    about = about or About(title=TITLE)
    shown = [(one, data_address(one.png)) for one in pictures]
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
    count = len(report.images)
    what = "objects" if report.reading == "objects" else "classes of pixels"
    images = "image" if count == 1 else "images"
    return about_lines(about, compared=f"{what} in {count} {images} with ground truth")


def measure_rows(report: SegmentationReport) -> list[Row]:
    """One per measure over all methods."""
    values = [report.summary.values[method.key] for method in report.methods]
    around = [report.summary.intervals[method.key] for method in report.methods]
    return [
        row(
            measure,
            [one.get(measure.key) for one in values],
            [one.get(measure.key) for one in around],
        )
        for measure in report.measures
    ]


def interval_words(report: SegmentationReport) -> str:
    """What the intervals in the table are."""
    of = report.summary.intervals[PREDICTION]
    return in_words(next(iter(of.values()), None))


def image_measures(report: SegmentationReport) -> list[SegmentationMeasure]:
    return [measure for measure in report.measures if measure.key in IN_IMAGE_TABLE]


def image_rows(report: SegmentationReport) -> Iterator[ImageRows]:
    """Every image with every method."""
    for image in report.images:
        columns = [
            marked(
                measure,
                [image.results[method.key].whole.get(measure.key) for method in report.methods],
            )
            for measure in image_measures(report)
        ]
        yield ImageRows(
            image.name,
            size_words(image.shape),
            tuple(
                (method.label, tuple(column[place] for column in columns))
                for place, method in enumerate(report.methods)
            ),
        )
