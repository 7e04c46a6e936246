"""Collect the pixels at which StarDist's network is sure enough that they are in an object.

Tiles arrive in any order and of any size; what is kept of them is what
`stardist` keeps of the whole image, in the order in which it would have met
it, so that nothing after this knows that there were tiles.

Knows arrays and tiles; nothing of how objects are drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.star_labels import BORDER, LEAST_DISTANCE
from micserve.errors import ParameterError
from micserve.tiling import PaddedFrame, Tile

MAX_BYTES = 2 << 30
"""Of all candidates of one frame: fifteen million of 32 rays."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Star-convex shapes, one per pixel of the grid that was sure enough."""

    points: NDArray[np.int32]
    """(n, 2) y, x or (n, 3) z, y, x, in pixels of the image that the network saw."""
    scores: NDArray[np.float32]
    """(n,)"""
    distances: NDArray[np.float32]
    """(n, rays), in the same pixels."""

    def __len__(self) -> int:
        return len(self.points)


class CandidateCollector:
    """All candidates of one frame.

    Parameters
    ----------
    frame
        What the network sees, padded at the end of each axis only.
    grid
        Pixels per step of the network's output, per spatial axis.
    n_rays
        Channels of the head `dist`.
    threshold
        A candidate's score is above this.
    """

    def __init__(
        self, frame: PaddedFrame, *, grid: tuple[int, ...], n_rays: int, threshold: float
    ) -> None:
        self._frame, self._grid, self._n_rays = frame, grid, n_rays
        self._threshold = np.float32(threshold)
        self._parts: list[Candidates] = []
        self._bytes = 0

    def take(self, tile: Tile, heads: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep what is sure enough in a tile's core.

        Parameters
        ----------
        heads
            `prob` (1, …) and `dist` (rays, …), cut to `tile.write`, on the grid.

        Raises
        ------
        ParameterError
            When there are so many candidates that they say nothing about objects.
        """
        scores = heads["prob"][0]
        start = [w.start // step for w, step in zip(tile.write, self._grid, strict=True)]
        taken = (scores > self._threshold) & self._allowed(start, scores.shape)
        at = np.nonzero(taken)
        points = (np.stack(at, axis=1) + start) * self._grid
        distances = np.moveaxis(heads["dist"], 0, -1)[at]
        part = Candidates(
            points=points.astype(np.int32),
            scores=scores[taken],
            distances=np.maximum(distances, np.float32(LEAST_DISTANCE), order="C"),
        )
        self._bytes += part.points.nbytes + part.scores.nbytes + part.distances.nbytes
        if self._bytes > MAX_BYTES:
            raise ParameterError(
                f"With prob_thresh={float(self._threshold):.3g} almost every pixel of this image "
                "is taken for the centre of an object. Raise prob_thresh, make the image smaller "
                "with scale, or crop it."
            )
        self._parts.append(part)

    def close(self) -> Candidates:
        """All candidates, in the order of the image's rows."""
        parts, self._parts = self._parts, []
        points = np.concatenate(
            [np.empty((0, len(self._grid)), np.int32), *(part.points for part in parts)]
        )
        order = np.lexsort(points.T[::-1])
        place = np.empty_like(order)
        place[order] = np.arange(order.size)
        scores = np.empty(order.size, np.float32)
        distances = np.empty((order.size, self._n_rays), np.float32)
        end = order.size
        # Part by part, each freed once it is copied: all of them twice would be gigabytes.
        while parts:
            part = parts.pop()
            rows = place[end - len(part) : end]
            scores[rows], distances[rows] = part.scores, part.distances
            end -= len(part)
        return Candidates(points[order], scores, distances)

    def _allowed(self, start: list[int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Not near the border of the padded frame, and not in what was added to it."""
        allowed = np.ones((1,) * len(shape), bool)
        for axis, (first, size, step) in enumerate(zip(start, shape, self._grid, strict=True)):
            index = np.arange(first, first + size)
            last = self._frame.shape[axis] // step - BORDER
            inside = (index >= BORDER) & (index < last)
            inside &= index * step < self._frame.data.shape[axis + 1]
            along = [1] * len(shape)
            along[axis] = size
            allowed = allowed & inside.reshape(along)
        return allowed
