"""Means over images, and one sentence that says whether the result is worth having.

A method counts as better than another when both the normalised PSNR and the
SSIM say so by more than a hair; when they disagree the answer is "mixed".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from micserve.qc.measures import MEASURES, Scores

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


@dataclass(frozen=True, slots=True)
class Verdict:
    light: Light
    """green: better than the input and than every plain filter; amber: not clearly; red: not
    better than the input; grey: cannot be said."""
    sentence: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    images: int
    means: dict[str, Scores]
    """By method key; a measure is meant over the images that have it."""
    verdict: Verdict


def summarize(labels: Mapping[str, str], images: Sequence[Mapping[str, Scores]]) -> Summary:
    """`labels` by method key, the prediction first; per image the scores by method key."""
    means = {key: _mean([image[key] for image in images]) for key in labels}
    prediction, *others = labels
    comparisons = tuple(
        Comparison(
            method=key,
            label=labels[key],
            outcome=_outcome(means[prediction], means[key]),
            psnr_gain_db=_gain(means, prediction, key, "psnr_normalized_db"),
            ssim_gain=_gain(means, prediction, key, "ssim"),
            snr_gain_db=_gain(means, prediction, key, "snr_db"),
            better_in=sum(_psnr(image[prediction]) > _psnr(image[key]) for image in images),
        )
        for key in others
    )
    light = _light(comparisons)
    sentence = _sentence(light, means[prediction], comparisons, means, len(images))
    return Summary(len(images), means, Verdict(light, sentence, comparisons))


def _mean(scores: Sequence[Scores]) -> Scores:
    means: dict[str, float | None] = {}
    for measure in MEASURES:
        known = [value for one in scores if (value := one.value(measure)) is not None]
        means[measure.key] = sum(known) / len(known) if known else None
    return Scores(**means)


def _psnr(scores: Scores) -> float:
    return float("-inf") if scores.psnr_normalized_db is None else scores.psnr_normalized_db


def _gain(means: Mapping[str, Scores], one: str, other: str, field: str) -> float | None:
    return _difference(getattr(means[one], field), getattr(means[other], field))


def _difference(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    return 0.0 if one == other else one - other


def _outcome(one: Scores, other: Scores) -> Outcome:
    signs = [
        _sign(_difference(one.psnr_normalized_db, other.psnr_normalized_db), PSNR_MARGIN_DB),
        _sign(_difference(one.ssim, other.ssim), SSIM_MARGIN),
    ]
    known = {sign for sign in signs if sign is not None}
    if not known:
        return "unknown"
    if {1, -1} <= known:
        return "mixed"
    if 1 in known:
        return "better"
    return "worse" if -1 in known else "same"


def _sign(difference: float | None, margin: float) -> int | None:
    if difference is None:
        return None
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
    parts += [
        f"Compared with the plain filter at its best ({one.label}) it is "
        f"{_than(one.outcome, 'that filter')} ({_figures(prediction, means[one.method])}). "
        f"{_advice(one.outcome)}".rstrip()
        for one in against_filters
    ]
    if light == "red":
        parts.append("Do not use this model on images like these.")
    if images == 1:
        parts.append("One image says little: judge on several before you rely on it.")
    return " ".join(parts)


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
