"""Pairs whose noise is known: clean stacks, and the same as a dim, slightly blurred microscope.

For measuring what restorations reach where no real pair of stacks is at hand.
A seed gives the same pixels every time.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from micserve.codecs import read_image, write_tiff
from micserve.errors import TrainingDataError

Pair = tuple[Path, Path]
"""(noisy, clean)."""

BLUR = 0.7
"""Standard deviation of the blur, pixels along every axis."""

OFFSET = 95.0
"""Grey value of no light; near the darkest pixels of the StarDist demo stacks."""

PHOTONS = 0.1
"""Per grey value above the offset: nuclei of the demo stacks get 10 to 20 photons per voxel."""

READ_NOISE = 10.0
"""Standard deviation of the camera's own noise, grey values."""


def degraded(clean: NDArray[np.generic], seed: int) -> NDArray[np.uint16]:
    """(Z, Y, X) as few photons would show it: blur, Poisson noise, Gaussian read noise."""
    random = np.random.default_rng(seed)
    light = gaussian_filter(clean.astype(np.float64), BLUR) - OFFSET
    counted = random.poisson(np.clip(light, 0, None) * PHOTONS) / PHOTONS
    noisy = counted + OFFSET + random.normal(0, READ_NOISE, clean.shape)
    return np.clip(np.rint(noisy), 0, np.iinfo(np.uint16).max).astype(np.uint16)


def demo_stacks(images: Path, folder: Path) -> tuple[list[Pair], list[Pair]]:
    """StarDist's demo stacks with their degraded twins: to learn from, and to judge.

    The degraded ones are written to `folder` under the stacks' names; the seed is their number.
    """
    clean = sorted((images / "stardist_demo3d" / "train" / "images").glob("*.tif"))
    if len(clean) < 2:
        raise TrainingDataError(f"{images} has no stardist_demo3d stacks to degrade.")
    folder = folder / "degraded"
    folder.mkdir(parents=True)
    pairs = []
    for seed, path in enumerate(clean):
        image = read_image(path)
        write_tiff(image.with_data(degraded(image.data, seed)), folder / path.name)
        pairs.append((folder / path.name, path))
    judged = max(len(pairs) // 3, 1)
    return pairs[:-judged], pairs[-judged:]
