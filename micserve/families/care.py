"""CARE 2D and 3D: restoration learnt from pairs, with how sure the network is of it [1].

A probabilistic CARE network answers with a Laplace distribution per pixel: its
mean is the restored image, its scale grows where the network is unsure.

References
----------
.. [1] Weigert et al. 2018, doi:10.1038/s41592-018-0216-7.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from micserve.artifact.contract import ModelContract
from micserve.errors import ParameterError
from micserve.families.base import (
    Heads,
    Pixelwise,
    PredictParameters,
    Restoration,
    RestorationParameters,
    Restored,
    to_dtype,
)
from micserve.normalize import Affine

SCALE = "scale"
"""The head that says how sure the network is."""


class CareParameters(RestorationParameters):
    """What a CARE model may be asked."""

    uncertainty: bool = Field(
        default=False,
        description="Return a second channel with the scale of each pixel's distribution, in grey "
        "values: where it is large, the network is unsure. Needs a probabilistic model.",
    )


class Care(Restoration):
    name = "care"
    title = "CARE"
    job = "restores images as if taken with more light; trained on pairs of noisy and clean ones"
    parameters = CareParameters

    def work(self, contract: ModelContract, asked: PredictParameters) -> Pixelwise:
        assert isinstance(asked, CareParameters)
        if not asked.uncertainty:
            return Restored(contract, asked)
        if SCALE not in {head.name for head in contract.network.heads}:
            raise ParameterError(
                f"{contract.name} was not trained to say how sure it is: leave out uncertainty, or "
                "use a model that was trained with probabilistic."
            )
        return WithUncertainty(contract, asked)


@dataclass(frozen=True, slots=True)
class WithUncertainty:
    """The restored image, and behind it the scale of its distribution."""

    contract: ModelContract
    asked: CareParameters

    shows_source_grey = False

    @property
    def channels(self) -> int:
        return sum(head.channels for head in self.contract.network.heads)

    def dtype(self, source: np.dtype[Any]) -> np.dtype[Any]:
        return self._image.dtype(source)

    def finish(self, heads: Heads, affine: Affine, dtype: np.dtype[Any]) -> NDArray[Any]:
        image = self._image.finish(heads, affine, dtype)
        scale = heads[SCALE]
        if self.contract.restore_range:
            # A width has no offset: what is added to all grey values does not change it.
            scale = Affine(np.zeros_like(affine.offset), affine.divisor).invert(scale)
        return np.concatenate([image, to_dtype(scale, dtype)])

    @property
    def _image(self) -> Restored:
        return Restored(self.contract, self.asked)
