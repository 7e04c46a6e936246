"""CARE as it is served: its uncertainty, in tiles, and pixel for pixel what csbdeep gives."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.artifact.halo import measure_halo
from micserve.backends.onnx import OnnxBackend
from micserve.errors import ParameterError
from micserve.families.care import CareParameters
from micserve.image import Image
from micserve.normalize import ScaleRange, fit
from micserve.predict import LoadedModel, predict
from tests.support.networks import small_unet

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / ".venvs" / "tf" / "bin" / "python"

NETWORK_TOLERANCE = 2e-5
"""Of outputs near 1: other tile shapes let ONNX Runtime sum in another order."""

PEER_TOLERANCE = 1e-4
"""Of the result's range: TensorFlow and ONNX Runtime sum float32 in another order."""

BOTH = {"mean": 1, "scale": 1}


def a_model(path: Path, *, ndim: int = 2, heads: tuple[str, ...] = ("mean", "scale"), depth=2):
    multiple = (2**depth,) * ndim
    halo = measure_halo(path, ndim=ndim, channels=1, multiple=multiple)
    contract = ModelContract(
        name="test-care",
        family="care",
        ndim=ndim,
        network=Network(
            heads=tuple(Head(name=name, stride=(1,) * ndim) for name in heads),
            tiling=Tiling(halo=halo, multiple=multiple),
        ),
        normalization=ScaleRange(min_percentile=2, max_percentile=99.8),
        restore_range=True,
    )
    return LoadedModel(contract, OnnxBackend(path, provider="cpu"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return a_model(small_unet(tmp_path_factory.mktemp("net") / "care.onnx", seed=1, heads=BOTH))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape).clip(0, 255).astype("uint16")


def run(model: LoadedModel, pixels: np.ndarray, axes: str, tile: int = 1 << 19, **asked) -> Image:
    image = Image(pixels, axes)
    return predict(image, model, CareParameters(**asked), max_tile_pixels=tile).image


def test_the_result_is_the_mean_alone_unless_uncertainty_is_asked_for(model):
    pixels = noise(60, 64)
    alone, both = (run(model, pixels, "YX", uncertainty=u) for u in (False, True))
    assert (alone.axes, both.axes, both.data.shape) == ("YX", "CYX", (2, 60, 64))
    np.testing.assert_array_equal(both.data[0], alone.data)


def test_uncertainty_is_a_width_in_grey_values_which_an_offset_does_not_change(model):
    pixels = noise(64, 64)
    affine = fit(pixels[None], model.contract.normalization)
    scale = model.backend.run(affine.apply(pixels[None])[None])["scale"][0, 0]
    darker, brighter = (run(model, p, "YX", uncertainty=True).data for p in (pixels, pixels + 1000))
    np.testing.assert_allclose(darker[1], scale * affine.divisor[0], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(darker[1], brighter[1], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(darker[0] + 1000, brighter[0], rtol=1e-3, atol=1e-2)


def test_every_frame_of_a_series_has_its_own_uncertainty(model):
    series = np.stack([noise(32, 40), noise(32, 40) * 3])
    both = run(model, series, "TYX", uncertainty=True)
    assert (both.axes, both.data.shape) == ("TCYX", (2, 2, 32, 40))
    alone = run(model, series[1], "YX", uncertainty=True)
    np.testing.assert_allclose(both.data[1], alone.data, rtol=1e-5)


def test_a_model_without_uncertainty_says_so(tmp_path):
    model = a_model(small_unet(tmp_path / "n.onnx", heads={"mean": 1}), heads=("mean",))
    with pytest.raises(ParameterError, match="not trained to say how sure it is"):
        run(model, noise(32, 32), "YX", uncertainty=True)


@pytest.mark.parametrize(("ndim", "shape", "tile"), [(2, (131, 150), 70**2), (3, (21, 61, 66), 1)])
def test_tiles_do_not_change_the_image_nor_its_uncertainty(tmp_path, ndim, shape, tile):
    model = a_model(small_unet(tmp_path / "n.onnx", ndim=ndim, heads=BOTH), ndim=ndim)
    pixels, axes = noise(*shape), "ZYX"[-ndim:]
    whole = run(model, pixels, axes, uncertainty=True).data
    tiled = run(model, pixels, axes, tile, uncertainty=True).data
    for channel in (0, 1):
        atol = NETWORK_TOLERANCE * max(20, np.ptp(whole.take(channel, axis=-ndim - 1)))
        np.testing.assert_allclose(tiled, whole, atol=atol)


def test_integer_results_are_rounded_and_limited_in_both_channels(model):
    both = run(model, noise(40, 40), "YX", uncertainty=True, output_dtype="uint8")
    assert both.data.dtype == np.uint8


CASES = {
    "2D even, probabilistic": ("YX", (64, 96), True, 3, 5),
    "2D odd, probabilistic": ("YX", (75, 61), True, 3, 5),
    "2D odd, plain": ("YX", (33, 50), False, 2, 3),
    "3D even, plain": ("ZYX", (8, 32, 40), False, 2, 3),
    "3D odd, probabilistic": ("ZYX", (9, 33, 37), True, 2, 3),
}


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with csbdeep's networks and its predictions for `CASES`."""
    if not PEER.is_file():
        pytest.skip("the environment of csbdeep is not there: make setup-tf")
    folder = tmp_path_factory.mktemp("csbdeep")
    asked = []
    for number, (axes, shape, probabilistic, depth, kernel) in enumerate(CASES.values()):
        np.save(folder / f"{number}.npy", noise(*shape))
        asked.append(
            {
                "axes": axes,
                "probabilistic": probabilistic,
                "depth": depth,
                "kernel": kernel,
                "filters": 4,
            }
        )
    (folder / "asked.json").write_text(json.dumps(asked))
    script = ROOT / "tests" / "support" / "csbdeep_reference.py"
    done = subprocess.run(
        [PEER, script, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_csbdeeps_own_predict(peer, case):
    number = list(CASES).index(case)
    axes, _, probabilistic, depth, _ = CASES[case]
    heads = ("mean", "scale") if probabilistic else ("mean",)
    model = a_model(peer / f"{number}.onnx", ndim=len(axes), heads=heads, depth=depth)
    pixels = np.load(peer / f"{number}.npy")
    ours = run(model, pixels, axes, uncertainty=probabilistic).data
    ours = ours.reshape(-1, *pixels.shape) if len(axes) == 2 else np.moveaxis(
        ours.reshape(pixels.shape[0], -1, *pixels.shape[1:]), 1, 0
    )  # fmt: skip
    for channel, name in enumerate(heads):
        theirs = np.load(peer / f"{number}-{name}.npy")
        np.testing.assert_allclose(ours[channel], theirs, atol=PEER_TOLERANCE * np.ptp(theirs))
