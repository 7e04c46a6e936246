"""Bright round things in one plane: maxima of the scale-normalised Laplacian of Gaussian.

The detector of TrackMate and of many counting macros. Its answer is given as
*contrast*: for a Gaussian spot the height above its surroundings, in grey
values. Knows one plane; no ground truth and no model.

References
----------
.. [1] Lindeberg 1998, Feature detection with automatic scale selection,
   doi:10.1023/A:1008045108935.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_laplace, maximum_filter
from scipy.spatial import cKDTree

from micserve.qc.planes import Plane

SCALES = (1.5, 2.1, 3.0, 4.2, 6.0, 8.5)
"""σ in pixels; a disk of radius r answers most at σ = r / √2: radii of 2 to 12 px."""
MOST = 20_000
"""Blobs of one plane; the weakest beyond are noise in any image that a person counts in."""
CUT = 6.0
"""σ at which the filter is cut off: at SciPy's usual 4 it answers to a flat plane with 0.3 % of its
grey value, which is as much as a dim spot."""
ROUNDING = 1e-6
"""Of the largest grey value: what is left of a flat plane in floating point."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Blobs:
    """One entry per blob in each array, strongest first."""

    y: Numbers
    """Pixels."""
    x: Numbers
    sigma: Numbers
    """Pixels; the radius is √2 σ."""
    contrast: Numbers
    """Grey values."""

    def __len__(self) -> int:
        return len(self.y)


def answers(plane: Plane, scales: Sequence[float] = SCALES) -> NDArray[np.float32]:
    """(scale, Y, X): contrast of a blob of that scale at that pixel, grey values.

    −2 σ² ∇²G is 1 at the centre of a Gaussian spot of height 1 and the same σ.
    """
    found = np.empty((len(scales), *plane.shape), np.float32)
    above = plane - plane.mean()
    for one, sigma in zip(found, scales, strict=True):
        one[...] = -2 * sigma**2 * gaussian_laplace(above, sigma, mode="nearest", truncate=CUT)
    found[np.abs(found) <= ROUNDING * np.abs(plane).max()] = 0
    return found


def noise_answer(sigma: float) -> float:
    """Standard deviation of the answer to white noise of sd 1: 2 σ² times the norm of ∇²G."""
    return math.sqrt(2 / math.pi) / sigma


def find_blobs(plane: Plane, scales: Sequence[float] = SCALES) -> Blobs:
    """Maxima over place and scale; of two, one within the other's radius, the stronger stays."""
    return blobs_in(answers(plane, scales), scales)


def blobs_in(found: NDArray[np.float32], scales: Sequence[float] = SCALES) -> Blobs:
    """The same from `answers`."""
    peak = (found == maximum_filter(found, size=3, mode="nearest")) & (found > 0)
    level, y, x = np.nonzero(peak)
    contrast = found[level, y, x].astype(np.float64)
    order = np.argsort(-contrast, kind="stable")[:MOST]
    sigma = np.asarray(scales, np.float64)[level[order]]
    blobs = Blobs(y[order].astype(float), x[order].astype(float), sigma, contrast[order])
    return _without_overlaps(blobs)


def _without_overlaps(blobs: Blobs) -> Blobs:
    if len(blobs) < 2:
        return blobs
    places = np.stack([blobs.y, blobs.x], axis=1)
    tree = cKDTree(places)
    alive = np.ones(len(blobs), bool)
    for index, radius in enumerate(np.sqrt(2) * blobs.sigma):
        if alive[index]:
            near = np.asarray(tree.query_ball_point(places[index], radius))
            alive[near[near > index]] = False
    return Blobs(blobs.y[alive], blobs.x[alive], blobs.sigma[alive], blobs.contrast[alive])
