"""Normalisation: once per image, equal to numpy and scikit-image, never a division by zero."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from micserve.errors import InputError
from micserve.normalize import (
    FixedZeroMeanUnitVariance,
    Identity,
    ScaleRange,
    ZeroMeanUnitVariance,
    fit,
    percentiles,
)

INTEGERS = st.sampled_from(["u1", "<u2", ">u2", "<i2", ">u4"])
SHAPES = hnp.array_shapes(min_dims=3, max_dims=4, max_side=7)


@given(
    hnp.arrays(INTEGERS, SHAPES),
    st.floats(0, 49, allow_subnormal=False),
    st.floats(50, 100),
)
def test_percentiles_are_numpys(image, low, high):
    expected = np.percentile(image.astype(np.float64), [low, high])
    np.testing.assert_allclose(percentiles(image, (low, high)), expected, rtol=1e-9, atol=1e-9)


@given(hnp.arrays(INTEGERS, SHAPES))
def test_z_score_has_mean_0_and_sd_1_per_channel_and_leaves_constants_finite(image):
    values = fit(image, ZeroMeanUnitVariance()).apply(image)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    for channel, grey in zip(values, image, strict=True):
        if grey.min() == grey.max():
            assert not channel.any()
        else:
            # float32 offsets carry 24 bits: an error of the grey level's last bit over the sd
            tolerance = 1e-3 + 2e-7 * float(np.abs(grey.astype(float)).max()) / grey.std()
            assert abs(channel.mean()) < tolerance
            assert abs(channel.std() - 1) < tolerance


def test_percentile_range_maps_to_0_and_1():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60000, (2, 50, 60), dtype=np.uint16)
    how = ScaleRange(min_percentile=1, max_percentile=99.8)
    values = fit(image, how).apply(image)
    for channel in values:
        np.testing.assert_allclose(np.percentile(channel, [1, 99.8]), [0, 1], atol=1e-5)


def test_a_constant_image_is_not_divided_by_zero():
    image = np.full((1, 8, 8), 7, np.uint8)
    for how in (ScaleRange(), ZeroMeanUnitVariance(), Identity()):
        assert fit(image, how).divisor.tolist() == [1.0]


def test_fixed_normalisation_is_undone_exactly_enough():
    image = np.arange(200, dtype=">u2").reshape(1, 10, 20)
    affine = fit(image, FixedZeroMeanUnitVariance(mean=(75.5,), std=(12.25,)))
    np.testing.assert_allclose(affine.invert(affine.apply(image)), image, rtol=1e-6)


def test_not_finite_pixels_are_refused_in_words():
    image = np.ones((1, 4, 4), np.float32)
    image[0, 0, :2] = np.nan, np.inf
    with pytest.raises(InputError, match="2 pixels of the image are NaN"):
        fit(image, Identity())


def test_another_number_of_channels_is_refused():
    with pytest.raises(InputError, match="normalises 1 channels, but the image has 2"):
        fit(np.ones((2, 4, 4)), FixedZeroMeanUnitVariance(mean=(0.0,), std=(1.0,)))


def test_large_images_are_summed_in_pieces(monkeypatch):
    monkeypatch.setattr("micserve.normalize.CHUNK_PIXELS", 64)
    image = np.random.default_rng(1).normal(100, 5, (1, 40, 37))
    affine = fit(image, ZeroMeanUnitVariance())
    np.testing.assert_allclose(affine.offset, image.mean(), rtol=1e-6)
    np.testing.assert_allclose(affine.divisor, image.std(), rtol=1e-6)
