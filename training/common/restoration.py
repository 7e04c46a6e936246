"""What Noise2Void and CARE share: the U-Net of csbdeep, by its parameters. Knows no framework."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from training.common.config import TrainingConfig


class RestorationConfig(TrainingConfig):
    """Parameters of csbdeep's U-Net: two convolutions per level, halved and doubled by two."""

    patch_height: Annotated[int, Field(ge=4, le=256)] | Literal["auto"] = Field(
        default="auto",
        description="Planes of a patch (3D only), rounded down to a multiple of the network's "
        "stride and limited by the thinnest stack; auto is 8 or what fits.",
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
        """Total stride of the U-Net, pixels, along every axis."""
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
