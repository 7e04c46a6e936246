"""The pictures of a segmentation report, as PNG bytes with the words that go with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from micserve.qc.picture import PICTURES_SHOWN
from micserve.qc.segmentation.classes import index_of
from micserve.qc.segmentation.labels import checked_labels
from micserve.qc.segmentation.report import SegmentationReport
from micserve.qc.segmentation.view import Seen, below, busiest, object_view


@dataclass(frozen=True, slots=True)
class SegmentationPicture:
    """One figure: `png` is the file, the rest is text."""

    image: str
    """Name of the case; empty for what is of all images."""
    kind: str
    """`overlay` or `precision`."""
    title: str
    caption: str
    alt: str
    """For those who cannot see it."""
    png: bytes


def draw_segmentation(
    report: SegmentationReport, *, images: Sequence[str] | None = None, limit: int = PICTURES_SHOWN
) -> tuple[SegmentationPicture, ...]:
    """What is of all images first, then those named, or the first `limit` ones."""
    # Matplotlib takes a second to load; services that never draw do not pay for it.
    from micserve.qc.segmentation import figures

    chosen = [image.name for image in report.images][:limit] if images is None else images
    if report.reading == "classes":
        return tuple(_classes(report, name) for name in chosen)
    of_all = SegmentationPicture(
        "",
        "precision",
        "How many objects are right, and what became of the others",
        "Left: AP = TP / (TP + FP + FN) by the overlap that is asked for; a line that falls early "
        "has its outlines wrong. Right: objects that were missed, are false, were split, or merge "
        "several; sums over all images.",
        "AP by IoU for each method, and counts of missed, false, split and merging objects.",
        figures.precision_curves(report),
    )
    return (of_all, *(_objects(report, name) for name in chosen))


def _objects(report: SegmentationReport, name: str) -> SegmentationPicture:
    from micserve.qc.segmentation import figures

    seen = object_view(report, name)
    counts = ", ".join(f"{count} {fate}" for fate, count in seen.counts.items())
    return SegmentationPicture(
        name,
        "overlay",
        "What was found",
        f"{_place(seen)} Outlines of the prediction where objects are found or false, of the "
        "ground truth where they are missed, split or merged; thin inside split ones, what was "
        f"found instead.{' Numbers are of this slice.' if seen.slices > 1 else ''}",
        f"Outlines on {name}: {counts}.",
        figures.overlay(seen),
    )


def _classes(report: SegmentationReport, name: str) -> SegmentationPicture:
    from micserve.qc.segmentation import figures

    case = report.case(name)
    pair = checked_labels(case.prediction, case.target, name=name, ndim=report.ndim)
    planes = [
        (index_of(prediction, report.values), index_of(target, report.values))
        for prediction, target in pair.planes()
    ]
    wrong = [int((prediction != target).sum()) for prediction, target in planes]
    index = wrong.index(max(wrong))
    prediction, target = planes[index]
    differs = prediction != target
    missed, false = differs & (target > 0), differs & (target == 0)
    shape = (int(target.shape[0]), int(target.shape[1]))
    seen = Seen(
        grey=below(case.source, np.shape(case.target), index, target),
        outlines={},
        counts={},
        parts={},
        part=busiest(differs if differs.any() else target > 0, shape),
        slice_index=index,
        slices=len(planes),
        pixel_size_um=case.pixel_size_um,
        has_source=case.source is not None,
    )
    return SegmentationPicture(
        name,
        "overlay",
        "Where it differs from the ground truth",
        f"{_place(seen)} Hatched: pixels that should be object, or of another class; plain: "
        "pixels that should be background.",
        f"Missed and false pixels on {name}.",
        figures.class_overlay(seen, missed, false),
    )


def _place(seen: Seen) -> str:
    high, wide = seen.grey.shape[:2]
    part = seen.part
    slices = (
        f"Slice {seen.slice_index + 1} of {seen.slices}, that with the most errors"
        if seen.slices > 1
        else "The image"
    )
    return (
        f"{slices} ({wide} × {high} px), and the framed part ({part.width} × {part.height} px) "
        "where most went wrong."
    )
