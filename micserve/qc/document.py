"""The report as JSON: a documented, closed schema.

Numbers carry their unit in the name (`snr_db`, `rmse_grey`). `null` is a measure
without meaning for that image; for equal images the decibels are infinite,
which JSON cannot say: they are `null` there, and `identical` is true.
"""

import math
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from micserve.qc.about import About
from micserve.qc.intervals import Interval
from micserve.qc.measures import MEASURES, Direction, Scores
from micserve.qc.restoration import ImageResult, Method, MethodResult, RestorationReport
from micserve.qc.spots import BINS, SpotsFound, SpotsOfMethod, wilson
from micserve.qc.summary import Comparison, Light, Outcome


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScoresDocument(_Document):
    """One image or slice against its ground truth."""

    identical: bool = Field(description="Every pixel equals the ground truth.")
    snr_db: float | None = Field(description="SNR as in EPFL's plugin, dB.")
    psnr_db: float | None = Field(description="PSNR as in EPFL's plugin, dB.")
    rmse_grey: float | None = Field(description="Root mean square error, grey values.")
    mae_grey: float | None = Field(description="Mean absolute error, grey values.")
    ssim: float | None = Field(description="Structural similarity, 1 for equal images.")
    nrmse: float | None = Field(
        description="Root mean square error after the best gain, in fractions of the ground "
        "truth's 0.1 to 99.9 percentile range."
    )
    psnr_normalized_db: float | None = Field(description="PSNR on the notebooks' scale, dB.")
    scale_invariant_psnr_db: float | None = Field(
        description="PSNR after the best gain and offset, dB."
    )
    pearson_r: float | None = Field(description="Correlation, -1 to 1.")
    zerocost_compat_nrmse: float | None = Field(
        description="What the ZeroCostDL4Mic notebooks call NRMSE: the square root of the mean "
        "absolute error."
    )


class TrialDocument(_Document):
    setting: float = Field(description="Of the filter; for the Gaussian sigma in pixels.")
    psnr_normalized_db: float | None = Field(description="Mean over images, dB.")


class IntervalDocument(_Document):
    """Around a mean over images."""

    low: float
    high: float
    kind: Literal["bootstrap", "range"] = Field(
        description="bootstrap: 95 % percentile interval of the mean over resampled images; range: "
        "the lowest and highest image, where there are only two or three."
    )
    images: int


class MethodDocument(_Document):
    key: str = Field(description="prediction, input, or a filter such as gaussian.")
    label: str = Field(description="As a person reads it.")
    setting: float | None = Field(description="The filter's chosen setting; null for others.")
    unit: str = Field(description="Of the setting; empty for others.")
    chosen_with_ground_truth: bool = Field(
        description="True for filters: an optimistic choice, not available for new images."
    )
    tried: tuple[TrialDocument, ...] = Field(description="All settings that were compared.")
    tried_on: str = Field(default="", description="Where, in words; empty for whole slices.")


class MethodScoresDocument(_Document):
    method: str
    whole: ScoresDocument = Field(description="All slices together; SSIM is the mean of slices.")
    slices: tuple[ScoresDocument, ...] = Field(description="In stack order; one for a 2D image.")


class ImageDocument(_Document):
    name: str
    shape: tuple[int, ...] = Field(description="Pixels per axis, Y and X last.")
    scores: tuple[MethodScoresDocument, ...]
    notes: tuple[str, ...] = Field(description="What could not be measured, and why.")
    target_sha256: str = Field(
        default="", description="Of the ground truth's shape and grey values, whatever its dtype."
    )


class ComparisonDocument(_Document):
    method: str = Field(description="What the prediction is compared with.")
    outcome: Outcome
    psnr_gain_db: float | None = Field(description="Normalised PSNR, prediction minus other, dB.")
    ssim_gain: float | None
    snr_gain_db: float | None
    better_in: int = Field(description="Images in which the prediction has the higher PSNR.")
    psnr_interval: IntervalDocument | None = Field(
        default=None, description="Of the image-by-image gains, dB."
    )
    ssim_interval: IntervalDocument | None = None
    snr_interval: IntervalDocument | None = None


class SummaryDocument(_Document):
    images: int
    light: Light = Field(
        description="green: better than the input and every filter; amber: not clearly; red: not "
        "better than the input; grey: cannot be said."
    )
    verdict: str = Field(description="One or two sentences for a person.")
    means: dict[str, ScoresDocument] = Field(description="Mean over images, by method.")
    comparisons: tuple[ComparisonDocument, ...]
    spots: str = Field(default="", description="What happens to dim spots, for a person.")
    intervals: dict[str, dict[str, IntervalDocument]] = Field(
        default={}, description="Of the means, by method and measure."
    )


class SpotBinDocument(_Document):
    bin: str
    true: int = Field(description="True spots with a contrast in this bin.")
    found: int = Field(description="Of these, found.")
    recall: float | None
    recall_low: float = Field(description="Lower end of the 95 % Wilson interval.")
    recall_high: float
    detected: int = Field(description="Detections with a contrast of their own in this bin.")
    right: int = Field(description="Of these, true.")
    precision: float | None


class SpotsOfMethodDocument(_Document):
    method: str
    threshold_grey: float | None = Field(
        description="Contrast from which a blob counts as detected: that with the highest F1, "
        "chosen with the ground truth; null when nothing is found."
    )
    recall: float
    precision: float | None
    f1: float
    bins: tuple[SpotBinDocument, ...] = Field(description="From dim to bright.")


