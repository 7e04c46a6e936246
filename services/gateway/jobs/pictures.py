"""What a prediction job works through: image files as they are, OME-Zarr one time point at a time.

An OME-Zarr image is never in memory whole: each time point is read when its turn comes, sent as
TIFF, and forgotten. Files are passed on without being decoded. Knows nothing of models.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from micserve.codecs import image_to_bytes
from micserve.errors import ImageFormatError, ImageTooLargeError
from micserve.image import Calibration, Image
from services.gateway.data.folders import SUFFIXES

ZARR_FILES = ("zarr.json", ".zattrs", ".zgroup")
"""One of them is in the folder of every Zarr group, of either version."""
PIECE = 1 << 20
LARGEST_POINT = 8 << 30
"""Bytes of one time point that are read into memory."""
TO_UM = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "meter": 1e6, "angstrom": 1e-4}

Sent = tuple[Iterator[bytes], int]
"""Pieces of a file, and its size in bytes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image to send."""

    name: Path
    """Relative to the job's source; its result is called after it."""
    open: Callable[[], AbstractContextManager[Sent]]


def pictures_in(source: Path) -> list[Picture]:
    """Of a file or OME-Zarr image: itself; of a folder: all at any depth, by name. Links and
    hidden files are left out."""
    if source.is_file():
        return [_of_file(source, source.parent)]
    if is_zarr(source):
        return _of_zarr(source, source.parent)
    found: list[Picture] = []
    for parent, folders, files in os.walk(source, followlinks=False):
        paths = [Path(parent, name) for name in sorted(folders) if not name.startswith(".")]
        zarrs = [path for path in paths if is_zarr(path)]
        folders[:] = [path.name for path in paths if path not in zarrs]
        found += [picture for path in zarrs for picture in _of_zarr(path, source)]
        found += [_of_file(Path(parent, n), source) for n in files if _is_image(Path(parent, n))]
    return sorted(found, key=lambda picture: picture.name)


def is_zarr(folder: Path) -> bool:
    return folder.is_dir() and any((folder / name).is_file() for name in ZARR_FILES)


def _is_image(path: Path) -> bool:
    name = path.name
    return name.lower().endswith(SUFFIXES) and name[0] != "." and not path.is_symlink()


def _of_file(path: Path, base: Path) -> Picture:
    return Picture(path.relative_to(base), partial(_open_file, path))


@contextmanager
def _open_file(path: Path) -> Iterator[Sent]:
    with path.open("rb") as file:
        yield iter(lambda: file.read(PIECE), b""), os.fstat(file.fileno()).st_size


# --- OME-Zarr ---------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class OmeZarr:
    """The largest resolution of an OME-Zarr image; `array` is read where it is indexed."""

    path: Path
    array: Any
    axes: str
    """`TCZYX` or a part of it, in the array's order."""
    calibration: Calibration

    @property
    def points(self) -> int:
        """Time points; 1 without a time axis."""
        return int(self.array.shape[self.axes.index("T")]) if "T" in self.axes else 1

    def point(self, number: int) -> Image:
        """One time point, the only part that is read."""
        where = tuple(number if axis == "T" else slice(None) for axis in self.axes)
        shape = [s for s, axis in zip(self.array.shape, self.axes, strict=True) if axis != "T"]
        size = int(np.prod(shape, dtype=np.int64)) * self.array.dtype.itemsize
        if size > LARGEST_POINT:
            raise ImageTooLargeError(
                f"One time point has {size >> 20} MiB, and at most {LARGEST_POINT >> 20} MiB are "
                "read at a time. Crop it, or use a lower resolution."
            )
        try:
            pixels = np.asarray(self.array[where])
        except Exception as error:  # codecs raise whatever they like
            raise ImageFormatError(
                f"Time point {number} of {self.path.name} cannot be read: its chunks are damaged "
                f"({type(error).__name__})."
            ) from error
        return Image(pixels, self.axes.replace("T", ""), calibration=self.calibration)


def open_ome_zarr(path: Path) -> OmeZarr:
    """OME-Zarr 0.4 or 0.5; nothing but its description is read.

    Raises
    ------
    ImageFormatError
        For a Zarr that is no OME-Zarr image, with what it lacks.
    """
    try:
        zarr: Any = import_module("zarr")
    except ImportError as error:
        raise ImageFormatError(
            "This server cannot read OME-Zarr: the package zarr is not installed."
        ) from error
    try:
        group = zarr.open_group(str(path), mode="r")
        said = dict(group.attrs)
        (scales, *_) = (said.get("ome") or said)["multiscales"]
        array = group[scales["datasets"][0]["path"]]
        names = [axis["name"].upper() for axis in scales["axes"]]
    except Exception as error:  # whatever a damaged or foreign store raises
        raise ImageFormatError(
            f"{path.name} is no OME-Zarr image: it has no readable multiscales description."
        ) from error
    axes = "".join(names)
    if set(axes) - set("TCZYX") or not axes.endswith("YX") or len(axes) != len(array.shape):
        raise ImageFormatError(f"{path.name} has the axes {axes}; t, c, z, y and x can be read.")
    return OmeZarr(path, array, axes, _calibration(scales))


def _calibration(scales: Any) -> Calibration:
    """Pixel size in µm where the description has one."""
    steps = scales["datasets"][0].get("coordinateTransformations", [])
    scale = next((step["scale"] for step in steps if step.get("type") == "scale"), None)
    if scale is None:
        return Calibration()
    sizes = {
        axis["name"].upper(): float(size) * TO_UM[axis["unit"]]
        for axis, size in zip(scales["axes"], scale, strict=False)
        if axis.get("unit") in TO_UM
    }
    if "X" not in sizes or "Y" not in sizes:
        return Calibration()
    return Calibration(sizes["X"], sizes["Y"], sizes.get("Z", 1.0), "um")


def _of_zarr(path: Path, base: Path) -> list[Picture]:
    """One picture per time point; one that cannot be opened is one picture that says so."""
    name = path.relative_to(base)
    stem = name.with_name(name.name.removesuffix(".zarr").removesuffix(".ome") or name.name)
    try:
        image = open_ome_zarr(path)
    except ImageFormatError as error:
        return [Picture(stem.with_name(stem.name + ".tif"), partial(_raise, error))]
    if image.points == 1:
        return [Picture(stem.with_name(stem.name + ".tif"), partial(_open_point, image, 0))]
    return [
        Picture(stem / f"t{number:04}.tif", partial(_open_point, image, number))
        for number in range(image.points)
    ]


def _raise(error: Exception) -> AbstractContextManager[Sent]:
    raise error


def _open_point(image: OmeZarr, number: int) -> AbstractContextManager[Sent]:
    content = image_to_bytes(image.point(number))
    pieces = (content[at : at + PIECE] for at in range(0, len(content), PIECE))
    return nullcontext((pieces, len(content)))
