"""Small patches of large images: spread evenly, the same ones every time, the liveliest kept.

An image is mostly background, and the background of any two images is alike; so twice
as many patches are looked at as are measured, and those with the least contrast left
out, in training images and in new ones alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 64
"""Pixels of a patch along Y and X; smaller images have smaller ones."""
LEAST_SIDE = 24
"""Less says nothing about texture."""
LOOKED_AT = 48
"""Patches of one image; half of them are measured."""

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """(N, Y, X) float32 in grey values, and where each was."""

    pixels: Float
    places: tuple[tuple[int, int, int], ...]
    """(plane, y, x) of each patch's first pixel; planes are counted through frames and slices."""


def side_of(height: int, width: int) -> int:
    """Of the patches of an image: small ones get patches of half their size, so that there are
    several."""
    return min(SIDE, height, width, max(LEAST_SIDE, min(height, width) // 2))


def sample(
    frames: Sequence[NDArray[np.generic]], *, side: int | None = None, looked_at: int = LOOKED_AT
) -> Patches | None:
    """Patches of one image.

    Parameters
    ----------
    frames
        (C, Y, X) or (C, Z, Y, X) each, of one shape; views of a memory map will do. Channels are
        averaged.
    side
        Of a patch, pixels, where the image has as many; `side_of` by default.
    looked_at
        Patches that are read.

    Returns
    -------
    Patches or None
        None where the image is too small to say anything.
    """
    height, width = frames[0].shape[-2:]
    side = side_of(height, width) if side is None else min(side, height, width)
    if side < LEAST_SIDE:
        return None
    depth = frames[0].shape[1] if frames[0].ndim == 4 else 1
    places = _places((len(frames) * depth, height - side + 1, width - side + 1), looked_at)
    pixels = np.stack([_patch(frames, depth, place, side) for place in places])
    spread = pixels.std(axis=(1, 2))
    kept = np.sort(np.argsort(spread, kind="stable")[len(places) // 2 :])
    return Patches(pixels[kept], tuple(places[index] for index in kept))


def at(frames: Sequence[NDArray[np.generic]], patches: Patches) -> Float:
    """The same places of another image of the same size."""
    side = patches.pixels.shape[-1]
    depth = frames[0].shape[1] if frames[0].ndim == 4 else 1
    return np.stack([_patch(frames, depth, place, side) for place in patches.places])


def _patch(
    frames: Sequence[NDArray[np.generic]], depth: int, place: tuple[int, int, int], side: int
) -> Float:
    plane, y, x = place
    frame = frames[plane // depth]
    where = (slice(None), *((plane % depth,) if frame.ndim == 4 else ()))
    part = frame[(*where, slice(y, y + side), slice(x, x + side))]
    return np.asarray(part.astype(np.float32).mean(axis=0))


def _places(sizes: tuple[int, int, int], count: int) -> list[tuple[int, int, int]]:
    """A sequence that fills the box evenly: the R3 sequence of Martin Roberts (2018)."""
    steps = 1 / 1.2207440846057596 ** np.arange(1, 4)
    unit = (0.5 + np.outer(np.arange(1, count + 1), steps)) % 1
    found = dict.fromkeys(tuple(int(v) for v in row) for row in (unit * sizes).astype(int))
    return [(one[0], one[1], one[2]) for one in found]
