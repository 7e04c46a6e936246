"""Noise2Void's own parameters and presets. Knows the notebook, not the framework."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from training.common.config import RECOMMENDED, Preset
from training.common.restoration import RestorationConfig

Manipulator = Literal["uniform_withCP", "uniform_withoutCP", "normal_withoutCP", "mean", "median"]
"""Of the n2v package, which has three more: two draw from a normal distribution (values that the
image does not have), and one does nothing."""


class N2VConfig(RestorationConfig):
    """Parameters of a Noise2Void training."""

    train_loss: Literal["mse", "mae"] = Field(
        default="mse",
        description="Mean squared error finds the mean of the noise, mean absolute error its "
        "median; take mse unless the noise has outliers.",
    )
    n2v_perc_pix: Annotated[float, Field(gt=0, le=25)] = Field(
        default=1.6, description="Share of the pixels of a patch that are hidden, in percent."
    )
    n2v_manipulator: Manipulator = Field(
        default="uniform_withCP",
        description="What a hidden pixel is replaced with: a neighbour (uniform, normal; withCP "
        "may choose the pixel itself), or the neighbourhood's mean or median.",
    )
    n2v_neighborhood_radius: Annotated[int, Field(ge=1, le=32)] = Field(
        default=5, description="How far neighbours are, in pixels."
    )
    batch_norm: bool = Field(
        default=False,
        description="Batch normalisation. Its statistics are measured anew after every epoch, so "
        "that short trainings do not fail; without it they learn faster.",
    )


_PLANES: Mapping[str, Preset] = {
    RECOMMENDED: Preset(
        "Ours: no batch normalisation, a cosine learning rate; minutes on a GPU, about an hour "
        "on a few CPU cores.",
        {},
    ),
    "quick": Preset(
        "For a first look and for the demo: about a minute on two CPU cores.",
        {
            "number_of_epochs": 8,
            "number_of_steps": 50,
            "batch_size": 8,
            "initial_learning_rate": 2e-3,
            "unet_n_first": 16,
        },
    ),
    "zerocost": Preset(
        "What the ZeroCostDL4Mic notebook N2V 2D v1.16.2 really uses when nothing is changed.",
        {
            "number_of_epochs": 100,
            "number_of_steps": "auto",
            "auto_steps_limit": None,
            "patch_size": 64,
            "batch_size": 128,
            "percentage_validation": 10,
            "initial_learning_rate": 4e-4,
            "learning_rate_schedule": "plateau",
            "use_data_augmentation": True,
            "train_loss": "mse",
            "n2v_perc_pix": 0.198,
            "n2v_manipulator": "uniform_withCP",
            "n2v_neighborhood_radius": 5,
            "unet_n_depth": 2,
            "unet_n_first": 32,
            "unet_kern_size": 3,
            "unet_residual": False,
            "batch_norm": True,
        },
    ),
}

_STACKS: Mapping[str, Preset] = {
    RECOMMENDED: Preset(
        "Ours: no batch normalisation, a cosine learning rate, patches as deep as they are useful; "
        "about an hour on a GPU.",
        {"patch_height": 16},
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
        },
    ),
    "zerocost": Preset(
        "What the ZeroCostDL4Mic notebook N2V 3D v1.16.2 really uses when nothing is changed.",
        {
            **_PLANES["zerocost"].values,
            "number_of_epochs": 10,
            "patch_height": 4,
        },
    ),
}

PRESETS: Mapping[int, Mapping[str, Preset]] = {2: _PLANES, 3: _STACKS}
"""By the number of dimensions."""
