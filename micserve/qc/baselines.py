"""Plain filters that a model has to beat, each at the best of a few settings.

The setting is chosen *with* the ground truth, which nobody has for a new image:
a baseline here is as good as the filter can be, and every report says so.
A further filter is one more `Filter`, passed to `evaluate_restoration`.
How a setting is found for many or large images is `micserve.qc.sweep`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve, gaussian_filter, median_filter
from skimage.morphology import disk
from skimage.restoration import denoise_nl_means

from micserve.qc.planes import Plane

NLM_PATCH, NLM_DISTANCE = 5, 5
"""Pixels: the patches that are compared, and how far away they are looked for."""
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float64)
"""Immerkær 1996: blind to flat and slanted parts, so that what is left is noise."""


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
    crop: int | None = None
    """Settings are compared on the liveliest window of so many pixels square, for filters that
    would take long on all; None compares them on whole slices."""
    most_pixels: int | None = None
    """Of all images together, beyond which the filter is left out, because it would take minutes;
    None for a filter that is always affordable."""

    def at(self, setting: float) -> Callable[[Plane], Plane]:
        return lambda plane: self.apply(plane, setting)

    def named(self, setting: float) -> str:
        """`Gaussian σ = 2 px`"""
        return f"{self.label} {self.symbol} = {setting:g} {self.unit}"


def _gaussian(plane: Plane, sigma: float) -> Plane:
    return np.asarray(gaussian_filter(plane, sigma, mode="nearest"), dtype=np.float64)


def _median(plane: Plane, radius: float) -> Plane:
    return np.asarray(median_filter(plane, footprint=disk(int(radius)), mode="nearest"))


def _non_local_means(plane: Plane, strength: float) -> Plane:
    sd = noise_sd(plane)
    if sd == 0:
        return plane
    return np.asarray(
        denoise_nl_means(
            plane,
            patch_size=NLM_PATCH,
            patch_distance=NLM_DISTANCE,
            h=strength * sd,
            sigma=sd,
            fast_mode=True,
        ),
        dtype=np.float64,
    )


def noise_sd(plane: Plane) -> float:
    """Standard deviation of the noise, grey values, from the image alone [1].

    References
    ----------
    .. [1] Immerkær 1996, Fast noise variance estimation, doi:10.1006/cviu.1996.0060.
    """
    if min(plane.shape) < NOISE_MASK.shape[0]:
        return 0.0
    left = convolve(plane, NOISE_MASK)[1:-1, 1:-1]
    return float(math.sqrt(math.pi / 2) * np.abs(left).mean() / 6)


GAUSSIAN = Filter(
    key="gaussian",
    label="Gaussian",
    symbol="σ",
    unit="px",
    settings=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0),
    apply=_gaussian,
)
"""In 2D, slice by slice, so that time points are never mixed; edge pixels are continued."""

MEDIAN = Filter(
    key="median",
    label="Median",
    symbol="r",
    unit="px",
    settings=(1, 2, 3, 4, 5),
    apply=_median,
    crop=512,
    most_pixels=48_000_000,
)
"""Over a disk of radius r, as ImageJ's; on whole images within about a minute."""

NON_LOCAL_MEANS = Filter(
    key="nlm",
    label="Non-local means",
    symbol="h",
    unit="× noise",
    settings=(0.5, 0.7, 0.9, 1.1, 1.4, 1.8, 2.3),
    apply=_non_local_means,
    crop=512,
    most_pixels=32_000_000,
)
"""Buades et al. 2005, doi:10.1109/CVPR.2005.38, as scikit-image has it: patches of 5 × 5 px within
5 px; the cut-off h in noise standard deviations, which are estimated slice by slice."""

BASELINES = (GAUSSIAN, MEDIAN, NON_LOCAL_MEANS)
"""What stands beside a prediction when nothing else is asked for."""
