"""Paired training data: an image, and what the network is to answer to it.

Two folders, matched by file name. Everything that is wrong with both (a missing
partner, another shape, a target that is not what the family learns from) is
said at once, before anything is trained. Files are held back as a whole, with
their partners, before any patch is cut.

What a target must be is a function that the family gives (`grey_target`,
`class_mask`, `instance_labels`, or its own); this module knows no family.

    dataset = load_pairs(*folders_of(config.data, config.target), check=class_mask, …)
    dataset.train[0].pixels, dataset.train[0].target    # (C, (Z,) Y, X) both, as stored
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from micserve.errors import AxesError, InputError, TrainingDataError
from training.common.config import TrainingConfig
from training.common.images import (
    MOST_NAMED,
    Dataset,
    Manifest,
    Part,
    Plane,
    ReadFile,
    file_entry,
    find_images,
    held_back,
    pixel_size_of,
    read_file,
    read_frames,
    split_region,
    without_name,
)

SOURCES = ("images", "image", "source", "input", "low", "raw", "signal", "noisy")
TARGETS = ("masks", "mask", "labels", "label", "target", "targets", "high", "gt", "clean")
"""Subfolders that are looked for, in this order, when only one folder is given."""

TAILS = ("_masks", "_mask", "_labels", "_label", "_target", "_gt", "_seg")
"""What a target's name may have behind the image's, as tools that draw masks write it."""

CheckTarget = Callable[[NDArray[Any]], None]
"""Takes one (1, (Z,) Y, X) frame; raises InputError with what is wrong with it, in words."""


class PairedConfig(TrainingConfig):
    """Parameters of the families that learn from pairs."""

    data: Path = Field(
        description="Folder with the images to train on (TIFF, OME-TIFF or PNG), or a folder "
        f"with two in it: one of {', '.join(SOURCES[:5])} …, and one of "
        f"{', '.join(TARGETS[:5])} … .",
    )
    target: Path | None = Field(
        default=None,
        description="Folder with what the network is to answer, one file per image, under the "
        "image's name (_mask, _label, _gt or _target may follow it).",
    )
    target_channel: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Channel of the targets, when they have several."
    )


@dataclass(frozen=True, slots=True)
class Pair(Plane):
    """One (C, (Z,) Y, X) frame and its (1, (Z,) Y, X) target, both as they are stored."""

    target: NDArray[Any]


@dataclass(frozen=True, slots=True)
class PairedDataset(Dataset):
    """Training data whose every plane has a target."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class _Both:
    source: ReadFile
    target: ReadFile


def folders_of(data: Path, target: Path | None) -> tuple[Path, Path]:
    """The folders of images and of targets.

    Raises
    ------
    TrainingDataError
        When no target folder was given and `data` has no two subfolders that say what they are.
    """
    if target is not None:
        return data, target
    if not data.is_dir():
        raise TrainingDataError(
            f"There is no folder {data}: give --data the folder that holds your images."
        )
    there = {path.name.lower(): path for path in sorted(data.iterdir()) if path.is_dir()}
    source = next((there[name] for name in SOURCES if name in there), None)
    found = next((there[name] for name in TARGETS if name in there), None)
    if source is None or found is None:
        has = f"it has {', '.join(there)}" if there else "it has no subfolders"
        raise TrainingDataError(
            f"It is not clear which files of {data} are images and which are targets ({has}): "
            "put them into two subfolders called images and masks (or target), or name both "
            "folders with --data and --target."
        )
    return source, found


