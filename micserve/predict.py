"""The tiled run: one image through one network, frame by frame and tile by tile.

The order never changes: map axes, fit the normalisation to the whole frame, cut
tiles, run them, write each tile's core. Memory is bounded by the tile; pixels
are read from and written to arrays that may be memory maps.

Knows families by their protocol and networks by theirs; no file format, no
runtime, no web framework.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.contract import ModelContract, Tiling
from micserve.axes import FramePlan, plan_frames
from micserve.backends import Backend
from micserve.errors import AxesError, CancelledError, InputError, ParameterError
from micserve.families import FAMILIES, Family, PredictParameters
from micserve.families.base import WRITABLE, Heads, Objectwise, Pixelwise
from micserve.image import IMAGE_AXES, Display, Image
from micserve.normalize import Affine, fit
from micserve.objects import Objects, Position, label_dtype
from micserve.tiling import PaddedFrame, Tile, choose_tile, pad_frame, plan_tiles

log = logging.getLogger(__name__)

DEFAULT_TILE_PIXELS: Mapping[int, int] = MappingProxyType({2: 1 << 20, 3: 1 << 21})
"""Pixels (2D) or voxels (3D) that the network sees at a time. An image of 1024² goes whole; cut in
two, StarDist's network with its halo of 96 pixels would compute 1.4 times as many. Halos of stacks
weigh more: 64 × 512 × 512 voxels cost 3.4 times their number with these, 10 times with half."""

OpenOutput = Callable[[tuple[int, ...], str, np.dtype[Any]], NDArray[Any]]
"""(shape, axes, dtype) to a writable array, in memory or in a file."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network that is ready to run, with all that its package says about it."""

    contract: ModelContract
    backend: Backend
    version: int = 0
    digest: str = ""

    @property
    def family(self) -> Family:
        return FAMILIES[self.contract.family]

    @property
    def label(self) -> str:
        return f"{self.contract.name}@{self.version}"


@dataclass(slots=True)
class Watch:
    """How a caller follows and stops a prediction, and where its time goes.

    `seconds` is filled per stage: `normalize`, `infer`, `postprocess`.
    """

    progress: Callable[[float], None] = lambda fraction: None
    cancelled: Callable[[], bool] = lambda: False
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    batches: Counter[int] = field(default_factory=Counter)
    """How often the network was given so many tiles at a time."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class FrameObjects:
    """The objects of one frame, with what is needed to outline and measure them."""

    objects: Objects
    labels: NDArray[Any]
    """(Y, X) or (Z, Y, X), part of the result."""
    grey: NDArray[Any]
    """(C, Y, X) or (C, Z, Y, X), the frame as it was sent."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model made of an image."""

    image: Image
    """Pixels, or labels."""
    frames: tuple[FrameObjects, ...] = ()
    """In the order of the image's frames; empty for work that finds no objects."""


def predict(
    image: Image,
    model: LoadedModel,
    asked: PredictParameters,
    *,
    open_output: OpenOutput | None = None,
    max_tile_pixels: int | None = None,
    watch: Watch | None = None,
) -> Prediction:
    """Run a model on an image.

    Parameters
    ----------
    image
        Any real dtype and byte order; `image.data` may be a read-only memory map.
    model
        A loaded model.
    asked
        An instance of `model.family.parameters`.
    open_output
        Where the result's pixels go; a new array in memory by default.
    max_tile_pixels
        Largest number of pixels or voxels that the network sees at a time; by default
        `DEFAULT_TILE_PIXELS` of the model's dimensions.
    watch
        Progress, cancellation and timings.

    Returns
    -------
    Prediction
        Axes, calibration and labels of its image as the source's, less a channel axis of which
        one channel was chosen; `info` names the model, version, digest and parameters.

    Raises
    ------
    AxesError, ParameterError, InputError
        When the image does not fit the model, in words.
    CancelledError
        When `watch.cancelled()` became true; the output is then incomplete.
    """
    image = with_axes(image, asked.axes)
    if image.dtype.kind not in "uifb":
        raise InputError(f"pixels of type {image.dtype} are not grey values; send real numbers")
    plan = plan_frames(
        image.axes,
        image.data.shape,
        spatial=model.contract.spatial_axes,
        channels=model.contract.network.channels,
        channel=asked.channel,
    )
    output, watch = open_output or _in_memory, watch or Watch()
    pixels = max_tile_pixels or DEFAULT_TILE_PIXELS[model.contract.ndim]
    run = _Run(image, plan, model, asked, output, pixels, watch)
    work = model.family.work(model.contract, asked)
    return run.objects(work) if isinstance(work, Objectwise) else run.pixels(work)


