"""How large patches are: what was wished, made to fit the images and the network."""

from collections.abc import Sequence

from micserve.errors import TrainingDataError
from training.common.images import SMALLEST
from training.common.restoration import RestorationConfig

DEFAULT_PATCH = 64
"""Pixels; what `auto` wishes for in the plane."""

DEFAULT_HEIGHT = 8
"""Planes; what `auto` wishes for in depth."""


def patch_size(
    config: RestorationConfig, smallest: Sequence[int]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The size of patches per spatial axis, and sentences about what differs from what was asked.

    Parameters
    ----------
    smallest
        Pixels per spatial axis that every image has.

    Raises
    ------
    TrainingDataError
        When no patch of a useful size fits.
    """
    stride = config.stride
    wished = DEFAULT_PATCH if config.patch_size == "auto" else config.patch_size
    side = _fitting(wished, min(smallest[-2:]), stride)
    if side < SMALLEST:
        raise TrainingDataError(
            f"The patches would have {side} pixels with unet_n_depth {config.unet_n_depth}, and at "
            f"least {SMALLEST} are needed: use larger images or a smaller unet_n_depth."
        )
    notes = []
    if config.patch_size not in ("auto", side):
        notes.append(
            f"patch_size is {side} instead of {config.patch_size}: it must fit into the smallest "
            f"image or region ({' × '.join(map(str, smallest))} pixels) and be a multiple of "
            f"{stride}."
        )
    if len(smallest) == 2:
        return (side, side), tuple(notes)
    wished = DEFAULT_HEIGHT if config.patch_height == "auto" else config.patch_height
    height = _fitting(wished, smallest[0], stride)
    if height < stride:
        raise TrainingDataError(
            f"The thinnest stack has {smallest[0]} planes, and at least {stride} are needed with "
            f"unet_n_depth {config.unet_n_depth}: train in 2D (ndim 2), or take a smaller "
            "unet_n_depth."
        )
    if config.patch_height not in ("auto", height):
        notes.append(
            f"patch_height is {height} instead of {config.patch_height}: it must fit into the "
            f"thinnest stack ({smallest[0]} planes) and be a multiple of {stride}."
        )
    return (height, side, side), tuple(notes)


def _fitting(wished: int, available: int, multiple: int) -> int:
    fits = min(max(wished, multiple), available)
    return fits - fits % multiple
