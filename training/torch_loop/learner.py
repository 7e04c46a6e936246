"""A network being trained in torch: the `Learner` of every family that brings a `Task`.

On a GPU it computes with 16 bit where that is safe and keeps channels last; what
is compared with ONNX Runtime and published is always 32 bit.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from micserve.normalize import Normalization
from micserve.tiling import pad_frame
from training.common.learner import Arrays, Exported, OnStep, Plan, Samples
from training.common.schedule import cosine, plateau
from training.torch_loop import arrays as stored
from training.torch_loop.config import TorchConfig
from training.torch_loop.export import write_onnx
from training.torch_loop.patches import (
    FORMS,
    Batch,
    Patches,
    Warp,
    batches,
    turned,
    warped_at_random,
)
from training.torch_loop.task import Float, Task

VALIDATION_PATCHES = 64
"""At most; the same in every epoch."""

STILL = Warp()

SHOWN = 4
"""Pairs in the report."""

SCALE = "loss_scale"
"""Name of the 16 bit loss scale among the optimiser's arrays."""


class TorchLearner:
    """One network being trained.

    Parameters
    ----------
    betas
        Of Adam.
    warp
        How far patches are warped, when there is augmentation.
    """

    def __init__(
        self,
        task: Task,
        config: TorchConfig,
        plan: Plan,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        warp: Warp = STILL,
    ) -> None:
        torch.manual_seed(config.seed)
        self._task, self._config, self._plan = task, config, plan
        self._warp = warp if config.use_data_augmentation else STILL
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._layout = torch.channels_last if len(plan.patch_size) == 2 else torch.channels_last_3d
        self._network = task.network().to(self._device)
        if self._on_gpu:
            self._network = self._network.to(memory_format=self._layout)
        self._trained = torch.compile(self._network) if config.compile else self._network
        self._optimizer = torch.optim.Adam(
            self._network.parameters(), lr=config.initial_learning_rate, betas=betas
        )
        self._half = (
            torch.bfloat16 if self._on_gpu and torch.cuda.is_bf16_supported() else torch.float16
        )
        # bfloat16 has the range of 32 bit; float16 needs its gradients scaled.
        self._scaler = torch.amp.GradScaler(
            "cuda", enabled=self._mixed and self._half is torch.float16
        )
        self._train = Patches(task.train, plan.patch_size)
        self._held = Patches(task.validation, plan.patch_size)
        self._validation = self._held.grid(config.seed, most=VALIDATION_PATCHES)

    @property
    def device(self) -> str:
        if not self._on_gpu:
            return "the CPU (torch sees no GPU)"
        return f"the GPU {torch.cuda.get_device_name(self._device)}"

    @property
    def normalization(self) -> Normalization:
        return self._task.normalization

    @property
    def samples(self) -> Samples:
        """Patches beside their targets, which are shown with the image's black and white."""
        random = np.random.default_rng(self._config.seed)
        train = self._train.cut(random, SHOWN, accepts=self._task.accepts)
        pixels, targets = self._validation
        grey = self._task.validation[0].normalized
        # Every image has its own map; one for all keeps the patches comparable.
        return Samples(
            train=grey.invert(_side_by_side(train)),
            validation=grey.invert(_side_by_side((pixels[:SHOWN], targets[:SHOWN]))),
            augmented=grey.invert(self._augmented((pixels[:1], targets[:1]), random)),
        )

    def train_epoch(
        self, epoch: int, *, validation_losses: Sequence[float], on_step: OnStep
    ) -> Mapping[str, float]:
        """One epoch, counted from 0; the next batch is cut while the network works on this one."""
        torch.manual_seed(self._config.seed + epoch)
        self._network.train()
        coming = batches(
            self._train,
            seed=self._config.seed,
            epoch=epoch,
            count=self._plan.steps,
            size=self._config.batch_size,
            accepts=self._task.accepts,
            turn=self._config.use_data_augmentation,
            warp=self._warp,
            smooth_targets=self._task.smooth_targets,
        )
        losses, rate = [], 0.0
        with ThreadPoolExecutor(1) as cutter:
            waiting = cutter.submit(next, coming)
            for step in range(self._plan.steps):
                batch = waiting.result()
                if step + 1 < self._plan.steps:
                    waiting = cutter.submit(next, coming)
                rate = self._rate(epoch * self._plan.steps + step, validation_losses)
                losses.append(self._step(batch, rate))
                on_step(step + 1, losses[-1])
        return {"loss": float(np.mean(losses)), "learning_rate": rate}

    def validate(self) -> Mapping[str, float]:
        """The loss of patches that are the same in every epoch, as augmentation leaves them."""
        self._network.eval()
        pixels, targets = self._validation
        size = self._config.batch_size
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(pixels), size):
                part = pixels[start : start + size], targets[start : start + size]
                total += len(part[0]) * float(self._loss(part))
        return {"val_loss": total / len(pixels)}

    def weights(self) -> Arrays:
        return stored.weights_of(self._network)

    def load_weights(self, arrays: Arrays) -> None:
        stored.load_weights(self._network, arrays)

    def state(self) -> Arrays:
        arrays = stored.optimizer_state(self._optimizer)
        if self._scaler.is_enabled():
            arrays[SCALE] = np.array(self._scaler.get_scale())
        return arrays

    def load_state(self, arrays: Arrays) -> None:
        adam = {name: array for name, array in arrays.items() if name != SCALE}
        stored.load_optimizer_state(self._optimizer, adam)
        if self._scaler.is_enabled() and SCALE in arrays:
            self._scaler.load_state_dict(
                {**self._scaler.state_dict(), "scale": float(arrays[SCALE])}
            )

    def run(self, batch: Float) -> Mapping[str, Float]:
        """(B, C, (Z,) Y, X) in network units through torch, in 32 bit."""
        network = self._task.answering(self._network).eval()
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            answer = network(torch.from_numpy(np.ascontiguousarray(batch)).to(self._device))
        return {self._task.heads[0].name: answer.float().cpu().numpy()}

    def export(self, folder: Path) -> Exported:
        """ONNX with free sizes."""
        self._network.eval()
        head = self._task.heads[0]
        return Exported(
            onnx=write_onnx(
                self._task.answering(self._network),
                folder / "weights.onnx",
                ndim=len(self._plan.patch_size),
                multiple=self._task.multiple,
                head=head.name,
            ),
            heads=self._task.heads,
            multiple=self._task.multiple,
            attachments=self._task.attachments(folder),
            parameters=self._task.parameters(self._whole),
        )

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    @property
    def _mixed(self) -> bool:
        return self._on_gpu and self._config.mixed_precision

    def _step(self, batch: Batch, rate: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return float(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        pixels, targets = (self._on_device(part) for part in batch)
        network: nn.Module = self._trained
        with torch.autocast(self._device.type, dtype=self._half, enabled=self._mixed):
            output = network(pixels)
        return self._task.loss(output.float(), targets)

    def _on_device(self, part: Float) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(part))
        if not self._on_gpu:
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True, memory_format=self._layout)

    def _rate(self, step: int, losses: Sequence[float]) -> float:
        highest = self._config.initial_learning_rate
        match self._config.learning_rate_schedule:
            case "cosine":
                return cosine(step, self._plan.steps * self._plan.epochs, highest)
            case "plateau":
                return plateau(losses, highest)
            case "constant":
                return highest

    def _whole(self, frame: Float) -> Float:
        """One normalised (C, (Z,) Y, X) frame of any size to the head's pixels."""
        padded = pad_frame(frame, multiple=self._task.multiple, side="end")
        everything = tuple(slice(0, n) for n in padded.shape)
        answer = self.run(padded.read(everything)[None])[self._task.heads[0].name][0]
        return answer[(slice(None), *(slice(0, n) for n in frame.shape[1:]))]

    def _augmented(self, pair: Batch, random: np.random.Generator) -> Float:
        """One patch in the forms that training may show it in."""
        if not self._config.use_data_augmentation:
            return np.empty((0, 1, 1), np.float32)
        shown = []
        for form in range(FORMS):
            pixels = pair[0]
            if self._warp.moves:
                pixels, _ = warped_at_random(
                    pair, self._warp, random, smooth_targets=self._task.smooth_targets
                )
            shown.append(_plane(turned(pixels[0], form)))
        return np.stack(shown)


def _side_by_side(batch: Batch) -> Float:
    """(N, Y, X): a patch, its target, the next patch, …"""
    pixels, targets = batch
    low, high = (float(value) for value in np.percentile(pixels, (0.5, 99.8)))
    span = float(np.ptp(targets)) or 1.0
    shown = (low + (targets - targets.min()) / span * (high - low)).astype(np.float32)
    return np.stack([_plane(part) for pair in zip(pixels, shown, strict=True) for part in pair])


def _plane(patch: Float) -> Float:
    """The first channel of (C, (Z,) Y, X), of a stack its middle slice."""
    first = patch[0]
    return first if first.ndim == 2 else first[first.shape[0] // 2]
