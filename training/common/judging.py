"""A quality report for a version that was just trained, on the images held back from training.

What `promote` compares versions by. A trainer that learns from pairs answers `judge`
with what its packed network made of the validation frames, predicted as the service
does (`judging_segmentation`, `judging_restoration`); this module cuts the frames and
attaches the report. One that cannot be made is said and costs nothing else: the
version is published by then.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.package import open_package
from micserve.backends.onnx import OnnxBackend
from micserve.errors import MicserveError
from micserve.families import PredictParameters
from micserve.image import Calibration, Image
from micserve.predict import LoadedModel, predict
from micserve.qc import About
from micserve.registry import ModelVersion, Registry
from training.common.pairs import Pair, PairedDataset

log = logging.getLogger(__name__)

MOST_FRAMES = 50
FRAME_PIXELS = {2: 1 << 20, 3: 1 << 21}
"""Of one frame, in its middle, by dimensions."""
MOST_PIXELS = 4 << 20
"""Of all frames: enough for an interval, in a minute of one processor."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One validation frame, or the middle of it."""

    name: str
    file: str
    image: Image
    """What the model is given."""
    target: NDArray[Any]
    """((Z,) Y, X), as it is stored."""

    @property
    def source(self) -> NDArray[Any]:
        """Grey values as the target's shape has them; colours behind the pixels."""
        pixels = np.asarray(self.image.data)
        return pixels if pixels.shape == self.target.shape else np.moveaxis(pixels, 0, -1)

    @property
    def pixel_size_um(self) -> float | None:
        """Along X."""
        size = self.image.calibration.in_um()
        return size["X"] if size else None


@dataclass(frozen=True, slots=True)
class Written:
    """A report that lies in a folder."""

    sentence: str
    """Its verdict."""
    summary: dict[str, Any]
    """For the registry's listings."""


class Judged(Protocol):
    """What a trainer found out about its validation images."""

    def write(self, folder: Path, *, about: About, first: Sequence[str]) -> Written:
        """The report with held_out.json; `first` are sentences that stand before its notes."""


@runtime_checkable
class Judging(Protocol):
    """A trainer whose models can be judged by what was held back."""

    def judge(self, model: LoadedModel, frames: Sequence[Shown], data: PairedDataset) -> Judged: ...


def shown_frames(data: PairedDataset, frames: Sequence[Pair]) -> list[Shown]:
    """The first frames of a part of the data, cut to what can be judged in a short time."""
    kept: list[Shown] = []
    pixels = 0
    files = [frame.file for frame in frames]
    for number, frame in enumerate(frames[:MOST_FRAMES]):
        middle = _middle(frame.size)
        target = frame.target[(0, *middle)]
        pixels += target.size
        if kept and pixels > MOST_PIXELS:
            break
        several = files.count(frame.file) > 1
        name = f"{frame.file}, frame {files[:number].count(frame.file) + 1}"
        kept.append(
            Shown(
                name=name if several else frame.file,
                file=frame.file,
                image=_image(frame.pixels[(slice(None), *middle)], data),
                target=target,
            )
        )
    return kept


def answers(
    model: LoadedModel, frames: Sequence[Shown], asked: PredictParameters
) -> Iterator[NDArray[Any]]:
    """What the packed model makes of each frame, as the service does."""
    for frame in frames:
        yield np.asarray(predict(frame.image, model, asked).image.data)


def attach_judgement(
    trainer: Judging,
    data: PairedDataset,
    *,
    package: Path,
    registry: Registry,
    version: ModelVersion,
    folder: Path,
) -> str:
    """Judge, write into `folder`, attach to the version; a sentence for the person who waits."""
    try:
        opened = open_package(package, into=folder / "package")
        model = LoadedModel(opened.contract, OnnxBackend(opened.onnx, provider="cpu"))
        frames = shown_frames(data, [f for f in data.validation if isinstance(f, Pair)])
        judged = trainer.judge(model, frames, data)
        about = About(model=str(version.ref), digest=version.digest, made_at=datetime.now(UTC))
        files = folder / "quality"
        written = judged.write(files, about=about, first=tuple(_held_back(data, frames)))
        registry.attach_qc(version, written.summary, files)
    except MicserveError as error:
        return f"The quality report could not be made: {error}"
    except Exception as error:
        # Hours of training do not fail by their report.
        log.warning("the quality report failed", exc_info=True)
        return (
            f"The quality report could not be made ({type(error).__name__}: {error}). Make it with "
            f"micserve qc --model {version.ref} --source … --target … --held-out --attach."
        )
    return f"On held-out images: {written.sentence}"


def _held_back(data: PairedDataset, frames: Sequence[Shown]) -> Iterator[str]:
    yield (
        f"{data.manifest.sentence} The network never learnt from them, but the epoch with the "
        "least validation loss was taken."
    )
    if len(frames) < len(data.validation):
        yield f"{len(frames)} of {len(data.validation)} validation frames were judged."
    if any(f.target.size < np.prod(p.size) for f, p in zip(frames, data.validation, strict=False)):
        yield "Of large frames the middle was judged."


def _image(pixels: NDArray[Any], data: PairedDataset) -> Image:
    """(C, (Z,) Y, X) as an image; one channel without its axis."""
    axes = "ZYX"[-(pixels.ndim - 1) :]
    size = data.pixel_size_um
    calibration = Calibration()
    if size is not None:
        calibration = Calibration(size["X"], size["Y"], size.get("Z", 1.0), "um")
    if pixels.shape[0] == 1:
        return Image(np.asarray(pixels[0]), axes, calibration=calibration)
    ordered = "ZCYX" if "Z" in axes else "CYX"
    moved = np.moveaxis(pixels, 0, ordered.index("C"))
    return Image(np.asarray(moved), ordered, calibration=calibration)


def _middle(size: tuple[int, ...]) -> tuple[slice, ...]:
    """The middle of a frame, of at most so many pixels; all of its depth."""
    depth = int(np.prod(size[:-2]))
    side = int((FRAME_PIXELS[len(size)] / depth) ** 0.5)
    kept = (*size[:-2], *(min(n, side) for n in size[-2:]))
    return tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(size, kept, strict=True))
