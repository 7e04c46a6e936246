"""OME-XML in a TIFF file: which page is which plane, and how large a pixel is.

The XML is read as a stream, without entities or a document type, and never
leads to another file: planes that it says are elsewhere are missing.

Knows nothing of TIFF; pages are numbers.

References
----------
https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from micserve.codecs.limits import Limits
from micserve.errors import ImageFormatError, ImageTooLargeError
from micserve.image import MICROMETRES_PER_UNIT, Calibration

SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
ORDERS = {"XYZCT", "XYZTC", "XYCTZ", "XYCZT", "XYTCZ", "XYTZC"}


@dataclass(frozen=True, slots=True)
class OmeStack:
    """The first image of an OME-XML that has planes in this file."""

    pages: NDArray[np.int64]
    """(T, Z, C) page numbers, counted from 0; C in groups of `samples`."""
    samples: int
    calibration: Calibration
    info: str
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Block:
    """A `TiffData` element."""

    attributes: Mapping[str, str]
    uuid: str


@dataclass(slots=True)
class _Image:
    pixels: dict[str, str] = field(default_factory=dict)
    samples: int = 1
    blocks: list[_Block] = field(default_factory=list)
    description: str = ""


def looks_like_ome(text: str) -> bool:
    """Whether a TIFF description is OME-XML."""
    return text.lstrip("\ufeff \r\n\t").startswith("<") and "<OME" in text[:4096]


def read_ome(text: str, *, pages: int, limits: Limits) -> OmeStack | None:
    """Understand an OME-XML.

    Parameters
    ----------
    text
        The description of the first page.
    pages
        How many pages the file has.

    Returns
    -------
    OmeStack | None
        None if the XML only points to another file that has the metadata.

    Raises
    ------
    ImageFormatError
        When the XML is damaged, unsafe, or at odds with the file.
    """
    root_uuid, images = _parse(text)
    if not images:
        return None
    for image in images:
        grid = _grid(image, root_uuid, pages, limits)
        if (grid >= 0).any():
            return _stack(image, grid, len(images))
    raise ImageFormatError(
        "is one file of a set, and the planes that it describes are in other files: open the set "
        "in Fiji (Bio-Formats) and save it as one TIFF"
    )


def _parse(text: str) -> tuple[str, list[_Image]]:
    """The file's own UUID and its images."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ImageFormatError("has XML metadata with entities, which is not read for safety")
    images: list[_Image] = []
    root_uuid = ""
    parser = ElementTree.XMLParser(encoding="utf-8")
    events = ElementTree.iterparse(
        io.BytesIO(text.strip("\ufeff \r\n\t\0").encode("utf-8", "replace")),
        events=("start", "end"),
        parser=parser,
    )
    try:
        for event, element in events:
            name = element.tag.rpartition("}")[2]
            if event == "start":
                if name == "OME":
                    root_uuid = element.get("UUID", "")
                elif name == "Image":
                    images.append(_Image())
            else:
                if images:
                    _take(name, element, images[-1])
                if name not in PARTS_OF_BLOCKS:
                    element.clear()
    except ElementTree.ParseError as error:
        raise ImageFormatError(f"has damaged OME-XML metadata ({error})") from error
    return root_uuid, [image for image in images if image.pixels]


PARTS_OF_BLOCKS = {"UUID"}
"""Kept until their parent ends."""


def _take(name: str, element: ElementTree.Element, image: _Image) -> None:
    """Keep what is needed of an element that has just ended."""
    if name == "Pixels":
        image.pixels = image.pixels or dict(element.attrib)
    elif name == "Channel":
        image.samples = max(image.samples, _integer(element.attrib, "SamplesPerPixel", 1))
    elif name == "TiffData":
        uuid = next((child.text or "" for child in element), "")
        image.blocks.append(_Block(dict(element.attrib), uuid.strip()))
    elif name == "Description" and not image.description:
        image.description = element.text or ""


