"""Patches of pairs, cut and augmented on the fly; epoch k of a seed always gives the same.

Everything is cut from the frames as they are stored and normalised with the map
of the whole frame, so patches have as many grey levels as the images. Quarter
turns, flips and warps happen in the plane; depth is only turned over.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.torch_loop.task import Example, Float

Batch = tuple[Float, Float]
"""(B, C, (Z,) Y, X) in network units and (B, 1, (Z,) Y, X) targets."""

Accepts = Callable[[Float], bool]
"""Whether a patch with this target teaches enough to be used."""

FORMS = 8
"""Quarter turns and their mirror images."""

TRIES = 10
"""Places that are looked at for a patch that teaches something."""


@dataclass(frozen=True, slots=True)
class Warp:
    """How far patches are warped at most; each patch draws its own. Border pixels are mirrored."""

    rotation_deg: float = 0.0
    zoom: float = 0.0
    """A share of the patch: 0.1 shows 90 to 110 % of it."""
    shear_deg: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    """Shares of the patch."""

    @property
    def moves(self) -> bool:
        return any((self.rotation_deg, self.zoom, self.shear_deg, self.shift_x, self.shift_y))


class Patches:
    """Random patches of some frames, and the same ones side by side for validation."""

    def __init__(self, examples: Sequence[Example], size: tuple[int, ...]) -> None:
        self._examples, self._size = examples, size
        volumes = np.array([math.prod(example.size) for example in examples], np.float64)
        self._share = volumes / volumes.sum()

    def __len__(self) -> int:
        """Patches side by side in all frames."""
        return sum(
            math.prod(n // side for n, side in zip(example.size, self._size, strict=True))
            for example in self._examples
        )

    def cut(self, random: np.random.Generator, count: int, *, accepts: Accepts) -> Batch:
        """`count` patches from anywhere."""
        pairs = [self._anywhere(random, accepts) for _ in range(count)]
        return np.stack([pixels for pixels, _ in pairs]), np.stack([t for _, t in pairs])

    def grid(self, seed: int, *, most: int) -> Batch:
        """At most `most` patches side by side, in an order of the seed."""
        places = [
            (number, corner)
            for number, example in enumerate(self._examples)
            for corner in product(
                *(range(0, n - s + 1, s) for n, s in zip(example.size, self._size, strict=True))
            )
        ]
        order = np.random.default_rng(seed).permutation(len(places))[:most]
        pairs = [self._at(*places[index]) for index in order]
        return np.stack([pixels for pixels, _ in pairs]), np.stack([t for _, t in pairs])

    def _anywhere(self, random: np.random.Generator, accepts: Accepts) -> Batch:
        for _ in range(TRIES):
            number = int(random.choice(len(self._examples), p=self._share))
            size = self._examples[number].size
            corner = tuple(
                int(random.integers(n - side + 1)) for n, side in zip(size, self._size, strict=True)
            )
            pair = self._at(number, corner)
            if accepts(pair[1]):
                break
        return pair

    def _at(self, number: int, corner: tuple[int, ...]) -> Batch:
        example = self._examples[number]
        window = tuple(slice(c, c + s) for c, s in zip(corner, self._size, strict=True))
        everywhere = (slice(None), *window)
        return example.normalized.apply(example.pixels[everywhere]), example.answer(
            example.target[everywhere]
        )


def turned(batch: NDArray[np.float32], form: int) -> NDArray[np.float32]:
    """One of eight forms, in the plane, of (…, Y, X); form 0 is what was given."""
    flat = np.rot90(batch, form % 4, axes=(-2, -1))
    return flat[..., ::-1, :] if form >= 4 else flat


def turned_at_random(batch: Batch, random: np.random.Generator) -> Batch:
    """Each pair in a form of its own; stacks are also turned over."""
    pixels, targets = batch
    square = pixels.shape[-1] == pixels.shape[-2]
    shown = []
    for pair in zip(pixels, targets, strict=True):
        form = int(random.integers(FORMS))
        if not square:
            # A quarter turn of an oblong patch has another shape than its batch.
            form -= form % 2
        over = pixels.ndim == 5 and random.random() < 0.5
        shown.append([turned(part[:, ::-1] if over else part, form) for part in pair])
    return np.stack([p for p, _ in shown]), np.stack([t for _, t in shown])


def warped_at_random(
    batch: Batch, warp: Warp, random: np.random.Generator, *, smooth_targets: bool
) -> Batch:
    """Each pair rotated, zoomed, sheared and shifted in the plane."""
    pixels, targets = batch
    maps = np.stack([_inverse_map(warp, random) for _ in pixels])
    return (
        _warp(pixels, maps, "bilinear"),
        _warp(targets, maps, "bilinear" if smooth_targets else "nearest"),
    )


def _inverse_map(warp: Warp, random: np.random.Generator) -> NDArray[np.float32]:
    """(2, 3): from a place in the warped patch to the place it shows, both from -1 to 1."""
    turn, shear = (
        math.radians(random.uniform(-most, most)) for most in (warp.rotation_deg, warp.shear_deg)
    )
    zoom = random.uniform(1 - warp.zoom, 1 + warp.zoom)
    # Half of a patch is 1 in these units.
    shift = [2 * random.uniform(-most, most) for most in (warp.shift_x, warp.shift_y)]
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    sheared = np.array([[1.0, math.tan(shear)], [0.0, 1.0]])
    return np.column_stack([zoom * rotation @ sheared, shift]).astype(np.float32)


def _warp(stack: Float, maps: NDArray[np.float32], mode: str) -> Float:
    """All planes of (B, C, (Z,) Y, X) the same way: Z is walked as if it were channels."""
    height, width = stack.shape[-2:]
    planes: Tensor = torch.from_numpy(stack.reshape(len(stack), -1, height, width))
    grid = functional.affine_grid(torch.from_numpy(maps), list(planes.shape), align_corners=False)
    moved = functional.grid_sample(
        planes, grid, mode=mode, padding_mode="reflection", align_corners=False
    )
    return np.asarray(moved.numpy().reshape(stack.shape))


def batches(
    patches: Patches,
    *,
    seed: int,
    epoch: int,
    count: int,
    size: int,
    accepts: Accepts,
    turn: bool,
    warp: Warp,
    smooth_targets: bool,
) -> Iterator[Batch]:
    """`count` batches of an epoch, augmented."""
    random = np.random.default_rng([seed, epoch])
    for _ in range(count):
        batch = patches.cut(random, size, accepts=accepts)
        if turn:
            batch = turned_at_random(batch, random)
        if warp.moves:
            batch = warped_at_random(batch, warp, random, smooth_targets=smooth_targets)
        yield batch
