"""The probability above which a pixel is called object. Knows no framework."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

THRESHOLDS = np.linspace(0.05, 0.95, 91)
DEFAULT_THRESHOLD = 0.5


def best_threshold(answers: Iterable[tuple[Float, Float]]) -> float:
    """Where object and truth overlap best (intersection over union of all frames together).

    Of equally good ones the middle, so that a sure network gets a threshold far from both ends.
    """
    both = np.zeros(len(THRESHOLDS))
    either = np.zeros(len(THRESHOLDS))
    for probability, truth in answers:
        objects = truth > 0
        # Counted once per pixel: how many thresholds it passes.
        passed = np.searchsorted(THRESHOLDS, probability, side="left")
        inside = _passing(passed[objects])
        outside = _passing(passed[~objects])
        both += inside
        either += objects.sum() + outside
    if not either.any() or not both.any():
        return DEFAULT_THRESHOLD
    overlap = both / np.maximum(either, 1)
    good = np.flatnonzero(overlap >= overlap.max() - 1e-9)
    return round(float(THRESHOLDS[good[len(good) // 2]]), 2)


def _passing(passed: NDArray[Any]) -> NDArray[Any]:
    """For each threshold, how many pixels are above it."""
    counts = np.bincount(passed, minlength=len(THRESHOLDS) + 1)
    return counts[::-1].cumsum()[::-1][1:]
