"""The peer, run in the Noise2Void environment: the `n2v` package's own predict on its own weights.

`python n2v_reference.py FOLDER`: writes FOLDER/n2v.onnx (the same network, random weights) and
prints seconds per prediction as JSON. The image is FOLDER/image.npy; the prediction of the
package goes to FOLDER/n2v.npy, so that both can be compared.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf2onnx
from n2v.models import N2V, N2VConfig

REPEATS = 3
TILINGS = {"notebook (2, 1)": (2, 1), "whole": None}
"""The notebook's own tiles, and none; the faster of the two is what we are compared with."""


def main(folder: Path) -> None:
    patches = np.random.default_rng(0).normal(100, 20, (8, 64, 64, 1)).astype(np.float32)
    config = N2VConfig(
        patches, unet_kern_size=3, train_loss="mse", batch_norm=False, n2v_patch_shape=(64, 64)
    )
    model = N2V(config, "peer", basedir=str(folder))
    tf2onnx.convert.from_keras(
        model.keras_model,
        input_signature=(tf.TensorSpec((None, None, None, 1), tf.float32, name="input"),),
        opset=15,
        inputs_as_nchw=["input"],
        outputs_as_nchw=[model.keras_model.output_names[0]],
        output_path=str(folder / "n2v.onnx"),
    )
    image = np.load(folder / "image.npy")
    seconds = {}
    for name, tiles in TILINGS.items():
        runs = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            result = model.predict(image, axes="YX", n_tiles=tiles)
            runs.append(time.perf_counter() - start)
        seconds[name] = runs
    np.save(folder / "n2v.npy", result)
    facts = {"mean": float(config.means[0]), "std": float(config.stds[0]), "seconds": seconds}
    print("RESULT " + json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
