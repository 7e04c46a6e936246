"""Which of the dimmest spots to show, and their surroundings in each method's result."""

from dataclasses import dataclass

import numpy as np

from micserve.qc.planes import Plane, Planes
from micserve.qc.restoration import RestorationReport
from micserve.qc.spot_search import searched_part
from micserve.qc.spots import TrueSpot
from micserve.qc.view import TRUTH, shown_methods

SHOWN = 8
"""Columns."""
SIDE = 41
"""Pixels of a crop: a spot of 12 px radius with surroundings."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One spot in one method's result."""

    pixels: Plane
    """On the ground truth's grey scale; NaN beyond the image's border."""
    found: bool | None
    """None in the ground truth."""


@dataclass(frozen=True, slots=True, eq=False)
class DimSpots:
    spots: tuple[TrueSpot, ...]
    rows: dict[str, tuple[Crop, ...]]
    """By method key, the ground truth first; one crop per spot."""
    labels: dict[str, str]


def dim_spots(report: RestorationReport) -> DimSpots:
    """Evenly picked from the dimmest bin."""
    found = report.spots
    assert found is not None
    dim = sorted(np.nonzero(found.bins == 0)[0], key=lambda n: found.true[n].contrast)
    picked = [dim[round(k)] for k in np.linspace(0, len(dim) - 1, min(SHOWN, len(dim)))]
    spots = tuple(found.true[n] for n in picked)
    keys = shown_methods(report)
    rows = {TRUTH: tuple(Crop(_truth(report, spot), None) for spot in spots)}
    for key in keys:
        hits = found.methods[key].found
        rows[key] = tuple(
            Crop(_result(report, spot, key), bool(hits[n]))
            for n, spot in zip(picked, spots, strict=True)
        )
    labels = {key: report.method(key).label for key in keys} | {TRUTH: "Ground truth"}
    return DimSpots(spots, rows, labels)


def _truth(report: RestorationReport, spot: TrueSpot) -> Plane:
    case = next(case for case in report.cases if case.name == spot.image)
    return _around(Planes(np.asarray(case.target))[spot.plane], spot)


def _result(report: RestorationReport, spot: TrueSpot, key: str) -> Plane:
    image = next(image for image in report.images if image.name == spot.image)
    scale = image.results[key].scale
    assert scale is not None
    plane = report.planes(spot.image, key)[spot.plane]
    return scale.target_mean + (_around(plane, spot) - scale.test_mean) * scale.gain


def _around(plane: Plane, spot: TrueSpot) -> Plane:
    half = SIDE // 2
    padded = np.pad(searched_part(plane), half, constant_values=np.nan)
    y, x = round(spot.y), round(spot.x)
    return padded[y : y + SIDE, x : x + SIDE]
