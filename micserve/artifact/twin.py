"""A network's boolean twin: the same wiring, asking only "can this pixel have changed?".

In the twin every tensor that depends on the image holds 0 (cannot have changed)
or 1 (can have). A convolution becomes a dilation by its kernel, a sum or a
product becomes "or", a normalisation over the image becomes "all of it", an
activation becomes nothing. So an impulse spreads exactly as far as any weights
could carry it, with no underflow, overflow or saturation on the way.

What depends only on the *shape* of the image is left as it is, so that reshapes
and upsampling go on working. An operation that is not listed here raises
`UntranslatableError`: silence about it could mean wrong pixels at tile borders.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
from onnx import NodeProto, TensorProto, helper

from micserve.errors import PackageError

FIRST_INPUT_ONLY = frozenset(
    {
        "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization", "Cast",
        "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "DequantizeLinear", "Dropout", "Elu",
        "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
        "LeakyRelu", "Log", "Mish", "Neg", "Not", "QuantizeLinear", "Reciprocal", "Relu", "Round",
        "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish",
        "Tan", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
"""Each value depends on the one value at its own place; other inputs are parameters."""

POINTWISE = frozenset(
    {
        "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max",
        "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
    }
)  # fmt: skip
"""Several tensors, place by place, with broadcasting."""

LINEAR = frozenset(
    {
        "Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul",
    }
)  # fmt: skip
"""Sums of products of the first two operands (all of them for Einsum); a bias is dropped."""

SPREADING = frozenset(
    {
        "AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool",
        "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Resize",
        "Upsample",
    }
)  # fmt: skip
"""Combine neighbours as they stand, up to a factor; the result is made 0 or 1 again."""

AS_REDUCE_L1 = frozenset(
    {
        "ReduceLogSum", "ReduceLogSumExp", "ReduceMin", "ReduceProd",
    }
)  # fmt: skip
"""Would not carry a single 1; ReduceL1 takes the same arguments and does."""

MOVING = frozenset(
    {
        "DepthToSpace", "Expand", "Flatten", "Gather", "Reshape", "Slice", "SpaceToDepth", "Split",
        "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Move or copy values."""

WHOLE_IMAGE = frozenset(
    {
        "GroupNormalization", "InstanceNormalization",
    }
)  # fmt: skip
"""Statistics over all pixels."""

ALONG_AXIS = {
    "Hardmax": -1, "LogSoftmax": -1, "LpNormalization": -1, "Softmax": -1, "LRN": 1,
}  # fmt: skip
"""Statistics along one axis, with its default (13 and later)."""

FROM_AXIS = frozenset(
    {
        "LayerNormalization", "RMSNormalization",
    }
)  # fmt: skip
"""Statistics along an axis and all that follow."""

DEPENDS_ON_POSITION = frozenset({"align_corners", "tf_crop_and_resize"})
"""Ways of resizing in which a pixel's value depends on the size of the image."""


class UntranslatableError(Exception):
    """It cannot be told how an operation spreads a change."""


def boolean_twin(path: Path, *, channels: int, ndim: int) -> bytes:
    """The twin of an ONNX file, itself an ONNX file, with any size of image.

    Raises
    ------
    UntranslatableError
        When the network holds an operation that is not known here.
    PackageError
        When it takes images of one size only.
    """
    model = onnx.load(str(path))
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    twin = _Translation(model, channels=channels, rank=2 + ndim).model()
    return bytes(twin.SerializeToString())


