"""Parameters that the torch families share, and what follows from them; loads no torch."""

import math
from typing import Annotated, Literal

from pydantic import Field

from micserve.errors import TrainingDataError
from training.common.images import SMALLEST, Dataset
from training.common.learner import Plan
from training.common.pairs import PairedConfig

AUTO_PATCH = {2: 128, 3: 64}
"""Pixels along Y and X that `auto` wishes for, by dimensions."""
AUTO_HEIGHT = 32
"""Slices that `auto` wishes for."""
SLICES_LEFT = 4
"""Slices that the lowest level of a network still sees, at least, when `auto` chooses."""

FORMS = 8
"""Quarter turns and their mirror images."""

Stride = tuple[int, ...]


class TorchConfig(PairedConfig):
    """Parameters of a training with the shared torch loop."""

    patch_height: Annotated[int, Field(ge=1, le=512)] | Literal["auto"] = Field(
        default="auto", description="Slices of a patch in 3D; auto is 32 or what fits."
    )
    pooling_steps: Annotated[int, Field(ge=1, le=6)] = Field(
        default=3, description="How often the network halves the image; it sees twice as far with "
        "each.",
    )  # fmt: skip
    pooling_steps_z: Annotated[int, Field(ge=0, le=6)] | Literal["auto"] = Field(
        default="auto",
        description="How often it halves the slices of a stack; auto as often as the patches have "
        "slices for, so that flat stacks work.",
    )
    first_filters: Annotated[int, Field(ge=2, le=256)] = Field(
        default=32,
        description="Filters of the first level, doubled with every level; half as many train "
        "about three times as fast.",
    )
    batch_norm: bool = Field(
        default=True, description="Normalise between the layers, over the patches of a batch."
    )
    mixed_precision: bool = Field(
        default=True,
        description="On a GPU, compute with 16 bit where that is safe: about twice as fast. The "
        "published network has 32 bit.",
    )
    compile: bool = Field(
        default=False,
        description="Let torch.compile translate the network first; pays for long trainings.",
    )

    def height(self, ndim: int) -> int:
        """Wished slices per patch."""
        return AUTO_HEIGHT if self.patch_height == "auto" else self.patch_height

    def side(self, ndim: int) -> int:
        """Wished pixels along Y and X."""
        return AUTO_PATCH[ndim] if self.patch_size == "auto" else self.patch_size

    def poolings_in_z(self, slices: int) -> int:
        """For patches or stacks of so many slices."""
        if self.pooling_steps_z != "auto":
            return min(self.pooling_steps_z, self.pooling_steps)
        slices = min(slices, self.height(3))
        fitting = int(math.log2(max(slices // SLICES_LEFT, 1)))
        return min(fitting, self.pooling_steps)

    def strides(self, ndim: int, slices: int = 1) -> tuple[Stride, ...]:
        """Per level; the upper levels of a flat stack leave the slices as they are."""
        flat = self.pooling_steps - (self.poolings_in_z(slices) if ndim == 3 else 0)
        return tuple(
            (2,) * ndim if ndim == 2 else (1 if level < flat else 2, 2, 2)
            for level in range(self.pooling_steps)
        )

    @property
    def stride(self) -> int:
        """Total stride in the plane, pixels."""
        return int(2**self.pooling_steps)

    @property
    def reach(self) -> int:
        """Pixels that the network sees around a pixel in the plane, rounded up to the stride.

        Two convolutions of radius 1 per level on the way down and up, two at the bottom, one at
        the end; each change of size adds less than one pixel of its level.
        """
        levels = sum(4 * 2**level for level in range(self.pooling_steps))
        reach = levels + 2 * self.stride + 2 * (self.stride - 1) + 1
        return -(-reach // self.stride) * self.stride


def plan_of(config: TorchConfig, data: Dataset, *, ndim: int) -> Plan:
    """Resolve `auto`, and say what could not be as it was asked.

    Raises
    ------
    TrainingDataError
        When no patch fits.
    """
    slices = data.smallest[0] if ndim == 3 else 1
    multiple = [math.prod(axis) for axis in zip(*config.strides(ndim, slices), strict=True)]
    wished = (
        [config.height(3), config.side(3), config.side(3)] if ndim == 3 else [config.side(2)] * 2
    )
    size = [
        (fitting := min(wish, n)) - fitting % m
        for wish, n, m in zip(wished, data.smallest, multiple, strict=True)
    ]
    size[-2:] = [min(size[-2:])] * 2
    if min(size[-2:]) < SMALLEST or min(size) < 1:
        raise TrainingDataError(
            f"The patches would have {' × '.join(map(str, size))} pixels with pooling_steps "
            f"{config.pooling_steps}, and at least {SMALLEST} × {SMALLEST} are needed: use larger "
            "images or fewer pooling_steps."
        )
    notes = _notes(config, size, wished, data, multiple)
    steps = config.number_of_steps
    if steps == "auto":
        count = sum(
            math.prod(n // s for n, s in zip(plane.size, size, strict=True)) for plane in data.train
        )
        steps = math.ceil(
            count * (FORMS if config.use_data_augmentation else 1) / config.batch_size
        )
        if config.auto_steps_limit is not None:
            steps = min(steps, config.auto_steps_limit)
    return Plan(config.number_of_epochs, steps, tuple(size), notes)


def _notes(
    config: TorchConfig, size: list[int], wished: list[int], data: Dataset, multiple: list[int]
) -> tuple[str, ...]:
    asked = [(config.patch_size, "patch_size", -1)]
    if len(size) == 3:
        asked.append((config.patch_height, "patch_height", 0))
    return tuple(
        f"{name} is {size[axis]} instead of {wished[axis]}: it must fit into the smallest image or "
        f"region ({' × '.join(map(str, data.smallest))} pixels) and be a multiple of "
        f"{multiple[axis]}."
        for value, name, axis in asked
        if value != "auto" and size[axis] != wished[axis]
    )
