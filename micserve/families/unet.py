"""U-Net 2D and 3D: to which class each pixel belongs, or which object it is part of [1].

The network answers with probabilities: one channel (how sure it is that there
is an object) when it learnt from black and white masks, else one per class, the
background first. What is made of them is chosen per prediction.

References
----------
.. [1] Falk et al. 2019, doi:10.1038/s41592-018-0261-2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from micserve.artifact.contract import ModelContract
from micserve.errors import ParameterError
from micserve.families.base import Heads, Objectwise, OutputKind, Pixelwise, PredictParameters
from micserve.normalize import Affine
from micserve.objects import LARGEST_16_BIT_LABEL, Objects, Position
from micserve.tiling import PaddedFrame, Tile

DEFAULT_THRESHOLD = 0.5
OBJECT_GREY = 255
"""Of a black and white mask, as ImageJ makes them."""

WAIST = 0.75
"""Pixels by which a waist must be thinner (on either side) than what it joins."""

Threshold = Annotated[float, Field(gt=0, lt=1)]
Split = Literal["components", "watershed"]


class UNetParameters(PredictParameters):
    """Segmentation into classes or objects."""

    result: Literal["mask", "probability", "labels"] = Field(
        default="mask",
        description="mask: 255 where there is an object and 0 elsewhere, or the number of the "
        "class; probability: how sure the network is, 0 to 1, one channel per class; labels: a "
        "number of its own for every object.",
    )
    threshold: Threshold | None = Field(
        default=None,
        description="How sure the network must be that there is an object. By default the value "
        "that was best on the model's validation images. For models with two classes only.",
    )
    min_size: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Smaller objects are left out of labels, in pixels (voxels of a stack).",
    )
    split: Split = Field(
        default="components",
        description="How labels tell objects apart: components, which do not touch; watershed, "
        "which also cuts where touching objects have a waist.",
    )


class UNet:
    """Segmentation of classes that somebody drew masks of."""

    name = "unet"
    title = "U-Net"
    job = "marks what was drawn in its training masks: cells, membranes, nuclei, tissue"
    outputs: tuple[OutputKind, ...] = ("image", "rois", "table", "bundle")
    parameters: type[PredictParameters] = UNetParameters

    def work(self, contract: ModelContract, asked: PredictParameters) -> Pixelwise | Objectwise:
        assert isinstance(asked, UNetParameters)
        classes = _Classes.of(contract, asked)
        match asked.result:
            case "probability":
                return Probability(classes)
            case "mask":
                return Mask(classes)
            case "labels":
                return Labels(classes, asked.min_size, asked.split, _voxel(contract))

    def effective(self, contract: ModelContract, asked: PredictParameters) -> dict[str, Any]:
        """With the model's own threshold where none was asked for."""
        assert isinstance(asked, UNetParameters)
        return {**asked.model_dump(), "threshold": _Classes.of(contract, asked).threshold}


@dataclass(frozen=True, slots=True)
class _Classes:
    """What the network's channels mean, and which class a pixel gets."""

    head: str
    channels: int
    threshold: float | None
    """Of a network with one channel; None where the most likely class wins."""

    @classmethod
    def of(cls, contract: ModelContract, asked: UNetParameters) -> "_Classes":
        """Raise ParameterError when a threshold is asked of a network with several classes."""
        head = contract.network.heads[0]
        if head.channels == 1:
            own = float(contract.parameters.get("threshold", DEFAULT_THRESHOLD))
            return cls(head.name, 1, own if asked.threshold is None else asked.threshold)
        if asked.threshold is not None:
            raise ParameterError(
                f"{contract.name} tells {head.channels} classes apart and gives each pixel to the "
                "most likely one: leave out threshold, or ask for result=probability."
            )
        return cls(head.name, head.channels, None)

    def index(self, heads: Heads) -> NDArray[np.uint8]:
        """((Z,) Y, X): the number of each pixel's class, 0 the background."""
        answer = heads[self.head]
        if self.threshold is not None:
            return np.asarray(answer[0] > self.threshold, np.uint8)
        return np.asarray(answer.argmax(axis=0), np.uint8)

    def certainty(self, heads: Heads) -> NDArray[np.uint8]:
        """((Z,) Y, X): how sure the network is that there is an object, 0 to 255."""
        answer = heads[self.head]
        sure = answer[0] if self.threshold is not None else 1 - answer[0]
        return np.asarray(np.rint(np.clip(sure, 0, 1) * 255), np.uint8)


