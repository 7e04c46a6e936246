"""Make an ONNX network from elsewhere into one of ours: free sizes, named heads, nothing behind it.

Knows ONNX and nothing of where the network came from. What a description says
to do after the network (a sigmoid, a linear scale) becomes a part of it.
"""

from collections.abc import Sequence
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper

from micserve.errors import PackageError

PROBED = {2: 512, 3: 128}
"""Pixels per axis at which sizes inside the network are worked out."""

LARGEST_STRIDE = 64
"""Beyond it, something in the network is no longer an image."""

SEQUENCES = {"SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceAt"}


def load(path: Path) -> onnx.ModelProto:
    """Read a network; refuses one that is not whole."""
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:
        raise PackageError(f"{path.name} is no ONNX network that can be read: {error}") from error
    model = onnx.inliner.inline_local_functions(model) if model.functions else model
    _without_sequences(model)
    return model


def images_in(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that are not stored weights."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def rank_of(value: onnx.ValueInfoProto) -> int:
    return len(value.type.tensor_type.shape.dim)


def free_sizes(model: onnx.ModelProto) -> None:
    """Any batch and any image size instead of those at which it was exported."""
    for value in (*images_in(model), *model.graph.output):
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if axis != 1:
                size.ClearField("dim_value")
                size.dim_param = f"{value.name}_{axis}"
    del model.graph.value_info[:]


def name_head(model: onnx.ModelProto, name: str) -> None:
    """Give the only output a name."""
    [output] = model.graph.output
    model.graph.node.append(helper.make_node("Identity", [output.name], [name]))
    output.name = name


def append(model: onnx.ModelProto, kind: str, *constants: Any, **attributes: Any) -> None:
    """One more operation behind the only output."""
    [output] = model.graph.output
    inputs, result = [output.name], f"{output.name}_{kind.lower()}"
    for number, values in enumerate(constants):
        stored = numpy_helper.from_array(np.asarray(values, np.float32), f"{result}_{number}")
        model.graph.initializer.append(stored)
        inputs.append(stored.name)
    model.graph.node.append(helper.make_node(kind, inputs, [result], **attributes))
    output.name = result


def total_stride(model: onnx.ModelProto, *, ndim: int) -> tuple[int, ...]:
    """By how much the smallest image inside the network is smaller, per spatial axis.

    Raises
    ------
    PackageError
        When sizes cannot be worked out, or something shrinks to next to nothing.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    [image] = images_in(probe)
    for axis, size in enumerate(image.type.tensor_type.shape.dim):
        if axis != 1:
            size.dim_value = 1 if axis == 0 else PROBED[ndim]
    for output in probe.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(probe, data_prop=True)
    strides = [1] * ndim
    for value in inferred.graph.value_info:
        sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
        if len(sizes) != ndim + 2 or not all(sizes):
            continue
        for axis, size in enumerate(sizes[2:]):
            strides[axis] = max(strides[axis], PROBED[ndim] // size)
    if max(strides) > LARGEST_STRIDE:
        raise PackageError(
            f"the network shrinks the image {max(strides)} times, so it is no network that "
            "answers pixel by pixel"
        )
    return tuple(strides)


def common_multiple(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    return tuple(lcm(a, b) for a, b in zip(first, second, strict=True))


def save(model: onnx.ModelProto, path: Path) -> Path:
    if any(w.data_location == TensorProto.EXTERNAL for w in model.graph.initializer):
        raise PackageError("the network's weights lie in a second file; export it as one file")
    onnx.save(model, str(path))
    return path


def _without_sequences(model: onnx.ModelProto) -> None:
    """TorchScript keeps lists of images; where each is taken from is known beforehand."""
    if not any(node.op_type in SEQUENCES for node in model.graph.node):
        return
    constants = _constants(model)
    lists: dict[str, list[str]] = {}
    renamed: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        inputs = [renamed.get(name, name) for name in node.input]
        if node.op_type not in SEQUENCES:
            for place, name in enumerate(inputs):
                node.input[place] = name
            kept.append(node)
            continue
        try:
            _follow(node, inputs, lists, renamed, constants)
        except (KeyError, IndexError) as error:
            raise PackageError(
                "the network keeps lists of images whose order is not fixed; export it as ONNX "
                "with its own tools"
            ) from error
    del model.graph.node[:]
    model.graph.node.extend(kept)
    for output in model.graph.output:
        output.name = renamed.get(output.name, output.name)


def _follow(
    node: onnx.NodeProto,
    inputs: Sequence[str],
    lists: dict[str, list[str]],
    renamed: dict[str, str],
    constants: dict[str, int],
) -> None:
    [result] = node.output
    match node.op_type:
        case "SequenceEmpty":
            lists[result] = []
        case "SequenceConstruct":
            lists[result] = list(inputs)
        case "SequenceInsert":
            place = constants[inputs[2]] if len(inputs) > 2 else len(lists[inputs[0]])
            longer = list(lists[inputs[0]])
            longer.insert(place if place >= 0 else len(longer) + place, inputs[1])
            lists[result] = longer
        case "SequenceAt":
            renamed[result] = lists[inputs[0]][constants[inputs[1]]]


def _constants(model: onnx.ModelProto) -> dict[str, int]:
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return {name: int(value.item()) for name, value in found.items() if value.size == 1}
