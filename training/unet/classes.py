"""Which classes the masks hold, and how much of each. Knows no framework."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from micserve.errors import TrainingDataError
from training.common.pairs import Pair

MOST_CLASSES = 16
"""More different values than this are numbers of objects, not classes."""

MaskType = Literal["auto", "binary", "classes"]


@dataclass(frozen=True, slots=True)
class Classes:
    """What the values in the masks mean."""

    values: tuple[int, ...]
    """Grey value of each class, the background first; of binary masks only 0 and 1 are named."""
    binary: bool
    """Everything above 0 is object."""

    @property
    def outputs(self) -> int:
        """Channels of the network: one probability of object, or one per class."""
        return 1 if self.binary else len(self.values)

    def index(self, target: NDArray[Any]) -> NDArray[np.float32]:
        """Mask values to the numbers of their classes."""
        if self.binary:
            return (target > 0).astype(np.float32)
        return np.searchsorted(np.asarray(self.values), target).astype(np.float32)


def classes_of(pairs: Sequence[Pair], wanted: MaskType) -> Classes:
    """Look at all masks.

    Raises
    ------
    TrainingDataError
        When nothing is drawn in them, or what they hold cannot be classes.
    """
    values = np.unique(np.concatenate([np.unique(pair.target) for pair in pairs]))
    if len(values) == 1:
        raise TrainingDataError(
            f"All masks hold only the value {values[0]:g}: there is nothing to tell apart. Draw "
            "the objects with another value than the background."
        )
    if wanted == "binary" or (wanted == "auto" and len(values) == 2 and values[0] == 0):
        return Classes((0, 1), binary=True)
    if len(values) > MOST_CLASSES:
        raise TrainingDataError(
            f"The masks hold {len(values)} different values, and at most {MOST_CLASSES} can be "
            "classes. If every object has a number of its own, train with --mask_type binary; if "
            "the masks were saved as JPEG or resized, draw them again."
        )
    return Classes(tuple(int(value) for value in values), binary=False)


def balanced_weights(pairs: Sequence[Pair], classes: Classes) -> tuple[float, ...]:
    """n / (classes · pixels of the class), one per class; a class that is not there counts 1."""
    counts = np.zeros(len(classes.values), np.int64)
    for pair in pairs:
        found = np.bincount(classes.index(pair.target).astype(np.intp).ravel())
        counts[: len(found)] += found
    total = counts.sum()
    return tuple(float(total / (len(counts) * count)) if count else 1.0 for count in counts)
