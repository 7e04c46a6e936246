"""How large the objects are, and what follows: where candidates sit, and where rays go.

Measured on the labels of the training images, so that nobody has to know it.
Knows labels and stardist's rays; no network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stardist.geometry import star_dist, star_dist3D
from stardist.rays3d import Rays_GoldenSpiral
from stardist.utils import calculate_extents, edt_prob
from threadpoolctl import threadpool_limits

from micserve.errors import TrainingDataError
from training.common.pairs import Pair
from training.stardist.config import GRIDS, StarDistConfig

CANDIDATES_ACROSS = 8
"""Places where the median object must still be found along each axis on the chosen grid."""

MOST_LABELS = (1 << 16) - 1
"""stardist's compiled code reads labels as 16 bit."""

Labels = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the network is to say about objects."""

    extents: tuple[float, ...]
    """Median height and width (and depth) of the training objects, pixels per spatial axis."""
    grid: tuple[int, ...]
    n_rays: int
    anisotropy: tuple[float, float, float] | None
    """Of the objects' voxels, 3D only: by what each axis is shorter than the longest."""

    @property
    def rays(self) -> Any:
        """The directions in 3D."""
        return Rays_GoldenSpiral(self.n_rays, anisotropy=self.anisotropy)

    @property
    def sentence(self) -> str:
        size = " × ".join(f"{extent:.0f}" for extent in self.extents)
        grid = " × ".join(map(str, self.grid))
        found = f"The objects have {size} pixels (median); the grid is {grid} pixels"
        if self.anisotropy is None:
            return f"{found}."
        return f"{found}, the anisotropy {' : '.join(f'{a:.2f}' for a in self.anisotropy)}."

    def targets(self, labels: Labels) -> NDArray[np.float32]:
        """(…, n_rays + 1) on the grid: distances, and last the object probability.

        As stardist's own `StarDistData2D` and `StarDistData3D` make them.
        """
        on_grid = tuple(slice(None, None, step) for step in self.grid)
        # More threads are no faster for a patch, and far slower on a machine that is busy.
        with threadpool_limits(1, user_api="openmp"):
            if self.anisotropy is None:
                distance = star_dist(labels, self.n_rays, mode="cpp", grid=self.grid)
                probability = edt_prob(labels[on_grid])
            else:
                distance = star_dist3D(labels, self.rays, mode="cpp", grid=self.grid)
                probability = edt_prob(labels, anisotropy=self.anisotropy)[on_grid]
        return np.concatenate([distance, probability[..., None]], axis=-1).astype(np.float32)


def measure(pairs: Sequence[Pair], config: StarDistConfig) -> Geometry:
    """Look at the labels of all images.

    Raises
    ------
    TrainingDataError
        When no object is drawn in any of them.
    """
    drawn = [labels for pair in pairs if (labels := labels_of(pair.target[0])).any()]
    if not drawn:
        raise TrainingDataError(
            "No object is drawn in any of the label images for training: StarDist learns from "
            "objects that have a number each, on a background of 0."
        )
    extents = tuple(float(e) for e in np.median([calculate_extents(d) for d in drawn], axis=0))
    asked = config.grid_parameter
    fitting = tuple(
        max(step for step in GRIDS if step == 1 or extent / step >= CANDIDATES_ACROSS)
        for extent in extents
    )
    anisotropy = tuple(max(extents) / extent for extent in extents) if len(extents) == 3 else None
    return Geometry(
        extents=extents,
        grid=fitting if asked == "auto" else (asked,) * len(extents),
        n_rays=config.n_rays,
        anisotropy=anisotropy,  # type: ignore[arg-type]
    )


def labels_of(target: NDArray[Any]) -> Labels:
    """Numbers of objects as stardist takes them; more than fit are counted from 1 again, which
    joins only objects that are far apart."""
    if target.dtype.kind == "u" and target.dtype.itemsize <= 2:
        return target.astype(np.uint16)
    numbers, index = np.unique(target, return_inverse=True)
    first = int(numbers[0] != 0)
    counted = np.arange(len(numbers)) + first
    wrapped = np.where(counted > 0, (counted - 1) % MOST_LABELS + 1, 0).astype(np.uint16)
    return wrapped[index].reshape(target.shape)
