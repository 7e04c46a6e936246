"""What of a segmentation a person should look at: which slice, which part, which outlines.

The slice and the part with the most that went wrong; where nothing did, with the
most objects. Outlines are cut from the label images one object at a time, so that
neighbours that touch keep a line each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from micserve.qc.segmentation.labels import LabelPair, Numbers, checked_labels
from micserve.qc.segmentation.overlap import Overlap, overlaps
from micserve.qc.segmentation.parts import Fate, fates
from micserve.qc.segmentation.report import SegmentationReport

CROP_PART = 3
"""The zoom shows this part of the longer side …"""
CROP_SMALLEST = 96
"""… but at least so many pixels, where there are so many."""
MOST_OUTLINES = 1200
"""Of one kind in one picture; beyond, only those in the magnified part are drawn: in the whole they
would run together, and take minutes."""

Outline = NDArray[np.float64]
"""(n, 2) y, x in pixels; the first pixel's centre is 0."""
Grey = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Part:
    """In pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One slice with its outlines by fate."""

    grey: Grey
    """(Y, X) or (Y, X, 3), what lies below the outlines."""
    outlines: Mapping[Fate, list[Outline]]
    """Of the true objects where they are missed, split or merged, else of the found ones."""
    counts: Mapping[Fate, int]
    """In this slice."""
    parts: Mapping[Fate, list[Outline]]
    """Of the found objects that are parts of a split one."""
    part: Part
    slice_index: int
    slices: int
    pixel_size_um: float | None
    has_source: bool


def object_view(report: SegmentationReport, image: str) -> Seen:
    """What to show of one image of a report on objects."""
    case = report.case(image)
    pair = checked_labels(case.prediction, case.target, name=case.name, ndim=report.ndim)
    whole, _ = overlaps(pair, slices=False)
    true_fate, found_fate = _by_frame(whole)
    planes = list(pair.planes())
    depth = pair.planes_per_frame
    index = _worst(planes, depth, true_fate, found_fate)
    prediction, target = planes[index]
    frame = index // depth
    fate_true = _painted(target, true_fate.get(frame, {}))
    fate_found = _painted(prediction, found_fate.get(frame, {}))
    shape = (int(target.shape[0]), int(target.shape[1]))
    wrong = np.isin(fate_true, WRONG) | np.isin(fate_found, WRONG)
    part = busiest(wrong if wrong.any() else (target + prediction) > 0, shape)
    outlines, counts = _outlines(prediction, target, fate_true, fate_found, part)
    return Seen(
        grey=below(case.source, np.shape(case.target), index, target),
        outlines=outlines,
        counts=counts,
        parts={
            fate: outlines_of(_few(np.where(fate_found == CODES[fate], prediction, 0), part))
            for fate in SEVERAL
        },
        part=part,
        slice_index=index,
        slices=len(planes),
        pixel_size_um=case.pixel_size_um,
        has_source=case.source is not None,
    )


CODES: Mapping[Fate, int] = {"found": 1, "missed": 2, "false": 3, "split": 4, "merged": 5}
WRONG = [code for fate, code in CODES.items() if fate != "found"]


SEVERAL: tuple[Fate, ...] = ("split",)


def below(source: Any, shape: tuple[int, ...], index: int, target: Numbers) -> Grey:
    """The slice of the source, colour or grey; without one the true objects as grey areas."""
    if source is None:
        return (target > 0).astype(np.float32)
    pixels = np.asarray(source)
    if pixels.shape == shape:
        return np.asarray(pixels.reshape(-1, *shape[-2:])[index])
    if pixels.shape[:-1] == shape and pixels.shape[-1] == 3:
        return np.asarray(pixels.reshape(-1, *shape[-2:], 3)[index])
    return (target > 0).astype(np.float32)


def painted_fates(pair: LabelPair) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Plane by plane the code (of `CODES`) of each pixel's true, and of its found object."""
    whole, _ = overlaps(pair, slices=False)
    true_fate, found_fate = _by_frame(whole)
    for index, (prediction, target) in enumerate(pair.planes()):
        frame = index // pair.planes_per_frame
        yield (
            _painted(target, true_fate.get(frame, {})),
            _painted(prediction, found_fate.get(frame, {})),
        )


