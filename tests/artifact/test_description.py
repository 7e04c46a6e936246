"""The bioimage.io description says what the contract says, and bioimage.io's own code agrees."""

import socket
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micserve.artifact import rdf, zoo
from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.artifact.package import open_package
from micserve.normalize import (
    FixedZeroMeanUnitVariance,
    Identity,
    Normalization,
    ScaleRange,
    ZeroMeanUnitVariance,
)
from tests.support.networks import small_unet, star_network
from tests.support.packages import GREY, small_package


def contract(**changes: Any) -> ModelContract:
    facts: dict[str, Any] = {
        "name": "n2v",
        "family": "n2v",
        "ndim": 2,
        "network": Network(
            heads=(Head(name="output", stride=(1, 1)),),
            tiling=Tiling(halo=(24, 24), multiple=(4, 4)),
        ),
        "normalization": GREY,
        "restore_range": True,
    }
    return ModelContract(**(facts | changes))


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Any attempt to reach another machine fails the test."""

    def refuse(*arguments: object, **more: object) -> None:
        pytest.fail(f"a connection was tried: {arguments}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("normalization", "restore_range"),
    [
        (GREY, True),
        (GREY, False),
        (FixedZeroMeanUnitVariance(mean=(0.0,), std=(1.0,)), True),
        (ScaleRange(), False),
        (ScaleRange(), True),
        (ZeroMeanUnitVariance(), False),
        (ZeroMeanUnitVariance(), True),
        (Identity(), True),
    ],
)
def test_bioimageio_gets_our_pixels_from_grey_values(
    tmp_path, normalization: Normalization, restore_range: bool
):
    path = small_package(
        tmp_path / "model.zip", normalization=normalization, restore_range=restore_range
    )
    opinion = zoo.test(path)
    assert opinion.accepted, opinion.reasons
    assert any("Reproduce test outputs" in test for test in opinion.tests)


@pytest.mark.usefixtures("no_network")
def test_bioimageio_runs_3d_models(tmp_path):
    pixel_size = {"Z": 0.3, "Y": 0.1, "X": 0.1}
    path = small_package(tmp_path / "model.zip", ndim=3, changes={"pixel_size_um": pixel_size})
    assert zoo.test(path).accepted


@pytest.mark.usefixtures("no_network")
def test_bioimageio_runs_models_with_heads_on_a_coarse_grid(tmp_path):
    path = small_package(
        tmp_path / "model.zip",
        onnx=star_network(tmp_path / "star.onnx", rays=8, grid=2),
        multiple=2,
        stride=2,
        heads={"prob": 1, "dist": 8},
        normalization=ScaleRange(),
        restore_range=False,
        changes={"pixel_size_um": {"Y": 0.07, "X": 0.07}},
    )
    opinion = zoo.test(path)
    assert opinion.accepted, opinion.reasons
    space = open_package(path).rdf["outputs"][0]["axes"][2]
    assert space["halo"] == 2
    assert space["scale"] == pytest.approx(0.14)


@pytest.mark.usefixtures("no_network")
def test_bioimageio_runs_models_that_look_at_the_whole_image(tmp_path):
    onnx = small_unet(tmp_path / "net.onnx", bottleneck=lambda net, x: net.instance_norm(x))
    path = small_package(tmp_path / "model.zip", onnx=onnx)
    assert open_package(path).contract.network.tiling.halo is None
    assert zoo.test(path).accepted


def test_a_wrong_test_output_is_noticed_by_bioimageio(tmp_path):
    wrong = np.random.default_rng(0).normal(100, 20, (1, 1, 40, 40))
    path = small_package(tmp_path / "model.zip", test_output={"output": wrong})
    opinion = zoo.test(path)
    assert not opinion.accepted
    assert any("disagree with expected values" in reason for reason in opinion.reasons)


def test_sizes_step_by_the_stride_and_leave_room_for_the_halo():
    space = rdf.tensors_of(contract())["inputs"][0]["axes"][2:]
    assert [axis["size"] for axis in space] == [{"min": 52, "step": 4}] * 2


def test_going_back_to_grey_values_is_the_inverse_of_normalising():
    described = rdf.tensors_of(contract())
    fixed = described["inputs"][0]["preprocessing"][1]
    assert fixed["id"] == "fixed_zero_mean_unit_variance"
    back = described["outputs"][0]["postprocessing"][0]
    assert back["id"] == "scale_linear"
    assert back["kwargs"]["gain"] == fixed["kwargs"]["std"] == [20.0]
    assert back["kwargs"]["offset"] == fixed["kwargs"]["mean"] == [100.0]


@pytest.mark.parametrize("how", [ScaleRange(), ZeroMeanUnitVariance()])
def test_a_way_back_that_is_measured_on_each_image_is_left_to_micserve_and_said(how):
    head = rdf.tensors_of(contract(normalization=how))["outputs"][0]
    assert [step["id"] for step in head["postprocessing"]] == ["ensure_dtype"]
    assert f"In units of the input's {how.id}" in head["description"]
    assert len(head["description"]) <= 128


@pytest.mark.parametrize(
    ("other", "phrase"),
    [
        ({"normalization": FixedZeroMeanUnitVariance(mean=(1.0,), std=(2.0,))}, "preprocessing"),
        ({"restore_range": False}, "postprocessing"),
        ({"pixel_size_um": {"Y": 1.0, "X": 1.0}}, "axes of input"),
        (
            {
                "network": Network(
                    heads=(Head(name="output", stride=(1, 1)),),
                    tiling=Tiling(halo=(20, 24), multiple=(4, 4)),
                )
            },
            "axes of output",
        ),
        (
            {
                "network": Network(
                    heads=(Head(name="prob", stride=(1, 1)),),
                    tiling=Tiling(halo=(24, 24), multiple=(4, 4)),
                )
            },
            "outputs are",
        ),
    ],
)
def test_a_description_of_another_contract_disagrees(other, phrase):
    description = {**rdf.tensors_of(contract()), "weights": {"onnx": {"source": "weights.onnx"}}}
    assert rdf.disagreements(description, contract()) == []
    assert any(phrase in found for found in rdf.disagreements(description, contract(**other)))


@settings(max_examples=60, deadline=None)
@given(
    size_um=st.floats(1e-4, 1e3),
    stride=st.sampled_from([1, 2, 3, 4, 5]),
    sizes=st.lists(st.integers(1, rdf.LONGEST_AXIS - 1), min_size=1, max_size=50),
)
def test_pixel_sizes_never_make_an_output_one_pixel_too_small(size_um, stride, sizes):
    network = Network(
        heads=(Head(name="output", stride=(stride, stride)),),
        tiling=Tiling(halo=(stride, stride), multiple=(stride, stride)),
    )
    described = rdf.tensors_of(
        contract(network=network, pixel_size_um={"Y": size_um, "X": size_um})
    )
    source, answer = (described[side][0]["axes"][2]["scale"] for side in ("inputs", "outputs"))
    assert source == pytest.approx(size_um, rel=1e-6)
    for size in sizes:
        assert int(size * stride * source / answer) == size


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
        | st.floats(allow_nan=False) | st.from_regex(r"[0-9]+e[0-9]+", fullmatch=True),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
)  # fmt: skip
@settings(deadline=None)
def test_what_is_written_as_yaml_is_read_again(value):
    assert rdf.from_yaml(rdf.to_yaml({"value": value})) == {"value": value}


def test_text_that_looks_like_a_number_stays_text_for_yaml_1_2():
    from bioimageio.spec._internal.io_utils import read_yaml

    text = rdf.to_yaml({"digest": "123e45", "version": "0.5.12", "date": "2026-01-01", "no": "no"})
    assert read_yaml(text.decode()) == {
        "digest": "123e45", "version": "0.5.12", "date": "2026-01-01", "no": "no",
    }  # fmt: skip
