"""`make bench`: speed and memory as ratios, both sides measured in one run on one machine.

Prints the raw numbers and a Markdown table of ratios against their goals. Timings
of a machine that does other work mean nothing: run it alone.
"""

import argparse
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from micserve.families.base import RestorationParameters
from micserve.image import Image
from micserve.predict import predict
from tests.bench import care, fiji, idle, served, stardist, trust_cost
from tests.bench.over_http import http_seconds
from tests.bench.parts import ROOT, a_model, result_of, seconds, shown

OTHERS = {
    "care": care.main,
    "stardist": stardist.main,
    "served": served.main,
    "idle": idle.main,
    "fiji": fiji.main,
    "trust": trust_cost.main,
}
SIDE = 2048
REPEATS = 3
MEMORY_SIZES = (1024, 2048, 4096, 8192)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One line of the result."""

    what: str
    value: float
    goal: float

    def __str__(self) -> str:
        met = "met" if self.value >= self.goal else "**missed**"
        return f"| {self.what} | {self.value:.2f} | ≥ {self.goal:.2f} | {met} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=["n2v", *OTHERS], default="n2v",
        help="the family that is compared with its peer (care and stardist need make setup-tf); "
        "served: the models of make accuracy through the running stack; idle: what the running "
        "stack takes while nobody uses it; fiji: what a macro in ImageJ adds; trust: "
        "what the trust light costs",
    )  # fmt: skip
    parser.add_argument("--sizes", type=int, nargs="*", default=MEMORY_SIZES)
    asked = parser.parse_args()
    if asked.what != "n2v":
        OTHERS[asked.what]()
        return 0
    say(f"{platform.machine()}, {platform.system()}, ONNX Runtime {onnxruntime.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        ratios = compare(Path(folder), tuple(asked.sizes))
    say("\n| ratio | measured | goal | |\n|---|---|---|---|")
    for ratio in ratios:
        say(str(ratio))
    return 0


def compare(folder: Path, sizes: tuple[int, ...]) -> list[Ratio]:
    grey = np.random.default_rng(0).normal(100, 20, (SIDE, SIDE)).clip(0, 65535).astype(np.uint16)
    np.save(folder / "image.npy", grey)
    say(f"\nThe n2v package's predict, {SIDE}² 16 bit:")
    peer = result_of(ROOT / ".venvs/n2v/bin/python", "tests/bench/n2v_reference.py", str(folder))
    for tiles, runs in peer["seconds"].items():
        say(f"  n_tiles {tiles:<16} {shown(runs)}")
    model = a_model(folder / "n2v.onnx", mean=peer["mean"], std=peer["std"])
    say(f"  its network's halo, measured: {model.contract.network.tiling.halo} pixels")

    batch = ((grey.astype(np.float32) - peer["mean"]) / np.float32(peer["std"]))[None, None]
    whole = seconds(lambda: model.backend.run(batch), repeats=REPEATS)
    image = Image(grey, "YX")
    ours = seconds(lambda: predict(image, model, RestorationParameters()), repeats=REPEATS)
    result = predict(image, model, RestorationParameters()).image.data
    difference = np.abs(result - np.load(folder / "n2v.npy")).max() / np.ptp(result)
    say(f"\nmicserve in one process, on {model.backend.device}:")
    say(f"  ONNX Runtime, whole image     {shown(whole)}")
    say(f"  micserve.predict, tiled       {shown(ours)}")
    say(f"  largest difference to the n2v package: {difference:.1e} of the range")

    over_http, in_process = http_seconds(grey, folder / "n2v.onnx", repeats=REPEATS)
    say(f"\nOver HTTP, {SIDE}² 16 bit TIFF in, 32 bit TIFF out, through gateway and service:")
    say(f"  bytes to bytes in one process {shown(in_process)}")
    say(f"  over HTTP                     {shown(over_http)}")

    say("\nPeak memory, 16 bit file to 32 bit file:")
    for size in sizes:
        used = result_of(
            Path(sys.executable), "-m", "tests.bench.memory", str(folder / "n2v.onnx"), str(size)
        )
        say(f"  {size:>6}²   {used['peak_mib']:8.0f} MiB   ({size * size * 6 >> 20} MiB of files)")
    fastest_peer = min(statistics.median(runs) for runs in peer["seconds"].values())
    median = statistics.median
    return [
        Ratio("tiled ÷ whole-image ONNX Runtime, throughput", median(whole) / median(ours), 0.90),
        Ratio(
            "HTTP end to end ÷ in-process, throughput", median(in_process) / median(over_http), 0.90
        ),
        Ratio("micserve ÷ n2v package's predict, throughput", fastest_peer / median(ours), 1.5),
    ]


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
