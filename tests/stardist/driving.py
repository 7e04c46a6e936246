"""What the StarDist tests share: a contract, and a tiled run as the engine does it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.families.stardist import StarDist, StarDistParameters
from micserve.normalize import Affine, Identity
from micserve.objects import Objects, Position, label_dtype
from micserve.tiling import PaddedFrame, pad_frame, plan_tiles

Run = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]
"""(1, C, …) to heads, as a backend does."""

UNCHANGED = Affine(np.zeros(1, np.float32), np.ones(1, np.float32))


def a_contract(
    *,
    grid: tuple[int, ...],
    n_rays: int = 32,
    multiple: tuple[int, ...] | None = None,
    halo: tuple[int, ...] | None = None,
    prob: float = 0.5,
    nms: float = 0.4,
    rays: Mapping[str, Any] | None = None,
    **changes: Any,
) -> ModelContract:
    parameters = {
        "n_rays": n_rays, "grid": grid, "prob_thresh": prob, "nms_thresh": nms, "rays": rays,
    }  # fmt: skip
    return ModelContract(
        name="nuclei",
        family="stardist",
        ndim=len(grid),
        network=Network(
            heads=(
                Head(name="prob", channels=1, stride=grid),
                Head(name="dist", channels=n_rays, stride=grid),
            ),
            tiling=Tiling(halo=halo or grid, multiple=multiple or grid, pad="end"),
        ),
        **{"normalization": Identity(), "parameters": parameters, **changes},
    )


def find(
    image: NDArray[Any],
    run: Run,
    contract: ModelContract,
    *,
    tile: int | None = None,
    position: Position | None = None,
    **asked: Any,
) -> tuple[NDArray[Any], Objects]:
    """Labels and objects of a (C, …) frame that is already in network units, tile by tile."""
    work = StarDist().work(contract, StarDistParameters(**asked))
    tiling = contract.network.tiling
    frame = pad_frame(work.prepare(image, UNCHANGED), multiple=tiling.multiple, side=tiling.pad)
    sink = work.sink(frame, shape=image.shape[1:], position=position or Position())
    feed(sink, frame, run, contract, tile)
    shapes = sink.close()
    labels = np.full(image.shape[1:], 7, label_dtype(shapes.largest_label))
    return labels, shapes.paint(labels)


def feed(
    sink: Any, frame: PaddedFrame, run: Run, contract: ModelContract, tile: int | None
) -> None:
    """Give a sink every tile of a frame; `tile` pixels along each axis, or all at once."""
    tiling, grid = contract.network.tiling, contract.network.heads[0].stride
    assert tiling.halo is not None
    size = frame.shape if tile is None else (tile,) * len(frame.shape)
    for part in plan_tiles(frame.shape, tile=size, halo=tiling.halo, multiple=tiling.multiple):
        heads = run(np.ascontiguousarray(frame.read(part.read), np.float32)[None])
        core = tuple(slice(c.start // g, c.stop // g) for c, g in zip(part.core, grid, strict=True))
        sink.take(part, {name: head[0][(slice(None), *core)] for name, head in heads.items()})
