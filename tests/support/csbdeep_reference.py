"""The peer, run in the TensorFlow environment: csbdeep's own prediction on its own weights.

`python csbdeep_reference.py FOLDER`: FOLDER/asked.json lists cases (axes, shape,
probabilistic, depth, kernel, filters, repeats). For each number N, FOLDER/N.npy is
the image; N.onnx becomes the same network, N-mean.npy and N-scale.npy csbdeep's
answers, and FOLDER/done.json its seconds and processor seconds per prediction.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
from csbdeep.data import PercentileNormalizer
from csbdeep.models import CARE, Config

from training.common.keras_onnx import write_onnx

PERCENTILES = (2, 99.8)


def main(folder: Path) -> None:
    asked = json.loads((folder / "asked.json").read_text())
    seconds = [one(folder, number, case) for number, case in enumerate(asked)]
    (folder / "done.json").write_text(json.dumps(seconds))


def one(folder: Path, number: int, case: dict) -> list[tuple[float, float]]:
    model = network(case)
    keras = model.keras_model
    ends = keras.layers[-1].input if case["probabilistic"] else [keras.output]
    heads = dict(zip(("mean", "scale"), ends, strict=False))
    write_onnx(keras, folder / f"{number}.onnx", heads)
    image = np.load(folder / f"{number}.npy")
    runs = []
    for _ in range(case.get("repeats", 1)):
        wall, cpu = time.perf_counter(), time.process_time()
        answer = predicted(model, image, case)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    for name, pixels in answer.items():
        np.save(folder / f"{number}-{name}.npy", pixels)
    return runs


def network(case: dict) -> CARE:
    """Random weights; biases too, so that padding with zeros differs from padding with pixels."""
    config = Config(
        case["axes"],
        probabilistic=case["probabilistic"],
        unet_n_depth=case["depth"],
        unet_kern_size=case["kernel"],
        unet_n_first=case["filters"],
    )
    model = CARE(config, "peer", basedir=None)
    random = np.random.default_rng(0)
    weights = [
        array if array.ndim > 1 else random.normal(0, 0.05, array.shape)
        for array in model.keras_model.get_weights()
    ]
    model.keras_model.set_weights(weights)
    return model


def predicted(model: CARE, image: np.ndarray, case: dict) -> dict[str, np.ndarray]:
    normalizer = PercentileNormalizer(*PERCENTILES)
    if not case["probabilistic"]:
        return {"mean": model.predict(image, case["axes"], normalizer=normalizer)}
    found = model.predict_probabilistic(image, case["axes"], normalizer=normalizer)
    return {"mean": found.mean(), "scale": found.scale()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
