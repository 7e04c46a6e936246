"""Which found object is which true one, and what follows: precision, recall, AP, panoptic quality.

Equal to `stardist.matching.matching` [1]_ for every pair of images in which there
is an object, on a sparse table of overlaps. Objects match one to one, from an IoU
on; where several pairs compete, as many as possible match, and of these the best.

References
----------
.. [1] https://github.com/stardist/stardist, `stardist/matching.py`.
.. [2] Panoptic quality: Kirillov et al. 2019, doi:10.1109/CVPR.2019.00963.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from micserve.qc.segmentation.overlap import Ints, Overlap

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Of the IoU, as in the tables of the StarDist papers."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Counts and what is made of them, at one IoU. Names as in `stardist.matching`."""

    threshold: float
    tp: int
    """True positives: matched pairs."""
    fp: int
    fn: int
    score: float
    """Sum of the matched pairs' IoU."""

    @property
    def n_true(self) -> int:
        return self.tp + self.fn

    @property
    def n_found(self) -> int:
        return self.tp + self.fp

    @property
    def precision(self) -> float:
        return self.tp / self.n_found if self.tp else 0.0

    @property
    def recall(self) -> float:
        return self.tp / self.n_true if self.tp else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp else 0.0

    @property
    def accuracy(self) -> float:
        """TP / (TP + FP + FN), which the StarDist papers call average precision (AP)."""
        return self.tp / (self.tp + self.fp + self.fn) if self.tp else 0.0

    @property
    def mean_matched_score(self) -> float:
        """Mean IoU of the matched pairs."""
        return self.score / self.tp if self.tp else 0.0

    @property
    def mean_true_score(self) -> float:
        """The same per true object, matched or not."""
        return self.score / self.n_true if self.n_true else 0.0

    @property
    def panoptic_quality(self) -> float:
        return self.score / (self.tp + self.fp / 2 + self.fn / 2) if self.tp else 0.0


def match(overlap: Overlap, threshold: float) -> Matching:
    """How many objects are found at one IoU."""
    pairs = matched_pairs(overlap, threshold)
    tp = len(pairs)
    return Matching(
        threshold=threshold,
        tp=tp,
        fp=len(overlap.found_labels) - tp,
        fn=len(overlap.true_labels) - tp,
        score=float(overlap.iou[pairs].sum()),
    )


def matched_pairs(overlap: Overlap, threshold: float) -> Ints:
    """Indices of the pairs of `overlap` that match."""
    good = np.flatnonzero(overlap.iou >= threshold)
    compete = _compete(overlap, good)
    if not compete.any():
        return good
    # Only where several pairs compete (two halves of one object, at exactly 0.5, or any IoU
    # below) is there something to choose: there among all that touch, as stardist does.
    groups = _groups(overlap)
    disputed = np.unique(groups[good[compete]])
    fewer = max(min(len(overlap.true_labels), len(overlap.found_labels)), 1)
    chosen = [
        _assigned(overlap, np.flatnonzero(groups == group), threshold, fewer) for group in disputed
    ]
    return np.sort(np.concatenate([good[~np.isin(groups[good], disputed)], *chosen]))


def _compete(overlap: Overlap, pairs: Ints) -> NDArray[np.bool_]:
    """Which of these pairs have an object that another of them has too."""
    true = np.bincount(overlap.true[pairs], minlength=len(overlap.true_labels))
    found = np.bincount(overlap.found[pairs], minlength=len(overlap.found_labels))
    return (true[overlap.true[pairs]] > 1) | (found[overlap.found[pairs]] > 1)


def _groups(overlap: Overlap) -> Ints:
    """(k,) for each pair, in which group of objects that touch one another it is."""
    count = len(overlap.true_labels) + len(overlap.found_labels)
    ends = (overlap.true, overlap.found + len(overlap.true_labels))
    graph = coo_array((np.ones(len(overlap.true)), ends), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    return np.asarray(group[overlap.true], np.int64)


def _assigned(overlap: Overlap, pairs: Ints, threshold: float, fewer: int) -> Ints:
    """Of one group: as many pairs from the threshold on as possible, then the highest IoU."""
    true, rows = np.unique(overlap.true[pairs], return_inverse=True)
    found, columns = np.unique(overlap.found[pairs], return_inverse=True)
    iou = overlap.iou[pairs]
    cost = np.zeros((len(true), len(found)))
    cost[rows, columns] = -(iou >= threshold).astype(float) - iou / (2 * fewer)
    index = np.full(cost.shape, -1)
    index[rows, columns] = pairs
    taken = index[linear_sum_assignment(cost)]
    taken = taken[taken >= 0]
    return np.asarray(taken[overlap.iou[taken] >= threshold], np.int64)
