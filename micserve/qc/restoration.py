"""Restored images against their ground truth, beside the input and beside plain filters.

    RestorationCase(s) ──► evaluate_restoration ──► RestorationReport
       name                                           methods   prediction, input, gaussian
       prediction                                     images    scores per image and per slice
       target                                         summary   means and the verdict
       source (optional)                              maps()    SSIM and error map, on demand

Knows arrays; knows no file format, no model and no page layout.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import numpy as np

from micserve.errors import QualityControlError
from micserve.qc import epfl, normalized
from micserve.qc.baselines import GAUSSIAN, Filter, Sweep, sweep
from micserve.qc.measures import Scores
from micserve.qc.moments import Moments, moments
from micserve.qc.normalized import Maps, NormalizedSums, Scale
from micserve.qc.planes import Pixels, Planes, checked_pair
from micserve.qc.summary import Summary, summarize

PREDICTION, INPUT = "prediction", "input"
TOLERATED_SHIFT = 0.1
"""Of mean grey values, as a fraction of the ground truth's range, before a note is made."""
TOLERATED_GAIN = 1.5
"""Between prediction and ground truth, before a note is made."""


@dataclass(frozen=True, slots=True, eq=False)
class RestorationCase:
    """One image to judge: (…, Y, X) each, all of one shape, any dtype and byte order."""

    name: str
    """As it shall stand in the report: the file's name."""
    prediction: Pixels
    target: Pixels
    """The ground truth."""
    source: Pixels | None = None
    """What the model was given; without it nothing is compared with input or filters."""
    pixel_size_um: float | None = None
    """Along X, in µm, for scale bars."""


@dataclass(frozen=True, slots=True)
class Method:
    """One column of the report."""

    key: str
    """`prediction`, `input`, or the key of a filter."""
    label: str
    """`Prediction`, `Input`, `Gaussian σ = 2 px`."""
    sweep: Sweep | None = None
    """How the setting of a filter was chosen."""


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method on one image."""

    whole: Scores
    """All slices together; SSIM is the mean over slices."""
    slices: tuple[Scores, ...]
    """One per plane, on the scale of the whole image; a 2D image has one."""
    scale: Scale | None
    """How it was brought to the ground truth's scale; None where the ground truth is flat."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    name: str
    shape: tuple[int, ...]
    results: dict[str, MethodResult]
    """By method key."""
    notes: tuple[str, ...]
    """What could not be measured, and why, in words."""


@dataclass(frozen=True, slots=True, eq=False)
class RestorationReport:
    """Scores, and on demand the pictures' raw material; holds the cases' arrays, copies none."""

    methods: tuple[Method, ...]
    images: tuple[ImageResult, ...]
    summary: Summary
    notes: tuple[str, ...]
    cases: tuple[RestorationCase, ...] = field(repr=False)

    def method(self, key: str) -> Method:
        for method in self.methods:
            if method.key == key:
                return method
        raise QualityControlError(
            f"this report has no method {key!r}; it has {', '.join(m.key for m in self.methods)}."
        )

    def planes(self, image: str, method: str) -> Planes:
        """The pixels that were judged, in grey values, plane by plane."""
        return _planes(self._case(image), self.method(method))

    def maps(self, image: str, method: str) -> Maps:
        """SSIM map and error map, float32, in the image's own shape."""
        target = Planes(_array(self._case(image).target))
        return normalized.stack_maps(self.planes(image, method), target, self._scale(image, method))

    def slice_maps(self, image: str, method: str, index: int) -> Maps:
        """Both maps of one slice, (Y, X), on the scale of the whole image."""
        target = Planes(_array(self._case(image).target))
        test = self.planes(image, method)
        return normalized.plane_maps(test[index], target[index], self._scale(image, method))[0]

    def _scale(self, image: str, method: str) -> Scale:
        scale = self.images[self._index(image)].results[self.method(method).key].scale
        if scale is None:
            raise QualityControlError(
                f"there are no maps of {image}: its ground truth has nearly the same grey value "
                "everywhere."
            )
        return scale

    def _case(self, image: str) -> RestorationCase:
        return self.cases[self._index(image)]

    def _index(self, image: str) -> int:
        for index, case in enumerate(self.cases):
            if case.name == image:
                return index
        raise QualityControlError(
            f"this report has no image {image!r}; it has {', '.join(c.name for c in self.cases)}."
        )