class SpotsDocument(_Document):
    """Which spots are found in what each method made; one detector (LoG) for all."""

    true: int
    given: bool = Field(
        description="Whether a table said where spots are; else those of the clean images count."
    )
    planes: int = Field(description="That were searched.")
    planes_of: int = Field(description="That there are.")
    edges_grey: tuple[float, ...] = Field(description="Contrasts between the bins, grey values.")
    methods: tuple[SpotsOfMethodDocument, ...]


class MeasureDocument(_Document):
    key: str
    label: str
    unit: str
    better: Direction
    meaning: str


class AboutDocument(_Document):
    title: str
    model: str = Field(description="name@version, or empty.")
    digest: str = Field(description="sha256 of the model package, or empty.")
    made_at: datetime | None
    details: dict[str, str]


class RestorationDocument(_Document):
    """Restoration quality control, version 1 of this schema."""

    schema_version: int = 1
    about: AboutDocument
    methods: tuple[MethodDocument, ...]
    measures: tuple[MeasureDocument, ...] = Field(description="What the numbers mean.")
    summary: SummaryDocument
    images: tuple[ImageDocument, ...]
    notes: tuple[str, ...]
    spots: SpotsDocument | None = Field(
        default=None, description="null where the images show too few spots."
    )


def report_json(report: RestorationReport, *, about: About | None = None) -> RestorationDocument:
    """Everything but the pictures; `.model_dump_json()` gives the text."""
    about = about or About()
    verdict = report.summary.verdict
    return RestorationDocument(
        about=AboutDocument(
            title=about.title,
            model=about.model,
            digest=about.digest,
            made_at=about.made_at,
            details=dict(about.details),
        ),
        methods=tuple(_method(method) for method in report.methods),
        measures=tuple(
            MeasureDocument(
                key=measure.key,
                label=measure.label,
                unit=measure.unit,
                better=measure.better,
                meaning=measure.meaning,
            )
            for measure in MEASURES
        ),
        summary=SummaryDocument(
            images=report.summary.images,
            light=verdict.light,
            verdict=verdict.sentence,
            means={key: _scores(scores) for key, scores in report.summary.means.items()},
            comparisons=tuple(_comparison(one) for one in verdict.comparisons),
            spots=verdict.spots,
            intervals={
                key: {measure: _known(one) for measure, one in found.items()}
                for key, found in report.summary.intervals.items()
            },
        ),
        images=tuple(_image(image) for image in report.images),
        notes=report.notes,
        spots=None if report.spots is None else _spots(report.spots),
    )


def _known(one: Interval) -> IntervalDocument:
    return IntervalDocument(low=one.low, high=one.high, kind=one.kind, images=one.images)


def _interval(one: Interval | None) -> IntervalDocument | None:
    return None if one is None else _known(one)


def _spots(found: SpotsFound) -> SpotsDocument:
    return SpotsDocument(
        true=len(found.true),
        given=found.given,
        planes=found.planes,
        planes_of=found.planes_of,
        edges_grey=found.edges,
        methods=tuple(
            SpotsOfMethodDocument(
                method=key,
                threshold_grey=_finite(one.threshold),
                recall=one.recall,
                precision=one.precision,
                f1=one.f1,
                bins=tuple(_bin(found, key, one, number) for number in range(len(BINS))),
            )
            for key, one in found.methods.items()
        ),
    )


def _bin(found: SpotsFound, key: str, one: SpotsOfMethod, number: int) -> SpotBinDocument:
    hits, true = found.in_bin(key, number)
    low, high = wilson(hits, true)
    right, detected = one.right[number], one.detected[number]
    return SpotBinDocument(
        bin=BINS[number],
        true=true,
        found=hits,
        recall=hits / true if true else None,
        recall_low=low,
        recall_high=high,
        detected=detected,
        right=right,
        precision=right / detected if detected else None,
    )


def _method(method: Method) -> MethodDocument:
    sweep = method.sweep
    return MethodDocument(
        key=method.key,
        label=method.label,
        setting=sweep.best if sweep else None,
        unit=sweep.filter.unit if sweep else "",
        chosen_with_ground_truth=sweep is not None,
        tried=tuple(
            TrialDocument(setting=setting, psnr_normalized_db=_finite(psnr))
            for setting, psnr in (sweep.tried if sweep else ())
        ),
        tried_on=sweep.tried_on if sweep else "",
    )


def _image(image: ImageResult) -> ImageDocument:
    return ImageDocument(
        name=image.name,
        shape=image.shape,
        scores=tuple(_method_scores(key, found) for key, found in image.results.items()),
        notes=image.notes,
        target_sha256=image.target_sha256,
    )


def _method_scores(key: str, found: MethodResult) -> MethodScoresDocument:
    return MethodScoresDocument(
        method=key,
        whole=_scores(found.whole),
        slices=tuple(_scores(scores) for scores in found.slices),
    )


def _scores(scores: Scores) -> ScoresDocument:
    values = {measure.key: _finite(scores.value(measure)) for measure in MEASURES}
    return ScoresDocument(identical=scores.rmse_grey == 0, **values)


def _comparison(one: Comparison) -> ComparisonDocument:
    return ComparisonDocument(
        method=one.method,
        outcome=one.outcome,
        psnr_gain_db=_finite(one.psnr_gain_db),
        ssim_gain=_finite(one.ssim_gain),
        snr_gain_db=_finite(one.snr_gain_db),
        better_in=one.better_in,
        psnr_interval=_interval(one.psnr_interval),
        ssim_interval=_interval(one.ssim_interval),
        snr_interval=_interval(one.snr_interval),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
