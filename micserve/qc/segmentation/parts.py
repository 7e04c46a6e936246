"""What became of every object: found, missed, false, split or merged.

A found object is a *part* of a true one when more than half of it lies there and
it makes at least a tenth of the true one; a true object of which two parts or
more were found is **split** (over-segmentation). The other way round, a found
object that has two true ones as parts **merges** them (under-segmentation).
What is neither and matches at IoU 0.5 is found; the rest is missed or false.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from micserve.qc.segmentation.matching import matched_pairs
from micserve.qc.segmentation.overlap import Ints, Overlap

MATCHED = 0.5
"""IoU from which an object counts as found."""
INSIDE = 0.5
"""Share of a part that lies in the whole; above it a part belongs to one object only."""
LEAST_PART = 0.1
"""Share of the whole that a part makes; less is a crumb, or a neighbour's rim."""

Fate = Literal["found", "missed", "false", "split", "merged"]
FATES: tuple[Fate, ...] = ("found", "missed", "false", "split", "merged")


@dataclass(frozen=True, slots=True, eq=False)
class Fates:
    """Of the objects of one image, by their index in `Overlap`."""

    true_split: NDArray[np.bool_]
    """(n,)"""
    true_merged: NDArray[np.bool_]
    """(n,) part of a found object that holds another one too."""
    true_matched: NDArray[np.bool_]
    found_merges: NDArray[np.bool_]
    """(m,)"""
    found_part: NDArray[np.bool_]
    """(m,) part of a true object that is split."""
    found_matched: NDArray[np.bool_]

    @property
    def split(self) -> int:
        """True objects that were found in several parts."""
        return int(self.true_split.sum())

    @property
    def merged(self) -> int:
        """Found objects that hold several true ones."""
        return int(self.found_merges.sum())

    def of_true(self) -> NDArray[np.str_]:
        """(n,) found, split, merged or missed."""
        return np.select(
            [self.true_split, self.true_merged, self.true_matched],
            ["split", "merged", "found"],
            "missed",
        )

    def of_found(self) -> NDArray[np.str_]:
        """(m,) found, split, merged or false."""
        return np.select(
            [self.found_part, self.found_merges, self.found_matched],
            ["split", "merged", "found"],
            "false",
        )


def fates(overlap: Overlap) -> Fates:
    """What became of every object of one image."""
    true, found, shared = overlap.true, overlap.found, overlap.shared
    of_true = shared / overlap.true_sizes[true]
    of_found = shared / overlap.found_sizes[found]
    split, part = _several((of_found > INSIDE) & (of_true >= LEAST_PART), true, found, overlap)
    is_part = (of_true > INSIDE) & (of_found >= LEAST_PART)
    merged, merges = _several(is_part, found, true, overlap, whole_is_found=True)
    pairs = matched_pairs(overlap, MATCHED)
    return Fates(
        true_split=split,
        true_merged=merges,
        true_matched=_at(true[pairs], len(overlap.true_labels)),
        found_merges=merged,
        found_part=part,
        found_matched=_at(found[pairs], len(overlap.found_labels)),
    )


def _several(
    is_part: NDArray[np.bool_],
    wholes: Ints,
    parts: Ints,
    overlap: Overlap,
    *,
    whole_is_found: bool = False,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which wholes have two parts or more, and which objects are such parts."""
    sizes = len(overlap.true_labels), len(overlap.found_labels)
    whole_count, part_count = sizes[::-1] if whole_is_found else sizes
    several = np.bincount(wholes[is_part], minlength=whole_count) > 1
    return several, _at(parts[is_part & several[wholes]], part_count)


def _at(where: Ints, count: int) -> NDArray[np.bool_]:
    marked = np.zeros(count, bool)
    marked[where] = True
    return marked