@dataclass(frozen=True, slots=True)
class Probability:
    """How sure the network is, as it says it."""

    classes: _Classes

    shows_source_grey = False

    @property
    def channels(self) -> int:
        return self.classes.channels

    def dtype(self, source: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def finish(self, heads: Heads, affine: Affine, dtype: np.dtype[Any]) -> NDArray[Any]:
        return heads[self.classes.head]


@dataclass(frozen=True, slots=True)
class Mask:
    """0 and 255, or the number of the class."""

    classes: _Classes

    shows_source_grey = False
    channels = 1

    def dtype(self, source: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    def finish(self, heads: Heads, affine: Affine, dtype: np.dtype[Any]) -> NDArray[Any]:
        index = self.classes.index(heads)
        return (index * OBJECT_GREY if self.classes.threshold is not None else index)[None]


@dataclass(frozen=True, slots=True)
class Labels:
    """Objects: what hangs together in one class, or what a watershed makes of it."""

    classes: _Classes
    min_size: int
    """Pixels."""
    split: Split
    voxel: tuple[float, ...]
    """Relative sizes along ((Z,) Y, X)."""

    def prepare(self, frame: NDArray[Any], affine: Affine) -> NDArray[Any]:
        return frame

    def sink(
        self, frame: PaddedFrame, *, shape: tuple[int, ...], position: Position
    ) -> "LabelSink":
        return LabelSink(self, frame, shape, position)


class LabelSink:
    """Gathers the classes of one frame, one byte per pixel, and one for how sure they are."""

    def __init__(
        self, how: Labels, frame: PaddedFrame, shape: tuple[int, ...], position: Position
    ) -> None:
        self._how, self._frame, self._position = how, frame, position
        self._index = np.zeros(shape, np.uint8)
        self._certainty = np.zeros(shape, np.uint8)

    def take(self, tile: Tile, heads: Heads) -> None:
        target, part = self._frame.inside(tile.write)
        self._index[target] = self._how.classes.index(heads)[part]
        self._certainty[target] = self._how.classes.certainty(heads)[part]

    def close(self, cancelled: Callable[[], bool] = lambda: False) -> "DrawnLabels":
        labels = separated(self._index, split=self._how.split, voxel=self._how.voxel)
        labels, count = without_small(labels, self._how.min_size)
        objects = _measured(labels, self._certainty, count, self._position)
        # Frames wait until all are searched, so each takes no more memory than it must.
        small = np.uint16 if count <= LARGEST_16_BIT_LABEL else np.int32
        return DrawnLabels(labels.astype(small), objects)


@dataclass(frozen=True, slots=True)
class DrawnLabels:
    """Labels that only have to be copied."""

    labels: NDArray[Any]
    objects: Objects

    @property
    def largest_label(self) -> int:
        return len(self.objects)

    def paint(self, into: NDArray[Any]) -> Objects:
        into[...] = self.labels
        return self.objects


def separated(
    index: NDArray[np.uint8], *, split: Split, voxel: tuple[float, ...]
) -> NDArray[np.int32]:
    """Classes to labels, 1 … n; 0 stays background.

    Pixels of one class that share an edge or a corner are one object. The watershed starts at the
    points that are deepest inside, and cuts where two such regions meet.
    """
    from skimage.measure import label

    components: NDArray[np.int32] = label(index, background=0, connectivity=index.ndim)
    if split == "components" or not components.any():
        return components
    cut = np.zeros_like(components)
    for value in np.unique(index[index > 0]):
        its = _at_waists(np.where(index == value, components, 0), voxel)
        cut[its > 0] = its[its > 0] + cut.max()
    return cut


def without_small(labels: NDArray[np.int32], least: int) -> tuple[NDArray[np.int32], int]:
    """Objects of at least so many pixels, numbered anew; and how many they are."""
    sizes = np.bincount(labels.ravel())
    kept = sizes >= max(least, 1)
    kept[0] = False
    numbers = np.where(kept, kept.cumsum(), 0).astype(np.int32)
    return numbers[labels], int(kept.sum())


def _at_waists(components: NDArray[np.int32], voxel: tuple[float, ...]) -> NDArray[np.int32]:
    """Cut touching objects; the depth is smoothed, so that a rough outline makes no cuts."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.measure import label
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    depth = gaussian_filter(
        distance_transform_edt(components > 0, sampling=voxel).astype(np.float32), 1
    )
    inside = np.where(components > 0, depth, 0)
    peaks = h_maxima(inside, WAIST)
    seeds = label(peaks, connectivity=inside.ndim)
    # An object that is too thin to have a deepest point keeps itself as its seed.
    seeded = np.unique(components[seeds > 0])
    lonely = (components > 0) & ~np.isin(components, seeded)
    seeds = np.where(lonely, components + seeds.max(), seeds)
    cut: NDArray[np.int32] = watershed(
        -inside, seeds, mask=components > 0, connectivity=inside.ndim
    )
    return cut


def _measured(
    labels: NDArray[np.int32], certainty: NDArray[np.uint8], count: int, position: Position
) -> Objects:
    """Mean certainty and centre of each object."""
    from scipy.ndimage import center_of_mass, mean

    numbers = np.arange(1, count + 1, dtype=np.int32)
    if not count:
        return Objects(
            numbers, np.zeros(0, np.float32), np.zeros((0, labels.ndim)), position=position
        )
    scores = np.asarray(mean(certainty, labels, numbers), np.float32) / np.float32(255)
    centres = np.asarray(center_of_mass(labels > 0, labels, numbers), np.float64)
    return Objects(numbers, scores, centres.reshape(count, labels.ndim), position=position)


def _voxel(contract: ModelContract) -> tuple[float, ...]:
    """Relative to the pixel along X; a cube where the training images were not calibrated."""
    sizes = contract.pixel_size_um
    if sizes is None:
        return (1.0,) * contract.ndim
    axes: tuple[Literal["Z", "Y", "X"], ...] = ("Z", "Y", "X")
    return tuple(sizes.get(axis, sizes["X"]) / sizes["X"] for axis in axes[-contract.ndim :])
