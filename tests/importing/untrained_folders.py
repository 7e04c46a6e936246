"""Model folders as stardist and n2v write them, with weights that learnt nothing, and what the
packages themselves predict: `python untrained_folders.py stardist|n2v FOLDER`."""

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np


def stardist(folder: Path) -> None:
    """`nuclei` beside an image and its labels by `predict_instances`."""
    import tensorflow as tf
    from csbdeep.utils import normalize
    from stardist.models import Config2D, StarDist2D  # noqa: TID251 - in its own environment

    tf.keras.utils.set_random_seed(1)
    config = Config2D(
        n_rays=16, grid=(2, 2), unet_n_depth=2, unet_n_filter_base=4, net_conv_after_unet=8
    )
    model = StarDist2D(config, name="nuclei", basedir=str(folder))
    model.keras_model.save_weights(str(folder / "nuclei" / "weights_best.h5"))
    image = np.random.default_rng(0).gamma(2, 100, (96, 110)).astype(np.float32)
    prob, _ = model.predict(normalize(image, 1, 99.8))
    threshold = float(np.quantile(prob, 0.9))
    stored = {"prob": threshold, "nms": 0.3}
    (folder / "nuclei" / "thresholds.json").write_text(json.dumps(stored))
    labels, _ = model.predict_instances(
        normalize(image, 1, 99.8), prob_thresh=threshold, nms_thresh=0.3
    )
    np.savez(folder / "expected.npz", image=image, answer=labels)


def n2v(folder: Path) -> None:
    """`spots` beside an image and n2v's own prediction."""
    import tensorflow as tf
    from n2v.models import N2V, N2VConfig

    tf.keras.utils.set_random_seed(1)
    image = np.random.default_rng(0).normal(100, 20, (64, 72)).astype(np.float32)
    config = N2VConfig(
        image[None, ..., None],
        unet_n_depth=2,
        unet_n_first=4,
        batch_norm=True,
        single_net_per_channel=False,
        n2v_patch_shape=(32, 32),
    )
    model = N2V(config, name="spots", basedir=str(folder))
    model.keras_model.save_weights(str(folder / "spots" / "weights_best.h5"))
    np.savez(folder / "expected.npz", image=image, answer=model.predict(image, axes="YX"))


if __name__ == "__main__":
    {"stardist": stardist, "n2v": n2v}[sys.argv[1]](Path(sys.argv[2]))
