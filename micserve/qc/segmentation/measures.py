"""What is measured of a segmentation: names, units, directions and meanings, in one home."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from micserve.qc.segmentation.classes import ClassCounts
from micserve.qc.segmentation.matching import THRESHOLDS, match
from micserve.qc.segmentation.overlap import Overlap
from micserve.qc.segmentation.parts import fates

Scores = Mapping[str, float | None]
"""By the key of a measure; None where it has no meaning for these images."""


@dataclass(frozen=True, slots=True)
class SegmentationMeasure:
    """How one number is named and read."""

    key: str
    label: str
    unit: str
    """`objects` for counts, else what its range is."""
    better: Literal["higher", "lower", ""]
    decimals: int
    meaning: str
    """One sentence for a biologist."""

    @property
    def counted(self) -> bool:
        """Whether images are summed up, where other measures are averaged."""
        return self.unit == "objects"


_SHARE = "0 to 1"
_AP = ", ".join(f"{one:g}" for one in THRESHOLDS)

OBJECT_MEASURES = (
    SegmentationMeasure(
        "mean_ap", "AP, mean of IoU 0.5 to 0.9", _SHARE, "higher", 3,
        f"Mean of AP = TP / (TP + FP + FN) at the overlaps (IoU) {_AP}, as in the StarDist "
        "papers: are the objects found, and are their outlines right? The verdict rests on it.",
    ),
    SegmentationMeasure(
        "ap_50", "AP at IoU 0.5", _SHARE, "higher", 3,
        "TP / (TP + FP + FN), with an object counted as found (TP) when it and a true one share at "
        "least half of the area that they cover together.",
    ),
    SegmentationMeasure(
        "precision", "Precision at IoU 0.5", _SHARE, "higher", 3,
        "Share of the objects in the prediction that are true.",
    ),
    SegmentationMeasure(
        "recall", "Recall at IoU 0.5", _SHARE, "higher", 3,
        "Share of the true objects that are found.",
    ),
    SegmentationMeasure(
        "f1", "F1 at IoU 0.5", _SHARE, "higher", 3,
        "Both in one: 2·TP / (2·TP + FP + FN).",
    ),
    SegmentationMeasure(
        "mean_matched_score", "Mean matched IoU", _SHARE, "higher", 3,
        "How well the outlines of the found objects agree: mean IoU of the matched pairs.",
    ),
    SegmentationMeasure(
        "mean_true_score", "Mean true IoU", _SHARE, "higher", 3,
        "The same per true object: one that is missed counts as 0.",
    ),
    SegmentationMeasure(
        "panoptic_quality", "Panoptic quality", _SHARE, "higher", 3,
        "Mean matched IoU times F1 (Kirillov et al. 2019): found, and well outlined.",
    ),
    SegmentationMeasure(
        "foreground_iou", "Foreground IoU", _SHARE, "higher", 3,
        "Overlap of all objects together, whoever is whose: says nothing of objects told apart.",
    ),
    SegmentationMeasure(
        "n_true", "True objects", "objects", "", 0, "In the ground truth.",
    ),
    SegmentationMeasure(
        "n_found", "Objects in the prediction", "objects", "", 0,
        "Near the number of true objects does not mean that they are the same ones.",
    ),
    SegmentationMeasure(
        "missed", "Missed", "objects", "lower", 0,
        "True objects that match nothing at IoU 0.5, and are neither split nor merged.",
    ),
    SegmentationMeasure(
        "false", "False", "objects", "lower", 0,
        "Objects of the prediction that match nothing at IoU 0.5, and are no part of a split "
        "object and merge none.",
    ),
    SegmentationMeasure(
        "split", "Split", "objects", "lower", 0,
        "Over-segmentation: true objects in which at least two objects of the prediction lie with "
        "more than half of their area, each making a tenth of it or more.",
    ),
    SegmentationMeasure(
        "merged", "Merging", "objects", "lower", 0,
        "Under-segmentation: objects of the prediction in which at least two true ones lie with "
        "more than half of their area, each making a tenth of it or more.",
    ),
)  # fmt: skip

CLASS_MEASURES = (
    SegmentationMeasure(
        "iou", "IoU", _SHARE, "higher", 4,
        "Pixels in both divided by pixels in either; with several classes the mean of all but the "
        "background. The verdict rests on it.",
    ),
    SegmentationMeasure(
        "dice", "Dice", _SHARE, "higher", 4,
        "Twice the pixels in both, divided by the pixels of each added up; likewise.",
    ),
    SegmentationMeasure(
        "pixel_accuracy", "Pixel accuracy", _SHARE, "higher", 4,
        "Share of all pixels with the right class; high for any answer where one class fills most "
        "of the image.",
    ),
)  # fmt: skip


def class_measures(values: Sequence[int]) -> tuple[SegmentationMeasure, ...]:
    """With an IoU and a Dice for each class, 0 the background; `values` ascending."""
    binary = len(values) == 2
    each = [
        measure
        for value in values
        for measure in (
            SegmentationMeasure(
                f"iou_{value}", f"IoU, {class_name(value, binary=binary)}", _SHARE, "higher", 4,
                "Pixels in both divided by pixels in either, of this class.",
            ),
            SegmentationMeasure(
                f"dice_{value}", f"Dice, {class_name(value, binary=binary)}", _SHARE, "higher", 4,
                "Twice the pixels in both, divided by the pixels of each, of this class.",
            ),
        )
    ]  # fmt: skip
    return (*CLASS_MEASURES, *each)


def class_name(value: int, *, binary: bool) -> str:
    if value == 0:
        return "background"
    return "object" if binary else f"class {value}"


def object_scores(overlap: Overlap) -> dict[str, float | None]:
    """One value per measure of `OBJECT_MEASURES`; where neither has an object only counts."""
    at_half = match(overlap, THRESHOLDS[0])
    fate = fates(overlap)
    counts: dict[str, float | None] = {
        "n_true": at_half.n_true,
        "n_found": at_half.n_found,
        "missed": int((fate.of_true() == "missed").sum()),
        "false": int((fate.of_found() == "false").sum()),
        "split": fate.split,
        "merged": fate.merged,
    }
    if not at_half.n_true and not at_half.n_found:
        return {**{one.key: None for one in OBJECT_MEASURES}, **counts}
    both, true, found = overlap.foreground
    precision = average_precision(overlap)
    return {
        "mean_ap": sum(precision) / len(precision),
        "ap_50": at_half.accuracy,
        "precision": at_half.precision,
        "recall": at_half.recall,
        "f1": at_half.f1,
        "mean_matched_score": at_half.mean_matched_score,
        "mean_true_score": at_half.mean_true_score,
        "panoptic_quality": at_half.panoptic_quality,
        "foreground_iou": both / (true + found - both),
        **counts,
    }


def average_precision(overlap: Overlap) -> tuple[float, ...]:
    """AP at each of `THRESHOLDS`."""
    return tuple(match(overlap, one).accuracy for one in THRESHOLDS)


def class_scores(counts: ClassCounts) -> dict[str, float | None]:
    """One value per measure of `class_measures`; None for a class that is in neither."""
    each = {
        f"{name}_{value}": score
        for value in counts.values
        for name, score in (("iou", counts.iou(value)), ("dice", counts.dice(value)))
    }
    objects = [value for value in counts.values if value]
    return {
        "iou": _mean([counts.iou(value) for value in objects]),
        "dice": _mean([counts.dice(value) for value in objects]),
        "pixel_accuracy": counts.pixel_accuracy,
        **each,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
