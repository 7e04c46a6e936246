"""Map an image's axes onto a model's: which planes go through the network, one after another.

A 2D network sees one (C, Y, X) frame at a time and is looped over T and Z; a
3D network sees (C, Z, Y, X) and is looped over T. Channels are never mixed
silently: a one-channel model on a multi-channel image needs a choice.

Knows nothing of grey values, files or networks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from numpy.typing import NDArray

from micserve.errors import AxesError

Channel = int | Literal["all"] | None
"""1-based as in ImageJ, `all` for one after another, None for "there is only one"."""

AXIS_WORDS = {
    "T": "frames (T)",
    "Z": "slices (Z)",
    "C": "channels (C)",
    "Y": "rows (Y)",
    "X": "columns (X)",
    "S": "RGB samples (S)",
}


@dataclass(frozen=True, slots=True)
class FramePlan:
    """How to walk through an image, frame by frame.

    `axes` are those of the output image: the input's, less a channel axis of which one was
    chosen, less RGB samples that went in as channels.
    """

    source_axes: str
    axes: str
    shape: tuple[int, ...]
    """Of the output image, before the network's own stride."""
    spatial: str
    """`YX` or `ZYX`."""
    loop: str
    """Axes of the output that are walked through, in order."""
    channel_axis: str
    """The input axis that becomes the network's channels (`C` or `S`), or empty."""
    chosen_channel: int | None
    """0-based index along C that was selected, or None."""

    def __len__(self) -> int:
        count = 1
        for axis in self.loop:
            count *= self.shape[self.axes.index(axis)]
        return count

    def frames(self, data: NDArray[Any]) -> Iterator[tuple[NDArray[Any], tuple[int | slice, ...]]]:
        """Yield each frame as a (C, Y, X) or (C, Z, Y, X) view, with its place in the output."""
        sizes = [range(self.shape[self.axes.index(axis)]) for axis in self.loop]
        for position in product(*sizes):
            at: dict[str, int] = dict(zip(self.loop, position, strict=True))
            place = tuple(at.get(axis, slice(None)) for axis in self.axes)
            yield self._frame(data, at), place

    def _frame(self, data: NDArray[Any], at: dict[str, int]) -> NDArray[Any]:
        pick = dict(at)
        if self.chosen_channel is not None:
            pick["C"] = self.chosen_channel
        frame = data[tuple(pick.get(axis, slice(None)) for axis in self.source_axes)]
        left = [axis for axis in self.source_axes if axis not in pick]
        if not self.channel_axis:
            frame, left = frame[None], ["C", *left]
        order = [left.index(self.channel_axis or "C"), *(left.index(a) for a in self.spatial)]
        return frame.transpose(order)


def plan_frames(
    axes: str, shape: tuple[int, ...], *, spatial: str, channels: int, channel: Channel = None
) -> FramePlan:
    """Decide how an image is fed to a network.

    Parameters
    ----------
    axes, shape
        Of the image, letters of `micserve.image.IMAGE_AXES` in that order.
    spatial
        The network's spatial axes, `YX` or `ZYX`.
    channels
        The network's input channels.
    channel
        What the caller chose, 1-based, or `all`.

    Raises
    ------
    AxesError
        When the image does not fit, with what to do about it.
    """
    sizes = dict(zip(axes, shape, strict=True))
    if 0 in shape:
        raise AxesError(f"the image is empty: its shape is {shape}", got=axes, expected=spatial)
    _require_spatial(axes, sizes, spatial)
    channel_axis, chosen = _feed_channels(axes, sizes, channels=channels, channel=channel)
    dropped = {channel_axis} if channel_axis else set()
    if chosen is not None:
        dropped.add("C")
    kept = "".join(axis for axis in axes if axis not in dropped)
    return FramePlan(
        source_axes=axes,
        axes=kept,
        shape=tuple(sizes[axis] for axis in kept),
        spatial=spatial,
        loop="".join(axis for axis in kept if axis not in spatial),
        channel_axis=channel_axis,
        chosen_channel=chosen,
    )


def _require_spatial(axes: str, sizes: dict[str, int], spatial: str) -> None:
    for axis in spatial:
        if axis not in axes:
            hint = (
                " The image has frames (T): if these are slices, say so with axes=ZYX, or in "
                "Fiji with Image › Properties…"
                if axis == "Z" and sizes.get("T", 1) > 1
                else ""
            )
            raise AxesError(
                f"the model works on {spatial} stacks, but the image with axes {axes} has no "
                f"{AXIS_WORDS[axis]}.{hint}",
                got=axes,
                expected=spatial,
            )


def _feed_channels(
    axes: str, sizes: dict[str, int], *, channels: int, channel: Channel
) -> tuple[str, int | None]:
    """The axis that becomes the network's channels, and the one channel that was chosen."""
    if "S" in axes:
        if sizes["S"] == channels and sizes.get("C", 1) == 1:
            return "S", 0 if "C" in axes else None
        raise AxesError(
            f"the image is RGB colour, but the model works on {channels} grey channel(s). Split "
            "it first, in Fiji with Image › Color › Split Channels, or Image › Type › 8-bit.",
            got=axes,
            expected=f"{channels} channels",
        )
    available = sizes.get("C", 1)
    if isinstance(channel, int) and not 1 <= channel <= available:
        raise AxesError(
            f"channel {channel} was asked for, but the image has {available} channel(s), "
            "counted from 1",
            got=str(channel),
            expected=f"1 to {available}",
        )
    if channels == 1:
        return _feed_one_channel(axes, available, channel)
    if "C" in axes and available == channels and channel is None:
        return "C", None
    raise AxesError(
        f"the model needs all of its {channels} channels at once, but the image has {available}"
        + (" and one was chosen; leave the choice of channel out" if channel is not None else ""),
        got=axes,
        expected=f"{channels} channels",
    )


def _feed_one_channel(axes: str, available: int, channel: Channel) -> tuple[str, int | None]:
    if "C" not in axes or channel == "all":
        return "", None
    if available == 1:
        return "C", None
    if channel is None:
        raise AxesError(
            f"the image has {available} channels and the model works on one. Choose one with "
            f"channel=1 … channel={available}, or channel=all to run each through the model.",
            got=axes,
            expected="one channel",
        )
    return "", channel - 1
