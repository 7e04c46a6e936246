"""What CARE learns from: pairs that stay pairs, normalised as csbdeep does, the same every time."""

import numpy as np
import pytest

from micserve.errors import TrainingDataError
from training.care.config import PRESETS, CareConfig
from training.care.patches import HIGH, LOW, PairSource, augmented
from training.common.config import assemble
from training.common.pairs import Pair
from training.common.patch_plan import patch_size


def a_config(**changes: object) -> CareConfig:
    return CareConfig.model_validate(
        {"data": ".", "name": "care", "batch_size": 4, "skip_background": False, **changes}
    )


def a_pair(*shape: int, seed: int = 0) -> Pair:
    """The target is an affine function of the source, so that patches can be compared."""
    source = np.random.default_rng(seed).normal(100, 20, (1, *shape)).astype(np.float32)
    return Pair(source, "a.tif", 3 * source + 50)


@pytest.mark.parametrize("shape", [(40, 50), (12, 40, 50)])
def test_source_and_target_of_a_patch_are_the_same_place_in_the_same_form(shape):
    size = (8, 16, 16)[-len(shape) :]
    source = PairSource([a_pair(*shape)], a_config(), size=size)
    for patches, targets in source.batches(0, count=3):
        assert patches.shape == targets.shape == (4, *size, 1)
        np.testing.assert_allclose(patches, targets, atol=1e-4)


def test_an_epoch_is_the_same_every_time_and_no_two_are():
    source = PairSource([a_pair(40, 40), a_pair(50, 30, seed=1)], a_config(), size=(16, 16))
    first, again, second = (next(source.batches(epoch, count=1))[0] for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_patches_are_normalised_by_percentiles_of_their_whole_image():
    pair = a_pair(40, 40)
    source = PairSource([pair], a_config(use_data_augmentation=False), size=(40, 40))
    low, high = (np.percentile(pair.pixels, p) for p in (LOW, HIGH))
    for patch in next(source.batches(0, count=1))[0]:
        offset, slope = np.polynomial.Polynomial.fit(
            pair.pixels.ravel(), patch.ravel(), 1
        ).convert().coef  # fmt: skip
        at_zero, at_one = -offset / slope, (1 - offset) / slope
        assert np.abs(low - at_zero).min() < 1e-2
        assert np.abs(high - at_one).min() < 1e-2


def test_dark_patches_are_left_out_where_there_are_bright_ones():
    target = np.full((1, 64, 64), 10, np.float32)
    target[:, :12, :12] = 1000
    pair = Pair(target + 1, "a.tif", target)
    for skip in (True, False):
        source = PairSource([pair], a_config(skip_background=skip), size=(16, 16))
        bright = [t.max() > 0.5 for _, ts in source.batches(0, count=4) for t in ts]
        assert np.mean(bright) > 0.9 if skip else np.mean(bright) < 0.6


def test_an_image_that_is_dark_throughout_still_gives_patches():
    target = np.zeros((1, 32, 32), np.float32)
    source = PairSource(
        [Pair(target, "a.tif", target)], a_config(skip_background=True), size=(16, 16)
    )
    assert np.isfinite(next(source.batches(0, count=1))[0]).all()


def test_the_eight_forms_of_a_patch_differ_and_form_0_is_the_patch():
    patch = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)
    forms = [augmented(patch, form) for form in range(8)]
    np.testing.assert_array_equal(forms[0], patch)
    assert len({form.tobytes() for form in forms}) == 8
    # Depth is never turned: microscopes see less sharply along it.
    assert all(sorted(form[0].ravel()) == sorted(patch[0].ravel()) for form in forms)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("preset", ["recommended", "quick", "zerocost"])
def test_presets_are_valid(ndim, preset):
    asked = assemble(
        CareConfig, PRESETS[ndim], flags={"data": ".", "name": "care", "preset": preset}
    )
    assert asked.config.stride in (4, 8)


def test_the_zerocost_presets_are_what_the_notebooks_really_use():
    two, three = (
        assemble(CareConfig, PRESETS[n], flags={"data": ".", "name": "c", "preset": "zerocost"})
        for n in (2, 3)
    )
    assert (two.config.probabilistic, two.config.loss) == (True, "laplace")
    assert (two.config.unet_n_depth, two.config.unet_kern_size) == (3, 5)
    assert (three.config.probabilistic, three.config.loss) == (False, "mae")
    assert (three.config.patch_size, three.config.patch_height) == (80, 8)


def test_patches_shrink_to_the_images_and_the_plan_says_so():
    size, notes = patch_size(a_config(patch_size=100, patch_height=64), (10, 40, 50))
    assert size == (8, 40, 40)
    assert [note.split()[0] for note in notes] == ["patch_size", "patch_height"]
    assert patch_size(a_config(), (200, 300)) == ((64, 64), ())


def test_stacks_thinner_than_the_networks_stride_are_refused_in_words():
    with pytest.raises(TrainingDataError, match="train in 2D"):
        patch_size(a_config(), (3, 100, 100))
