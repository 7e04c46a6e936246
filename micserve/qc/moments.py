"""Means, variances and covariance of an image and its ground truth, slice by slice.

From them come the two measures that no gain and no offset can change: Pearson's
r and the scale-invariant PSNR.
"""

import math
from dataclasses import dataclass

import numpy as np

from micserve.errors import QualityControlError
from micserve.qc.planes import Pixels, Plane, Planes, checked_pair

ROUNDING = 1e-13
"""Of the ground truth's variance: what is left of equal float64 or float32 images after a gain."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of N pixel pairs; x the image, g the ground truth, in grey values."""

    pixels: int
    test_mean: float
    target_mean: float
    test_squares: float
    """Σ (x − mean)²."""
    target_squares: float
    """Σ (g − mean)²."""
    products: float
    """Σ (x − mean)(g − mean)."""
    target_smallest: float
    target_largest: float

    def __add__(self, other: "Moments") -> "Moments":
        """Of both sets of pixels together (Chan et al. 1983), without loss of digits."""
        pixels = self.pixels + other.pixels
        test_step = other.test_mean - self.test_mean
        target_step = other.target_mean - self.target_mean
        weight = self.pixels * other.pixels / pixels
        return Moments(
            pixels=pixels,
            test_mean=self.test_mean + test_step * other.pixels / pixels,
            target_mean=self.target_mean + target_step * other.pixels / pixels,
            test_squares=self.test_squares + other.test_squares + weight * test_step**2,
            target_squares=self.target_squares + other.target_squares + weight * target_step**2,
            products=self.products + other.products + weight * test_step * target_step,
            target_smallest=min(self.target_smallest, other.target_smallest),
            target_largest=max(self.target_largest, other.target_largest),
        )

    @property
    def fitted_mse(self) -> float:
        """Mean squared error that is left after the best gain and offset, grey values squared."""
        if self.test_squares == 0:
            return self.target_squares / self.pixels
        explained = self.products**2 / self.test_squares
        return max(self.target_squares - explained, 0.0) / self.pixels

    @property
    def pearson_r(self) -> float:
        if self.test_squares == 0 or self.target_squares == 0:
            raise QualityControlError(
                "one of the images has the same grey value everywhere, so a correlation has no "
                "meaning; compare an image that shows something."
            )
        r = self.products / math.sqrt(self.test_squares) / math.sqrt(self.target_squares)
        return min(max(r, -1.0), 1.0)

    @property
    def scale_invariant_psnr(self) -> float:
        """20·log10((max g − min g) / RMSE after the best gain and offset), dB."""
        span = self.target_largest - self.target_smallest
        if span == 0:
            raise QualityControlError(
                "the ground truth has the same grey value everywhere, so a PSNR that forgives "
                "gain and offset has no meaning; give a ground truth that shows something."
            )
        mse = self.fitted_mse
        if mse * self.pixels <= ROUNDING * self.target_squares:
            return math.inf
        return 10 * math.log10(span**2 / mse)


def moments(test: Plane, target: Plane) -> Moments:
    """Of one plane."""
    test_mean, target_mean = float(test.mean()), float(target.mean())
    x, g = test - test_mean, target - target_mean
    return Moments(
        pixels=target.size,
        test_mean=test_mean,
        target_mean=target_mean,
        test_squares=float(np.vdot(x, x)),
        target_squares=float(np.vdot(g, g)),
        products=float(np.vdot(x, g)),
        target_smallest=float(target.min()),
        target_largest=float(target.max()),
    )


def total(test: Planes, target: Planes) -> Moments:
    """Of a stack."""
    whole = moments(test[0], target[0])
    for index in range(1, len(target)):
        whole += moments(test[index], target[index])
    return whole


def pearson_r(test: Pixels, target: Pixels) -> float:
    """Pearson's correlation coefficient of all pixels, −1 to 1."""
    return total(*checked_pair(test, target)).pearson_r


def scale_invariant_psnr(test: Pixels, target: Pixels) -> float:
    """PSNR after the best gain and offset, with the range of `target` as the peak, dB."""
    return total(*checked_pair(test, target)).scale_invariant_psnr
