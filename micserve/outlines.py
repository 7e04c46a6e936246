"""Objects as closed polygons, one per plane: their own, or traced along a label image's pixels.

Knows pixels and labels; how ImageJ stores a polygon is `micserve.codecs.rois`'.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.measure import find_contours

from micserve.objects import Objects, Position


@dataclass(frozen=True, slots=True)
class Outline:
    """One closed polygon in one plane."""

    name: str
    yx: NDArray[np.float32]
    """(points, 2) y and x in pixels; the first pixel's centre is (0, 0)."""
    position: Position


def outlines(found: Objects, labels: NDArray[Any]) -> Iterator[Outline]:
    """Every object's polygon; one per slice for objects with depth.

    Parameters
    ----------
    labels
        (Y, X) or (Z, Y, X) label image in which `found` was painted. It is looked at only for
        objects without polygons of their own.
    """
    if found.outlines is not None:
        for label, polygon in zip(found.labels, found.outlines, strict=True):
            yield Outline(_name(label, found.position), polygon, found.position)
        return
    for label, z, polygon in traced(labels, found.labels):
        name, position = _name(label, found.position), found.position
        if z is not None:
            name, position = f"{name}-z{z + 1:03d}", replace(position, z=z)
        yield Outline(name, polygon, position)


def traced(
    labels: NDArray[Any], wanted: Iterable[int]
) -> Iterator[tuple[int, int | None, NDArray[np.float32]]]:
    """Outlines along pixel edges: label, slice (None in 2D) and polygon.

    A polygon holds exactly the pixels of its label, and its holes. Of an object that is in
    several pieces in one plane, the largest is outlined.
    """
    native = labels.dtype.kind in "iu" and labels.dtype.isnative
    whole = labels if native else labels.astype(np.int32)
    boxes = find_objects(whole)
    for label in wanted:
        box = boxes[label - 1]
        mask = whole[box] == label
        planes = enumerate(mask, start=box[0].start) if mask.ndim == 3 else [(None, mask)]
        corner = np.array([box[-2].start, box[-1].start])
        for z, plane in planes:
            if plane.any():
                yield int(label), z, (_largest_loop(plane) + corner).astype(np.float32)


def _name(label: int, at: Position) -> str:
    """The frame, where there are several, and the label, as in the table."""
    frame = (("t", at.t), ("z", at.z), ("c", at.c))
    parts = [f"{axis}{index + 1:03d}" for axis, index in frame if index is not None]
    return "-".join([*parts, f"{label:05d}"])


def _largest_loop(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    # At level ½ of a binary image the contour meets the middle of every pixel edge, once.
    middles = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    return max((_corners(loop - 1) for loop in middles), key=_area)


def _corners(middles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middles of consecutive pixel edges to the corners at which the direction changes."""
    here, following = middles[:-1], middles[1:]
    turns = (here != following).all(axis=1)
    here, following = here[turns], following[turns]
    corners: NDArray[np.float64] = np.where(here != np.floor(here), here, following)
    return corners


def _area(loop: NDArray[np.float64]) -> float:
    y, x = loop.T
    return abs(float(np.dot(y, np.roll(x, 1)) - np.dot(x, np.roll(y, 1)))) / 2
