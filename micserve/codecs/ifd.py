"""Walk through the directories (IFDs) of a TIFF or BigTIFF file without trusting any of them.

Reads tags and numbers, and nothing else: what they mean is `micserve.codecs.page`'s
business, and pixels are never touched. Work and memory are bounded by the file's size:
directories may neither loop nor overlap, and values must lie inside the file.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from micserve.codecs.limits import Limits
from micserve.codecs.source import Source
from micserve.errors import ImageFormatError, ImageTooLargeError

ByteOrder = Literal["<", ">"]

MAGIC: dict[bytes, tuple[ByteOrder, bool]] = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
"""First four bytes to (byte order, BigTIFF)."""

TYPES = {
    1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i4",
    11: "f4", 12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
"""TIFF 6.0 field types, and BigTIFF's 16 to 18; 5 and 10 are pairs."""
RATIONAL = {5, 10}
SIZES = {code: int(name[1]) * (2 if code in RATIONAL else 1) for code, name in TYPES.items()}
"""Bytes of one value of each type."""

CUT_SHORT = (
    "ends too early or is damaged: part of what its header promises is not there. "
    "Copy the file again, or open it in Fiji and save it as TIFF."
)

MAX_TAGS = 4096
"""In one directory; the same bound as tifffile's."""

STRUCTURAL = {
    256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339,
}  # fmt: skip
"""Tags without which pixels cannot be found: damage here is refused, elsewhere it is ignored."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a directory; `offset` is where its value lies in the file."""

    type: int
    count: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return self.count * SIZES[self.type]


@dataclass(frozen=True, slots=True)
class Directory:
    """One IFD: where it lies and what it lists; the first of two equal tags counts."""

    offset: int
    tags: Mapping[int, Tag]


@dataclass(frozen=True, slots=True)
class Tiff:
    """The skeleton of a TIFF file."""

    source: Source
    order: ByteOrder
    directories: tuple[Directory, ...]

    def numbers(self, directory: Directory, code: int) -> NDArray[Any] | None:
        """All values of a tag in native byte order (pairs flattened), or None."""
        tag = directory.tags.get(code)
        if tag is None:
            return None
        raw = self.source.buffer[tag.offset : tag.offset + tag.size]
        return raw.view(np.ndarray).view(self.order + TYPES[tag.type]).astype(TYPES[tag.type])

    def number(self, directory: Directory, code: int, default: int) -> int:
        """The first value of a tag."""
        values = self.numbers(directory, code)
        return default if values is None or not values.size else int(values[0])

    def ratio(self, directory: Directory, code: int) -> float:
        """A RATIONAL tag; 0 when absent or not finite."""
        tag = directory.tags.get(code)
        values = self.numbers(directory, code)
        if tag is None or values is None or values.size < 2 or tag.type not in RATIONAL:
            return 0.0
        return float(values[0]) / float(values[1]) if values[1] else 0.0

    def content(self, directory: Directory, code: int, limits: Limits) -> bytes:
        """The bytes of a tag, empty when absent or longer than is sensible for metadata."""
        tag = directory.tags.get(code)
        if tag is None or tag.size > limits.max_metadata_bytes:
            return b""
        return self.source.read(tag.offset, tag.size)

    def text(self, directory: Directory, code: int, limits: Limits) -> str:
        """An ASCII tag; UTF-8 where writers bend the rule, else Latin-1."""
        content = self.content(directory, code, limits).rstrip(b"\0")
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            return content.decode("latin-1")


@dataclass(frozen=True, slots=True)
class _Layout:
    """How classic TIFF and BigTIFF write a directory."""

    offset: struct.Struct
    tag_count: struct.Struct
    entry: struct.Struct
    """Tag, type, count, and the place of a value that does not fit into the entry."""


def _layout(order: ByteOrder, big: bool) -> _Layout:
    offset, tag_count, entry = ("Q", "Q", "HHQQ") if big else ("I", "H", "HHII")
    return _Layout(*(struct.Struct(order + form) for form in (offset, tag_count, entry)))


def read_tiff(source: Source, limits: Limits) -> Tiff:
    """List the directories of a TIFF file.

    Raises
    ------
    ImageFormatError
        When the chain of directories is damaged: it loops, overlaps, or leaves the file.
    ImageTooLargeError
        When there are more than `limits.max_planes` of them.
    """
    order, big = MAGIC[source.read(0, 4)]
    layout = _layout(order, big)
    start = 8 if big else 4
    offset = _number(source, layout.offset, start)
    seen: set[int] = set()
    spent = 0
    directories: list[Directory] = []
    while offset:
        if offset in seen:
            raise ImageFormatError("is damaged: its list of pages goes round in a circle")
        if len(directories) >= limits.max_planes:
            raise ImageTooLargeError(
                f"has more than {limits.max_planes} pages. Send fewer planes at a time."
            )
        seen.add(offset)
        directory, cost, offset = _read_directory(source, layout, offset)
        spent += cost
        if spent > source.size:
            raise ImageFormatError("is damaged: its pages lie on top of one another")
        directories.append(directory)
    if not directories:
        raise ImageFormatError("is a TIFF file without any image in it")
    return Tiff(source, order, tuple(directories))


def _read_directory(source: Source, layout: _Layout, start: int) -> tuple[Directory, int, int]:
    """A directory, the bytes that it takes, and where the next one is."""
    count = _number(source, layout.tag_count, start)
    if count > MAX_TAGS:
        raise ImageFormatError(f"is damaged: one of its pages lists {count} properties")
    first = start + layout.tag_count.size
    end = first + count * layout.entry.size
    following = _number(source, layout.offset, end)
    tags: dict[int, Tag] = {}
    values = 0
    inside = first + layout.entry.size - layout.offset.size
    for code, type_, items, outside in layout.entry.iter_unpack(source.read(first, end - first)):
        size = items * SIZES.get(type_, 0)
        place = outside if size > layout.offset.size else inside
        inside += layout.entry.size
        if type_ in SIZES and place + size <= source.size:
            tags.setdefault(code, Tag(type_, items, place))
            values += size if code in STRUCTURAL else 0
        elif code in STRUCTURAL:
            raise ImageFormatError(CUT_SHORT)
    # Small values may lie in the directory itself, and writers let pages share short ones.
    cost = end - start + max(0, values - 1024)
    return Directory(start, tags), cost, following


def _number(source: Source, form: struct.Struct, offset: int) -> int:
    try:
        return int(form.unpack_from(source.buffer.data, offset)[0])
    except (struct.error, OverflowError) as error:
        raise ImageFormatError(CUT_SHORT) from error
