"""From images to a report: choose filters, measure every method, look for spots, sum up.

Goes plane by plane, so that a stack is never in memory a second time, and tells
how far it is. The words for what it makes are in `micserve.qc.restoration`.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from operator import add

import numpy as np

from micserve.errors import QualityControlError
from micserve.qc import epfl, normalized
from micserve.qc.baselines import BASELINES, Filter
from micserve.qc.intervals import FEWEST
from micserve.qc.kept import KeptPlanes
from micserve.qc.measures import Scores
from micserve.qc.moments import Moments, moments
from micserve.qc.normalized import NormalizedSums, Scale
from micserve.qc.planes import Pixels, Planes, checked_pair
from micserve.qc.restoration import (
    INPUT,
    PREDICTION,
    ImageResult,
    Method,
    MethodResult,
    RestorationCase,
    RestorationReport,
    planes_of,
)
from micserve.qc.spot_search import planes_searched, search_spots
from micserve.qc.summary import summarize
from micserve.qc.sweep import sweep
from micserve.qc.work import Progress, Work, refuse_unnamed

TOLERATED_SHIFT = 0.1
"""Of mean grey values, as a fraction of the ground truth's range, before a note is made."""
TOLERATED_GAIN = 1.5
"""Between prediction and ground truth, before a note is made."""


def evaluate_restoration(
    cases: Sequence[RestorationCase],
    *,
    baselines: Sequence[Filter] = BASELINES,
    progress: Progress | None = None,
) -> RestorationReport:
    """Judge every case, per image and per slice.

    Parameters
    ----------
    cases
        At least one, each with its own name. Input and filters are judged only if every
        case has a `source`: means over different images would not be comparable.
    baselines
        Filters to stand beside the prediction, each at its best setting for these images. One
        that would take minutes is left out, and a note says so.
    progress
        Called with (fraction done, what is being done); may raise to stop.

    Raises
    ------
    QualityControlError
        When images have different shapes, hold NaN or infinity, or are empty.
    """
    cases = tuple(cases)
    _refuse_unusable(cases)
    affordable, left_out = _affordable(cases, baselines)
    work = Work(progress, _units(cases, affordable))
    kept = KeptPlanes()
    methods = tuple(_methods(cases, affordable, work))
    images = [_evaluate(case, methods, kept, work) for case in cases]
    spots = search_spots(cases, methods, _scales(images), kept, step=work)
    labels = {method.key: method.label for method in methods}
    report = RestorationReport(
        methods=methods,
        images=tuple(images),
        summary=summarize(
            labels,
            [{key: found.whole for key, found in image.results.items()} for image in images],
            spots=spots,
        ),
        notes=(*_notes(cases, methods, images), *left_out),
        cases=cases,
        spots=spots,
        kept=kept,
    )
    work.end()
    return report


def _units(cases: Sequence[RestorationCase], baselines: Sequence[Filter]) -> int:
    """Trials, planes measured, planes searched twice."""
    planes = sum(len(Planes(np.asarray(case.target))) for case in cases)
    searched = sum(len(planes_searched(case)) for case in cases)
    trials = sum(len(one.settings) for one in baselines)
    return trials + planes * (2 + len(baselines)) + 2 * searched


def _affordable(
    cases: Sequence[RestorationCase], baselines: Sequence[Filter]
) -> tuple[list[Filter], list[str]]:
    """What is run, and a sentence for what is not."""
    if any(case.source is None for case in cases):
        return [], []
    pixels = sum(np.asarray(case.target).size for case in cases)
    taken = [one for one in baselines if one.most_pixels is None or pixels <= one.most_pixels]
    return taken, [
        f"{one.label} is left out: these images have {pixels / 1e6:.0f} million pixels, and it "
        f"would take minutes beyond {one.most_pixels / 1e6:.0f} million. Crop them to compare."
        for one in baselines
        if one.most_pixels is not None and one not in taken
    ]


def _scales(images: Sequence[ImageResult]) -> dict[str, dict[str, Scale]]:
    return {
        image.name: {
            key: found.scale for key, found in image.results.items() if found.scale is not None
        }
        for image in images
        if all(found.scale is not None for found in image.results.values())
    }


def _refuse_unusable(cases: Sequence[RestorationCase]) -> None:
    refuse_unnamed([case.name for case in cases])
    for case in cases:
        truth = f"the ground truth of {case.name}"
        checked_pair(
            case.prediction,
            case.target,
            test_name=f"the prediction of {case.name}",
            target_name=truth,
        )
        if case.source is not None:
            checked_pair(
                case.source, case.target, test_name=f"the input {case.name}", target_name=truth
            )


def _methods(
    cases: Sequence[RestorationCase], baselines: Sequence[Filter], work: Work
) -> Iterator[Method]:
    yield Method(PREDICTION, "Prediction")
    pairs = [
        (Planes(np.asarray(case.source)), Planes(np.asarray(case.target)))
        for case in cases
        if case.source is not None
    ]
    if len(pairs) < len(cases):
        return
    yield Method(INPUT, "Input")
    for baseline in baselines:
        try:
            label = f"best {baseline.symbol} of the {baseline.label} filter"
            found = sweep(baseline, pairs, check=partial(work, label))
        except QualityControlError:
            continue
        yield Method(baseline.key, baseline.named(found.best), found)