def load_pairs(
    source: Path,
    target: Path,
    *,
    check: CheckTarget,
    ndim: int,
    channel: int | None,
    target_channel: int | None = None,
    channels: int = 1,
    percentage_validation: float,
    seed: int,
    patch: int,
    gap: int,
    multiple: int,
    pixel_size_um: float | None = None,
) -> PairedDataset:
    """Read, match and split two folders.

    Parameters
    ----------
    check
        What a target must be.
    channel, target_channel
        1-based; needed where images or targets have several.
    channels
        That the network takes at once (3 for RGB).
    patch, gap, multiple
        As for `training.common.images.load_dataset`.

    Returns
    -------
    PairedDataset
        Its manifest names the files as `images/a.tif` and `masks/a.tif`, by their folders.

    Raises
    ------
    TrainingDataError
        Naming everything that is wrong in both folders.
    """
    both = _read_both(
        source,
        target,
        check=check,
        ndim=ndim,
        channel=channel,
        target_channel=target_channel,
        channels=channels,
    )
    images = [pair.source for pair in both]
    pixel_size, notes = pixel_size_of(images, pixel_size_um, ndim)
    if len(both) == 1:
        train, validation, sentence = _split_regions(
            both[0], percentage_validation, patch=patch, gap=gap, multiple=multiple
        )
        parts: list[Part] = ["both"]
    else:
        held = held_back(len(both), percentage_validation, seed)
        parts = ["validation" if number in held else "train" for number in range(len(both))]
        train, validation = _pairs(both, parts, "train"), _pairs(both, parts, "validation")
        sentence = (
            f"{len(held)} of {len(both)} image files ({100 * len(held) / len(both):.0f} %) were "
            "held back for validation, with their targets, before patches were cut."
        )
    entries = [
        file_entry(read, part).model_copy(
            update={"file": f"{read.path.parent.name}/{read.path.name}", "role": role}
        )
        for pair, part in zip(both, parts, strict=True)
        for read, role in ((pair.source, "image"), (pair.target, "target"))
    ]
    manifest = Manifest(
        files=tuple(entries),
        split="by region" if len(both) == 1 else "by file",
        sentence=sentence,
    )
    return PairedDataset(tuple(train), tuple(validation), manifest, pixel_size, tuple(notes))


def grey_target(target: NDArray[Any]) -> None:
    """An image in grey values, as CARE and fnet learn from."""
    if target.min() == target.max():
        raise InputError("all of its pixels have the same grey value.")


def class_mask(target: NDArray[Any]) -> None:
    """A whole number per pixel: which class it belongs to, or 0 and 255."""
    _refuse_fractions(target)


def instance_labels(target: NDArray[Any]) -> None:
    """A number of its own per object, 0 between them, as StarDist learns from."""
    from scipy import ndimage

    _refuse_fractions(target)
    numbers = np.unique(target)
    objects = numbers[numbers > 0]
    touching = np.ones((3,) * (target.ndim - 1))
    if len(objects) == 1 and ndimage.label(target[0] > 0, touching)[1] > 1:
        raise InputError(
            f"it is a black and white mask (0 and {objects[0]}), but every object needs a number "
            "of its own: label it first, in Fiji with Plugins › MorphoLibJ › Binary Images › "
            "Connected Components Labeling."
        )


def _refuse_fractions(target: NDArray[Any]) -> None:
    if target.dtype.kind == "f" and not np.equal(np.rint(target), target).all():
        raise InputError(
            "its values have fractions, so it is a grey image and no mask; give the mask that "
            "was drawn, with one whole number per pixel."
        )
    if target.min() < 0:
        raise InputError("it has negative values; 0 is the background.")


def _read_both(
    source: Path,
    target: Path,
    *,
    check: CheckTarget,
    ndim: int,
    channel: int | None,
    target_channel: int | None,
    channels: int,
) -> list[_Both]:
    """All pairs, or one error that names all that is wrong."""
    wrong: list[str] = []
    images = _by_stem(find_images(source), wrong)
    targets = _by_stem(find_images(target), wrong)
    partners = {stem: name for stem in images if (name := _partner(stem, targets)) is not None}
    wrong += [
        f"{_called(path)}: there is no target of this name in {target.name}."
        for stem, path in images.items()
        if stem not in partners
    ]
    wrong += [
        f"{_called(path)}: there is no image of this name in {source.name}."
        for stem, path in targets.items()
        if stem not in partners.values()
    ]
    both = []
    for stem, name in partners.items():
        path, partner = images[stem], targets[name]
        read = partial(read_file, path, ndim=ndim, channel=channel, channels=channels)
        image = _tried(read, path, wrong)
        read = partial(_read_target, partner, check, ndim=ndim, channel=target_channel)
        its_target = _tried(read, partner, wrong)
        if image is None or its_target is None:
            continue
        difference = _difference(image, its_target)
        if difference:
            wrong.append(f"{_called(partner)}: {difference}")
        both.append(_Both(image, its_target))
    if wrong:
        raise TrainingDataError(_all_of(wrong, source, target))
    return both


