"""Each measure equals an independent implementation, known figures and hand-computed cases."""

import math

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from skimage.metrics import (
    mean_squared_error,
    normalized_root_mse,
    peak_signal_noise_ratio,
    structural_similarity,
)

from micserve.errors import ParameterError, QualityControlError
from micserve.qc import (
    compare,
    difference_maps,
    imagej_blur_8bit,
    mae,
    pearson_r,
    psnr,
    rmse,
    scale_invariant_psnr,
    snr,
)

DTYPES = ["u1", "<u2", ">u2", "<i2", "<u4", ">i4", "<f2", "<f4", ">f4", "<f8", ">f8"]
EXACT = 5e-9
"""The published figures have 8 decimals."""


def notebook_figures(test, target):
    """The notebooks' own arithmetic, written down independently, in float64."""
    low, high = np.percentile(target.astype(np.float64), [0.1, 99.9])
    g = (target.astype(np.float64) - low) / (high - low + 1e-20)
    x = test.astype(np.float64) - test.astype(np.float64).mean()
    g = g - g.mean()
    x = x * np.cov(x.ravel(), g.ravel())[0, 1] / np.var(x.ravel())
    mean, full = structural_similarity(
        g, x, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return g, x, mean, full


def test_the_slides_figures_of_the_noisy_image_are_reproduced_to_8_decimals(spots_5):
    noisy, truth = spots_5
    assert snr(noisy, truth) == pytest.approx(19.20405144, abs=EXACT)
    assert psnr(noisy, truth) == pytest.approx(26.77276932, abs=EXACT)
    assert rmse(noisy, truth) == pytest.approx(8.52853583, abs=EXACT)
    assert mae(noisy, truth) == pytest.approx(6.72216094, abs=EXACT)


def test_the_slides_figures_of_imagejs_gaussian_are_reproduced_to_8_decimals(spots_5):
    noisy, truth = spots_5
    blurred = imagej_blur_8bit(noisy, sigma=2.0)
    assert snr(blurred, truth) == pytest.approx(34.12542003, abs=EXACT)
    assert psnr(blurred, truth) == pytest.approx(41.69413791, abs=EXACT)
    assert rmse(blurred, truth) == pytest.approx(1.53040385, abs=EXACT)
    assert mae(blurred, truth) == pytest.approx(1.08228281, abs=EXACT)


def test_the_notebooks_figures_are_reproduced_to_the_digits_given(spots_5):
    noisy, truth = spots_5
    found = compare(noisy, truth)
    assert round(found.ssim, 4) == 0.2518
    assert round(found.zerocost_compat_nrmse, 4) == 0.2227
    assert round(found.psnr, 2) == 23.55


def test_a_hand_computed_case():
    truth = np.array([[3.0, 4.0], [0.0, 0.0]])
    test = np.array([[3.0, 2.0], [1.0, 0.0]])
    assert snr(test, truth) == pytest.approx(10 * math.log10(25 / 5))
    assert psnr(test, truth) == pytest.approx(10 * math.log10(16 / (5 / 4)))
    assert rmse(test, truth) == pytest.approx(math.sqrt(5 / 4))
    assert mae(test, truth) == pytest.approx(3 / 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_byte_order_gives_scikit_images_values(small_pair, dtype):
    test, truth = (image.astype(dtype) for image in small_pair)
    x, g = (image.astype(np.float64) for image in small_pair)
    assert rmse(test, truth) == pytest.approx(math.sqrt(mean_squared_error(g, x)), rel=1e-12)
    assert psnr(test, truth) == pytest.approx(
        peak_signal_noise_ratio(g, x, data_range=g.max()), rel=1e-12
    )
    assert 10 ** (-snr(test, truth) / 20) == pytest.approx(normalized_root_mse(g, x), rel=1e-12)
    assert pearson_r(test, truth) == pytest.approx(stats.pearsonr(x.ravel(), g.ravel())[0])
    g, x, mean, full = notebook_figures(*small_pair)
    found = compare(test, truth)
    assert found.ssim == pytest.approx(mean, abs=1e-9)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(g, x, data_range=1), rel=1e-9)
    assert found.nrmse == pytest.approx(math.sqrt(mean_squared_error(g, x)), rel=1e-9)
    maps = difference_maps(test, truth)
    assert maps.ssim.dtype == maps.error.dtype == np.float32
    np.testing.assert_allclose(maps.ssim, full, atol=1e-6)  # float32 of values near 1
    np.testing.assert_allclose(maps.error, np.abs(g - x), atol=1e-6)


@pytest.mark.parametrize("field", ["001_0", "001_1", "001_2"])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "<f4"])
def test_real_pairs_give_the_values_of_independent_implementations(shared_data, field, dtype):
    folder = shared_data / "w2s"
    noisy = tifffile.imread(folder / "noisy_avg1" / f"{field}.tif")
    truth = tifffile.imread(folder / "clean_avg400" / f"{field}.tif")
    g, x, mean, _ = notebook_figures(noisy, truth)
    found = compare(noisy.astype(dtype), truth.astype(dtype))
    assert found.ssim == pytest.approx(mean, abs=1e-9)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(g, x, data_range=1), rel=1e-9)
    assert found.zerocost_compat_nrmse == pytest.approx(np.sqrt(np.abs(g - x).mean()), rel=1e-9)
    fitted = np.polynomial.Polynomial.fit(noisy.ravel().astype(float), truth.ravel(), 1)
    assert scale_invariant_psnr(noisy.astype(dtype), truth) == pytest.approx(
        peak_signal_noise_ratio(
            truth.astype(float), fitted(noisy.astype(float)), data_range=np.ptp(truth)
        ),
        rel=1e-9,
    )


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<f4"])
def test_grey_value_measures_of_real_stacks_equal_independent_implementations(shared_data, dtype):
    folder = shared_data / "w2s"
    noisy, truth = (
        np.stack([tifffile.imread(folder / part / f"001_{n}.tif") for n in range(3)])
        for part in ("noisy_avg1", "clean_avg400")
    )
    x, g = noisy.astype(np.float64), truth.astype(np.float64)
    test, target = noisy.astype(dtype), truth.astype(dtype)
    assert rmse(test, target) == pytest.approx(math.sqrt(mean_squared_error(g, x)), rel=1e-12)
    assert mae(test, target) == pytest.approx(np.linalg.norm((x - g).ravel(), 1) / g.size)
    assert psnr(test, target) == pytest.approx(
        peak_signal_noise_ratio(g, x, data_range=g.max()), rel=1e-12
    )
    assert 10 ** (-snr(test, target) / 20) == pytest.approx(normalized_root_mse(g, x), rel=1e-12)
    assert pearson_r(test, target) == pytest.approx(stats.pearsonr(x.ravel(), g.ravel())[0])