def _by_frame(whole: Overlap) -> tuple[dict[int, dict[int, int]], dict[int, dict[int, int]]]:
    """Frame to label to code of its fate, for true and for found objects."""
    fate = fates(whole)
    tables: list[dict[int, dict[int, int]]] = []
    for frames, labels, each in (
        (whole.true_frames, whole.true_labels, fate.of_true()),
        (whole.found_frames, whole.found_labels, fate.of_found()),
    ):
        table: dict[int, dict[int, int]] = {}
        codes = [CODES[str(one)] for one in each]  # type: ignore[index]
        for frame, label, code in zip(frames.tolist(), labels.tolist(), codes, strict=True):
            table.setdefault(frame, {})[label] = code
        tables.append(table)
    return tables[0], tables[1]


def _painted(plane: Numbers, codes: Mapping[int, int]) -> NDArray[np.int64]:
    """The code of each pixel's object, 0 in the background."""
    labels, where = np.unique(plane, return_inverse=True)
    values = np.array([codes.get(int(label), 0) for label in labels], np.int64)
    return values[where].reshape(plane.shape)


def _worst(
    planes: list[tuple[Numbers, Numbers]],
    depth: int,
    true_fate: Mapping[int, Mapping[int, int]],
    found_fate: Mapping[int, Mapping[int, int]],
) -> int:
    """The slice with the most objects that went wrong; of equals that with the most objects."""
    if len(planes) == 1:
        return 0

    def badness(index: int) -> tuple[int, int]:
        prediction, target = planes[index]
        frame, wrong, count = index // depth, 0, 0
        for plane, fate in ((target, true_fate), (prediction, found_fate)):
            labels = np.unique(plane)
            codes = [fate.get(frame, {}).get(int(label), 0) for label in labels]
            wrong += sum(code in WRONG for code in codes)
            count += len(labels)
        return wrong, count

    return max(range(len(planes)), key=badness)


def _outlines(
    prediction: Numbers,
    target: Numbers,
    fate_true: NDArray[np.int64],
    fate_found: NDArray[np.int64],
    part: Part,
) -> tuple[dict[Fate, list[Outline]], dict[Fate, int]]:
    """Outlines to draw, and how many objects there are of each fate."""
    drawn: dict[Fate, list[Outline]] = {}
    counts: dict[Fate, int] = {}
    for fate, code in CODES.items():
        plane, painted = (
            (prediction, fate_found) if fate in ("found", "false") else (target, fate_true)
        )
        kept = np.where(painted == code, plane, 0)
        counts[fate] = int(np.count_nonzero(np.unique(kept)))
        drawn[fate] = outlines_of(_few(kept, part))
    return drawn, counts


def _few(labels: Numbers, part: Part) -> Numbers:
    """All objects, or of too many only those in the part."""
    if len(np.unique(labels)) <= MOST_OUTLINES:
        return labels
    rows = slice(part.top, part.top + part.height)
    columns = slice(part.left, part.left + part.width)
    inside = np.unique(labels[rows, columns])
    return np.where(np.isin(labels, inside[:MOST_OUTLINES]), labels, 0)


def outlines_of(labels: Numbers) -> list[Outline]:
    """The outer border of every object of a (Y, X) label image."""
    from skimage.measure import find_contours

    numbers, where = np.unique(labels, return_inverse=True)
    small = where.reshape(labels.shape) + (0 if numbers[0] == 0 else 1)
    found = []
    for number, place in enumerate(find_objects(small), start=1):
        if place is None:
            continue
        inside = np.pad(small[place] == number, 1).astype(np.float32)
        contours = find_contours(inside, 0.5)
        if contours:
            longest = max(contours, key=len)
            found.append(longest - 1 + [place[0].start, place[1].start])
    return found


def busiest(interesting: NDArray[np.bool_], shape: tuple[int, int]) -> Part:
    """The window with the most of `interesting`."""
    side = max(max(shape) // CROP_PART, CROP_SMALLEST)
    height, width = min(side, shape[0]), min(side, shape[1])
    total = np.zeros((shape[0] + 1, shape[1] + 1))
    total[1:, 1:] = interesting.cumsum(axis=0).cumsum(axis=1)
    step = max(side // 16, 1)
    tops = sorted({*range(0, shape[0] - height + 1, step), shape[0] - height})
    lefts = sorted({*range(0, shape[1] - width + 1, step), shape[1] - width})
    top, left = max(
        ((y, x) for y in tops for x in lefts),
        key=lambda at: _sum_in(total, at, height, width),
    )
    return Part(top, left, height, width)


def _sum_in(total: NDArray[np.float64], at: tuple[int, int], height: int, width: int) -> float:
    y, x = at
    bottom, right = y + height, x + width
    return float(total[bottom, right] - total[y, right] - total[bottom, x] + total[y, x])
