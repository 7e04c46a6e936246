"""A StarDist model's labels in the words of bioimage.io: its operation `stardist_postprocessing`.

That operation takes one array of 1 + rays channels, while our network has two
heads; so the packed network gets a third output that holds both, described as
`labels`. Other tools draw objects from it; micserve never asks for it. Its
channels come last, as bioimageio.core 0.11 hands labels out in that order and
then complains of any other.

Knows the description and the graph; tiles, outlines and tables are the family's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.contract import Head, ModelContract

OUTPUT = "labels"
"""Of the description."""

GRAPH_OUTPUT = "bioimageio_labels"
"""Of the ONNX file, after the heads. bioimageio.core goes by position, not by name."""

BORDER = 2
"""Candidates this near to the border, in steps of the grid, are not taken; `b` in stardist.nms."""

LEAST_DISTANCE = 1e-3
"""Rays are at least this long, in pixels, as in stardist.models.base."""

_LEAST, _LONG_ENOUGH = "bioimageio_least_distance", "bioimageio_distances"
_BOTH = "bioimageio_both"


def operation(contract: ModelContract) -> dict[str, Any] | None:
    """`stardist_postprocessing` with the model's own values.

    None for other families, and where the operation draws other objects: in 3D it knows no rays
    but those of the golden spiral.
    """
    facts = contract.parameters
    needed = {"prob_thresh", "nms_thresh", "n_rays", "grid"}
    heads = [head.name for head in contract.network.heads]
    if contract.family != "stardist" or heads != ["prob", "dist"] or not needed <= facts.keys():
        return None
    arguments = {
        "prob_threshold": float(facts["prob_thresh"]),
        "nms_threshold": float(facts["nms_thresh"]),
        "n_rays": int(facts["n_rays"]),
        "grid": [int(step) for step in facts["grid"]],
        "b": BORDER,
    }
    if contract.ndim == 3:
        anisotropy = _golden_anisotropy(facts)
        if anisotropy is None:
            return None
        arguments["anisotropy"] = anisotropy
    return {"id": "stardist_postprocessing", "kwargs": arguments}


def head_of(contract: ModelContract) -> Head:
    """The labels, which have the image's size whatever the grid."""
    return Head(name=OUTPUT, channels=1, stride=(1,) * contract.ndim)


def add_output(onnx_file: Path) -> bytes:
    """The network with both heads in one more output (B, …, 1 + rays)."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(onnx_file))
    graph = model.graph
    heads = {output.name: output for output in graph.output}
    rank = len(heads["prob"].type.tensor_type.shape.dim)
    least = helper.make_tensor(_LEAST, TensorProto.FLOAT, [], [LEAST_DISTANCE])
    graph.initializer.append(least)
    graph.node.extend(
        [
            helper.make_node("Max", ["dist", _LEAST], [_LONG_ENOUGH]),
            helper.make_node("Concat", ["prob", _LONG_ENOUGH], [_BOTH], axis=1),
            helper.make_node("Transpose", [_BOTH], [GRAPH_OUTPUT], perm=[0, *range(2, rank), 1]),
        ]
    )
    # bioimageio.core takes outputs by position: they come in the description's order.
    both = helper.make_tensor_value_info(GRAPH_OUTPUT, TensorProto.FLOAT, [None] * rank)
    del graph.output[:]
    graph.output.extend([heads["prob"], heads["dist"], both])
    return bytes(model.SerializeToString())


def draw(
    heads: Mapping[str, NDArray[np.float32]], arguments: Mapping[str, Any]
) -> NDArray[np.int32]:
    """(B, …, 1) labels of a network's answer, by `stardist`'s own functions.

    Parameters
    ----------
    heads
        `prob` (B, 1, …) and `dist` (B, rays, …), on the grid.
    arguments
        `kwargs` of the operation.
    """
    images = zip(heads["prob"], heads["dist"], strict=True)
    return np.stack([_draw_one(prob[0], dist, arguments)[..., None] for prob, dist in images])


def _draw_one(
    prob: NDArray[np.float32], dist: NDArray[np.float32], arguments: Mapping[str, Any]
) -> NDArray[np.int32]:
    from stardist import geometry, nms
    from stardist.matching import relabel_sequential
    from stardist.rays3d import Rays_GoldenSpiral

    distances = np.maximum(np.moveaxis(dist, 0, -1), np.float32(LEAST_DISTANCE))
    grid = tuple(arguments["grid"])
    shape = tuple(n * step for n, step in zip(prob.shape, grid, strict=True))
    how = {
        "grid": grid,
        "prob_thresh": arguments["prob_threshold"],
        "nms_thresh": arguments["nms_threshold"],
        "b": arguments["b"],
        "verbose": False,
    }
    if prob.ndim == 2:
        points, scores, kept = nms.non_maximum_suppression(distances, prob, **how)
        flat = geometry.polygons_to_label(kept, points, prob=scores, shape=shape)
        return np.asarray(flat, np.int32)
    rays = Rays_GoldenSpiral(arguments["n_rays"], anisotropy=tuple(arguments["anisotropy"]))
    points, scores, kept = nms.non_maximum_suppression_3d(distances, prob, rays, **how)
    deep = geometry.polyhedron_to_label(
        kept, points, rays=rays, prob=scores, shape=shape, verbose=False
    )
    return np.asarray(relabel_sequential(deep)[0], np.int32)


def _golden_anisotropy(facts: Mapping[str, Any]) -> list[float] | None:
    rays = facts.get("rays") or {}
    if rays.get("name") != "Rays_GoldenSpiral":
        return None
    stated: Sequence[float] | None = rays.get("kwargs", {}).get("anisotropy")
    return [float(size) for size in stated or (1, 1, 1)]
