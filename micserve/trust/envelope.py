"""What the training images were like, in numbers that travel in a model package.

Kept among the free facts of a contract (`training.trust`), so that a micserve
that does not know it reads the package as before, and a package without it is read
as one of which nothing is known. Fields that a later micserve adds are passed over.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from micserve.trust.residual import residual_statistics
from micserve.trust.sampling import LEAST_SIDE, at, sample, side_of
from micserve.trust.statistics import GAIN_FREE, statistics

KEY = "trust"
"""In `ModelContract.training`."""
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
FEWEST_KINDS, MOST_KINDS = 8, 100
"""Training images that are kept one by one."""
LEAST_SPAN = 0.1
MOST_IMAGES = 200
"""That are sampled, evenly spread over the training set."""

Frames = Sequence[NDArray[np.generic]]
"""(C, (Z,) Y, X) frames of one image."""


class Envelope(BaseModel):
    """Quantiles of each statistic over patches of the training images."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    side: int
    """Of a patch, pixels."""
    patches: int
    images: int
    quantiles: tuple[float, ...] = QUANTILES
    statistics: dict[str, tuple[float, ...]]
    """By name: one value per quantile; in grey values for `level` and `contrast`."""
    kinds: tuple[tuple[float, ...], ...] = ()
    """What single training images are like: the median over the patches of each, one number per
    name of `GAIN_FREE`. A training set of several kinds of images fills no box, and an image
    between them is like none of them. Empty for fewer than `FEWEST_KINDS` images."""
    apart: float = 0.0
    """How far nine tenths of the training images at most are from the most similar other one, in
    spans."""
    residual: dict[str, tuple[float, ...]] = {}
    """The same of what the network took away from held-out images; empty where its result is no
    image in the same grey values."""
    usual: float = 0.0
    """The largest distance among held-out images, which the network is judged on: as far away as
    an image of this kind may be."""

    def ends(self, name: str) -> tuple[float, float] | None:
        """Where nine tenths of the training patches lie."""
        values = self.statistics.get(name)
        return None if values is None else (values[1], values[-2])

    def unlikeness(self, values: Sequence[float]) -> tuple[float, str]:
        """Of one image (a number per name of `GAIN_FREE`) to the most similar training image, in
        units of what is usual among those; and in which statistic they differ most.

        0 where too few images were there to tell.
        """
        if len(self.kinds) < FEWEST_KINDS or self.apart <= 0:
            return 0.0, ""
        points, spans = np.asarray(self.kinds), self._spans()
        away = _away(points, np.asarray(values), spans)
        nearest = int(away.argmin())
        most = int(np.abs((points[nearest] - values) / spans).argmax())
        return float(away[nearest]) / self.apart, GAIN_FREE[most]

    def _spans(self) -> NDArray[np.float64]:
        ends = [self.statistics[name][-2] - self.statistics[name][1] for name in GAIN_FREE]
        return np.maximum(ends, LEAST_SPAN)


def envelope_of(facts: Mapping[str, Any]) -> Envelope | None:
    """From a contract's `training`; None for packages without one, or with one we cannot read."""
    try:
        return Envelope.model_validate(facts[KEY])
    except (KeyError, ValidationError):
        return None


def measure_envelope(
    images: Sequence[Frames], *, answered: Sequence[tuple[Frames, Frames]] = ()
) -> Envelope | None:
    """From the training images.

    Parameters
    ----------
    images
        Frames of each training image, in grey values.
    answered
        Held-out images with what the network made of each, both in grey values.

    Returns
    -------
    Envelope or None
        None where all images are too small to say anything.
    """
    step = max(1, -(-len(images) // MOST_IMAGES))
    shapes = [frame.shape[-2:] for frames in images[::step] for frame in frames[:1]]
    sides = [side for shape in shapes if (side := side_of(*shape)) >= LEAST_SIDE]
    if not sides:
        return None
    sampled = (sample(frames, side=min(sides)) for frames in images[::step])
    taken = [patches for patches in sampled if patches is not None]
    measured = [statistics(patches.pixels) for patches in taken]
    found = {name: np.concatenate([one[name] for one in measured]) for name in measured[0]}
    bare = Envelope(
        side=min(sides),
        patches=sum(len(patches.pixels) for patches in taken),
        images=len(taken),
        statistics={name: _quantiles(values) for name, values in found.items()},
        residual=_residual(answered, min(sides)),
    )
    return bare.model_copy(update=_kinds(bare, [kind_of(one) for one in measured]))


def kind_of(measured: Mapping[str, NDArray[np.float64]]) -> tuple[float, ...]:
    """The median over an image's patches of each statistic of `GAIN_FREE`."""
    return tuple(float(np.median(measured[name])) for name in GAIN_FREE)


def _kinds(bare: Envelope, kinds: Sequence[tuple[float, ...]]) -> dict[str, Any]:
    if len(kinds) < FEWEST_KINDS:
        return {}
    points, spans = np.asarray(kinds), bare._spans()
    nearest = [
        float(np.delete(_away(points, point, spans), index).min())
        for index, point in enumerate(points)
    ]
    kept = points[:: -(-len(points) // MOST_KINDS)]
    short = tuple(tuple(float(f"{value:.4g}") for value in point) for point in kept)
    return {"kinds": short, "apart": float(np.quantile(nearest, 0.9))}


def _away(
    points: NDArray[np.float64], point: NDArray[np.float64], spans: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) root mean square over the statistics, in spans."""
    return np.asarray(np.sqrt((((points - point) / spans) ** 2).mean(axis=1)))


def _residual(answered: Sequence[tuple[Frames, Frames]], side: int) -> dict[str, tuple[float, ...]]:
    found = []
    for frames, results in answered:
        patches = sample(frames, side=side)
        if patches is not None:
            found.append(residual_statistics(patches.pixels, at(results, patches)))
    if not found:
        return {}
    return {name: _quantiles(np.concatenate([one[name] for one in found])) for name in found[0]}


def _quantiles(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in np.quantile(values, QUANTILES))
