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
from functools import reduce
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

HARDLY_MORE = 1.05
"""Computed pixels, as a factor, that a smaller tile may cost; it takes so much less memory."""

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
    """The tile of at most `max_pixels` (or the least possible) that computes the fewest pixels; or
    one down to half that size, where it computes hardly more.

    Where halos are large, this is far from a cube: a stack that is thinner than two halos is not
    cut along Z at all.
    """
    axes = [_sizes(*sizes, most=max_pixels) for sizes in zip(shape, halo, multiple, strict=True)]
    size = reduce(np.multiply.outer, [np.array([tile for tile, _ in axis]) for axis in axes])
    computed = size * reduce(
        np.multiply.outer, [np.array([count for _, count in axis]) for axis in axes]
    )
    fits = size <= max(max_pixels, int(size.min()))
    best = computed[fits].min()
    enough = (computed <= HARDLY_MORE * best) & (2 * size >= max_pixels)
    good = fits & (enough | (computed == best))
    index = np.unravel_index(np.where(good, size, size.max() + 1).argmin(), size.shape)
    return tuple(axis[int(at)][0] for axis, at in zip(axes, index, strict=True))


def _sizes(size: int, halo: int, multiple: int, *, most: int) -> list[tuple[int, int]]:
    """Along one axis: each tile that is worth considering, and how many of it there would be.

    The largest first. Of the tiles that come in the same number, only the smallest is; there
    are no more than about twice the square root of the axis' length of those.
    """
    found = {1: size}
    tile = min(2 * halo + multiple, size)
    while tile < size:
        parts = -(-(size - 2 * halo) // (tile - 2 * halo))
        found.setdefault(parts, tile)
        if parts <= 2 or tile >= most:
            break
        # The next tile that needs fewer parts.
        core = -(-(size - 2 * halo) // (parts - 1))
        tile = -(-core // multiple) * multiple + 2 * halo
    return [(tile, parts) for parts, tile in sorted(found.items())]


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
