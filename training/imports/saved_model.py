"""csbdeep's `TF_SavedModel.zip`, unpacked: the form that its Fiji plugin reads.

It holds the weights under the names of csbdeep's layers, so that the network is
built anew as csbdeep builds it and compared with what the file itself answers:
a wrong guess is found out, whatever the reason.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from micserve.errors import PackageError
from training.imports.comparing import difference
from training.imports.csbdeep_folder import build, describe

DOWN = re.compile(r"^down_level_(\d+)_no_(\d+)")


def convert(source: Path, target: Path) -> dict[str, Any]:
    """Build csbdeep's network around the stored weights."""
    meta = json.loads((source / "meta.json").read_text("utf-8"))
    if meta.get("type") != "CARE":
        raise PackageError(
            f"it is a model of type {meta.get('type')}; CARE models are imported in this form, "
            "others from their model folder"
        )
    stored = _stored(source)
    config = _config(meta, stored)
    original = _original(source, probabilistic=bool(config["probabilistic"]))
    worst = {}
    for residual in (True, False):
        network = build({**config, "unet_residual": residual})
        _fill(network, stored)
        facts = describe(network, config, target, origin="csbdeep's TF_SavedModel.zip")
        worst[residual] = difference(
            target,
            original,
            ndim=facts["ndim"],
            channels=facts["channels"],
            multiple=facts["multiple"],
        )
        if worst[residual] < 1e-4:
            return {**facts, "difference": worst[residual]}
    raise PackageError(
        "its network is not one that csbdeep builds (what it answers differs by "
        f"{min(worst.values()):.1e} of the range); import its model folder instead"
    )


def _stored(source: Path) -> Mapping[str, NDArray[np.float32]]:
    reader = tf.train.load_checkpoint(str(source / "variables" / "variables"))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.endswith(("/kernel", "/bias"))
    }


def _config(meta: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """csbdeep's configuration, from the shapes of the weights."""
    levels = [int(found[1]) for name in stored if (found := DOWN.match(name))]
    first = stored.get("down_level_0_no_0/kernel")
    if first is None or not levels:
        raise PackageError("its weights do not have the names that csbdeep gives them")
    ndim = first.ndim - 2
    outputs = _outputs(stored, first, probabilistic=bool(meta["probabilistic"]))
    return {
        "n_dim": ndim,
        "axes": "ZYX"[-ndim:] + "C",
        "n_channel_in": int(first.shape[-2]),
        "n_channel_out": outputs,
        "probabilistic": bool(meta["probabilistic"]),
        "unet_n_depth": max(levels) + 1,
        "unet_kern_size": int(first.shape[0]),
        "unet_n_first": int(first.shape[-1]),
    }


def _outputs(stored: Mapping[str, Any], first: Any, *, probabilistic: bool) -> int:
    """Channels of the layer that ends the U-Net."""
    named = re.compile(r"^(down|middle|up)_")
    last = [v for k, v in stored.items() if k.endswith("/kernel") and not named.match(k)]
    if len(last) not in (1, 2) or (len(last) == 2) != probabilistic:
        raise PackageError("its network does not end as csbdeep's do")
    return int(last[0].shape[-1])


def _fill(network: Any, stored: Mapping[str, NDArray[np.float32]]) -> None:
    """Layers of the same name; those that end the network by their order."""
    ends = sorted(k[: -len("/kernel")] for k in stored if re.match(r"^(conv|mean|scale)", k)
                  and k.endswith("/kernel"))  # fmt: skip
    for layer in network.layers:
        if not layer.get_weights():
            continue
        name = layer.name if f"{layer.name}/kernel" in stored else ends.pop(0)
        layer.set_weights([stored[f"{name}/kernel"], stored[f"{name}/bias"]])


def _original(source: Path, *, probabilistic: bool) -> Any:
    """What the file itself answers, through TensorFlow."""
    loaded = tf.saved_model.load(str(source))
    signature = next(iter(loaded.signatures.values()))
    [name] = signature.structured_input_signature[1]

    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        answers = signature(**{name: tf.constant(np.moveaxis(batch, 1, -1))})
        answer = np.moveaxis(np.asarray(next(iter(answers.values()))), -1, 1)
        if not probabilistic:
            return {"mean": answer}
        half = answer.shape[1] // 2
        return {"mean": answer[:, :half], "scale": answer[:, half:]}

    return run
