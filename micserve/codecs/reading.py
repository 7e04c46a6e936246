"""One door for reading: which format it is, what it holds, and its pixels.

This is the one place where whatever a decoder raises becomes an error in
words.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from micserve.codecs import ifd
from micserve.codecs.limits import Header, Limits
from micserve.codecs.pixels import load_pixels
from micserve.codecs.png import MAGIC as PNG
from micserve.codecs.png import Png, decode_png, read_png
from micserve.codecs.source import Source, open_source
from micserve.codecs.stack import Stack, read_stack
from micserve.errors import ImageFormatError, ImageTooLargeError, MicserveError
from micserve.image import Image

OTHER_FORMATS = {
    b"\xff\xd8\xff": "a JPEG picture, whose grey values are not those of the microscope: send the "
    "original as TIFF",
    b"ZISRAWFILE": "a Zeiss CZI file: open it in Fiji and save it as TIFF",
    b"\x70\0\0\0": "a Leica LIF file: open it in Fiji and save it as TIFF",
    b"\xda\xce\xbe\n": "a Nikon ND2 file: open it in Fiji and save it as TIFF",
    b"\0\0\0\x0cjP  ": "a Nikon ND2 or JPEG 2000 file: open it in Fiji and save it as TIFF",
    b"\xd0\xcf\x11\xe0": "an Olympus OIB or Zeiss ZVI file: open it in Fiji and save it as TIFF",
    b"\x89HDF": "an HDF5 file: open it in Fiji and save it as TIFF",
    b"PK\x03\x04": "a zip archive: unpack it and send the images one by one",
    b"GIF8": "a GIF picture: save it as TIFF or PNG",
    b"BM": "a BMP picture: save it as TIFF or PNG",
    b"%PDF": "a PDF document: send the image itself, as TIFF",
    b"Iout": "an ImageJ selection (ROI): send the image, as TIFF",
}
"""First bytes to what to say."""


def read_image(
    source: Path | bytes | BinaryIO, *, limits: Limits | None = None, name: str = ""
) -> Image:
    """Read a TIFF (ImageJ, OME, Big, plain) or PNG image.

    Parameters
    ----------
    source
        A path is mapped, bytes are viewed; a stream is read whole into memory.
    limits
        Checked against the header before memory is taken.
    name
        What to call the image in messages; a path's own name by default.

    Returns
    -------
    Image
        `data` is a read-only view of the file where the pixels lie in it uncompressed and one
        after another (a `np.memmap` for a path), **in the file's byte order**: consumers convert
        what they use, tile by tile. Otherwise it is a new array in native byte order. The values
        are the file's: only 1-bit images become 0 and 255, and palettes that are no LUT become
        RGB (`micserve.codecs.colour`); MinIsWhite is kept as an inverted LUT.

    Raises
    ------
    ImageFormatError
        When the bytes are not an image that is read here, or are damaged.
    ImageTooLargeError
        When the image is larger than `limits`.
    """
    limits = limits or Limits()
    with _in_words(source, name):
        opened = open_source(source, limits=limits, name=name)
        found = _look(opened, limits)
        _header(found).check(limits)
        if isinstance(found, Png):
            image = decode_png(found)
            return image.with_data(image.data, name=opened.name)
        tiff, stack = found
        return Image(
            load_pixels(tiff, stack),
            stack.axes,
            calibration=stack.calibration,
            display=stack.display,
            labels=stack.labels,
            info=stack.info,
            name=opened.name,
            notes=stack.notes,
        )


def probe(
    source: Path | bytes | BinaryIO, *, limits: Limits | None = None, name: str = ""
) -> Header:
    """What `read_image` would give, without decoding; sizes of pixels are not limited here.

    Raises
    ------
    ImageFormatError
        When the header is not one of an image that is read here, or is damaged.
    """
    limits = limits or Limits()
    with _in_words(source, name):
        return _header(_look(open_source(source, limits=limits, name=name), limits))


def _look(source: Source, limits: Limits) -> Png | tuple[ifd.Tiff, Stack]:
    start = source.read(0, 16)
    if start.startswith(PNG):
        return read_png(source)
    if start[:4] in ifd.MAGIC:
        tiff = ifd.read_tiff(source, limits)
        return tiff, read_stack(tiff, limits)
    for magic, what in OTHER_FORMATS.items():
        if start.startswith(magic):
            raise ImageFormatError(f"is {what}")
    raise ImageFormatError(
        "is not a TIFF or PNG image: in Fiji, save it with File › Save As › Tiff…"
    )


def _header(found: Png | tuple[ifd.Tiff, Stack]) -> Header:
    return found.header if isinstance(found, Png) else found[1].header


@contextmanager
def _in_words(source: Path | bytes | BinaryIO, name: str) -> Iterator[None]:
    """Give every error the image's name; decoders raise anything, so anything is caught."""
    subject = name or (source.name if isinstance(source, Path) else "The image")
    try:
        yield
    except ImageTooLargeError as error:
        raise ImageTooLargeError(f"{subject} {error}") from error
    except ImageFormatError as error:
        raise ImageFormatError(f"{subject} {error}") from error
    except MicserveError:
        raise
    except MemoryError as error:
        raise ImageTooLargeError(
            f"{subject} needs more memory than this machine has left. Send fewer planes at a time."
        ) from error
    except Exception as error:
        raise ImageFormatError(
            f"{subject} could not be decoded ({type(error).__name__}: {str(error)[:120]}). Open it "
            "in Fiji and save it as TIFF."
        ) from error
