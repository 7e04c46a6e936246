"""Which pages of a TIFF file are which planes, and what is known about them.

Asks ImageJ's description, then OME-XML, then tifffile's `shape`, and if none
is there takes a file of many pages for a stack of slices, as ImageJ does.

Pixels are not touched here.
"""

import json
import math
import sys
from dataclasses import dataclass, replace

import numpy as np

from micserve.codecs import imagej, ome
from micserve.codecs.colour import as_lut, is_ramp
from micserve.codecs.ifd import CUT_SHORT, Directory, Tiff
from micserve.codecs.limits import Header, Limits
from micserve.codecs.page import (
    MINISWHITE,
    PALETTE,
    RGB,
    YCBCR,
    Page,
    check_plausible,
    read_page,
)
from micserve.errors import ImageFormatError, ImageTooLargeError
from micserve.image import IMAGE_AXES, Calibration, Display

FOREIGN = {
    34412: "a Zeiss LSM file",
    33629: "a MetaMorph STK file",
    65420: "a Hamamatsu NDPI file",
}
"""Tags of TIFF dialects whose axes are somewhere else; read as plain TIFF they would be wrong."""

COARSEST_PIXEL_UM = 20.0
"""A resolution tag in inches or cm that says more than this is a printer's or a scanner's (1200 dpi
is 21 µm), not a microscope's."""

MICROMETRES_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 10000.0}


@dataclass(frozen=True, slots=True)
class Stack:
    """The planes of an image, in T, Z, C order, and all that goes with them."""

    format: str
    planes: tuple[Page, ...]
    sizes: dict[str, int]
    """Of the leading axes, letters of `TZC` in that order."""
    colour: bool
    """Samples are red, green, blue (and alpha); otherwise they are channels."""
    palette: np.ndarray[tuple[int, int], np.dtype[np.uint8]] | None
    """(3, N), if indices are to be painted."""
    signed: bool
    """16-bit values are stored with 32768 added."""
    calibration: Calibration
    display: Display
    labels: tuple[str, ...] = ()
    info: str = ""
    notes: tuple[str, ...] = ()

    @property
    def page(self) -> Page:
        return self.planes[0]

    @property
    def axes(self) -> str:
        """As `Image.axes`."""
        leading = dict(self.sizes)
        if self._samples_are_channels:
            leading["C"] = 0
        colours = "S" if self.colour or self.palette is not None else ""
        return "".join(axis for axis in "TZC" if axis in leading) + "YX" + colours

    @property
    def shape(self) -> tuple[int, ...]:
        """As `Image.data.shape`."""
        geometry = self.page.geometry
        sizes = {**self.sizes, "Y": geometry.height, "X": geometry.width}
        sizes["S"] = 3 if self.palette is not None else geometry.samples
        if self._samples_are_channels:
            sizes["C"] = sizes.get("C", 1) * geometry.samples
        return tuple(sizes[axis] for axis in self.axes)

    @property
    def header(self) -> Header:
        dtype = self.page.geometry.dtype
        if self.palette is not None or self.page.geometry.bits == 1:
            dtype = np.dtype(np.uint8)
        elif self.signed:
            dtype = np.dtype(np.int16)
        return Header(self.format, self.shape, self.axes, dtype)

    @property
    def _samples_are_channels(self) -> bool:
        return self.page.geometry.samples > 1 and not self.colour


def read_stack(tiff: Tiff, limits: Limits) -> Stack:
    """Find the planes of the first image in a TIFF file.

    Raises
    ------
    ImageFormatError
        When a page is damaged or of a kind that is not read, or the metadata and the pages are
        at odds.
    ImageTooLargeError
        When there are too many planes.
    """
    first = tiff.directories[0]
    for tag, what in FOREIGN.items():
        if tag in first.tags:
            raise ImageFormatError(f"is {what}: open it in Fiji and save it as TIFF")
    text = tiff.text(first, 270, limits)
    properties = imagej.parse_description(text)
    if properties:
        stack = _read_imagej(tiff, properties, limits)
    elif ome.looks_like_ome(text):
        stack = _read_ome(tiff, text, limits)
    else:
        stack = _read_plain(tiff, text)
    if len(stack.planes) > limits.max_planes:
        raise ImageTooLargeError(f"has {len(stack.planes)} planes; at most {limits.max_planes}")
    check_plausible(stack.page.geometry, len(stack.planes), tiff.source.size)
    return stack


