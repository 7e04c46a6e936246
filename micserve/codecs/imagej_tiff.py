"""Lay out a TIFF file that ImageJ opens: header, first page's directory, room, pixels, other pages.

Big-endian, as ImageJ writes (its reader loses accents in little-endian Info).
The first directory and all metadata lie before the pixels in a block with
room to spare, so that pixels can be written into the file first and the
display range, known only then, afterwards.

ImageJ finds plane n right behind plane n-1. Other programs want a directory per
plane; they are written behind the pixels as long as classic TIFF can point
there, that is below 4 GiB. Above, only the first is there, as in ImageJ's own
files: ImageJ, tifffile, Bio-Formats and `micserve.codecs` know the convention.
"""

import math
import struct
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from micserve.codecs import imagej
from micserve.image import Calibration, Image

ALIGNMENT = 4096
ROOM = 16 << 10
"""Bytes for what is known only when the pixels are there: display range, longer Info."""
MAX_CLASSIC = (1 << 32) - (1 << 16)
"""Bytes; offsets in classic TIFF have 32 bits."""

BYTE, ASCII, SHORT, LONG, RATIONAL = 1, 2, 3, 4, 5
SAMPLE_FORMAT = {"u": 1, "i": 2, "f": 3}
PIXEL_TYPES = ("uint8", "uint16", "int16", "float32")


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag, encoded."""

    code: int
    type: int
    count: int
    value: bytes


@dataclass(frozen=True, slots=True)
class ImageJLayout:
    """Where everything goes, in bytes."""

    pixels_start: int
    plane_bytes: int
    planes: int

    @property
    def pixels_end(self) -> int:
        return self.pixels_start + self.plane_bytes * self.planes


def plan(image: Image) -> ImageJLayout:
    """Leave room for the metadata of `image` and what may yet come."""
    block = len(_block(_entries(image, 0), next_directory=0, start=8))
    start = -(-(8 + block + ROOM) // ALIGNMENT) * ALIGNMENT
    return ImageJLayout(start, _plane_bytes(image), _planes(image))


def fits(image: Image) -> bool:
    """Whether ImageJ's layout can hold the image: one plane must lie within classic TIFF."""
    return _plane_bytes(image) < MAX_CLASSIC


def _plane_bytes(image: Image) -> int:
    return math.prod(image.size(axis) for axis in "YXS") * image.dtype.itemsize


def _planes(image: Image) -> int:
    return math.prod(image.size(axis) for axis in "TZC")


def reread(stream: BinaryIO, image: Image) -> ImageJLayout | None:
    """The layout that a file was made with, or None if `head` did not make it."""
    stream.seek(0)
    start = stream.read(ALIGNMENT)
    if struct.unpack(">2sHI", start[:8]) != (b"MM", 42, 8):
        return None
    for place in range(10, 10 + 12 * int.from_bytes(start[8:10], "big"), 12):
        code, _, _, value = struct.unpack(">HHII", start[place : place + 12])
        if code == 273:
            return replace(plan(image), pixels_start=value)
    return None


def head(image: Image, layout: ImageJLayout) -> bytes:
    """Everything before the pixels; text that has no room left is cut, pixels never move."""
    following = layout.pixels_end if _has_pages(image, layout) else 0
    room = layout.pixels_start - 8
    while True:
        block = _block(_entries(image, layout.pixels_start), next_directory=following, start=8)
        if len(block) <= room:
            break
        image = _shorter(image, len(block) - room)
    return struct.pack(">2sHI", b"MM", 42, 8) + block.ljust(room, b"\0")


def tail(image: Image, layout: ImageJLayout) -> bytes:
    """The directories of the other planes, behind the pixels; empty above 4 GiB."""
    if not _has_pages(image, layout):
        return b""
    parts, place = [], layout.pixels_end
    for i in range(1, layout.planes):
        entries = _page_entries(image, layout.pixels_start + i * layout.plane_bytes)
        size = len(_block(entries, next_directory=0, start=place))
        following = place + size if i < layout.planes - 1 else 0
        parts.append(_block(entries, next_directory=following, start=place))
        place += size
    return b"".join(parts)


def _has_pages(image: Image, layout: ImageJLayout) -> bool:
    per_page = len(_block(_page_entries(image, 0), next_directory=0, start=0))
    return layout.planes > 1 and layout.pixels_end + layout.planes * per_page < MAX_CLASSIC