def _grid(image: _Image, root_uuid: str, pages: int, limits: Limits) -> NDArray[np.int64]:
    """(T, Z, C) page numbers, -1 for a plane that is not in this file."""
    order = image.pixels.get("DimensionOrder", "XYCZT")
    if order not in ORDERS:
        raise ImageFormatError(f"has OME-XML with the unknown order of dimensions {order[:20]!r}")
    sizes = {axis: _integer(image.pixels, f"Size{axis}", 1) for axis in "TZC"}
    sizes["C"] = math.ceil(sizes["C"] / image.samples)
    total = math.prod(sizes.values())
    if total > limits.max_planes:
        raise ImageTooLargeError(f"has {total} planes by its OME-XML; at most {limits.max_planes}")
    # Written fastest first, as in `XYCZT`; arrays are slowest first.
    axes = order[:1:-1]
    flat = np.full(total, -1, np.int64)
    for start, page, count in _runs(image, root_uuid, axes, sizes, pages):
        count = max(0, min(count, total - start, pages - page))
        flat[start : start + count] = np.arange(page, page + count)
    grid = flat.reshape([sizes[axis] for axis in axes])
    return grid.transpose([axes.index(axis) for axis in "TZC"])


def _runs(
    image: _Image, root_uuid: str, axes: str, sizes: Mapping[str, int], pages: int
) -> Iterator[tuple[int, int, int]]:
    """(first plane, first page, how many) of each run of planes that is in this file."""
    if not image.blocks:
        yield 0, 0, pages
        return
    uuids = {block.uuid for block in image.blocks if block.uuid}
    for block in image.blocks:
        if block.uuid and (block.uuid != root_uuid if root_uuid else len(uuids) > 1):
            continue
        asked = block.attributes
        page = _integer(asked, "IFD", 0, least=0)
        count = _integer(asked, "PlaneCount", 1 if "IFD" in asked else pages, least=0)
        at = [_integer(asked, f"First{axis}", 0, least=0) for axis in axes]
        shape = [sizes[axis] for axis in axes]
        if page >= pages or any(i >= n for i, n in zip(at, shape, strict=True)):
            continue
        yield int(np.ravel_multi_index(at, shape)), page, count


def _stack(image: _Image, grid: NDArray[np.int64], images: int) -> OmeStack:
    notes = []
    if images > 1:
        notes.append(f"The file holds {images} images (series); the first was read.")
    there = grid >= 0
    if not there.all():
        box = np.ix_(*(there.any(tuple({0, 1, 2} - {axis})) for axis in range(3)))
        if not there[box].all():
            raise ImageFormatError(
                f"has {int(there.sum())} of the {there.size} planes that its OME-XML promises: "
                "copy it again, or open the whole set in Fiji and save it as one TIFF"
            )
        grid = grid[box]
        notes.append(
            f"The file is part of a set: {grid.size} of {there.size} planes are in it, and only "
            "they were read."
        )
    return OmeStack(grid, image.samples, _calibration(image.pixels), image.description, (*notes,))


def _calibration(pixels: Mapping[str, str]) -> Calibration:
    unit = _unit(pixels.get("PhysicalSizeXUnit", "µm"))

    def size(axis: str) -> float:
        value = _float(pixels, f"PhysicalSize{axis}")
        other = _unit(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        known = MICROMETRES_PER_UNIT.get(unit), MICROMETRES_PER_UNIT.get(other)
        if value and other != unit and known[0] and known[1]:
            value *= known[1] / known[0]
        return value

    if not size("X") and not size("Y"):
        return Calibration(frame_interval=_seconds(pixels))
    width, height = size("X") or size("Y"), size("Y") or size("X")
    return Calibration(width, height, size("Z") or 1.0, unit, _seconds(pixels))


def _unit(text: str) -> str:
    return text.strip().replace("μ", "µ") or "pixel"


def _seconds(pixels: Mapping[str, str]) -> float:
    factor = SECONDS.get(pixels.get("TimeIncrementUnit", "s").strip().replace("μ", "µ"), 0.0)
    return _float(pixels, "TimeIncrement") * factor


def _float(attributes: Mapping[str, str], name: str) -> float:
    """A positive number, else 0."""
    try:
        value = float(attributes.get(name, 0))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _integer(attributes: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    text = attributes.get(name, "").strip()
    if not text:
        return default
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
        raise ImageFormatError(f"has OME-XML in which {name} is {text[:20]!r}")
    return int(text)
