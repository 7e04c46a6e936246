"""U-Net as it is served: probabilities, masks and labels of any image, in tiles."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import label as components_of

from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.errors import ParameterError
from micserve.families.unet import UNetParameters, separated, without_small
from micserve.image import Display, Image
from micserve.normalize import Identity
from micserve.predict import LoadedModel, predict


class Says:
    """A network that answers with the image itself: grey value / 100 is the probability."""

    heads = ("probability",)
    device = "CPU"

    def __init__(self, channels: int = 1) -> None:
        self._channels = channels

    def run(self, batch: np.ndarray) -> Mapping[str, np.ndarray]:
        if self._channels == 1:
            return {"probability": batch / 100}
        # Grey value n is class n, with 0.9.
        numbers = np.arange(self._channels).reshape(1, -1, *(1,) * (batch.ndim - 2))
        rest = np.float32(0.1 / (self._channels - 1))
        return {"probability": np.where(batch == numbers, np.float32(0.9), rest)}


def a_model(*, ndim: int = 2, channels: int = 1, **parameters) -> LoadedModel:
    contract = ModelContract(
        name="cells",
        family="unet",
        ndim=ndim,
        network=Network(
            heads=(Head(name="probability", channels=channels, stride=(1,) * ndim),),
            tiling=Tiling(halo=(0,) * ndim, multiple=(4,) * ndim),
        ),
        normalization=Identity(),
        parameters=parameters,
    )
    return LoadedModel(contract, Says(channels))


def run(model, pixels, axes="YX", *, tile=1 << 19, **asked):
    image = Image(pixels, axes, display=Display(ranges=((0, 9000),)))
    return predict(image, model, UNetParameters(**asked), max_tile_pixels=tile)


def discs(*centres, shape=(40, 60), radius=8):
    grid = np.indices(shape)
    squares = [sum((g - c) ** 2 for g, c in zip(grid, at, strict=True)) for at in centres]
    return (np.min(squares, axis=0) <= radius**2).astype(np.uint8) * 90


def test_a_probability_is_given_as_the_network_says_it():
    result = run(a_model(), discs((20, 20)), result="probability").image
    assert result.data.dtype == np.float32
    assert result.data.max() == np.float32(0.9)
    assert result.display.ranges == ((0.0, pytest.approx(0.9)),)


def test_a_mask_is_black_and_white_at_the_models_own_threshold():
    grey = np.array([[10, 40, 60, 90]] * 4, np.uint8)
    own = run(a_model(threshold=0.55), grey).image
    assert own.data.dtype == np.uint8
    assert own.data[0].tolist() == [0, 0, 255, 255]
    assert run(a_model(threshold=0.55), grey, threshold=0.2).image.data[0].tolist() == [
        0, 255, 255, 255,
    ]  # fmt: skip


def test_the_threshold_that_was_used_is_told():
    model = a_model(threshold=0.55)
    assert model.family.effective(model.contract, UNetParameters())["threshold"] == 0.55
    assert model.family.effective(model.contract, UNetParameters(threshold=0.3))["threshold"] == 0.3


def test_several_classes_are_channels_or_numbers():
    grey = np.array([[0, 1, 2, 1]] * 4, np.uint8)
    model = a_model(channels=3)
    likely = run(model, grey, result="probability").image
    assert (likely.axes, likely.data.shape) == ("CYX", (3, 4, 4))
    assert run(model, grey, result="mask").image.data[0].tolist() == [0, 1, 2, 1]


def test_a_threshold_is_refused_where_the_most_likely_class_wins():
    with pytest.raises(ParameterError, match="most likely"):
        run(a_model(channels=3), np.zeros((8, 8), np.uint8), threshold=0.5)


@pytest.mark.parametrize("tile", [64, 1 << 19])
def test_every_object_gets_a_number_across_tiles(tile):
    grey = discs((10, 12), (30, 12), (20, 45))
    found = run(a_model(), grey, result="labels", tile=tile)
    expected, count = components_of(grey > 50, np.ones((3, 3)))
    assert count == 3
    assert found.image.data.dtype == np.uint16
    np.testing.assert_array_equal(found.image.data > 0, expected > 0)
    pairs = np.unique(np.stack([found.image.data, expected]).reshape(2, -1), axis=1)
    assert pairs.shape[1] == count + 1
    objects = found.frames[0].objects
    np.testing.assert_allclose(objects.scores, 0.9, atol=0.003)
    np.testing.assert_allclose(sorted(objects.centres.tolist())[0], [10, 12])


def test_small_objects_are_left_out_and_the_others_numbered_anew():
    grey = discs((10, 12), (30, 40))
    grey[0, 0] = 90
    labels = run(a_model(), grey, result="labels", min_size=5).image.data
    assert labels[0, 0] == 0
    assert np.unique(labels).tolist() == [0, 1, 2]


def test_a_watershed_cuts_where_discs_touch_and_leaves_single_ones_whole():
    grey = discs((20, 15), (20, 29), (20, 50))
    together = run(a_model(), grey, result="labels").image.data
    cut = run(a_model(), grey, result="labels", split="watershed").image.data
    assert together.max() == 2
    assert cut.max() == 3
    np.testing.assert_array_equal(cut > 0, together > 0)
    assert len({cut[20, 15], cut[20, 29], cut[20, 50]}) == 3


def test_classes_that_touch_are_different_objects():
    grey = np.zeros((20, 20), np.uint8)
    grey[5:15, 2:10], grey[5:15, 10:18] = 1, 2
    for split in ("components", "watershed"):
        labels = run(a_model(channels=3), grey, result="labels", split=split).image.data
        assert labels.max() == 2
        assert labels[10, 5] != labels[10, 14]


def test_each_frame_of_a_movie_is_numbered_for_itself_and_a_stack_as_one():
    frames = np.stack([discs((10, 12)), discs((10, 12), (30, 40))])
    movie = run(a_model(), frames, "TYX", result="labels")
    assert [frame.max() for frame in movie.image.data] == [1, 2]
    stack = np.stack([discs((10, 12)), discs((10, 12)), discs((30, 40)), discs((30, 40))])
    assert run(a_model(ndim=3), stack, "ZYX", result="labels").image.data.max() == 2


def test_an_empty_image_has_no_objects():
    found = run(a_model(), np.zeros((16, 16), np.uint8), result="labels", split="watershed")
    assert found.image.data.max() == 0
    assert len(found.frames[0].objects) == 0


@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=3, max_side=9), elements=st.integers(0, 2))
)
def test_a_watershed_only_ever_cuts(index):
    """It loses no pixel, joins nothing, and never mixes classes."""
    whole = separated(index, split="components", voxel=(1.0,) * index.ndim)
    cut = separated(index, split="watershed", voxel=(1.0,) * index.ndim)
    np.testing.assert_array_equal(cut > 0, index > 0)
    for number in np.unique(cut[cut > 0]):
        assert len(np.unique(whole[cut == number])) == 1


@given(
    arrays(np.int32, array_shapes(min_dims=2, max_dims=3, max_side=9), elements=st.integers(0, 5)),
    st.integers(0, 6),
)
def test_labels_are_numbered_without_gaps(labels, least):
    kept, count = without_small(labels, least)
    assert set(np.unique(kept)) <= set(range(count + 1))
    for number in range(1, count + 1):
        assert (kept == number).sum() >= max(least, 1)
