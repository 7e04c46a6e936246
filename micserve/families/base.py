"""What a model family is: what comes before and after its network.

    Family.work(contract, asked) ──► Pixelwise    a tile's heads become its pixels at once
                                 └─► Objectwise   a frame's tiles are gathered, then objects drawn

A family is a value without state. It says which parameters a prediction takes
and which of the two its work is. Running the tiles is `micserve.predict`'s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from micserve.artifact.contract import ModelContract
from micserve.normalize import Affine, Identity
from micserve.objects import Objects, Position
from micserve.tiling import PaddedFrame, Tile

Heads = Mapping[str, NDArray[np.float32]]
"""What a network said about one tile, cut to the tile's core: (C, (Z,) Y, X) per head."""

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


class Pixelwise(Protocol):
    """Work whose result at a pixel needs the network's answer at that pixel alone."""

    @property
    def channels(self) -> int:
        """Of the result; more than one becomes its C axis."""

    @property
    def shows_source_grey(self) -> bool:
        """Whether grey values mean what they mean in the image sent, so that its display range
        suits the result."""

    def dtype(self, source: np.dtype[Any]) -> np.dtype[Any]:
        """Pixel type of the result, from that of the image sent."""

    def finish(self, heads: Heads, affine: Affine, dtype: np.dtype[Any]) -> NDArray[Any]:
        """One tile's heads to its (C, (Z,) Y, X) pixels of type `dtype`.

        `affine` is the map that normalised the frame.
        """


class Drawing(Protocol):
    """The objects of one frame, found but not drawn yet."""

    @property
    def largest_label(self) -> int: ...

    def paint(self, into: NDArray[Any]) -> Objects:
        """Overwrite (Y, X) or (Z, Y, X) with labels, and say which objects can be seen."""


class FrameSink(Protocol):
    """Where the tiles of one frame go, in any order."""

    def take(self, tile: Tile, heads: Heads) -> None: ...

    def close(self, cancelled: Callable[[], bool]) -> Drawing:
        """All tiles were taken.

        Raises
        ------
        CancelledError
            When `cancelled()` became true.
        """


@runtime_checkable
class Objectwise(Protocol):
    """Work that sees the network's whole answer for a frame before it knows its objects."""

    def prepare(self, frame: NDArray[Any], affine: Affine) -> NDArray[Any]:
        """The (C, (Z,) Y, X) frame that the network is to see, in grey values.

        `affine` was fitted to the frame as it was sent.
        """

    def sink(self, frame: PaddedFrame, *, shape: tuple[int, ...], position: Position) -> FrameSink:
        """Where the tiles of one frame go.

        Parameters
        ----------
        frame
            What `prepare` returned, padded.
        shape
            Spatial shape of the frame as it was sent, and of its drawing.
        position
            Which frame of the image it is.
        """


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

    def work(self, contract: ModelContract, asked: PredictParameters) -> Pixelwise | Objectwise:
        """What to do for these parameters, an instance of `parameters`."""

    def effective(self, contract: ModelContract, asked: PredictParameters) -> dict[str, Any]:
        """The parameters as they will be used: the model's own values where none were asked."""


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
    """Families whose network answers with the image: N2V, CARE, fnet."""

    outputs: tuple[OutputKind, ...] = ("image",)
    parameters: type[PredictParameters] = RestorationParameters

    def work(self, contract: ModelContract, asked: PredictParameters) -> Pixelwise:
        assert isinstance(asked, RestorationParameters)
        return Restored(contract, asked)

    def effective(self, contract: ModelContract, asked: PredictParameters) -> dict[str, Any]:
        return asked.model_dump()


@dataclass(frozen=True, slots=True)
class Restored:
    """The first head is the image, in normalised units or in grey values."""

    contract: ModelContract
    asked: RestorationParameters

    @property
    def channels(self) -> int:
        return self.contract.network.heads[0].channels

    @property
    def shows_source_grey(self) -> bool:
        """Not when it is another stain, as fnet's is."""
        return self.contract.restore_range or isinstance(self.contract.normalization, Identity)

    def dtype(self, source: np.dtype[Any]) -> np.dtype[Any]:
        if self.asked.output_dtype != "input":
            return np.dtype(self.asked.output_dtype)
        return np.dtype(source.name) if source.name in WRITABLE else np.dtype(np.float32)

    def finish(self, heads: Heads, affine: Affine, dtype: np.dtype[Any]) -> NDArray[Any]:
        values = heads[self.contract.network.heads[0].name]
        if self.contract.restore_range:
            values = affine.invert(values)
        if self.asked.clip:
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
