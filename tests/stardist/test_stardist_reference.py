"""The labels of `predict_instances`, object for object, from ONNX Runtime and tiles.

The training environment makes small models, exports them and runs stardist's
own prediction; a folder that `reference_run.py` has filled before may be named
by MICSERVE_STARDIST_REFERENCE.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from micserve.backends.onnx import OnnxBackend
from tests.stardist.driving import a_contract, find

ROOT = Path(__file__).resolve().parents[2]
TRAINING_PYTHON = ROOT / ".venvs" / "tf" / "bin" / "python"
GRIDS = {"flat": (2, 2), "deep": (1, 2, 2)}
TILES = {"flat": 160, "deep": 64}

NETWORK_TOLERANCE = 2e-6
"""Of scores between 0 and 1: TensorFlow and ONNX Runtime sum in another order."""

CROWDED = {"prob_thresh": 0.04, "nms_thresh": 0.6}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if "MICSERVE_STARDIST_REFERENCE" in os.environ:
        return Path(os.environ["MICSERVE_STARDIST_REFERENCE"])
    if not TRAINING_PYTHON.exists():
        pytest.skip("needs the TensorFlow training environment: make setup-tf")
    made = tmp_path_factory.mktemp("stardist-reference")
    script = Path(__file__).with_name("reference_run.py")
    done = subprocess.run(
        [TRAINING_PYTHON, script, made], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return made


@pytest.fixture(scope="module")
def facts(folder):
    return json.loads((folder / "facts.json").read_text())


@pytest.fixture(scope="module", params=["flat", "deep"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def expected(folder, name):
    return dict(np.load(folder / f"{name}.npz"))


@pytest.fixture(scope="module")
def backend(folder, name):
    return OnnxBackend(folder / f"{name}.onnx", provider="cpu", threads=2)


@pytest.fixture(scope="module")
def contract(facts, name):
    prob, nms = facts["thresholds"][name]
    multiple = tuple(facts["divisor"][name])
    halo = tuple(-(-o // m) * m for o, m in zip(facts["overlap"][name], multiple, strict=True))
    return a_contract(
        grid=GRIDS[name],
        multiple=multiple,
        halo=halo,
        prob=prob,
        nms=nms,
        rays=facts["rays"] if name == "deep" else None,
    )


def images(expected):
    return [(n, expected[f"normal{n}"][None]) for n in range(9) if f"normal{n}" in expected]


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.7, 1.5])
def test_labels_are_those_of_predict_instances(expected, backend, contract, name, scale, tiled):
    for number, image in images(expected):
        labels, objects = find(
            image, backend.run, contract, tile=TILES[name] if tiled else None, scale=scale
        )
        assert np.array_equal(labels, expected[f"labels{number}_{scale}"])
        scores = expected[f"scores{number}_{scale}"]
        np.testing.assert_allclose(
            objects.scores, scores[objects.labels - 1], atol=NETWORK_TOLERANCE
        )
        if objects.outlines is not None:
            corners = expected[f"coord{number}_{scale}"][objects.labels - 1].transpose(0, 2, 1)
            # Pixels; distances of up to 20 are sums of thousands of products in float32.
            np.testing.assert_allclose(objects.outlines, corners, atol=1e-3)


def test_the_reference_holds_many_objects(expected):
    assert expected["labels0_1.0"].max() > 20
    assert np.array_equal(expected["labels0_1.0"], expected["tiled0"])


def test_other_thresholds_give_what_they_give_in_stardist(expected, backend, contract):
    for number, image in images(expected):
        labels, _ = find(image, backend.run, contract, **CROWDED)
        assert np.array_equal(labels, expected[f"crowded{number}"])


def test_the_same_network_output_gives_the_same_objects_to_the_last_digit(expected, contract, name):
    """Candidates, suppression and painting alone, on TensorFlow's own numbers."""
    prob, dist = expected["prob0"], expected["dist0"]

    def run(batch):
        return {"prob": pad(prob, batch)[None, None], "dist": pad(dist, batch).transpose(
            (len(GRIDS[name]), *range(len(GRIDS[name]))))[None]}  # fmt: skip

    def pad(values, batch):
        """`predict` crops what was padded; candidates there are dropped anyway."""
        steps = [n // g for n, g in zip(batch.shape[2:], GRIDS[name], strict=True)]
        missing = [(0, s - n) for s, n in zip(steps, values.shape, strict=False)]
        return np.pad(values, missing + [(0, 0)] * (values.ndim - len(missing)))

    labels, objects = find(expected["normal0"][None], run, contract)
    assert np.array_equal(labels, expected["labels0_1.0"])
    assert np.array_equal(objects.scores, expected["scores0_1.0"][objects.labels - 1])
