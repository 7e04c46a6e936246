"""The tiled run on a real ONNX network: tiles, frames, types and words."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.backends.onnx import OnnxBackend
from micserve.errors import (
    AxesError,
    CancelledError,
    InputError,
    PackageError,
    ParameterError,
    ProviderUnavailableError,
)
from micserve.families.base import RestorationParameters
from micserve.image import Calibration, Display, Image
from micserve.normalize import FixedZeroMeanUnitVariance
from micserve.predict import LoadedModel, Watch, predict
from tests.support.networks import small_unet

HALO = 24
"""Of a U-Net of depth 2 with 3×3 kernels, or more; `measure_halo` has tests of its own."""

NETWORK_TOLERANCE = 2e-5
"""Of outputs near 1: other tile shapes let ONNX Runtime sum in another order."""


def a_model(
    path: Path, *, ndim: int = 2, halo: int | None = HALO, pad: str = "split"
) -> LoadedModel:
    tiling = Tiling(halo=halo and (halo,) * ndim, multiple=(4,) * ndim)
    contract = ModelContract(
        name="test-unet",
        family="n2v",
        ndim=ndim,
        network=Network(heads=(Head(name="output", stride=(1,) * ndim),), tiling=tiling),
        normalization=FixedZeroMeanUnitVariance(mean=(100.0,), std=(20.0,)),
        restore_range=True,
    )
    return LoadedModel(contract, OnnxBackend(path, provider="cpu"), version=3, digest="ab" * 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return a_model(small_unet(tmp_path_factory.mktemp("net") / "unet.onnx", seed=1))


@pytest.fixture(scope="module")
def model_3d(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return a_model(small_unet(tmp_path_factory.mktemp("net") / "unet.onnx", ndim=3, seed=2), ndim=3)


def noise(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape).clip(0, 255).astype(dtype)


def assert_equal_to_rounding(tiled: np.ndarray, whole: np.ndarray) -> None:
    np.testing.assert_allclose(tiled, whole, atol=NETWORK_TOLERANCE * max(20, np.ptp(whole)))


def run(model: LoadedModel, image: Image, **asked: object) -> Image:
    tile = asked.pop("max_tile_pixels", 1 << 19)
    return predict(image, model, RestorationParameters(**asked), max_tile_pixels=tile).image


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    height=st.integers(1, 260),
    width=st.integers(1, 260),
    tile=st.integers(1, 40_000),
    pad=st.sampled_from(["split", "end"]),
)
def test_tiled_equals_whole_for_every_shape_and_tile(model, height, width, tile, pad):
    tiling = model.contract.network.tiling.model_copy(update={"pad": pad})
    network = model.contract.network.model_copy(update={"tiling": tiling})
    model = LoadedModel(model.contract.model_copy(update={"network": network}), model.backend)
    image = Image(noise(height, width), "YX")
    whole = run(model, image, max_tile_pixels=1 << 30).data
    tiled = run(model, image, max_tile_pixels=tile).data
    np.testing.assert_allclose(
        tiled, whole, atol=20 * NETWORK_TOLERANCE * max(1, np.ptp(whole) / 20)
    )


@settings(deadline=None, max_examples=12)
@given(shape=st.tuples(*[st.integers(1, 70)] * 3), tile=st.integers(1, 200_000))
def test_tiled_equals_whole_in_3d(model_3d, shape, tile):
    image = Image(noise(*shape), "ZYX")
    whole = run(model_3d, image, max_tile_pixels=1 << 30).data
    tiled = run(model_3d, image, max_tile_pixels=tile).data
    np.testing.assert_allclose(
        tiled, whole, atol=20 * NETWORK_TOLERANCE * max(1, np.ptp(whole) / 20)
    )


def test_a_halo_that_is_too_small_is_seen_by_this_comparison(model):
    tiling = model.contract.network.tiling.model_copy(update={"halo": (0, 0)})
    network = model.contract.network.model_copy(update={"tiling": tiling})
    wrong = LoadedModel(model.contract.model_copy(update={"network": network}), model.backend)
    image = Image(noise(120, 120), "YX")
    difference = run(wrong, image, max_tile_pixels=2500).data - run(model, image).data
    assert np.abs(difference).max() > 0.1


def test_a_hyperstack_is_looped_and_keeps_all_but_its_pixels(model):
    image = Image(
        noise(2, 3, 2, 17, 23),
        "TZCYX",
        calibration=Calibration(0.1, 0.1, 0.5, "um", 2.0),
        display=Display(ranges=((10, 200), (20, 180)), mode="composite"),
        labels=tuple(f"plane {i}" for i in range(12)),
        info="Objective = 63x\n",
    )
    result = run(model, image, channel="all")
    assert result.axes == "TZCYX"
    assert result.dtype == np.float32
    assert result.calibration == image.calibration
    assert result.display.ranges == image.display.ranges
    assert result.labels == image.labels
    for line in ("micserve.model = test-unet", "micserve.version = 3", "Objective = 63x"):
        assert line in result.info
    one = run(model, Image(image.data[1, 2, 1], "YX"))
    np.testing.assert_allclose(result.data[1, 2, 1], one.data, rtol=1e-6)


def test_a_chosen_channel_brings_its_own_display_range(model):
    image = Image(noise(2, 9, 9), "CYX", display=Display(ranges=((10, 200), (20, 180))))
    result = run(model, image, channel=2)
    assert result.axes == "YX"
    assert result.display.ranges == ((20, 180),)


@pytest.mark.parametrize("order", ["<u2", ">u2", "u1", ">f4", "<f8", "i4"])
def test_every_dtype_and_byte_order_gives_the_same_result(model, order):
    expected = run(model, Image(noise(31, 20, dtype="uint8"), "YX")).data
    result = run(model, Image(noise(31, 20, dtype="uint8").astype(order), "YX")).data
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_integer_output_is_rounded_and_limited(model):
    image = Image(noise(40, 40, dtype="uint8"), "YX")
    exact = run(model, image).data
    asked = run(model, image, output_dtype="input").data
    assert asked.dtype == np.uint8
    np.testing.assert_array_equal(asked, np.clip(np.rint(exact), 0, 255).astype(np.uint8))


def test_axes_named_by_the_caller_win(model_3d):
    stack = noise(5, 20, 20)
    as_frames = Image(stack, "TYX")
    with pytest.raises(AxesError, match="axes=ZYX"):
        run(model_3d, as_frames)
    np.testing.assert_array_equal(
        run(model_3d, as_frames, axes="ZYX").data, run(model_3d, Image(stack, "ZYX")).data
    )
    with pytest.raises(AxesError, match="names 2 axes, but the image has 3 dimensions"):
        run(model_3d, as_frames, axes="YX")


def test_not_finite_pixels_are_refused(model):
    image = noise(8, 8, dtype="float32")
    image[0, 0] = np.nan
    with pytest.raises(InputError, match="1 pixels of the image are NaN"):
        run(model, Image(image, "YX"))


def test_progress_rises_to_one_and_cancelling_stops(model):
    seen: list[float] = []
    watch = Watch(progress=seen.append)
    image = Image(noise(2, 200, 200), "TYX")
    predict(image, model, RestorationParameters(), max_tile_pixels=10_000, watch=watch)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 4
    assert set(watch.seconds) == {"normalize", "infer", "postprocess"}
    stop = Watch(cancelled=lambda: len(seen) > 0)
    with pytest.raises(CancelledError):
        predict(image, model, RestorationParameters(), watch=stop)


def test_a_global_network_runs_whole_or_not_at_all(tmp_path):
    model = a_model(small_unet(tmp_path / "net.onnx", seed=1), halo=None)
    image = Image(noise(64, 64), "YX")
    assert run(model, image, max_tile_pixels=4096).data.shape == (64, 64)
    with pytest.raises(ParameterError, match="cannot be cut into tiles"):
        run(model, image, max_tile_pixels=1000)


def test_cuda_that_is_not_there_is_an_error_and_auto_is_not(tmp_path, model):
    if model.backend.device != "CPU":
        pytest.skip("this machine has CUDA")
    path = small_unet(tmp_path / "net.onnx")
    with pytest.raises(ProviderUnavailableError, match="PROVIDER=cpu"):
        OnnxBackend(path, provider="cuda")
    assert OnnxBackend(path, provider="auto").device == "CPU"


def test_a_file_that_is_no_network_is_refused_in_words(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(PackageError, match=r"cannot load the network broken\.onnx"):
        OnnxBackend(path)
