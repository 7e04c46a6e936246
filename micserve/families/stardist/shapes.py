"""From candidates to objects: suppress what overlaps something surer, draw what is left.

The geometry is `stardist`'s own compiled code, so that labels are equal to
those of `predict_instances` on the same network output.

References
----------
Schmidt et al. 2018, doi:10.1007/978-3-030-00934-2_30; Weigert et al. 2020,
doi:10.1109/WACV45572.2020.9093435.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon
from stardist.geometry import dist_to_coord, polyhedron_to_label
from threadpoolctl import threadpool_limits

from micserve.families.stardist.candidates import Candidates
from micserve.families.stardist.clusters import batches
from micserve.families.stardist.survivors import survivors
from micserve.objects import Objects, Position, seen_labels

ROWS = 1 << 14
"""Candidates whose corners are computed at a time."""


def suppress(
    candidates: Candidates,
    *,
    threshold: float,
    rays: Any = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Candidates:
    """The candidates that are left when each removes those that it overlaps too much; surest first.

    Parameters
    ----------
    threshold
        Largest overlap of two objects, as a share of the smaller one.
    rays
        The `stardist.rays3d` object of a 3D model, None in 2D.

    Raises
    ------
    CancelledError, ServiceUnavailableError
    """
    # As in stardist, ties and all: the order decides which of two equals stays.
    order = np.argsort(candidates.scores)[::-1]
    kept = np.zeros(len(candidates), bool)
    # In 3D all at once: there, the code fits its bounds to the mean shape of all candidates.
    parts = batches(*_boxes(candidates, order)) if rays is None else (np.arange(order.size),)
    for part in parts if order.size else ():
        rows = order[part]
        kept[part] = survivors(
            candidates.distances[rows],
            candidates.points[rows],
            candidates.scores[rows],
            threshold=threshold,
            rays=rays,
            cancelled=cancelled,
        )
    rows = order[kept]
    return Candidates(candidates.points[rows], candidates.scores[rows], candidates.distances[rows])


def _boxes(
    candidates: Candidates, order: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Around each polygon, with the pixel that it loses when its corners are rounded."""
    low, high = np.empty((2, order.size, 2), np.float32)
    for start in range(0, order.size, ROWS):
        part = slice(start, start + ROWS)
        corners = dist_to_coord(candidates.distances[order[part]], candidates.points[order[part]])
        low[part], high[part] = corners.min(axis=2) - 1, corners.max(axis=2) + 1
    return low, high


@dataclass(frozen=True, slots=True)
class Shapes:
    """The objects of one frame as shapes, not painted yet; surest first."""

    found: Candidates
    rescale: tuple[float, ...]
    """Pixels of the image per pixel that the network saw."""
    position: Position
    rays: Any = None

    @property
    def largest_label(self) -> int:
        return len(self.found)

    def paint(self, into: NDArray[Any]) -> Objects:
        """Write the labels; say which objects can be seen.

        Parameters
        ----------
        into
            (Y, X) or (Z, Y, X) of the image's size, of `label_dtype(largest_label)`; it is
            overwritten.
        """
        points = self.found.points * np.array(self.rescale)
        if self.rays is None:
            return self._paint_polygons(points, into)
        return self._paint_polyhedra(points, into)

    def _paint_polygons(self, points: NDArray[np.float64], into: NDArray[Any]) -> Objects:
        """`polygons_to_label` of stardist, without an image of its own; the surest on top."""
        corners = dist_to_coord(self.found.distances, points, scale_dist=self.rescale)
        into[...] = 0
        for index in np.argsort(self.found.scores, kind="stable"):
            y, x = corners[index]
            into[polygon(y, x, into.shape)] = index + 1
        labels = seen_labels(into, self.largest_label)
        return self._objects(labels, labels - 1, points, corners.transpose(0, 2, 1))

    def _paint_polyhedra(self, points: NDArray[np.float64], into: NDArray[Any]) -> Objects:
        """As `StarDist3D._instances_from_prediction`: labels of hidden objects are given away."""
        # One thread, as several are started and joined for each object.
        with threadpool_limits(1, user_api="openmp"):
            painted = polyhedron_to_label(
                self.found.distances,
                points,
                self.rays.copy(scale=self.rescale),
                into.shape,
                prob=self.found.scores,
                verbose=False,
            )
        seen = seen_labels(painted, self.largest_label)
        renumbered = np.zeros(self.largest_label + 1, into.dtype)
        renumbered[seen] = np.arange(1, len(seen) + 1)
        for z, plane in enumerate(painted):
            into[z] = renumbered[plane]
        labels = np.arange(1, len(seen) + 1, dtype=np.int32)
        return self._objects(labels, seen - 1, points, None)

    def _objects(
        self,
        labels: NDArray[np.int32],
        which: NDArray[np.int32],
        points: NDArray[np.float64],
        outlines: NDArray[np.float32] | None,
    ) -> Objects:
        return Objects(
            labels=labels,
            scores=self.found.scores[which],
            centres=points[which],
            outlines=None if outlines is None else outlines[which],
            position=self.position,
        )
