"""CARE's own parameters and presets. Knows the notebooks, not the framework."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from training.common.config import RECOMMENDED, Preset
from training.common.pairs import PairedConfig
from training.common.restoration import RestorationConfig


class CareConfig(RestorationConfig, PairedConfig):
    """Parameters of a CARE training."""

    probabilistic: bool = Field(
        default=True,
        description="Learn with every pixel how sure the network is of it (a Laplace "
        "distribution's scale), which a prediction can return as a second channel.",
    )
    train_loss: Literal["mae", "mse"] = Field(
        default="mae",
        description="Mean absolute or mean squared error; a probabilistic network learns by the "
        "likelihood of the Laplace distribution instead.",
    )
    number_of_patches: Annotated[int, Field(ge=1)] = Field(
        default=50,
        description="Patches per image that one epoch shows when number_of_steps is auto; drawn "
        "anew in every epoch.",
    )
    skip_background: bool = Field(
        default=True,
        description="Leave out patches whose target is dark throughout, by csbdeep's rule.",
    )
    unet_kern_size: Literal[3, 5, 7] = Field(
        default=5, description="Side of the convolutions, pixels."
    )
    unet_residual: bool = Field(
        default=True, description="Predict the difference from the input instead of the image."
    )

    @property
    def loss(self) -> Literal["laplace", "mae", "mse"]:
        """What is really minimised."""
        return "laplace" if self.probabilistic else self.train_loss


PRESETS: Mapping[int, Mapping[str, Preset]] = {
    2: {
        RECOMMENDED: Preset(
            "Ours: csbdeep's U-Net and sampling, turned and flipped patches, a cosine learning "
            "rate; minutes on a GPU, about an hour on a few CPU cores.",
            {},
        ),
        "quick": Preset(
            "For a first look: one to two minutes on two CPU cores.",
            {
                "number_of_epochs": 10,
                "number_of_steps": 50,
                "batch_size": 8,
                "initial_learning_rate": 2e-3,
                "unet_n_first": 16,
                "unet_kern_size": 3,
            },
        ),
        "zerocost": Preset(
            "What the ZeroCostDL4Mic notebook CARE 2D v1.15.3 really uses when nothing is changed.",
            {
                "number_of_epochs": 100,
                "number_of_steps": "auto",
                "auto_steps_limit": None,
                "patch_size": 64,
                "number_of_patches": 50,
                "batch_size": 16,
                "percentage_validation": 10,
                "initial_learning_rate": 4e-4,
                "learning_rate_schedule": "plateau",
                "use_data_augmentation": False,
                "skip_background": False,
                "probabilistic": True,
                "unet_n_depth": 3,
                "unet_n_first": 32,
                "unet_kern_size": 5,
                "unet_residual": True,
            },
        ),
    },
    3: {
        RECOMMENDED: Preset(
            "Ours: csbdeep's U-Net and sampling, turned and flipped patches, a cosine learning "
            "rate; about an hour on a GPU.",
            {"unet_kern_size": 3, "patch_height": 16, "number_of_patches": 200},
        ),
        "quick": Preset(
            "For a first look: two minutes on two CPU cores.",
            {
                "number_of_epochs": 8,
                "number_of_steps": 40,
                "batch_size": 4,
                "patch_size": 32,
                "patch_height": 16,
                "initial_learning_rate": 2e-3,
                "unet_n_first": 16,
                "unet_kern_size": 3,
            },
        ),
        "zerocost": Preset(
            "What the ZeroCostDL4Mic notebook CARE 3D v1.15.3 really uses when nothing is changed.",
            {
                "number_of_epochs": 40,
                "number_of_steps": "auto",
                "auto_steps_limit": None,
                "patch_size": 80,
                "patch_height": 8,
                "number_of_patches": 200,
                "batch_size": 16,
                "percentage_validation": 10,
                "initial_learning_rate": 4e-4,
                "learning_rate_schedule": "plateau",
                "use_data_augmentation": False,
                "skip_background": False,
                "probabilistic": False,
                "train_loss": "mae",
                "unet_n_depth": 2,
                "unet_n_first": 32,
                "unet_kern_size": 3,
                "unet_residual": True,
            },
        ),
    },
}
"""By the number of dimensions."""
