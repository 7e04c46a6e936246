"""A prediction in the form that was asked for: image, labels, outlines, table, or all of it.

image, labels   TIFF for ImageJ
rois            RoiSet.zip for the ROI Manager
table           CSV, one row per object
bundle          zip of labels.tif, RoiSet.zip and table.csv
"""

import io
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from micserve.codecs import create_tiff, finish_tiff, image_to_bytes
from micserve.codecs.rois import write_rois
from micserve.codecs.table import csv_bytes
from micserve.errors import ParameterError
from micserve.families import OutputKind
from micserve.image import Image
from micserve.measure import measure, stack
from micserve.outlines import outlines
from micserve.predict import Prediction


@dataclass(frozen=True, slots=True)
class Encoded:
    """A finished file: bytes, or an open file that has no name any more."""

    content: bytes | BinaryIO
    size: int
    media_type: str
    ending: str
    """What its name ends with."""


class PixelOutput:
    """Where the result's pixels go: memory when they are few, else a TIFF file that is mapped."""

    def __init__(self, path: Path, spool_bytes: int, *, like: Image) -> None:
        self._path, self._spool_bytes, self._like = path, spool_bytes, like

    def open(self, shape: tuple[int, ...], axes: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        if math.prod(shape) * dtype.itemsize <= self._spool_bytes:
            return np.empty(shape, dtype)
        return create_tiff(self._path, shape=shape, axes=axes, dtype=dtype, like=self._like)

    def encode(self, kind: OutputKind, prediction: Prediction) -> Encoded:
        """The prediction as a file.

        Raises
        ------
        ParameterError
            When objects are asked for and the result has none to tell apart.
        """
        if kind in ("image", "labels"):
            return self._tiff(prediction.image)
        if not prediction.frames:
            raise ParameterError(
                f"output={kind} needs objects, and this result has none to tell apart. Ask for "
                "labels, or leave output out."
            )
        maker, media_type, ending = FORMS[kind]
        content = maker(prediction)
        return Encoded(content, len(content), media_type, ending)

    def _tiff(self, image: Image) -> Encoded:
        if not self._path.exists():
            return encode_image(image)
        # As a plain array: a map would be written to the disk first, for a file that is not kept.
        finish_tiff(self._path, image.with_data(np.asarray(image.data)))
        file = self._path.open("rb")
        self._path.unlink()
        return Encoded(file, os.fstat(file.fileno()).st_size, "image/tiff", ".tif")


def encode_image(image: Image) -> Encoded:
    """TIFF in memory."""
    content = image_to_bytes(image)
    return Encoded(content, len(content), "image/tiff", ".tif")


def roi_set(prediction: Prediction) -> bytes:
    """Outlines for ImageJ's ROI Manager."""
    image, file = prediction.image, io.BytesIO()
    polygons = chain.from_iterable(outlines(f.objects, f.labels) for f in prediction.frames)
    write_rois(polygons, file, sizes={axis: image.size(axis) for axis in ("T", "Z", "C")})
    return file.getvalue()


def table(prediction: Prediction) -> bytes:
    """One row per object: where, how large, how bright, how sure."""
    calibration = prediction.image.calibration
    rows = (measure(f.objects, f.labels, f.grey, calibration) for f in prediction.frames)
    return csv_bytes(stack(rows))


def bundle(prediction: Prediction) -> bytes:
    """Everything about the objects in one zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.tif", image_to_bytes(prediction.image))
        archive.writestr("RoiSet.zip", roi_set(prediction), zipfile.ZIP_STORED)
        archive.writestr("table.csv", table(prediction))
    return file.getvalue()


FORMS: Mapping[OutputKind, tuple[Callable[[Prediction], bytes], str, str]] = {
    "rois": (roi_set, "application/zip", "-RoiSet.zip"),
    "table": (table, "text/csv", ".csv"),
    "bundle": (bundle, "application/zip", ".zip"),
}
