"""The bytes of a file, wherever they lie: a path is mapped, bytes are viewed, a stream is read.

Knows nothing of image formats.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from micserve.codecs.limits import Limits
from micserve.errors import ImageFormatError, ImageTooLargeError

STREAM_SLACK = 1 << 28
"""A stream may be this many bytes longer than the pixels it may hold (metadata, compression)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Read-only bytes with random access; nothing is copied for a path or for bytes."""

    buffer: NDArray[np.uint8]
    """The whole file; a `np.memmap` if it comes from a path."""
    origin: Path | bytes
    name: str

    @property
    def size(self) -> int:
        return int(self.buffer.size)

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes from `start`."""
        return self.buffer[start : start + count].tobytes()

    def open(self) -> BinaryIO:
        """A new, independent stream over the same bytes, for a decoding library."""
        if isinstance(self.origin, Path):
            return self.origin.open("rb")
        return io.BytesIO(self.origin)


def open_source(source: Path | bytes | BinaryIO, *, limits: Limits, name: str = "") -> Source:
    """Give random access to an image file.

    Raises
    ------
    ImageFormatError
        When there is no such file, it cannot be read, or it is empty.
    ImageTooLargeError
        When a stream is longer than any image within the limits.
    """
    if isinstance(source, Path):
        return _map(source, name or source.name)
    if not isinstance(source, bytes):
        source = _drain(source, limits)
    if not source:
        raise ImageFormatError("is empty: it has 0 bytes")
    return Source(np.frombuffer(source, np.uint8), source, name)


def _map(path: Path, name: str) -> Source:
    try:
        if not path.stat().st_size:
            raise ImageFormatError("is empty: it has 0 bytes")
        return Source(np.memmap(path, np.uint8, mode="r"), path, name)
    except OSError as error:
        raise ImageFormatError(f"cannot be opened: {error.strerror or error}") from error


def _drain(stream: BinaryIO, limits: Limits) -> bytes:
    most = limits.max_pixels_bytes + STREAM_SLACK
    content = stream.read(most + 1)
    if len(content) > most:
        raise ImageTooLargeError(f"has more than {most} bytes; send fewer planes at a time")
    return content
