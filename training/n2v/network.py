"""The Noise2Void network in TensorFlow: built by the n2v package, trained step by step here.

The package's own `train` is not used: it validates on training patches, cannot be
stopped or resumed, and prints. Its network, losses and masking are.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from n2v.internals.n2v_losses import loss_mae, loss_mse
from n2v.models import N2V
from n2v.models import N2VConfig as PackageConfig
from numpy.typing import NDArray

from micserve.artifact.contract import Head
from micserve.normalize import Affine, FixedZeroMeanUnitVariance
from training.common.images import Dataset, grey_statistics
from training.common.keras_onnx import write_onnx
from training.common.learner import Arrays, Exported, OnStep, Plan, Samples
from training.common.schedule import learning_rate
from training.n2v.config import N2VConfig
from training.n2v.patches import FORMS, VALIDATION_PATCHES, PatchSource, augmented

Float = NDArray[np.float32]

HEAD = "denoised"
RECALIBRATION_BATCHES = 16
RECALIBRATION_PATCHES = 32
"""Per batch: many, because batch norm averages the variance within batches."""

SHOWN = 8
"""Patches in the report."""


class Noise2VoidLearner:
    """A `Learner`: one Noise2Void network being trained."""

    def __init__(self, config: N2VConfig, plan: Plan, data: Dataset) -> None:
        tf.keras.utils.set_random_seed(config.seed)
        self._config, self._plan = config, plan
        grey = grey_statistics(data.train)
        self.normalization = FixedZeroMeanUnitVariance(mean=(grey["mean"],), std=(grey["std"],))
        self._affine = Affine(
            offset=np.array([grey["mean"]], np.float32), divisor=np.array([grey["std"]], np.float32)
        )
        size = plan.patch_size
        self._train = PatchSource(data.train, config, size=size, affine=self._affine)
        held = PatchSource(data.validation, config, size=size, affine=self._affine)
        self._validation = held.hidden_grid(config.seed, most=VALIDATION_PATCHES)
        self._shown = held.grid(config.seed, most=SHOWN)
        self._package = _package_config(config, plan, grey)
        self._model = _build(self._package)
        loss = loss_mse() if config.train_loss == "mse" else loss_mae()
        self._model.compile(tf.keras.optimizers.Adam(config.initial_learning_rate), loss)
        self._model.optimizer.build(self._model.trainable_variables)

    @property
    def device(self) -> str:
        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            return "the CPU (TensorFlow sees no GPU)"
        details = tf.config.experimental.get_device_details(gpus[0])
        return f"the GPU {details.get('device_name', gpus[0].name)}"

    @property
    def samples(self) -> Samples:
        random = np.random.default_rng(self._config.seed)
        forms = range(FORMS if self._config.use_data_augmentation else 0)
        # The liveliest of some: the forms of an empty patch all look the same.
        patch = max(self._train.grid(self._config.seed, most=VALIDATION_PATCHES), key=np.std)
        shown = [augmented(patch, form) for form in forms]
        return Samples(
            train=self._grey(self._train.cut(random, SHOWN)),
            validation=self._grey(self._shown),
            augmented=self._grey(np.stack(shown)) if shown else np.empty((0, 1, 1), np.float32),
        )

    def train_epoch(
        self, epoch: int, *, validation_losses: Sequence[float], on_step: OnStep
    ) -> Mapping[str, float]:
        """One epoch, counted from 0; the next batch is cut while the network works on this one."""
        steps = self._plan.steps
        batches = self._train.batches(epoch, count=steps)
        losses, rate = [], 0.0
        with ThreadPoolExecutor(1) as cutter:
            coming = cutter.submit(next, batches)
            for step in range(steps):
                batch = coming.result()
                if step + 1 < steps:
                    coming = cutter.submit(next, batches)
                rate = learning_rate(
                    self._config.learning_rate_schedule,
                    self._config.initial_learning_rate,
                    step=epoch * steps + step,
                    total=steps * self._plan.epochs,
                    validation_losses=validation_losses,
                )
                self._model.optimizer.learning_rate.assign(rate)
                losses.append(float(self._model.train_on_batch(*batch)))
                on_step(step + 1, losses[-1])
        self._recalibrate(epoch)
        return {"loss": float(np.mean(losses)), "learning_rate": rate}

    def validate(self) -> Mapping[str, float]:
        """The loss at the hidden pixels of patches that are the same in every epoch."""
        patches, target = self._validation
        size = self._config.batch_size
        total = weight = 0.0
        for start in range(0, len(patches), size):
            part = slice(start, start + size)
            hidden = float(target[part, ..., 1].sum())
            total += hidden * float(self._model.test_on_batch(patches[part], target[part]))
            weight += hidden
        return {"val_loss": total / weight}

    def weights(self) -> Arrays:
        return _numbered(self._model.get_weights())

    def load_weights(self, arrays: Arrays) -> None:
        self._model.set_weights(_ordered(arrays))

    def state(self) -> Arrays:
        return _numbered([variable.numpy() for variable in self._model.optimizer.variables])

    def load_state(self, arrays: Arrays) -> None:
        stored = _ordered(arrays)
        for variable, value in zip(self._model.optimizer.variables, stored, strict=True):
            variable.assign(value)

    def run(self, batch: Float) -> Mapping[str, Float]:
        """(B, 1, (Z,) Y, X) in network units through TensorFlow."""
        answer = self._model(np.moveaxis(batch, 1, -1), training=False).numpy()
        return {HEAD: np.moveaxis(answer, -1, 1)}

    def export(self, folder: Path) -> Exported:
        """ONNX with free sizes, and the weights and configuration as the n2v package reads them."""
        native = folder / "n2v_weights_best.h5"
        self._model.save_weights(native)
        config = folder / "n2v_config.json"
        config.write_text(json.dumps(vars(self._package), indent=1), encoding="utf-8")
        ndim = len(self._plan.patch_size)
        onnx = write_onnx(self._model, folder / "weights.onnx", {HEAD: self._model.output})
        return Exported(
            onnx=onnx,
            heads=(Head(name=HEAD, stride=(1,) * ndim),),
            multiple=(self._config.stride,) * ndim,
            attachments={native.name: native, config.name: config},
        )

    def _recalibrate(self, epoch: int) -> None:
        """Measure what batch norm normalises with, on training patches with nothing hidden.

        Its moving averages need some hundred steps to arrive where the network is; after a short
        training they make predictions worse than the noisy image. A plain mean over a few batches
        is right at any time. Layers read `momentum` only when they are called eagerly.
        """
        norms = [
            layer
            for layer in self._model.layers
            if isinstance(layer, tf.keras.layers.BatchNormalization)
        ]
        if not norms:
            return
        random = np.random.default_rng([self._config.seed, epoch, 1])
        usual = [layer.momentum for layer in norms]
        for done in range(RECALIBRATION_BATCHES):
            for layer in norms:
                layer.momentum = done / (done + 1)
            self._model(self._train.cut(random, RECALIBRATION_PATCHES), training=True)
        for layer, momentum in zip(norms, usual, strict=True):
            layer.momentum = momentum

    def _grey(self, patches: Float) -> Float:
        """(B, (Z,) Y, X, 1) in network units to (B, Y, X) grey values, of a stack its middle."""
        planes = patches[..., 0]
        planes = planes if planes.ndim == 3 else planes[:, planes.shape[1] // 2]
        return planes * self._affine.divisor[0] + self._affine.offset[0]


def _package_config(config: N2VConfig, plan: Plan, grey: Mapping[str, float]) -> PackageConfig:
    """The same parameters in the n2v package's words."""
    return PackageConfig(
        np.zeros((1, *plan.patch_size, 1), np.float32),
        means=[str(grey["mean"])],
        stds=[str(grey["std"])],
        unet_residual=config.unet_residual,
        unet_n_depth=config.unet_n_depth,
        unet_n_first=config.unet_n_first,
        unet_kern_size=config.unet_kern_size,
        batch_norm=config.batch_norm,
        # One channel: a network per channel would be the same with a slice in front of it.
        single_net_per_channel=False,
        train_loss=config.train_loss,
        train_epochs=plan.epochs,
        train_steps_per_epoch=plan.steps,
        train_batch_size=config.batch_size,
        train_learning_rate=config.initial_learning_rate,
        n2v_perc_pix=config.n2v_perc_pix,
        n2v_patch_shape=list(plan.patch_size),
        n2v_manipulator=config.n2v_manipulator,
        n2v_neighborhood_radius=config.n2v_neighborhood_radius,
    )


def _build(config: PackageConfig) -> Any:
    """The Keras network; the package wants a folder for its own files, which are not kept."""
    with tempfile.TemporaryDirectory() as folder:
        return N2V(config, "network", basedir=folder).keras_model


def _numbered(arrays: Sequence[NDArray[Any]]) -> Arrays:
    return {f"{number:04d}": np.asarray(array) for number, array in enumerate(arrays)}


def _ordered(arrays: Arrays) -> list[NDArray[Any]]:
    return [arrays[name] for name in sorted(arrays)]
