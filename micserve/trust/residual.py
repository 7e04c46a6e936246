"""What a denoiser took away: pixel noise is white, structure is not.

The difference between an image and its result, after the best gain and offset.
Where its neighbouring pixels are alike, or where it is much larger than the noise,
structure went with the noise.
"""

import numpy as np

from micserve.trust.sampling import Float
from micserve.trust.statistics import Values, likeness, noise_of

WORDS = {
    "residual_likeness": "what was taken away has structure in it (neighbouring pixels are alike)",
    "removed": "more was taken away than there is noise",
}

_TINY = 1e-12


def residual(source: Float, result: Float) -> Float:
    """(N, Y, X): source minus result, after the gain and offset that fit best in each patch."""
    x, y = source.astype(np.float64), result.astype(np.float64)
    mean_x, mean_y = (v.mean(axis=(1, 2), keepdims=True) for v in (x, y))
    spread = ((y - mean_y) ** 2).mean(axis=(1, 2), keepdims=True)
    gain = ((x - mean_x) * (y - mean_y)).mean(axis=(1, 2), keepdims=True)
    gain = np.where(spread > _TINY, gain / np.maximum(spread, _TINY), 0)
    return np.asarray(x - mean_x - gain * (y - mean_y), np.float32)


def residual_statistics(source: Float, result: Float) -> dict[str, Values]:
    """(N,) of each key of `WORDS`; patches (N, Y, X) at the same places, in grey values."""
    left = residual(source, result)
    spread = left.astype(np.float64).std(axis=(1, 2))
    noise = np.maximum(noise_of(source), 1e-3 * np.maximum(source.std(axis=(1, 2)), _TINY))
    return {
        "residual_likeness": np.abs(likeness(left.astype(np.float64), 1)),
        "removed": np.log10(np.maximum(spread / noise, 1e-3)),
    }
