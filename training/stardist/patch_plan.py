"""How large patches are: what was wished, made to fit the images, the network and its grid."""

from collections.abc import Sequence

from micserve.errors import TrainingDataError
from training.common.images import SMALLEST
from training.stardist.config import StarDistConfig

DEFAULT_PATCH = {2: 256, 3: 64}
"""Pixels; what `auto` wishes for in the plane, by dimensions."""

DEFAULT_HEIGHT = 32
"""Planes; what `auto` wishes for in depth."""


def wished(config: StarDistConfig, ndim: int) -> tuple[int, ...]:
    """Pixels per spatial axis, before anything must fit."""
    side = DEFAULT_PATCH[ndim] if config.patch_size == "auto" else config.patch_size
    height = DEFAULT_HEIGHT if config.patch_height == "auto" else config.patch_height
    return (height, side, side)[-ndim:]


def multiples(config: StarDistConfig, grid: Sequence[int]) -> tuple[int, ...]:
    """Total stride of the network per spatial axis, pixels."""
    return tuple(step * 2**config.unet_n_depth for step in grid)


def patch_size(
    config: StarDistConfig, smallest: Sequence[int], grid: Sequence[int]
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
    asked, strides = wished(config, len(smallest)), multiples(config, grid)
    # Square in the plane, whatever the images are.
    available = (*smallest[:-2], min(smallest[-2:]), min(smallest[-2:]))
    size = tuple(
        _fitting(wish, least, stride)
        for wish, least, stride in zip(asked, available, strides, strict=True)
    )
    if min(size[-2:]) < SMALLEST or min(size) < 1:
        raise TrainingDataError(
            f"Patches must fit into images of {_times(smallest)} pixels and be a multiple of "
            f"{_times(strides)}, which leaves {_times(size)}: use larger images, or a smaller "
            "unet_n_depth or grid_parameter."
        )
    chosen = {"patch_size": (config.patch_size, size[-1])}
    if len(size) == 3:
        chosen["patch_height"] = (config.patch_height, size[0])
    notes = tuple(
        f"{name} is {used} instead of {wish}: it must fit into the smallest image or region "
        f"({_times(smallest)} pixels) and be a multiple of the network's stride "
        f"({_times(strides)})."
        for name, (wish, used) in chosen.items()
        if wish not in ("auto", used)
    )
    return size, notes


def _fitting(wish: int, available: int, multiple: int) -> int:
    fits = min(max(wish, multiple), available)
    return fits - fits % multiple


def _times(size: Sequence[int]) -> str:
    return " × ".join(map(str, size))
