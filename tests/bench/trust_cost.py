"""What the trust light costs beside the prediction that it goes with: `make bench ARGS=trust`.

A U-Net with 32 filters on one processor's worth of images; the fastest of a few runs.
"""

import tempfile
from pathlib import Path

import numpy as np

from micserve.families.base import RestorationParameters
from micserve.image import Image
from micserve.predict import LoadedModel, predict
from micserve.serving.trusting import trust_of
from micserve.trust import measure_envelope
from micserve.trust.envelope import KEY
from tests.bench.parts import seconds
from tests.support.packages import small_package
from tests.support.published import TRAINED_ON

SIDES = (256, 512, 1024, 2048)
REPEATS = 3
GOAL = 0.05


def main() -> None:
    print("| image | predict, s | trust light, s | share | goal |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        model = _model(Path(folder))
        for side in SIDES:
            print(_row(model, side), flush=True)


def _model(folder: Path) -> LoadedModel:
    from micserve.artifact.package import open_package
    from micserve.backends.onnx import OnnxBackend
    from tests.support.networks import small_unet

    envelope = measure_envelope([[_noise(256, seed)[None]] for seed in range(8)])
    assert envelope is not None
    facts = {**TRAINED_ON, "training": {KEY: envelope.model_dump(mode="json")}}
    onnx = small_unet(folder / "network.onnx", features=32)
    package = open_package(
        small_package(folder / "package.zip", onnx=onnx, changes=facts), into=folder / "opened"
    )
    return LoadedModel(package.contract, OnnxBackend(package.onnx, provider="cpu"))


def _noise(side: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(100, 20, (side, side))
    return drawn.clip(0, 255).astype(np.uint16)


def _row(model: LoadedModel, side: int) -> str:
    image, asked = Image(_noise(side, 1), "YX"), RestorationParameters()
    made = predict(image, model, asked)
    network = min(seconds(lambda: predict(image, model, asked), repeats=REPEATS))
    light = min(seconds(lambda: trust_of(image, model, asked, made), repeats=REPEATS))
    share = light / network
    met = "met" if share < GOAL else "**missed**"
    return f"| {side}² | {network:.3f} | {light:.4f} | {100 * share:.1f} % | < 5 %, {met} |"
