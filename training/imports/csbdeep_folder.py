"""A csbdeep CARE model folder: `config.json` beside weights in HDF5."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from csbdeep.models import CARE, Config
from numpy.typing import NDArray

from micserve.errors import PackageError
from training.common.keras_onnx import write_onnx
from training.imports.comparing import difference

MEAN, SCALE = "mean", "scale"

PERCENTILES = {"id": "scale_range", "min_percentile": 2.0, "max_percentile": 99.8}
"""csbdeep's `PercentileNormalizer()`, with which `CARE.predict` scales unless told otherwise."""

WEIGHTS = ("weights_best.h5", "weights_last.h5", "weights_now.h5")


def convert(source: Path, target: Path) -> dict[str, Any]:
    """Build the network as csbdeep does, load its weights, write ONNX."""
    config = json.loads((source / "config.json").read_text("utf-8"))
    network = build(config)
    load_weights(network, weights_in(source))
    return describe(network, config, target, origin="a csbdeep model folder")


def build(config: dict[str, Any]) -> Any:
    """csbdeep's Keras network for its own configuration."""
    known = {k: v for k, v in config.items() if k not in ("n_dim", "unet_input_shape")}
    return CARE(Config(**known), name="imported", basedir=None).keras_model


def load_weights(network: Any, file: Path) -> None:
    try:
        network.load_weights(str(file))
    except (ValueError, OSError) as error:
        raise PackageError(
            f"{file.name} holds no weights of the network that config.json describes"
        ) from error


def describe(network: Any, config: dict[str, Any], target: Path, *, origin: str) -> dict[str, Any]:
    """Write ONNX, compare, and say what a service has to know."""
    ndim, channels = int(config["n_dim"]), int(config["n_channel_in"])
    outputs = int(config["n_channel_out"])
    heads = {MEAN: network.output}
    if config.get("probabilistic"):
        mean, scale = network.layers[-1].input
        heads = {MEAN: mean, SCALE: scale}
    write_onnx(network, target, heads)
    multiple = (2 ** int(config["unet_n_depth"]),) * ndim

    def original(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        answer = np.asarray(network(np.moveaxis(batch, 1, -1), training=False))
        answer = np.moveaxis(answer, -1, 1)
        return {name: answer[:, n * outputs : (n + 1) * outputs] for n, name in enumerate(heads)}

    worst = difference(target, original, ndim=ndim, channels=channels, multiple=multiple)
    return {
        "family": "care",
        "ndim": ndim,
        "channels": channels,
        "heads": [{"name": name, "channels": outputs, "stride": [1] * ndim} for name in heads],
        "multiple": multiple,
        "pad": "split",
        "normalization": PERCENTILES,
        # csbdeep goes back to grey values only where there are as many channels.
        "restore_range": channels == outputs,
        "parameters": {},
        "origin": origin,
        "difference": worst,
    }


def weights_in(source: Path) -> Path:
    """The best weights that there are."""
    for name in WEIGHTS:
        if (source / name).is_file():
            return source / name
    others = sorted(source.glob("*.h5"))
    if len(others) == 1:
        return others[0]
    raise PackageError(
        f"beside config.json there is none of {', '.join(WEIGHTS)}; name the weights that you want "
        "weights_best.h5"
    )
