"""The seam between the shared flow and a framework: what a family's trainer brings.

The flow knows epochs, files and publishing; the learner knows its network. All
arrays that cross are NumPy's, so that one checkpoint format serves all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.build import Citation
from micserve.artifact.contract import FamilyName, Head
from micserve.normalize import Normalization
from micserve.tiling import PadSide
from training.common.config import Preset, TrainingConfig
from training.common.images import Dataset

Arrays = Mapping[str, NDArray[Any]]
OnStep = Callable[[int, float], None]
"""(step within the epoch, counted from 1; its loss). May raise to stop the training."""

C = TypeVar("C", bound=TrainingConfig)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training will really do, before it starts."""

    epochs: int
    steps: int
    """Per epoch."""
    patch_size: tuple[int, ...]
    """Pixels per spatial axis."""
    notes: tuple[str, ...] = ()
    """Sentences about what differs from what was asked."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The trained network as files."""

    onnx: Path
    heads: tuple[Head, ...]
    multiple: tuple[int, ...]
    attachments: Mapping[str, Path] = field(default_factory=dict)
    """Native weights and the like: name in the package to file."""
    channels: int = 1
    """That the network takes at once (3 for RGB)."""
    pad: PadSide = "split"
    """Where images are padded to a multiple; at their end when the first pixel must stay first."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Of the contract: facts that prediction needs, such as a threshold."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Patches for the report, (N, Y, X) in grey values."""

    train: NDArray[np.float32]
    validation: NDArray[np.float32]
    augmented: NDArray[np.float32]
    """One patch in its augmented forms; empty without augmentation."""


class Learner(Protocol):
    """One network being trained."""

    @property
    def device(self) -> str:
        """What it runs on, in words."""

    @property
    def normalization(self) -> Normalization: ...

    @property
    def samples(self) -> Samples: ...

    def train_epoch(
        self, epoch: int, *, validation_losses: Sequence[float], on_step: OnStep
    ) -> Mapping[str, float]:
        """One epoch, counted from 0; `loss` and `learning_rate` at least. The same epoch from the
        same state gives the same batches, so that a resumed training goes on as it would have."""

    def validate(self) -> Mapping[str, float]:
        """`val_loss` at least."""

    def weights(self) -> Arrays: ...

    def load_weights(self, arrays: Arrays) -> None: ...

    def state(self) -> Arrays:
        """All that resuming needs besides the weights: the optimiser."""

    def load_state(self, arrays: Arrays) -> None: ...

    def run(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """(B, C, (Z,) Y, X) in network units through the framework's own network."""

    def export(self, folder: Path) -> Exported: ...


class Trainer(Protocol, Generic[C]):
    """A family's trainer."""

    @property
    def family(self) -> FamilyName: ...

    @property
    def title(self) -> str: ...

    @property
    def ndim(self) -> int: ...

    @property
    def config(self) -> type[C]: ...

    @property
    def presets(self) -> Mapping[str, Preset]: ...

    @property
    def citations(self) -> Sequence[Citation]: ...

    @property
    def restore_range(self) -> bool: ...

    def data(self, config: C) -> Dataset:
        """Read, check and split what the configuration names."""

    def reach(self, config: C) -> int:
        """Pixels that the network looks around a pixel: the gap between regions of one image."""

    def multiple(self, config: C) -> int:
        """Total stride of the network, pixels."""

    def plan(self, config: C, data: Dataset) -> Plan: ...

    def learner(self, config: C, plan: Plan, data: Dataset) -> Learner: ...

    def versions(self) -> Mapping[str, str]:
        """Of the frameworks."""

    def method(self, config: C) -> str:
        """How the network was built and trained, in words for a Methods section."""
