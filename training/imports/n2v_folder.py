"""An n2v model folder: `config.json` with means and stds, beside weights in HDF5."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from n2v.models import N2V, N2VConfig
from numpy.typing import NDArray

from micserve.errors import PackageError
from training.common.keras_onnx import write_onnx
from training.imports.comparing import difference

HEAD = "denoised"
WEIGHTS = ("weights_best.h5", "weights_last.h5", "weights_now.h5")


def convert(source: Path, target: Path) -> dict[str, Any]:
    """Build the network as n2v does, load its weights, write ONNX."""
    config = json.loads((source / "config.json").read_text("utf-8"))
    ndim, channels = int(config["n_dim"]), int(config["n_channel_in"])
    network = _build(config, ndim, channels)
    weights = next((source / name for name in WEIGHTS if (source / name).is_file()), None)
    if weights is None:
        raise PackageError(f"beside config.json there is none of {', '.join(WEIGHTS)}")
    network.load_weights(str(weights))
    write_onnx(network, target, {HEAD: network.output})
    multiple = (2 ** int(config["unet_n_depth"]),) * ndim

    def original(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        answer = np.asarray(network(np.moveaxis(batch, 1, -1), training=False))
        return {HEAD: np.moveaxis(answer, -1, 1)}

    worst = difference(target, original, ndim=ndim, channels=channels, multiple=multiple)
    return {
        "family": "n2v",
        "ndim": ndim,
        "channels": channels,
        "heads": [{"name": HEAD, "channels": channels, "stride": [1] * ndim}],
        "multiple": multiple,
        "pad": "split",
        "normalization": {
            "id": "fixed_zero_mean_unit_variance",
            "mean": [float(mean) for mean in config["means"]],
            "std": [float(std) for std in config["stds"]],
        },
        "restore_range": True,
        "parameters": {},
        "origin": "an n2v model folder",
        "difference": worst,
    }


def _build(config: dict[str, Any], ndim: int, channels: int) -> Any:
    """n2v's Keras network for its own configuration."""
    fixed = {"n_dim", "axes", "n_channel_in", "n_channel_out", "unet_input_shape"}
    known = {key: value for key, value in config.items() if key not in fixed}
    words = N2VConfig(np.zeros((1, *(64,) * ndim, channels), np.float32), **known)
    with tempfile.TemporaryDirectory() as folder:
        return N2V(words, "imported", basedir=folder).keras_model