def _evaluate(
    case: RestorationCase, methods: Sequence[Method], kept: KeptPlanes, work: Work
) -> ImageResult:
    target = Planes(np.asarray(case.target))
    notes = []
    span: tuple[float, float] | None = None
    try:
        span = normalized.target_range(target)
    except QualityControlError as error:
        notes.append(f"{case.name}: {error}")
    if span and not normalized.ssim_fits(target.plane_shape):
        notes.append(
            f"{case.name}: SSIM looks at {normalized.SSIM_WINDOW} × {normalized.SSIM_WINDOW} "
            "pixels around each pixel; this image is smaller, so it has no SSIM."
        )
    results = {
        method.key: _measure(
            planes_of(case, method, kept),
            target,
            span,
            partial(work, f"{method.label} of {case.name}"),
        )
        for method in methods
    }
    notes += [
        f"{case.name}: the {method.label} has the same grey value everywhere, so it has no "
        "correlation with the ground truth."
        for method in methods
        if results[method.key].scale is not None and results[method.key].whole.pearson_r is None
    ]
    return ImageResult(
        case.name, tuple(target.pixels.shape), results, tuple(notes), _sha256(target.pixels)
    )


def _measure(
    test: Planes,
    target: Planes,
    span: tuple[float, float] | None,
    step: Callable[[], None],
) -> MethodResult:
    """Two passes over the planes: the second needs the gain that the first finds."""
    errors, spread = [], []
    for index in range(len(target)):
        step()
        x, g = test[index], target[index]
        errors.append(epfl.sums(x, g))
        spread.append(moments(x, g))
    whole_errors, whole_spread = reduce(add, errors), reduce(add, spread)
    if span is None:
        scores = [_scores(*found, None) for found in zip(errors, spread, strict=True)]
        return MethodResult(_scores(whole_errors, whole_spread, None), tuple(scores), None)
    on = normalized.scale(whole_spread, low=span[0], high=span[1])
    shapes = [
        normalized.plane_maps(test[index], target[index], on)[1] for index in range(len(target))
    ]
    return MethodResult(
        whole=_scores(whole_errors, whole_spread, reduce(add, shapes)),
        slices=tuple(_scores(*found) for found in zip(errors, spread, shapes, strict=True)),
        scale=on,
    )


def _scores(errors: epfl.Sums, spread: Moments, shape: NormalizedSums | None) -> Scores:
    return Scores(
        snr_db=_where_defined(lambda: errors.snr),
        psnr_db=_where_defined(lambda: errors.psnr),
        rmse_grey=errors.rmse,
        mae_grey=errors.mae,
        ssim=shape.ssim if shape else None,
        nrmse=shape.nrmse if shape else None,
        psnr_normalized_db=shape.psnr if shape else None,
        scale_invariant_psnr_db=_where_defined(lambda: spread.scale_invariant_psnr),
        pearson_r=_where_defined(lambda: spread.pearson_r),
        zerocost_compat_nrmse=shape.zerocost_compat_nrmse if shape else None,
    )


def _where_defined(measure: Callable[[], float]) -> float | None:
    try:
        return measure()
    except QualityControlError:
        return None


def _notes(
    cases: Sequence[RestorationCase], methods: Sequence[Method], images: Sequence[ImageResult]
) -> Iterator[str]:
    lacking = sum(case.source is None for case in cases)
    if 0 < lacking < len(cases):
        yield (
            f"{lacking} of {len(cases)} images came without their input, so neither the input nor "
            "a plain filter is compared; give all inputs or none."
        )
    for method in methods:
        if method.sweep is not None:
            yield (
                f"The {method.sweep.filter.label} filter is shown at its best: "
                f"{method.sweep.filter.symbol} was chosen with the ground truth, which nobody has "
                f"for a new image{_where(method.sweep.tried_on)}."
            )
    other_scale = sum(_has_another_scale(image.results[PREDICTION].scale) for image in images)
    if other_scale:
        which = "this image" if len(images) == 1 else f"{other_scale} of {len(images)} images"
        yield (
            f"Prediction and ground truth differ by a gain or an offset in {which}. SNR, PSNR, "
            "RMSE and MAE count that as error; the normalised and scale-invariant measures do not."
        )
    if 1 < len(images) < FEWEST:
        yield (
            f"{len(images)} images are too few for a confidence interval: in its place the lowest "
            f"and the highest of them are given. From {FEWEST} images on it is a 95 % interval."
        )
    for image in images:
        yield from image.notes


def _where(tried_on: str) -> str:
    return f"; settings were compared on {tried_on}" if tried_on else ""


def _has_another_scale(scale: Scale | None) -> bool:
    if scale is None or scale.gain <= 0:
        return False
    shifted = abs(scale.test_mean - scale.target_mean) > TOLERATED_SHIFT * scale.span
    return shifted or not 1 / TOLERATED_GAIN <= scale.gain <= TOLERATED_GAIN


def _sha256(pixels: Pixels) -> str:
    """Of shape and grey values, whatever dtype and byte order a file has them in."""
    kind = {"b": "<u1", "u": "<u8", "i": "<i8"}.get(pixels.dtype.kind, "<f8")
    found = hashlib.sha256(repr((pixels.shape, kind[1])).encode())
    for plane in pixels.reshape(-1, *pixels.shape[-2:]):
        found.update(np.ascontiguousarray(plane, dtype=kind).tobytes())
    return found.hexdigest()
