"""What a colour palette means to a microscopist.

A palette whose red, green and blue all rise (or all fall) with the index is a
LUT over intensities: the indices are the grey values, and the palette is only
how they are shown. So is any palette that ImageJ wrote. Every other palette is
a drawing, and becomes RGB.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_ramp(palette: NDArray[np.uint8]) -> bool:
    """Whether each colour of a (3, N) palette only rises, or only falls, from end to end."""
    steps = np.diff(palette.astype(np.int16), axis=1)
    changes = bool(steps.any(axis=0).all()) or bool((palette[:, 0] != palette[:, -1]).any())
    return changes and bool((steps >= 0).all() or (steps <= 0).all())


def as_lut(palette: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """A palette as the LUT of a one-channel image; empty for plain grey.

    A shorter palette is no LUT for ImageJ; of it is kept only whether it is inverted.
    """
    grey = np.tile(np.arange(256, dtype=np.uint8), (3, 1))
    if palette.shape != grey.shape:
        falls = palette[:, 0].sum(dtype=int) > palette[:, -1].sum(dtype=int)
        return (grey[:, ::-1],) if falls else ()
    return () if (palette == grey).all() else (palette,)


def paint(indices: NDArray[Any], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(…, Y, X) indices as (…, Y, X, 3) colours; an index beyond the palette is its last colour."""
    painted: NDArray[np.uint8] = palette.T[np.minimum(indices, palette.shape[1] - 1)]
    return painted
