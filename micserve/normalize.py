"""The one home of intensity normalisation: a rule, fitted once to a whole image.

A rule says how grey values become what a network was trained on. `fit` turns
it into an affine map for one image; tiles are cut afterwards and only ever see
that map. Rules carry the names of the bioimage.io operations, so that a model
package describes the same arithmetic to other tools.

Knows nothing of axes beyond "channels first", of files or of tiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from micserve.errors import InputError

Float = NDArray[np.float32]

CHUNK_PIXELS = 1 << 24
"""Pixels that are converted to floating point at a time while statistics are taken."""


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FixedZeroMeanUnitVariance(_Rule):
    """(x - mean) / std with the training data's own mean and std, one per channel [N2V]."""

    id: Literal["fixed_zero_mean_unit_variance"] = "fixed_zero_mean_unit_variance"
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


class ScaleRange(_Rule):
    """Percentiles to 0 and 1, measured per image and channel [CARE, StarDist, U-Net]."""

    id: Literal["scale_range"] = "scale_range"
    min_percentile: Annotated[float, Field(ge=0, lt=100)] = 1.0
    max_percentile: Annotated[float, Field(gt=0, le=100)] = 99.8


class ZeroMeanUnitVariance(_Rule):
    """(x - mean) / std, measured per image and channel [fnet]."""

    id: Literal["zero_mean_unit_variance"] = "zero_mean_unit_variance"


class Identity(_Rule):
    """Grey values as they are."""

    id: Literal["identity"] = "identity"


Normalization = Annotated[
    FixedZeroMeanUnitVariance | ScaleRange | ZeroMeanUnitVariance | Identity,
    Field(discriminator="id"),
]


@dataclass(frozen=True, slots=True)
class Affine:
    """normalised = (grey - offset) / divisor; one number per channel, float32."""

    offset: Float
    divisor: Float

    def apply(self, grey: NDArray[Any]) -> Float:
        """(C, …) of any real dtype and byte order to float32, in network units."""
        values = grey.astype(np.float32)
        values -= self._per_channel(self.offset, values.ndim)
        values /= self._per_channel(self.divisor, values.ndim)
        return values

    def invert(self, values: Float) -> Float:
        """Network units back to grey values, float32."""
        ndim = values.ndim
        return values * self._per_channel(self.divisor, ndim) + self._per_channel(self.offset, ndim)

    @staticmethod
    def _per_channel(numbers: Float, ndim: int) -> Float:
        return numbers.reshape((-1,) + (1,) * (ndim - 1))


def fit(image: NDArray[Any], how: Normalization) -> Affine:
    """Choose the affine map for one whole image, before it is cut into tiles.

    Parameters
    ----------
    image
        (C, Y, X) or (C, Z, Y, X), any real dtype, in grey values.
    how
        The model's rule. Percentiles interpolate linearly, as `numpy.percentile` does.

    Returns
    -------
    Affine
        With `divisor` > 0 everywhere; a constant channel gets divisor 1.

    Raises
    ------
    InputError
        When the image holds values that are not finite, or the rule is for another
        number of channels.

    References
    ----------
    .. [N2V] Krull et al. 2019, arXiv:1811.10980.
    .. [CARE] Weigert et al. 2018, doi:10.1038/s41592-018-0216-7.
    .. [StarDist] Schmidt et al. 2018, doi:10.1007/978-3-030-00934-2_30.
    .. [fnet] Ounkomol et al. 2018, doi:10.1038/s41592-018-0111-2.
    """
    refuse_not_finite(image)
    match how:
        case FixedZeroMeanUnitVariance(mean=mean, std=std):
            pairs = list(zip(mean, std, strict=True))
        case ScaleRange(min_percentile=low, max_percentile=high):
            ranges = [percentiles(channel, (low, high)) for channel in image]
            pairs = [(lo, hi - lo) for lo, hi in ranges]
        case ZeroMeanUnitVariance():
            pairs = [_mean_and_std(channel) for channel in image]
        case Identity():
            pairs = [(0.0, 1.0)] * image.shape[0]
    if len(pairs) != image.shape[0]:
        raise InputError(
            f"the model normalises {len(pairs)} channels, but the image has {image.shape[0]}"
        )
    offset, divisor = np.array(pairs, dtype=np.float32).reshape(-1, 2).T
    return Affine(offset=offset.copy(), divisor=np.where(divisor > 0, divisor, np.float32(1)))


def percentiles(values: NDArray[Any], at: tuple[float, ...]) -> tuple[float, ...]:
    """`numpy.percentile(values, at)`, without a floating point copy of 8 and 16 bit images."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        counts = np.zeros(1 << (8 * values.dtype.itemsize), np.int64)
        for chunk in _chunks(values):
            counts += np.bincount(chunk, minlength=counts.size)
        return _percentiles_of_counts(counts, at)
    return tuple(float(p) for p in np.percentile(values, at))


def refuse_not_finite(image: NDArray[Any]) -> None:
    """Raise InputError when a floating point image holds NaN or infinite values."""
    if image.dtype.kind != "f":
        return
    bad = sum(int(chunk.size - np.isfinite(chunk).sum()) for chunk in _chunks(image))
    if bad:
        raise InputError(
            f"{bad} pixels of the image are NaN or infinite. Replace them first, in Fiji with "
            "Process › Noise › Remove NaNs…, then send the image again."
        )


def _percentiles_of_counts(counts: NDArray[np.int64], at: tuple[float, ...]) -> tuple[float, ...]:
    upto = np.cumsum(counts)
    last = int(upto[-1]) - 1
    result = []
    for percent in at:
        position = last * percent / 100.0
        below = int(position)
        low, high = (
            int(np.searchsorted(upto, rank, side="right")) for rank in (below, min(below + 1, last))
        )
        result.append(low + (high - low) * (position - below))
    return tuple(result)


def _mean_and_std(values: NDArray[Any]) -> tuple[float, float]:
    mean = sum(float(c.sum(dtype=np.float64)) for c in _chunks(values)) / values.size
    variance = sum(float(np.square(c - mean, dtype=np.float64).sum()) for c in _chunks(values))
    return mean, float(np.sqrt(variance / values.size))


def _chunks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Flat pieces in native byte order, by rows of the first axis, each about CHUNK_PIXELS."""
    if values.ndim == 1 or values.size <= CHUNK_PIXELS:
        flat = values.reshape(-1)
        for start in range(0, flat.size, CHUNK_PIXELS):
            piece = flat[start : start + CHUNK_PIXELS]
            yield piece.astype(piece.dtype.newbyteorder("="), copy=False)
        return
    for part in values:
        yield from _chunks(part)
