"""The pixels of a TIFF stack: mapped where the file allows it, else decoded by tifffile.

Called only for stacks that `micserve.codecs.stack` and `micserve.codecs.page`
have found plausible; what is left to guard is that a compressed strip
decodes to no more than its share.
"""

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from micserve.codecs.colour import paint
from micserve.codecs.ifd import Tiff
from micserve.codecs.imagej import SIGNED_OFFSET
from micserve.codecs.page import JPEG, Page, segment_ranges
from micserve.codecs.stack import Stack
from micserve.errors import ImageFormatError


def load_pixels(tiff: Tiff, stack: Stack) -> NDArray[Any]:
    """All pixels of a stack, with the axes and dtype (but for byte order) of its header."""
    raw = map_pages(tiff, stack)
    if raw is None:
        raw = _decode_pages(tiff, stack)
    return _arrange(raw, stack)


def map_pages(tiff: Tiff, stack: Stack) -> NDArray[Any] | None:
    """(plane, *page) view of the file, or None if the pixels do not lie there as numpy has them."""
    geometry, starts = stack.page.geometry, [plane.start for plane in stack.planes]
    if not all(plane.contiguous for plane in stack.planes):
        return None
    step = starts[1] - starts[0] if len(starts) > 1 else geometry.nbytes
    even = step >= geometry.nbytes and starts == [starts[0] + i * step for i in range(len(starts))]
    if not even:
        return None
    dtype = geometry.dtype.newbyteorder(geometry.order)
    end = starts[-1] + geometry.nbytes
    shape = (len(starts), *geometry.shape)
    if step == geometry.nbytes:
        return tiff.source.buffer[starts[0] : end].view(dtype).reshape(shape)
    inner = np.ndarray(geometry.shape, dtype, buffer=tiff.source.buffer, offset=starts[0]).strides
    return np.ndarray(shape, dtype, tiff.source.buffer, starts[0], (step, *inner))


def _decode_pages(tiff: Tiff, stack: Stack) -> NDArray[Any]:
    """(plane, *page) in memory, native byte order."""
    geometry = stack.page.geometry
    dtype = np.dtype(bool) if geometry.bits == 1 else geometry.dtype
    decoded: NDArray[Any] | None = None
    with _tifffile(tiff) as file:
        for i, pixels in enumerate(_each_page(tiff, stack, file)):
            if pixels.dtype != dtype or pixels.size != stack_size(stack):
                raise ImageFormatError(
                    f"is damaged: a plane decodes to {pixels.size} values of {pixels.dtype}, not "
                    f"{stack_size(stack)} of {dtype}. Save it anew as TIFF."
                )
            pixels = pixels.reshape(geometry.shape)
            if len(stack.planes) == 1:
                return pixels[None]
            if decoded is None:
                decoded = np.empty((len(stack.planes), *geometry.shape), dtype)
            decoded[i] = pixels
    assert decoded is not None
    return decoded


def stack_size(stack: Stack) -> int:
    """Values in one plane."""
    return int(np.prod(stack.page.geometry.shape))


def _each_page(tiff: Tiff, stack: Stack, file: tifffile.TiffFile) -> Iterator[NDArray[Any]]:
    keyframe: tifffile.TiffPage | None = None
    for i, plane in enumerate(stack.planes):
        if plane.geometry.compression == JPEG:
            _check_jpegs(tiff, plane)
        file.filehandle.seek(plane.directory.offset)
        if keyframe is None:
            keyframe = tifffile.TiffPage(file, index=i)
            yield keyframe.asarray()
        else:
            frame = tifffile.TiffFrame(
                file, index=i, offset=plane.directory.offset, keyframe=keyframe
            )
            yield frame.asarray()


@contextmanager
def _tifffile(tiff: Tiff) -> Iterator[tifffile.TiffFile]:
    """tifffile on the same bytes, without its dialects and without its log."""
    quiet = _Silence()
    logger = logging.getLogger("tifffile")
    logger.addFilter(quiet)
    try:
        with (
            tiff.source.open() as stream,
            tifffile.TiffFile(stream, is_lsm=False, is_scanimage=False, is_ndpi=False) as file,
        ):
            yield file
    finally:
        logger.removeFilter(quiet)


class _Silence(logging.Filter):
    """Drops every record; what tifffile complains about is ours to say."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False


def _check_jpegs(tiff: Tiff, page: Page) -> None:
    """Refuse a strip whose own header promises more pixels than the strip has."""
    height, width, samples = page.geometry.segment
    for offset, count in segment_ranges(tiff, page):
        size = jpeg_size(tiff.source.buffer[offset : offset + count].view(np.ndarray))
        if size is None or size[0] > height or size[1] > width or size[2] > max(samples, 4):
            raise ImageFormatError(
                "is damaged: its JPEG strips do not have the size that the header promises. "
                "Save it anew as TIFF."
            )


def jpeg_size(content: NDArray[np.uint8]) -> tuple[int, int, int] | None:
    """(height, width, components) from a JPEG stream's frame header, or None."""
    place = 2
    while place + 10 <= content.size and content[place] == 0xFF:
        marker = int(content[place + 1])
        if marker == 0xFF:
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, parts = struct.unpack(">HHB", content[place + 5 : place + 10].tobytes())
            return height, width, parts
        if marker == 0xDA:
            return None
        place += 2 + int(content[place + 2]) * 256 + int(content[place + 3])
    return None


def _arrange(raw: NDArray[Any], stack: Stack) -> NDArray[Any]:
    """(plane, *page) as `stack.axes`; a view wherever numpy allows."""
    header, geometry = stack.header, stack.page.geometry
    axes = "".join(stack.sizes)
    data = raw.reshape((*stack.sizes.values(), *geometry.shape))
    if stack.palette is not None:
        return paint(data, stack.palette)
    if geometry.bits == 1:
        return data.astype(np.uint8) * np.uint8(255)
    if stack.signed:
        return (data.astype(np.int32) - SIGNED_OFFSET).astype(np.int16)
    if geometry.samples > 1:
        data = np.moveaxis(data, len(axes) + geometry.axes.index("S"), _sample_place(stack))
    return data.reshape(header.shape)


def _sample_place(stack: Stack) -> int:
    """Where the samples go: behind X if they are colours, else behind the channels' axis."""
    if stack.colour:
        return len(stack.sizes) + 2
    return len(stack.sizes)
