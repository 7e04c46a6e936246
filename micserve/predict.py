"""The tiled run: one image through one network, frame by frame and tile by tile.

The order never changes: map axes, fit the normalisation to the whole frame, cut
tiles, run them, write each tile's core. Memory is bounded by the tile; pixels
are read from and written to arrays that may be memory maps.

Knows families by their protocol and networks by theirs; no file format, no
runtime, no web framework.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.contract import ModelContract, Tiling
from micserve.axes import FramePlan, plan_frames
from micserve.backends import Backend
from micserve.errors import AxesError, CancelledError, InputError, ParameterError
from micserve.families import FAMILIES, Family, PredictParameters
from micserve.families.base import WRITABLE
from micserve.image import Image
from micserve.normalize import Affine, fit
from micserve.tiling import PaddedFrame, Tile, choose_tile, pad_frame, plan_tiles

DEFAULT_TILE_PIXELS = 1 << 19
"""Pixels (voxels) that the network sees at a time. Measured on the CPU with N2V's U-Net: 724² is
the fastest of 256² to 2048² (larger activations leave the caches) and takes about 400 MiB."""

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

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


def predict(
    image: Image,
    model: LoadedModel,
    asked: PredictParameters,
    *,
    open_output: OpenOutput | None = None,
    max_tile_pixels: int = DEFAULT_TILE_PIXELS,
    watch: Watch | None = None,
) -> Image:
    """Run a model on an image.

    Parameters
    ----------
    image
        Any real dtype and byte order; `image.data` may be a read-only memory map.
    model
        A loaded model of a pixelwise family.
    asked
        An instance of `model.family.parameters`.
    open_output
        Where the result's pixels go; a new array in memory by default.
    max_tile_pixels
        Largest number of pixels or voxels that the network sees at a time.
    watch
        Progress, cancellation and timings.

    Returns
    -------
    Image
        Axes, calibration and labels as the source's, less a channel axis of which one channel
        was chosen; `info` names the model, version, digest and parameters.

    Raises
    ------
    AxesError, ParameterError, InputError
        When the image does not fit the model, in words.
    CancelledError
        When `watch.cancelled()` became true; the output is then incomplete.
    """
    watch = watch or Watch()
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
    dtype = model.family.output_dtype(image.dtype, asked)
    output = (open_output or _in_memory)(plan.shape, plan.axes, dtype)
    low, high = np.inf, -np.inf
    for number, (frame, place) in enumerate(plan.frames(image.data)):
        for fraction, pixels in _frame(frame, output[place], model, asked, max_tile_pixels, watch):
            low, high = min(low, float(pixels.min())), max(high, float(pixels.max()))
            watch.progress((number + fraction) / len(plan))
    return _described(image, output, plan, model, asked, (low, high))


def run_frame(
    frame: PaddedFrame,
    affine: Affine,
    backend: Backend,
    tiling: Tiling,
    *,
    max_tile_pixels: int,
    watch: Watch,
) -> Iterator[tuple[Tile, Mapping[str, NDArray[np.float32]]]]:
    """Run every tile of one frame; yield each with its heads, without the batch axis.

    The heads cover `tile.read`; what is right in them is `tile.core`.
    """
    for tile in _tiles(frame.shape, tiling, max_tile_pixels):
        if watch.cancelled():
            raise CancelledError("The prediction was cancelled.")
        with watch.stage("normalize"):
            values = affine.apply(frame.read(tile.read))[None]
        with watch.stage("infer"):
            heads = backend.run(values)
        yield tile, {name: head[0] for name, head in heads.items()}


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


WHOLE_IMAGE_FACTOR = 4
"""A network that must not be tiled may see this many times the pixels of a tile."""


def _frame(
    frame: NDArray[Any],
    output: NDArray[Any],
    model: LoadedModel,
    asked: PredictParameters,
    max_tile_pixels: int,
    watch: Watch,
) -> Iterator[tuple[float, NDArray[Any]]]:
    """Fill `output` (spatial axes only); yield the fraction done and the pixels just written."""
    contract, tiling = model.contract, model.contract.network.tiling
    with watch.stage("normalize"):
        affine = fit(frame, contract.normalization)
    padded = pad_frame(frame, multiple=tiling.multiple, side=tiling.pad)
    total = int(np.prod(padded.shape))
    done = 0
    tiles = run_frame(
        padded, affine, model.backend, tiling, max_tile_pixels=max_tile_pixels, watch=watch
    )
    for tile, heads in tiles:
        with watch.stage("postprocess"):
            core = {name: head[(slice(None), *tile.core)] for name, head in heads.items()}
            pixels = model.family.finish(
                core, contract=contract, affine=affine, dtype=output.dtype, asked=asked
            )[0]
            target, part = padded.inside(tile.write)
            written = pixels[part]
            output[target] = written
        done += int(np.prod([w.stop - w.start for w in tile.write]))
        if written.size:
            yield done / total, written


def _in_memory(shape: tuple[int, ...], axes: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.empty(shape, dtype)


def _described(
    source: Image,
    output: NDArray[Any],
    plan: FramePlan,
    model: LoadedModel,
    asked: PredictParameters,
    extent: tuple[float, float],
) -> Image:
    """Pixels with everything else that the source had, and what made them."""
    display = source.display
    if plan.chosen_channel is not None or plan.channel_axis:
        pick = slice(plan.chosen_channel or 0, (plan.chosen_channel or 0) + 1)
        display = type(display)(ranges=display.ranges[pick], luts=display.luts[pick])
    if not display.ranges or source.dtype.name not in WRITABLE:
        display = type(display)(ranges=(extent,), luts=display.luts, mode=display.mode)
    same_planes = plan.axes == source.axes
    return source.with_data(
        output,
        plan.axes,
        display=display,
        labels=source.labels if same_planes else (),
        info=provenance(model, asked) + source.info,
    )


def provenance(model: LoadedModel, asked: PredictParameters) -> str:
    """The lines that a result carries: `key = value`, as ImageJ's Info shows them."""
    facts: dict[str, Any] = {
        "model": model.contract.name,
        "version": model.version,
        "digest": f"sha256:{model.digest}",
        "family": model.contract.family,
        **{f"parameter.{name}": value for name, value in asked.model_dump().items()},
    }
    return "".join(f"micserve.{name} = {value}\n" for name, value in facts.items())
