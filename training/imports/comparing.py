"""Whether an exported network answers as the framework's does, on an image of a fixed seed."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from micserve.backends.onnx import OnnxBackend

Float = NDArray[np.float32]

SIDE = {2: 64, 3: 16}
"""Pixels of the image, rounded up to the network's stride."""


def difference(
    onnx: Path,
    original: Callable[[Float], Mapping[str, Float]],
    *,
    ndim: int,
    channels: int,
    multiple: tuple[int, ...],
) -> float:
    """Largest difference over all heads, as a share of the head's range.

    Parameters
    ----------
    original
        (B, C, (Z,) Y, X) in network units to one array of the same layout per head.
    """
    sides = [-(-SIDE[ndim] // m) * m + m for m in multiple]
    image = np.random.default_rng(0).uniform(0, 1, (1, channels, *sides)).astype(np.float32)
    ours = OnnxBackend(onnx, provider="cpu").run(image)
    worst = 0.0
    for name, expected in original(image).items():
        span = float(np.ptp(expected)) or float(np.abs(expected).max()) or 1.0
        worst = max(worst, float(np.abs(ours[name] - expected).max()) / span)
    return worst
