"""One page of a TIFF file: its geometry, and whether the file can really hold it.

Every number is checked against the size of the file before anything is
allocated or decoded. Knows nothing of stacks, axes or metadata.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.codecs.ifd import CUT_SHORT, ByteOrder, Directory, Tiff
from micserve.errors import ImageFormatError

NONE, LZW, JPEG, PACKBITS = 1, 5, 7, 32773
FAX = {2, 3, 4}

MAX_RATIO = {
    NONE: 1,
    LZW: 1400,
    8: 1100,
    32946: 1100,
    PACKBITS: 64,
    JPEG: 1000,
    34925: 15000,
    50000: 35000,
    34926: 35000,
}
"""The schemes that are read, and decoded bytes per stored byte that each can reach at most: LZW's
12-bit codes stand for 3839 bytes at best (1340 on average over one table), Deflate reaches 1032
(zlib's FAQ), PackBits 128 from 2, a JPEG block of 64 grey values takes a bit or so; LZMA and ZSTD
(blocks of 128 KiB from 4 bytes) were measured on zeros. CCITT (2, 3, 4) needs a bit per row."""

REFUSED_SCHEMES = {
    6: "old-style JPEG",
    34892: "lossy JPEG (DNG)",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34676: "SGI log",
    34677: "SGI log 24",
    34887: "LERC",
    34933: "PNG",
    50001: "WebP",
    50002: "JPEG XL",
    22610: "JPEG XR",
    34934: "JPEG XR",
}
MINISWHITE, MINISBLACK, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
REFUSED_COLOURS = {
    5: "CMYK",
    8: "CIELAB",
    9: "CIELAB",
    10: "ITULAB",
    32844: "LogL",
    32845: "LogLuv",
}

SMALL = 64 << 20
"""Bytes; below this, padding of tiles is never suspicious."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What all pages of a stack have in common; sizes in pixels."""

    height: int
    width: int
    samples: int
    bits: int
    kind: str
    """`u`, `i` or `f`."""
    order: ByteOrder
    """Of stored values."""
    compression: int
    predictor: int
    photometric: int
    planar: bool
    """Samples lie in separate planes."""
    fill_order: int
    tile: tuple[int, int] | None
    """(height, width), or None for strips."""
    rows_per_strip: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of decoded values, native: the smallest type that holds `bits`."""
        if self.kind == "f":
            return np.dtype(f"f{2 if self.bits == 16 else 4 if self.bits <= 32 else 8}")
        size = next(n for n in (1, 2, 4, 8) if self.bits <= 8 * n)
        return np.dtype(f"{self.kind}{size}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X), (Y, X, S), or (S, Y, X) if `planar`."""
        if self.samples == 1:
            return self.height, self.width
        if self.planar:
            return self.samples, self.height, self.width
        return self.height, self.width, self.samples

    @property
    def axes(self) -> str:
        if self.samples == 1:
            return "YX"
        return "SYX" if self.planar else "YXS"

    @property
    def nbytes(self) -> int:
        """Decoded."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def plain(self) -> bool:
        """Stored values are numpy values: such a page can be mapped if it lies in one piece."""
        return (
            self.compression == NONE
            and self.predictor == 1
            and self.fill_order == 1
            and self.bits == 8 * self.dtype.itemsize
        )

    @property
    def segment(self) -> tuple[int, int, int]:
        """(height, width, samples) of a strip or tile."""
        height, width = self.tile or (self.rows_per_strip, self.width)
        return height, width, 1 if self.planar else self.samples

    @property
    def segments(self) -> int:
        """Strips or tiles of a page."""
        height, width, _ = self.segment
        across = math.ceil(self.width / width) if self.tile else 1
        return math.ceil(self.height / height) * across * (self.samples if self.planar else 1)

    @property
    def segment_bytes(self) -> int:
        """Of a full strip or tile before compression; rows are padded to whole bytes."""
        height, width, samples = self.segment
        return height * math.ceil(width * samples * self.bits / 8)

    @property
    def stored_bytes(self) -> int:
        """Of a page before compression."""
        if self.tile:
            return self.segments * self.segment_bytes
        width = self.width * (1 if self.planar else self.samples)
        planes = self.samples if self.planar else 1
        return self.height * math.ceil(width * self.bits / 8) * planes


@dataclass(frozen=True, slots=True)
class Page:
    """One page, with its place in the file."""

    geometry: Geometry
    directory: Directory
    start: int
    """Where the pixels begin, if `contiguous`."""
    contiguous: bool
    """The pixels lie in one piece, row after row."""
    reduced: bool
    """A thumbnail or a mask by its own account."""


def read_page(tiff: Tiff, directory: Directory) -> Page:
    """Understand and check one directory.

    Raises
    ------
    ImageFormatError
        When the page is of a kind that is not read, or the file cannot hold it.
    """
    geometry = _geometry(tiff, directory)
    offsets = _offsets(tiff, directory, geometry)
    contiguous = _is_contiguous(geometry, offsets)
    start = int(offsets[0]) if offsets.size else 0
    if contiguous:
        if start + geometry.stored_bytes > tiff.source.size:
            raise ImageFormatError(CUT_SHORT)
    else:
        _check_segments(tiff, directory, geometry, offsets)
    kind = tiff.number(directory, 254, 0)
    return Page(geometry, directory, start, contiguous, reduced=bool(kind & 5))


def check_plausible(geometry: Geometry, planes: int, file_size: int) -> None:
    """Refuse a file that promises more pixels than its bytes could be unpacked to."""
    stored = geometry.stored_bytes * planes
    if geometry.compression in FAX:
        possible = file_size * 8 * math.ceil(geometry.width / 8)
    else:
        possible = file_size * MAX_RATIO[geometry.compression]
    if stored > possible:
        raise ImageFormatError(
            f"is damaged: its header promises {planes} plane(s) of {geometry.height} × "
            f"{geometry.width} pixels, {stored} bytes, but the file has only {file_size}. "
            "Copy the file again, or save it anew as TIFF."
        )
    if geometry.tile and stored > max(SMALL, 4 * geometry.nbytes * planes):
        raise ImageFormatError(
            f"is damaged: tiles of {geometry.tile[0]} × {geometry.tile[1]} pixels for an image of "
            f"{geometry.height} × {geometry.width}. Save it anew as TIFF."
        )


def segment_ranges(tiff: Tiff, page: Page) -> list[tuple[int, int]]:
    """(offset, bytes) of every strip or tile."""
    offsets = _numbers(tiff, page.directory, 324, 273)
    counts = _numbers(tiff, page.directory, 325, 279)
    return list(zip(offsets.tolist(), counts.tolist(), strict=False))


def _geometry(tiff: Tiff, directory: Directory) -> Geometry:
    def number(code: int, default: int) -> int:
        return tiff.number(directory, code, default)

    height, width = number(257, 0), number(256, 0)
    if height < 1 or width < 1:
        raise ImageFormatError(f"has a page of {height} × {width} pixels: there is nothing in it")
    if number(32997, 1) > 1:
        raise ImageFormatError("stores a volume in one page: save it as a stack of planes")
    bits, kind = _sample_type(tiff, directory)
    geometry = Geometry(
        height=height,
        width=width,
        samples=number(277, 1),
        bits=bits,
        kind=kind,
        order=tiff.order,
        compression=number(259, NONE),
        predictor=number(317, 1),
        photometric=number(262, MINISBLACK),
        planar=number(284, 1) == 2 and number(277, 1) > 1,
        fill_order=number(266, 1),
        tile=(number(323, 0), number(322, 0)) if 322 in directory.tags else None,
        rows_per_strip=_rows_per_strip(tiff, directory, height),
    )
    _refuse_unread(geometry)
    return geometry


def _sample_type(tiff: Tiff, directory: Directory) -> tuple[int, str]:
    """Bits per sample, and `u`, `i` or `f`."""
    bits = tiff.numbers(directory, 258)
    formats = tiff.numbers(directory, 339)
    samples = max(1, tiff.number(directory, 277, 1))
    each = set() if bits is None else set(bits[:samples].tolist())
    kinds = set() if formats is None else set(formats[:samples].tolist())
    if len(each) > 1 or len(kinds) > 1:
        raise ImageFormatError(
            f"has samples of different sizes or kinds ({sorted(each)} bits): save its channels "
            "with one pixel type"
        )
    width, code = (each or {1}).pop(), (kinds or {1}).pop()
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(code)
    if kind is None:
        raise ImageFormatError(
            "has complex numbers as pixels: save the real part, the modulus or the phase as "
            "32-bit TIFF"
            if code in (5, 6)
            else f"has pixels of an unknown kind ({code})"
        )
    allowed = {"u": {*range(1, 33), 64}, "i": {8, 16, 32, 64}, "f": {16, 24, 32, 64}}
    if width not in allowed[kind]:
        raise ImageFormatError(
            f"has {width}-bit pixels, which are not read: save it as 16-bit TIFF"
        )
    return int(width), kind


def _rows_per_strip(tiff: Tiff, directory: Directory, height: int) -> int:
    tag = directory.tags.get(278)
    if tag is None or tag.count > 1:
        return height
    rows = tiff.number(directory, 278, height)
    if rows < 1:
        raise ImageFormatError("is damaged: it has strips of no rows. Save it anew as TIFF.")
    return min(rows, height)


def _refuse_unread(geometry: Geometry) -> None:
    scheme = geometry.compression
    if scheme not in MAX_RATIO and scheme not in FAX:
        raise ImageFormatError(
            f"is compressed with {REFUSED_SCHEMES.get(scheme, f'scheme {scheme}')}, which is not "
            "read: save it uncompressed, or with LZW or Deflate"
        )
    if geometry.photometric in REFUSED_COLOURS:
        raise ImageFormatError(
            f"is a {REFUSED_COLOURS[geometry.photometric]} picture: save it as grey or RGB TIFF"
        )
    if geometry.photometric == YCBCR and scheme != JPEG:
        raise ImageFormatError("stores colours as YCbCr without JPEG: save it as RGB TIFF")
    if geometry.samples < 1:
        raise ImageFormatError("is damaged: its pixels have no samples. Save it anew as TIFF.")
    if geometry.tile and min(geometry.tile) < 1:
        raise ImageFormatError("is damaged: it has tiles without pixels. Save it anew as TIFF.")


def _offsets(tiff: Tiff, directory: Directory, geometry: Geometry) -> NDArray[np.uint64]:
    check_plausible(geometry, 1, tiff.source.size)
    offsets = _numbers(tiff, directory, 324, 273)[: geometry.segments]
    if offsets.size < geometry.segments:
        raise ImageFormatError(CUT_SHORT)
    return offsets


def _numbers(tiff: Tiff, directory: Directory, first: int, second: int) -> NDArray[np.uint64]:
    for code in (first, second):
        values = tiff.numbers(directory, code)
        if values is not None:
            return values.astype(np.uint64)
    return np.empty(0, np.uint64)


def _is_contiguous(geometry: Geometry, offsets: NDArray[np.uint64]) -> bool:
    """Whether the strips follow one another without a gap; byte counts do not matter, as in
    ImageJ, since some writers get them wrong."""
    if not geometry.plain:
        return False
    if geometry.tile and (geometry.segments > 1 or geometry.segment_bytes != geometry.nbytes):
        return False
    planes = geometry.samples if geometry.planar else 1
    plane, strip = np.divmod(np.arange(offsets.size), geometry.segments // planes)
    expected = plane * (geometry.nbytes // planes) + strip * geometry.segment_bytes
    return bool((offsets.astype(np.float64) - float(offsets[0]) == expected).all())


def _check_segments(
    tiff: Tiff, directory: Directory, geometry: Geometry, offsets: NDArray[np.uint64]
) -> None:
    counts = _numbers(tiff, directory, 325, 279)[: offsets.size]
    if geometry.compression in FAX and offsets.size == 1 and not counts.any():
        return
    if counts.size < offsets.size:
        raise ImageFormatError(CUT_SHORT)
    # In floating point a sum of two 64-bit numbers cannot wrap around.
    if (offsets.astype(np.float64) + counts.astype(np.float64) > tiff.source.size).any():
        raise ImageFormatError(CUT_SHORT)
