"""What a StarDist package says beyond what all packages say: rays, grid and thresholds."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator

from micserve.artifact.contract import Contract, ModelContract
from micserve.errors import PackageError

Threshold = Annotated[float, Field(ge=0, le=1)]

RaysName = Literal["Rays_GoldenSpiral", "Rays_Cartesian", "Rays_Tetra", "Rays_Octo"]


class Rays(Contract):
    """The directions of a 3D model's rays, as StarDist's `config.json` names them."""

    name: RaysName = "Rays_GoldenSpiral"
    kwargs: dict[str, Any]


class StarDistFacts(Contract):
    """`ModelContract.parameters` of a StarDist model."""

    n_rays: Annotated[int, Field(ge=3)]
    grid: tuple[PositiveInt, ...]
    """Input pixels per candidate, per spatial axis."""
    prob_thresh: Threshold
    """Optimised on validation images."""
    nms_thresh: Threshold
    anisotropy: tuple[float, float, float] | None = None
    """Pixel size along Z, Y, X over the smallest, of the training objects (3D)."""
    rays: Rays | None = None

    @model_validator(mode="after")
    def _rays_where_there_is_depth(self) -> Self:
        if (self.rays is not None) != (len(self.grid) == 3):
            raise ValueError("3D models name their rays, and only they do")
        return self


def read_facts(contract: ModelContract) -> StarDistFacts:
    """The facts of one model.

    Raises
    ------
    PackageError
        When they are missing or do not fit the network.
    """
    try:
        facts = StarDistFacts.model_validate(contract.parameters)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()
        )
        raise PackageError(
            f"{contract.name} does not say how its StarDist network is to be read ({reasons}). "
            "Export or import the model again."
        ) from error
    heads = {head.name: head for head in contract.network.heads}
    channels = {name: head.channels for name, head in heads.items()}
    if channels != {"prob": 1, "dist": facts.n_rays}:
        raise PackageError(
            f"{contract.name} is a StarDist model of {facts.n_rays} rays, so its network must "
            f"have the heads prob (1 channel) and dist ({facts.n_rays}), but it has {channels}."
        )
    if {head.stride for head in heads.values()} != {facts.grid} or contract.ndim != len(facts.grid):
        raise PackageError(
            f"{contract.name} has the grid {facts.grid}, but its {contract.ndim}D network says "
            f"{[head.stride for head in heads.values()]}. Export or import the model again."
        )
    if contract.network.tiling.pad != "end":
        raise PackageError(
            f"{contract.name} pads images before their first pixel, which would move its grid. "
            "Export or import the model again."
        )
    return facts


def build_rays(facts: StarDistFacts) -> Any:
    """The `stardist.rays3d` object of a 3D model.

    Raises
    ------
    PackageError
        When the description gives another number of rays.
    """
    from stardist import rays3d

    assert facts.rays is not None
    known: Mapping[str, Callable[..., Any]] = MappingProxyType(
        {name: getattr(rays3d, name) for name in RaysName.__args__}  # type: ignore[attr-defined]
    )
    try:
        rays = known[facts.rays.name](**facts.rays.kwargs)
    except (TypeError, ValueError) as error:
        raise PackageError(f"the rays of this StarDist model cannot be built: {error}") from error
    if len(rays) != facts.n_rays:
        raise PackageError(
            f"the rays of this StarDist model are {len(rays)}, but its network has {facts.n_rays}"
        )
    return rays
