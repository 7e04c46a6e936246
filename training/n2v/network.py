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
import onnx
import tensorflow as tf
import tf2onnx
from n2v.internals.n2v_losses import loss_mae, loss_mse
from n2v.models import N2V
from n2v.models import N2VConfig as PackageConfig
from numpy.typing import NDArray

from micserve.artifact.contract import Head
from micserve.normalize import Affine, FixedZeroMeanUnitVariance
from training.common.images import Dataset, grey_statistics
from training.common.learner import Arrays, Exported, OnStep, Plan, Samples
from training.common.schedule import cosine, plateau
from training.n2v.config import N2VConfig
from training.n2v.patches import FORMS, VALIDATION_PATCHES, PatchSource, augmented

Float = NDArray[np.float32]

HEAD = "denoised"
OPSET = 15
"""Understood by every ONNX Runtime since 1.10."""

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
        side = plan.patch_size[-1]
        self._train = PatchSource(data.train, config, side=side, affine=self._affine)
        held = PatchSource(data.validation, config, side=side, affine=self._affine)
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
                rate = self._rate(epoch * steps + step, validation_losses)
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
        """(B, 1, Y, X) in network units through TensorFlow."""
        answer = self._model(np.moveaxis(batch, 1, -1), training=False).numpy()
        return {HEAD: np.moveaxis(answer, -1, 1)}

    def export(self, folder: Path) -> Exported:
        """ONNX with free sizes, and the weights and configuration as the n2v package reads them."""
        native = folder / "n2v_weights_best.h5"
        self._model.save_weights(native)
        config = folder / "n2v_config.json"
        config.write_text(json.dumps(vars(self._package), indent=1), encoding="utf-8")
        return Exported(
            onnx=_to_onnx(self._model, folder / "weights.onnx"),
            heads=(Head(name=HEAD, stride=(1, 1)),),
            multiple=(self._config.stride,) * 2,
            attachments={native.name: native, config.name: config},
        )

    def _rate(self, step: int, losses: Sequence[float]) -> float:
        highest = self._config.initial_learning_rate
        match self._config.learning_rate_schedule:
            case "cosine":
                return cosine(step, self._plan.steps * self._plan.epochs, highest)
            case "plateau":
                return plateau(losses, highest)
            case "constant":
                return highest

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
        """(B, Y, X, 1) in network units to (B, Y, X) grey values."""
        return patches[..., 0] * self._affine.divisor[0] + self._affine.offset[0]


def _package_config(config: N2VConfig, plan: Plan, grey: Mapping[str, float]) -> PackageConfig:
    """The same parameters in the n2v package's words."""
    side = plan.patch_size[-1]
    return PackageConfig(
        np.zeros((1, side, side, 1), np.float32),
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


def _to_onnx(model: Any, path: Path) -> Path:
    """(B, 1, Y, X) in and out, with every size but the channel free."""
    signature = [tf.TensorSpec((None, None, None, 1), tf.float32, name="input")]
    source = model.output_names[0]
    proto, _ = tf2onnx.convert.from_keras(
        model,
        input_signature=signature,
        opset=OPSET,
        inputs_as_nchw=["input"],
        outputs_as_nchw=[source],
    )
    _rename_output(proto.graph, HEAD)
    _say_nearest_plainly(proto.graph)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return path


def _rename_output(graph: onnx.GraphProto, name: str) -> None:
    before = graph.output[0].name
    graph.output[0].name = name
    for node in graph.node:
        node.output[:] = [name if output == before else output for output in node.output]
        node.input[:] = [name if used == before else used for used in node.input]


def _say_nearest_plainly(graph: onnx.GraphProto) -> None:
    """Upsampling by whole numbers repeats pixels: say it as every runtime reads it.

    tf2onnx writes `tf_half_pixel_for_nn`, which opset 13 has dropped and ONNX Runtime warns of.
    """
    for node in graph.node:
        if node.op_type == "Resize":
            kept = [a for a in node.attribute if a.name == "mode"]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.append(
                onnx.helper.make_attribute("coordinate_transformation_mode", "asymmetric")
            )
            node.attribute.append(onnx.helper.make_attribute("nearest_mode", "floor"))


def _numbered(arrays: Sequence[NDArray[Any]]) -> Arrays:
    return {f"{number:04d}": np.asarray(array) for number, array in enumerate(arrays)}


def _ordered(arrays: Arrays) -> list[NDArray[Any]]:
    return [arrays[name] for name in sorted(arrays)]
