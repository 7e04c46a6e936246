"""StarDist beside stardist: the same networks and images, both sides in one run.

`make bench ARGS=stardist`. The fastest of a few runs is taken for both sides, and
the one with the least processor time, which other programs disturb less; peak
memory is that of each side's whole process.
"""

import json
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.artifact.halo import measure_halo
from micserve.backends.onnx import OnnxBackend
from micserve.families.stardist import StarDistParameters
from micserve.image import Image
from micserve.normalize import ScaleRange
from micserve.predict import LoadedModel, predict
from tests.bench.parts import BESIDE, ROOT, Cost, beside, cost, result_of

PEER = ROOT / ".venvs" / "tf" / "bin" / "python"
REPEATS = 5
GOAL = 2.0
CASES = {2: "StarDist 2D, 1024²", 3: "StarDist 3D, 32 × 128 × 128"}


def main() -> None:
    print(f"| network and image | stardist, {BESIDE.format(peer='stardist')} | goal "
          "| stardist, MiB | micserve, MiB | objects | pixels that differ |")  # fmt: skip
    print("|---" * 12 + "|")
    for ndim, name in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            peer = result_of(PEER, "-m", "tests.bench.stardist_reference", folder, str(ndim))
            ours = result_of(Path(sys.executable), "-m", "tests.bench.stardist", folder,
                             json.dumps(peer))  # fmt: skip
        print(
            f"| {name} | {beside(Cost(*peer['cost']), Cost(*ours['cost']))} | ≥ {GOAL} "
            f"| {peer['peak_mib']:.0f} | {ours['peak_mib']:.0f} | {ours['objects']} "
            f"| {ours['differing']} |",
            flush=True,
        )


def ours(folder: Path, peer: dict) -> None:
    """Our side, in a process of its own, so that its peak memory is its own."""
    model = loaded(folder / "net.onnx", peer)
    pixels = np.load(folder / "image.npy")
    image = Image(pixels, "ZYX"[-pixels.ndim :])
    found = cost(lambda: predict(image, model, StarDistParameters()), repeats=REPEATS)
    labels = predict(image, model, StarDistParameters()).image.data
    expected = np.load(folder / "labels.npy")
    facts = {
        "cost": [found.wall, found.cpu],
        "objects": int(labels.max()),
        "differing": int((labels != expected).sum()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print("RESULT " + json.dumps(facts))


def loaded(path: Path, peer: dict) -> LoadedModel:
    grid, multiple = tuple(peer["grid"]), tuple(peer["multiple"])
    ndim = len(grid)
    rays = {"name": "Rays_GoldenSpiral", "kwargs": {"n": 64, "anisotropy": (2.0, 1.0, 1.0)}}
    n_rays = 32 if ndim == 2 else 64
    contract = ModelContract(
        name="peer",
        family="stardist",
        ndim=ndim,
        network=Network(
            heads=(
                Head(name="prob", channels=1, stride=grid),
                Head(name="dist", channels=n_rays, stride=grid),
            ),
            tiling=Tiling(
                halo=measure_halo(path, ndim=ndim, channels=1, multiple=multiple),
                multiple=multiple,
                pad="end",
            ),
        ),
        normalization=ScaleRange(min_percentile=1, max_percentile=99.8),
        parameters={
            "n_rays": n_rays,
            "grid": grid,
            "prob_thresh": peer["prob"],
            "nms_thresh": peer["nms"],
            "anisotropy": (2.0, 1.0, 1.0) if ndim == 3 else None,
            "rays": rays if ndim == 3 else None,
        },
    )
    return LoadedModel(contract, OnnxBackend(path, provider="cpu"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ours(Path(sys.argv[1]), json.loads(sys.argv[2]))
    else:
        main()
