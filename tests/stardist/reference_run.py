"""Run by the training environment: small StarDist models, their ONNX networks, and what
`predict_instances` makes of some images. Usage: reference_run.py FOLDER
"""

import json
import os
import sys
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402
from csbdeep.utils import normalize  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402
from stardist.models import Config2D, Config3D, StarDist2D, StarDist3D  # noqa: E402, TID251
from stardist.rays3d import Rays_GoldenSpiral  # noqa: E402

OPSET = 17
SCALES = (1.0, 0.7, 1.3)
CANDIDATES = {2: 0.06, 3: 0.03}
"""Share of pixels that are to be candidates: after so short a training no probability is high."""


def scene(shape, count, radii, seed):
    """Noisy grey values (uint16) and labels of some ellipsoids that may touch."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    grid = np.indices(shape, dtype=np.float32)
    for label in range(1, count + 1):
        centre = random.uniform(0, shape)
        size = np.array([random.uniform(*r) for r in radii])
        offset = (grid - centre.reshape(-1, *[1] * len(shape))) / size.reshape(
            -1, *[1] * len(shape)
        )
        inside = (offset**2).sum(axis=0) < 1
        labels[inside & (labels == 0)] = label
    brightness = random.uniform(300, 1200, count + 1)
    brightness[0] = 100
    grey = gaussian_filter(brightness[labels], 1.0) + random.normal(0, 25, shape)
    return grey.clip(0, 65535).astype(np.uint16), labels


def export(model, path, ndim):
    """Channels first, heads `prob` and `dist`, any size."""
    to_last = [0, *range(2, ndim + 2), 1]
    to_first = [0, ndim + 1, *range(1, ndim + 1)]

    def run(x):
        prob, dist = model.keras_model(tf.transpose(x, to_last), training=False)[:2]
        return {
            "prob": tf.transpose(prob, to_first, name="prob"),
            "dist": tf.transpose(dist, to_first, name="dist"),
        }

    spec = [tf.TensorSpec([None, 1] + [None] * ndim, tf.float32, name="input")]
    tf2onnx.convert.from_function(
        tf.function(run), input_signature=spec, opset=OPSET, output_path=str(path)
    )


def reference(folder, name, model, images, tiles):
    answers = {}
    normals = [normalize(image, 1, 99.8).astype(np.float32) for image in images]
    share = CANDIDATES[images[0].ndim]
    least, less = np.quantile(model.predict(normals[0])[0], [1 - share, 1 - 2 * share])
    model.thresholds = {"prob": round(float(least), 4), "nms": 0.3}
    crowded = {"prob_thresh": round(float(less), 4), "nms_thresh": 0.6}
    for number, (image, normal) in enumerate(zip(images, normals, strict=True)):
        prob, dist = model.predict(normal)[:2]
        answers |= {f"image{number}": image, f"normal{number}": normal}
        answers |= {f"prob{number}": prob, f"dist{number}": dist}
        for scale in SCALES:
            labels, details = model.predict_instances(normal, scale=None if scale == 1 else scale)
            answers[f"labels{number}_{scale}"] = labels
            answers[f"scores{number}_{scale}"] = details["prob"]
            answers[f"points{number}_{scale}"] = details["points"]
            if "coord" in details:
                answers[f"coord{number}_{scale}"] = details["coord"]
        answers[f"tiled{number}"] = model.predict_instances(
            normal, n_tiles=tiles, show_tile_progress=False
        )[0]
        answers[f"crowded{number}"] = model.predict_instances(normal, **crowded)[0]
    np.savez(folder / f"{name}.npz", **answers)
    return crowded


def train(model, scenes, epochs, steps):
    grey = [normalize(image, 1, 99.8).astype(np.float32) for image, _ in scenes]
    labels = [label for _, label in scenes]
    model.train(grey, labels, validation_data=(grey[:1], labels[:1]), epochs=epochs,
                steps_per_epoch=steps, seed=0)  # fmt: skip


def main(folder):
    tf.keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    small = {
        "unet_n_filter_base": 8,
        "net_conv_after_unet": 16,
        "train_batch_size": 2,
        "train_learning_rate": 2e-3,
        "train_tensorboard": False,
    }
    flat = StarDist2D(
        Config2D(n_rays=32, grid=(2, 2), unet_n_depth=2, train_patch_size=(96, 96), **small),
        name="flat", basedir=str(folder),
    )  # fmt: skip
    radii = [(6, 13), (6, 13)]
    train(flat, [scene((160, 192), 30, radii, seed) for seed in range(3)], 4, 40)
    images = [scene((203, 257), 60, radii, 10)[0], scene((96, 130), 14, radii, 11)[0]]
    export(flat, folder / "flat.onnx", 2)
    crowded = {"flat": reference(folder, "flat", flat, images, (2, 3))}

    rays = Rays_GoldenSpiral(32, anisotropy=(2.0, 1.0, 1.0))
    deep = StarDist3D(
        Config3D(rays=rays, grid=(1, 2, 2), anisotropy=(2.0, 1.0, 1.0), unet_n_depth=1,
                 train_patch_size=(16, 48, 48), **small),
        name="deep", basedir=str(folder),
    )  # fmt: skip
    radii = [(3, 5), (6, 10), (6, 10)]
    train(deep, [scene((24, 64, 64), 20, radii, seed) for seed in range(3)], 4, 60)
    export(deep, folder / "deep.onnx", 3)
    crowded["deep"] = reference(
        folder, "deep", deep, [scene((27, 71, 83), 30, radii, 20)[0]], (1, 2, 2)
    )
    facts = {
        "crowded": crowded,
        "rays": {"name": "Rays_GoldenSpiral", "kwargs": rays.kwargs},
        "thresholds": {"flat": list(flat.thresholds), "deep": list(deep.thresholds)},
        "overlap": {
            "flat": [int(n) for n in flat._axes_tile_overlap("YX")],
            "deep": [int(n) for n in deep._axes_tile_overlap("ZYX")],
        },
        "divisor": {
            "flat": [int(n) for n in flat._axes_div_by("YX")],
            "deep": [int(n) for n in deep._axes_div_by("ZYX")],
        },
    }
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
