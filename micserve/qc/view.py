"""Which slice, which crop and which line of an image a person should look at.

The brightest structure of the ground truth decides, so that prediction, input
and filters are shown at the same place and at the same contrast.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from micserve.errors import QualityControlError
from micserve.qc.normalized import PERCENTILES, Maps, target_range
from micserve.qc.planes import Plane, Planes
from micserve.qc.restoration import RestorationReport

CROP_PART = 5
"""The zoom shows this part of the shorter side …"""
CROP_SMALLEST = 48
"""… but at least so many pixels, where there are so many."""
STRUCTURE_SIGMA = 2.0
"""Pixels; smaller bright things are taken for hot pixels."""
TRUTH = "truth"
GREY, OWN_RANGE = "grey value", "fraction of own range"
"""Units of what is shown."""
SCALE_TOLERANCE = 0.25
"""Difference of mean grey values, in fractions of the ground truth's range, up to which
images are shown in grey values as they are."""


@dataclass(frozen=True, slots=True)
class Window:
    """In pixels; the line runs along X through the brightest pixel."""

    top: int
    left: int
    height: int
    width: int
    line: int
    """Y of the line in the whole image."""

    def of(self, plane: Plane) -> Plane:
        return plane[self.top : self.top + self.height, self.left : self.left + self.width]

    def along(self, plane: Plane) -> Plane:
        return plane[self.line, self.left : self.left + self.width]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One slice, by method key; the ground truth under `TRUTH`."""

    planes: dict[str, Plane]
    labels: dict[str, str]
    maps: dict[str, Maps]
    """Of this slice; empty where the ground truth is flat."""
    window: Window
    low: float
    """Of the contrast that all images share."""
    high: float
    unit: str
    """Of the planes' values: `GREY` or `OWN_RANGE`."""
    slice_index: int
    slices: int
    pixel_size_um: float | None


ORDER = ("input", "prediction")
"""What is shown first; filters follow, the ground truth comes last."""
USUAL_FILTER = "gaussian"
"""Always shown; of the others only the best, so that pictures stay large enough to see."""


def shown_methods(report: RestorationReport) -> list[str]:
    """Keys of the methods that have pictures, in the order in which they are shown."""
    keys = [method.key for method in report.methods]
    first = [key for key in ORDER if key in keys]
    filters = [key for key in keys if key not in ORDER]
    if len(filters) > 2:
        best = max(filters, key=lambda key: report.summary.means[key].psnr_normalized_db or 0.0)
        filters = [key for key in filters if key in (USUAL_FILTER, best)]
    return first + filters


def view(report: RestorationReport, image: str) -> View:
    """What to show of one image of the report."""
    case = next(case for case in report.cases if case.name == image)
    target = Planes(np.asarray(case.target))
    index, y, x = _brightest(target)
    keys = shown_methods(report)
    planes = {key: report.planes(image, key)[index] for key in keys}
    planes[TRUTH] = target[index]
    low, high, unit = _contrast(target)
    if not _same_scale(planes, high - low):
        planes = {key: _to_unit(plane) for key, plane in planes.items()}
        low, high, unit = 0.0, 1.0, OWN_RANGE
    return View(
        planes=planes,
        labels={key: report.method(key).label for key in keys} | {TRUTH: "Ground truth"},
        maps=_maps(report, image, keys, index),
        window=_window(target.plane_shape, y, x),
        low=low,
        high=high,
        unit=unit,
        slice_index=index,
        slices=len(target),
        pixel_size_um=case.pixel_size_um,
    )


def _brightest(target: Planes) -> tuple[int, int, int]:
    """Slice, Y and X of the brightest structure."""
    best, where = -np.inf, (0, 0, 0)
    for index, plane in enumerate(target):
        smooth = gaussian_filter(plane, STRUCTURE_SIGMA, mode="nearest")
        y, x = np.unravel_index(int(smooth.argmax()), smooth.shape)
        if smooth[y, x] > best:
            best, where = float(smooth[y, x]), (index, int(y), int(x))
    return where


def _window(shape: tuple[int, int], y: int, x: int) -> Window:
    side = max(min(shape) // CROP_PART, CROP_SMALLEST)
    height, width = min(side, shape[0]), min(side, shape[1])
    return Window(
        top=min(max(y - height // 2, 0), shape[0] - height),
        left=min(max(x - width // 2, 0), shape[1] - width),
        height=height,
        width=width,
        line=y,
    )


def _contrast(target: Planes) -> tuple[float, float, str]:
    try:
        low, high = target_range(target)
    except QualityControlError:
        low = float(target.pixels.min())
        high = max(float(target.pixels.max()), low + 1)
    return low, high, GREY


def _same_scale(planes: dict[str, Plane], span: float) -> bool:
    truth = float(planes[TRUTH].mean())
    return all(abs(float(p.mean()) - truth) <= SCALE_TOLERANCE * span for p in planes.values())


def _to_unit(plane: Plane) -> NDArray[np.float64]:
    low, high = np.percentile(plane, PERCENTILES)
    return (plane - low) / (high - low) if high > low else np.zeros_like(plane)


def _maps(report: RestorationReport, image: str, keys: list[str], index: int) -> dict[str, Maps]:
    try:
        return {key: report.slice_maps(image, key, index) for key in keys}
    except QualityControlError:
        return {}
