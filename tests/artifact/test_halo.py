"""The measured halo is right (tiles equal the whole) and tight (one stride less does not do)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micserve.artifact.halo import measure_halo
from micserve.errors import PackageError
from micserve.tiling import plan_tiles
from tests.support.networks import (
    NetworkBuilder,
    global_network,
    identity_network,
    small_unet,
    star_network,
)

ROUNDING = 1e-6
"""Share of the output's range. Measured on these networks: at most 4e-7 for the right halo and
at least 1e-5 for one that is a stride too small."""


def difference(
    path: Path, *, halo: tuple[int, ...], multiple: tuple[int, ...], stride: int
) -> float:
    """Largest difference of tiles to the whole image, as a share of its range."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {session.get_inputs()[0].name: image})

    channels = session.get_inputs()[0].shape[1]
    tile = tuple(2 * h + 2 * m for h, m in zip(halo, multiple, strict=True))
    shape = tuple(t + 3 * m for t, m in zip(tile, multiple, strict=True))
    image = np.random.default_rng(1).normal(size=(1, channels, *shape)).astype(np.float32)
    whole = run(image)
    worst = 0.0
    for part in plan_tiles(shape, tile=tile, halo=halo, multiple=multiple):
        answers = run(image[(..., *part.read)])
        for answer, expected in zip(answers, whole, strict=True):
            write, core = (
                (..., *(slice(s.start // stride, s.stop // stride) for s in window))
                for window in (part.write, part.core)
            )
            error = np.abs(answer[core] - expected[write]).max() / np.ptp(expected)
            worst = max(worst, float(error))
    return worst


def assert_right_and_tight(
    path: Path, *, multiple: tuple[int, ...], channels: int = 1, stride: int = 1
) -> tuple[int, ...]:
    halo = measure_halo(path, ndim=len(multiple), channels=channels, multiple=multiple)
    assert halo is not None
    assert difference(path, halo=halo, multiple=multiple, stride=stride) <= ROUNDING
    for axis, step in enumerate(multiple):
        if halo[axis]:
            less = tuple(h - step * (a == axis) for a, h in enumerate(halo))
            wrong = difference(path, halo=less, multiple=multiple, stride=stride)
            assert wrong > ROUNDING, f"halo {halo} is larger than needed along axis {axis}"
    return halo


@settings(max_examples=25, deadline=None)
@given(
    depth=st.integers(0, 2),
    kernel=st.tuples(*[st.sampled_from([1, 2, 3, 5])] * 2),
    dilation=st.tuples(*[st.integers(1, 2)] * 2),
    down=st.sampled_from(["max", "average", "stride"]),
    up=st.sampled_from(["nearest", "linear", "transpose"]),
    batch_norm=st.booleans(),
    channels=st.integers(1, 2),
    seed=st.integers(0, 9),
)
def test_tiles_of_a_u_net_need_exactly_the_measured_halo(tmp_path_factory, depth, **how):
    path = small_unet(tmp_path_factory.mktemp("net") / "unet.onnx", depth=depth, **how)
    assert_right_and_tight(path, multiple=(2**depth,) * 2, channels=how["channels"])


@pytest.mark.parametrize("how", [{}, {"kernel": (1, 3, 5), "down": "stride", "up": "transpose"}])
def test_tiles_of_a_3d_u_net_need_exactly_the_measured_halo(tmp_path, how):
    path = small_unet(tmp_path / "unet.onnx", ndim=3, depth=1, **how)
    assert_right_and_tight(path, multiple=(2, 2, 2))


def test_a_network_that_looks_at_one_pixel_needs_no_halo(tmp_path):
    path = identity_network(tmp_path / "identity.onnx")
    assert measure_halo(path, ndim=2, channels=1, multiple=(1, 1)) == (0, 0)


def test_halos_of_heads_on_a_coarse_grid_are_counted_in_image_pixels(tmp_path):
    path = star_network(tmp_path / "star.onnx", grid=2)
    assert assert_right_and_tight(path, multiple=(2, 2), stride=2) == (4, 4)


def test_a_kernel_that_looks_to_one_side_only_is_measured_on_that_side(tmp_path):
    net = NetworkBuilder()
    x = net.conv("input", 2, kernel=(1, 6), pads=[0, 5, 0, 0])
    path = net.save(tmp_path / "causal.onnx", {"output": x})
    assert assert_right_and_tight(path, multiple=(1, 1)) == (0, 5)


def test_a_network_that_pads_by_mirroring_is_measured_on_an_image_that_is_large_enough(tmp_path):
    net = NetworkBuilder()
    pads = net.constant(np.array([0, 0, 9, 9, 0, 0, 9, 9]))
    x = net.op("Pad", "input", pads, mode="reflect")
    x = net.conv(x, 1, kernel=19, pads=[0, 0, 0, 0])
    path = net.save(tmp_path / "mirror.onnx", {"output": x})
    assert assert_right_and_tight(path, multiple=(1, 1)) == (9, 9)


def test_saturating_activations_and_cancelling_weights_do_not_hide_the_reach(tmp_path):
    net = NetworkBuilder()
    x = net.op("Sigmoid", net.conv("input", 3))
    x = net.op("Sub", x, x)
    x = net.op("Mul", net.op("Softmax", x, axis=1), net.op("Tanh", net.conv(x, 3)))
    path = net.save(tmp_path / "gated.onnx", {"output": net.conv(x, 1)})
    assert measure_halo(path, ndim=2, channels=1, multiple=(1, 1)) == (3, 3)


def group_norm(net: NetworkBuilder, x: str) -> str:
    """As PyTorch exports it: reshaped so that one group is one instance."""
    shape = net.op("Shape", x)
    grouped = net.op("Reshape", x, net.constant(np.array([0, 2, -1])))
    ones, zeros = (net.constant(v(2, np.float32)) for v in (np.ones, np.zeros))
    normal = net.op("InstanceNormalization", grouped, ones, zeros)
    return net.op("Reshape", normal, shape, features=net.features[x])


def attention(net: NetworkBuilder, x: str) -> str:
    """Every pixel asks every other pixel."""
    features = net.features[x]
    flat = net.op("Reshape", x, net.constant(np.array([0, features, -1])))
    turned = net.op("Transpose", flat, perm=[0, 2, 1])
    weights = net.op("Softmax", net.op("MatMul", turned, flat), axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", weights, turned), perm=[0, 2, 1])
    return net.op("Reshape", mixed, net.op("Shape", x), features=features)


@pytest.mark.parametrize(
    "everywhere",
    [
        lambda net, x: net.instance_norm(x),
        group_norm,
        attention,
        lambda net, x: net.op("Mul", x, net.op("ReduceMean", x, axes=[2, 3])),
        lambda net, x: net.op("Add", x, net.op("GlobalMaxPool", x)),
        lambda net, x: net.op("Softmax", x, axis=3),
    ],
)
def test_a_network_that_looks_at_the_whole_image_has_no_halo(
    tmp_path, everywhere: Callable[[NetworkBuilder, str], str]
):
    path = small_unet(tmp_path / "global.onnx", depth=1, bottleneck=everywhere)
    assert measure_halo(path, ndim=2, channels=1, multiple=(2, 2)) is None


def test_a_global_mean_beside_a_convolution_has_no_halo(tmp_path):
    path = global_network(tmp_path / "global.onnx", ndim=3)
    assert measure_halo(path, ndim=3, channels=1, multiple=(1, 1, 1)) is None


def test_an_operation_whose_reach_is_not_known_is_not_trusted(tmp_path, caplog):
    net = NetworkBuilder()
    path = net.save(
        tmp_path / "sum.onnx", {"output": net.op("CumSum", "input", net.constant(np.array(2)))}
    )
    assert measure_halo(path, ndim=2, channels=1, multiple=(1, 1)) is None
    assert "CumSum" in caplog.text


def test_a_network_that_resizes_by_the_size_of_the_image_is_not_trusted(tmp_path):
    net = NetworkBuilder()
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    x = net.down(net.conv("input", 2), 2)
    x = net.op(
        "Resize", x, "", scales, mode="linear", coordinate_transformation_mode="align_corners"
    )
    path = net.save(tmp_path / "corners.onnx", {"output": x})
    assert measure_halo(path, ndim=2, channels=1, multiple=(2, 2)) is None


def test_a_network_that_crops_its_borders_is_refused_in_words(tmp_path):
    net = NetworkBuilder()
    path = net.save(tmp_path / "valid.onnx", {"output": net.conv("input", 1, pads=[0, 0, 0, 0])})
    with pytest.raises(PackageError, match="crops its borders"):
        measure_halo(path, ndim=2, channels=1, multiple=(1, 1))


def test_a_network_that_needs_a_larger_multiple_is_refused_in_words(tmp_path):
    path = small_unet(tmp_path / "unet.onnx", depth=2)
    with pytest.raises(PackageError, match="does not run on an image of"):
        measure_halo(path, ndim=2, channels=1, multiple=(1, 1))


def test_a_network_of_fixed_size_is_refused_in_words(shared_data):
    path = shared_data / "models" / "unet2d_nuclei_broad" / "weights.onnx"
    with pytest.raises(PackageError, match="takes images of 512 × 512 pixels only"):
        measure_halo(path, ndim=2, channels=1, multiple=(16, 16))


def test_the_halo_of_a_published_u_net_makes_tiles_equal_the_whole(shared_data, tmp_path):
    model = onnx.load(str(shared_data / "models" / "unet2d_nuclei_broad" / "weights.onnx"))
    for value in [*model.graph.input, *model.graph.output]:
        for dimension in value.type.tensor_type.shape.dim[2:]:
            dimension.Clear()
    path = tmp_path / "free.onnx"
    onnx.save(model, str(path))
    assert measure_halo(path, ndim=2, channels=1, multiple=(16, 16)) == (64, 64)
    assert difference(path, halo=(64, 64), multiple=(16, 16), stride=1) <= ROUNDING
    assert difference(path, halo=(32, 32), multiple=(16, 16), stride=1) > ROUNDING
