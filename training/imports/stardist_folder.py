"""A stardist model folder: `config.json`, `thresholds.json`, weights in HDF5."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from stardist.models import StarDist2D, StarDist3D

from micserve.errors import PackageError
from training.common.keras_onnx import write_onnx
from training.imports.comparing import difference
from training.imports.csbdeep_folder import load_weights, weights_in

PERCENTILES = {"id": "scale_range", "min_percentile": 1.0, "max_percentile": 99.8}
"""With which stardist's own models, its Fiji plugin and the notebooks scale images."""

DEFAULT = {"prob": 0.5, "nms": 0.4}
"""stardist's own, where there is no thresholds.json."""


def convert(source: Path, target: Path) -> dict[str, Any]:
    """Let stardist open its own folder, and write its network as ONNX."""
    words = json.loads((source / "config.json").read_text("utf-8"))
    kind = StarDist2D if int(words["n_dim"]) == 2 else StarDist3D
    weights = weights_in(source)
    with contextlib.redirect_stdout(io.StringIO()):
        model = kind(None, name=source.name, basedir=str(source.parent))
    config = model.config
    if getattr(config, "n_classes", None):
        raise PackageError("the model tells classes of objects apart, which is not supported here")
    load_weights(model.keras_model, weights)
    # stardist's own has a list of one input.
    network = tf.keras.Model(model.keras_model.inputs[0], model.keras_model.outputs)
    heads = dict(zip(("prob", "dist"), network.outputs, strict=True))
    write_onnx(network, target, heads)
    grid, ndim = tuple(config.grid), int(config.n_dim)
    multiple = tuple(int(div) for div in model._axes_div_by(config.axes.replace("C", "")))

    def original(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        answers = network(np.moveaxis(batch, 1, -1), training=False)
        return {
            name: np.moveaxis(np.asarray(answer), -1, 1)
            for name, answer in zip(heads, answers, strict=True)
        }

    channels = int(config.n_channel_in)
    worst = difference(target, original, ndim=ndim, channels=channels, multiple=multiple)
    counts = {"prob": 1, "dist": int(config.n_rays)}
    return {
        "family": "stardist",
        "ndim": ndim,
        "channels": channels,
        "heads": [{"name": n, "channels": c, "stride": grid} for n, c in counts.items()],
        "multiple": multiple,
        "pad": "end",
        "normalization": PERCENTILES,
        "restore_range": False,
        "parameters": _facts(config, _thresholds(source)),
        "origin": "a stardist model folder",
        "difference": worst,
    }


def _thresholds(source: Path) -> dict[str, float]:
    file = source / "thresholds.json"
    return {**DEFAULT, **(json.loads(file.read_text("utf-8")) if file.is_file() else {})}


def _facts(config: Any, thresholds: dict[str, float]) -> dict[str, Any]:
    facts = {
        "n_rays": int(config.n_rays),
        "grid": list(config.grid),
        "prob_thresh": float(thresholds["prob"]),
        "nms_thresh": float(thresholds["nms"]),
    }
    if int(config.n_dim) == 2:
        return facts
    anisotropy = config.anisotropy or (1.0, 1.0, 1.0)
    rays = json.loads(json.dumps(config.rays_json))
    return {**facts, "anisotropy": [float(a) for a in anisotropy], "rays": rays}
