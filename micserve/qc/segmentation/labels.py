"""Label images and class masks, checked once and then read plane by plane as whole numbers.

The last `ndim` axes are one frame, in which a number means one object; all axes
before them are frames of their own. Here images are refused that cannot be
compared; behind it nobody checks again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from micserve.errors import QualityControlError
from micserve.qc.planes import Pixels, checked_pair

Numbers = NDArray[np.int64]
Dimensions = Literal[2, 3]

LARGEST = 2**31 - 1
"""Of a label: two of them fit into one 64 bit number."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelPair:
    """Prediction and ground truth of one image, of one shape, whole numbers from 0 on."""

    prediction: Pixels
    target: Pixels
    ndim: Dimensions

    @property
    def shape(self) -> tuple[int, ...]:
        return self.target.shape

    @property
    def planes_per_frame(self) -> int:
        return self.shape[-3] if self.ndim == 3 else 1

    def planes(self) -> Iterator[tuple[Numbers, Numbers]]:
        """(prediction, target) of each (Y, X) plane in stack order."""
        predictions, targets = _flat(self.prediction), _flat(self.target)
        for prediction, target in zip(predictions, targets, strict=True):
            yield prediction.astype(np.int64), target.astype(np.int64)


def checked_labels(
    prediction: Pixels, target: Pixels, *, name: str, ndim: int | None = None
) -> LabelPair:
    """Both as one pair, or a refusal that names the image.

    Parameters
    ----------
    ndim
        Spatial axes of an object, 2 or 3; None takes 3 for a stack.

    Raises
    ------
    QualityControlError
        When they are empty, have different shapes, NaN, fractions or negative numbers.
    """
    found, truth = f"the prediction of {name}", f"the ground truth of {name}"
    _refuse_colour(prediction, found)
    checked_pair(prediction, target, test_name=found, target_name=truth)
    for pixels, what in ((np.asarray(prediction), found), (np.asarray(target), truth)):
        _refuse_grey(pixels, what)
    axes = np.asarray(target).ndim
    chosen = min(3, axes) if ndim is None else ndim
    if chosen > axes:
        raise QualityControlError(
            f"{name} is a single plane, and objects of {chosen} dimensions were asked for; send "
            "the stack, or ask for 2."
        )
    return LabelPair(np.asarray(prediction), np.asarray(target), 3 if chosen == 3 else 2)


def _flat(pixels: Pixels) -> Pixels:
    return pixels.reshape(-1, *pixels.shape[-2:])


def _refuse_colour(pixels: Pixels, what: str) -> None:
    if np.asarray(pixels).dtype.kind == "c":
        raise QualityControlError(f"{what} has complex pixels; labels are whole numbers.")


def _refuse_grey(pixels: Pixels, what: str) -> None:
    for plane in _flat(pixels):
        if pixels.dtype.kind == "f" and not np.equal(np.rint(plane), plane).all():
            raise QualityControlError(
                f"{what} has values with fractions, so it is a grey image and no segmentation: "
                "labels have one whole number per object, masks one per class. Send the labels, "
                "or compare grey images as kind=restoration."
            )
        low, high = _ends(plane)
        if low < 0:
            raise QualityControlError(
                f"{what} has negative values; 0 is the background, objects count from 1."
            )
        if high > LARGEST:
            raise QualityControlError(
                f"{what} has the label {high:.0f}; the largest that can be told apart is "
                f"{LARGEST}. Number the objects anew from 1."
            )


def _ends(plane: NDArray[Any]) -> tuple[float, float]:
    return float(plane.min()), float(plane.max())
