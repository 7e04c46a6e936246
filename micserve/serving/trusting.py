"""The trust light of one prediction, and its maps: what `micserve.trust` says of this image.

Knows models and images; the statistics are elsewhere. The light is made for every
prediction and costs some hundredths of a second; the maps only where they are asked
for, since they need the network a second time.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.contract import ModelContract
from micserve.axes import FramePlan, plan_frames
from micserve.errors import ParameterError
from micserve.families import PredictParameters
from micserve.image import Image
from micserve.predict import LoadedModel, Prediction, Watch, predict, with_axes
from micserve.trust import Trust, distance_maps, envelope_of, judge
from micserve.trust.residual import residual

INFO_KEY = "trust"
"""Of the line in ImageJ's Info."""

MOST_FRAMES = 32
"""Of a long series, evenly spread."""

Frames = list[NDArray[Any]]


def trust_of(image: Image, model: LoadedModel, asked: PredictParameters, made: Prediction) -> Trust:
    """How far this image is from those that the model learnt from."""
    contract = model.contract
    sent = with_axes(image, asked.axes)
    plan = _plan(sent, contract, asked)
    same = _same_things(contract)
    frames: Frames = []
    results: Frames = []
    step = -(-len(plan) // MOST_FRAMES)
    for number, (frame, place) in enumerate(plan.frames(sent.data)):
        if number % step == 0:
            frames.append(frame)
            if same:
                results.append(made.image.data[place][None])
    trained, calibration = contract.pixel_size_um, sent.calibration.in_um()
    return judge(
        envelope_of(contract.training),
        frames,
        results=results if same else None,
        gain_matters=contract.gain_matters,
        trained_um=trained.get("X") if trained else None,
        sent_um=calibration["X"] if calibration else None,
    )


def noted(image: Image, trust: Trust) -> Image:
    """With the light in its Info, behind what says which model made it."""
    return replace(image, info=f"{INFO_KEY} = {trust.line}\n{image.info}")


def trust_maps(
    image: Image,
    model: LoadedModel,
    asked: PredictParameters,
    made: Prediction,
    *,
    max_tile_pixels: int | None,
    watch: Watch,
) -> Image:
    """float32 maps as channels, each with its name as the slice's label.

    `distance from the training images` (0: none), `inconsistency` (what changes when the image
    is mirrored, predicted and mirrored back, as a fraction of the result's range; for labels
    0 or 1 where an object is found in only one of both), and for denoisers `residual` (what
    was taken away, grey values).

    Raises
    ------
    ParameterError
        For models without training statistics, and images that have channels of their own.
    """
    envelope = envelope_of(model.contract.training)
    if envelope is None:
        raise ParameterError(
            f"{model.label} has no training statistics in its package, so there are no maps of its "
            "trust. Train it again with this version of micserve, or leave trust out."
        )
    sent = with_axes(image, asked.axes)
    plan = _plan(sent, model.contract, asked)
    if "C" in plan.axes:
        raise ParameterError(
            "trust=maps shows its maps as channels, and this result has channels of its own: ask "
            "for one of them with channel=1, channel=2, …"
        )
    maps = {
        "distance from the training images": _by_frame(
            sent,
            plan,
            lambda frame, _: distance_maps(
                envelope, frame, gain_matters=model.contract.gain_matters
            ),
        ),
        "inconsistency": _inconsistency(sent, model, asked, made, max_tile_pixels, watch),
    }
    if _same_things(model.contract):
        maps["residual"] = _by_frame(
            sent, plan, lambda frame, place: _residual(frame, made.image.data[place])
        )
    return _stacked(made.image, plan.axes, maps)


def _plan(image: Image, contract: ModelContract, asked: PredictParameters) -> FramePlan:
    return plan_frames(
        image.axes,
        image.data.shape,
        spatial=contract.spatial_axes,
        channels=contract.network.channels,
        channel=asked.channel,
    )


def _same_things(contract: ModelContract) -> bool:
    """Whether the result shows what the image shows, so that their difference has a meaning."""
    heads = contract.network.heads
    return contract.restore_range and contract.network.channels == heads[0].channels == 1


def _by_frame(
    image: Image,
    plan: FramePlan,
    make: Callable[[NDArray[Any], tuple[int | slice, ...]], NDArray[Any]],
) -> NDArray[np.float32]:
    made = np.empty(plan.shape, np.float32)
    for frame, place in plan.frames(image.data):
        made[place] = make(frame, place)
    return made


def _residual(frame: NDArray[Any], result: NDArray[Any]) -> NDArray[np.float32]:
    source = frame[0].astype(np.float32)
    planes = source.reshape(-1, *source.shape[-2:])
    left = residual(planes, np.asarray(result, np.float32).reshape(planes.shape))
    return np.asarray(left.reshape(source.shape), np.float32)


def _inconsistency(
    image: Image,
    model: LoadedModel,
    asked: PredictParameters,
    made: Prediction,
    max_tile_pixels: int | None,
    watch: Watch,
) -> NDArray[np.float32]:
    """Of the image and its mirror image."""
    along = image.axes.index("X")
    mirrored = image.with_data(np.flip(image.data, along))
    again = predict(mirrored, model, asked, max_tile_pixels=max_tile_pixels, watch=watch).image.data
    one, other = made.image.data, np.flip(again, made.image.axes.index("X"))
    if made.frames:
        return np.asarray((one > 0) != (other > 0), np.float32)
    one, other = one.astype(np.float32), other.astype(np.float32)
    span = float(np.ptp(one)) or 1.0
    changed = np.abs(one - other) / span
    if "C" in made.image.axes and changed.ndim > image.data.ndim:
        changed = changed.max(axis=made.image.axes.index("C"))
    return np.asarray(changed, np.float32)


def _stacked(like: Image, axes: str, maps: dict[str, NDArray[np.float32]]) -> Image:
    """The maps as channels of one image."""
    ordered = "".join(axis for axis in "TZCYX" if axis in axes or axis == "C")
    data = np.stack(list(maps.values()), axis=ordered.index("C"))
    return like.with_data(data, ordered, labels=tuple(_labels(maps, data.shape, ordered)))


def _labels(
    maps: dict[str, NDArray[np.float32]], shape: tuple[int, ...], axes: str
) -> Iterator[str]:
    """One per plane, in the stack's order."""
    names = list(maps)
    at = axes.index("C")
    for index in np.ndindex(*shape[:-2]):
        yield names[index[at]]
