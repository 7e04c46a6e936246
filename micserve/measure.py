"""Measure objects: where they are, how large, how bright; in pixels and in µm.

Coordinates are ImageJ's: the first pixel covers 0 to 1, so that its centre is
at 0.5. Every object of a label image is measured in one pass, row by row, so
that memory does not depend on the size of the image.

Knows label images and calibration; nothing of networks or files.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.image import Calibration
from micserve.objects import Objects, chunks

Columns = dict[str, NDArray[Any]]
"""One array per column, all of one length; in the order in which they are written."""

FRAME_COLUMNS = {"t": "frame", "z": "slice", "c": "channel"}


def measure(
    found: Objects,
    labels: NDArray[Any],
    frame: NDArray[Any],
    calibration: Calibration,
) -> Columns:
    """One row per object of one frame.

    Parameters
    ----------
    found
        The objects that were painted.
    labels
        (Y, X) or (Z, Y, X), where they were painted; any integer or float type.
    frame
        (C, Y, X) or (C, Z, Y, X), the image's own grey values.
    calibration
        Of the image. Columns in µm hold NaN when it has no physical unit.

    Returns
    -------
    Columns
        `label`, `frame`, `slice` (2D only), `channel` (from 1), `score`, `centroid_x_px` …,
        `area_px` and `area_um2` or `volume_px` and `volume_um3`, `intensity_mean`,
        `intensity_min`, `intensity_max` (one set per channel where there are several, with
        `_c1`, `_c2`, …).
    """
    axes = "zyx"[-labels.ndim :]
    sums = _Sums(int(found.labels.max(initial=0)) + 1, ndim=labels.ndim, channels=frame.shape[0])
    for start, part in chunks(labels):
        sums.add(start, part, frame[:, start : start + part.shape[0]])
    pixels = sums.pixels[found.labels]
    um = calibration.in_um() or dict.fromkeys("ZYX", np.nan)
    centroids = {
        axis: sums.positions[number][found.labels] / pixels + 0.5
        for number, axis in enumerate(axes)
    }
    columns = _frame_columns(found, axes)
    columns["score"] = found.scores
    for axis in reversed(axes):
        columns[f"centroid_{axis}_px"] = centroids[axis]
    for axis in reversed(axes):
        columns[f"centroid_{axis}_um"] = centroids[axis] * um[axis.upper()]
    size, unit = ("area", "um2") if len(axes) == 2 else ("volume", "um3")
    columns[f"{size}_px"] = pixels
    columns[f"{size}_{unit}"] = pixels * np.prod([um[axis.upper()] for axis in axes])
    return columns | _intensity_columns(sums, found.labels, pixels)


def stack(tables: Iterable[Columns]) -> Columns:
    """The rows of several frames, one after another."""
    parts = list(tables)
    names = list(parts[0]) if parts else []
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


class _Sums:
    """What is known of each label so far; index 0 is the background and stays empty."""

    def __init__(self, count: int, *, ndim: int, channels: int) -> None:
        self.pixels = np.zeros(count, np.int64)
        self.positions = np.zeros((ndim, count))
        self.totals = np.zeros((channels, count))
        self.lowest = np.full((channels, count), np.inf)
        self.highest = np.full((channels, count), -np.inf)

    def add(self, start: int, labels: NDArray[Any], frame: NDArray[Any]) -> None:
        """Rows of a label image from `start` on, with the (C, …) grey values of the same rows."""
        flat = labels.reshape(-1)
        at = np.flatnonzero(flat)
        if not at.size:
            return
        values = flat[at].astype(np.int64)
        # Runs of one label along a row: some twenty times fewer than pixels.
        breaks = (np.diff(values) != 0) | (np.diff(at) != 1)
        first = np.concatenate([[0], np.flatnonzero(breaks) + 1])
        run = values[first]
        count = self.pixels.size
        lengths = np.diff(np.append(first, at.size))
        self.pixels += np.bincount(run, lengths, count).astype(np.int64)
        for axis, index in enumerate(np.unravel_index(at, labels.shape)):
            offset = start if axis == 0 else 0
            self.positions[axis] += np.bincount(
                run, np.add.reduceat(index, first) + offset * lengths, count
            )
        for channel, grey in enumerate(frame):
            inside = grey.reshape(-1)[at]
            inside = inside.astype(inside.dtype.newbyteorder("="), copy=False)
            total = np.add.reduceat(inside, first, dtype=np.float64)
            self.totals[channel] += np.bincount(run, total, count)
            np.minimum.at(self.lowest[channel], run, np.minimum.reduceat(inside, first))
            np.maximum.at(self.highest[channel], run, np.maximum.reduceat(inside, first))


def _frame_columns(found: Objects, axes: str) -> Columns:
    columns: Columns = {"label": found.labels}
    for axis, name in FRAME_COLUMNS.items():
        if axis not in axes:
            index = getattr(found.position, axis)
            columns[name] = np.full(len(found), 1 if index is None else index + 1, np.int32)
    return columns


def _intensity_columns(
    sums: _Sums, labels: NDArray[np.int32], pixels: NDArray[np.int64]
) -> Columns:
    columns: Columns = {}
    for channel, suffix in enumerate(_suffixes(len(sums.totals))):
        columns[f"intensity_mean{suffix}"] = sums.totals[channel][labels] / pixels
        columns[f"intensity_min{suffix}"] = sums.lowest[channel][labels]
        columns[f"intensity_max{suffix}"] = sums.highest[channel][labels]
    return columns


def _suffixes(channels: int) -> Sequence[str]:
    return [""] if channels == 1 else [f"_c{number}" for number in range(1, channels + 1)]
