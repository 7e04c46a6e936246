"""Plain filters that a model has to beat, each at the best of a few settings.

The setting is chosen *with* the ground truth, which nobody has for a new image:
a baseline here is as good as the filter can be, and every report says so.
A further filter is one more `Filter`, passed to `evaluate_restoration`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from micserve.errors import QualityControlError
from micserve.qc.moments import Moments, moments
from micserve.qc.normalized import target_range
from micserve.qc.planes import Plane, Planes

SLICES_TRIED = 16
"""Of each stack at most, evenly spaced, while settings are compared: enough to rank them."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One plain filter and the settings that are tried."""

    key: str
    """In JSON and CSV: `gaussian`."""
    label: str
    """In reports: `Gaussian`."""
    symbol: str
    """Of its setting: `σ`."""
    unit: str
    """Of its setting: `px`."""
    settings: tuple[float, ...]
    apply: Callable[[Plane, float], Plane]
    """One float64 plane (Y, X) and a setting to a plane of the same shape."""

    def at(self, setting: float) -> Callable[[Plane], Plane]:
        return lambda plane: self.apply(plane, setting)

    def named(self, setting: float) -> str:
        """`Gaussian σ = 2 px`"""
        return f"{self.label} {self.symbol} = {setting:g} {self.unit}"


def _gaussian(plane: Plane, sigma: float) -> Plane:
    return np.asarray(gaussian_filter(plane, sigma, mode="nearest"), dtype=np.float64)


GAUSSIAN = Filter(
    key="gaussian",
    label="Gaussian",
    symbol="σ",
    unit="px",
    settings=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0),
    apply=_gaussian,
)
"""In 2D, slice by slice, so that time points are never mixed; edge pixels are continued."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was tried and which setting won; one setting for all images."""

    filter: Filter
    tried: tuple[tuple[float, float], ...]
    """(setting, mean normalised PSNR over images in dB)."""

    @property
    def best(self) -> float:
        return max(self.tried, key=lambda trial: trial[1])[0]


def sweep(filter_: Filter, pairs: Sequence[tuple[Planes, Planes]]) -> Sweep:
    """The setting with the highest mean normalised PSNR over (source, target) `pairs`.

    Raises
    ------
    QualityControlError
        When no ground truth shows anything, so that settings cannot be ranked.
    """
    spans = [_span(target) for _, target in pairs]
    seen = [(pair, span) for pair, span in zip(pairs, spans, strict=True) if span > 0]
    if not seen:
        raise QualityControlError(
            f"no ground truth shows anything, so the best {filter_.symbol} of the "
            f"{filter_.label} filter cannot be found; give a ground truth with a structure in it."
        )
    return Sweep(
        filter_,
        tuple(
            (setting, float(np.mean([_psnr(filter_, setting, *pair, span) for pair, span in seen])))
            for setting in filter_.settings
        ),
    )


def _span(target: Planes) -> float:
    try:
        low, high = target_range(target)
    except QualityControlError:
        return 0.0
    return high - low


def _psnr(filter_: Filter, setting: float, source: Planes, target: Planes, span: float) -> float:
    found: Moments | None = None
    for index in _spread(len(target)):
        one = moments(filter_.apply(source[index], setting), target[index])
        found = one if found is None else found + one
    mse = found.fitted_mse if found else 0.0
    return math.inf if mse == 0 else 10 * math.log10(span**2 / mse)


def _spread(slices: int) -> Iterable[int]:
    if slices <= SLICES_TRIED:
        return range(slices)
    return (round(index) for index in np.linspace(0, slices - 1, SLICES_TRIED))
