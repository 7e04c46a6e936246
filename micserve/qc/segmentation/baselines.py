"""What one gets without learning: Otsu's threshold, and a watershed behind it.

Settings and side (bright or dark objects) are chosen with the ground truth, which
nobody has for a new image: a baseline here is as good as it can be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from micserve.qc.planes import Pixels

MOST_PIXELS = 8 << 20
"""Of all images together: a watershed beyond takes minutes."""
SMOOTHING = 1.0
"""Standard deviation in pixels, before the threshold of objects."""
DISTANCES = (2, 3, 4, 6, 8, 11)
"""Least pixels between two seeds of the watershed."""
SIGMAS = (0.0, 1.0, 2.0, 3.0)
"""Pixels, before the threshold of classes."""

Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of one baseline; `run` takes a frame in grey values and gives labels."""

    label: str
    dark: bool
    """Whether objects are taken to be darker than what is around them."""
    run: Callable[[NDArray[Any]], Labels]


def object_thresholds() -> tuple[Trial, ...]:
    """Components of what is above, and of what is below."""
    return tuple(_components(dark=dark) for dark in (False, True))


def watersheds(*, dark: bool) -> tuple[Trial, ...]:
    return tuple(_watershed(distance, dark=dark) for distance in DISTANCES)


def class_thresholds() -> tuple[Trial, ...]:
    """For one class besides the background."""
    return tuple(_otsu(sigma, dark=dark) for dark in (False, True) for sigma in SIGMAS)


def over_frames(source: Pixels, ndim: int, run: Callable[[NDArray[Any]], Labels]) -> Labels:
    """Frame by frame; the shape of `source`."""
    shape = source.shape[-ndim:]
    done = [run(frame) for frame in source.reshape(-1, *shape)]
    return np.stack(done).reshape(source.shape)


def _components(*, dark: bool) -> Trial:
    def run(frame: NDArray[Any]) -> Labels:
        inside = _above(frame, SMOOTHING, dark=dark)
        return np.asarray(ndimage.label(ndimage.binary_fill_holes(inside))[0], np.int32)

    return Trial(f"Threshold (Otsu, {_side(dark)})", dark, run)


def _watershed(distance: int, *, dark: bool) -> Trial:
    def run(frame: NDArray[Any]) -> Labels:
        from skimage.feature import peak_local_max
        from skimage.segmentation import watershed

        inside = ndimage.binary_fill_holes(_above(frame, SMOOTHING, dark=dark))
        depth = ndimage.distance_transform_edt(inside)
        peaks = peak_local_max(depth, min_distance=distance, labels=inside.astype(np.int32))
        seeds = np.zeros(frame.shape, np.int32)
        # Without a peak, scikit-image answers with two columns in 3D too.
        if len(peaks):
            seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        return np.asarray(watershed(-depth, seeds, mask=inside), np.int32)

    return Trial(f"Watershed (Otsu, {_side(dark)}, seeds {distance} px apart)", dark, run)


def _otsu(sigma: float, *, dark: bool) -> Trial:
    def run(frame: NDArray[Any]) -> Labels:
        return _above(frame, sigma, dark=dark).astype(np.int32)

    return Trial(f"Threshold (Otsu, {_side(dark)}, σ = {sigma:g} px)", dark, run)


def _above(frame: NDArray[Any], sigma: float, *, dark: bool) -> NDArray[np.bool_]:
    from skimage.filters import threshold_otsu

    grey = frame.astype(np.float32)
    if sigma:
        grey = ndimage.gaussian_filter(grey, sigma, mode="nearest")
    if grey.min() == grey.max():
        return np.zeros(grey.shape, bool)
    level = threshold_otsu(grey)
    return np.asarray(grey < level if dark else grey > level)


def _side(dark: bool) -> str:
    return "dark" if dark else "bright"
