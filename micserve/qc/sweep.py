"""The best setting of a filter for some images, found without filtering all of them.

Of a stack a few slices are tried, and for slow filters a window of each: enough
to rank settings. What a report prints is measured on the whole images.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from micserve.errors import QualityControlError
from micserve.qc.baselines import Filter
from micserve.qc.moments import Moments, moments
from micserve.qc.normalized import target_range
from micserve.qc.planes import Plane, Planes

SLICES_TRIED = 16
"""Of each stack at most, evenly spaced."""
WINDOWS_TRIED = 8
"""Of all images together at most, for filters that are tried on windows."""

Pair = tuple[Planes, Planes]
"""(source, ground truth)."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was tried and which setting won; one setting for all images."""

    filter: Filter
    tried: tuple[tuple[float, float], ...]
    """(setting, mean normalised PSNR over images in dB)."""
    tried_on: str = ""
    """Where it was tried, in words; empty for whole slices."""

    @property
    def best(self) -> float:
        return max(self.tried, key=lambda trial: trial[1])[0]


def sweep(
    filter_: Filter, pairs: Sequence[Pair], *, check: Callable[[], None] = lambda: None
) -> Sweep:
    """The setting with the highest mean normalised PSNR over (source, target) `pairs`.

    Parameters
    ----------
    check
        Called before each trial; may raise to stop the work.

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
    material: list[tuple[Iterable[tuple[Plane, Plane]], float]]
    if filter_.crop is not None:
        chosen = [seen[index] for index in spread(len(seen), WINDOWS_TRIED)]
        each = max(WINDOWS_TRIED // len(chosen), 1)
        material = [(list(_windows(pair, filter_.crop, each)), span) for pair, span in chosen]
    else:
        material = [(_Slices(pair), span) for pair, span in seen]
    tried = []
    for setting in filter_.settings:
        check()
        found = [_psnr(filter_, setting, planes, span) for planes, span in material]
        tried.append((setting, float(np.mean(found))))
    return Sweep(filter_, tuple(tried), _tried_on(filter_, pairs))


def spread(of: int, most: int) -> Iterable[int]:
    """At most `most` numbers below `of`, evenly spaced."""
    if of <= most:
        return range(of)
    return (round(index) for index in np.linspace(0, of - 1, most))


class _Slices:
    """(source, target) planes, made anew each time they are gone through."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def __iter__(self) -> Iterator[tuple[Plane, Plane]]:
        source, target = self._pair
        return ((source[index], target[index]) for index in spread(len(target), SLICES_TRIED))


def _windows(pair: Pair, side: int, most: int) -> Iterator[tuple[Plane, Plane]]:
    source, target = pair
    for index in spread(len(target), most):
        plane = target[index]
        where = _liveliest(plane, side)
        yield source[index][where], plane[where]


def _liveliest(plane: Plane, side: int) -> tuple[slice, slice]:
    """The window, of a coarse grid, where the ground truth varies most."""
    starts = [range(0, max(length - side, 0) + 1, max(side // 2, 1)) for length in plane.shape]
    windows = [(slice(y, y + side), slice(x, x + side)) for y in starts[0] for x in starts[1]]
    return max(windows, key=lambda window: float(plane[window].std()))


def _tried_on(filter_: Filter, pairs: Sequence[Pair]) -> str:
    if filter_.crop is None:
        return ""
    whole = all(len(target) == 1 and max(target.plane_shape) <= filter_.crop for _, target in pairs)
    few = len(pairs) <= WINDOWS_TRIED
    if whole and few:
        return ""
    return (
        f"the liveliest {filter_.crop} × {filter_.crop} px of "
        f"{'each image' if few else f'{WINDOWS_TRIED} of {len(pairs)} images'}"
    )


def _span(target: Planes) -> float:
    try:
        low, high = target_range(target)
    except QualityControlError:
        return 0.0
    return high - low


def _psnr(
    filter_: Filter, setting: float, planes: Iterable[tuple[Plane, Plane]], span: float
) -> float:
    found: Moments | None = None
    for source, target in planes:
        one = moments(filter_.apply(source, setting), target)
        found = one if found is None else found + one
    mse = found.fitted_mse if found else 0.0
    return math.inf if mse == 0 else 10 * math.log10(span**2 / mse)
