"""Split the candidates of an image into batches that cannot touch one another.

Suppression compares candidates that overlap, and nothing else; so batches of
whole clusters give what one run over all gives. What it saves: the compiled
code builds half a kilobyte per candidate, and holds Python's lock while it
works on a batch, so a service can answer its probes in between.

Knows boxes; nothing of rays or scores.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

CELL = 4
"""Pixels: clusters with a gap of this size between their boxes are seen as two."""

MAX_CELLS = 1 << 24
"""Where boxes reach far, cells are larger."""

BATCH = 1 << 15
"""Candidates at a time, about half a second of suppression."""


def batches(low: NDArray[np.float32], high: NDArray[np.float32]) -> Iterator[NDArray[np.intp]]:
    """Indices of the boxes of one batch after the other, ascending.

    Parameters
    ----------
    low, high
        (n, 2) y, x of each box's corners, in pixels.
    """
    cluster = _clusters(low, high)
    upto = np.cumsum(np.bincount(cluster))
    batch = (upto[cluster] - 1) // BATCH
    order = np.argsort(batch, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(batch[order])) + 1):
        if rows.size:
            yield rows


def _clusters(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.intp]:
    """A number per box; boxes that touch, directly or through others, have the same."""
    origin = low.min(axis=0)
    cell = max(CELL, float(np.sqrt(np.prod(high.max(axis=0) - origin) / MAX_CELLS)))
    first = ((low - origin) // cell).astype(np.intp)
    last = ((high - origin) // cell).astype(np.intp) + 1
    shape = last.max(axis=0) + 1
    covered = np.zeros(shape, np.int32)
    # Corners of boxes, summed up twice, are the number of boxes over each cell.
    for y, x, sign in ((first, first, 1), (last, last, 1), (first, last, -1), (last, first, -1)):
        corner = np.ravel_multi_index((y[:, 0], x[:, 1]), tuple(shape))
        count = np.bincount(corner, minlength=covered.size).reshape(shape)
        covered += sign * count.astype(np.int32)
    covered.cumsum(axis=0, out=covered).cumsum(axis=1, out=covered)
    numbers: NDArray[np.int32] = label(covered > 0)[0]
    cluster: NDArray[np.intp] = numbers[first[:, 0], first[:, 1]].astype(np.intp)
    return cluster
