"""ImageJ's own *Gaussian Blur…* on an 8-bit image, pixel for pixel.

Exists so that figures obtained in ImageJ (the slides' Gaussian row) can be
reproduced exactly; `micserve.qc.baselines` uses the true Gaussian in floating
point. ImageJ (`ij.plugin.filter.GaussianBlur`, from version 1.38r on) cuts the
kernel where it falls below 0.002, lets its end run out as a parabola, and rounds
the result to whole grey values. For sigma of at most 8.5 px: above, ImageJ
shrinks the image first.
"""

import math

import numpy as np
from numpy.typing import NDArray

from micserve.errors import ParameterError

ACCURACY = 0.002
"""Where ImageJ cuts the kernel of 8-bit images, relative to its centre."""
LARGEST_SIGMA = 8.5
"""Pixels; above, ImageJ works on a reduced image."""


def imagej_blur_8bit(image: NDArray[np.uint8], *, sigma: float) -> NDArray[np.uint8]:
    """(Y, X) uint8, blurred with `sigma` in pixels."""
    if not 0 < sigma <= LARGEST_SIGMA or image.dtype != np.uint8 or image.ndim != 2:
        raise ParameterError(
            f"sigma {sigma:g} on an image of type {image.dtype} with {image.ndim} axes: ImageJ's "
            f"8-bit blur is known for 8-bit planes and sigma up to {LARGEST_SIGMA} px."
        )
    half = _half_kernel(sigma)
    beyond = np.asarray(0.5 + 0.5 * half[0] - np.cumsum(half), dtype=np.float32)
    blurred = image.astype(np.float32)
    for axis in (1, 0):
        lines = np.moveaxis(blurred, axis, -1)
        blurred = np.moveaxis(_convolved(lines, half.astype(np.float32), beyond), -1, axis)
    return np.asarray(np.floor(np.clip(blurred, 0, 255) + np.float32(0.5)), dtype=np.uint8)


def _half_kernel(sigma: float) -> NDArray[np.float64]:
    """From its centre outwards; with its other half it sums to 1. Rounded as ImageJ rounds it."""
    radius = math.ceil(sigma * math.sqrt(-2 * math.log(ACCURACY))) + 1
    half = _single(np.exp(-0.5 * np.arange(radius) ** 2 / sigma**2))
    if radius > 3:
        half = _single(_run_out(half))
    return np.asarray(half / (half[0] + 2 * half[1:].sum()))


def _run_out(half: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace the end by the parabola that touches the Gaussian and is 0 one pixel past it."""
    radius = len(half)
    distance = radius - np.arange(radius)
    slope = np.sqrt(half) / distance
    touch = radius - 1
    while touch > radius // 2 and slope[touch - 1] < slope[touch]:
        touch -= 1
    return np.concatenate([half[: touch + 1], (distance * slope[touch])[touch + 1 :] ** 2])


def _convolved(
    lines: NDArray[np.float32], half: NDArray[np.float32], beyond: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Along the last axis, edge pixels continued, summed in ImageJ's order in single precision.

    `beyond[k]` is the sum of the kernel's side past element k: what the first
    and the last pixel weigh more for all the pixels that are missing.
    """
    length, radius = lines.shape[-1], len(half)
    result: NDArray[np.float32] = lines * half[0]
    near = min(radius, length)
    result[..., :near] += beyond[:near] * lines[..., :1]
    result[..., length - near :] += beyond[:near][::-1] * lines[..., -1:]
    padded = np.pad(lines, ((0, 0), (radius, radius)))
    for k in range(1, radius):
        left = padded[..., radius - k : radius - k + length]
        right = padded[..., radius + k : radius + k + length]
        result += half[k] * (left + right)
    return result


def _single(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.astype(np.float32).astype(np.float64)
