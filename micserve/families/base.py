"""What a model family is: what comes before and after its network.

A family is a value without state. It says which parameters a prediction takes,
how the output image looks, and how the network's answer for one tile becomes
pixels of it. Running the tiles is `micserve.predict`'s.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from micserve.artifact.contract import ModelContract
from micserve.normalize import Affine

OutputKind = Literal["image", "labels", "rois", "table", "bundle"]


class PredictParameters(BaseModel):
    """What every family may be asked. Users see these names, ranges and sentences as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    axes: Annotated[str | None, Field(pattern=r"^[TZCYXS]{2,6}$")] = Field(
        default=None,
        description="Axes of the image in file order, such as ZYX, when the file does not say "
        "them or says them wrong.",
    )
    channel: Annotated[int, Field(ge=1)] | Literal["all"] | None = Field(
        default=None,
        description="Channel to process, counted from 1, or `all` for one after another. Needed "
        "when the image has several channels and the model takes one.",
    )


class Family(Protocol):
    """One model family. Stateless; one instance serves all models of the family."""

    @property
    def name(self) -> str:
        """As in `ModelContract.family`."""

    @property
    def title(self) -> str: ...

    @property
    def job(self) -> str:
        """What it does, in words for a biologist."""

    @property
    def outputs(self) -> tuple[OutputKind, ...]: ...

    @property
    def parameters(self) -> type[PredictParameters]: ...

    def output_dtype(self, source: np.dtype[Any], asked: PredictParameters) -> np.dtype[Any]:
        """Of the output image."""

    def finish(
        self,
        heads: Mapping[str, NDArray[np.float32]],
        *,
        contract: ModelContract,
        affine: Affine,
        dtype: np.dtype[Any],
        asked: PredictParameters,
    ) -> NDArray[Any]:
        """One tile's heads, each (C, (Z,) Y, X), to (C, (Z,) Y, X) pixels of the output."""


class RestorationParameters(PredictParameters):
    """Denoising and restoration: an image in, an image in the same grey values out."""

    output_dtype: Literal["float32", "uint16", "uint8", "input"] = Field(
        default="float32",
        description="Type of the result: 32 bit float keeps every digit; uint8 and uint16 are "
        "rounded and limited to their range; `input` is the type of the image sent.",
    )
    clip: bool = Field(
        default=False,
        description="Set negative grey values of the result to 0.",
    )


class Restoration:
    """Pixelwise families: the network's one head is the image."""

    outputs: tuple[OutputKind, ...] = ("image",)
    parameters: type[PredictParameters] = RestorationParameters

    def output_dtype(self, source: np.dtype[Any], asked: PredictParameters) -> np.dtype[Any]:
        assert isinstance(asked, RestorationParameters)
        if asked.output_dtype != "input":
            return np.dtype(asked.output_dtype)
        return np.dtype(source.name) if source.name in WRITABLE else np.dtype(np.float32)

    def finish(
        self,
        heads: Mapping[str, NDArray[np.float32]],
        *,
        contract: ModelContract,
        affine: Affine,
        dtype: np.dtype[Any],
        asked: PredictParameters,
    ) -> NDArray[Any]:
        assert isinstance(asked, RestorationParameters)
        values = heads[contract.network.heads[0].name]
        if contract.restore_range:
            values = affine.invert(values)
        if asked.clip:
            values = np.maximum(values, 0)
        return to_dtype(values, dtype)


WRITABLE = {"uint8", "uint16", "float32"}
"""Pixel types that ImageJ has."""


def to_dtype(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round and limit to an integer type, or leave as float32."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
