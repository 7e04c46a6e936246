"""Scores as CSV: ours with units, and one with the notebooks' own columns.

`report_csv` columns:

    image      the case's name
    slice      1, 2, …; `all` for the whole image
    method     prediction, input, gaussian
    setting    of a filter (σ in px); empty otherwise
    …          one column per measure of `micserve.qc.measures`, unit in the header

An empty cell is a measure without meaning there; `inf` stands for equal images.
Comma separated, decimal point, lines end in LF.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from micserve.errors import QualityControlError
from micserve.qc.measures import MEASURES, Scores
from micserve.qc.restoration import INPUT, PREDICTION, ImageResult, RestorationReport

COLUMNS = ("image", "slice", "method", "setting", *(measure.column for measure in MEASURES))

_NOTEBOOK_MEASURES = ("mSSIM", "NRMSE", "PSNR")
_NOTEBOOK_SIDES = {"Prediction v. GT": PREDICTION, "Input v. GT": INPUT}
ZEROCOST_MEASURE_COLUMNS = tuple(
    f"{side} {measure}" for measure in _NOTEBOOK_MEASURES for side in _NOTEBOOK_SIDES
)


def report_csv(report: RestorationReport) -> str:
    """One row per image, slice and method; a 2D image has only its `all` rows."""
    return _csv(COLUMNS, _rows(report))


def zerocost_csv(report: RestorationReport) -> str:
    """`QC_metrics_<model>.csv` as the ZeroCostDL4Mic notebooks write it.

    2D: `image #` and six measures. With stacks: `File name`, `Slice #` and one
    row per slice, as in the 3D notebooks. NRMSE is the notebooks' own figure.
    """
    if INPUT not in {method.key for method in report.methods}:
        raise QualityControlError(
            "the notebooks' table compares the input with the ground truth, and the input was not "
            "given; give it, or ask for the plain CSV."
        )
    if all(len(image.shape) == 2 for image in report.images):
        rows = ([image.name, *_notebook(image, None)] for image in report.images)
        return _csv(("image #", *ZEROCOST_MEASURE_COLUMNS), rows)
    per_slice = (
        [image.name, index, *_notebook(image, index)]
        for image in report.images
        for index in range(len(image.results[PREDICTION].slices))
    )
    return _csv(("File name", "Slice #", *ZEROCOST_MEASURE_COLUMNS), per_slice)


def _rows(report: RestorationReport) -> Iterator[list[object]]:
    settings = {
        method.key: f"{method.sweep.best:g}" if method.sweep else "" for method in report.methods
    }
    for image in report.images:
        for key, found in image.results.items():
            yield [image.name, "all", key, settings[key], *_cells(found.whole)]
            if len(image.shape) == 2:
                continue
            for index, scores in enumerate(found.slices, start=1):
                yield [image.name, index, key, settings[key], *_cells(scores)]


def _cells(scores: Scores) -> list[str]:
    return [_cell(scores.value(measure)) for measure in MEASURES]


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)


def _notebook(image: ImageResult, index: int | None) -> Iterator[str]:
    sides = [
        found.whole if index is None else found.slices[index]
        for found in (image.results[key] for key in _NOTEBOOK_SIDES.values())
    ]
    for field in ("ssim", "zerocost_compat_nrmse", "psnr_normalized_db"):
        for scores in sides:
            yield _cell(getattr(scores, field))


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
