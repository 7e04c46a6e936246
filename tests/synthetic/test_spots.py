"""Synthetic spots: the macro's algorithm, seeded, and like the slides' images."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from micserve.errors import ParameterError
from micserve.qc import snr
from micserve.synthetic import SpotsRecipe, create_spots, spots_series

SMALL = replace(
    SpotsRecipe.slides(), width=160, height=120, small_count=6, large_count=4, large_diameter=12.0
)


def test_the_defaults_are_the_macros():
    recipe = SpotsRecipe()
    assert (recipe.width, recipe.height, recipe.bits) == (1980, 1830, 16)
    assert (recipe.background, recipe.foreground, recipe.blur_sigma) == (70, 120, 4)
    assert (recipe.small_count, recipe.small_diameter, recipe.small_diameter_sd) == (100, 10, 2)
    assert (recipe.large_count, recipe.large_diameter, recipe.large_diameter_sd) == (300, 30, 5)
    assert (recipe.background_noise, recipe.foreground_noise) == (3.34, 5.25)
    assert recipe.gradient == 1 / 200
    assert not recipe.touch_edges


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others():
    one, again, other = (create_spots(SMALL, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.noisy, again.noisy)
    np.testing.assert_array_equal(one.clean, again.clean)
    assert one.spots == again.spots
    assert (one.noisy != other.noisy).any()


def test_a_series_is_reproducible_and_its_images_differ():
    two = list(spots_series(SMALL, count=2, seed=1))
    three = list(spots_series(SMALL, count=3, seed=1))
    for short, long in zip(two, three, strict=False):
        np.testing.assert_array_equal(short.noisy, long.noisy)
    assert (three[0].clean != three[1].clean).any()


def test_the_slides_recipe_gives_images_like_the_slides():
    made = create_spots(SpotsRecipe.slides(), seed=1)
    assert made.noisy.shape == made.clean.shape == (800, 800)
    assert made.noisy.dtype == made.clean.dtype == np.uint8
    assert 18.8 < snr(made.noisy, made.clean) < 20.0
    assert made.clean.min() == 70
    assert 160 < made.clean.max() <= 188  # at most the foreground and the gradient's 8
    noise = made.noisy.astype(float) - made.clean
    assert noise.std() == pytest.approx(8.5, abs=0.1)
    assert abs(noise.mean()) < 0.05


def test_the_slides_recipe_has_the_statistics_of_the_slides_images(shared_data):
    folder = shared_data / "mri_spots" / "evaluation"
    made = create_spots(SpotsRecipe.slides(), seed=1)
    made_noise = made.noisy.astype(float) - made.clean
    for index in (3, 4, 5):
        clean = tifffile.imread(folder / "gt" / f"spots_{index}.tif")
        noise = tifffile.imread(folder / "input" / f"spots_{index}.tif").astype(float) - clean
        assert made_noise.std() == pytest.approx(noise.std(), rel=0.02)
        assert made.clean.min() == clean.min()
        assert np.median(made.clean) == pytest.approx(np.median(clean), abs=1)
        assert int(made.clean.max()) == pytest.approx(int(clean.max()), abs=8)


def test_the_gradient_is_added_to_the_clean_image_and_truncated():
    empty = replace(SMALL, small_count=0, large_count=0)
    clean = create_spots(empty, seed=0).clean
    x_plus_y = np.add.outer(np.arange(empty.height), np.arange(empty.width))
    np.testing.assert_array_equal(clean, 70 + x_plus_y // 200)


def test_noise_differs_between_background_and_foreground():
    recipe = replace(SpotsRecipe(), width=400, height=400, small_count=20, large_count=30)
    made = create_spots(replace(recipe, gradient=0.0), seed=3)
    noise = made.noisy.astype(float) - made.clean
    foreground = made.clean > recipe.background + 1
    assert noise[~foreground].std() == pytest.approx(3.34, rel=0.03)
    assert noise[foreground].std() == pytest.approx(5.25, rel=0.03)


def test_every_spot_has_its_row_with_the_macros_columns():
    made = create_spots(SMALL, seed=2)
    table = made.table()
    assert list(table[0]) == ["Class", "XC", "YC", "Diameter", "Radius", "Area"]
    assert [row["Class"] for row in table] == [0] * 6 + [1] * 4
    for population in (0, 1):
        diameters = [row["Diameter"] for row in table if row["Class"] == population]
        assert diameters == sorted(diameters)
        assert min(diameters) > 0
    first = made.spots[0]
    assert first.centre_x == first.left + first.diameter / 2
    assert first.area == pytest.approx(np.pi * first.diameter**2 / 4)


def test_labels_lie_where_the_spots_are_bright():
    one_spot = replace(SMALL, small_count=0, large_count=1, background_noise=0, foreground_noise=0)
    made = create_spots(one_spot, seed=4)
    (spot,) = made.spots
    y, x = np.nonzero(made.large_labels)
    assert y.mean() + 0.5 == pytest.approx(spot.centre_y, abs=1)  # corners are whole pixels
    assert x.mean() + 0.5 == pytest.approx(spot.centre_x, abs=1)
    assert made.clean[made.large_labels > 0].min() > made.clean[made.large_labels == 0].mean()
    np.testing.assert_array_equal(made.noisy, made.clean)
    assert made.small_labels.max() == 0


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    bits=st.sampled_from([8, 16]),
    touch_edges=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_size_gives_images_labels_and_spots_that_fit(width, height, bits, touch_edges, seed):
    recipe = replace(
        SMALL, width=width, height=height, bits=bits, touch_edges=touch_edges, foreground=250
    )
    made = create_spots(recipe, seed=seed)
    for array in (made.noisy, made.clean, made.small_labels, made.large_labels):
        assert array.shape == (height, width)
    assert made.noisy.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert set(np.unique(made.small_labels)) <= set(range(7))
    for spot in made.spots:
        assert 0 <= spot.left <= width
        assert 0 <= spot.top <= height


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bits": 12}, "8 or 16 bit"),
        ({"width": 0}, "at least 1 × 1"),
        ({"foreground_noise": -1.0}, "foreground_noise is -1"),
        ({"gradient": float("nan")}, "gradient is nan"),
        ({"bits": 8, "foreground": 300}, "end at 255"),
        ({"small_diameter": 0.0}, "small_diameter is 0"),
    ],
)
def test_an_impossible_recipe_is_refused_in_words(change, words):
    with pytest.raises(ParameterError, match=words):
        replace(SpotsRecipe(), **change)
