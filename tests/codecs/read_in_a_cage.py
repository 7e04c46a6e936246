"""A program: read image files with little memory, and print one JSON line for each.

Usage: read_in_a_cage.py BYTES FILE…   A crash of a decoder ends the program, and thereby the test.
"""

import json
import logging
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from micserve.codecs import probe, read_image
from micserve.errors import ImageFormatError, ImageTooLargeError


def read(path: Path) -> dict[str, Any]:
    try:
        header = probe(path)
        image = read_image(path)
    except (ImageFormatError, ImageTooLargeError) as error:
        return {"error": type(error).__name__, "says": str(error)}
    native = image.data.dtype.newbyteorder("=")
    return {
        "axes": image.axes,
        "shape": image.data.shape,
        "dtype": native.name,
        "as_probed": (header.axes, header.shape, header.dtype)
        == (image.axes, image.data.shape, native),
        "equals_tifffile": equals_tifffile(path, image.axes, image.data, bool(image.display.luts)),
        "notes": image.notes,
    }


def equals_tifffile(path: Path, axes: str, data: np.ndarray[Any, Any], lut: bool) -> bool | None:
    """None if tifffile cannot decode the file."""
    try:
        with tifffile.TiffFile(path) as file:
            expected, page = file.series[0].asarray(), file.pages[0]
    except Exception:  # noqa: BLE001 - whatever it is, there is nothing to compare with
        return None
    if page.photometric == 3 and axes.endswith("S"):
        expected = np.moveaxis((page.colormap >> 8)[:, expected], 0, -1).astype(np.uint8)
    elif page.samplesperpixel > 1:
        # Our axes: colours last, other samples before Y and X.
        source = -3 if page.planarconfig == 2 else -1
        expected = np.moveaxis(expected, source, -1 if axes.endswith("S") else -3)
    if expected.dtype == bool:
        expected = expected.astype(np.uint8) * 255
    return expected.shape == data.shape and bool(
        np.array_equal(expected, data, equal_nan=expected.dtype.kind == "f")
    )


if __name__ == "__main__":
    size = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    logging.getLogger("tifffile").disabled = True
    for name in sys.argv[2:]:
        print(json.dumps(read(Path(name))), flush=True)  # noqa: T201
