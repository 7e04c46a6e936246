"""The objects of `predict_instances`, one for one, from ONNX Runtime and tiles.

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

EDGE_PIXELS = 1e-3
"""Share of the objects' pixels: one whose centre lies on an outline may fall to either side."""

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


def counterparts(labels, expected):
    """(largest label + 1,) the expected label that each label shares most pixels with."""
    both = np.stack([labels, expected])[:, labels > 0].astype(int)
    pairs, counts = np.unique(both, axis=1, return_counts=True)
    there = np.zeros(labels.max() + 1, int)
    for label, other in pairs[:, np.argsort(counts)].T:
        there[label] = other
    return there


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.7, 1.3])
def test_objects_are_those_of_predict_instances(expected, backend, contract, name, scale, tiled):
    for number, image in images(expected):
        tile = TILES[name] if tiled else None
        labels, objects = find(image, backend.run, contract, tile=tile, scale=scale)
        wanted = expected[f"labels{number}_{scale}"]
        scores = expected[f"scores{number}_{scale}"]
        # Two objects whose scores differ in the seventh digit may swap their numbers.
        there = counterparts(labels, wanted)
        assert sorted(there[objects.labels]) == sorted(set(wanted.flat) - {0})
        assert (there[labels] != wanted).sum() <= EDGE_PIXELS * (wanted > 0).sum()
        rows = there[objects.labels] - 1
        np.testing.assert_allclose(objects.scores, scores[rows], atol=NETWORK_TOLERANCE)
        if objects.outlines is not None:
            corners = expected[f"coord{number}_{scale}"][rows].transpose(0, 2, 1)
            # Pixels; distances of up to 20 are sums of thousands of products in float32.
            np.testing.assert_allclose(objects.outlines, corners, atol=1e-3)


def test_the_reference_holds_many_objects(expected):
    # Another processor may train another network.
    assert expected["labels0_1.0"].max() > 10
    assert np.array_equal(expected["labels0_1.0"], expected["tiled0"])


@pytest.mark.parametrize("kind", ["labels", "crowded"])
def test_the_same_network_output_gives_the_same_labels_to_the_last_pixel(
    expected, contract, facts, name, kind
):
    """Candidates, suppression and painting alone, on TensorFlow's own numbers."""
    ndim = len(GRIDS[name])
    for number, image in images(expected):
        prob, dist = expected[f"prob{number}"], expected[f"dist{number}"]

        def run(batch, prob=prob, dist=dist):
            steps = [n // g for n, g in zip(batch.shape[2:], GRIDS[name], strict=True)]
            # `predict` has cropped what was padded; candidates there are dropped anyway.
            missing = [(0, s - n) for s, n in zip(steps, prob.shape, strict=True)]
            rays_first = np.moveaxis(np.pad(dist, [*missing, (0, 0)]), ndim, 0)
            return {"prob": np.pad(prob, missing)[None, None], "dist": rays_first[None]}

        thresholds = facts["crowded"][name] if kind == "crowded" else {}
        labels, _ = find(image, run, contract, **thresholds)
        wanted = {"crowded": f"crowded{number}", "labels": f"labels{number}_1.0"}[kind]
        assert np.array_equal(labels, expected[wanted])
