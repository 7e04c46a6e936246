"""Masked patches: what a Noise2Void network learns from, cut and hidden on the fly.

The coordinates of hidden pixels and what replaces them are the n2v package's;
patches are cut from the images as they are stored, so that memory holds the
images once and one batch. Epoch k of a seed always gives the same batches.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from n2v.internals.N2V_DataWrapper import N2V_DataWrapper
from n2v.utils import n2v_utils
from numpy.typing import NDArray

from micserve.normalize import Affine
from training.common.images import Plane
from training.n2v.config import N2VConfig

Float = NDArray[np.float32]
Batch = tuple[Float, Float]
"""Input (B, Y, X, 1) with hidden pixels; target (B, Y, X, 2): grey value and mask."""

VALIDATION_PATCHES = 128
"""At most; enough that the validation loss is steadier than its change from epoch to epoch."""

FORMS = 8
"""Quarter turns and their mirror images."""

FEWEST_HIDDEN = 1


def patch_count(planes: Sequence[Plane], *, side: int, augmented: bool) -> int:
    """Patches side by side in all planes, as the notebook counts them."""
    count = sum((plane.size[0] // side) * (plane.size[1] // side) for plane in planes)
    return count * (FORMS if augmented else 1)


class PatchSource:
    """Patches of some planes, normalised."""

    def __init__(
        self, planes: Sequence[Plane], config: N2VConfig, *, side: int, affine: Affine
    ) -> None:
        self._planes, self._config = planes, config
        self._side, self._affine = side, affine
        areas = np.array([np.prod(plane.size) for plane in planes], dtype=np.float64)
        self._share = areas / areas.sum()
        self._manipulate = getattr(n2v_utils, f"pm_{config.n2v_manipulator}")(
            config.n2v_neighborhood_radius
        )
        # The package hides one pixel per box; a box larger than the patch would hide none.
        self._box = min(round(np.sqrt(100 / config.n2v_perc_pix)), side)

    def batches(self, epoch: int, *, count: int) -> Iterator[Batch]:
        """`count` masked batches of an epoch."""
        random = self._random(epoch)
        # The package draws from NumPy's global generator.
        np.random.seed(random.integers(2**32, dtype=np.uint64).astype(np.uint32))
        for _ in range(count):
            yield self.hide(self.cut(random, self._config.batch_size))

    def cut(self, random: np.random.Generator, count: int) -> Float:
        """(B, Y, X, 1) random patches, augmented, nothing hidden."""
        return np.stack([self._one(random) for _ in range(count)])

    def grid(self, seed: int, *, most: int) -> Float:
        """(B, Y, X, 1) patches side by side, in an order of the seed, at most `most`."""
        side = self._side
        places = [
            (number, top, left)
            for number, plane in enumerate(self._planes)
            for top in range(0, plane.size[0] - side + 1, side)
            for left in range(0, plane.size[1] - side + 1, side)
        ]
        chosen = np.random.default_rng(seed).permutation(len(places))[:most]
        return np.stack([self._at(*places[index]) for index in chosen])

    def hidden_grid(self, seed: int, *, most: int) -> Batch:
        """The patches of `grid`, masked the same way every time."""
        np.random.seed(seed)
        return self.hide(self.grid(seed, most=most))

    def hide(self, patches: Float) -> Batch:
        """Replace some pixels of each patch, in place, and keep their values as the target."""
        target = np.zeros((*patches.shape[:-1], 2), np.float32)
        floats = N2V_DataWrapper.__rand_float_coords2D__(self._box)
        shape = patches.shape[1:3]
        for patch, wanted in zip(patches, target, strict=True):
            rows: tuple[list[int], list[int]] = ([], [])
            while len(rows[0]) < FEWEST_HIDDEN:
                rows = N2V_DataWrapper.__get_stratified_coords2D__(floats, self._box, shape)
            values = self._manipulate(patch[..., 0], rows, 2)
            wanted[(*rows, 0)] = patch[(*rows, 0)]
            wanted[(*rows, 1)] = 1
            patch[(*rows, 0)] = values
        return patches, target

    def _random(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, epoch])

    def _one(self, random: np.random.Generator) -> Float:
        number = int(random.choice(len(self._planes), p=self._share))
        height, width = self._planes[number].size
        top = int(random.integers(height - self._side + 1))
        left = int(random.integers(width - self._side + 1))
        patch = self._at(number, top, left)
        return augmented(patch, int(random.integers(FORMS))) if self._augments else patch

    @property
    def _augments(self) -> bool:
        return self._config.use_data_augmentation

    def _at(self, number: int, top: int, left: int) -> Float:
        window = (slice(top, top + self._side), slice(left, left + self._side))
        return np.moveaxis(
            self._affine.apply(self._planes[number].pixels[(slice(None), *window)]), 0, -1
        )


def augmented(patch: Float, form: int) -> Float:
    """One of eight forms of a (Y, X, 1) patch; form 0 is the patch itself."""
    turned = np.rot90(patch, form % 4)
    return turned[::-1] if form >= 4 else turned
