"""Masked patches: what a Noise2Void network learns from, cut and hidden on the fly.

The coordinates of hidden pixels and what replaces them are the n2v package's;
patches are cut from the images as they are stored, so that memory holds the
images once and one batch. Epoch k of a seed always gives the same batches.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from n2v.internals.N2V_DataWrapper import N2V_DataWrapper
from n2v.utils import n2v_utils
from numpy.typing import NDArray

from micserve.normalize import Affine
from training.common.images import Plane
from training.n2v.config import N2VConfig

Float = NDArray[np.float32]
Batch = tuple[Float, Float]
"""Input (B, (Z,) Y, X, 1) with hidden pixels; target (…, 2): grey value and mask."""

VALIDATION_PATCHES = 128
"""At most; enough that the validation loss is steadier than its change from epoch to epoch."""

FORMS = 8
"""Quarter turns and their mirror images."""

FEWEST_HIDDEN = 1


def patch_count(planes: Sequence[Plane], *, size: tuple[int, ...], augmented: bool) -> int:
    """Patches side by side in all planes, as the notebook counts them."""
    count = sum(
        math.prod(n // s for n, s in zip(plane.size, size, strict=True)) for plane in planes
    )
    return count * (FORMS if augmented else 1)


class PatchSource:
    """Patches of some planes, normalised."""

    def __init__(
        self, planes: Sequence[Plane], config: N2VConfig, *, size: tuple[int, ...], affine: Affine
    ) -> None:
        self._planes, self._config = planes, config
        self._size, self._affine = size, affine
        areas = np.array([np.prod(plane.size) for plane in planes], dtype=np.float64)
        self._share = areas / areas.sum()
        self._manipulate = getattr(n2v_utils, f"pm_{config.n2v_manipulator}")(
            config.n2v_neighborhood_radius
        )
        self._box = _box(config.n2v_perc_pix, size)

    def batches(self, epoch: int, *, count: int) -> Iterator[Batch]:
        """`count` masked batches of an epoch."""
        random = self._random(epoch)
        # The package draws from NumPy's global generator.
        np.random.seed(random.integers(2**32, dtype=np.uint64).astype(np.uint32))
        for _ in range(count):
            yield self.hide(self.cut(random, self._config.batch_size))

    def cut(self, random: np.random.Generator, count: int) -> Float:
        """(B, (Z,) Y, X, 1) random patches, augmented, nothing hidden."""
        return np.stack([self._one(random) for _ in range(count)])

    def grid(self, seed: int, *, most: int) -> Float:
        """(B, (Z,) Y, X, 1) patches side by side, in an order of the seed, at most `most`."""
        places = [
            (number, corner)
            for number, plane in enumerate(self._planes)
            for corner in product(
                *(range(0, n - s + 1, s) for n, s in zip(plane.size, self._size, strict=True))
            )
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
        ndim, shape = len(self._size), patches.shape[1:-1]
        floats = getattr(N2V_DataWrapper, f"__rand_float_coords{ndim}D__")(self._box)
        choose = getattr(N2V_DataWrapper, f"__get_stratified_coords{ndim}D__")
        for patch, wanted in zip(patches, target, strict=True):
            places: tuple[list[int], ...] = ([],) * ndim
            while len(places[0]) < FEWEST_HIDDEN:
                places = choose(floats, self._box, shape)
            values = self._manipulate(patch[..., 0], places, ndim)
            wanted[(*places, 0)] = patch[(*places, 0)]
            wanted[(*places, 1)] = 1
            patch[(*places, 0)] = values
        return patches, target

    def _random(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, epoch])

    def _one(self, random: np.random.Generator) -> Float:
        number = int(random.choice(len(self._planes), p=self._share))
        free = (n - s + 1 for n, s in zip(self._planes[number].size, self._size, strict=True))
        patch = self._at(number, tuple(int(random.integers(n)) for n in free))
        return augmented(patch, int(random.integers(FORMS))) if self._augments else patch

    @property
    def _augments(self) -> bool:
        return self._config.use_data_augmentation

    def _at(self, number: int, corner: tuple[int, ...]) -> Float:
        window = tuple(slice(start, start + s) for start, s in zip(corner, self._size, strict=True))
        grey = self._planes[number].pixels[(slice(None), *window)]
        return np.moveaxis(self._affine.apply(grey), 0, -1)


def augmented(patch: Float, form: int) -> Float:
    """One of eight forms of a (…, Y, X, 1) patch, turned in its plane; form 0 is the patch."""
    turned = np.rot90(patch, form % 4, axes=(-3, -2))
    return turned[..., ::-1, :, :] if form >= 4 else turned


def _box(percent: float, size: tuple[int, ...]) -> int:
    """Side of the box in which one pixel is hidden: at most as large as the patch is deep.

    The package takes the square root in 3D too, and so hides a hundredth of the voxels that it
    is asked to hide.
    """
    side = round((100 / percent) ** (1 / len(size)))
    return max(min(side, *size), 1)
