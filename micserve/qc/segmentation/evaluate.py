"""From label images to a report: measure every method, choose baselines, sum up.

Goes image by image; a baseline's labels are thrown away once they are counted.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from micserve.qc.planes import Pixels, checked
from micserve.qc.segmentation.baselines import (
    MOST_PIXELS,
    Trial,
    class_thresholds,
    object_thresholds,
    over_frames,
    watersheds,
)
from micserve.qc.segmentation.classes import class_values, count_classes
from micserve.qc.segmentation.labels import LabelPair, checked_labels
from micserve.qc.segmentation.measures import (
    OBJECT_MEASURES,
    average_precision,
    class_measures,
    class_scores,
    object_scores,
)
from micserve.qc.segmentation.overlap import overlaps
from micserve.qc.segmentation.report import (
    MAIN,
    PREDICTION,
    MethodScores,
    Reading,
    SegmentationCase,
    SegmentationMethod,
    SegmentationReport,
    SegmentedImage,
)
from micserve.qc.segmentation.verdict import summarize_segmentation
from micserve.qc.work import Progress, Work, refuse_unnamed

Asked = Literal["auto", "objects", "classes"]


@dataclass(frozen=True, slots=True)
class _Judge:
    """How labels are turned into scores, the same for all methods and images."""

    reading: Reading
    values: tuple[int, ...]

    def main(self, pair: LabelPair) -> float:
        """Only what the settings of a baseline are chosen by."""
        if self.reading == "classes":
            return class_scores(count_classes(pair, self.values)[0])[MAIN["classes"]] or 0.0
        return object_scores(overlaps(pair, slices=False)[0])[MAIN["objects"]] or 0.0

    def __call__(self, pair: LabelPair) -> MethodScores:
        if self.reading == "classes":
            counts, slices = count_classes(pair, self.values)
            return MethodScores(class_scores(counts), tuple(map(class_scores, slices)))
        whole, planes = overlaps(pair)
        scores = object_scores(whole)
        some = scores["n_true"] or scores["n_found"]
        return MethodScores(
            whole=scores,
            slices=tuple(map(object_scores, planes)),
            average_precision=average_precision(whole) if some else (),
        )


def evaluate_segmentation(
    cases: Sequence[SegmentationCase],
    *,
    reading: Asked = "auto",
    ndim: int | None = None,
    progress: Progress | None = None,
) -> SegmentationReport:
    """Judge every case, per image and per slice.

    Parameters
    ----------
    cases
        At least one, each with its own name. Baselines are judged only if every case has a
        `source` of its shape.
    reading
        What numbers mean; `auto` takes masks with one value for classes, all else for objects.
    ndim
        Spatial axes of an object: 2 judges every slice of a stack for itself. None takes 3 for
        stacks.
    progress
        Called with (fraction done, what is being done); may raise to stop.

    Raises
    ------
    QualityControlError
        When images have different shapes, NaN, fractions or negative numbers, or are empty.
    """
    cases = tuple(cases)
    _refuse_unusable(cases)
    pairs = [checked_labels(c.prediction, c.target, name=c.name, ndim=ndim) for c in cases]
    values = () if reading == "objects" else class_values(pairs)
    meant = _meant(reading, values)
    values = values if meant == "classes" else ()
    judge = _Judge(meant, values)
    left_out = _without_baselines(cases, meant, values)
    work = Work(progress, _steps(cases, meant, compared=left_out is None))
    methods = [SegmentationMethod(PREDICTION, "Prediction")]
    results: list[dict[str, MethodScores]] = []
    for case, pair in zip(cases, pairs, strict=True):
        work(f"comparing {case.name}")
        results.append({PREDICTION: judge(pair)})
    if left_out is None:
        for key, trial in _baselines(cases, pairs, judge, work):
            methods.append(SegmentationMethod(key, trial.label))
            for result, case, pair in zip(results, cases, pairs, strict=True):
                work(f"{trial.label} on {case.name}")
                result[key] = judge(_labelled(case, pair, trial))
    measures = class_measures(values) if meant == "classes" else OBJECT_MEASURES
    images = tuple(map(_image, cases, results))
    work.end()
    return SegmentationReport(
        reading=meant,
        ndim=max(pair.ndim for pair in pairs),
        measures=measures,
        methods=tuple(methods),
        images=images,
        summary=summarize_segmentation(meant, measures, methods, images),
        notes=(
            *_notes(cases, pairs, reading, meant, methods, images),
            *_unshared(pairs, values),
            *((left_out,) if left_out else ()),
        ),
        cases=cases,
        values=values,
    )


def _refuse_unusable(cases: Sequence[SegmentationCase]) -> None:
    refuse_unnamed([case.name for case in cases])
    for case in cases:
        if case.source is not None:
            checked(np.asarray(case.source), f"the source of {case.name}")


def _meant(asked: Asked, values: Sequence[int]) -> Reading:
    if asked != "auto":
        return asked
    return "classes" if len(values) <= 2 else "objects"


def _steps(cases: Sequence[SegmentationCase], meant: Reading, *, compared: bool) -> int:
    if not compared:
        return len(cases)
    if meant == "classes":
        return len(cases) * (2 + len(class_thresholds()))
    return len(cases) * (3 + len(object_thresholds()) + len(watersheds(dark=False)))


def _without_baselines(
    cases: Sequence[SegmentationCase], meant: Reading, values: Sequence[int]
) -> str | None:
    """Why nothing is compared with the prediction, or None when it is; empty: nothing to say."""
    if any(case.source is None for case in cases):
        return ""
    if any(np.asarray(case.source).shape != np.asarray(case.target).shape for case in cases):
        return (
            "No threshold is compared: it needs sources with one grey value per pixel, in the "
            "ground truth's shape."
        )
    if meant == "classes" and len(values) > 2:
        return f"No threshold is compared: it cannot tell {len(values)} classes apart."
    pixels = sum(np.size(case.target) for case in cases)
    if pixels > MOST_PIXELS:
        return (
            f"No threshold and no watershed is compared: these images have {pixels / 1e6:.0f} "
            f"million pixels, and it would take minutes beyond {MOST_PIXELS / 1e6:.0f} million. "
            "Crop them to compare."
        )
    return None


def _baselines(
    cases: Sequence[SegmentationCase], pairs: Sequence[LabelPair], judge: _Judge, work: Work
) -> Iterator[tuple[str, Trial]]:
    """Each at its best setting; the watershed on the side that the threshold likes better."""
    first = class_thresholds() if judge.reading == "classes" else object_thresholds()
    threshold = _best(first, cases, pairs, judge, work)
    yield "threshold", threshold
    if judge.reading == "objects":
        tried = watersheds(dark=threshold.dark)
        yield "watershed", _best(tried, cases, pairs, judge, work)


def _best(
    trials: Sequence[Trial],
    cases: Sequence[SegmentationCase],
    pairs: Sequence[LabelPair],
    judge: _Judge,
    work: Work,
) -> Trial:
    """The setting with the best mean of the main measure."""
    reached = []
    for trial in trials:
        total = 0.0
        for case, pair in zip(cases, pairs, strict=True):
            work(f"{trial.label} on {case.name}")
            total += judge.main(_labelled(case, pair, trial))
        reached.append(total)
    return trials[reached.index(max(reached))]


def _labelled(case: SegmentationCase, pair: LabelPair, trial: Trial) -> LabelPair:
    labels = over_frames(np.asarray(case.source), pair.ndim, trial.run)
    return LabelPair(labels, pair.target, pair.ndim)


def _image(case: SegmentationCase, results: dict[str, MethodScores]) -> SegmentedImage:
    target = np.asarray(case.target)
    return SegmentedImage(
        name=case.name,
        shape=target.shape,
        results=results,
        target_sha256=_sha256(target),
        notes=tuple(_image_notes(case.name, results[PREDICTION].whole)),
    )


def _image_notes(name: str, scores: Mapping[str, float | None]) -> Iterator[str]:
    if scores.get("n_true") == 0 and scores.get("n_found") == 0:
        yield f"{name} has no object, neither true nor found: it counts in no mean."
    elif scores.get("n_true") == 0:
        yield f"{name} has no true object: everything found in it is false."
    elif scores.get("n_found") == 0:
        yield f"Nothing was found in {name}."


def _notes(
    cases: Sequence[SegmentationCase],
    pairs: Sequence[LabelPair],
    asked: Asked,
    meant: Reading,
    methods: Sequence[SegmentationMethod],
    images: Sequence[SegmentedImage],
) -> Iterator[str]:
    if asked == "auto":
        other = "classes" if meant == "objects" else "objects"
        yield f"Numbers were read as {meant}; to read them as {other}, ask for it."
    if any(len(pair.shape) > 2 for pair in pairs) and meant == "objects":
        yield (
            "An object goes through the slices of its stack, and is matched as a whole."
            if pairs[0].ndim == 3
            else "Every slice has objects of its own; they are matched slice by slice."
        )
    lacking = sum(case.source is None for case in cases)
    if 0 < lacking < len(cases):
        yield (
            f"{lacking} of {len(cases)} images came without their source, so no threshold is "
            "compared; give all sources or none."
        )
    for method in methods[1:]:
        yield (
            f"{method.label} is shown at its best: its settings were chosen with the ground "
            "truth, which nobody has for a new image."
        )
    if 1 < len(images) < 4:
        yield (
            f"Of {len(images)} images, the lowest and the highest value are given. From 4 images "
            "on it is a 95 % interval."
        )
    for image in images:
        yield from image.notes


def _unshared(pairs: Sequence[LabelPair], values: Sequence[int]) -> Iterator[str]:
    """Of several classes, those that one side never has: most likely numbered otherwise."""
    if len(values) <= 2:
        return
    for side, pixels in (
        ("predictions", [pair.prediction for pair in pairs]),
        ("ground truths", [pair.target for pair in pairs]),
    ):
        there = {int(value) for one in pixels for value in np.unique(one)}
        lacking = [str(value) for value in values if value and value not in there]
        if lacking:
            yield (
                f"No pixel of the {side} has the class {', '.join(lacking)}: check that both "
                "number the classes alike."
            )


def _sha256(pixels: Pixels) -> str:
    """Of shape and labels, whatever dtype and byte order a file has them in."""
    found = hashlib.sha256(repr(pixels.shape).encode())
    for plane in pixels.reshape(-1, *pixels.shape[-2:]):
        whole: NDArray[Any] = np.ascontiguousarray(plane, dtype="<i8")
        found.update(whole.tobytes())
    return found.hexdigest()
