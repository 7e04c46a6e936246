"""Small ONNX networks made on the spot: seeded, so that a test sees the same numbers every time.

Each builder writes one file and returns its path. All networks take float32
`input` (B, C, (Z,) Y, X) of any size that is a multiple of their total stride,
and answer heads of the same layout. Weights are random and of a size that
keeps the output near the range of the input.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Down = Literal["max", "average", "stride"]
Up = Literal["nearest", "linear", "transpose"]


class NetworkBuilder:
    """Adds one layer at a time; every method takes and returns the name of a tensor.

    Sizes (`kernel`, `stride`, `dilation`) are one number for all axes or one per axis.
    """

    def __init__(self, *, ndim: int = 2, channels: int = 1, seed: int = 0, opset: int = OPSET):
        self.ndim, self.channels, self.opset = ndim, channels, opset
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.features: dict[str, int] = {"input": channels}

    def op(self, kind: str, *inputs: str, features: int | None = None, **attributes: object) -> str:
        """Any ONNX operation with one output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        self.features[name] = self.features.get(inputs[0], 0) if features is None else features
        return name

    def constant(self, values: NDArray[np.generic]) -> str:
        """A stored array."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def conv(
        self,
        x: str,
        features: int,
        *,
        kernel: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        pads: Sequence[int] | None = None,
    ) -> str:
        """Convolution with bias, zero padding to the same size."""
        kernels, strides, dilations = map(self._per_axis, (kernel, stride, dilation))
        if pads is None:
            reach = [(k - 1) * d for k, d in zip(kernels, dilations, strict=True)]
            pads = [r // 2 for r in reach] + [r - r // 2 for r in reach]
        weight, bias = self._conv_weights((features, self.features[x], *kernels), features)
        return self.op(
            "Conv", x, weight, bias, features=features, kernel_shape=kernels,
            strides=strides, dilations=dilations, pads=list(pads),
        )  # fmt: skip

    def conv_transpose(self, x: str, features: int, *, stride: int | Sequence[int] = 2) -> str:
        """Learned upsampling; the kernel is as large as the stride."""
        strides = self._per_axis(stride)
        weight, bias = self._conv_weights((self.features[x], features, *strides), features)
        return self.op(
            "ConvTranspose", x, weight, bias, features=features,
            kernel_shape=strides, strides=strides,
        )  # fmt: skip

    def activate(self, x: str) -> str:
        """Leaky, so that no part of an image is lost on the way."""
        return self.op("LeakyRelu", x, alpha=0.2)

    def batch_norm(self, x: str) -> str:
        """With statistics that are not 0 and 1, as after a training."""
        features = self.features[x]
        uniform = [self.random.uniform(low, 1.3, features) for low in (0.7, -0.1, -0.1, 0.7)]
        weights = [self.constant(w.astype(np.float32)) for w in uniform]
        return self.op("BatchNormalization", x, *weights)

    def instance_norm(self, x: str) -> str:
        """A global operation: looks at all pixels of a channel."""
        features = self.features[x]
        scale, bias = np.ones(features, np.float32), np.zeros(features, np.float32)
        return self.op("InstanceNormalization", x, self.constant(scale), self.constant(bias))

    def down(self, x: str, features: int, how: Down = "max") -> str:
        """Half the size along every axis."""
        if how == "stride":
            return self.conv(x, features, stride=2)
        kind = {"max": "MaxPool", "average": "AveragePool"}[how]
        return self.op(kind, x, kernel_shape=[2] * self.ndim, strides=[2] * self.ndim)

    def up(self, x: str, features: int, how: Up = "nearest") -> str:
        """Twice the size along every axis."""
        if how == "transpose":
            return self.conv_transpose(x, features)
        scales = self.constant(np.array([1, 1] + [2] * self.ndim, np.float32))
        modes = {
            "nearest": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            "linear": {"coordinate_transformation_mode": "half_pixel"},
        }
        return self.op("Resize", x, "", scales, mode=how, **modes[how])

    def concat(self, *tensors: str) -> str:
        """Channels one after the other."""
        return self.op("Concat", *tensors, axis=1, features=sum(self.features[t] for t in tensors))

    def save(
        self, path: Path, heads: Mapping[str, str], *, sizes: Sequence[int | str] = ()
    ) -> Path:
        """Write the file; `heads` maps the name of an output to the tensor that it is."""
        axes = list(sizes) or [f"s{axis}" for axis in range(self.ndim)]
        outputs = [
            helper.make_tensor_value_info(
                head, TensorProto.FLOAT, ["b", self.features[tensor]] + [None] * self.ndim
            )
            for head, tensor in heads.items()
        ]
        named = [
            helper.make_node("Identity", [tensor], [head], name=f"head_{head}")
            for head, tensor in heads.items()
        ]
        graph = helper.make_graph(
            self.nodes + named,
            "test_network",
            [
                helper.make_tensor_value_info(
                    "input", TensorProto.FLOAT, ["b", self.channels, *axes]
                )
            ],
            outputs,
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return path

    def _per_axis(self, size: int | Sequence[int]) -> list[int]:
        return [size] * self.ndim if isinstance(size, int) else list(size)

    def _conv_weights(self, shape: tuple[int, ...], features: int) -> tuple[str, str]:
        spread = np.sqrt(2.0 / (shape[1] * np.prod(shape[2:])))
        weight = self.random.normal(0.0, spread, shape).astype(np.float32)
        bias = self.random.normal(0.0, 0.05, features).astype(np.float32)
        return self.constant(weight), self.constant(bias)


def small_unet(
    path: Path,
    *,
    ndim: int = 2,
    depth: int = 2,
    channels: int = 1,
    features: int = 4,
    seed: int = 0,
    kernel: int | Sequence[int] = 3,
    dilation: int | Sequence[int] = 1,
    batch_norm: bool = False,
    down: Down = "max",
    up: Up = "nearest",
    heads: Mapping[str, int] | None = None,
    bottleneck: Callable[[NetworkBuilder, str], str] | None = None,
) -> Path:
    """A U-Net as N2V, CARE and U-Net have it, with total stride `2 ** depth`.

    Parameters
    ----------
    heads
        Channels per output; `{"output": channels}` unless told.
    bottleneck
        What to add at the lowest level, such as `lambda net, x: net.instance_norm(x)`.
    """
    net = NetworkBuilder(ndim=ndim, channels=channels, seed=seed)

    def block(x: str, width: int) -> str:
        x = net.conv(x, width, kernel=kernel, dilation=dilation)
        return net.activate(net.batch_norm(x) if batch_norm else x)

    x, skips = "input", []
    for level in range(depth):
        x = block(x, features << level)
        skips.append(x)
        x = net.down(x, features << level, down)
    x = block(x, features << depth)
    if bottleneck is not None:
        x = bottleneck(net, x)
    for level in reversed(range(depth)):
        x = net.up(x, features << level, up)
        x = block(net.concat(x, skips[level]), features << level)
    widths = {"output": channels} if heads is None else heads
    return net.save(path, {head: net.conv(x, width, kernel=1) for head, width in widths.items()})


def identity_network(path: Path, *, ndim: int = 2, channels: int = 1) -> Path:
    """Answers what it is given; receptive-field radius 0."""
    net = NetworkBuilder(ndim=ndim, channels=channels)
    return net.save(path, {"output": net.op("Identity", "input")})


def global_network(path: Path, *, ndim: int = 2, channels: int = 1, seed: int = 0) -> Path:
    """Adds the mean of the whole image to a convolution: it must not be tiled."""
    net = NetworkBuilder(ndim=ndim, channels=channels, seed=seed)
    x = net.conv("input", channels)
    return net.save(path, {"output": net.op("Add", x, net.op("GlobalAveragePool", x))})


def star_network(
    path: Path, *, ndim: int = 2, rays: int = 8, grid: int = 2, seed: int = 0, radius: float = 0
) -> Path:
    """Two heads, `prob` and `dist`, on a coarser grid, as StarDist has them.

    `radius` is added to the random distances, in pixels.
    """
    net = NetworkBuilder(ndim=ndim, seed=seed)
    x = net.activate(net.conv("input", 4))
    x = net.activate(net.conv(net.conv(x, 4, stride=grid), 4))
    prob = net.op("Sigmoid", net.conv(x, 1, kernel=1))
    dist = net.op("Add", net.conv(x, rays, kernel=1), net.constant(np.float32(radius)))
    return net.save(path, {"prob": prob, "dist": dist})
