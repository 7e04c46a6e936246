"""What is measured of a patch, and what it is called in a sentence.

All but `level` and `contrast` are free of gain and offset: two exposures of the same
sample differ in those two alone, and networks that scale every image do not mind.

References
----------
.. [1] The noise estimate: Immerkær 1996, doi:10.1006/cviu.1996.0060.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2
from scipy.ndimage import correlate

from micserve.trust.sampling import Float

Values = NDArray[np.float64]

LAGS = (1, 2, 4, 8)
"""Pixels over which a patch is compared with itself."""

WORDS: Mapping[str, tuple[str, str, str]] = {
    "level": ("brightness", "brighter", "darker"),
    "contrast": ("contrast", "higher in contrast", "lower in contrast"),
    "noise": ("noise (share of the contrast)", "noisier", "less noisy"),
    "coarse_1": (
        "likeness of neighbouring pixels", "smoother (blurred or denoised already?)", "grainier",
    ),
    "coarse_2": ("likeness over 2 px", "smoother (blurred or denoised already?)", "grainier"),
    "coarse_4": ("likeness over 4 px", "coarser (other pixel size?)", "finer (other pixel size?)"),
    "coarse_8": ("likeness over 8 px", "coarser (other pixel size?)", "finer (other pixel size?)"),
    "fine_detail": ("fine detail", "richer in fine detail", "poorer in fine detail (blurred?)"),
    "asymmetry": (
        "balance of bright and dark", "richer in bright things on dark",
        "richer in dark things on bright",
    ),
    "clipped": (
        "share of clipped pixels", "more clipped (over- or underexposed?)", "less clipped",
    ),
}  # fmt: skip
"""Key: what it is; an image that has more of it is …; one that has less is …"""

GAIN_FREE = tuple(key for key in WORDS if key not in ("level", "contrast"))

_LAPLACE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_TINY = 1e-12


def statistics(patches: Float) -> dict[str, Values]:
    """(N,) of each key of `WORDS`; patches (N, Y, X) in grey values."""
    x = patches.astype(np.float64)
    n = len(x)
    flat = x.reshape(n, -1)
    mean, spread = flat.mean(axis=1), flat.std(axis=1)
    p1, p50, p99 = np.percentile(flat, (1, 50, 99), axis=1)
    contrast = np.maximum(p99 - p1, _TINY)
    still = spread <= _TINY
    centred = x - mean[:, None, None]
    noise = noise_of(patches)
    found = {
        "level": mean,
        "contrast": contrast,
        "noise": np.log10(np.maximum(noise, 1e-4 * contrast) / contrast),
        "fine_detail": np.log10(np.maximum(_fine_power(centred), 1e-6)),
        "asymmetry": np.where(still, 0, (mean - p50) / np.maximum(spread, _TINY)),
        "clipped": clipped(flat),
    }
    found |= {f"coarse_{lag}": _likeness(centred, lag) for lag in LAGS}
    return {key: found[key] for key in WORDS}


def noise_of(patches: Float) -> Values:
    """(N,) standard deviation of pixel-wise noise, grey values [1]."""
    inner = correlate(patches, _LAPLACE[None], mode="nearest")[:, 1:-1, 1:-1]
    return np.asarray(np.abs(inner).mean(axis=(1, 2)) * np.sqrt(np.pi / 2) / 6, np.float64)


def likeness(x: NDArray[np.float64], lag: int) -> Values:
    """(N,) autocorrelation over `lag` pixels, mean of Y and X; 0 for patches without contrast."""
    return _likeness(x - x.mean(axis=(1, 2), keepdims=True), lag)


def _likeness(centred: NDArray[np.float64], lag: int) -> Values:
    power = _mean_product(centred, centred)
    down = _mean_product(centred[:, lag:], centred[:, :-lag])
    along = _mean_product(centred[:, :, lag:], centred[:, :, :-lag])
    return np.asarray(np.where(power > _TINY, (down + along) / 2 / np.maximum(power, _TINY), 0))


def _mean_product(one: NDArray[np.float64], other: NDArray[np.float64]) -> Values:
    """(N,) mean over each patch, without the product in memory."""
    return np.asarray(np.einsum("nij,nij->n", one, other) / one[0].size)


def clipped(flat: NDArray[np.float64]) -> Values:
    """(N,) share of the pixels at the patch's own highest or lowest value, beyond the first."""
    top = (flat == flat.max(axis=1, keepdims=True)).mean(axis=1)
    bottom = (flat == flat.min(axis=1, keepdims=True)).mean(axis=1)
    return np.asarray(np.maximum(top, bottom))


def _fine_power(centred: NDArray[np.float64]) -> Values:
    """(N,) share of the power at frequencies above 1/4 per pixel."""
    height, width = centred.shape[1:]
    window = np.hanning(height)[:, None] * np.hanning(width)
    spectrum = rfft2((centred * window).astype(np.float32))
    power = spectrum.real**2 + spectrum.imag**2
    fine = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) > 0.25
    total = power.sum(axis=(1, 2), dtype=np.float64)
    above = power[:, fine].sum(axis=1, dtype=np.float64)
    return np.asarray(above / np.maximum(total, _TINY), np.float64)
