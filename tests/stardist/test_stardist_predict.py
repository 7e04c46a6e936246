"""StarDist through the engine: any size, any number of frames, tiles of any size."""

import numpy as np
import pytest

from micserve import predict as engine
from micserve.backends.onnx import OnnxBackend
from micserve.families.stardist import StarDist, StarDistParameters
from micserve.image import Image
from micserve.objects import Position
from micserve.predict import LoadedModel, predict
from tests.stardist.driving import a_contract
from tests.support.networks import star_network

RAYS = 8
HALO = (8, 8)
"""Of five 3×3 convolutions, two of them on a grid of 2, or more."""


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "FAMILIES", {"stardist": StarDist()})
    network = star_network(tmp_path / "star.onnx", rays=RAYS, grid=2, seed=3)
    contract = a_contract(grid=(2, 2), n_rays=RAYS, multiple=(4, 4), halo=HALO, prob=0.55, nms=0.3)
    return LoadedModel(contract, OnnxBackend(network, provider="cpu", threads=1))


def noise(*shape):
    return np.random.default_rng(1).normal(0, 4, shape).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_tiles_change_memory_use_and_never_a_label(model, scale):
    image, asked = Image(noise(61, 87), "YX"), StarDistParameters(scale=scale)
    whole = predict(image, model, asked).image
    tiled = predict(image, model, asked, max_tile_pixels=24 * 24).image
    assert whole.data.shape == (61, 87)
    assert whole.dtype == np.uint16
    assert whole.data.max() > 20
    assert np.array_equal(whole.data, tiled.data)


def test_every_frame_has_labels_of_its_own(model):
    image = Image(noise(2, 3, 40, 50), "TZYX")
    result = predict(image, model, StarDistParameters())
    assert result.image.axes == "TZYX"
    assert [f.objects.position for f in result.frames] == [
        Position(t=t, z=z) for t in range(2) for z in range(3)
    ]
    for number, frame in enumerate(result.frames):
        t, z = divmod(number, 3)
        alone = predict(Image(image.data[t, z], "YX"), model, StarDistParameters())
        assert np.array_equal(result.image.data[t, z], alone.image.data)
        assert np.array_equal(frame.objects.labels, np.setdiff1d(alone.image.data, 0))


@pytest.mark.parametrize("shape", [(1, 1), (2, 70), (5, 5)])
def test_images_smaller_than_an_object_give_an_answer(model, shape):
    result = predict(Image(noise(*shape), "YX"), model, StarDistParameters())
    assert result.image.data.shape == shape
