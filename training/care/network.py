"""The CARE network in TensorFlow: built by csbdeep, trained step by step here.

csbdeep's own `train` is not used: it cannot be stopped or resumed, and it keeps
its checkpoints where the next training of the same name deletes them. Its
network and its losses are.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from csbdeep.internals import losses
from csbdeep.models import CARE
from csbdeep.models import Config as PackageConfig
from numpy.typing import NDArray

from micserve.artifact.contract import Head
from micserve.normalize import ScaleRange
from training.care.config import CareConfig
from training.care.patches import FORMS, PREDICTED, VALIDATION_PATCHES, PairSource
from training.common.keras_onnx import write_onnx
from training.common.keras_training import KerasNetwork
from training.common.learner import Arrays, Exported, OnStep, Plan, Samples
from training.common.pairs import PairedDataset
from training.common.schedule import learning_rate

Float = NDArray[np.float32]

MEAN, SCALE = "mean", "scale"
"""Heads: the restored image, and the scale of its Laplace distribution."""

SHOWN = 8
"""Patches in the report."""


class CareLearner:
    """A `Learner`: one CARE network being trained."""

    def __init__(self, config: CareConfig, plan: Plan, data: PairedDataset) -> None:
        tf.keras.utils.set_random_seed(config.seed)
        self._config, self._plan = config, plan
        self.normalization = ScaleRange(min_percentile=PREDICTED[0], max_percentile=PREDICTED[1])
        self._train = PairSource(data.train, config, size=plan.patch_size)
        self._held = PairSource(data.validation, config, size=plan.patch_size)
        self._validation = self._held.grid(config.seed, most=VALIDATION_PATCHES)
        self._package = _package_config(config, plan)
        model = CARE(self._package, "network", basedir=None).keras_model
        self._network = KerasNetwork(model, getattr(losses, f"loss_{config.loss}")())
        self._heads = _heads(model, probabilistic=config.probabilistic)

    @property
    def device(self) -> str:
        return self._network.device

    @property
    def samples(self) -> Samples:
        seed = self._config.seed
        patch = self._train.shown(seed, most=1)[0]
        patch = patch[:, : patch.shape[1] // 2]
        forms = range(FORMS if self._config.use_data_augmentation else 0)
        turned = [np.rot90(patch, form % 4)[:: 1 if form < FORMS // 2 else -1] for form in forms]
        return Samples(
            train=self._train.shown(seed, most=SHOWN),
            validation=self._held.shown(seed, most=SHOWN),
            augmented=np.stack(turned) if turned else np.empty((0, 1, 1), np.float32),
        )

    def train_epoch(
        self, epoch: int, *, validation_losses: Sequence[float], on_step: OnStep
    ) -> Mapping[str, float]:
        """One epoch, counted from 0; the next batch is cut while the network works on this one."""
        steps = self._plan.steps
        batches = self._train.batches(epoch, count=steps)
        found, rate = [], 0.0
        with ThreadPoolExecutor(1) as cutter:
            coming = cutter.submit(next, batches)
            for step in range(steps):
                source, target = coming.result()
                if step + 1 < steps:
                    coming = cutter.submit(next, batches)
                rate = learning_rate(
                    self._config.learning_rate_schedule,
                    self._config.initial_learning_rate,
                    step=epoch * steps + step,
                    total=self._plan.epochs * steps,
                    validation_losses=validation_losses,
                )
                found.append(self._network.step(source, target, rate=rate))
                on_step(step + 1, found[-1])
        return {"loss": float(np.mean(found)), "learning_rate": rate}

    def validate(self) -> Mapping[str, float]:
        """On patches that are the same in every epoch; the error besides the loss, which for a
        probabilistic network is a likelihood and may be negative."""
        source, target = self._validation
        size = self._config.batch_size
        loss = error = 0.0
        for start in range(0, len(source), size):
            part = slice(start, start + size)
            count = len(source[part])
            loss += count * self._network.loss(source[part], target[part])
            answer = self._network.run(source[part])[..., :1]
            error += count * float(np.abs(answer - target[part]).mean())
        return {"val_loss": loss / len(source), "val_mae": error / len(source)}

    def weights(self) -> Arrays:
        return self._network.weights()

    def load_weights(self, arrays: Arrays) -> None:
        self._network.load_weights(arrays)

    def state(self) -> Arrays:
        return self._network.state()

    def load_state(self, arrays: Arrays) -> None:
        self._network.load_state(arrays)

    def run(self, batch: Float) -> Mapping[str, Float]:
        """(B, 1, (Z,) Y, X) in network units through TensorFlow."""
        answer = np.moveaxis(self._network.run(np.moveaxis(batch, 1, -1)), -1, 1)
        return {name: answer[:, number : number + 1] for number, name in enumerate(self._heads)}

    def export(self, folder: Path) -> Exported:
        """ONNX with free sizes, and the weights and configuration as csbdeep reads them."""
        ndim = len(self._plan.patch_size)
        model = self._network.model
        native = folder / "care.weights.h5"
        model.save_weights(native)
        config = folder / "care_config.json"
        config.write_text(json.dumps(vars(self._package), indent=1), encoding="utf-8")
        return Exported(
            onnx=write_onnx(model, folder / "weights.onnx", self._heads),
            heads=tuple(Head(name=name, stride=(1,) * ndim) for name in self._heads),
            multiple=(self._config.stride,) * ndim,
            attachments={native.name: native, config.name: config},
        )


def _package_config(config: CareConfig, plan: Plan) -> PackageConfig:
    """The same parameters in csbdeep's words."""
    return PackageConfig(
        "ZYX"[-len(plan.patch_size) :],
        n_channel_in=1,
        n_channel_out=1,
        probabilistic=config.probabilistic,
        unet_residual=config.unet_residual,
        unet_n_depth=config.unet_n_depth,
        unet_kern_size=config.unet_kern_size,
        unet_n_first=config.unet_n_first,
        train_loss=config.loss,
        train_epochs=plan.epochs,
        train_steps_per_epoch=plan.steps,
        train_learning_rate=config.initial_learning_rate,
        train_batch_size=config.batch_size,
    )


def _heads(model: Any, *, probabilistic: bool) -> dict[str, Any]:
    """csbdeep lays mean and scale one behind the other; we keep them apart."""
    if not probabilistic:
        return {MEAN: model.output}
    mean, scale = model.layers[-1].input
    return {MEAN: mean, SCALE: scale}
