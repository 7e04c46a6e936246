"""The seam between the loop and a family: what is learnt from a pair."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from micserve.artifact.contract import Head
from micserve.normalize import Affine, Normalization

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """One (C, (Z,) Y, X) frame and its target as they are stored, with what makes them numbers
    that a network learns from. Both maps belong to the whole frame; patches are cut later."""

    pixels: NDArray[Any]
    target: NDArray[Any]
    normalized: Affine
    answer: Callable[[NDArray[Any]], Float]
    """A part of the target to what the network should say: (1, (Z,) Y, X)."""

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels per spatial axis."""
        return self.pixels.shape[1:]


class Task(Protocol):
    """What a family brings to the shared learner."""

    @property
    def normalization(self) -> Normalization: ...

    @property
    def train(self) -> Sequence[Example]: ...

    @property
    def validation(self) -> Sequence[Example]: ...

    @property
    def multiple(self) -> tuple[int, ...]:
        """Total stride of the network per spatial axis, pixels."""

    @property
    def heads(self) -> tuple[Head, ...]: ...

    @property
    def smooth_targets(self) -> bool:
        """Whether a target may be interpolated; classes may not."""

    def network(self) -> nn.Module:
        """As it is trained: normalised pixels in, what `loss` takes out."""

    def accepts(self, target: Float) -> bool:
        """Whether a training patch with this target teaches enough to be used."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """(B, outputs, …) and (B, 1, …) to one number."""

    def answering(self, network: nn.Module) -> nn.Module:
        """As it is published: normalised pixels in, the head out."""

    def parameters(self, run: Callable[[Float], Float]) -> Mapping[str, Any]:
        """Facts that prediction needs, measured on validation images with the trained network.

        `run` takes one normalised (C, (Z,) Y, X) frame of any size to the head's pixels.
        """

    def attachments(self, folder: Path) -> Mapping[str, Path]:
        """Further files for the package."""