def _read_imagej(tiff: Tiff, properties: imagej.Properties, limits: Limits) -> Stack:
    first = tiff.directories[0]
    page = read_page(tiff, first)
    sizes = imagej.stack_sizes(properties)
    planes = _imagej_planes(tiff, page, math.prod(sizes.values()), limits)
    if len(planes) != math.prod(sizes.values()):
        sizes = {"T": 1, "Z": len(planes), "C": 1}
    counts = tiff.numbers(first, 50838)
    content = tiff.content(first, 50839, limits)
    blocks = imagej.read_blocks(content, [] if counts is None else counts.tolist(), tiff.order)
    colour_map = tiff.numbers(first, 320)
    lut = None if colour_map is None else imagej.read_colour_map(colour_map)
    display = imagej.read_display(
        properties, blocks, channels=sizes["C"], order=tiff.order, lut=lut
    )
    signed = imagej.is_signed(properties) and page.geometry.dtype == np.uint16
    if signed or page.geometry.dtype == np.int16:
        ranges = tuple(
            (low - imagej.SIGNED_OFFSET, high - imagej.SIGNED_OFFSET)
            for low, high in display.ranges
        )
        display = replace(display, ranges=ranges)
    if not display.luts and sizes["C"] == 1:
        display = replace(display, luts=_own_lut(page, lut))
    labels = [imagej.block_text(block, tiff.order) for block in blocks.get(imagej.LABELS, ())]
    info = "".join(imagej.block_text(block, tiff.order) for block in blocks.get(imagej.INFO, ()))
    return Stack(
        format="ImageJ TIFF",
        planes=planes,
        sizes=_with_singletons(sizes, properties.get("axes", "")),
        colour=_is_colour(page),
        palette=None,
        signed=signed,
        calibration=_imagej_calibration(tiff, properties),
        display=display,
        labels=tuple(labels) if len(labels) == len(planes) else (),
        info=info,
    )


def _imagej_planes(tiff: Tiff, page: Page, images: int, limits: Limits) -> tuple[Page, ...]:
    """ImageJ looks at the first page only, and finds the others' pixels right behind its own."""
    if images > limits.max_planes:
        raise ImageTooLargeError(f"has {images} planes; at most {limits.max_planes}")
    if len(tiff.directories) == images or not page.contiguous:
        return _alike(tiff, page)[0]
    if page.start + images * page.geometry.nbytes > tiff.source.size:
        raise ImageFormatError(CUT_SHORT)
    step = page.geometry.nbytes
    return tuple(replace(page, start=page.start + i * step) for i in range(images))


def _with_singletons(sizes: dict[str, int], axes: str) -> dict[str, int]:
    """ImageJ has no axes of one plane; micserve's own files name those that were there."""
    known = [axis for axis in IMAGE_AXES if axis in axes]
    named = axes if list(axes) == known else ""
    return {axis: n for axis, n in sizes.items() if n > 1 or axis in named}


def _imagej_calibration(tiff: Tiff, properties: imagej.Properties) -> Calibration:
    first = tiff.directories[0]
    per_x, per_y = tiff.ratio(first, 282), tiff.ratio(first, 283)
    if "unit" not in properties and tiff.number(first, 296, 2) != 1:
        per_x = per_y = 0
    return imagej.read_calibration(properties, per_x=per_x, per_y=per_y)


def _read_ome(tiff: Tiff, text: str, limits: Limits) -> Stack:
    found = ome.read_ome(text, pages=len(tiff.directories), limits=limits)
    if found is None:
        plain = _read_plain(tiff, "")
        note = (
            "Its metadata is in another file, which was not read: axes and pixel size are guesses."
        )
        return replace(plain, notes=(*plain.notes, note))
    planes = tuple(read_page(tiff, tiff.directories[i]) for i in found.pages.ravel().tolist())
    page = planes[0]
    if any(plane.geometry != page.geometry for plane in planes):
        raise ImageFormatError("has planes of different sizes or pixel types in one image")
    if page.geometry.samples != found.samples:
        raise ImageFormatError(
            f"has {page.geometry.samples} samples per pixel, but its OME-XML says {found.samples}: "
            "open it in Fiji and save it as TIFF"
        )
    sizes = {axis: n for axis, n in zip("TZC", found.pages.shape, strict=True) if n > 1}
    colour = _is_colour(page) and "C" not in sizes
    palette, luts = _palette(tiff, page)
    return Stack(
        format="OME-TIFF",
        planes=planes,
        sizes=sizes,
        colour=colour,
        palette=palette,
        signed=False,
        calibration=found.calibration,
        display=Display(luts=luts if "C" not in sizes else ()),
        info=found.info,
        notes=found.notes,
    )


def _read_plain(tiff: Tiff, text: str) -> Stack:
    page = read_page(tiff, tiff.directories[0])
    planes, notes = _alike(tiff, page)
    sizes, planes = _named_sizes(text, planes, tiff.source.size)
    palette, luts = _palette(tiff, page)
    return Stack(
        format="TIFF",
        planes=planes,
        sizes=sizes,
        colour=_is_colour(page),
        palette=palette,
        signed=False,
        calibration=_resolution(tiff, page.directory),
        display=Display(luts=luts if "C" not in sizes else ()),
        notes=notes,
    )


def _alike(tiff: Tiff, first: Page) -> tuple[tuple[Page, ...], tuple[str, ...]]:
    """The pages that make one stack with the first, and a note if there are others."""
    planes, others = [first], 0
    for directory in tiff.directories[1:]:
        if _differs(tiff, first, directory):
            others += 1
            continue
        page = read_page(tiff, directory)
        if page.geometry == first.geometry and page.reduced == first.reduced:
            planes.append(page)
        else:
            others += 1
    if not others:
        return tuple(planes), ()
    note = f"{others} page(s) of another size or kind (thumbnails, masks) were left out."
    return tuple(planes), (note,)


