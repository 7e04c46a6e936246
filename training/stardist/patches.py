"""Patches of images with what StarDist is to answer: drawn as stardist's own data classes draw.

Most patches show part of an object. Images are normalised by their own percentiles, as
for a prediction; turned, flipped and changed in brightness as the notebooks do. Patches
are cut when they are needed, and epoch k of a seed always gives the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.normalize import Affine, ScaleRange, fit
from training.common.pairs import Pair
from training.stardist.config import StarDistConfig
from training.stardist.geometry import Geometry, Labels, labels_of

Float = NDArray[np.float32]
Batch = tuple[Float, Float]
"""Source (B, (Z,) Y, X, C), normalised; target (B, (Z,) Y, X, n_rays + 1) on the grid."""

NORMALIZATION = ScaleRange()
"""Percentiles 1 and 99.8 of each image, as in stardist's examples."""

TRIES = 32
"""After which a patch without an object is taken: the image may have few."""

VALIDATION_PATCHES = 64
VALIDATION_VALUES = 1 << 26
"""At most, of all targets together: 256 MiB."""

FORMS = 8
"""Quarter turns and their mirror images."""

GAIN, OFFSET, NOISE = (0.6, 2.0), (-0.2, 0.2), 0.02
"""Of the notebooks' augmentation, in normalised units: brightness is multiplied and shifted by
numbers from these intervals, and noise of up to this standard deviation is added."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One frame: (C, (Z,) Y, X) grey values as stored, and its labels."""

    pixels: NDArray[Any]
    labels: Labels
    affine: Affine

    @classmethod
    def of(cls, pair: Pair) -> "Labelled":
        return cls(pair.pixels, labels_of(pair.target[0]), fit(pair.pixels, NORMALIZATION))


class PatchSource:
    """Patches of some labelled frames."""

    def __init__(
        self,
        frames: Sequence[Labelled],
        config: StarDistConfig,
        geometry: Geometry,
        *,
        size: tuple[int, ...],
    ) -> None:
        self._frames, self._config, self._geometry = frames, config, geometry
        self._size = size

    def batches(self, epoch: int, *, count: int) -> Iterator[Batch]:
        """`count` batches of an epoch."""
        random = np.random.default_rng([self._config.seed, epoch])
        for _ in range(count):
            drawn = [self._one(random) for _ in range(self._config.batch_size)]
            yield self._batch(drawn)

    def fixed(self, seed: int) -> Batch:
        """Patches side by side, in an order of the seed, as they are."""
        places = [
            (number, corner)
            for number, frame in enumerate(self._frames)
            for corner in product(
                *(
                    range(0, n - s + 1, s)
                    for n, s in zip(frame.labels.shape, self._size, strict=True)
                )
            )
        ]
        most = min(VALIDATION_PATCHES, max(VALIDATION_VALUES // self._values, 1))
        chosen = np.random.default_rng(seed).permutation(len(places))[:most]
        return self._batch([self._cut(*places[index]) for index in chosen])

    def shown(self, seed: int, *, most: int) -> Float:
        """(N, Y, 2X) middle planes of patches in grey values: image beside object probability."""
        random = np.random.default_rng(seed)
        rows = []
        for _ in range(most):
            number, corner = self._place(random)
            image, labels = self._cut(number, corner)
            truth = self._geometry.targets(labels)[..., -1]
            for axis, step in enumerate(self._geometry.grid):
                truth = truth.repeat(step, axis=axis)
            both = np.concatenate([_middle(image[..., 0]), _middle(truth)], axis=-1)
            rows.append(self._grey(number, both))
        return np.stack(rows)

    def augmented(self, seed: int) -> Float:
        """(N, Y, X) one patch in grey values, as it is and as the network may see it."""
        random = np.random.default_rng(seed)
        number, corner = self._place(random)
        image, labels = self._cut(number, corner)
        changed = [augment(image, labels, random)[0] for _ in range(FORMS - 1)]
        planes = [_middle(patch[..., 0]) for patch in (image, *changed)]
        return np.stack([self._grey(number, plane) for plane in planes])

    @property
    def _values(self) -> int:
        """Of one patch's target."""
        places = [n // step for n, step in zip(self._size, self._geometry.grid, strict=True)]
        return int(np.prod(places)) * (self._geometry.n_rays + 1)

    def _batch(self, drawn: Sequence[tuple[Float, Labels]]) -> Batch:
        images = np.stack([image for image, _ in drawn])
        return images, np.stack([self._geometry.targets(labels) for _, labels in drawn])

    def _one(self, random: np.random.Generator) -> tuple[Float, Labels]:
        image, labels = self._cut(*self._place(random))
        return augment(image, labels, random) if self._augments else (image, labels)

    @property
    def _augments(self) -> bool:
        return self._config.use_data_augmentation

    def _place(self, random: np.random.Generator) -> tuple[int, tuple[int, ...]]:
        number = int(random.integers(len(self._frames)))
        labels = self._frames[number].labels
        free = [n - s + 1 for n, s in zip(labels.shape, self._size, strict=True)]
        needs_object = random.random() < self._config.train_foreground_only
        for _ in range(TRIES):
            corner = tuple(int(random.integers(n)) for n in free)
            if not needs_object or labels[self._window(corner)].any():
                break
        return number, corner

    def _cut(self, number: int, corner: tuple[int, ...]) -> tuple[Float, Labels]:
        """((Z,) Y, X, C) normalised, and labels."""
        frame, window = self._frames[number], self._window(corner)
        image = frame.affine.apply(frame.pixels[(slice(None), *window)])
        return np.moveaxis(image, 0, -1), frame.labels[window]

    def _window(self, corner: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(slice(start, start + s) for start, s in zip(corner, self._size, strict=True))

    def _grey(self, number: int, plane: Float) -> Float:
        """Back to grey values, of the first colour."""
        affine = self._frames[number].affine
        grey: Float = plane * affine.divisor[0] + affine.offset[0]
        return grey


def augment(image: Float, labels: Labels, random: np.random.Generator) -> tuple[Float, Labels]:
    """Turn and flip a patch in its plane, and change its brightness and noise."""
    form = int(random.integers(FORMS))
    image = turned(image, form, axes=(-3, -2))
    labels = turned(labels, form, axes=(-2, -1))
    gain, offset = random.uniform(*GAIN), random.uniform(*OFFSET)
    noise = random.normal(0, NOISE * random.random(), image.shape)
    changed = image * np.float32(gain) + np.float32(offset) + noise.astype(np.float32)
    return np.ascontiguousarray(changed), np.ascontiguousarray(labels)


def turned(patch: NDArray[Any], form: int, *, axes: tuple[int, int]) -> NDArray[Any]:
    """One of eight forms of a patch; form 0 is the patch."""
    result = np.rot90(patch, form % 4, axes=axes)
    return np.flip(result, axis=axes[1]) if form >= FORMS // 2 else result


def _middle(patch: NDArray[Any]) -> NDArray[Any]:
    """(Y, X) of ((Z,) Y, X)."""
    return patch if patch.ndim == 2 else patch[patch.shape[0] // 2]
