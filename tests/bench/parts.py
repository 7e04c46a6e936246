"""What several benchmarks need: the model, the clock, the table."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.artifact.halo import measure_halo
from micserve.backends.onnx import OnnxBackend
from micserve.normalize import FixedZeroMeanUnitVariance
from micserve.predict import LoadedModel

ROOT = Path(__file__).resolve().parents[2]


def a_model(network: Path, *, mean: float = 100.0, std: float = 20.0) -> LoadedModel:
    """The network as a published N2V 2D model would be."""
    halo = measure_halo(network, ndim=2, channels=1, multiple=(4, 4))
    tiling = Tiling(halo=halo, multiple=(4, 4))
    backend = OnnxBackend(network, provider="auto")
    head = Head(name=backend.heads[0], stride=(1, 1))
    contract = ModelContract(
        name="bench",
        family="n2v",
        ndim=2,
        network=Network(heads=(head,), tiling=tiling),
        normalization=FixedZeroMeanUnitVariance(mean=(mean,), std=(std,)),
        restore_range=True,
    )
    return LoadedModel(contract, backend)


def seconds(run: Callable[[], object], *, repeats: int) -> list[float]:
    """Wall-clock seconds of each run, after one that does not count."""
    run()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found


@dataclass(frozen=True, slots=True)
class Cost:
    """The least of some runs; the processor's seconds hold still while other programs work."""

    wall: float
    cpu: float


def cost(run: Callable[[], object], *, repeats: int) -> Cost:
    """Seconds of the fastest run, and processor seconds of all threads of the cheapest one; after
    one run that does not count."""
    run()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Cost(min(walls), min(cpus))


def beside(theirs: Cost, ours: Cost) -> str:
    """Cells of a table: seconds of both and their ratio, then processor seconds alike."""
    pairs = ((theirs.wall, ours.wall), (theirs.cpu, ours.cpu))
    return " | ".join(f"{peer:.2f} | {own:.2f} | {peer / own:.2f}" for peer, own in pairs)


BESIDE = "s | micserve, s | ratio | {peer}, CPU s | micserve, CPU s | ratio"
"""Heads of those cells, less the peer's name in front."""


def shown(runs: list[float]) -> str:
    return f"{statistics.median(runs):.3f} s (" + " ".join(f"{run:.3f}" for run in runs) + ")"


def write_between_marks(document: Path, text: str, *, command: str) -> None:
    """Put what a command prints into a document, between the command's mark and the next end."""
    begin, end = f"<!-- table: {command} -->", "<!-- end of table -->"
    words = document.read_text("utf-8")
    before, _, rest = words.partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def result_of(python: Path, *command: str) -> dict[str, Any]:
    """Run a program of this folder and read the line that it prints."""
    done = subprocess.run(
        [str(python), *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
