"""A package passes when everything is right, and each thing that can be wrong is found."""

from collections.abc import Callable, Mapping
from datetime import UTC
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from micserve.artifact.verify import Run, Verification, verify_package
from micserve.errors import VerificationError
from micserve.normalize import ScaleRange
from tests.support.networks import NetworkBuilder, small_unet, star_network
from tests.support.packages import small_package

CHECKS = [
    "integrity",
    "description",
    "agreement",
    "bioimage.io test",
    "test tensors",
    "halo",
    "tiled equals whole",
]


def network_of(path: Path) -> Run:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    heads = [head.name for head in session.get_outputs()]

    def run(batch: np.ndarray) -> Mapping[str, np.ndarray]:
        return dict(zip(heads, session.run(None, {"input": batch}), strict=True))

    return run


def failed(verification: Verification) -> list[str]:
    return [check.name for check in verification.checks if not check.passed]


def test_a_right_package_passes_every_check(tmp_path):
    path = small_package(tmp_path / "model.zip")
    verification = verify_package(path, network_of=network_of)
    assert [check.name for check in verification.checks] == CHECKS
    assert verification.passed, failed(verification)
    assert verification.when.tzinfo is UTC
    assert verification.versions["bioimageio.core"] == "0.11.0"
    assert Verification.model_validate_json(verification.model_dump_json()) == verification
    verification.require_passed()


@pytest.mark.parametrize(
    "arguments",
    [
        lambda folder: {"ndim": 3},
        lambda folder: {
            "onnx": star_network(folder / "star.onnx", rays=4),
            "heads": {"prob": 1, "dist": 4},
            "multiple": 2,
            "stride": 2,
            "normalization": ScaleRange(),
            "restore_range": False,
        },
        lambda folder: {
            "onnx": small_unet(folder / "norm.onnx", bottleneck=lambda n, x: n.instance_norm(x))
        },
    ],
    ids=["3d", "coarse heads", "global"],
)
def test_packages_of_every_kind_pass(tmp_path, arguments: Callable[[Path], dict]):
    path = small_package(tmp_path / "model.zip", **arguments(tmp_path))
    verification = verify_package(path, network_of=network_of)
    assert verification.passed, [c.sentence for c in verification.checks if not c.passed]


@pytest.mark.parametrize(("halo", "tiles_differ"), [((8, 12), True), ((16, 16), False)])
def test_a_halo_that_is_not_the_networks_is_found(tmp_path, halo, tiles_differ):
    path = small_package(tmp_path / "model.zip", halo=halo)
    verification = verify_package(path, network_of=network_of)
    assert failed(verification) == ["halo"] + ["tiled equals whole"] * tiles_differ
    check = next(c for c in verification.checks if c.name == "halo")
    assert check.measured == {
        "stated": " × ".join(map(str, halo)) + " pixels far",
        "measured": "12 × 12 pixels far",
    }


def test_a_network_that_knows_where_it_is_cannot_pass(tmp_path):
    """Its halo looks small, but a tile's pixels are not where the image's are."""
    net = NetworkBuilder()
    width = net.op("Shape", "input", start=3, end=4)
    ends = [net.constant(np.array(v)) for v in (0, 1)]
    ramp = net.op("Range", ends[0], net.op("Squeeze", width), ends[1])
    scaled = net.op("Mul", net.op("Cast", ramp, to=1), net.constant(np.float32(0.01)))
    x = net.op("Add", net.conv("input", 1), scaled)
    path = small_package(
        tmp_path / "model.zip", onnx=net.save(tmp_path / "ramp.onnx", {"output": x}), multiple=1
    )
    assert failed(verify_package(path, network_of=network_of)) == ["tiled equals whole"]


def test_a_test_output_of_another_network_is_found_by_both_libraries(tmp_path):
    wrong = np.random.default_rng(0).normal(100, 20, (1, 1, 40, 40))
    path = small_package(tmp_path / "model.zip", test_output={"output": wrong})
    verification = verify_package(path, network_of=network_of)
    assert failed(verification) == ["bioimage.io test", "test tensors"]
    with pytest.raises(VerificationError, match="did not pass 2 of 7 checks"):
        verification.require_passed()


def test_a_damaged_file_fails_its_integrity_and_is_looked_at_no_further(tmp_path):
    path = small_package(tmp_path / "model.zip")
    path.write_bytes(path.read_bytes()[:-100])
    verification = verify_package(path, network_of=network_of)
    assert [check.name for check in verification.checks] == failed(verification) == ["integrity"]


def test_other_bytes_than_the_published_ones_fail_the_integrity(tmp_path):
    path = small_package(tmp_path / "model.zip")
    verification = verify_package(path, network_of=network_of, digest="0" * 64)
    assert failed(verification) == ["integrity"]
    assert "was published" in verification.checks[0].sentence


def test_a_file_that_is_not_there_fails_its_integrity(tmp_path):
    verification = verify_package(tmp_path / "absent.zip", network_of=network_of)
    assert failed(verification) == ["integrity"]
    assert verification.digest == ""


def test_a_network_that_answers_other_heads_is_found(tmp_path):
    def renaming(path: Path) -> Run:
        run = network_of(path)
        return lambda batch: {"other": run(batch)["output"]}

    path = small_package(tmp_path / "model.zip")
    verification = verify_package(path, network_of=renaming)
    assert failed(verification) == ["test tensors", "tiled equals whole"]
    assert "expected ['output']" in verification.checks[4].sentence