def test_a_true_rmse_is_not_the_notebooks_root_of_the_mean_absolute_error():
    random = np.random.default_rng(0)
    truth = random.uniform(0, 1, (400, 400))
    truth[0, :2] = -1e-9, 1 + 1e-9
    found = compare(truth + random.normal(0, 0.1, truth.shape), truth)
    assert found.nrmse == pytest.approx(0.1, abs=0.006)
    assert found.zerocost_compat_nrmse == pytest.approx(0.275, abs=0.015)


@settings(max_examples=40, deadline=None)
@given(gain=st.floats(0.01, 100), offset=st.floats(-1e4, 1e4), seed=st.integers(0, 2**32 - 1))
def test_gain_and_offset_cost_nothing_where_they_are_forgiven(gain, offset, seed):
    random = np.random.default_rng(seed)
    truth = random.uniform(0, 100, (24, 30))
    test = truth + random.normal(0, 10, truth.shape)
    scaled = gain * test + offset
    assert scale_invariant_psnr(scaled, truth) == pytest.approx(
        scale_invariant_psnr(test, truth), abs=1e-6
    )
    assert pearson_r(scaled, truth) == pytest.approx(pearson_r(test, truth), abs=1e-9)
    assert compare(scaled, truth).psnr == pytest.approx(compare(test, truth).psnr, abs=1e-6)
    assert compare(scaled, truth).ssim == pytest.approx(compare(test, truth).ssim, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    truth=hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6)),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_sums_over_planes_equal_the_formula_on_the_whole_stack(truth, seed):
    test = np.random.default_rng(seed).integers(0, 65535, truth.shape).astype(np.uint16)
    r, t = truth.astype(float), test.astype(float)
    assert rmse(test, truth) == pytest.approx(math.sqrt(((r - t) ** 2).mean()))
    assert mae(test, truth) == pytest.approx(np.abs(r - t).mean())
    if r.any() and (r != t).any():
        expected = 10 * math.log10((r**2).sum() / ((r - t) ** 2).sum())
        assert snr(test, truth) == pytest.approx(expected)
    if np.ptp(r) and np.ptp(t):
        assert pearson_r(test, truth) == pytest.approx(np.corrcoef(r.ravel(), t.ravel())[0, 1])


