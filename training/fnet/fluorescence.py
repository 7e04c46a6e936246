"""What fnet learns from a pair: the `Task` of the shared torch learner.

Image and target have mean 0 and standard deviation 1, each image by its own, as
in the paper [1]. So the network cannot know how bright a new image's stain would
be; its answer is given in the grey values of the training targets, whose mean
and spread are part of the published network.

References
----------
.. [1] Ounkomol et al. 2018, doi:10.1038/s41592-018-0111-2.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from micserve.artifact.contract import Head
from micserve.normalize import ZeroMeanUnitVariance, fit
from training.common.learner import Plan
from training.common.pairs import Pair, PairedDataset
from training.fnet.config import FnetConfig
from training.torch_loop.network import Shape, UNet, total_stride
from training.torch_loop.task import Example, Float

HEAD = "fluorescence"
BETAS = (0.5, 0.999)
"""Of Adam, as in the paper's code."""


class Fluorescence:
    """Grey values of another channel, from images with mean 0 and standard deviation 1."""

    normalization = ZeroMeanUnitVariance()
    smooth_targets = True

    def __init__(self, config: FnetConfig, plan: Plan, data: PairedDataset) -> None:
        self._config, self._ndim = config, len(plan.patch_size)
        self.train = [self._example(pair) for pair in data.train]
        self.validation = [self._example(pair) for pair in data.validation]
        self._strides = config.strides(self._ndim, data.smallest[0])
        self.multiple = total_stride(self._strides)
        self.heads = (Head(name=HEAD, stride=(1,) * self._ndim),)
        maps = [fit(pair.target, self.normalization) for pair in data.train]
        self._offset = float(np.mean([m.offset[0] for m in maps]))
        self._gain = float(np.mean([m.divisor[0] for m in maps]))

    def network(self) -> nn.Module:
        return UNet(
            Shape(
                ndim=self._ndim,
                outputs=1,
                first=self._config.first_filters,
                strides=self._strides,
                down="convolution",
                batch_norm=self._config.batch_norm,
                last_kernel=3,
            )
        )

    def accepts(self, target: Float) -> bool:
        return True

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(output, target)

    def answering(self, network: nn.Module) -> nn.Module:
        return InGreyValues(network, gain=self._gain, offset=self._offset)

    def parameters(self, run: Callable[[Float], Float]) -> Mapping[str, Any]:
        return {"target_mean": self._offset, "target_std": self._gain}

    def attachments(self, folder: Path) -> Mapping[str, Path]:
        return {}

    def _example(self, pair: Pair) -> Example:
        return Example(
            pixels=pair.pixels,
            target=pair.target,
            normalized=fit(pair.pixels, self.normalization),
            answer=fit(pair.target, self.normalization).apply,
        )


class InGreyValues(nn.Module):
    """A network whose answer goes back to the targets' mean and standard deviation."""

    def __init__(self, network: nn.Module, *, gain: float, offset: float) -> None:
        super().__init__()
        self._network, self._gain, self._offset = network, gain, offset

    def forward(self, image: Tensor) -> Tensor:
        answer: Tensor = self._network(image)
        return torch.add(answer * self._gain, self._offset)
