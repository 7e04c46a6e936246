"""Pairs of images that the quality control tests share."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from micserve.synthetic import SpotsRecipe, create_spots


@pytest.fixture(scope="session")
def spots_5(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """(noisy, ground truth) of the slides' image of which the figures are known, 8 bit."""
    folder = shared_data / "mri_spots" / "evaluation"
    return (
        tifffile.imread(folder / "input" / "spots_5.tif"),
        tifffile.imread(folder / "gt" / "spots_5.tif"),
    )


@pytest.fixture(scope="session")
def small_pair() -> tuple[np.ndarray, np.ndarray]:
    """(noisy, clean), (96, 120) uint8, made here: no file is needed."""
    recipe = SpotsRecipe(
        width=120, height=96, bits=8, foreground=180, small_count=4, large_count=6,
        large_diameter=16.0, large_diameter_sd=3.0, background_noise=8.5, foreground_noise=8.5,
    )  # fmt: skip
    made = create_spots(recipe, seed=5)
    return made.noisy, made.clean
