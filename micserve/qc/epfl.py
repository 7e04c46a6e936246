"""SNR, PSNR, RMSE and MAE as EPFL's *SNR* plugin for ImageJ defines them.

All four compare grey values as they are: an image that is right up to a gain or
an offset scores badly. `micserve.qc.normalized` forgives both.

References
----------
.. [1] Sage and Unser 2003, doi:10.1109/MSP.2003.1253550;
   plugin at http://bigwww.epfl.ch/sage/soft/snr/.
"""

import math
from dataclasses import dataclass

import numpy as np

from micserve.errors import QualityControlError
from micserve.qc.planes import Pixels, Plane, Planes, checked_pair


@dataclass(frozen=True, slots=True)
class Sums:
    """What the four measures need; those of slices add up to those of the stack."""

    pixels: int
    target_squared: float
    """Σ r², in grey values squared."""
    target_largest: float
    error_squared: float
    """Σ (r − t)²."""
    error_absolute: float
    """Σ |r − t|."""

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.pixels + other.pixels,
            self.target_squared + other.target_squared,
            max(self.target_largest, other.target_largest),
            self.error_squared + other.error_squared,
            self.error_absolute + other.error_absolute,
        )

    @property
    def snr(self) -> float:
        """10·log10(Σr² / Σ(r − t)²), dB; infinite for equal images."""
        if self.target_squared == 0:
            raise QualityControlError(
                "the ground truth is 0 everywhere, so it holds no signal and an SNR has no "
                "meaning; give another ground truth."
            )
        return _decibel(self.target_squared, self.error_squared)

    @property
    def psnr(self) -> float:
        """10·log10(max(r)² / MSE), dB; max(r) is the ground truth's, not the type's."""
        if self.target_largest == 0:
            raise QualityControlError(
                "the largest grey value of the ground truth is 0, so a PSNR has no meaning; give "
                "another ground truth."
            )
        return _decibel(self.target_largest**2, self.error_squared / self.pixels)

    @property
    def rmse(self) -> float:
        """√(Σ(r − t)² / N), grey values."""
        return math.sqrt(self.error_squared / self.pixels)

    @property
    def mae(self) -> float:
        """Σ|r − t| / N, grey values."""
        return self.error_absolute / self.pixels


def sums(test: Plane, target: Plane) -> Sums:
    """Of one plane."""
    error = test - target
    return Sums(
        pixels=target.size,
        target_squared=float(np.vdot(target, target)),
        target_largest=float(target.max()),
        error_squared=float(np.vdot(error, error)),
        error_absolute=float(np.abs(error).sum()),
    )


def total(test: Planes, target: Planes) -> Sums:
    """Of a stack."""
    whole = sums(test[0], target[0])
    for index in range(1, len(target)):
        whole += sums(test[index], target[index])
    return whole


def snr(test: Pixels, target: Pixels) -> float:
    """Signal to noise ratio of `test` against the ground truth `target`, dB."""
    return total(*checked_pair(test, target)).snr


def psnr(test: Pixels, target: Pixels) -> float:
    """Peak signal to noise ratio with the peak of `target`, dB."""
    return total(*checked_pair(test, target)).psnr


def rmse(test: Pixels, target: Pixels) -> float:
    """Root mean square error, grey values."""
    return total(*checked_pair(test, target)).rmse


def mae(test: Pixels, target: Pixels) -> float:
    """Mean absolute error, grey values."""
    return total(*checked_pair(test, target)).mae


def _decibel(signal: float, noise: float) -> float:
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)