class _Translation:
    """One pass over the nodes, in their order, which ONNX promises to be topological."""

    def __init__(self, model: onnx.ModelProto, *, channels: int, rank: int) -> None:
        self._source, self._rank = model, rank
        graph = model.graph
        stored = {tensor.name for tensor in graph.initializer}
        images = [value.name for value in graph.input if value.name not in stored]
        if len(images) != 1:
            raise UntranslatableError(f"it has {len(images)} inputs instead of one image")
        self._opset = max(e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
        self._shape: list[str | int | None] = [
            "b",
            channels,
            *(f"size{axis}" for axis in range(rank - 2)),
        ]
        self._image = images[0]
        _refuse_fixed_size(next(v for v in graph.input if v.name == self._image))
        self._seen = {self._image}
        self._left_out: set[str] = set()
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def model(self) -> onnx.ModelProto:
        for node in self._source.graph.node:
            self._translate(node)
        source = self._source.graph
        outputs = [
            helper.make_tensor_value_info(self._as_float(o.name), TensorProto.FLOAT, None)
            for o in source.output
        ]
        graph = helper.make_graph(
            self._nodes,
            "boolean_twin",
            [helper.make_tensor_value_info(self._image, TensorProto.FLOAT, self._shape)],
            outputs,
            [*source.initializer, *self._constants],
        )
        twin = helper.make_model(graph, opset_imports=self._source.opset_import)
        twin.ir_version = self._source.ir_version
        return twin

    def _translate(self, node: NodeProto) -> None:
        if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
            raise UntranslatableError(f"it branches or loops ({node.op_type})")
        if self._left_out & set(node.input):
            raise UntranslatableError(f"{node.op_type} uses a side output of another operation")
        if node.op_type in ("Shape", "Size") or not self._seen & set(node.input):
            self._nodes.append(node)
            return
        self._handler(node)(node)
        kept = node.output if node.op_type == "Split" else node.output[:1]
        self._seen |= set(kept)
        self._left_out |= set(node.output) - set(kept) - {""}

    def _handler(self, node: NodeProto) -> Callable[[NodeProto], None]:
        kind = node.op_type
        if node.domain not in ("", "ai.onnx"):
            raise UntranslatableError(f"{node.domain}.{kind} is not a standard operation")
        families: list[tuple[object, Callable[[NodeProto], None]]] = [
            (FIRST_INPUT_ONLY, self._first_input),
            (POINTWISE, self._pointwise),
            (LINEAR, self._linear),
            (SPREADING | AS_REDUCE_L1, self._spreading),
            (MOVING, self._moving),
            (WHOLE_IMAGE, self._whole_image),
            (ALONG_AXIS.keys() | FROM_AXIS, self._along_axes),
            ({"Concat"}, self._concat),
            ({"Pad"}, self._pad),
            ({"MeanVarianceNormalization"}, self._mean_variance),
        ]
        for kinds, handler in families:
            if kind in kinds:  # type: ignore[operator]
                return handler
        raise UntranslatableError(f"it is not known how {kind} spreads a change")

    def _first_input(self, node: NodeProto) -> None:
        self._only_first(node)
        self._emit("Identity", [node.input[0]], node.output[0])

    def _pointwise(self, node: NodeProto) -> None:
        self._emit("Max", [self._as_float(name) for name in node.input if name], node.output[0])

    def _linear(self, node: NodeProto) -> None:
        count = len(node.input) if node.op_type == "Einsum" else 2
        operands = list(node.input[:count])
        if self._seen & set(node.input[count:]):
            raise UntranslatableError(f"the bias of {node.op_type} depends on the image")
        ignored = ("alpha", "beta") if node.op_type == "Gemm" else ()
        terms = []
        for place, name in enumerate(operands):
            if name not in self._seen:
                continue
            others = [
                name if at == place else self._filled_like(other, 1.0)
                for at, other in enumerate(operands)
            ]
            terms.append(self._emit("Sign", [self._copy(node, others, without=ignored)]))
        self._emit("Max", terms, node.output[0])

    def _spreading(self, node: NodeProto) -> None:
        self._only_first(node)
        mode = _attribute(node, "coordinate_transformation_mode", b"half_pixel").decode()
        if mode in DEPENDS_ON_POSITION:
            raise UntranslatableError(f"{node.op_type} with {mode} depends on the image's size")
        kind = "ReduceL1" if node.op_type in AS_REDUCE_L1 else node.op_type
        spread = self._copy(node, list(node.input), kind=kind)
        self._emit("Sign", [self._emit("Abs", [spread])], node.output[0])

    def _moving(self, node: NodeProto) -> None:
        self._only_first(node)
        self._nodes.append(node)

    def _concat(self, node: NodeProto) -> None:
        moved = self._copy(node, [self._as_float(name) for name in node.input])
        self._emit("Identity", [moved], node.output[0])

    def _pad(self, node: NodeProto) -> None:
        """With 0 where another constant was: what is added cannot have changed."""
        self._only_first(node)
        inputs = list(node.input)
        if len(inputs) > 2:
            inputs[2] = ""
        self._emit("Identity", [self._copy(node, inputs, without=("value",))], node.output[0])

    def _whole_image(self, node: NodeProto) -> None:
        self._only_first(node)
        most = self._emit("GlobalMaxPool", [node.input[0]])
        if node.op_type == "GroupNormalization":
            most = self._reduce_max(most, [1])
        self._emit("Max", [node.input[0], most], node.output[0])

    def _along_axes(self, node: NodeProto) -> None:
        self._only_first(node)
        axis = int(_attribute(node, "axis", ALONG_AXIS.get(node.op_type, -1)))
        axes = [axis]
        coerced = node.op_type in ("Softmax", "LogSoftmax", "Hardmax") and self._opset < 13
        if coerced:
            axis = int(_attribute(node, "axis", 1))
        if coerced or node.op_type in FROM_AXIS:
            axes = list(range(axis, 0 if axis < 0 else self._rank))
        self._emit("Max", [node.input[0], self._reduce_max(node.input[0], axes)], node.output[0])

    def _mean_variance(self, node: NodeProto) -> None:
        axes = list(_attribute(node, "axes", [0, 2, 3]))
        self._emit("Max", [node.input[0], self._reduce_max(node.input[0], axes)], node.output[0])

    def _only_first(self, node: NodeProto) -> None:
        if self._seen & set(node.input[1:]):
            raise UntranslatableError(f"an argument of {node.op_type} depends on the image")

    def _reduce_max(self, name: str, axes: Sequence[int]) -> str:
        if self._opset < 18:
            return self._emit("ReduceMax", [name], axes=list(axes), keepdims=1)
        listed = self._store(helper.make_tensor("", TensorProto.INT64, [len(axes)], list(axes)))
        return self._emit("ReduceMax", [name, listed], keepdims=1)

    def _as_float(self, name: str) -> str:
        """A tensor of zeros for what does not depend on the image: it cannot have changed."""
        return name if name in self._seen else self._filled_like(name, 0.0)

    def _filled_like(self, name: str, value: float) -> str:
        filling = helper.make_tensor("", TensorProto.FLOAT, [1], [value])
        return self._emit("ConstantOfShape", [self._emit("Shape", [name])], value=filling)

    def _copy(
        self,
        node: NodeProto,
        inputs: Sequence[str],
        *,
        kind: str = "",
        without: Sequence[str] = (),
    ) -> str:
        """The node itself on other inputs; the name of its first output."""
        copy = NodeProto()
        copy.op_type, copy.name = kind or node.op_type, f"{node.name}_twin{len(self._nodes)}"
        copy.input.extend(inputs)
        copy.output.append(self._fresh())
        copy.attribute.extend(a for a in node.attribute if a.name not in without)
        self._nodes.append(copy)
        return str(copy.output[0])

    def _emit(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        output = output or self._fresh()
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _store(self, tensor: TensorProto) -> str:
        tensor.name = self._fresh()
        self._constants.append(tensor)
        return str(tensor.name)

    def _fresh(self) -> str:
        return f"micserve_twin_{len(self._nodes)}_{len(self._constants)}"


def _refuse_fixed_size(image: onnx.ValueInfoProto) -> None:
    sizes = [dimension.dim_value for dimension in image.type.tensor_type.shape.dim[2:]]
    if any(sizes):
        raise PackageError(
            f"the network takes images of {' × '.join(str(n or 'any') for n in sizes)} pixels "
            "only; export it with free image sizes"
        )


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default
