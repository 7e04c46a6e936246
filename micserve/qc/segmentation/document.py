"""A segmentation report as JSON: a documented, closed schema. `null`: no meaning there."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from micserve.qc.about import About
from micserve.qc.document import AboutDocument, IntervalDocument
from micserve.qc.intervals import Interval
from micserve.qc.segmentation.matching import THRESHOLDS
from micserve.qc.segmentation.page import TITLE
from micserve.qc.segmentation.report import MethodScores, SegmentationReport
from micserve.qc.summary import Light, Outcome


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SegmentationMeasureDocument(_Document):
    key: str
    label: str
    unit: str = Field(description="`objects` for counts, which are summed up over images.")
    better: Literal["higher", "lower", ""]
    meaning: str


class SegmentationMethodDocument(_Document):
    key: str = Field(description="prediction, threshold or watershed.")
    label: str
    chosen_with_ground_truth: bool = Field(
        description="True for what needs no learning: an optimistic choice of its settings."
    )


class SegmentedScoresDocument(_Document):
    method: str
    whole: dict[str, float | None] = Field(description="By the key of a measure.")
    slices: tuple[dict[str, float | None], ...] = Field(
        description="Each with the objects that it shows; one for a 2D image."
    )
    average_precision: tuple[float, ...] = Field(
        description="At each of `iou_thresholds`; empty for classes."
    )


class SegmentedImageDocument(_Document):
    name: str
    shape: tuple[int, ...] = Field(description="Pixels per axis, Y and X last.")
    scores: tuple[SegmentedScoresDocument, ...]
    notes: tuple[str, ...]
    target_sha256: str = Field(description="Of the ground truth's shape and labels.")


class AgainstDocument(_Document):
    method: str
    outcome: Outcome
    gain: float | None = Field(
        description="Mean AP (objects) or IoU (classes), prediction minus other."
    )
    interval: IntervalDocument | None
    better_in: int = Field(description="Images in which the prediction is better.")


class SegmentationSummaryDocument(_Document):
    images: int
    light: Light = Field(
        description="green: better than every baseline; amber: not clearly; red: a baseline does "
        "better; grey: nothing to compare with."
    )
    headline: str
    verdict: str
    values: dict[str, dict[str, float | None]] = Field(
        description="By method and measure: means over images, of counts the sum."
    )
    intervals: dict[str, dict[str, IntervalDocument]]
    comparisons: tuple[AgainstDocument, ...]


class SegmentationDocument(_Document):
    """Segmentation quality control, version 1 of this schema."""

    schema_version: int = 1
    kind: Literal["segmentation"] = "segmentation"
    about: AboutDocument
    reading: Literal["objects", "classes"] = Field(description="What a number in an image means.")
    ndim: int = Field(description="Spatial axes of an object.")
    iou_thresholds: tuple[float, ...] = THRESHOLDS
    methods: tuple[SegmentationMethodDocument, ...]
    measures: tuple[SegmentationMeasureDocument, ...]
    summary: SegmentationSummaryDocument
    images: tuple[SegmentedImageDocument, ...]
    notes: tuple[str, ...]


def segmentation_json(
    report: SegmentationReport, *, about: About | None = None
) -> SegmentationDocument:
    """Everything but the pictures; `.model_dump_json()` gives the text."""
    about = about or About(title=TITLE)
    return SegmentationDocument(
        about=AboutDocument(
            title=about.title,
            model=about.model,
            digest=about.digest,
            made_at=about.made_at,
            details=dict(about.details),
        ),
        reading=report.reading,
        ndim=report.ndim,
        methods=tuple(
            SegmentationMethodDocument(
                key=one.key, label=one.label, chosen_with_ground_truth=place > 0
            )
            for place, one in enumerate(report.methods)
        ),
        measures=tuple(
            SegmentationMeasureDocument(
                key=one.key, label=one.label, unit=one.unit, better=one.better, meaning=one.meaning
            )
            for one in report.measures
        ),
        summary=_summary(report),
        images=tuple(
            SegmentedImageDocument(
                name=image.name,
                shape=image.shape,
                scores=tuple(_scores(key, found) for key, found in image.results.items()),
                notes=image.notes,
                target_sha256=image.target_sha256,
            )
            for image in report.images
        ),
        notes=report.notes,
    )


def _summary(report: SegmentationReport) -> SegmentationSummaryDocument:
    summary = report.summary
    return SegmentationSummaryDocument(
        images=summary.images,
        light=summary.light,
        headline=summary.headline,
        verdict=summary.sentence,
        values={key: dict(scores) for key, scores in summary.values.items()},
        intervals={
            key: {measure: _known(one) for measure, one in found.items()}
            for key, found in summary.intervals.items()
        },
        comparisons=tuple(
            AgainstDocument(
                method=one.method,
                outcome=one.outcome,
                gain=one.gain,
                interval=None if one.interval is None else _known(one.interval),
                better_in=one.better_in,
            )
            for one in summary.against
        ),
    )


def _scores(method: str, found: MethodScores) -> SegmentedScoresDocument:
    return SegmentedScoresDocument(
        method=method,
        whole=dict(found.whole),
        slices=tuple(dict(one) for one in found.slices),
        average_precision=found.average_precision,
    )


def _known(one: Interval) -> IntervalDocument:
    return IntervalDocument(low=one.low, high=one.high, kind=one.kind, images=one.images)
