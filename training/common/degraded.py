"""Pairs whose noise is known: clean stacks, and the same as a dim, slightly blurred microscope.

For measuring what restorations reach where no real pair of stacks is at hand.
A seed gives the same pixels every time.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from micserve.codecs import read_image, write_tiff

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


def write_pairs(stacks: Iterable[Path], folder: Path) -> Path:
    """`folder/noisy` and `folder/clean`, under the stacks' names; the seed is their number."""
    for seed, path in enumerate(stacks):
        image = read_image(path)
        for kind, pixels in (("noisy", degraded(image.data, seed)), ("clean", image.data)):
            target = folder / kind / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_tiff(image.with_data(pixels), target)
    return folder
