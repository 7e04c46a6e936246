"""Means over images, and the sentences that say whether a segmentation can be used.

The prediction counts as better than a baseline when the mean of the main measure
(mean AP for objects, IoU for classes) is higher by more than a hair, and when the
interval of the image-by-image differences does not hold zero.
"""

from collections.abc import Sequence

from micserve.qc.intervals import Interval, differences, interval
from micserve.qc.segmentation.measures import Scores, SegmentationMeasure
from micserve.qc.segmentation.report import (
    MAIN,
    PREDICTION,
    Against,
    Reading,
    SegmentationMethod,
    SegmentationSummary,
    SegmentedImage,
)
from micserve.qc.summary import Light, Outcome

MARGIN = 0.005
"""Of AP or IoU: what another random seed changes."""


def summarize_segmentation(
    reading: Reading,
    measures: Sequence[SegmentationMeasure],
    methods: Sequence[SegmentationMethod],
    images: Sequence[SegmentedImage],
) -> SegmentationSummary:
    """Means of all methods, and the verdict on the first."""
    values = {one.key: _values(measures, one.key, images) for one in methods}
    against = tuple(_against(MAIN[reading], method, images) for method in methods[1:])
    light = _light(against)
    return SegmentationSummary(
        images=len(images),
        values=values,
        intervals={one.key: _intervals(measures, one.key, images) for one in methods},
        light=light,
        headline=_headline(light, against, values[PREDICTION]),
        sentence=" ".join(_sentences(reading, values[PREDICTION], against, images)),
        against=against,
    )


def _values(
    measures: Sequence[SegmentationMeasure], method: str, images: Sequence[SegmentedImage]
) -> Scores:
    found: dict[str, float | None] = {}
    for measure in measures:
        known = _known(measure.key, method, images)
        total = sum(known) if known else None
        found[measure.key] = total if measure.counted or total is None else total / len(known)
    return found


def _known(measure: str, method: str, images: Sequence[SegmentedImage]) -> list[float]:
    values = (image.results[method].whole.get(measure) for image in images)
    return [value for value in values if value is not None]


def _intervals(
    measures: Sequence[SegmentationMeasure], method: str, images: Sequence[SegmentedImage]
) -> dict[str, Interval]:
    found = {
        measure.key: interval(_known(measure.key, method, images))
        for measure in measures
        if not measure.counted
    }
    return {key: one for key, one in found.items() if one is not None}


def _against(main: str, method: SegmentationMethod, images: Sequence[SegmentedImage]) -> Against:
    apart = differences(
        [image.results[PREDICTION].whole[main] for image in images],
        [image.results[method.key].whole[main] for image in images],
    )
    known = [value for value in apart if value is not None]
    gain = sum(known) / len(known) if known else None
    around = interval(known)
    return Against(
        method=method.key,
        label=method.label,
        gain=gain,
        interval=around,
        better_in=sum(value > 0 for value in known),
        outcome=_outcome(gain, around),
    )


def _outcome(gain: float | None, around: Interval | None) -> Outcome:
    if gain is None:
        return "unknown"
    if abs(gain) < MARGIN or (around is not None and not around.excludes_zero):
        return "same"
    return "better" if gain > 0 else "worse"


def _light(against: Sequence[Against]) -> Light:
    outcomes = [one.outcome for one in against]
    if not outcomes or "unknown" in outcomes:
        return "grey"
    if "worse" in outcomes:
        return "red"
    return "green" if all(one == "better" for one in outcomes) else "amber"


def _headline(light: Light, against: Sequence[Against], scores: Scores) -> str:
    if light == "green":
        return "Better than what a threshold does without learning"
    if light == "red":
        worse = next(one for one in against if one.outcome == "worse")
        return f"{worse.label.partition(' (')[0]} without learning does better"
    if light == "amber":
        return "Not clearly better than what a threshold does without learning"
    if scores.get("f1") is not None:
        return f"F1 {scores['f1']:.2f} at IoU 0.5; compared with no threshold"
    if scores.get("iou") is not None:
        return f"IoU {scores['iou']:.2f}; compared with no threshold"
    return "Cannot be judged"


def _sentences(
    reading: Reading, scores: Scores, against: Sequence[Against], images: Sequence[SegmentedImage]
) -> list[str]:
    if scores[MAIN[reading]] is None:
        return ["Neither the prediction nor the ground truth has anything in it."]
    said = _objects(scores) if reading == "objects" else _classes(scores)
    for one in against:
        if one.gain is None:
            continue
        what = "mean AP" if reading == "objects" else "IoU"
        more = "above" if one.gain >= 0 else "below"
        count = f", higher in {one.better_in} of {len(images)} images" if len(images) > 1 else ""
        said.append(f"The {what} is {abs(one.gain):.3f} {more} that of {one.label}{count}.")
    if not against:
        said.append("Without the sources nothing says how good a plain threshold would be.")
    return said


def _objects(scores: Scores) -> list[str]:
    true, found = _count(scores, "n_true"), _count(scores, "n_found")
    recall, precision, outlines = (
        scores[key] or 0.0 for key in ("recall", "precision", "mean_matched_score")
    )
    said = [
        f"Of {true} true objects {100 * recall:.0f} % are found (IoU 0.5 or more; mean over "
        f"images), and {100 * precision:.0f} % of the {found} objects in the prediction are true; "
        f"their outlines agree with a mean IoU of {outlines:.2f}."
    ]
    counts = {key: _count(scores, key) for key in ("missed", "false", "split", "merged")}
    said.append(
        f"{_are(counts['missed'])} missed, {_are(counts['false'])} false, "
        f"{_are(counts['split'])} split into parts, and {counts['merged']} "
        f"{'object holds' if counts['merged'] == 1 else 'objects hold'} several true ones."
    )
    if counts["split"] > 2 * counts["merged"] and counts["split"] > 0.05 * true:
        said.append("It cuts objects into pieces: check a higher overlap threshold.")
    elif counts["merged"] > 2 * counts["split"] and counts["merged"] > 0.05 * true:
        said.append("It runs neighbours together: counts come out too low where cells touch.")
    return said


def _classes(scores: Scores) -> list[str]:
    background = scores.get("iou_0")
    rest = "" if background is None else f"; that of the background is {background:.3f}"
    return [
        f"The IoU with the ground truth is {scores['iou']:.3f} and the Dice {scores['dice']:.3f}"
        f"{rest}."
    ]


def _count(scores: Scores, key: str) -> int:
    return int(scores[key] or 0)


def _are(count: int) -> str:
    return f"{count} is" if count == 1 else f"{count} are"