def _differs(tiff: Tiff, first: Page, directory: Directory) -> bool:
    """Whether a page is plainly another picture: it is then left out without being understood."""
    size = tiff.number(directory, 257, 0), tiff.number(directory, 256, 0)
    return size != (first.geometry.height, first.geometry.width)


def _named_sizes(
    text: str, planes: tuple[Page, ...], file_size: int
) -> tuple[dict[str, int], tuple[Page, ...]]:
    """Leading axes, from tifffile's JSON description if there is one; else the pages are slices."""
    shape, axes = _tifffile_shape(text)
    geometry = planes[0].geometry
    if shape[-len(geometry.shape) :] != geometry.shape:
        return {"Z": len(planes)} if len(planes) > 1 else {}, planes
    leading = shape[: -len(geometry.shape)]
    count, page = math.prod(leading), planes[0]
    if count > len(planes) == 1 and page.contiguous:
        if page.start + count * geometry.nbytes > file_size:
            raise ImageFormatError(CUT_SHORT)
        planes = tuple(replace(page, start=page.start + i * geometry.nbytes) for i in range(count))
    if count != len(planes):
        return {"Z": len(planes)} if len(planes) > 1 else {}, planes
    if len(axes) == len(shape) and set(axes[: len(leading)]) <= set("TZC"):
        names = axes[: len(leading)]
    else:
        leading = tuple(n for n in leading if n > 1)
        names = "Z" * len(leading)
    if len(set(names)) < len(names):
        raise ImageFormatError(
            f"has {len(shape)} dimensions, {' × '.join(map(str, shape))}, without names that say "
            "which are time, slices and channels: save it as ImageJ TIFF or OME-TIFF"
        )
    ordered = sorted(names, key="TZC".index)
    grid = np.arange(count).reshape(leading).transpose([names.index(axis) for axis in ordered])
    sizes = dict(zip(names, leading, strict=True))
    return {axis: sizes[axis] for axis in ordered}, tuple(planes[i] for i in grid.ravel().tolist())


def _tifffile_shape(text: str) -> tuple[tuple[int, ...], str]:
    """`{"shape": […], "axes": "…"}` as tifffile writes it; empty if it is not there."""
    if not text.startswith("{") or '"shape"' not in text or len(text) > 1 << 20:
        return (), ""
    try:
        found = json.loads(text)
        shape, axes = found["shape"], found.get("axes", "")
    except (ValueError, KeyError, RecursionError):
        return (), ""
    known = isinstance(shape, list) and isinstance(axes, str)
    if not known or not all(isinstance(n, int) and 0 < n < sys.maxsize for n in shape):
        return (), ""
    return tuple(shape), axes


def _is_colour(page: Page) -> bool:
    geometry = page.geometry
    return geometry.photometric in (RGB, YCBCR) and geometry.samples in (3, 4)


def _own_lut(page: Page, lut: imagej.Lut | None) -> tuple[imagej.Lut, ...]:
    """How a one-channel page says it should be shown."""
    if lut is not None:
        return as_lut(lut)
    if page.geometry.photometric == MINISWHITE and page.geometry.samples == 1:
        return (imagej.INVERTED_LUT,)
    return ()


def _palette(tiff: Tiff, page: Page) -> tuple[imagej.Lut | None, tuple[imagej.Lut, ...]]:
    """(what to paint with, how to show): one of them is empty, see `micserve.codecs.colour`."""
    if page.geometry.photometric != PALETTE:
        return None, _own_lut(page, None)
    values = tiff.numbers(page.directory, 320)
    entries = 1 << page.geometry.bits
    if (
        values is None
        or values.size < 3 * entries
        or page.geometry.kind != "u"
        or page.geometry.samples != 1
    ):
        raise ImageFormatError("is a picture with a damaged palette: save it as RGB TIFF")
    # 16-bit entries; a few writers store 8-bit ones.
    wide = values[: 3 * entries].astype(np.uint16)
    palette = (wide >> 8 if wide.max(initial=0) > 255 else wide).astype(np.uint8)
    palette = palette.reshape(3, entries)
    return (None, as_lut(palette)) if is_ramp(palette) else (palette, ())


def _resolution(tiff: Tiff, directory: Directory) -> Calibration:
    """Pixel size from the resolution tags, where it can be a microscope's."""
    factor = MICROMETRES_PER_RESOLUTION_UNIT.get(tiff.number(directory, 296, 2))
    per_x, per_y = tiff.ratio(directory, 282), tiff.ratio(directory, 283)
    if factor is None or per_x <= 0 or per_y <= 0:
        return Calibration()
    width, height = factor / per_x, factor / per_y
    if max(width, height) > COARSEST_PIXEL_UM:
        return Calibration()
    return Calibration(width, height, unit="µm")
