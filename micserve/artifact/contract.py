"""What a model package says about itself to micserve: `config.micserve` in its `rdf.yaml`.

These are the facts that the bioimage.io description has no words for, or only
in a form that is dear to read at the moment an image waits. What both say
(axes, halo, normalisation) is written to both from here, and `verify` compares.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from micserve.normalize import FixedZeroMeanUnitVariance, Identity, Normalization
from micserve.tiling import PadSide

FamilyName = Literal["n2v", "care", "stardist", "unet", "fnet"]

MODEL_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"


class Contract(BaseModel):
    """Frozen, and closed to names that we do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Tiling(Contract):
    """How the network may be fed, one entry per spatial axis, in pixels."""

    halo: tuple[Annotated[int, Field(ge=0)], ...] | None
    """Receptive-field radius, rounded up to `multiple`; None when the network looks at the
    whole image at once (a global operation) and must not be tiled."""
    multiple: tuple[PositiveInt, ...]
    """Total stride of the network."""
    pad: PadSide = "split"


class Head(Contract):
    """One output of the network."""

    name: str
    channels: PositiveInt = 1
    stride: tuple[PositiveInt, ...]
    """Input pixels per output pixel, per spatial axis (StarDist's grid; 1 elsewhere)."""


class Network(Contract):
    """The ONNX network: float32 (B, C, Y, X) or (B, C, Z, Y, X) in, one array per head out."""

    weights: str = "weights.onnx"
    """File in the package."""
    channels: PositiveInt = 1
    heads: Annotated[tuple[Head, ...], Field(min_length=1)]
    tiling: Tiling


class IntensityEnvelope(Contract):
    """Grey values of the training images, to tell when an image is far from them."""

    p1: float
    p50: float
    p99: float
    mean: float
    std: float


class ModelContract(Contract):
    """All that a service needs to run a model as it was trained."""

    contract: Literal[1] = 1
    name: Annotated[str, Field(pattern=MODEL_NAME)]
    family: FamilyName
    ndim: Literal[2, 3]
    network: Network
    normalization: Normalization
    restore_range: bool = False
    """True when the network's output is in normalised units and goes back to grey values, by the
    map that normalised the image."""
    pixel_size_um: dict[Literal["Z", "Y", "X"], float] | None = None
    """Of the training images, µm; None when they were not calibrated."""
    intensity: IntensityEnvelope | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Family-specific facts that prediction needs (StarDist: thresholds, rays, grid)."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Provenance: requested and effective parameters, data manifest with the split, versions,
    hardware, duration, seed."""

    @model_validator(mode="after")
    def _one_entry_per_axis(self) -> Self:
        tiling = self.network.tiling
        lengths = {len(tiling.multiple), *(len(head.stride) for head in self.network.heads)}
        if tiling.halo is not None:
            lengths.add(len(tiling.halo))
        if lengths != {self.ndim}:
            raise ValueError(f"halo, multiple and stride need {self.ndim} entries each")
        return self

    @property
    def gain_matters(self) -> bool:
        """Whether the network sees grey values as they are: a brighter image is another image."""
        return isinstance(self.normalization, FixedZeroMeanUnitVariance | Identity)

    @property
    def described_in_grey(self) -> bool:
        """Whether the bioimage.io description, and with it the test outputs, are in grey values.

        It has words for the way back only where that is the same for every image; else it
        describes the network's answer in normalised units, and micserve alone goes back.
        """
        return self.restore_range and self.gain_matters

    @property
    def spatial_axes(self) -> str:
        return "ZYX"[-self.ndim :]
