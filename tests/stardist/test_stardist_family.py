"""What StarDist may be asked, what its packages must say, and what it refuses in words."""

import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import zoom

from micserve.artifact.contract import Head, Network, Tiling
from micserve.errors import PackageError, ParameterError
from micserve.families.stardist import StarDist, StarDistParameters
from micserve.families.stardist.facts import build_rays, read_facts
from micserve.normalize import Affine
from tests.stardist.driving import a_contract

GOLDEN = {"name": "Rays_GoldenSpiral", "kwargs": {"n": 32, "anisotropy": [2.0, 1.0, 1.0]}}


def search(**asked):
    return StarDist().work(a_contract(grid=(2, 2)), StarDistParameters(**asked))


def test_thresholds_are_the_models_own_unless_others_are_asked_for():
    contract = a_contract(grid=(2, 2), prob=0.61, nms=0.25)
    family = StarDist()
    own = family.effective(contract, StarDistParameters())
    assert own.items() >= {"prob_thresh": 0.61, "nms_thresh": 0.25, "scale": 1.0}.items()
    wanted = {"prob_thresh": 0.0, "nms_thresh": 0.9, "scale": 0.5, "channel": 2}
    assert family.effective(contract, StarDistParameters(**wanted)).items() >= wanted.items()


@pytest.mark.parametrize(
    "wrong", [{"prob_thresh": 1.2}, {"nms_thresh": -0.1}, {"scale": 0}, {"probThresh": 0.5}]
)
def test_values_out_of_range_and_unknown_names_are_refused(wrong):
    with pytest.raises(ValidationError):
        StarDistParameters(**wrong)


def test_every_parameter_explains_itself():
    for name, entry in StarDistParameters.model_json_schema()["properties"].items():
        assert entry["description"].endswith("."), name


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32"])
@pytest.mark.parametrize("scale", [0.5, 0.7, 1.5])
def test_scaling_before_normalising_is_normalising_before_scaling(dtype, scale):
    grey = np.random.default_rng(0).integers(0, 255, (2, 108, 61)).astype(dtype)
    affine = Affine(np.float32([11.0, 30.0]), np.float32([200.0, 77.0]))
    seen = search(scale=scale).prepare(grey, affine)
    expected = [zoom(channel, scale, order=1) for channel in affine.apply(grey)]
    assert seen.dtype == np.float32
    # Two roundings to float32 of grey values near 255, then divided by 77.
    np.testing.assert_allclose(affine.apply(seen), expected, atol=1e-6)


def test_an_image_that_is_not_scaled_is_not_copied():
    frame = np.zeros((1, 8, 8), np.uint8)
    affine = Affine(np.zeros(1, np.float32), np.ones(1, np.float32))
    assert search().prepare(frame, affine) is frame


@pytest.mark.parametrize(("scale", "side"), [(0.01, 30), (16, 6000)])
def test_a_scale_that_leaves_nothing_or_too_much_is_refused(scale, side):
    frame = np.broadcast_to(np.uint8(0), (1, side, side))
    affine = Affine(np.zeros(1, np.float32), np.ones(1, np.float32))
    with pytest.raises(ParameterError, match="nearer to 1"):
        search(scale=scale).prepare(frame, affine)


def heads(*, rays=32, stride=(2, 2), pad="end"):
    return Network(
        heads=(
            Head(name="prob", channels=1, stride=stride),
            Head(name="dist", channels=rays, stride=stride),
        ),
        tiling=Tiling(halo=(8, 8), multiple=(8, 8), pad=pad),
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parameters": {"n_rays": 32}}, "grid: Field required"),
        ({"network": heads(rays=64)}, "of 32 rays"),
        ({"network": heads(stride=(1, 1))}, r"has the grid \(2, 2\)"),
        ({"network": heads(pad="split")}, "move its grid"),
        (
            {
                "parameters": {
                    "n_rays": 32, "grid": (2, 2), "prob_thresh": 0.5, "nms_thresh": 0.4,
                    "rays": GOLDEN,
                }
            },
            "3D models name their rays",
        ),
    ],
)  # fmt: skip
def test_a_package_that_does_not_fit_its_network_is_refused_with_the_reason(changes, reason):
    contract = a_contract(grid=(2, 2)).model_copy(update=changes)
    with pytest.raises(PackageError, match=reason):
        read_facts(contract)


def test_rays_are_built_from_names_that_are_known_and_from_no_code():
    facts = read_facts(a_contract(grid=(1, 2, 2), rays=GOLDEN))
    assert len(build_rays(facts)) == 32
    with pytest.raises(PackageError, match=r"rays\.name"):
        read_facts(a_contract(grid=(1, 2, 2), rays={"name": "print", "kwargs": {}}))
    few = read_facts(a_contract(grid=(1, 2, 2), rays=GOLDEN | {"kwargs": {"n": 16}}))
    with pytest.raises(PackageError, match="are 16, but its network has 32"):
        build_rays(few)
    wrong = read_facts(a_contract(grid=(1, 2, 2), rays=GOLDEN | {"kwargs": {"m": 16}}))
    with pytest.raises(PackageError, match="cannot be built"):
        build_rays(wrong)


def test_finishing_an_image_loads_no_training_framework():
    program = (
        "import sys\n"
        "import micserve.families.stardist\n"
        "assert 'stardist' not in sys.modules, 'loaded before it is needed'\n"
        "import micserve.families.stardist.shapes\n"
        "print(sorted({'tensorflow', 'keras', 'torch', 'stardist.models'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
