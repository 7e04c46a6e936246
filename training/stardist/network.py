"""The StarDist network in TensorFlow: built by stardist, trained step by step here.

stardist's own `train` is not used: it cannot be stopped or resumed, and it keeps its
checkpoints where the next training of the same name deletes them. Its network, its
targets, its losses and its search for thresholds are.
"""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from csbdeep.utils.tf import BACKEND
from numpy.typing import NDArray
from stardist.models import Config2D, Config3D, StarDist2D, StarDist3D
from stardist.models.base import masked_loss_iou, masked_loss_mae, masked_loss_mse

from micserve.artifact.contract import Head
from training.common.keras_onnx import write_onnx
from training.common.keras_training import KerasNetwork, Loss
from training.common.learner import Arrays, Exported, OnStep, Plan, Samples
from training.common.pairs import PairedDataset
from training.common.schedule import learning_rate
from training.stardist.config import StarDistConfig
from training.stardist.geometry import Geometry, measure
from training.stardist.patch_plan import multiples
from training.stardist.patches import NORMALIZATION, Labelled, PatchSource
from training.stardist.thresholds import optimised

Float = NDArray[np.float32]

PROB, DIST = "prob", "dist"
"""Heads: how surely an object is here, and how far its border is along each ray."""

SHOWN = 8
"""Patches in the report."""

DIST_LOSSES = {"mae": masked_loss_mae, "mse": masked_loss_mse, "iou": masked_loss_iou}


class StarDistLearner:
    """A `Learner`: one StarDist network being trained."""

    normalization = NORMALIZATION

    def __init__(self, config: StarDistConfig, plan: Plan, data: PairedDataset) -> None:
        tf.keras.utils.set_random_seed(config.seed)
        self._config, self._plan = config, plan
        self._geometry = measure(data.train, config)
        self._held = [Labelled.of(pair) for pair in data.validation]
        self._train = self._source([Labelled.of(pair) for pair in data.train])
        self._watched = self._source(self._held)
        self._validation = self._watched.fixed(config.seed)
        self._stardist = _built(config, plan, self._geometry)
        model = self._stardist.keras_model
        self._heads = dict(zip((PROB, DIST), model.outputs, strict=True))
        # One array, distances first, so that a target has the same layout with its mask last.
        joined = tf.keras.layers.Concatenate()([self._heads[DIST], self._heads[PROB]])
        self._network = KerasNetwork(tf.keras.Model(model.inputs[0], joined), _loss(config))

    @property
    def device(self) -> str:
        return self._network.device

    @property
    def samples(self) -> Samples:
        seed = self._config.seed
        nothing = np.empty((0, 1, 1), np.float32)
        return Samples(
            train=self._train.shown(seed, most=SHOWN),
            validation=self._watched.shown(seed, most=SHOWN),
            augmented=self._train.augmented(seed)
            if self._config.use_data_augmentation
            else nothing,
        )

    def train_epoch(
        self, epoch: int, *, validation_losses: Sequence[float], on_step: OnStep
    ) -> Mapping[str, float]:
        """One epoch, counted from 0; the next batch is made while the network works on this one."""
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
        """On patches that are the same in every epoch; beside the loss, by how many pixels the
        distances are wrong inside objects (stardist's `relevant_mae`)."""
        source, target = self._validation
        size = self._config.batch_size
        loss = wrong = inside = 0.0
        for start in range(0, len(source), size):
            part = slice(start, start + size)
            loss += len(source[part]) * self._network.loss(source[part], target[part])
            distances, weight = target[part][..., :-1], target[part][..., -1]
            off = np.abs(self._network.run(source[part])[..., :-1] - distances).mean(axis=-1)
            wrong, inside = wrong + float((off * weight).sum()), inside + float(weight.sum())
        return {
            "val_loss": loss / len(source),
            "val_dist_mae": wrong / inside if inside else 0.0,
        }

    def weights(self) -> Arrays:
        return self._network.weights()

    def load_weights(self, arrays: Arrays) -> None:
        self._network.load_weights(arrays)

    def state(self) -> Arrays:
        return self._network.state()

    def load_state(self, arrays: Arrays) -> None:
        self._network.load_state(arrays)

    def run(self, batch: Float) -> Mapping[str, Float]:
        """(B, C, (Z,) Y, X) in network units through TensorFlow."""
        answer = np.moveaxis(self._network.run(np.moveaxis(batch, 1, -1)), -1, 1)
        return {PROB: answer[:, -1:], DIST: answer[:, :-1]}

    def export(self, folder: Path) -> Exported:
        """ONNX with free sizes, the thresholds, and a model folder as stardist reads it."""
        grid = self._geometry.grid
        multiple = multiples(self._config, grid)
        thresholds = optimised(self._stardist, self.run, self._held, multiple=multiple)
        channels = {PROB: 1, DIST: self._geometry.n_rays}
        return Exported(
            onnx=write_onnx(self._network.model, folder / "weights.onnx", self._heads),
            heads=tuple(Head(name=n, channels=c, stride=grid) for n, c in channels.items()),
            multiple=multiple,
            channels=self._config.channels,
            pad="end",
            attachments=self._native(folder, thresholds),
            parameters=self._facts(thresholds),
        )

    def _source(self, frames: Sequence[Labelled]) -> PatchSource:
        return PatchSource(frames, self._config, self._geometry, size=self._plan.patch_size)

    def _facts(self, thresholds: Mapping[str, float]) -> Mapping[str, Any]:
        """What `micserve.families.stardist` reads from the contract."""
        facts = {"n_rays": self._geometry.n_rays, "grid": list(self._geometry.grid), **thresholds}
        if self._geometry.anisotropy is None:
            return facts
        rays = json.loads(json.dumps(self._stardist.config.rays_json))
        return {**facts, "anisotropy": list(self._geometry.anisotropy), "rays": rays}

    def _native(self, folder: Path, thresholds: Mapping[str, float]) -> Mapping[str, Path]:
        """Weights, `config.json` and `thresholds.json` of stardist, with its name before each."""
        # By this name csbdeep writes the format that both Keras 2 and 3 read.
        weights = folder / "stardist_weights_best.h5"
        self._stardist.keras_model.save_weights(weights)
        config = folder / "stardist_config.json"
        words = json.dumps(vars(self._stardist.config), indent=1)
        config.write_text(words, encoding="utf-8")
        found = folder / "stardist_thresholds.json"
        stored = {"prob": thresholds["prob_thresh"], "nms": thresholds["nms_thresh"]}
        found.write_text(json.dumps(stored), encoding="utf-8")
        return {path.name: path for path in (weights, config, found)}


