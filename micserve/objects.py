"""What an instance segmentation found in one frame: which objects, how surely, with what outline.

Knows neither the network that found them nor the files they are written to.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_16_BIT_LABEL = 65535

CHUNK_PIXELS = 1 << 22
"""Pixels of a label image that are looked at at a time."""


@dataclass(frozen=True, slots=True)
class Position:
    """Which frame of an image, counted from 0.

    None for an axis that the frame spans or that the image does not have.
    """

    t: int | None = None
    z: int | None = None
    c: int | None = None


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one frame that can be seen in its label image, one entry each."""

    labels: NDArray[np.int32]
    """(n,) grey values in the label image, ascending."""
    scores: NDArray[np.float32]
    """(n,) how sure the network is, 0 to 1."""
    centres: NDArray[np.float64]
    """(n, 2) y, x or (n, 3) z, y, x in pixels: where the object was found. The first pixel's
    centre is 0. The centroid of its pixels is `micserve.measure`'s."""
    outlines: NDArray[np.float32] | None = None
    """(n, points, 2) y, x in pixels; None where the label image alone says the shape."""
    position: Position = field(default_factory=Position)

    def __len__(self) -> int:
        return len(self.labels)


def label_dtype(largest: int) -> np.dtype[Any]:
    """The pixel type in which ImageJ can read labels up to `largest`: it has no 32 bit integers."""
    return np.dtype(np.uint16 if largest <= LARGEST_16_BIT_LABEL else np.float32)


def chunks(labels: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Parts of a label image along its first axis, each with the index where it begins."""
    step = max(1, CHUNK_PIXELS // max(1, int(np.prod(labels.shape[1:]))))
    for start in range(0, labels.shape[0], step):
        yield start, labels[start : start + step]


def seen_labels(labels: NDArray[Any], largest: int) -> NDArray[np.int32]:
    """The labels that have at least one pixel, ascending."""
    seen = np.zeros(largest + 1, bool)
    for _, part in chunks(labels):
        seen[part[part > 0].astype(np.int32)] = True
    return np.flatnonzero(seen).astype(np.int32)
