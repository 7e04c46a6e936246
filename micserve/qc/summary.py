"""Means over images, and one sentence that says whether the result is worth having.

A method counts as better than another when both the normalised PSNR and the
SSIM say so by more than a hair, and when the image-by-image differences say so
too: their interval (`micserve.qc.intervals`) must not hold zero. When the two
measures disagree the answer is "mixed".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from micserve.qc.intervals import Interval, differences, interval
from micserve.qc.measures import MEASURES, Scores
from micserve.qc.spots import SpotsFound, spots_sentence

Outcome = Literal["better", "worse", "same", "mixed", "unknown"]
Light = Literal["green", "amber", "red", "grey"]

PSNR_MARGIN_DB = 0.1
"""Differences below are called the same; about what another random seed changes."""
SSIM_MARGIN = 0.002


@dataclass(frozen=True, slots=True)
class Comparison:
    """The prediction against one other method, means over images."""

    method: str
    label: str
    outcome: Outcome
    psnr_gain_db: float | None
    """Normalised PSNR, prediction − other; None where either has none."""
    ssim_gain: float | None
    snr_gain_db: float | None
    better_in: int
    """Images in which the prediction has the higher normalised PSNR."""
    psnr_interval: Interval | None = None
    """Of the image-by-image differences, dB."""
    ssim_interval: Interval | None = None
    snr_interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    light: Light
    """green: better than the input and than every plain filter; amber: not clearly; red: not
    better than the input; grey: cannot be said."""
    sentence: str
    comparisons: tuple[Comparison, ...]
    spots: str = ""
    """What happens to dim spots, a sentence; empty where there are too few spots."""


@dataclass(frozen=True, slots=True)
class Summary:
    images: int
    means: dict[str, Scores]
    """By method key; a measure is meant over the images that have it."""
    verdict: Verdict
    intervals: dict[str, dict[str, Interval]]
    """By method key and measure key; without those that have fewer than two images."""


def summarize(
    labels: Mapping[str, str],
    images: Sequence[Mapping[str, Scores]],
    *,
    spots: SpotsFound | None = None,
) -> Summary:
    """`labels` by method key, the prediction first; per image the scores by method key."""
    means = {key: _mean([image[key] for image in images]) for key in labels}
    prediction, *others = labels
    comparisons = tuple(
        compare_methods(
            (key, labels[key]),
            [image[prediction] for image in images],
            [image[key] for image in images],
        )
        for key in others
    )
    light = _light(comparisons)
    sentence = _sentence(light, means[prediction], comparisons, means, len(images))
    said = spots_sentence(spots, labels) if spots is not None else ""
    return Summary(
        len(images),
        means,
        Verdict(light, sentence, comparisons, said),
        {key: _intervals([image[key] for image in images]) for key in labels},
    )


def compare_methods(
    other: tuple[str, str], ours: Sequence[Scores], theirs: Sequence[Scores]
) -> Comparison:
    """`other`: key and label of what the first is compared with; scores image by image."""
    key, label = other
    one, two = _mean(ours), _mean(theirs)
    psnr, ssim, snr = (
        interval(
            differences(
                [getattr(scores, field) for scores in ours],
                [getattr(scores, field) for scores in theirs],
            )
        )
        for field in ("psnr_normalized_db", "ssim", "snr_db")
    )
    return Comparison(
        method=key,
        label=label,
        outcome=_outcome(one, two, psnr, ssim),
        psnr_gain_db=_difference(one.psnr_normalized_db, two.psnr_normalized_db),
        ssim_gain=_difference(one.ssim, two.ssim),
        snr_gain_db=_difference(one.snr_db, two.snr_db),
        better_in=sum(_psnr(a) > _psnr(b) for a, b in zip(ours, theirs, strict=True)),
        psnr_interval=psnr,
        ssim_interval=ssim,
        snr_interval=snr,
    )


def _intervals(scores: Sequence[Scores]) -> dict[str, Interval]:
    found = {m.key: interval([one.value(m) for one in scores]) for m in MEASURES}
    return {key: one for key, one in found.items() if one is not None}


def _mean(scores: Sequence[Scores]) -> Scores:
    means: dict[str, float | None] = {}
    for measure in MEASURES:
        known = [value for one in scores if (value := one.value(measure)) is not None]
        means[measure.key] = sum(known) / len(known) if known else None
    return Scores(**means)


def _psnr(scores: Scores) -> float:
    return float("-inf") if scores.psnr_normalized_db is None else scores.psnr_normalized_db


def _difference(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    return 0.0 if one == other else one - other


def _outcome(one: Scores, other: Scores, psnr: Interval | None, ssim: Interval | None) -> Outcome:
    signs = [
        _sign(_difference(one.psnr_normalized_db, other.psnr_normalized_db), PSNR_MARGIN_DB, psnr),
        _sign(_difference(one.ssim, other.ssim), SSIM_MARGIN, ssim),
    ]
    known = {sign for sign in signs if sign is not None}
    if not known:
        return "unknown"
    if {1, -1} <= known:
        return "mixed"
    if 1 in known:
        return "better"
    return "worse" if -1 in known else "same"


def _sign(difference: float | None, margin: float, sure: Interval | None) -> int | None:
    if difference is None:
        return None
    if sure is not None and not sure.excludes_zero:
        return 0
    return 0 if abs(difference) < margin else (1 if difference > 0 else -1)


def _light(comparisons: Sequence[Comparison]) -> Light:
    if not comparisons or any(one.outcome == "unknown" for one in comparisons):
        return "grey"
    against_input, *against_filters = (one.outcome for one in comparisons)
    if against_input in ("worse", "same"):
        return "red"
    if all(outcome == "better" for outcome in (against_input, *against_filters)):
        return "green"
    return "amber"


def _sentence(
    light: Light,
    prediction: Scores,
    comparisons: Sequence[Comparison],
    means: Mapping[str, Scores],
    images: int,
) -> str:
    over = "1 image" if images == 1 else f"the mean of {images} images"
    if light == "grey":
        return _without_verdict(prediction, comparisons, over)
    against_input, *against_filters = comparisons
    parts = [
        f"The prediction is {_than(against_input.outcome, 'the input')} "
        f"({_figures(prediction, means[against_input.method])}; {over})."
    ]
    if against_filters:
        parts.append(_against_filters(prediction, against_filters, means))
    if light == "red":
        parts.append("Do not use this model on images like these.")
    if images == 1:
        parts.append("One image says little: judge on several before you rely on it.")
    return " ".join(parts)


def _against_filters(
    prediction: Scores, comparisons: Sequence[Comparison], means: Mapping[str, Scores]
) -> str:
    """In full against the best of them, in short against the others."""
    best = max(comparisons, key=lambda one: _psnr(means[one.method]))
    which = "the plain filter" if len(comparisons) == 1 else "the best of the plain filters"
    said = (
        f"Compared with {which} ({best.label}) it is {_than(best.outcome, 'that filter')} "
        f"({_figures(prediction, means[best.method])})."
    )
    others = [f"{_than(one.outcome, one.label)}" for one in comparisons if one is not best]
    if others:
        said += f" It is {' and '.join(others)}."
    advice = _advice(best.outcome)
    return f"{said} {advice}" if advice else said


def _without_verdict(prediction: Scores, comparisons: Sequence[Comparison], over: str) -> str:
    if comparisons:
        return (
            "Nothing can be said about the prediction: the ground truth has nearly the same grey "
            "value everywhere. Give a ground truth that shows something."
        )
    return (
        f"The prediction reaches {_own(prediction)} against the ground truth ({over}). "
        "Whether it is better than the input cannot be said, because the input was not given."
    )


def _than(outcome: Outcome, what: str) -> str:
    return {
        "better": f"closer to the ground truth than {what}",
        "worse": f"further from the ground truth than {what}",
        "same": f"no closer to the ground truth than {what}",
        "mixed": f"better than {what} by one measure and worse by another",
        "unknown": f"not comparable with {what}",
    }[outcome]


def _advice(outcome: Outcome) -> str:
    if outcome == "better":
        return ""
    if outcome == "mixed":
        return "Look at the pictures, and at what you will measure, before you choose."
    return "On these images the filter does the job, and it invents nothing."


def _figures(one: Scores, other: Scores) -> str:
    parts = []
    if one.psnr_normalized_db is not None and other.psnr_normalized_db is not None:
        parts.append(
            f"normalised PSNR {decibel(one.psnr_normalized_db)} against "
            f"{decibel(other.psnr_normalized_db)}"
        )
    if one.ssim is not None and other.ssim is not None:
        parts.append(f"SSIM {one.ssim:.3f} against {other.ssim:.3f}")
    return ", ".join(parts)


def _own(scores: Scores) -> str:
    parts = []
    if scores.snr_db is not None:
        parts.append(f"an SNR of {decibel(scores.snr_db)}")
    if scores.psnr_normalized_db is not None:
        parts.append(f"a normalised PSNR of {decibel(scores.psnr_normalized_db)}")
    if scores.ssim is not None:
        parts.append(f"an SSIM of {scores.ssim:.3f}")
    return " and ".join(parts) if parts else "no measure that has a meaning"


def decibel(value: float) -> str:
    return "∞ dB" if value == float("inf") else f"{value:.1f} dB"
