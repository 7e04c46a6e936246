"""Segmentation scores as CSV.

    image      the case's name
    slice      1, 2, …; `all` for the whole image
    method     prediction, threshold, watershed
    …          one column per measure, by its key in the JSON
    ap_0.5 …   AP at each IoU, of whole images

An empty cell is a measure without meaning there. Comma separated, decimal point,
lines end in LF.
"""

import csv
import io
from collections.abc import Iterator

from micserve.qc.segmentation.matching import THRESHOLDS
from micserve.qc.segmentation.measures import Scores
from micserve.qc.segmentation.report import MethodScores, SegmentationReport


def segmentation_csv(report: SegmentationReport) -> str:
    """One row per image, slice and method; a 2D image has only its `all` rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [measure.key for measure in report.measures]
    curve = [f"ap_{one:g}" for one in THRESHOLDS] if report.reading == "objects" else []
    writer.writerow(["image", "slice", "method", *keys, *curve])
    writer.writerows(_rows(report, keys, len(curve)))
    return text.getvalue()


def _rows(report: SegmentationReport, keys: list[str], curve: int) -> Iterator[list[object]]:
    for image in report.images:
        for method, found in image.results.items():
            yield [image.name, "all", method, *_cells(found.whole, keys), *_curve(found, curve)]
            if len(image.shape) == 2:
                continue
            for index, scores in enumerate(found.slices, start=1):
                yield [image.name, index, method, *_cells(scores, keys), *[""] * curve]


def _cells(scores: Scores, keys: list[str]) -> list[str]:
    return ["" if (value := scores.get(key)) is None else repr(value) for key in keys]


def _curve(found: MethodScores, length: int) -> list[str]:
    return [repr(value) for value in found.average_precision] or [""] * length
