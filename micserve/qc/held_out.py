"""A quality report's numbers image by image: what the gate compares two versions by.

The seam between a report of any kind and `micserve.registry.gate`: which images
were judged (by the digest of their ground truth), with which measures, by which
methods. `prediction` comes first among the methods; the others are what a model
has to beat. Kept beside the report as `held_out.json`.
"""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from micserve.qc.intervals import Interval, differences, interval
from micserve.qc.measures import MEASURES
from micserve.qc.restoration import RestorationReport

FILE = "held_out.json"
COMPARED = ("psnr_normalized_db", "ssim", "snr_db")
"""Measures of a restoration that a gate shows; the verdict's own first."""


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HeldOutMeasure(_Kept):
    key: str
    label: str
    unit: str = Field(description="Empty for a pure number.")
    better: Literal["higher", "lower"]


class HeldOutImage(_Kept):
    name: str
    sha256: str = Field(description="Of the ground truth.")
    scores: dict[str, dict[str, float | None]] = Field(description="By method and measure.")


class HeldOut(_Kept):
    """One report's numbers."""

    schema_version: int = 1
    measures: tuple[HeldOutMeasure, ...] = Field(min_length=1)
    methods: dict[str, str] = Field(description="Key to label, prediction first.")
    images: tuple[HeldOutImage, ...]
    sentence: str = Field(default="", description="The report's verdict.")

    def values(self, method: str, measure: str) -> list[float | None]:
        """Image by image."""
        return [image.scores.get(method, {}).get(measure) for image in self.images]


class Difference(_Kept):
    """One minus other, over the images of both."""

    measure: str
    label: str
    unit: str
    better: Literal["higher", "lower"]
    mean: float | None
    low: float | None = Field(description="Of the interval of the image-by-image differences.")
    high: float | None
    interval: Literal["bootstrap", "range", ""] = Field(
        description="bootstrap: 95 %; range: lowest and highest of two or three images; empty: one."
    )
    images: int
    outcome: Literal["better", "worse", "no clear difference"]


def held_out(report: RestorationReport) -> HeldOut:
    """Of a restoration."""
    chosen = [one for one in MEASURES if one.key in COMPARED]
    chosen.sort(key=lambda one: COMPARED.index(one.key))
    return HeldOut(
        measures=tuple(
            HeldOutMeasure(
                key=one.key,
                label=one.label,
                unit=one.unit if one.unit == "dB" else "",
                better=one.better,
            )
            for one in chosen
        ),
        methods={method.key: method.label for method in report.methods},
        images=tuple(
            HeldOutImage(
                name=image.name,
                sha256=image.target_sha256,
                scores={
                    key: {one.key: _finite(found.whole.value(one)) for one in chosen}
                    for key, found in image.results.items()
                },
            )
            for image in report.images
        ),
        sentence=report.summary.verdict.sentence,
    )


def against_method(found: HeldOut, method: str) -> tuple[Difference, ...]:
    """The prediction minus another method of the same report."""
    return tuple(
        difference(one, found.values("prediction", one.key), found.values(method, one.key))
        for one in found.measures
    )


def against_version(one: HeldOut, other: HeldOut) -> tuple[Difference, ...]:
    """Prediction minus prediction, on the images that both reports judged; empty for none."""
    theirs = {image.sha256: image for image in other.images if image.sha256}
    both = [(image, theirs[image.sha256]) for image in one.images if image.sha256 in theirs]
    known = {measure.key for measure in other.measures}
    if not both:
        return ()
    return tuple(
        difference(
            measure,
            [image.scores["prediction"].get(measure.key) for image, _ in both],
            [image.scores["prediction"].get(measure.key) for _, image in both],
        )
        for measure in one.measures
        if measure.key in known
    )


def difference(
    measure: HeldOutMeasure, one: Sequence[float | None], other: Sequence[float | None]
) -> Difference:
    """Paired, image by image."""
    apart = [value for value in differences(one, other) if value is not None]
    mean = sum(apart) / len(apart) if apart else None
    around = interval(apart)
    return Difference(
        measure=measure.key,
        label=measure.label,
        unit=measure.unit,
        better=measure.better,
        mean=mean,
        low=around.low if around else None,
        high=around.high if around else None,
        interval=around.kind if around else "",
        images=len(apart),
        outcome=_outcome(mean, around, measure.better),
    )


def _outcome(
    mean: float | None, around: Interval | None, better: Literal["higher", "lower"]
) -> Literal["better", "worse", "no clear difference"]:
    if not mean or (around is not None and not around.excludes_zero):
        return "no clear difference"
    return "better" if (mean > 0) == (better == "higher") else "worse"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
