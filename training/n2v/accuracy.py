"""Measure what Noise2Void reaches on images with a ground truth: the tables of docs/accuracy.md.

    python -m training.n2v.accuracy --images ../shared/data spots w2s-0 w2s-1 w2s-2

Each experiment trains with a preset, packs the model as the trainer does, and
predicts with the packed ONNX network as the service does. Nothing is published.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from micserve.artifact.package import open_package
from micserve.backends.onnx import OnnxBackend
from micserve.codecs import read_image
from micserve.predict import LoadedModel, predict
from micserve.qc import RestorationCase, RestorationReport, evaluate_restoration
from training.common import machine
from training.common.config import assemble
from training.common.flow import effective
from training.common.loop import fit
from training.common.package import pack
from training.common.progress import Display
from training.common.report import Training
from training.common.state import RunFolder
from training.common.stopping import stop_on_signals
from training.n2v.trainer import Noise2VoidTrainer

SHORT_BATCH_NORM = {
    "preset": "zerocost",
    "number_of_epochs": 5,
    "number_of_steps": 15,
    "batch_size": 8,
}
"""Where batch norm's moving averages have not settled: worse than the noisy image without care."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Files below the folder of images; `train` and `test` have no file in common."""

    title: str
    train: tuple[str, ...]
    test: tuple[tuple[str, str], ...]
    """(noisy, ground truth)."""
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    report: RestorationReport
    seconds: float
    """Of training: building the network and all epochs."""


class Unrecorded:
    """A `Run` that nobody reads."""

    id = "accuracy"

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_progress(self, fraction: float, phase: str, seconds_left: float | None) -> None: ...

    def log_file(self, path: Path, folder: str = "") -> None: ...

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None: ...


def experiments() -> dict[str, Experiment]:
    spots = "mri_spots/evaluation"
    slides = {
        "train": tuple(f"mri_spots/training/spots_{n}.tif" for n in (1, 2)),
        "test": tuple(
            (f"{spots}/input/spots_{n}.tif", f"{spots}/gt/spots_{n}.tif") for n in (3, 4, 5)
        ),
    }
    found = {
        "spots": Experiment("spots of the slides, quick", **slides, parameters={"preset": "quick"}),
        "spots-batch-norm": Experiment(
            "spots of the slides, 75 steps with batch norm", **slides, parameters=SHORT_BATCH_NORM
        ),
    }
    for channel in (0, 1, 2):
        pairs = {
            field: (
                f"w2s/noisy_avg1/00{field}_{channel}.tif",
                f"w2s/clean_avg400/00{field}_{channel}.tif",
            )
            for field in range(1, 9)
        }
        found[f"w2s-{channel}"] = Experiment(
            f"W2S channel {channel}, quick",
            train=tuple(pairs[field][0] for field in range(1, 6)),
            test=tuple(pairs[field] for field in range(6, 9)),
            parameters={"preset": "quick"},
        )
    return found


def measure(experiment: Experiment, images: Path, console: Console) -> Outcome:
    """Train, pack, predict, compare."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = folder / "data"
        data.mkdir()
        for name in experiment.train:
            (data / Path(name).name).symlink_to((images / name).absolute())
        package, seconds = _train(experiment, data, folder, console)
        opened = open_package(package, into=folder / "opened")
        model = LoadedModel(opened.contract, OnnxBackend(opened.onnx, provider="cpu"))
        cases = [_case(model, images / noisy, images / truth) for noisy, truth in experiment.test]
        return Outcome(evaluate_restoration(cases), seconds)


def _case(model: LoadedModel, noisy: Path, truth: Path) -> RestorationCase:
    source, target = read_image(noisy), read_image(truth)
    restored = predict(source, model, model.family.parameters()).image
    return RestorationCase(noisy.name, restored.data, target.data, source.data)


def _train(
    experiment: Experiment, data: Path, folder: Path, console: Console
) -> tuple[Path, float]:
    trainer = Noise2VoidTrainer()
    flags = {**experiment.parameters, "data": data, "name": "accuracy"}
    asked = assemble(trainer.config, trainer.presets, flags=flags)
    config = asked.config
    dataset = trainer.data(config)
    plan = trainer.plan(config, dataset)
    run = RunFolder(folder, Unrecorded.id)
    run.path.mkdir(parents=True)
    started = time.monotonic()
    learner = trainer.learner(config, plan, dataset)
    with (
        stop_on_signals() as stop,
        Display(epochs=plan.epochs, steps=plan.steps, done=0, console=console) as display,
    ):
        history = fit(learner, plan, folder=run, run=Unrecorded(), display=display, stop=stop)
    seconds = time.monotonic() - started
    learner.load_weights(run.best())
    training = Training(
        title=trainer.title,
        name=config.name,
        run_id=Unrecorded.id,
        finished=datetime.now(UTC),
        preset=asked.preset,
        requested={},
        effective=effective(config, plan),
        notes=plan.notes,
        manifest=dataset.manifest,
        history=history,
        weights=config.weights,
        hardware=machine.hardware(learner.device),
        versions=machine.versions(trainer.versions()),
        methods="",
        citations=trainer.citations,
        halo=None,
    )
    return pack(trainer, learner, config, dataset, training, folder=folder).path, seconds


def numbers(outcome: Outcome) -> dict[str, Any]:
    """Per image and method, SNR and scale-invariant PSNR in dB."""
    return {
        "seconds": round(outcome.seconds, 1),
        "gaussian": next(m.label for m in outcome.report.methods if m.key == "gaussian"),
        "images": {
            image.name: {
                key: {
                    "snr_db": found.whole.snr_db,
                    "scale_invariant_psnr_db": found.whole.scale_invariant_psnr_db,
                }
                for key, found in image.results.items()
            }
            for image in outcome.report.images
        },
    }


def table(found: Mapping[str, Any], measure_key: str) -> str:
    """As the document has it."""
    rows = [f"| image | noisy | {found['gaussian']} | N2V |", "|---|---|---|---|"]
    for name, methods in found["images"].items():
        values = [f"{methods[key][measure_key]:.2f}" for key in ("input", "gaussian", "prediction")]
        rows.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> int:
    known = experiments()
    parser = argparse.ArgumentParser(prog="python -m training.n2v.accuracy", description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder with mri_spots and w2s")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument(
        "names", nargs="+", choices=known, metavar="EXPERIMENT", help=", ".join(known)
    )
    asked = parser.parse_args(arguments)
    console = Console(stderr=True)
    results = {}
    for name in asked.names:
        found = numbers(measure(known[name], asked.images, console))
        results[name] = found
        key = "scale_invariant_psnr_db" if name.startswith("w2s") else "snr_db"
        title = f"{known[name].title}: {key}, trained in {found['seconds']:.0f} s"
        sys.stdout.write(f"\n{title}\n\n{table(found, key)}\n")
        sys.stdout.flush()
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