def evaluate_restoration(
    cases: Sequence[RestorationCase],
    *,
    baselines: Sequence[Filter] = (GAUSSIAN,),
    progress: Callable[[int, int], None] | None = None,
) -> RestorationReport:
    """Judge every case, per image and per slice.

    Parameters
    ----------
    cases
        At least one, each with its own name. Input and filters are judged only if every
        case has a `source`: means over different images would not be comparable.
    baselines
        Filters to stand beside the prediction, each at its best setting for these images.
    progress
        Called with (images done, images in all); may raise to stop.

    Raises
    ------
    QualityControlError
        When images have different shapes, hold NaN or infinity, or are empty.
    """
    cases = tuple(cases)
    _refuse_unusable(cases)
    methods = tuple(_methods(cases, baselines))
    images = []
    for done, case in enumerate(cases, start=1):
        images.append(_evaluate(case, methods))
        if progress is not None:
            progress(done, len(cases))
    return RestorationReport(
        methods=methods,
        images=tuple(images),
        summary=summarize(
            {method.key: method.label for method in methods},
            [{key: found.whole for key, found in image.results.items()} for image in images],
        ),
        notes=tuple(_notes(cases, methods, images)),
        cases=cases,
    )


def _refuse_unusable(cases: Sequence[RestorationCase]) -> None:
    if not cases:
        raise QualityControlError(
            "there is no image to compare; give at least one prediction with its ground truth."
        )
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QualityControlError(
            f"more than one image is called {twice[0]!r}; give each its own name."
        )
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


def _methods(cases: Sequence[RestorationCase], baselines: Sequence[Filter]) -> Iterator[Method]:
    yield Method(PREDICTION, "Prediction")
    pairs = [
        (Planes(_array(case.source)), Planes(_array(case.target)))
        for case in cases
        if case.source is not None
    ]
    if len(pairs) < len(cases):
        return
    yield Method(INPUT, "Input")
    for baseline in baselines:
        try:
            found = sweep(baseline, pairs)
        except QualityControlError:
            continue
        yield Method(baseline.key, baseline.named(found.best), found)


def _planes(case: RestorationCase, method: Method) -> Planes:
    if method.key == PREDICTION:
        return Planes(_array(case.prediction))
    source = _array(case.source)
    if method.sweep is None:
        return Planes(source)
    return Planes(source, method.sweep.filter.at(method.sweep.best))


def _evaluate(case: RestorationCase, methods: Sequence[Method]) -> ImageResult:
    target = Planes(_array(case.target))
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
    results = {method.key: _measure(_planes(case, method), target, span) for method in methods}
    notes += [
        f"{case.name}: the {method.label} has the same grey value everywhere, so it has no "
        "correlation with the ground truth."
        for method in methods
        if results[method.key].scale is not None and results[method.key].whole.pearson_r is None
    ]
    return ImageResult(case.name, tuple(target.pixels.shape), results, tuple(notes))


def _measure(test: Planes, target: Planes, span: tuple[float, float] | None) -> MethodResult:
    """Two passes over the planes: the second needs the gain that the first finds."""
    errors, spread = [], []
    for index in range(len(target)):
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
                "for a new image."
            )
    other_scale = sum(_has_another_scale(image.results[PREDICTION].scale) for image in images)
    if other_scale:
        which = "this image" if len(images) == 1 else f"{other_scale} of {len(images)} images"
        yield (
            f"Prediction and ground truth differ by a gain or an offset in {which}. SNR, PSNR, "
            "RMSE and MAE count that as error; the normalised and scale-invariant measures do not."
        )
    for image in images:
        yield from image.notes


def _has_another_scale(scale: Scale | None) -> bool:
    if scale is None or scale.gain <= 0:
        return False
    shifted = abs(scale.test_mean - scale.target_mean) > TOLERATED_SHIFT * scale.span
    return shifted or not 1 / TOLERATED_GAIN <= scale.gain <= TOLERATED_GAIN


def _array(pixels: Pixels | None) -> Pixels:
    return np.asarray(pixels)
