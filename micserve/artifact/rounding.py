"""How far two answers of one network are apart, as a share of what the answer can be.

Knows heads by their names; nothing of packages or runtimes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PROBABILITIES = frozenset({"prob", "probability"})
"""Heads whose answer ends in a sigmoid or softmax: StarDist's and U-Net's."""


def difference(head: str, got: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest absolute difference over the expected range; infinite if not comparable.

    Of a probability the range is 0 to 1, whatever this image holds: a good network says almost
    0 everywhere where there is nothing, and its rounding does not become smaller with that.
    """
    if got.shape != expected.shape:
        return float("inf")
    span = float(np.ptp(expected)) or float(np.abs(expected).max()) or 1.0
    if head in PROBABILITIES:
        span = max(span, 1.0)
    worst = float(np.abs(got.astype(np.float64) - expected).max()) / span
    return worst if np.isfinite(worst) else float("inf")
