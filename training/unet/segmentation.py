"""What U-Net learns from a mask: the `Task` of the shared torch learner."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from micserve.artifact.contract import Head
from micserve.normalize import ScaleRange, fit
from training.common.learner import Plan
from training.common.pairs import Pair, PairedDataset
from training.torch_loop.network import Shape, UNet, total_stride
from training.torch_loop.task import Example, Float
from training.unet.classes import balanced_weights, classes_of
from training.unet.config import UNetConfig
from training.unet.threshold import best_threshold

HEAD = "probability"

MEASURED_PIXELS = 1 << 20
"""Of one validation frame, in its middle; the threshold is not better for more."""
MEASURED_FRAMES = 32

SMOOTH = 1.0
"""Pixels added to both sides of Dice's fraction, so that an empty patch has one."""


class Segmentation:
    """Classes of pixels, from images that are scaled by their percentiles."""

    normalization = ScaleRange()
    smooth_targets = False

    def __init__(self, config: UNetConfig, plan: Plan, data: PairedDataset) -> None:
        self._config, self._ndim = config, len(plan.patch_size)
        self.classes = classes_of((*data.train, *data.validation), config.mask_type)
        self.train = [self._example(pair) for pair in data.train]
        self.validation = [self._example(pair) for pair in data.validation]
        self._strides = config.strides(self._ndim, data.smallest[0])
        self.multiple = total_stride(self._strides)
        self.heads = (Head(name=HEAD, channels=self.classes.outputs, stride=(1,) * self._ndim),)
        balanced = config.class_weights == "balanced"
        weights = balanced_weights(data.train, self.classes) if balanced else None
        self._weights = torch.tensor(weights) if weights else None

    def network(self) -> nn.Module:
        return UNet(
            Shape(
                ndim=self._ndim,
                outputs=self.classes.outputs,
                first=self._config.first_filters,
                strides=self._strides,
                batch_norm=self._config.batch_norm,
                dropout=self._config.dropout,
            )
        )

    def accepts(self, target: Float) -> bool:
        return float(np.count_nonzero(target)) >= self._config.min_fraction * target.size

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        weights = None if self._weights is None else self._weights.to(output.device)
        loss = output.new_zeros(())
        if "cross_entropy" in self._config.loss:
            loss = loss + cross_entropy(output, target, weights)
        if "dice" in self._config.loss:
            loss = loss + dice_loss(output, target)
        return loss

    def answering(self, network: nn.Module) -> nn.Module:
        last = nn.Sigmoid() if self.classes.binary else nn.Softmax(dim=1)
        return nn.Sequential(network, last)

    def parameters(self, run: Callable[[Float], Float]) -> Mapping[str, Any]:
        """Of a binary network, the threshold with the best overlap on the validation images."""
        facts: dict[str, Any] = {"class_values": list(self.classes.values)}
        if self.classes.binary:
            facts["threshold"] = best_threshold(self._answers(run))
        return facts

    def attachments(self, folder: Path) -> Mapping[str, Path]:
        return {}

    def _answers(self, run: Callable[[Float], Float]) -> Iterator[tuple[Float, Float]]:
        """Probability and truth of validation frames."""
        for example in self.validation[:MEASURED_FRAMES]:
            middle = (slice(None), *_middle(example.size))
            answer = run(example.normalized.apply(example.pixels[middle]))
            yield answer, example.answer(example.target[middle])

    def _example(self, pair: Pair) -> Example:
        return Example(
            pixels=pair.pixels,
            target=pair.target,
            normalized=fit(pair.pixels, self.normalization),
            answer=self.classes.index,
        )


def cross_entropy(output: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the pixels, each weighted by its class."""
    if output.shape[1] == 1:
        by_pixel = None if weights is None else weights[target.long()]
        return functional.binary_cross_entropy_with_logits(output, target, weight=by_pixel)
    return functional.cross_entropy(output, target[:, 0].long(), weight=weights)


def dice_loss(output: Tensor, target: Tensor) -> Tensor:
    """1 - 2|A∩B| / (|A| + |B|), of probabilities over the whole batch; mean of all classes but
    the background."""
    if output.shape[1] == 1:
        answers, truths = torch.sigmoid(output), target
    else:
        answers = torch.softmax(output, dim=1)[:, 1:]
        numbers = torch.arange(1, output.shape[1], device=output.device)
        truths = (target == numbers.view(1, -1, *(1,) * (target.ndim - 2))).to(output.dtype)
    axes = [0, *range(2, output.ndim)]
    both = (answers * truths).sum(dim=axes)
    either = answers.sum(dim=axes) + truths.sum(dim=axes)
    return 1 - ((2 * both + SMOOTH) / (either + SMOOTH)).mean()


def _middle(size: tuple[int, ...]) -> tuple[slice, ...]:
    """The middle of a frame, of at most so many pixels."""
    side = MEASURED_PIXELS ** (1 / len(size))
    spare = MEASURED_PIXELS / np.prod([min(n, side) for n in size])
    most = [min(n, int(side * spare ** (1 / 2))) for n in size]
    return tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(size, most, strict=True))
