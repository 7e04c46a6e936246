"""A Keras network of the kind that this field uses, written as ONNX layer by layer.

One ONNX operation per layer, channels first, every size but the channels free.
A general converter writes an upsampling as a dozen reshapes and transposes
where one operation says it, which costs a third of the time on the CPU.

Knows the layers of which csbdeep and n2v build their U-Nets (and StarDist most
of its own); refuses all others.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from micserve.errors import PackageError

OPSET = 15
"""Understood by every ONNX Runtime since 1.10."""
IR_VERSION = 8

INPUT = "input"

ACTIVATIONS = {"relu": "Relu", "elu": "Elu", "sigmoid": "Sigmoid", "softplus": "Softplus",
               "tanh": "Tanh"}  # fmt: skip
"""Keras' name to ONNX'; with the default parameters, which are the same in both."""

Graph = Sequence[tuple[Any, str, tuple[str, ...]]]


def write_onnx(model: Any, path: Path, heads: Mapping[str, Any]) -> Path:
    """Write a functional Keras model whose layers are each used once.

    Parameters
    ----------
    model
        With one input (B, (Z,) Y, X, C).
    path
        The file to write.
    heads
        Name of each output to the Keras tensor that it is; need not be the model's outputs.

    Raises
    ------
    PackageError
        When the model has a layer that is not known here.
    """
    writer = _Writer(ndim=len(model.input.shape) - 2, channels=int(model.input.shape[-1]))
    named = {id(model.input): INPUT}
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        sources = layer.input if isinstance(layer.input, list) else [layer.input]
        named[id(layer.output)] = writer.layer(layer, [named[id(source)] for source in sources])
    for head, tensor in heads.items():
        writer.head(head, named[id(tensor)], int(tensor.shape[-1]))
    proto = writer.model()
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))
    return path


class _Writer:
    """Adds one layer at a time; a tensor is known by its name."""

    def __init__(self, *, ndim: int, channels: int) -> None:
        self._ndim, self._channels = ndim, channels
        self._nodes: list[onnx.NodeProto] = []
        self._stored: list[onnx.TensorProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._kinds: Mapping[str, Callable[[Any, list[str]], str]] = {
            f"Conv{ndim}D": self._conv,
            f"MaxPooling{ndim}D": self._max_pool,
            f"UpSampling{ndim}D": self._upsample,
            "BatchNormalization": self._batch_norm,
            "Activation": lambda layer, sources: self._activate(layer.activation, sources[0]),
            "Add": lambda layer, sources: self._op("Add", *sources),
            "Concatenate": lambda layer, sources: self._op("Concat", *sources, axis=1),
            "Dropout": lambda layer, sources: sources[0],
            "Lambda": self._added,
        }

    def layer(self, layer: Any, sources: list[str]) -> str:
        """The name of the layer's output."""
        kind = type(layer).__name__
        if kind not in self._kinds:
            raise PackageError(
                f"the network has a layer {layer.name} of type {kind}, which cannot be exported"
            )
        return self._kinds[kind](layer, sources)

    def head(self, name: str, source: str, channels: int) -> None:
        self._nodes.append(helper.make_node("Identity", [source], [name]))
        self._outputs.append(self._value(name, channels, [None] * self._ndim))

    def model(self) -> onnx.ModelProto:
        sizes = [f"size_{axis}" for axis in "zyx"[-self._ndim :]]
        graph = helper.make_graph(
            self._nodes,
            "network",
            [self._value(INPUT, self._channels, sizes)],
            self._outputs,
            self._stored,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )

    def _conv(self, layer: Any, sources: list[str]) -> str:
        kernel = np.moveaxis(np.asarray(layer.kernel), (-1, -2), (0, 1))
        inputs = [sources[0], self._store(kernel)]
        if layer.use_bias:
            inputs.append(self._store(np.asarray(layer.bias)))
        strides = list(layer.strides)
        result = self._op(
            "Conv",
            *inputs,
            kernel_shape=list(layer.kernel_size),
            strides=strides,
            dilations=list(layer.dilation_rate),
            pads=self._pads(layer, strides),
        )
        return self._activate(layer.activation, result)

    def _pads(self, layer: Any, strides: Sequence[int]) -> list[int]:
        """As TensorFlow pads where the size is a multiple of the stride."""
        if layer.padding == "valid":
            return [0] * (2 * self._ndim)
        if layer.padding != "same":
            raise PackageError(f"the layer {layer.name} pads by {layer.padding}")
        reach = [
            max((k - 1) * d + 1 - s, 0)
            for k, d, s in zip(layer.kernel_size, layer.dilation_rate, strides, strict=True)
        ]
        return [r // 2 for r in reach] + [r - r // 2 for r in reach]

    def _max_pool(self, layer: Any, sources: list[str]) -> str:
        return self._op(
            "MaxPool",
            sources[0],
            kernel_shape=list(layer.pool_size),
            strides=list(layer.strides),
        )

    def _upsample(self, layer: Any, sources: list[str]) -> str:
        if getattr(layer, "interpolation", "nearest") != "nearest":
            raise PackageError(f"the layer {layer.name} upsamples by {layer.interpolation}")
        scales = self._store(np.array([1, 1, *layer.size], np.float32))
        return self._op(
            "Resize",
            sources[0],
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _batch_norm(self, layer: Any, sources: list[str]) -> str:
        ones = np.ones(np.asarray(layer.moving_mean).shape, np.float32)
        gamma = np.asarray(layer.gamma) if layer.scale else ones
        beta = np.asarray(layer.beta) if layer.center else 0 * ones
        statistics = (gamma, beta, np.asarray(layer.moving_mean), np.asarray(layer.moving_variance))
        stored = [self._store(values) for values in statistics]
        return self._op("BatchNormalization", sources[0], *stored, epsilon=float(layer.epsilon))

    def _activate(self, activation: Any, source: str) -> str:
        name = activation.__name__
        if name == "linear":
            return source
        if name not in ACTIVATIONS:
            raise PackageError(f"the activation {name} cannot be exported")
        return self._op(ACTIVATIONS[name], source)

    def _added(self, layer: Any, sources: list[str]) -> str:
        """csbdeep's only Lambda adds a constant; which one, and that it does, is tried out."""
        tried = np.array([[-2.0], [0.0], [3.0]], np.float32)
        difference = np.asarray(layer.function(tried)) - tried
        if not np.allclose(difference, difference[0], atol=1e-6):
            raise PackageError(f"the layer {layer.name} is Python code, which cannot be exported")
        return self._op("Add", sources[0], self._store(difference[1].reshape(())))

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def _store(self, values: NDArray[Any]) -> str:
        name = f"weight_{len(self._stored)}"
        array = np.ascontiguousarray(values, dtype=np.float32)
        self._stored.append(numpy_helper.from_array(array, name))
        return name

    @staticmethod
    def _value(name: str, channels: int, sizes: Sequence[str | None]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, *sizes])
