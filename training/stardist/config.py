"""StarDist's own parameters and presets. Knows the notebooks, not the framework."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from training.common.config import RECOMMENDED, Preset
from training.common.pairs import PairedConfig

GRIDS = (1, 2, 4)
"""Pixels per candidate that `auto` chooses from; stardist wants powers of two."""


class StarDistConfig(PairedConfig):
    """Parameters of a StarDist training."""

    patch_size: Annotated[int, Field(ge=16, le=1024)] | Literal["auto"] = Field(
        default="auto",
        description="Side of the square patches in pixels, rounded down to a multiple of the "
        "network's stride and limited by the smallest image; auto is 256 in 2D, 64 in 3D, or what "
        "fits. Objects must fit into it whole.",
    )
    patch_height: Annotated[int, Field(ge=4, le=256)] | Literal["auto"] = Field(
        default="auto",
        description="Planes of a patch (3D only), rounded down to a multiple of the network's "
        "stride and limited by the thinnest stack; auto is 32 or what fits.",
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=4, description="Patches per training step. Take less if memory runs out."
    )
    initial_learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=3e-4, description="Learning rate at the start."
    )
    use_data_augmentation: bool = Field(
        default=True,
        description="Turn patches by quarter turns, flip them, and change their brightness and "
        "noise.",
    )
    multiply_dataset_by: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        description="How often auto shows each patch in one epoch (each time changed by the "
        "augmentation).",
    )
    rgb: bool = Field(
        default=False,
        description="Learn from colour pictures such as H&E stained tissue, with all three "
        "colours (2D only).",
    )
    n_rays: Annotated[int, Field(ge=3, le=256)] = Field(
        default=32,
        description="Directions in which the distance to an object's border is learnt: 32 in 2D, "
        "64 to 96 in 3D.",
    )
    grid_parameter: Literal[1, 2, 4] | Literal["auto"] = Field(
        default="auto",
        description="Pixels per place where an object is looked for, along each axis; more is "
        "faster and sees farther. auto is measured on the objects of the training images, per "
        "axis.",
    )
    train_foreground_only: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.9, description="Share of the patches that must show part of an object."
    )
    train_background_reg: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1e-4, description="How strongly distances in the background are drawn to 0."
    )
    train_dist_loss: Literal["mae", "mse", "iou"] = Field(
        default="mae", description="How wrong distances count."
    )
    dist_loss_weight: Annotated[float, Field(gt=0, le=10)] = Field(
        default=0.2, description="Weight of the distances in the loss; the probability has 1."
    )
    unet_n_depth: Annotated[int, Field(ge=1, le=5)] = Field(
        default=3, description="Poolings of the U-Net; sees about twice as far with each."
    )
    unet_n_first: Annotated[int, Field(ge=4, le=128)] = Field(
        default=32, description="Filters of the first level; 16 trains about three times as fast."
    )
    unet_kern_size: Literal[3, 5, 7] = Field(
        default=3, description="Side of the convolutions, pixels."
    )
    net_conv_after_unet: Annotated[int, Field(ge=0, le=512)] = Field(
        default=128, description="Filters of one more convolution behind the U-Net; 0 for none."
    )

    @model_validator(mode="before")
    @classmethod
    def _numbers_from_text(cls, values: Any) -> Any:
        """Flags arrive as text, which a choice between numbers does not take."""
        if not isinstance(values, dict):
            return values
        chosen = {
            name: int(values[name])
            for name in ("unet_kern_size", "grid_parameter")
            if str(values.get(name, "")).isdigit()
        }
        return {**values, **chosen}

    @model_validator(mode="after")
    def _colour_is_flat(self) -> Self:
        if self.rgb and self.ndim == 3:
            raise ValueError("rgb is for 2D images only: leave it out, or train with ndim 2")
        return self

    @property
    def channels(self) -> int:
        """That the network takes."""
        return 3 if self.rgb else 1

    @property
    def stride(self) -> int:
        """Total stride of the network in the plane, pixels; the largest that `auto` can choose."""
        return int(self._largest_grid * 2**self.unet_n_depth)

    @property
    def reach(self) -> int:
        """Pixels that the network sees around a pixel in the plane, rounded up to the stride.

        Two convolutions per halving of the grid, per level of the U-Net on the way down and up,
        and in its middle; one behind it. Each pooling and upsampling adds less than one pixel of
        its level.
        """
        radius, depth, grid = self.unet_kern_size // 2, self.unet_n_depth, self._largest_grid
        before = sum(2 * radius * size + size for size in (1, 2) if size < grid)
        levels = sum(4 * radius * 2**level for level in range(depth))
        unet = levels + 2 * radius * 2**depth + 2 * (2**depth - 1) + radius
        reach = before + grid * unet
        return -(-reach // self.stride) * self.stride

    @property
    def _largest_grid(self) -> int:
        return max(GRIDS) if self.grid_parameter == "auto" else self.grid_parameter


PRESETS: Mapping[int, Mapping[str, Preset]] = {
    2: {
        RECOMMENDED: Preset(
            "Ours: stardist's network, a grid that fits the objects, a cosine learning rate; "
            "minutes on a GPU, hours on a few CPU cores.",
            {},
        ),
        "quick": Preset(
            "For a first look: two to four minutes on two CPU cores.",
            {
                "number_of_epochs": 12,
                "number_of_steps": 40,
                "batch_size": 4,
                "patch_size": 128,
                "initial_learning_rate": 1e-3,
                "unet_n_first": 16,
                "net_conv_after_unet": 64,
            },
        ),
        "zerocost": Preset(
            "What the ZeroCostDL4Mic notebook StarDist 2D v1.20.5 really uses when nothing is "
            "changed.",
            {
                "number_of_epochs": 100,
                "number_of_steps": "auto",
                "auto_steps_limit": None,
                "multiply_dataset_by": 4,
                "patch_size": 1024,
                "batch_size": 2,
                "percentage_validation": 10,
                "n_rays": 32,
                "grid_parameter": 2,
                "initial_learning_rate": 3e-4,
                "learning_rate_schedule": "plateau",
                "use_data_augmentation": True,
            },
        ),
    },
    3: {
        RECOMMENDED: Preset(
            "Ours: stardist's network, a grid and an anisotropy that fit the objects, a cosine "
            "learning rate; an hour on a GPU.",
            {"n_rays": 96, "unet_n_depth": 2, "batch_size": 2},
        ),
        "quick": Preset(
            "For a first look: two to four minutes on two CPU cores.",
            {
                "number_of_epochs": 10,
                "number_of_steps": 30,
                "batch_size": 2,
                "patch_size": 64,
                "patch_height": 32,
                "n_rays": 48,
                "initial_learning_rate": 1e-3,
                "unet_n_depth": 1,
                "unet_n_first": 16,
                "net_conv_after_unet": 32,
            },
        ),
        "zerocost": Preset(
            "What the ZeroCostDL4Mic notebook StarDist 3D v1.15.4 really uses when nothing is "
            "changed, but from new weights.",
            {
                "number_of_epochs": 100,
                "number_of_steps": "auto",
                "auto_steps_limit": None,
                "multiply_dataset_by": 1,
                "patch_size": 1024,
                "patch_height": 256,
                "batch_size": 2,
                "percentage_validation": 10,
                "n_rays": 96,
                "grid_parameter": 1,
                "initial_learning_rate": 3e-4,
                "learning_rate_schedule": "plateau",
                "use_data_augmentation": False,
                "unet_n_depth": 2,
            },
        ),
    },
}
"""By the number of dimensions."""
