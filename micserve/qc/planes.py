"""Arrays of any dtype, byte order and number of axes, seen as a row of float64 planes.

The last two axes are Y and X; all others (Z, T, …) are slices. One plane is
converted at a time, so that a stack never exists a second time in memory.
Here images are refused that cannot be compared; behind it nobody checks again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.errors import QualityControlError

Pixels = NDArray[Any]
Plane = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """A stack whose planes are made when they are asked for.

    Parameters
    ----------
    pixels
        (…, Y, X), integer or float, checked by `checked`.
    change
        Applied to each plane, for example a filter; must keep the shape.
    keep
        Called with a plane's index and what makes it, for planes worth keeping.
    """

    pixels: Pixels
    change: Callable[[Plane], Plane] | None = None
    keep: Callable[[int, Callable[[], Plane]], Plane] | None = None

    def __len__(self) -> int:
        return int(np.prod(self.pixels.shape[:-2], dtype=np.int64))

    def __getitem__(self, index: int) -> Plane:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self.keep is not None:
            return self.keep(index, lambda: self._made(index))
        return self._made(index)

    def _made(self, index: int) -> Plane:
        where = np.unravel_index(index, self.pixels.shape[:-2]) if self.pixels.ndim > 2 else ()
        plane = np.asarray(self.pixels[where]).astype(np.float64)
        return plane if self.change is None else self.change(plane)

    def __iter__(self) -> Iterator[Plane]:
        return (self[index] for index in range(len(self)))

    @property
    def plane_shape(self) -> tuple[int, int]:
        return int(self.pixels.shape[-2]), int(self.pixels.shape[-1])


def checked(pixels: Pixels, what: str) -> Planes:
    """`pixels` as planes, or a refusal that names the image as `what`."""
    array = np.asarray(pixels)
    if array.dtype.kind not in "buif":
        raise QualityControlError(
            f"{what} has pixels of type {array.dtype}; quality control compares images of whole "
            "or floating point grey values. Convert it to 8, 16 or 32 bit."
        )
    if array.ndim < 2 or array.size == 0:
        raise QualityControlError(
            f"{what} has the shape {_times(array.shape)}; an image needs at least one pixel in "
            "Y and X."
        )
    planes = Planes(array)
    if array.dtype.kind == "f":
        _refuse_not_finite(planes, what)
    return planes


def checked_pair(
    test: Pixels,
    target: Pixels,
    *,
    test_name: str = "the image",
    target_name: str = "the ground truth",
) -> tuple[Planes, Planes]:
    """Both as planes of the same shape, or a refusal in words."""
    pair = checked(test, test_name), checked(target, target_name)
    if pair[0].pixels.shape != pair[1].pixels.shape:
        raise QualityControlError(
            f"{test_name} has {_times(pair[0].pixels.shape)} pixels and {target_name} has "
            f"{_times(pair[1].pixels.shape)}; they are compared pixel by pixel and must have the "
            "same shape. Crop or reslice one of them, or check that they belong together."
        )
    return pair


def _refuse_not_finite(planes: Planes, what: str) -> None:
    wrong = sum(int(plane.size - np.isfinite(plane).sum()) for plane in planes)
    if wrong:
        raise QualityControlError(
            f"{what} has {wrong} of {planes.pixels.size} pixels that are not a number or infinite; "
            "no measure has a meaning with them. Replace them, or crop the image."
        )


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(str(length) for length in shape) if shape else "a single number"