def _shorter(image: Image, surplus: int) -> Image:
    """Info first, then labels, give way."""
    if image.info:
        keep = max(0, len(image.info) - surplus // 2 - 1)
        return image.with_data(image.data, info=image.info[:keep])
    assert image.labels, "without texts the metadata always fits"
    return image.with_data(image.data, labels=())


def _entries(image: Image, start: int) -> list[Entry]:
    """The first page's tags."""
    text = imagej.write_description(image).encode("ascii") + b"\0"
    entries = [*_page_entries(image, start), Entry(270, ASCII, len(text), text)]
    blocks, counts = imagej.write_blocks(image)
    if counts:
        entries.append(_numbers(50838, LONG, *counts))
        entries.append(Entry(50839, BYTE, len(blocks), blocks))
    lut = _single_lut(image)
    if lut is not None:
        entries.append(_numbers(320, SHORT, *imagej.write_colour_map(lut).tolist()))
    return sorted(entries, key=lambda entry: entry.code)


def _page_entries(image: Image, start: int) -> list[Entry]:
    """What every page says."""
    height, width, samples = (image.size(axis) for axis in "YXS")
    bits = 8 * image.dtype.itemsize
    entries = [
        _numbers(254, LONG, 0),
        _numbers(256, LONG, width),
        _numbers(257, LONG, height),
        _numbers(258, SHORT, *[bits] * samples),
        _numbers(259, SHORT, 1),
        _numbers(262, SHORT, _photometric(image)),
        _numbers(273, LONG, start),
        _numbers(277, SHORT, samples),
        _numbers(278, LONG, height),
        _numbers(279, LONG, _plane_bytes(image)),
        *_resolution(image.calibration),
        _numbers(339, SHORT, *[SAMPLE_FORMAT[image.dtype.kind]] * samples),
    ]
    return sorted(entries, key=lambda entry: entry.code)


def _photometric(image: Image) -> int:
    """RGB, palette (8 bit with a LUT, as ImageJ writes it), MinIsWhite, or MinIsBlack."""
    lut = _single_lut(image)
    if image.size("S") > 1:
        return 2
    if lut is None:
        return 1
    if image.dtype == np.uint8:
        return 3
    return 0 if np.array_equal(lut, imagej.INVERTED_LUT) else 1


def _single_lut(image: Image) -> imagej.Lut | None:
    """Channels' LUTs go into the metadata block; that of a single one is the colour map."""
    alone = image.size("C") == 1 and image.size("S") == 1 and len(image.display.luts) == 1
    return image.display.luts[0] if alone else None


def _resolution(calibration: Calibration) -> list[Entry]:
    """Pixels per unit. ResolutionUnit is "none": the unit's name is in the description."""
    return [
        Entry(282, RATIONAL, 1, _rational(calibration.pixel_width)),
        Entry(283, RATIONAL, 1, _rational(calibration.pixel_height)),
        _numbers(296, SHORT, 1),
    ]


def _rational(size: float) -> bytes:
    """1 / size as the closest fraction of two 32-bit numbers."""
    largest = (1 << 32) - 1
    if not 1e-6 <= size <= 1e6:
        size = 1.0
    closest = Fraction(size).limit_denominator(int(min(largest, largest / size)))
    return struct.pack(">II", closest.denominator, closest.numerator)


def _numbers(code: int, type_: int, *values: int) -> Entry:
    return Entry(code, type_, len(values), struct.pack(f">{len(values)}{'HI'[type_ - 3]}", *values))


def _block(entries: list[Entry], *, next_directory: int, start: int) -> bytes:
    """A directory with its values right behind it."""
    place = start + 2 + 12 * len(entries) + 4
    rows, values = [struct.pack(">H", len(entries))], []
    for entry in entries:
        row = struct.pack(">HHI", entry.code, entry.type, entry.count)
        if len(entry.value) <= 4:
            rows.append(row + entry.value.ljust(4, b"\0"))
            continue
        rows.append(row + struct.pack(">I", place))
        padded = entry.value + b"\0" * (len(entry.value) % 2)
        values.append(padded)
        place += len(padded)
    return b"".join([*rows, struct.pack(">I", next_directory), *values])
