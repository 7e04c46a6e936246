"""U-Net's own parameters and presets. Knows the notebooks, not the framework."""

from typing import Annotated, Literal

from pydantic import Field

from training.common.config import RECOMMENDED, Preset
from training.torch_loop.config import TorchConfig


class UNetConfig(TorchConfig):
    """Parameters of a U-Net training."""

    batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=8, description="Patches per training step. Take less if memory runs out."
    )
    mask_type: Literal["auto", "binary", "classes"] = Field(
        default="auto",
        description="binary: everything above 0 is object (labels of single objects too). classes: "
        "every value is a class of its own, the lowest the background. auto: binary when the masks "
        "hold two values.",
    )
    loss: Literal["dice_cross_entropy", "cross_entropy", "dice"] = Field(
        default="dice_cross_entropy",
        description="Cross entropy judges every pixel, Dice the overlap of whole classes, which "
        "counts more where objects are few.",
    )
    class_weights: Literal["balanced", "none"] = Field(
        default="none",
        description="balanced: a pixel of a rare class counts more in the cross entropy, as the "
        "notebooks have it; n / (classes × pixels of the class).",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of features left out at random in the two lowest levels."
    )
    min_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.02,
        description="Training patches with less than this share of object are replaced by another "
        "one where that is found in ten tries.",
    )
    rotation_range: Annotated[float, Field(ge=0, le=180)] = Field(
        default=0.0,
        description="Augmentation: rotate patches by up to this many degrees, besides the quarter "
        "turns.",
    )
    zoom_range: Annotated[float, Field(ge=0, lt=90)] = Field(
        default=10.0, description="Augmentation: enlarge or shrink patches by up to this, percent."
    )
    shear_range: Annotated[float, Field(ge=0, lt=60)] = Field(
        default=0.0, description="Augmentation: shear patches by up to this many degrees."
    )
    horizontal_shift: Annotated[float, Field(ge=0, le=50)] = Field(
        default=0.0, description="Augmentation: shift patches along X by up to this, percent."
    )
    vertical_shift: Annotated[float, Field(ge=0, le=50)] = Field(
        default=0.0, description="Augmentation: shift patches along Y by up to this, percent."
    )


QUICK = {"number_of_epochs": 6, "initial_learning_rate": 2e-3, "pooling_steps": 2}

PRESETS: dict[int, dict[str, Preset]] = {
    2: {
        RECOMMENDED: Preset(
            "Ours: Dice and cross entropy, batch normalisation, a cosine learning rate; minutes on "
            "a GPU, an hour or two on a few CPU cores.",
            {},
        ),
        "quick": Preset(
            "For a first look: about a minute on two CPU cores.",
            {**QUICK, "number_of_steps": 25, "patch_size": 96, "first_filters": 12},
        ),
        "zerocost": Preset(
            "What the ZeroCostDL4Mic notebook U-Net 2D v2.2.1 really uses when nothing is changed.",
            {
                "number_of_epochs": 100,
                "auto_steps_limit": None,
                "patch_size": 512,
                "batch_size": 4,
                "pooling_steps": 2,
                "first_filters": 64,
                "batch_norm": False,
                "dropout": 0.5,
                "percentage_validation": 10,
                "initial_learning_rate": 3e-4,
                "learning_rate_schedule": "plateau",
                "loss": "cross_entropy",
                "class_weights": "balanced",
                "min_fraction": 0.02,
                "rotation_range": 180,
                "zoom_range": 10,
                "shear_range": 10,
                "horizontal_shift": 10,
                "vertical_shift": 20,
            },
        ),
    },
    3: {
        RECOMMENDED: Preset(
            "Ours: Dice and cross entropy, batch normalisation, slices halved only as often as "
            "there are enough; minutes on a GPU, hours on a few CPU cores.",
            {"batch_size": 4, "first_filters": 16},
        ),
        "quick": Preset(
            "For a first look: one or two minutes on two CPU cores.",
            {
                **QUICK,
                "number_of_steps": 15,
                "patch_size": 48,
                "patch_height": 16,
                "batch_size": 4,
                "first_filters": 8,
            },
        ),
        "zerocost": Preset(
            "What the ZeroCostDL4Mic notebook U-Net 3D v3.1.2 really uses when nothing is changed.",
            {
                "number_of_epochs": 500,
                "auto_steps_limit": None,
                "patch_size": 256,
                "patch_height": 8,
                "batch_size": 3,
                "pooling_steps": 3,
                "first_filters": 32,
                "percentage_validation": 20,
                "initial_learning_rate": 1e-3,
                "learning_rate_schedule": "constant",
                "use_data_augmentation": False,
                "loss": "cross_entropy",
                "class_weights": "balanced",
                "min_fraction": 0,
            },
        ),
    },
}
