"""CARE beside csbdeep: the same networks and images, both sides in one run.

`make bench ARGS=care`. The fastest of a few runs is taken for both sides, and the one
with the least processor time, which other programs disturb less.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.artifact.halo import measure_halo
from micserve.backends.onnx import OnnxBackend
from micserve.families.care import CareParameters
from micserve.image import Image
from micserve.normalize import ScaleRange
from micserve.predict import LoadedModel, predict
from tests.bench.parts import BESIDE, ROOT, Cost, beside, cost

PEER = ROOT / ".venvs" / "tf" / "bin" / "python"
REPEATS = 3
GOAL = 1.5

CASES = {
    "CARE 2D, 1024²": {"axes": "YX", "probabilistic": True, "depth": 2, "kernel": 5, "filters": 32},
    "CARE 2D of the notebook, 1024²": {
        "axes": "YX",
        "probabilistic": True,
        "depth": 3,
        "kernel": 5,
        "filters": 32,
    },
    "CARE 3D, 32 × 128 × 128": {
        "axes": "ZYX",
        "probabilistic": False,
        "depth": 2,
        "kernel": 3,
        "filters": 32,
    },
}
SHAPES = {"YX": (1024, 1024), "ZYX": (32, 128, 128)}


def main() -> None:
    print(f"| network and image | csbdeep, {BESIDE.format(peer='csbdeep')} | goal | difference |")
    print("|---" * 9 + "|")
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, case, Path(folder)), flush=True)


def row(name: str, case: dict, folder: Path) -> str:
    shape = SHAPES[case["axes"]]
    pixels = np.random.default_rng(0).normal(100, 20, shape).clip(0, 65535).astype(np.uint16)
    np.save(folder / "0.npy", pixels)
    (folder / "asked.json").write_text(json.dumps([{**case, "repeats": 1 + REPEATS}]))
    subprocess.run(
        [PEER, ROOT / "tests" / "support" / "csbdeep_reference.py", folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    theirs = Cost(*np.min(json.loads((folder / "done.json").read_text())[0][1:], axis=0))
    model = loaded(folder / "0.onnx", case)
    image = Image(pixels, case["axes"])
    ours = cost(lambda: predict(image, model, CareParameters()), repeats=REPEATS)
    expected = np.load(folder / "0-mean.npy")
    result = predict(image, model, CareParameters()).image.data
    difference = np.abs(result - expected).max() / np.ptp(expected)
    return f"| {name} | {beside(theirs, ours)} | ≥ {GOAL} | {difference:.0e} of the range |"


def loaded(path: Path, case: dict) -> LoadedModel:
    ndim = len(case["axes"])
    multiple = (2 ** case["depth"],) * ndim
    backend = OnnxBackend(path, provider="cpu")
    contract = ModelContract(
        name="peer",
        family="care",
        ndim=ndim,
        network=Network(
            heads=tuple(Head(name=head, stride=(1,) * ndim) for head in backend.heads),
            tiling=Tiling(
                halo=measure_halo(path, ndim=ndim, channels=1, multiple=multiple), multiple=multiple
            ),
        ),
        normalization=ScaleRange(min_percentile=2, max_percentile=99.8),
        restore_range=True,
    )
    return LoadedModel(contract, backend)


if __name__ == "__main__":
    main()