def run_frame(
    frame: PaddedFrame,
    affine: Affine,
    backend: Backend,
    contract: ModelContract,
    *,
    max_tile_pixels: int,
    watch: Watch,
) -> Iterator[tuple[Tile, Heads]]:
    """Run every tile of one frame; yield each with its heads, cut to what is right in them."""
    network = contract.network
    for tile in _tiles(frame.shape, network.tiling, max_tile_pixels):
        if watch.cancelled():
            raise CancelledError("The prediction was cancelled.")
        with watch.stage("normalize"):
            values = affine.apply(frame.read(tile.read))[None]
        with watch.stage("infer"):
            heads = backend.run(values)
        watch.batches[len(values)] += 1
        log.debug("tile", extra={"at": [span.start for span in tile.read], "size": values.shape})
        yield (
            tile,
            {
                head.name: heads[head.name][0][(slice(None), *_core(tile, head.stride))]
                for head in network.heads
            },
        )


def _core(tile: Tile, stride: tuple[int, ...]) -> tuple[slice, ...]:
    """The tile's core in a head's own, coarser pixels."""
    return tuple(
        slice(core.start // step, core.stop // step)
        for core, step in zip(tile.core, stride, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One image on its way through one model."""

    image: Image
    plan: FramePlan
    model: LoadedModel
    asked: PredictParameters
    open_output: OpenOutput
    max_tile_pixels: int
    watch: Watch

    def pixels(self, work: Pixelwise) -> Prediction:
        """Each tile is written when it was run."""
        axes, shape = _with_channels(self.plan, work.channels)
        output = self.open_output(shape, axes, work.dtype(self.image.dtype))
        by_channel = np.moveaxis(output, axes.index("C"), 0) if work.channels > 1 else output[None]
        low, high = np.inf, -np.inf
        for number, (frame, place) in enumerate(self.plan.frames(self.image.data)):
            target = by_channel[(slice(None), *place)]
            for fraction, written in self._write_frame(work, frame, target):
                if written.size:
                    low, high = min(low, float(written.min())), max(high, float(written.max()))
                self.watch.progress((number + fraction) / len(self.plan))
        described = self._described(
            output, axes, work.channels, (low, high), grey=work.shows_source_grey
        )
        return Prediction(described)

    def objects(self, work: Objectwise) -> Prediction:
        """All frames are searched, then drawn: only then is it known how large labels get."""
        drawings = []
        for number, (frame, place) in enumerate(self.plan.frames(self.image.data)):
            with self.watch.stage("normalize"):
                affine = fit(frame, self.model.contract.normalization)
                prepared = work.prepare(frame, affine)
            padded = self._padded(prepared)
            sink = work.sink(padded, shape=frame.shape[1:], position=self._position(place))
            for fraction, tile, heads in self._tiles(padded, affine):
                with self.watch.stage("postprocess"):
                    sink.take(tile, heads)
                self.watch.progress((number + fraction) / len(self.plan))
            with self.watch.stage("postprocess"):
                drawings.append((sink.close(self.watch.cancelled), frame, place))
        largest = max(drawing.largest_label for drawing, *_ in drawings)
        output = self.open_output(self.plan.shape, self.plan.axes, label_dtype(largest))
        with self.watch.stage("postprocess"):
            found = tuple(
                FrameObjects(drawing.paint(output[place]), output[place], frame)
                for drawing, frame, place in drawings
            )
        extent = (0, max(largest, 1))
        return Prediction(self._described(output, self.plan.axes, 1, extent, grey=False), found)

    def _write_frame(
        self, work: Pixelwise, frame: NDArray[Any], output: NDArray[Any]
    ) -> Iterator[tuple[float, NDArray[Any]]]:
        """Fill `output` (C, (Z,) Y, X); yield the fraction done and the pixels just written."""
        with self.watch.stage("normalize"):
            affine = fit(frame, self.model.contract.normalization)
        padded = self._padded(frame)
        for fraction, tile, heads in self._tiles(padded, affine):
            with self.watch.stage("postprocess"):
                target, part = padded.inside(tile.write)
                pixels = work.finish(heads, affine, output.dtype)[(slice(None), *part)]
                output[(slice(None), *target)] = pixels
            yield fraction, pixels

    def _tiles(self, padded: PaddedFrame, affine: Affine) -> Iterator[tuple[float, Tile, Heads]]:
        total, done = int(np.prod(padded.shape)), 0
        for tile, heads in run_frame(
            padded,
            affine,
            self.model.backend,
            self.model.contract,
            max_tile_pixels=self.max_tile_pixels,
            watch=self.watch,
        ):
            done += int(np.prod([w.stop - w.start for w in tile.write]))
            yield done / total, tile, heads

    def _padded(self, frame: NDArray[Any]) -> PaddedFrame:
        tiling = self.model.contract.network.tiling
        return pad_frame(frame, multiple=tiling.multiple, side=tiling.pad)

    def _position(self, place: tuple[int | slice, ...]) -> Position:
        at = {
            axis.lower(): index
            for axis, index in zip(self.plan.axes, place, strict=True)
            if isinstance(index, int)
        }
        return Position(**at)

    def _described(
        self,
        output: NDArray[Any],
        axes: str,
        channels: int,
        extent: tuple[float, float],
        *,
        grey: bool,
    ) -> Image:
        """Pixels with everything else that the source had, and what made them."""
        source = self.image
        return source.with_data(
            output,
            axes,
            display=self._display(channels, extent, grey=grey),
            labels=source.labels if axes == source.axes else (),
            info=provenance(self.model, self.asked) + source.info,
        )

    def _display(self, channels: int, extent: tuple[float, float], *, grey: bool) -> Display:
        """The source's, as far as the result shows the same grey values; else the result's own."""
        shown, chosen = self.image.display, self.plan.chosen_channel
        if not grey or channels > 1:
            return Display(ranges=(extent,) * channels, mode="grayscale" if channels > 1 else "")
        if chosen is not None or self.plan.channel_axis:
            pick = slice(chosen or 0, (chosen or 0) + 1)
            shown = Display(ranges=shown.ranges[pick], luts=shown.luts[pick])
        if not shown.ranges or self.image.dtype.name not in WRITABLE:
            return Display(ranges=(extent,), luts=shown.luts, mode=shown.mode)
        return shown


def _with_channels(plan: FramePlan, channels: int) -> tuple[str, tuple[int, ...]]:
    """Axes and shape of a result with several channels: C is put where images have it.

    Raises
    ------
    ParameterError
        When the channels of the image are walked through already.
    """
    if channels == 1:
        return plan.axes, plan.shape
    if "C" in plan.axes:
        raise ParameterError(
            f"this model's result has {channels} channels, so it takes one channel of the image "
            "at a time: choose it with channel=1, channel=2, …"
        )
    axes = "".join(axis for axis in IMAGE_AXES if axis in plan.axes or axis == "C")
    sizes = dict(zip(plan.axes, plan.shape, strict=True)) | {"C": channels}
    return axes, tuple(sizes[axis] for axis in axes)


def with_axes(image: Image, axes: str | None) -> Image:
    """The image with axes that the caller knows better than the file.

    Raises
    ------
    AxesError
        When `axes` has another number of letters than the image has dimensions.
    """
    if axes is None or axes == image.axes:
        return image
    data = image.data
    if len(axes) != data.ndim:
        data = data.reshape([n for n in data.shape if n != 1] or [1])
    if len(axes) != data.ndim or len(set(axes)) != len(axes):
        raise AxesError(
            f"axes={axes} names {len(axes)} axes, but the image has {image.data.ndim} dimensions "
            f"of size {' × '.join(map(str, image.data.shape))}, read as {image.axes}",
            got=axes,
            expected=image.axes,
        )
    ordered = "".join(a for a in "TZCYXS" if a in axes)
    return image.with_data(data.transpose([axes.index(a) for a in ordered]), ordered, labels=())


def _tiles(shape: tuple[int, ...], tiling: Tiling, max_pixels: int) -> list[Tile]:
    if tiling.halo is None:
        if int(np.prod(shape)) > max_pixels * WHOLE_IMAGE_FACTOR:
            raise ParameterError(
                "this network looks at the whole image at once, so it cannot be cut into tiles, "
                f"and {' × '.join(map(str, shape))} pixels are too many for it. Crop the image."
            )
        whole = tuple(slice(0, n) for n in shape)
        return [Tile(whole, whole)]
    tile = choose_tile(shape, halo=tiling.halo, multiple=tiling.multiple, max_pixels=max_pixels)
    return plan_tiles(shape, tile=tile, halo=tiling.halo, multiple=tiling.multiple)


WHOLE_IMAGE_FACTOR = 2
"""A network that must not be tiled may see this many times the pixels of a tile."""


def _in_memory(shape: tuple[int, ...], axes: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.empty(shape, dtype)


def provenance(model: LoadedModel, asked: PredictParameters) -> str:
    """The lines that a result carries: `key = value`, as ImageJ's Info shows them."""
    facts: dict[str, Any] = {
        "model": model.contract.name,
        "version": model.version,
        "digest": f"sha256:{model.digest}",
        "family": model.contract.family,
        **{
            f"parameter.{name}": value
            for name, value in model.family.effective(model.contract, asked).items()
        },
    }
    return "".join(f"micserve.{name} = {value}\n" for name, value in facts.items())
