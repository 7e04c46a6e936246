"""The peer, run in the TensorFlow environment: stardist's own prediction on its own weights.

`python -m tests.bench.stardist_reference FOLDER NDIM`: writes FOLDER/image.npy, FOLDER/net.onnx
and FOLDER/labels.npy, and prints seconds, thresholds and peak memory as JSON. The network is the
package's default one with random weights; its last layers are set so that it draws roundish
objects and takes a few per cent of the pixels for candidates, as trained networks do.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from csbdeep.utils import normalize
from stardist import Rays_GoldenSpiral
from stardist.models import Config2D, Config3D, StarDist2D, StarDist3D  # noqa: TID251

from tests.stardist.reference_run import scene
from training.common.keras_onnx import write_onnx

REPEATS = 5
RADIUS = {2: 10.0, 3: 6.0}
CANDIDATES = {2: 0.02, 3: 0.004}
SCENES = {
    2: ((1024, 1024), 900, [(6, 13), (6, 13)]),
    3: ((32, 128, 128), 90, [(3, 5), (6, 10), (6, 10)]),
}


def main(folder: Path, ndim: int) -> None:
    tf.keras.utils.set_random_seed(0)
    model = network(folder, ndim)
    image, _ = scene(*SCENES[ndim], 0)
    normal = normalize(image, 1, 99.8)
    prob = model.predict(normal)[0]
    model.thresholds = {"prob": float(np.quantile(prob, 1 - CANDIDATES[ndim])), "nms": 0.4}
    runs = []
    for _ in range(1 + REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        labels, _ = model.predict_instances(normalize(image, 1, 99.8))
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    np.save(folder / "image.npy", image)
    np.save(folder / "labels.npy", labels)
    inputs, outputs = model.keras_model.inputs, model.keras_model.outputs
    heads = dict(zip(("prob", "dist"), outputs, strict=True))
    write_onnx(tf.keras.Model(inputs[0], outputs), folder / "net.onnx", heads)
    facts = {
        "cost": np.min(runs[1:], axis=0).tolist(),
        "prob": model.thresholds.prob,
        "nms": model.thresholds.nms,
        "overlap": [int(n) for n in model._axes_tile_overlap("ZYX"[-ndim:])],
        "multiple": [int(n) for n in model._axes_div_by("ZYX"[-ndim:])],
        "grid": list(model.config.grid),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print("RESULT " + json.dumps(facts))


def network(folder: Path, ndim: int) -> StarDist2D | StarDist3D:
    if ndim == 2:
        config = Config2D(n_rays=32, grid=(2, 2))
        model = StarDist2D(config, name="peer", basedir=str(folder))
    else:
        rays = Rays_GoldenSpiral(64, anisotropy=(2.0, 1.0, 1.0))
        config = Config3D(rays=rays, grid=(1, 2, 2), anisotropy=(2.0, 1.0, 1.0))
        model = StarDist3D(config, name="peer", basedir=str(folder))
    for name, bias in (("prob", 0.0), ("dist", RADIUS[ndim])):
        layer = model.keras_model.get_layer(name)
        kernel, biases = layer.get_weights()
        layer.set_weights([kernel * (30 if name == "prob" else 1), np.full_like(biases, bias)])
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
