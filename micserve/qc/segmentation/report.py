"""What a segmentation report is made of.

    SegmentationCase(s) ──► evaluate_segmentation ──► SegmentationReport
       name, prediction, target                          methods   prediction, threshold, …
       source (optional)                                 images    scores per image and slice
                                                         summary   means, intervals, verdict

Knows arrays; knows no file format, no model and no page layout.
"""

from dataclasses import dataclass, field
from typing import Literal

from micserve.errors import QualityControlError
from micserve.qc.intervals import Interval
from micserve.qc.planes import Pixels
from micserve.qc.segmentation.measures import Scores, SegmentationMeasure
from micserve.qc.summary import Light, Outcome

Reading = Literal["objects", "classes"]
"""What a number means: one object, or a class of pixels."""
PREDICTION = "prediction"
MAIN = {"objects": "mean_ap", "classes": "iou"}
"""The measure that the verdict rests on."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationCase:
    """One image to judge: (…, Y, X) whole numbers, 0 the background, of one shape."""

    name: str
    prediction: Pixels
    target: Pixels
    """The ground truth."""
    source: Pixels | None = None
    """What was segmented, in grey values and of the same shape: shown below the outlines, and
    what the baselines work on."""
    pixel_size_um: float | None = None
    """Along X, for scale bars."""


@dataclass(frozen=True, slots=True)
class SegmentationMethod:
    key: str
    """`prediction`, or the key of a baseline."""
    label: str


@dataclass(frozen=True, slots=True)
class MethodScores:
    """One method on one image."""

    whole: Scores
    slices: tuple[Scores, ...]
    """One per plane, each with the objects that it shows; a 2D image has one."""
    average_precision: tuple[float, ...] = ()
    """At each of `matching.THRESHOLDS`; empty for classes, and where there is no object."""


@dataclass(frozen=True, slots=True)
class SegmentedImage:
    name: str
    shape: tuple[int, ...]
    results: dict[str, MethodScores]
    target_sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Against:
    """The prediction against one baseline, by the measure that the verdict rests on."""

    method: str
    label: str
    gain: float | None
    """Mean over images, prediction − baseline."""
    interval: Interval | None
    better_in: int
    """Images."""
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class SegmentationSummary:
    images: int
    values: dict[str, Scores]
    """By method: the mean over images, of counts the sum."""
    intervals: dict[str, dict[str, Interval]]
    """Of the means, by method and measure."""
    light: Light
    """green: better than every baseline; amber: not clearly; red: a baseline does better; grey:
    there was nothing to compare with."""
    headline: str
    sentence: str
    against: tuple[Against, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationReport:
    """Scores and the arrays that pictures are drawn of; copies none."""

    reading: Reading
    ndim: int
    """Spatial axes of an object."""
    measures: tuple[SegmentationMeasure, ...]
    methods: tuple[SegmentationMethod, ...]
    images: tuple[SegmentedImage, ...]
    summary: SegmentationSummary
    notes: tuple[str, ...]
    cases: tuple[SegmentationCase, ...] = field(repr=False)
    values: tuple[int, ...] = ()
    """Of the classes; empty for objects."""

    def case(self, image: str) -> SegmentationCase:
        for case in self.cases:
            if case.name == image:
                return case
        raise QualityControlError(
            f"this report has no image {image!r}; it has {', '.join(c.name for c in self.cases)}."
        )