def _by_stem(paths: Sequence[Path], wrong: list[str]) -> dict[str, Path]:
    counts = Counter(path.stem for path in paths)
    wrong += [
        f"{_called(path)}: another file differs from it only in its ending, so it is not clear "
        "which one is meant."
        for path in paths
        if counts[path.stem] > 1
    ]
    return {path.stem: path for path in paths}


def _partner(stem: str, targets: Mapping[str, Path]) -> str | None:
    return next((stem + tail for tail in ("", *TAILS) if stem + tail in targets), None)


def _tried(read: Callable[[], ReadFile], path: Path, wrong: list[str]) -> ReadFile | None:
    try:
        return read()
    except InputError as error:
        wrong.append(f"{_called(path)}: {without_name(str(error), path.name)}")
        return None


def _read_target(path: Path, check: CheckTarget, *, ndim: int, channel: int | None) -> ReadFile:
    try:
        read = read_frames(path, ndim=ndim, channel=channel)
    except AxesError as error:
        if "S" not in error.got:
            raise
        raise InputError(
            "it is a colour picture (RGB), but a target has one number per pixel: in Fiji, "
            "Image › Type › 8-bit makes one of a black and white picture; labels must be saved "
            "as 8 or 16 bit."
        ) from error
    for frame in read.frames:
        check(frame)
    return read


def _difference(image: ReadFile, target: ReadFile) -> str:
    """What keeps a target from being the image's, or nothing."""
    if len(image.frames) != len(target.frames):
        return (
            f"it has {len(target.frames)} frames or slices, its image has {len(image.frames)}; "
            "they must be the same field of view."
        )
    size, expected = target.frames[0].shape[1:], image.frames[0].shape[1:]
    if size != expected:
        return (
            f"it has {_times(size)} pixels, its image has {_times(expected)}; they must be the "
            "same field of view at the same resolution."
        )
    return ""


def _all_of(wrong: Sequence[str], source: Path, target: Path) -> str:
    listed = "\n  ".join(wrong[:MOST_NAMED])
    more = f"\n  … and {len(wrong) - MOST_NAMED} more." if len(wrong) > MOST_NAMED else ""
    things = "thing is" if len(wrong) == 1 else "things are"
    return (
        f"{len(wrong)} {things} wrong with the pairs in {source} and {target}; correct them or "
        f"move the files away:\n  {listed}{more}"
    )


def _pairs(both: Sequence[_Both], parts: Sequence[Part], wanted: Part) -> list[Pair]:
    return [
        Pair(frame, pair.source.path.name, target)
        for pair, part in zip(both, parts, strict=True)
        if part == wanted
        for frame, target in zip(pair.source.frames, pair.target.frames, strict=True)
    ]


def _split_regions(
    pair: _Both, percentage: float, *, patch: int, gap: int, multiple: int
) -> tuple[list[Pair], list[Pair], str]:
    """The same regions of the only image and of its target."""
    *planes, sentence = split_region(
        pair.source, percentage, patch=patch, gap=gap, multiple=multiple
    )
    *targets, _ = split_region(pair.target, percentage, patch=patch, gap=gap, multiple=multiple)
    train, validation = (
        [Pair(plane.pixels, plane.file, t.pixels) for plane, t in zip(part, its, strict=True)]
        for part, its in zip(planes, targets, strict=True)
    )
    return train, validation, sentence


def _called(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _times(size: Sequence[int]) -> str:
    return " × ".join(map(str, size))
