"""What a reader accepts, and what a file says it holds before a pixel is decoded."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from micserve.errors import ImageTooLargeError

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an image may be; checked against its header, before memory is taken."""

    max_pixels_bytes: int = 8 * GIB
    """Decoded pixels, in bytes."""
    max_planes: int = 100_000
    """Planes in a stack, and directories in a TIFF file."""
    max_metadata_bytes: int = 64 << 20
    """Longest text (OME-XML, ImageJ's description and metadata) that is parsed."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says about itself; `read_image` gives an image of this shape and dtype."""

    format: str
    """`ImageJ TIFF`, `OME-TIFF`, `TIFF` or `PNG`."""
    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[Any]
    """In native byte order."""

    @property
    def nbytes(self) -> int:
        """Decoded pixels, in bytes."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def check(self, limits: Limits) -> None:
        """Raise `ImageTooLargeError` if the pixels would take more than `limits` allow."""
        if self.nbytes > limits.max_pixels_bytes:
            raise ImageTooLargeError(
                f"is {' × '.join(map(str, self.shape))} pixels ({self.axes}) of {self.dtype}, "
                f"{_in_words(self.nbytes)}; at most {_in_words(limits.max_pixels_bytes)} are "
                "accepted. Crop it, or send fewer slices, frames or channels at a time."
            )


def _in_words(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / (1 << 20):.1f} MiB"
