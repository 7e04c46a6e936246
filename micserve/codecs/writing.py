"""One door for writing: an image as TIFF or PNG, or a TIFF whose pixels are still to come.

| format | for | pixel types | size |
|---|---|---|---|
| `imagej` | ImageJ and Fiji: axes, calibration, display range, LUTs, labels, Info | 8 and 16 bit, \
signed 16 bit, 32-bit float, RGB | a plane below 4 GiB, a stack of any size |
| `ome` | Bio-Formats, QuPath, napari | also 8 bit signed, 32-bit integers, 64-bit float | any \
(BigTIFF above 4 GiB) |

`auto` is `imagej`, unless ImageJ's layout cannot hold the image exactly.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from micserve.codecs import imagej_tiff
from micserve.codecs.png import encode_png
from micserve.errors import ImageFormatError
from micserve.files import publish_file
from micserve.image import Image

TiffFormat = Literal["imagej", "ome", "auto"]

FOR_IMAGEJ = {"bool": "uint8", "int8": "int16"} | {name: name for name in imagej_tiff.PIXEL_TYPES}
"""Pixel types to what ImageJ has; 32-bit float for all others."""
FOR_OME = {"bool": "uint8", "float16": "float32"}
OME_PIXEL_TYPES = {"uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"}

EXACT_IN_FLOAT32 = 1 << 24
"""Every integer up to here is a float32."""

OME_UNITS = {"micron": "µm", "microns": "µm", "um": "µm", "μm": "µm", "inch": "in"}
OME_KNOWN_UNITS = {"µm", "nm", "mm", "cm", "m", "in"}
BIG = (1 << 32) - (1 << 25)
"""Bytes of pixels from which on OME-TIFF is written as BigTIFF."""


def write_tiff(
    image: Image,
    target: Path | BinaryIO,
    *,
    format: TiffFormat = "auto",  # noqa: A002
) -> None:
    """Write an image that ImageJ or other programs open with all that is known about it.

    Parameters
    ----------
    image
        Any real dtype. For ImageJ, bool becomes 0 and 255, int8 becomes signed 16 bit, and
        float16, float64 and larger integers become 32-bit float; RGB that is not 8 bit becomes a
        composite of channels, and the alpha of RGBA is left out.
    target
        A path gets the whole file or keeps what it was; a stream must be empty.
    format
        See the module.

    Raises
    ------
    ImageFormatError
        When the format cannot hold the image: no or complex pixels; for `imagej`, integers beyond
        2²⁴ that 32-bit float would round, or a plane of 4 GiB.
    """
    if isinstance(target, Path):
        with publish_file(target) as part, part.open("wb") as stream:
            write_tiff(image, stream, format=format)
        return
    if image.dtype.kind not in "buif" or not image.data.size:
        raise ImageFormatError(
            f"an image of shape {image.data.shape} and type {image.dtype} cannot be written: TIFF "
            "for microscopy has real numbers, and at least one pixel"
        )
    obstacle = imagej_obstacle(image) if format != "ome" else ""
    if format == "imagej" and obstacle:
        raise ImageFormatError(f"ImageJ's TIFF cannot hold {obstacle}; write it with format ome")
    if format == "ome" or obstacle:
        _write_ome(image, target)
    else:
        _write_imagej(image, target)


def imagej_obstacle(image: Image) -> str:
    """Why ImageJ's TIFF cannot hold an image exactly; empty if it can."""
    ready = _for_imagej(image)
    if not imagej_tiff.fits(_template(ready, _imagej_dtype(ready))):
        return "a plane of 4 GiB or more"
    if image.dtype.kind in "ui" and image.dtype.itemsize > 2:
        most = max(_largest(plane) for plane in _planes(image))
        if most > EXACT_IN_FLOAT32:
            return f"integers as large as {most}"
    return ""


def create_tiff(
    path: Path,
    *,
    shape: tuple[int, ...],
    axes: str,
    dtype: np.dtype[Any],
    like: Image,
    info: str = "",
) -> NDArray[Any]:
    """Make a TIFF file for ImageJ and give its pixels to write to.

    The file is complete from the start (zeros), and takes its disk space as pixels are written.
    Call `finish_tiff` when they all are. Combine with `publish_file` so that nobody sees it
    before.

    Parameters
    ----------
    shape, axes
        As those of an `Image`.
    dtype
        `uint8`, `uint16`, `int16` or `float32`; the pixels in the file are big-endian.
    like
        Whose calibration, display, labels and info are taken over, as far as they fit.
    info
        Instead of `like.info`, if given.

    Returns
    -------
    NDArray
        A writable `np.memmap` of `shape`; assign to it, tile by tile.

    Raises
    ------
    ImageFormatError
        When ImageJ has no such pixel type, or there are no pixels.
    """
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.name not in imagej_tiff.PIXEL_TYPES or not math.prod(shape):
        raise ImageFormatError(
            f"an image of shape {shape} and type {dtype} is not for ImageJ, which has pixels of "
            f"type {', '.join(imagej_tiff.PIXEL_TYPES)}"
        )
    template = replace(like, data=_no_pixels(shape, dtype), axes=axes, info=info or like.info)
    if not imagej_tiff.fits(template):
        mapped: NDArray[Any] = tifffile.memmap(path, shape=shape, dtype=dtype, **_ome(template))
        return mapped
    layout = imagej_tiff.plan(template)
    with path.open("wb") as stream:
        stream.write(imagej_tiff.head(template, layout))
        stream.truncate(layout.pixels_end)
        stream.seek(layout.pixels_end)
        stream.write(imagej_tiff.tail(template, layout))
    return np.memmap(path, dtype.newbyteorder(">"), "r+", layout.pixels_start, shape)


