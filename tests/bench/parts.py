"""What several benchmarks need: the model, the clock, the table."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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


def shown(runs: list[float]) -> str:
    return f"{statistics.median(runs):.3f} s (" + " ".join(f"{run:.3f}" for run in runs) + ")"


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
