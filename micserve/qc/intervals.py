"""How sure a mean over images is.

From four images on: a 95 % bootstrap interval of the mean, images drawn with
replacement, seeded. Of two or three images a bootstrap only repeats them, and
pretends to know more; there the range from the lowest to the highest is given,
and called so. One image has neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

FEWEST = 4
"""Images from which an interval is given."""
RESAMPLES = 4000
SEED = 0
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Around a mean over images, in the measure's unit."""

    low: float
    high: float
    kind: Literal["bootstrap", "range"]
    """`bootstrap`: 95 % of the means of resampled images; `range`: lowest to highest image."""
    images: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def interval(values: Sequence[float | None]) -> Interval | None:
    """Of the mean of one value per image.

    Parameters
    ----------
    values
        One per image; images without the measure (None) and infinite ones are left out.

    Returns
    -------
    Interval or None
        None for fewer than two values.

    References
    ----------
    .. [1] Efron and Tibshirani 1993, An Introduction to the Bootstrap (percentile interval).
    """
    known = np.array([value for value in values if value is not None and np.isfinite(value)])
    if known.size < 2:
        return None
    if known.size < FEWEST:
        return Interval(float(known.min()), float(known.max()), "range", int(known.size))
    random = np.random.default_rng(SEED)
    drawn = random.integers(0, known.size, (RESAMPLES, known.size))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(known[drawn].mean(axis=1), [tail, 100 - tail])
    return Interval(float(low), float(high), "bootstrap", int(known.size))


def differences(
    one: Sequence[float | None], other: Sequence[float | None]
) -> tuple[float | None, ...]:
    """Image by image, one − other: what a paired interval is made of."""
    return tuple(
        None if a is None or b is None else (0.0 if a == b else a - b)
        for a, b in zip(one, other, strict=True)
    )


def in_words(found: Interval | None) -> str:
    """What kind of interval a report shows."""
    if found is None:
        return ""
    if found.kind == "range":
        return f"lowest to highest of {found.images} images"
    return f"95 % interval, bootstrap over {found.images} images"
