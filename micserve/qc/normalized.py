"""SSIM, NRMSE and PSNR on the scale of ZeroCostDL4Mic's notebooks, with a true RMSE.

    ground truth   percentiles 0.1 and 99.9 to 0 and 1, then its mean to 0
    image          its mean to 0, then the gain that minimises the squared error

A gain and an offset cost nothing here. A stack is normalised once, as a whole,
and measured slice by slice, as the notebooks do it.

The notebooks' "NRMSE" is the square root of the mean *absolute* error; it is
kept as `zerocost_compat_nrmse`, for comparison with old figures only.

References
----------
.. [1] von Chamier et al. 2021, doi:10.1038/s41467-021-22518-0 (notebooks N2V 2D
   v1.16.2 and CARE 2D).
.. [2] Weigert et al. 2018, doi:10.1038/s41592-018-0216-7 (`norm_minmse`).
.. [3] Wang et al. 2004, doi:10.1109/TIP.2003.819861 (SSIM).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from micserve.errors import QualityControlError
from micserve.qc.moments import Moments, total
from micserve.qc.planes import Pixels, Plane, Planes, checked_pair

PERCENTILES = (0.1, 99.9)
"""Of the ground truth, as in the notebooks."""
SSIM_SIGMA = 1.5
"""Of the SSIM window, pixels, as in the notebooks."""
SSIM_WINDOW = 11
"""Pixels; scikit-image cuts the Gaussian window at 3.5 sigma: 2·⌊3.5·1.5 + 0.5⌋ + 1."""

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scale:
    """How one image and its ground truth come to one scale, in fractions of `high` − `low`."""

    low: float
    """Grey value of the ground truth's 0.1 percentile."""
    high: float
    """Grey value of its 99.9 percentile."""
    target_mean: float
    test_mean: float
    gain: float
    """From the image's grey values to those of the ground truth; 0 for a constant image."""

    @property
    def span(self) -> float:
        return self.high - self.low

    def of_target(self, plane: Plane) -> Plane:
        return (plane - self.target_mean) / self.span

    def of_test(self, plane: Plane) -> Plane:
        return (plane - self.test_mean) * (self.gain / self.span)


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Where an image differs from its ground truth; float32, in the image's own shape."""

    ssim: Map
    """Structural similarity per pixel, 1 where the surroundings agree."""
    error: Map
    """|image − ground truth|, in fractions of the ground truth's 0.1 to 99.9 percentile range."""


@dataclass(frozen=True, slots=True)
class NormalizedSums:
    """Of one plane or of a stack."""

    pixels: int
    error_squared: float
    error_absolute: float
    slice_ssim: tuple[float, ...]
    """Mean SSIM per slice; empty when the slices are smaller than the window."""

    def __add__(self, other: "NormalizedSums") -> "NormalizedSums":
        return NormalizedSums(
            self.pixels + other.pixels,
            self.error_squared + other.error_squared,
            self.error_absolute + other.error_absolute,
            self.slice_ssim + other.slice_ssim,
        )

    @property
    def ssim(self) -> float | None:
        """Mean over slices, as scikit-image means a slice (without half a window at the border)."""
        return float(np.mean(self.slice_ssim)) if self.slice_ssim else None

    @property
    def nrmse(self) -> float:
        """√(mean squared error), in fractions of the ground truth's range."""
        return math.sqrt(self.error_squared / self.pixels)

    @property
    def psnr(self) -> float:
        """10·log10(1 / mean squared error), dB."""
        if self.error_squared == 0:
            return math.inf
        return -10 * math.log10(self.error_squared / self.pixels)

    @property
    def zerocost_compat_nrmse(self) -> float:
        """√(mean absolute error): what the notebooks call NRMSE."""
        return math.sqrt(self.error_absolute / self.pixels)


def target_range(target: Planes) -> tuple[float, float]:
    """The 0.1 and 99.9 percentiles of the ground truth, grey values.

    Raises
    ------
    QualityControlError
        When they are equal: nothing can be expressed as a fraction of nothing.
    """
    low, high = (float(value) for value in np.percentile(_safe(target.pixels), PERCENTILES))
    if not high > low:
        raise QualityControlError(
            f"the ground truth has the grey value {low:g} in nearly every pixel (its 0.1 and 99.9 "
            "percentiles are equal), so SSIM, NRMSE and the normalised PSNR have no meaning; "
            "give a ground truth that shows something."
        )
    return low, high


def scale(of: Moments, *, low: float, high: float) -> Scale:
    """The notebooks' `norm_minmse`, covariance with N − 1 and variance with N as there."""
    gain = 0.0
    if of.test_squares > 0 and of.pixels > 1:
        gain = of.products / (of.pixels - 1) / (of.test_squares / of.pixels)
    return Scale(low, high, of.target_mean, of.test_mean, gain)


def ssim_fits(plane_shape: tuple[int, int]) -> bool:
    return min(plane_shape) >= SSIM_WINDOW


def plane_maps(test: Plane, target: Plane, on: Scale) -> tuple[Maps, NormalizedSums]:
    """Maps and sums of one plane; the SSIM map is NaN where the plane is below the window."""
    x, g = on.of_test(test), on.of_target(target)
    error = np.abs(g - x)
    if ssim_fits((target.shape[0], target.shape[1])):
        mean, full = structural_similarity(
            g,
            x,
            data_range=1.0,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
            full=True,
        )
        slice_ssim: tuple[float, ...] = (float(mean),)
    else:
        full, slice_ssim = np.full(target.shape, np.nan), ()
    found = NormalizedSums(
        target.size, float(np.vdot(error, error)), float(error.sum()), slice_ssim
    )
    return Maps(full.astype(np.float32), error.astype(np.float32)), found


def stack_maps(test: Planes, target: Planes, on: Scale) -> Maps:
    """Both maps of a whole stack, in its own shape."""
    shape = target.pixels.shape
    maps = Maps(np.empty(shape, np.float32), np.empty(shape, np.float32))
    flat = (len(target), *target.plane_shape)
    for index, (ssim, error) in enumerate(
        zip(maps.ssim.reshape(flat), maps.error.reshape(flat), strict=True)
    ):
        one, _ = plane_maps(test[index], target[index], on)
        ssim[...], error[...] = one.ssim, one.error
    return maps


def compare(test: Pixels, target: Pixels) -> NormalizedSums:
    """SSIM, NRMSE and PSNR of `test` against the ground truth `target`."""
    test_planes, target_planes = checked_pair(test, target)
    on = _scale_of(test_planes, target_planes)
    _, whole = plane_maps(test_planes[0], target_planes[0], on)
    for index in range(1, len(target_planes)):
        whole += plane_maps(test_planes[index], target_planes[index], on)[1]
    return whole


def difference_maps(test: Pixels, target: Pixels) -> Maps:
    """SSIM map and error map of `test` against the ground truth `target`."""
    test_planes, target_planes = checked_pair(test, target)
    return stack_maps(test_planes, target_planes, _scale_of(test_planes, target_planes))


def _scale_of(test: Planes, target: Planes) -> Scale:
    low, high = target_range(target)
    return scale(total(test, target), low=low, high=high)


def _safe(pixels: NDArray[Any]) -> NDArray[Any]:
    """In a dtype in which percentiles are exact: NumPy interpolates in the array's own."""
    if pixels.dtype.kind == "b" or pixels.dtype == np.float16:
        return pixels.astype(np.float32)
    return pixels.astype(np.int64) if pixels.dtype.kind == "i" else pixels
