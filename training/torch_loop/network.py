"""The U-Net, in 2D and 3D, as segmentation and label-free prediction need it.

One class for both papers [1, 2]: they differ in how the image gets smaller (by
its maxima, or by a convolution with a stride) and in where it is normalised.
All convolutions keep the size of the image, and nothing looks at the whole
image at once, so that tiles give the same pixels as the whole.

References
----------
.. [1] Ronneberger, Fischer, Brox 2015, doi:10.1007/978-3-319-24574-4_28.
.. [2] Ounkomol et al. 2018, doi:10.1038/s41592-018-0111-2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Strides = tuple[tuple[int, ...], ...]
"""Per level from the top: by how much the next one is smaller, per spatial axis."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Which U-Net."""

    ndim: int
    outputs: int
    """Channels of the answer."""
    first: int
    """Filters of the first level; each level has twice as many as the one above."""
    strides: Strides
    down: Literal["max", "convolution"] = "max"
    batch_norm: bool = True
    dropout: float = 0.0
    """In the two lowest levels, as the notebooks have it."""
    last_kernel: Literal[1, 3] = 1
    channels: int = 1


class UNet(nn.Module):
    """(B, C, (Z,) Y, X) to (B, outputs, (Z,) Y, X); sizes are multiples of the total stride."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        layers = _Layers(shape)
        widths = [shape.first * 2**level for level in range(len(shape.strides) + 1)]
        lowest = len(widths) - 2
        self.down = nn.ModuleList(
            layers.block(before, width, dropped=level >= lowest)
            for level, (before, width) in enumerate(pairwise([shape.channels, *widths]))
        )
        self.smaller = nn.ModuleList(
            layers.smaller(width, stride)
            for width, stride in zip(widths, shape.strides, strict=False)
        )
        steps = list(zip(widths[1:], widths, shape.strides, strict=False))[::-1]
        self.larger = nn.ModuleList(layers.larger(low, width, s) for low, width, s in steps)
        self.up = nn.ModuleList(
            layers.block(2 * width, width, dropped=False) for _, width, _ in steps
        )
        self.last = layers.convolution(shape.first, shape.outputs, shape.last_kernel)
        self.apply(_he_normal)

    def forward(self, image: Tensor) -> Tensor:
        kept = []
        features = image
        for block, smaller in zip(self.down, self.smaller, strict=False):
            features = block(features)
            kept.append(features)
            features = smaller(features)
        features = self.down[-1](features)
        for larger, block in zip(self.larger, self.up, strict=True):
            features = block(torch.cat([kept.pop(), larger(features)], dim=1))
        answer: Tensor = self.last(features)
        return answer


def total_stride(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Of the whole network, per spatial axis, pixels."""
    product = [1] * len(strides[0])
    for stride in strides:
        product = [p * s for p, s in zip(product, stride, strict=True)]
    return tuple(product)


class _Layers:
    """The parts, in the right number of dimensions."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        three = shape.ndim == 3
        self._conv: type[nn.Module] = nn.Conv3d if three else nn.Conv2d
        self._transposed: type[nn.Module] = nn.ConvTranspose3d if three else nn.ConvTranspose2d
        self._norm: type[nn.Module] = nn.BatchNorm3d if three else nn.BatchNorm2d
        self._pool: type[nn.Module] = nn.MaxPool3d if three else nn.MaxPool2d

    def convolution(self, before: int, after: int, kernel: int) -> nn.Module:
        return self._conv(before, after, kernel_size=kernel, padding=kernel // 2)

    def block(self, before: int, after: int, *, dropped: bool) -> nn.Module:
        layers = [
            *self._activated(self.convolution(before, after, 3), after),
            *self._activated(self.convolution(after, after, 3), after),
        ]
        if dropped and self._shape.dropout:
            layers.append(nn.Dropout(self._shape.dropout))
        return nn.Sequential(*layers)

    def smaller(self, width: int, stride: tuple[int, ...]) -> nn.Module:
        if self._shape.down == "max":
            return self._pool(stride)
        strided = self._conv(width, width, kernel_size=stride, stride=stride)
        return nn.Sequential(*self._activated(strided, width))

    def larger(self, before: int, after: int, stride: tuple[int, ...]) -> nn.Module:
        learned = self._transposed(before, after, kernel_size=stride, stride=stride)
        return nn.Sequential(*self._activated(learned, after))

    def _activated(self, layer: nn.Module, width: int) -> list[nn.Module]:
        norm = [self._norm(width)] if self._shape.batch_norm else []
        return [layer, *norm, nn.ReLU()]


def _he_normal(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
