"""Goes through the images of a report and looks for spots in each of its methods' results.

At most `SEARCHED_PIXELS` of an image are searched: of a stack as many slices,
evenly spaced, as that allows, each as a plane of its own; of a larger plane its
middle. The report says how many slices that were.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from micserve.qc.blobs import find_blobs
from micserve.qc.kept import KeptPlanes
from micserve.qc.normalized import Scale
from micserve.qc.planes import Plane, Planes
from micserve.qc.restoration import Method, RestorationCase, planes_of
from micserve.qc.spots import (
    SearchedPlane,
    Spot,
    SpotsFound,
    TrueSpot,
    judge,
    scales_of,
    true_spots,
)
from micserve.qc.sweep import spread

SEARCHED_PIXELS = 2_000_000

Place = tuple[RestorationCase, int]
"""An image and one of its planes."""


def search_spots(
    cases: Sequence[RestorationCase],
    methods: Sequence[Method],
    scales: Mapping[str, Mapping[str, Scale]],
    kept: KeptPlanes,
    *,
    step: Callable[[str], None] = lambda _: None,
) -> SpotsFound | None:
    """Spots of all images by method; None where they show too few.

    Parameters
    ----------
    scales
        By image and method: how grey values compare with the ground truth's. Images without
        a scale (their ground truth is flat) are left out.
    step
        Called with what is done, before each plane; may raise to stop.
    """
    judged = [case for case in cases if case.name in scales]
    given = bool(judged) and all(case.spots is not None for case in judged)
    true: list[tuple[Place, tuple[TrueSpot, ...]]] = []
    for case in judged:
        span = next(iter(scales[case.name].values())).span
        for index, clean in _planes(case):
            step(f"spots of {case.name}")
            said = _inside(case) if given else None
            true.append(((case, index), true_spots(case.name, index, clean, said, span=span)))
    everyone = [one for _, spots in true for one in spots]
    if not everyone:
        return None
    sizes = scales_of(everyone)
    searched = []
    for (case, index), spots in true:
        step(f"spots of {case.name}")
        detections = {}
        for method in methods:
            scale = scales[case.name][method.key]
            plane = searched_part(planes_of(case, method, kept)[index]) * scale.gain
            detections[method.key] = find_blobs(plane, sizes)
        searched.append(SearchedPlane(spots, detections))
    return judge(
        searched,
        [method.key for method in methods],
        given=given,
        planes_of=sum(len(Planes(np.asarray(case.target))) for case in judged),
    )


def planes_searched(case: RestorationCase) -> Sequence[int]:
    """Which planes of an image are searched."""
    target = Planes(np.asarray(case.target))
    height, width = target.plane_shape
    return list(spread(len(target), max(SEARCHED_PIXELS // max(height * width, 1), 1)))


def _planes(case: RestorationCase) -> Iterator[tuple[int, Plane]]:
    target = Planes(np.asarray(case.target))
    for index in planes_searched(case):
        yield index, searched_part(target[index])


def _corner(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Top and left of the part that is searched, and its longest side."""
    side = math.isqrt(SEARCHED_PIXELS)
    if shape[0] * shape[1] <= SEARCHED_PIXELS:
        return 0, 0, max(shape)
    return max((shape[0] - side) // 2, 0), max((shape[1] - side) // 2, 0), side


def searched_part(plane: Plane) -> Plane:
    """The middle of a large plane; a smaller one whole."""
    top, left, side = _corner(plane.shape)
    return plane[top : top + side, left : left + side]


def _inside(case: RestorationCase) -> Sequence[Spot]:
    """Given spots in the pixels of the part that is searched."""
    top, left, _ = _corner(np.asarray(case.target).shape[-2:])
    return [replace(one, y=one.y - top, x=one.x - left) for one in case.spots or ()]
