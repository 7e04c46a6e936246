"""An image as microscopists have it: pixels, what each axis means, and how large a pixel is.

Knows nothing of file formats (`micserve.codecs`) or of models
(`micserve.families`).
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from micserve.errors import AxesError

Pixels = NDArray[Any]

IMAGE_AXES = "TZCYXS"
"""Time, depth, channel, height, width, samples (RGB): in this order, X and Y always there."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Physical size of a pixel and of the step between frames, in the file's own units."""

    pixel_width: float = 1.0
    """Along X, in `unit`."""
    pixel_height: float = 1.0
    """Along Y, in `unit`."""
    pixel_depth: float = 1.0
    """Along Z, in `unit`."""
    unit: str = "pixel"
    """As ImageJ spells it: `pixel`, `um`, `nm`, `mm`, …"""
    frame_interval: float = 0.0
    """Between frames, in `time_unit`; 0 when not known."""
    time_unit: str = "sec"

    def in_um(self) -> dict[str, float] | None:
        """Pixel size per axis in µm (`{"Z": …, "Y": …, "X": …}`), or None if uncalibrated."""
        factor = MICROMETRES_PER_UNIT.get(self.unit.strip().lower())
        if factor is None:
            return None
        return {
            "Z": self.pixel_depth * factor,
            "Y": self.pixel_height * factor,
            "X": self.pixel_width * factor,
        }


MICROMETRES_PER_UNIT = {
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "inch": 25400.0,
    "m": 1e6,
}


@dataclass(frozen=True, slots=True)
class Display:
    """How ImageJ shows the image. It never changes a pixel."""

    ranges: tuple[tuple[float, float], ...] = ()
    """(minimum, maximum) in grey values, one per channel, or empty."""
    luts: tuple[NDArray[np.uint8], ...] = ()
    """(3, 256) uint8 each, one per channel, or empty."""
    mode: Literal["", "composite", "color", "grayscale"] = ""


@dataclass(frozen=True, slots=True)
class Image:
    """Pixels with named axes.

    Parameters
    ----------
    data
        One dimension per letter of `axes`; may be a read-only memory map, and then in the file's
        byte order: convert what is used, when it is used.
    axes
        Letters of `IMAGE_AXES`, in that order, each at most once, with Y and X. `S` holds
        the samples of an RGB(A) pixel.
    labels
        ImageJ slice labels, one per plane in T, Z, C order (C fastest), or empty.
    info
        ImageJ's *Info* text; what made the image is written here.
    notes
        What a person should know about how the file was read, one sentence each.

    Raises
    ------
    AxesError
        When `axes` does not describe `data`.
    """

    data: Pixels
    axes: str
    calibration: Calibration = field(default_factory=Calibration)
    display: Display = field(default_factory=Display)
    labels: tuple[str, ...] = ()
    info: str = ""
    name: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        in_order = "".join(a for a in IMAGE_AXES if a in self.axes)
        if self.axes != in_order or not {"Y", "X"} <= set(self.axes):
            raise AxesError(
                f"axes {self.axes!r} are not letters of {IMAGE_AXES!r} in that order with Y and X",
                got=self.axes,
                expected=IMAGE_AXES,
            )
        if self.data.ndim != len(self.axes):
            raise AxesError(
                f"an array of shape {self.data.shape} does not have the axes {self.axes!r}",
                got=str(self.data.shape),
                expected=self.axes,
            )

    def size(self, axis: str) -> int:
        """Pixels along `axis`; 1 for an axis that the image does not have."""
        return int(self.data.shape[self.axes.index(axis)]) if axis in self.axes else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def with_data(self, data: Pixels, axes: str | None = None, **changes: Any) -> "Image":
        """The same image with other pixels; calibration, labels and info are kept."""
        return replace(self, data=data, axes=self.axes if axes is None else axes, **changes)