def test_equal_images_have_infinite_decibels_and_no_error(small_pair):
    _, truth = small_pair
    assert snr(truth, truth) == psnr(truth, truth) == math.inf
    assert scale_invariant_psnr(truth, truth) == math.inf
    assert scale_invariant_psnr(3.5 * truth + 7, truth) == math.inf
    assert rmse(truth, truth) == mae(truth, truth) == 0
    assert pearson_r(truth, truth) == 1
    assert compare(truth, truth).ssim == pytest.approx(1)


def test_a_stack_is_normalised_as_a_whole_and_its_ssim_is_the_mean_of_its_slices(small_pair):
    noisy, truth = (np.stack([image, image // 2, image[::-1]]) for image in small_pair)
    low, high = np.percentile(truth, [0.1, 99.9])
    g = (truth - low) / (high - low)
    g -= g.mean()
    x = noisy - noisy.mean()
    x = x * np.cov(x.ravel(), g.ravel())[0, 1] / x.var()
    each = [
        structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(g, x, strict=True)
    ]
    found = compare(noisy, truth)
    assert found.slice_ssim == pytest.approx(each)
    assert found.ssim == pytest.approx(np.mean(each))
    assert found.nrmse == pytest.approx(math.sqrt(((g - x) ** 2).mean()))
    assert difference_maps(noisy, truth).ssim.shape == truth.shape


def test_int8_extremes_are_not_wrapped():
    truth = np.array([[-128, 127], [0, 5]], np.int8)
    test = np.array([[127, -128], [0, 5]], np.int8)
    assert mae(test, truth) == pytest.approx(255 / 2)
    assert compare(test, truth) == compare(test.astype(np.int64), truth.astype(np.int64))


FLAT = np.full((16, 16), 9, np.uint8)


@pytest.mark.parametrize(
    ("measure", "test", "target", "words"),
    [
        (snr, FLAT, np.zeros_like(FLAT), "0 everywhere"),
        (psnr, FLAT, np.zeros_like(FLAT), "is 0, so a PSNR"),
        (compare, FLAT, FLAT, "grey value 9 in nearly every pixel"),
        (pearson_r, FLAT, np.eye(16), "same grey value everywhere"),
        (scale_invariant_psnr, np.eye(16), FLAT, "same grey value everywhere"),
        (rmse, FLAT, FLAT[:, :8], "16 × 16 pixels and the ground truth has 16 × 8"),
        (rmse, np.full((4, 4), np.nan), np.ones((4, 4)), "16 of 16 pixels that are not a number"),
        (rmse, np.ones((4, 4)), np.full((4, 4), -np.inf, ">f4"), "the ground truth has 16 of 16"),
        (rmse, np.zeros((0, 4)), np.zeros((0, 4)), "at least one pixel"),
        (rmse, np.zeros(4), np.zeros(4), "at least one pixel"),
        (rmse, np.zeros((2, 2), complex), np.zeros((2, 2)), "type complex128"),
        (rmse, np.array([["a"]]), np.zeros((1, 1)), "8, 16 or 32 bit"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(measure, test, target, words):
    with pytest.raises(QualityControlError, match=words):
        measure(test, target)


def test_a_constant_ground_truth_still_has_an_snr():
    test = FLAT.copy()
    test[0, 0] = 10
    assert snr(test, FLAT) == pytest.approx(10 * math.log10(256 * 81))


def test_a_constant_prediction_leaves_the_whole_structure_as_error(small_pair):
    _, truth = small_pair
    found = compare(np.full_like(truth, 80), truth)
    low, high = np.percentile(truth, [0.1, 99.9])
    assert found.nrmse == pytest.approx(truth.std() / (high - low))


def test_imagejs_blur_keeps_a_flat_image_and_refuses_what_it_does_not_know():
    np.testing.assert_array_equal(imagej_blur_8bit(FLAT, sigma=3.0), FLAT)
    with pytest.raises(ParameterError, match="8-bit planes"):
        imagej_blur_8bit(FLAT.astype(np.uint16), sigma=2.0)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"up to 8\.5"):
        imagej_blur_8bit(FLAT, sigma=20.0)