def _built(config: StarDistConfig, plan: Plan, geometry: Geometry) -> Any:
    """stardist's model, from the same parameters in its words."""
    ndim = len(plan.patch_size)
    same = {
        "grid": geometry.grid,
        "n_channel_in": config.channels,
        "unet_n_depth": config.unet_n_depth,
        "unet_n_filter_base": config.unet_n_first,
        "unet_kernel_size": (config.unet_kern_size,) * ndim,
        "net_conv_after_unet": config.net_conv_after_unet,
        "train_patch_size": plan.patch_size,
        "train_background_reg": config.train_background_reg,
        "train_foreground_only": config.train_foreground_only,
        "train_dist_loss": config.train_dist_loss,
        "train_loss_weights": (1, config.dist_loss_weight),
        "train_epochs": plan.epochs,
        "train_steps_per_epoch": plan.steps,
        "train_learning_rate": config.initial_learning_rate,
        "train_batch_size": config.batch_size,
    }
    # It prints which thresholds it begins with, which are not ours.
    with contextlib.redirect_stdout(io.StringIO()):
        if ndim == 2:
            return StarDist2D(Config2D(n_rays=geometry.n_rays, **same), "network", basedir=None)
        words = Config3D(rays=geometry.rays, anisotropy=geometry.anisotropy, **same)
        return StarDist3D(words, "network", basedir=None)


def _loss(config: StarDistConfig) -> Loss:
    """As `StarDistBase.prepare_for_training` puts it together."""
    distance_loss = DIST_LOSSES[config.train_dist_loss]

    def loss(target: Any, answer: Any) -> Any:
        truth, distances = target[..., -1:], target[..., :-1]
        by_probability = BACKEND.mean(BACKEND.binary_crossentropy(truth, answer[..., -1:]))
        masked = distance_loss(truth, reg_weight=config.train_background_reg)
        by_distance = BACKEND.mean(masked(distances, answer[..., :-1]))
        return by_probability + config.dist_loss_weight * by_distance

    return loss
