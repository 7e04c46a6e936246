"""Pairs of patches: what CARE learns from, drawn as csbdeep's `create_patches` draws them.

Every image gives equally many; a patch is normalised by percentiles of its whole
image, drawn anew for each patch so that the network does not rely on them; dark
patches can be left out. Unlike there, patches are cut when they are needed, so
that memory holds the images once and one batch, and no two epochs are the same.
Epoch k of a seed always gives the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from micserve.normalize import percentiles
from training.care.config import CareConfig
from training.common.pairs import Pair

Float = NDArray[np.float32]
Batch = tuple[Float, Float]
"""Source and target, (B, (Z,) Y, X, 1) both, normalised."""

LOW, HIGH = np.linspace(1, 3, 9), np.linspace(99.5, 99.9, 9)
"""csbdeep draws the percentiles that become 0 and 1 from these intervals; here, of nine steps."""

PREDICTED = (2.0, 99.8)
"""Percentiles of csbdeep's `PercentileNormalizer`, which predictions are normalised by."""

DARK, BRIGHTEST = 0.4, 99.9
"""csbdeep's `no_background_patches`: the middle of a patch must somewhere be brighter than this
share of the image's 99.9th percentile."""

TRIES = 256
"""After which a dark patch is taken: the image may have nothing brighter."""

VALIDATION_PATCHES = 64
"""At most; enough that the validation loss is steadier than its change from epoch to epoch."""

FORMS = 8
"""Quarter turns and their mirror images."""


@dataclass(frozen=True, slots=True)
class _Range:
    """Grey values of one image at `LOW`, `HIGH`, `PREDICTED` and `BRIGHTEST`."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    predicted: tuple[float, float]
    brightest: float

    @classmethod
    def of(cls, image: NDArray[np.generic]) -> "_Range":
        at = (*LOW, *HIGH, *PREDICTED, BRIGHTEST)
        found = percentiles(image, tuple(float(p) for p in at))
        steps = len(LOW)
        return cls(
            np.array(found[:steps]),
            np.array(found[steps : 2 * steps]),
            (found[2 * steps], found[2 * steps + 1]),
            found[-1],
        )


class PairSource:
    """Patches of some pairs."""

    def __init__(self, pairs: Sequence[Pair], config: CareConfig, *, size: tuple[int, ...]) -> None:
        self._pairs, self._config, self._size = pairs, config, size
        self._ranges = [(_Range.of(pair.pixels[0]), _Range.of(pair.target[0])) for pair in pairs]

    def batches(self, epoch: int, *, count: int) -> Iterator[Batch]:
        """`count` batches of an epoch."""
        random = np.random.default_rng([self._config.seed, epoch])
        for _ in range(count):
            yield self.cut(random, self._config.batch_size)

    def cut(self, random: np.random.Generator, count: int) -> Batch:
        """Random patches, augmented."""
        drawn = [self._one(random) for _ in range(count)]
        sources, targets = zip(*drawn, strict=True)
        return np.stack(sources), np.stack(targets)

    def grid(self, seed: int, *, most: int) -> Batch:
        """Patches side by side, in an order of the seed, normalised as for a prediction."""
        places = [
            (number, corner)
            for number, pair in enumerate(self._pairs)
            for corner in product(
                *(range(0, n - s + 1, s) for n, s in zip(pair.size, self._size, strict=True))
            )
        ]
        chosen = np.random.default_rng(seed).permutation(len(places))[:most]
        sources, targets = zip(*(self._fixed(*places[index]) for index in chosen), strict=True)
        return np.stack(sources), np.stack(targets)

    def shown(self, seed: int, *, most: int) -> Float:
        """(N, Y, 2X) middle planes of patches in grey values: source beside target.

        Both in the source's grey values, which is what the network learns to give.
        """
        random = np.random.default_rng(seed)
        rows = []
        for _ in range(most):
            number, corner = self._place(random)
            source, target = self._fixed(number, corner)
            both = np.concatenate([_middle(source), _middle(target)], axis=-1)
            low, high = self._ranges[number][0].predicted
            rows.append(both * np.float32(high - low) + np.float32(low))
        return np.stack(rows)

    def _one(self, random: np.random.Generator) -> tuple[Float, Float]:
        number, corner = self._place(random)
        low, high = int(random.integers(len(LOW))), int(random.integers(len(HIGH)))
        form = int(random.integers(FORMS)) if self._config.use_data_augmentation else 0
        source, target = (
            augmented(_scaled(patch, found.low[low], found.high[high]), form)
            for patch, found in zip(self._at(number, corner), self._ranges[number], strict=True)
        )
        return source, target

    def _fixed(self, number: int, corner: tuple[int, ...]) -> tuple[Float, Float]:
        source, target = (
            _scaled(patch, *found.predicted)
            for patch, found in zip(self._at(number, corner), self._ranges[number], strict=True)
        )
        return source, target

    def _place(self, random: np.random.Generator) -> tuple[int, tuple[int, ...]]:
        number = int(random.integers(len(self._pairs)))
        free = [n - s + 1 for n, s in zip(self._pairs[number].size, self._size, strict=True)]
        for _ in range(TRIES):
            corner = tuple(int(random.integers(n)) for n in free)
            if not (self._config.skip_background and self._is_dark(number, corner)):
                break
        return number, corner

    def _is_dark(self, number: int, corner: tuple[int, ...]) -> bool:
        """Whether the middle half of the target has no bright pixel."""
        middle = tuple(
            slice(start + s // 2 - s // 4, start + s // 2 - s // 4 + max(s // 2, 1))
            for start, s in zip(corner, self._size, strict=True)
        )
        brightest = self._ranges[number][1].brightest
        return not bool(self._pairs[number].target[(0, *middle)].max() > DARK * brightest)

    def _at(self, number: int, corner: tuple[int, ...]) -> tuple[Float, Float]:
        """(…, 1) grey values."""
        window = tuple(slice(start, start + s) for start, s in zip(corner, self._size, strict=True))
        pair = self._pairs[number]
        return tuple(  # type: ignore[return-value]
            pixels[(0, *window)][..., None].astype(np.float32)
            for pixels in (pair.pixels, pair.target)
        )


def augmented(patch: Float, form: int) -> Float:
    """One of eight forms of a (…, Y, X, 1) patch, turned in its plane; form 0 is the patch."""
    turned = np.rot90(patch, form % 4, axes=(-3, -2))
    return turned[..., ::-1, :, :] if form >= FORMS // 2 else turned


def _scaled(patch: Float, low: float, high: float) -> Float:
    scaled: Float = (patch - np.float32(low)) / np.float32(high - low if high > low else 1.0)
    return scaled


def _middle(patch: Float) -> Float:
    """(Y, X) of ((Z,) Y, X, 1)."""
    plane = patch[..., 0]
    return plane if plane.ndim == 2 else plane[plane.shape[0] // 2]
