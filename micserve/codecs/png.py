"""PNG files: 8 and 16 bit grey, RGB, RGBA and palettes.

Only the chunks that make the pixels are passed to libpng; gamma, colour
profiles, texts and animation never change a grey value. A PNG has no pixel size
that a microscope set, so the image is uncalibrated.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from micserve.codecs.colour import as_lut, is_ramp, paint
from micserve.codecs.limits import Header
from micserve.codecs.source import Source
from micserve.errors import ImageFormatError
from micserve.image import Display, Image

MAGIC = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: {1, 2, 4, 8, 16}, PALETTE: {1, 2, 4, 8}}
MAX_RATIO = 1100
"""Deflate reaches 1032 (zlib's FAQ)."""


@dataclass(frozen=True, slots=True)
class Png:
    """A PNG file that has been looked through but not decoded."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: int
    palette: NDArray[np.uint8] | None
    """(3, N), if it is to be painted or shown."""
    data: tuple[tuple[int, int], ...]
    """(offset, bytes) of the compressed pixels."""
    source: Source

    @property
    def painted(self) -> bool:
        """Indices become colours; otherwise they are grey values."""
        return self.palette is not None and not is_ramp(self.palette)

    @property
    def header(self) -> Header:
        dtype = np.dtype(np.uint16 if self.depth == 16 else np.uint8)
        samples = 3 if self.painted else {RGB: 3, RGBA: 4}.get(self.colour, 0)
        shape = (self.height, self.width, samples) if samples else (self.height, self.width)
        return Header("PNG", shape, "YXS" if samples else "YX", dtype)


def read_png(source: Source) -> Png:
    """Look through the chunks.

    Raises
    ------
    ImageFormatError
        When the file is damaged, or too short for the pixels that it promises.
    """
    head: tuple[int, ...] = ()
    palette: NDArray[np.uint8] | None = None
    data: list[tuple[int, int]] = []
    for kind, offset, count in _chunks(source):
        content = source.read(offset, count) if kind in (b"IHDR", b"PLTE") else b""
        if kind == b"IHDR" and count == 13:
            head = struct.unpack(">IIBBBBB", content)
        elif kind == b"PLTE" and 3 <= count <= 768 and not count % 3:
            palette = np.frombuffer(content, np.uint8).reshape(-1, 3).T
        elif kind == b"IDAT":
            data.append((offset, count))
    if not head or not data:
        raise ImageFormatError("is a damaged PNG file: copy it again")
    width, height, depth, colour, packing, filters, interlaced = head
    known = colour in SAMPLES and depth in DEPTHS.get(colour, {8, 16})
    if not known or packing or filters or interlaced > 1 or not width * height:
        raise ImageFormatError("is a damaged PNG file: its header makes no sense. Save it anew.")
    if colour == PALETTE and palette is None:
        raise ImageFormatError("is a PNG palette picture without a palette: save it as RGB")
    row = -(-width * SAMPLES[colour] * depth // 8) + 1
    if row * height > MAX_RATIO * sum(count for _, count in data) + row:
        raise ImageFormatError(
            f"is damaged: its header promises {height} × {width} pixels, but the file has only "
            f"{source.size} bytes. Copy it again."
        )
    palette = palette if colour == PALETTE else None
    return Png(width, height, depth, colour, interlaced, palette, tuple(data), source)


def decode_png(png: Png) -> Image:
    """The image; alpha of a grey picture is left out, with a note."""
    palette_depth = png.colour == PALETTE and png.depth < 8
    colour = GREY if png.colour == PALETTE else png.colour
    pixels: NDArray[Any] = imagecodecs.png_decode(_only_pixels(png, colour))
    notes: tuple[str, ...] = ()
    if png.colour == GREY_ALPHA:
        pixels, notes = pixels[..., 0], ("The transparency of the picture was left out.",)
    if palette_depth:
        # libpng spreads 1, 2 and 4 bit grey over 0 to 255; indices are wanted.
        pixels = pixels // np.uint8(255 // ((1 << png.depth) - 1))
    luts: tuple[NDArray[np.uint8], ...] = ()
    if png.palette is not None and png.painted:
        pixels = paint(pixels, png.palette)
    elif png.palette is not None:
        luts = as_lut(png.palette)
    header = png.header
    if pixels.dtype != header.dtype or pixels.size != np.prod(header.shape):
        raise ImageFormatError("is a damaged PNG file: it decodes to another size. Save it anew.")
    data = pixels.reshape(header.shape)
    return Image(data, header.axes, display=Display(luts=luts), notes=notes)


def encode_png(image: Image) -> bytes:
    """One plane as PNG.

    Raises
    ------
    ImageFormatError
        When PNG cannot hold the image.
    """
    data = (
        image.data.reshape(image.data.shape[image.axes.index("Y") :]) if _is_plane(image) else None
    )
    if data is None or image.dtype.name not in ("uint8", "uint16"):
        raise ImageFormatError(
            f"is {' × '.join(map(str, image.data.shape))} ({image.axes}) of {image.dtype}; PNG "
            "holds one plane of 8 or 16 bits: ask for TIFF"
        )
    native = np.ascontiguousarray(data, image.dtype.newbyteorder("="))
    return bytes(imagecodecs.png_encode(native))


def _is_plane(image: Image) -> bool:
    return all(image.size(axis) == 1 for axis in "TZC") and image.size("S") in (1, 3, 4)


def _chunks(source: Source) -> Iterator[tuple[bytes, int, int]]:
    """(kind, offset, bytes) of each chunk up to IEND."""
    place = len(MAGIC)
    while place + 12 <= source.size:
        count, kind = struct.unpack(">I4s", source.read(place, 8))
        if place + 12 + count > source.size:
            break
        if kind == b"IEND":
            return
        yield kind, place + 8, count
        place += 12 + count
    raise ImageFormatError("is a PNG file that ends too early: copy it again")


def _only_pixels(png: Png, colour: int) -> bytes:
    head = struct.pack(">IIBBBBB", png.width, png.height, png.depth, colour, 0, 0, png.interlaced)
    parts = [_chunk(b"IHDR", head)]
    parts += [_chunk(b"IDAT", png.source.read(offset, count)) for offset, count in png.data]
    return b"".join([MAGIC, *parts, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