def finish_tiff(path: Path, image: Image) -> None:
    """Bring the metadata of a file made by `create_tiff` up to date; its pixels stay.

    Parameters
    ----------
    image
        With the shape, axes and dtype that the file was created with, and the final display
        range, labels and info. An Info that has grown by more than 8000 characters is cut.
    """
    if isinstance(image.data, np.memmap):
        image.data.flush()
    template = _template(image, image.dtype)
    with path.open("r+b") as stream:
        layout = imagej_tiff.reread(stream, template)
        if layout is not None:
            stream.seek(0)
            stream.write(imagej_tiff.head(template, layout))


def image_to_bytes(image: Image, format: Literal["tiff", "png"] = "tiff") -> bytes:  # noqa: A002
    """An image as the bytes of a file: TIFF as `write_tiff` makes it, or PNG for one plane.

    Raises
    ------
    ImageFormatError
        When the format cannot hold the image.
    """
    if format == "png":
        return encode_png(image)
    stream = io.BytesIO()
    write_tiff(image, stream)
    return stream.getvalue()


def _write_imagej(image: Image, stream: BinaryIO) -> None:
    ready = _for_imagej(image)
    dtype = _imagej_dtype(ready)
    template = _template(ready, dtype)
    layout = imagej_tiff.plan(template)
    stream.write(imagej_tiff.head(template, layout))
    for plane in _planes(ready):
        stream.write(_converted(plane, dtype.newbyteorder(">")).data)
    stream.write(imagej_tiff.tail(template, layout))


def _write_ome(image: Image, stream: BinaryIO) -> None:
    dtype = np.dtype(FOR_OME.get(image.dtype.name, image.dtype.name))
    if dtype.name not in OME_PIXEL_TYPES:
        raise ImageFormatError(
            f"pixels of type {dtype} have no place in OME-TIFF: convert them to 32 bits"
        )
    planes = (_converted(plane, dtype) for plane in _planes(image))
    template = _template(image, dtype)
    tifffile.imwrite(stream, planes, shape=image.data.shape, dtype=dtype, **_ome(template))


def _for_imagej(image: Image) -> Image:
    """Colours as ImageJ has them: 8-bit RGB, or a composite of channels."""
    if "S" not in image.axes:
        return image
    data = image.data[..., :3]
    if image.dtype == np.uint8 and data.shape[-1] == 3:
        return replace(image, data=data)
    leading = tuple(image.size(axis) for axis in "TZ" if axis in image.axes)
    axes = "".join(axis for axis in "TZ" if axis in image.axes) + "CYX"
    data = np.moveaxis(data, -1, -3)
    data = data.reshape((*leading, image.size("C") * data.shape[-3], *data.shape[-2:]))
    display = replace(image.display, ranges=(), luts=(), mode="composite")
    return replace(image, data=data, axes=axes, display=display, labels=())


def _imagej_dtype(image: Image) -> np.dtype[Any]:
    return np.dtype(FOR_IMAGEJ.get(image.dtype.name, "float32"))


def _template(image: Image, dtype: np.dtype[Any]) -> Image:
    """All of an image but its pixels, which are of another type in the file."""
    return replace(image, data=_no_pixels(image.data.shape, dtype.newbyteorder("=")))


def _no_pixels(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.broadcast_to(np.zeros((), dtype), shape)


def _planes(image: Image) -> Iterator[NDArray[Any]]:
    """(Y, X) or (Y, X, S) views in T, Z, C order."""
    leading = image.data.shape[: image.axes.index("Y")]
    for place in np.ndindex(leading):
        yield image.data[place]


def _converted(plane: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Contiguous, in the type of the file."""
    if plane.dtype == np.bool_:
        plane = plane.astype(np.uint8) * np.uint8(255)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(plane, dtype)


def _largest(plane: NDArray[Any]) -> int:
    return max(int(plane.max()), -int(plane.min()))


def _ome(image: Image) -> dict[str, Any]:
    """What tifffile is told."""
    return {
        "ome": True,
        "bigtiff": image.data.size * image.dtype.itemsize > BIG,
        "photometric": "rgb" if image.size("S") in (3, 4) else "minisblack",
        "metadata": {"axes": image.axes, **_ome_metadata(image)},
    }


def _ome_metadata(image: Image) -> dict[str, Any]:
    cal = image.calibration
    unit = OME_UNITS.get(cal.unit, cal.unit)
    found: dict[str, Any] = {}
    if unit in OME_KNOWN_UNITS:
        sizes = {"X": cal.pixel_width, "Y": cal.pixel_height}
        if "Z" in image.axes:
            sizes["Z"] = cal.pixel_depth
        for axis, size in sizes.items():
            found |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
    if cal.frame_interval > 0 and cal.time_unit in ("sec", "s"):
        found |= {"TimeIncrement": cal.frame_interval, "TimeIncrementUnit": "s"}
    text = "".join(c for c in image.info if c in "\n\t" or ord(c) >= 32)
    return found | ({"Description": text} if text else {})
