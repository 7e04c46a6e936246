"""StarDist 2D and 3D as a family: its parameters, and how one frame becomes objects."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from micserve.artifact.contract import ModelContract
from micserve.errors import ParameterError
from micserve.families.base import Heads, OutputKind, PredictParameters
from micserve.families.stardist.candidates import CandidateCollector
from micserve.families.stardist.facts import (
    StarDistFacts,
    Threshold,
    build_rays,
    read_facts,
)
from micserve.normalize import Affine
from micserve.objects import Position
from micserve.tiling import PaddedFrame, Tile

if TYPE_CHECKING:
    from micserve.families.stardist.shapes import Shapes

MAX_SCALED_PIXELS = 1 << 29
"""A rescaled image is held in memory, as float32: 2 GiB."""


class StarDistParameters(PredictParameters):
    """Instance segmentation of star-convex objects."""

    prob_thresh: Threshold | None = Field(
        default=None,
        description="How sure the network must be that there is an object, 0 to 1. Higher finds "
        "fewer objects. By default the value that was best on the model's validation images.",
    )
    nms_thresh: Threshold | None = Field(
        default=None,
        description="How much two objects may overlap, 0 to 1, before the less sure one is "
        "dropped. By default the value that was best on the model's validation images.",
    )
    scale: Annotated[float, Field(gt=0, le=16)] = Field(
        default=1.0,
        description="Resize the image by this factor before it goes through the network, when "
        "its objects are larger or smaller in pixels than those that the model was trained on: "
        "0.5 if they are twice as large. The result has the size of the image sent.",
    )


class StarDist:
    """Detects and outlines cell nuclei and other roundish, star-convex objects."""

    name = "stardist"
    title = "StarDist"
    job = "finds cell nuclei and other roundish objects and outlines each of them"
    outputs: tuple[OutputKind, ...] = ("labels", "rois", "table", "bundle")
    parameters: type[PredictParameters] = StarDistParameters

    def effective(self, contract: ModelContract, asked: PredictParameters) -> dict[str, Any]:
        """The values that are used, the model's own where none was asked for."""
        facts = read_facts(contract)
        own = {"prob_thresh": facts.prob_thresh, "nms_thresh": facts.nms_thresh}
        given = {name: value for name, value in asked.model_dump().items() if value is not None}
        return asked.model_dump() | own | given

    def work(self, contract: ModelContract, asked: PredictParameters) -> "Search":
        """
        Raises
        ------
        PackageError
            When the model's package does not describe a StarDist network.
        """
        chosen = self.effective(contract, asked)
        facts = read_facts(contract)
        return Search(
            facts=facts,
            prob_thresh=chosen["prob_thresh"],
            nms_thresh=chosen["nms_thresh"],
            scale=chosen["scale"],
            rays=build_rays(facts) if contract.ndim == 3 else None,
        )


@dataclass(frozen=True, slots=True)
class Search:
    """Work on the frames of one image, with all values chosen."""

    facts: StarDistFacts
    prob_thresh: float
    nms_thresh: float
    scale: float
    rays: Any = None
    """The `stardist.rays3d` object of a 3D model."""

    def prepare(self, frame: NDArray[Any], affine: Affine) -> NDArray[Any]:
        """The frame at the size at which the network is to see it.

        `affine` is fitted to the frame as it was sent, as `predict_instances` is given an image
        that is normalised before it is scaled.

        Raises
        ------
        ParameterError
            When `scale` leaves no pixels, or too many.
        """
        if self.scale == 1:
            return frame
        sizes = [round(n * self.scale) for n in frame.shape[1:]]
        if 0 in sizes or np.prod([frame.shape[0], *sizes]) > MAX_SCALED_PIXELS:
            raise ParameterError(
                f"scale={self.scale:g} would make this image {' × '.join(map(str, sizes))} "
                "pixels. Choose a value nearer to 1."
            )
        from scipy.ndimage import zoom  # the gateway knows families, and has no SciPy

        native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
        # cval: what scipy writes where rounding takes it past the last pixel is then 0 when
        # normalised, as in predict_instances.
        channels = [
            zoom(grey, self.scale, output=np.float32, order=1, cval=float(offset))
            for grey, offset in zip(native, affine.offset, strict=True)
        ]
        return np.stack(channels)

    def sink(
        self, frame: PaddedFrame, *, shape: tuple[int, ...], position: Position
    ) -> "CandidateSink":
        return CandidateSink(self, frame, position)


class CandidateSink:
    """Takes the tiles of one frame in any order; memory grows with candidates, not with pixels."""

    def __init__(self, search: Search, frame: PaddedFrame, position: Position) -> None:
        self._search, self._position = search, position
        self._collector = CandidateCollector(
            frame,
            grid=search.facts.grid,
            n_rays=search.facts.n_rays,
            threshold=search.prob_thresh,
        )

    def take(self, tile: Tile, heads: Heads) -> None:
        self._collector.take(tile, heads)

    def close(self, cancelled: Callable[[], bool] = lambda: False) -> "Shapes":
        """All objects of the frame: suppression runs once, over the candidates of all tiles.

        Raises
        ------
        CancelledError
            When `cancelled()` became true.
        """
        from micserve.families.stardist.shapes import Shapes, suppress

        search = self._search
        kept = suppress(
            self._collector.close(),
            threshold=search.nms_thresh,
            rays=search.rays,
            cancelled=cancelled,
        )
        rescale = (1 / search.scale,) * len(search.facts.grid)
        return Shapes(kept, rescale=rescale, position=self._position, rays=search.rays)
