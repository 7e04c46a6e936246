"""A folder of images as training data: found, read, checked, and split before any patch is cut.

Files are held back for validation as a whole, so that no validation patch has a
neighbour in the training set. A single image is divided into two regions with a
gap that no patch and no network reaches across. Everything that is wrong with
a folder is said at once. Pixels stay as the files have them (mapped where they
can be) until a patch is cut.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from micserve.axes import plan_frames
from micserve.codecs import read_image
from micserve.errors import InputError, TrainingDataError
from micserve.files import sha256_of
from micserve.image import Image
from micserve.normalize import refuse_not_finite

SUFFIXES = (".tif", ".tiff", ".png")
SMALLEST = 16
"""Pixels: the least patch that a U-Net with two poolings learns anything from."""
MOST_NAMED = 20
"""Faulty files named in one message."""
STATISTICS_PIXELS = 1 << 24
"""Pixels that percentiles are taken of; evenly spaced where there are more."""

Part = Literal["train", "validation", "both"]


class FileEntry(BaseModel):
    """One image file of the training data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    part: Part
    role: Literal["image", "target"] = "image"
    """`target` for what a paired network learns to answer."""


class Manifest(BaseModel):
    """What a model was trained on: goes into its package."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: Annotated[tuple[FileEntry, ...], Field(min_length=1)]
    split: Literal["by file", "by region"]
    sentence: str
    """How the validation data was held back, in words."""

    @property
    def images(self) -> tuple[FileEntry, ...]:
        """Without the targets of paired data."""
        return tuple(entry for entry in self.files if entry.role == "image")


@dataclass(frozen=True, slots=True)
class Plane:
    """One (C, (Z,) Y, X) frame of a file, or a region of it, in grey values."""

    pixels: NDArray[Any]
    file: str

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels per spatial axis."""
        return self.pixels.shape[1:]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Training data, split."""

    train: tuple[Plane, ...]
    validation: tuple[Plane, ...]
    manifest: Manifest
    pixel_size_um: dict[Literal["Z", "Y", "X"], float] | None
    notes: tuple[str, ...] = ()

    @property
    def smallest(self) -> tuple[int, ...]:
        """Pixels per spatial axis that every plane has."""
        sizes = [plane.size for plane in (*self.train, *self.validation)]
        return tuple(min(axis) for axis in zip(*sizes, strict=True))


@dataclass(frozen=True, slots=True)
class ReadFile:
    """One image file, read and found fit to train on; `frames` are (C, (Z,) Y, X) views of it."""

    path: Path
    image: Image
    frames: tuple[NDArray[Any], ...]


def load_dataset(
    folder: Path,
    *,
    ndim: int,
    channel: int | None,
    percentage_validation: float,
    seed: int,
    patch: int,
    gap: int,
    multiple: int,
    pixel_size_um: float | None = None,
) -> Dataset:
    """Read and split a folder.

    Parameters
    ----------
    channel
        1-based; needed where images have several.
    patch
        Wished side of a patch, pixels; a single image is divided with room for it.
    gap
        Pixels between the regions of a single image, besides one patch.
    multiple
        Sizes of regions are a multiple of this where the image allows.

    Raises
    ------
    TrainingDataError
        Naming everything that is wrong.
    """
    paths = find_images(folder)
    images = read_all(paths, folder, ndim=ndim, channel=channel)
    pixel_size, notes = pixel_size_of(images, pixel_size_um, ndim)
    if len(images) == 1:
        train, validation, sentence = split_region(
            images[0], percentage_validation, patch=patch, gap=gap, multiple=multiple
        )
        parts: list[Part] = ["both"]
    else:
        held = held_back(len(images), percentage_validation, seed)
        parts = ["validation" if index in held else "train" for index in range(len(images))]
        train = planes_of(images, parts, "train")
        validation = planes_of(images, parts, "validation")
        sentence = (
            f"{len(held)} of {len(images)} image files ({100 * len(held) / len(images):.0f} %) "
            "were held back for validation before patches were cut."
        )
    manifest = Manifest(
        files=tuple(file_entry(read, part) for read, part in zip(images, parts, strict=True)),
        split="by region" if len(images) == 1 else "by file",
        sentence=sentence,
    )
    return Dataset(tuple(train), tuple(validation), manifest, pixel_size, tuple(notes))


def find_images(folder: Path) -> list[Path]:
    """Image files directly in the folder, by name."""
    if not folder.is_dir():
        raise TrainingDataError(
            f"There is no folder {folder}: give --data the folder that holds your images."
        )
    found = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise TrainingDataError(
            f"The folder {folder} holds no TIFF or PNG images directly in it: save your images "
            "there as .tif, .tiff or .png, or choose the folder below that has them."
        )
    return found


def held_back(count: int, percentage: float, seed: int) -> frozenset[int]:
    """Which of `count` files are for validation: at least one, and at least one is left."""
    wanted = min(max(round(count * percentage / 100), 1), count - 1)
    return frozenset(random.Random(seed).sample(range(count), wanted))


def grey_statistics(planes: Sequence[Plane]) -> dict[str, float]:
    """p1, p50, p99, mean and std of all grey values; every plane counts by its size."""
    total = sum(plane.pixels.size for plane in planes)
    step = max(1, math.ceil(total / STATISTICS_PIXELS))
    sample = np.concatenate(
        [plane.pixels.reshape(-1)[::step].astype(np.float32) for plane in planes]
    )
    pixels = sum(float(plane.pixels.sum(dtype=np.float64)) for plane in planes)
    mean = pixels / total
    squares = sum(float(np.square(rows.astype(np.float64) - mean).sum()) for rows in _rows(planes))
    p1, p50, p99 = (float(value) for value in np.percentile(sample, (1, 50, 99)))
    return {"p1": p1, "p50": p50, "p99": p99, "mean": mean, "std": math.sqrt(squares / total)}


def _rows(planes: Sequence[Plane]) -> Iterator[NDArray[Any]]:
    """Pieces that are small in floating point."""
    for plane in planes:
        yield from plane.pixels.reshape(-1, plane.pixels.shape[-1])


def read_all(
    paths: Sequence[Path], folder: Path, *, ndim: int, channel: int | None
) -> list[ReadFile]:
    read, wrong = [], []
    for path in paths:
        try:
            read.append(read_file(path, ndim=ndim, channel=channel))
        except InputError as error:
            wrong.append(f"{path.name}: {without_name(str(error), path.name)}")
    if wrong:
        more = f" … and {len(wrong) - MOST_NAMED} more." if len(wrong) > MOST_NAMED else ""
        listed = "\n  ".join(wrong[:MOST_NAMED])
        raise TrainingDataError(
            f"{len(wrong)} of {len(paths)} images in {folder} cannot be trained on; correct them "
            f"or move them away:\n  {listed}{more}"
        )
    return read


def read_file(path: Path, *, ndim: int, channel: int | None, channels: int = 1) -> ReadFile:
    """An image to learn from; one that is the same everywhere teaches nothing."""
    read = read_frames(path, ndim=ndim, channel=channel, channels=channels)
    if all(frame.min() == frame.max() for frame in read.frames):
        raise InputError("all of its pixels have the same grey value.")
    return read


def read_frames(path: Path, *, ndim: int, channel: int | None, channels: int = 1) -> ReadFile:
    """Any image with finite values and enough pixels."""
    image = read_image(path)
    if image.data.dtype.kind not in "uif":
        raise InputError(f"its pixels are of type {image.dtype}, not grey values.")
    plan = plan_frames(
        image.axes, image.data.shape, spatial="ZYX"[-ndim:], channels=channels, channel=channel
    )
    frames = tuple(frame for frame, _ in plan.frames(image.data))
    if min(frames[0].shape[-2:]) < SMALLEST:
        height, width = frames[0].shape[-2:]
        raise InputError(
            f"it has {height} × {width} pixels, and at least {SMALLEST} × {SMALLEST} are needed."
        )
    for frame in frames:
        refuse_not_finite(frame)
    return ReadFile(path, image, frames)


def without_name(sentence: str, name: str) -> str:
    return sentence.removeprefix(f"{name}: ")


def planes_of(images: Sequence[ReadFile], parts: Sequence[Part], wanted: Part) -> list[Plane]:
    chosen = (read for read, part in zip(images, parts, strict=True) if part == wanted)
    return [Plane(frame, read.path.name) for read in chosen for frame in read.frames]


def split_region(
    read: ReadFile, percentage: float, *, patch: int, gap: int, multiple: int
) -> tuple[list[Plane], list[Plane], str]:
    """The end of the longer side is held back, behind a gap of one patch and `gap` pixels."""
    height, width = read.frames[0].shape[-2:]
    axis, size = (-2, height) if height >= width else (-1, width)
    patch = min(patch, _fitting(size, min(height, width), gap, multiple))
    between = patch + gap
    if patch < SMALLEST:
        raise TrainingDataError(
            f"{read.path.name} is the only image, and its {height} × {width} pixels cannot be "
            "divided into a training and a validation region. Add a second image."
        )
    held = max(math.ceil(size * percentage / 100), patch)
    kept = size - held - between
    if kept < patch:
        held, kept = patch, size - patch - between
    word = "rows" if axis == -2 else "columns"
    train = [Plane(_along(frame, axis, 0, kept), read.path.name) for frame in read.frames]
    validation = [
        Plane(_along(frame, axis, size - held, size), read.path.name) for frame in read.frames
    ]
    sentence = (
        f"There is one image, so it was split by region: the first {kept} of its {size} {word} "
        f"for training, the last {held} for validation, and the {between} between them (one "
        "patch and the network's reach) for neither. Validation on another image says more."
    )
    return train, validation, sentence


def _fitting(size: int, other: int, gap: int, multiple: int) -> int:
    """The largest patch with room for one on each side of a gap of one patch and `gap`."""
    largest = min((size - gap) // 3, other)
    return largest - largest % multiple


def _along(frame: NDArray[Any], axis: int, start: int, stop: int) -> NDArray[Any]:
    return frame[..., start:stop, :] if axis == -2 else frame[..., start:stop]


def pixel_size_of(
    images: Sequence[ReadFile], given: float | None, ndim: int
) -> tuple[dict[Literal["Z", "Y", "X"], float] | None, list[str]]:
    axes: tuple[Literal["Z", "Y", "X"], ...] = ("Z", "Y", "X")
    if given is not None:
        # In 3D only the lateral size can be given so; depth comes from the files.
        first = images[0].image.calibration.in_um() or {}
        return {a: given if a != "Z" else first.get("Z", given) for a in axes[-ndim:]}, []
    sizes = [read.image.calibration.in_um() for read in images]
    known = [size for size in sizes if size is not None]
    if not known:
        return None, []
    notes = []
    spread = max(size["X"] for size in known) / min(size["X"] for size in known)
    if len(known) < len(images) or spread > 1.05:
        notes.append("The images do not all have the same pixel size; the first one's is recorded.")
    return {axis: known[0][axis] for axis in axes[-ndim:]}, notes


def file_entry(read: ReadFile, part: Part) -> FileEntry:
    image = read.image
    return FileEntry(
        file=read.path.name,
        sha256=sha256_of(read.path),
        axes=image.axes,
        shape=image.data.shape,
        dtype=image.dtype.name,
        part=part,
    )
