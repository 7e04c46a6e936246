"""Pixels by class: how many of each are where they should be."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from micserve.qc.segmentation.labels import LabelPair, Numbers


@dataclass(frozen=True, slots=True, eq=False)
class ClassCounts:
    """A confusion matrix."""

    values: tuple[int, ...]
    """Of the classes, ascending; 0 is the background."""
    table: NDArray[np.int64]
    """(n, n) pixels: true class by row, found class by column."""

    def iou(self, value: int) -> float | None:
        """None where neither image has the class."""
        both, true, found = self._of(value)
        return both / (true + found - both) if true + found else None

    def dice(self, value: int) -> float | None:
        both, true, found = self._of(value)
        return 2 * both / (true + found) if true + found else None

    @property
    def pixel_accuracy(self) -> float:
        return float(np.trace(self.table) / self.table.sum())

    def _of(self, value: int) -> tuple[int, int, int]:
        at = self.values.index(value)
        table = self.table
        return int(table[at, at]), int(table[at].sum()), int(table[:, at].sum())


def class_values(pairs: Iterable[LabelPair]) -> tuple[int, ...]:
    """All classes that occur, 0 always among them; (0, 1) where there is one besides it.

    Masks of one class are written as 0 and 255 by some programs and as 0 and 1 by others.
    """
    found: set[int] = set()
    own: list[set[int]] = [set(), set()]
    for pair in pairs:
        for planes in pair.planes():
            for side, plane in zip(own, planes, strict=True):
                side.update(np.unique(plane).tolist())
    found = own[0] | own[1] | {0}
    if all(len(side - {0}) <= 1 for side in own):
        return (0, 1)
    return tuple(sorted(found))


def count_classes(
    pair: LabelPair, values: Sequence[int]
) -> tuple[ClassCounts, tuple[ClassCounts, ...]]:
    """Of the whole image, and of each plane."""
    slices = tuple(_counted(*planes, values) for planes in pair.planes())
    table = np.sum([one.table for one in slices], axis=0)
    return ClassCounts(tuple(values), table), slices


def _counted(prediction: Numbers, target: Numbers, values: Sequence[int]) -> ClassCounts:
    size = len(values)
    true, found = index_of(target, values), index_of(prediction, values)
    table = np.bincount((true * size + found).ravel(), minlength=size * size)
    return ClassCounts(tuple(values), table.reshape(size, size).astype(np.int64))


def index_of(plane: Numbers, values: Sequence[int]) -> Numbers:
    """From a class's value to its place in `values`; with two classes all but 0 is the second."""
    if tuple(values) == (0, 1):
        return (plane > 0).astype(np.int64)
    return np.searchsorted(np.asarray(values), plane)
