"""The report as JSON: a documented, closed schema.

Numbers carry their unit in the name (`snr_db`, `rmse_grey`). `null` is a measure
without meaning for that image; for equal images the decibels are infinite,
which JSON cannot say: they are `null` there, and `identical` is true.
"""

import math
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from micserve.qc.about import About
from micserve.qc.measures import MEASURES, Direction, Scores
from micserve.qc.restoration import ImageResult, Method, MethodResult, RestorationReport
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


class MethodDocument(_Document):
    key: str = Field(description="prediction, input, or a filter such as gaussian.")
    label: str = Field(description="As a person reads it.")
    setting: float | None = Field(description="The filter's chosen setting; null for others.")
    unit: str = Field(description="Of the setting; empty for others.")
    chosen_with_ground_truth: bool = Field(
        description="True for filters: an optimistic choice, not available for new images."
    )
    tried: tuple[TrialDocument, ...] = Field(description="All settings that were compared.")


class MethodScoresDocument(_Document):
    method: str
    whole: ScoresDocument = Field(description="All slices together; SSIM is the mean of slices.")
    slices: tuple[ScoresDocument, ...] = Field(description="In stack order; one for a 2D image.")


class ImageDocument(_Document):
    name: str
    shape: tuple[int, ...] = Field(description="Pixels per axis, Y and X last.")
    scores: tuple[MethodScoresDocument, ...]
    notes: tuple[str, ...] = Field(description="What could not be measured, and why.")


class ComparisonDocument(_Document):
    method: str = Field(description="What the prediction is compared with.")
    outcome: Outcome
    psnr_gain_db: float | None = Field(description="Normalised PSNR, prediction minus other, dB.")
    ssim_gain: float | None
    snr_gain_db: float | None
    better_in: int = Field(description="Images in which the prediction has the higher PSNR.")


class SummaryDocument(_Document):
    images: int
    light: Light = Field(
        description="green: better than the input and every filter; amber: not clearly; red: not "
        "better than the input; grey: cannot be said."
    )
    verdict: str = Field(description="One or two sentences for a person.")
    means: dict[str, ScoresDocument] = Field(description="Mean over images, by method.")
    comparisons: tuple[ComparisonDocument, ...]


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
        ),
        images=tuple(_image(image) for image in report.images),
        notes=report.notes,
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
    )


def _image(image: ImageResult) -> ImageDocument:
    return ImageDocument(
        name=image.name,
        shape=image.shape,
        scores=tuple(_method_scores(key, found) for key, found in image.results.items()),
        notes=image.notes,
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
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
