"""fnet's own parameters and presets. Knows the paper and the notebooks, not the framework."""

from typing import Annotated

from pydantic import Field

from training.common.config import RECOMMENDED, Preset
from training.torch_loop.config import TorchConfig


class FnetConfig(TorchConfig):
    """Parameters of an fnet training."""

    pooling_steps: Annotated[int, Field(ge=1, le=6)] = Field(
        default=4,
        description="How often the network halves the image (the paper's depth); it sees twice as "
        "far with each.",
    )
    first_filters: Annotated[int, Field(ge=2, le=256)] = Field(
        default=32,
        description="Filters of the first level (the paper's mult_chan), doubled with every "
        "level; half as many train about three times as fast.",
    )


QUICK = {
    "number_of_epochs": 6,
    "initial_learning_rate": 2e-3,
    "pooling_steps": 3,
}

PRESETS: dict[int, dict[str, Preset]] = {
    2: {
        RECOMMENDED: Preset(
            "Ours: the network of the paper with a cosine learning rate; minutes on a GPU, hours "
            "on a few CPU cores.",
            {"batch_size": 8},
        ),
        "quick": Preset(
            "For a first look: one or two minutes on two CPU cores.",
            {
                **QUICK,
                "number_of_steps": 25,
                "patch_size": 96,
                "batch_size": 8,
                "first_filters": 12,
            },
        ),
        "zerocost": Preset(
            "What the ZeroCostDL4Mic notebook fnet 2D v1.14.1 really uses when nothing is changed: "
            "1000 steps, here as 10 epochs, so that they are validated in between.",
            {
                "number_of_epochs": 10,
                "number_of_steps": 100,
                "patch_size": 128,
                "batch_size": 64,
                "percentage_validation": 10,
                "initial_learning_rate": 1e-3,
                "learning_rate_schedule": "constant",
                "pooling_steps": 4,
                "first_filters": 32,
                "use_data_augmentation": True,
            },
        ),
    },
    3: {
        RECOMMENDED: Preset(
            "Ours: the network of the paper, slices halved only as often as there are enough; an "
            "hour on a GPU, many on a CPU.",
            {"batch_size": 4},
        ),
        "quick": Preset(
            "For a first look: two minutes on two CPU cores.",
            {
                **QUICK,
                "pooling_steps": 2,
                "number_of_steps": 15,
                "patch_size": 48,
                "patch_height": 16,
                "batch_size": 4,
                "first_filters": 8,
            },
        ),
        "zerocost": Preset(
            "What the ZeroCostDL4Mic notebook fnet 3D v1.13.1 really uses when nothing is changed: "
            "50 000 steps, here as 500 epochs, so that they are validated in between.",
            {
                "number_of_epochs": 500,
                "number_of_steps": 100,
                "patch_size": 64,
                "patch_height": 32,
                "batch_size": 4,
                "percentage_validation": 10,
                "initial_learning_rate": 1e-3,
                "learning_rate_schedule": "constant",
                "pooling_steps": 4,
                "pooling_steps_z": 4,
                "first_filters": 32,
                "use_data_augmentation": False,
            },
        ),
    },
}
