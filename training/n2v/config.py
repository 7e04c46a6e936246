"""Noise2Void's own parameters and presets. Knows the notebook, not the framework."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from training.common.config import RECOMMENDED, Preset, TrainingConfig

Manipulator = Literal["uniform_withCP", "uniform_withoutCP", "normal_withoutCP", "mean", "median"]
"""Of the n2v package, which has three more: two draw from a normal distribution (values that the
image does not have), and one does nothing."""


class N2VConfig(TrainingConfig):
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
    unet_n_depth: Annotated[int, Field(ge=1, le=5)] = Field(
        default=2, description="Poolings of the U-Net; sees about twice as far with each."
    )
    unet_n_first: Annotated[int, Field(ge=4, le=128)] = Field(
        default=32, description="Filters of the first level; 16 trains about three times as fast."
    )
    unet_kern_size: Literal[3, 5, 7] = Field(
        default=3, description="Side of the convolutions, pixels."
    )
    unet_residual: bool = Field(
        default=False, description="Predict the difference from the input instead of the image."
    )
    batch_norm: bool = Field(
        default=False,
        description="Batch normalisation. Its statistics are measured anew after every epoch, so "
        "that short trainings do not fail; without it they learn faster.",
    )

    @model_validator(mode="before")
    @classmethod
    def _kernel_from_text(cls, values: Any) -> Any:
        """Flags arrive as text, which a choice between numbers does not take."""
        size = values.get("unet_kern_size") if isinstance(values, dict) else None
        if isinstance(size, str) and size.isdigit():
            return {**values, "unet_kern_size": int(size)}
        return values

    @property
    def stride(self) -> int:
        """Total stride of the U-Net, pixels."""
        return int(2**self.unet_n_depth)

    @property
    def reach(self) -> int:
        """Pixels that the U-Net sees around a pixel, rounded up to the stride.

        Two convolutions per level on the way down and up, two in the middle; each pooling
        and upsampling adds less than one pixel of its level.
        """
        radius = self.unet_kern_size // 2
        levels = sum(4 * radius * 2**level for level in range(self.unet_n_depth))
        reach = levels + 2 * radius * self.stride + 2 * (self.stride - 1)
        return -(-reach // self.stride) * self.stride


PRESETS: dict[str, Preset] = {
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
