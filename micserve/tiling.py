"""Cut an image into overlapping tiles and put the predictions back.

A network with receptive-field radius r gives the same value for a pixel in a
tile as in the whole image if the tile shows at least r pixels around it (the
halo) and starts on a multiple of the network's total stride. Both hold for
every plan made here, so tiling changes memory use, never the result.

Where the image ends, the tile ends too: what a network does at the border of
the whole image (zero padding inside its convolutions) it does at the border of
that tile. All tiles of a plan have one size, so that they can be batched.

Knows nothing of channels, grey values or networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PadSide = Literal["split", "end"]
"""Where pixels are added to reach a multiple of the stride: on both sides (csbdeep) or after."""


@dataclass(frozen=True, slots=True)
class Tile:
    """`read` is what the network sees; `write` is what this tile alone answers for.

    Both in pixels of the padded image.
    """

    read: tuple[slice, ...]
    write: tuple[slice, ...]

    @property
    def core(self) -> tuple[slice, ...]:
        """`write`, seen from the first pixel of `read`."""
        return tuple(
            slice(w.start - r.start, w.stop - r.start)
            for r, w in zip(self.read, self.write, strict=True)
        )


@dataclass(frozen=True, slots=True)
class PaddedFrame:
    """A frame that is mirrored at its borders to a multiple of the stride, without a copy.

    Parameters
    ----------
    data
        (C, Y, X) or (C, Z, Y, X), any dtype.
    before, after
        Pixels added per spatial axis.
    """

    data: NDArray[Any]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape with the added pixels."""
        sizes = zip(self.before, self.data.shape[1:], self.after, strict=True)
        return tuple(b + n + a for b, n, a in sizes)

    def read(self, window: tuple[slice, ...]) -> NDArray[Any]:
        """(C, …) pixels of a window in padded coordinates."""
        part = self.data
        for axis, (size, before, after, seen) in enumerate(
            zip(self.data.shape[1:], self.before, self.after, window, strict=True), start=1
        ):
            start, stop = seen.start - before, seen.stop - before
            if start >= 0 and stop <= size:
                part = part[(slice(None),) * axis + (slice(start, stop),)]
            else:
                mirrored = np.pad(np.arange(size), (before, after), mode="reflect")
                part = part.take(mirrored[seen], axis=axis)
        return part

    def inside(self, window: tuple[slice, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where a window lies in the unpadded frame, and which part of it does."""
        target, part = [], []
        for size, before, seen in zip(self.data.shape[1:], self.before, window, strict=True):
            start = min(max(seen.start - before, 0), size)
            stop = max(min(seen.stop - before, size), start)
            target.append(slice(start, stop))
            part.append(slice(start + before - seen.start, stop + before - seen.start))
        return tuple(target), tuple(part)


def pad_frame(data: NDArray[Any], *, multiple: Sequence[int], side: PadSide) -> PaddedFrame:
    """Mirror the borders of a (C, …) frame: each spatial size becomes a multiple of `multiple`."""
    missing = [-n % m for n, m in zip(data.shape[1:], multiple, strict=True)]
    before = tuple(n // 2 if side == "split" else 0 for n in missing)
    after = tuple(n - b for n, b in zip(missing, before, strict=True))
    return PaddedFrame(data, before, after)


def plan_tiles(
    shape: Sequence[int], *, tile: Sequence[int], halo: Sequence[int], multiple: Sequence[int]
) -> list[Tile]:
    """Tiles whose `write` parts cover the image once, each with its halo around it.

    Parameters
    ----------
    shape
        Spatial shape of the padded image; each a multiple of `multiple`.
    tile
        Largest size of `read` per axis. Raised to `2 * halo + multiple` where smaller, which
        is the least that can be right.
    halo
        Receptive-field radius per axis, a multiple of `multiple`.
    multiple
        Total stride of the network per axis.
    """
    axes = [_plan_axis(*sizes) for sizes in zip(shape, tile, halo, multiple, strict=True)]
    return [
        Tile(read=tuple(r for r, _ in spans), write=tuple(w for _, w in spans))
        for spans in product(*axes)
    ]


def choose_tile(
    shape: Sequence[int],
    *,
    halo: Sequence[int],
    multiple: Sequence[int],
    max_pixels: int,
) -> tuple[int, ...]:
    """The tile of at most `max_pixels` (or the least possible) that computes the fewest pixels.

    The longest axis is halved until the tile fits, which keeps it near a cube and so keeps
    the share of the halo small.
    """
    parts = [1] * len(shape)

    def sizes() -> tuple[int, ...]:
        return tuple(
            _tile_size(n, p, h, m) for n, p, h, m in zip(shape, parts, halo, multiple, strict=True)
        )

    while prod(sizes()) > max_pixels:
        current = sizes()
        can_shrink = [
            axis
            for axis, (size, h, m) in enumerate(zip(current, halo, multiple, strict=True))
            if size > min(2 * h + m, shape[axis])
        ]
        if not can_shrink:
            break
        parts[max(can_shrink, key=lambda axis: current[axis])] += 1
    return sizes()


def _tile_size(size: int, parts: int, halo: int, multiple: int) -> int:
    if parts == 1:
        return size
    core = max(-(-(size - 2 * halo) // parts), multiple)
    return min(-(-core // multiple) * multiple + 2 * halo, size)


def _plan_axis(size: int, tile: int, halo: int, multiple: int) -> list[tuple[slice, slice]]:
    if size % multiple or halo % multiple:
        raise ValueError(f"size {size} and halo {halo} must be multiples of {multiple}")
    tile = max(tile - tile % multiple, 2 * halo + multiple)
    if tile >= size:
        return [(slice(0, size), slice(0, size))]
    step = tile - 2 * halo
    spans: list[tuple[slice, slice]] = []
    written = 0
    while written < size:
        start = min(len(spans) * step, size - tile)
        stop = start + tile
        end = size if stop == size else stop - halo
        spans.append((slice(start, stop), slice(written, end)))
        written = end
    return spans
