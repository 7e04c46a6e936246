"""Measure what CARE reaches on images with a ground truth: its tables of docs/accuracy.md.

    python -m training.care.accuracy --images ../shared/data 2d 3d

Each experiment trains, packs the model as the trainer does, and predicts with the
packed ONNX network as the service does. Nothing is published.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from micserve.codecs import read_image
from micserve.predict import LoadedModel, predict
from micserve.qc import RestorationCase, RestorationReport, Scores, evaluate_restoration
from training.care.trainer import CareTrainer
from training.common.degraded import demo_stacks
from training.common.measured import MODEL, Measured, checks_of, write_measured
from training.common.trial import trial


@dataclass(frozen=True, slots=True)
class Pairs:
    """(noisy, clean) files; `train` and `test` have none in common."""

    train: Sequence[tuple[Path, Path]]
    test: Sequence[tuple[Path, Path]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one experiment gave."""

    report: RestorationReport
    seconds: float
    """Of training."""
    checks: Mapping[str, str]


def w2s(images: Path) -> Pairs:
    """Fields 1 to 5 of all three channels to learn from, 6 to 8 to judge."""
    found = [
        (path, images / "w2s" / "clean_avg400" / path.name)
        for path in sorted((images / "w2s" / "noisy_avg1").glob("00[1-8]_*.tif"))
    ]
    learnt = [pair for pair in found if int(pair[0].name[:3]) <= 5]
    return Pairs(learnt, [pair for pair in found if pair not in learnt])


def stacks(images: Path, scratch: Path) -> Pairs:
    """StarDist's demo stacks, degraded: four to learn from, two to judge."""
    train, test = demo_stacks(images, scratch)
    return Pairs(train, test)


PARAMETERS: Mapping[int, Mapping[str, Any]] = {
    2: {
        "preset": "quick",
        "number_of_epochs": 40,
        "number_of_steps": 80,
        "initial_learning_rate": 1e-3,
        "probabilistic": False,
        "train_loss": "mae",
        "unet_residual": False,
    },
    3: {
        "preset": "quick",
        "number_of_epochs": 16,
        "number_of_steps": 50,
        "probabilistic": False,
        "train_loss": "mae",
        "unet_residual": False,
    },
}


IMAGES = {
    2: "W2S, real noise, fields 6 to 8 of three channels",
    3: "degraded demo stacks",
}


def measure(
    ndim: int, pairs: Pairs, scratch: Path, console: Console, *, keep: Path | None = None
) -> Outcome:
    """Train, pack, predict, compare."""
    for kind, number in (("noisy", 0), ("clean", 1)):
        folder = scratch / "data" / kind
        folder.mkdir(parents=True)
        for pair in pairs.train:
            (folder / pair[number].name).symlink_to(pair[number].absolute())
    asked = {**PARAMETERS[ndim], "ndim": ndim, "data": scratch / "data"}
    with trial(CareTrainer(ndim), asked, console=console, keep=keep) as found:
        cases = [case(found.model, noisy, clean) for noisy, clean in pairs.test]
        checks = checks_of(found.verification)
        return Outcome(evaluate_restoration(cases), found.seconds, checks)


def case(model: LoadedModel, noisy: Path, clean: Path) -> RestorationCase:
    source, target = read_image(noisy), read_image(clean)
    restored = predict(source, model, model.family.parameters()).image
    return RestorationCase(noisy.name, restored.data, target.data, source.data)


def measured(ndim: int, outcome: Outcome) -> Measured:
    """Means over the judged images."""
    best = next(m.label for m in outcome.report.methods if m.key == "gaussian")
    methods = {MODEL: "prediction", "noisy": "input", best: "gaussian"}

    def means(value: Callable[[Scores], float | None]) -> dict[str, float]:
        return {
            title: float(
                np.mean([value(image.results[key].whole) for image in outcome.report.images])
            )
            for title, key in methods.items()
        }

    return Measured(
        model=f"CARE {ndim}D",
        images=IMAGES[ndim],
        seconds=outcome.seconds,
        scores={
            "scale-invariant PSNR, dB": means(lambda whole: whole.scale_invariant_psnr_db),
            "SSIM": means(lambda whole: whole.ssim),
        },
        checks=outcome.checks,
    )


def table(outcome: Outcome) -> str:
    """As the document has it: scale-invariant PSNR in dB, and SSIM."""
    best = next(m.label for m in outcome.report.methods if m.key == "gaussian")
    keys = ("input", "gaussian", "prediction")
    rows = [
        f"Trained in {outcome.seconds:.0f} s.",
        "",
        f"| image | PSNR: noisy | {best} | CARE | SSIM: noisy | {best} | CARE |",
        "|---|---|---|---|---|---|---|",
    ]
    for image in outcome.report.images:
        found = [image.results[key].whole for key in keys]
        psnr = [f"{whole.scale_invariant_psnr_db:.2f}" for whole in found]
        ssim = [f"{whole.ssim:.3f}" for whole in found]
        rows.append(f"| {image.name} | {' | '.join([*psnr, *ssim])} |")
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.care.accuracy", description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder with the test images")
    parser.add_argument("names", nargs="+", choices=("2d", "3d"))
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--keep", type=Path, help="folder for the models' packages")
    asked = parser.parse_args(arguments)
    results = []
    for name in asked.names:
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            pairs = w2s(asked.images) if name == "2d" else stacks(asked.images, scratch)
            keep = asked.keep and asked.keep / f"care-{name}.zip"
            outcome = measure(int(name[0]), pairs, scratch, Console(stderr=True), keep=keep)
        results.append(measured(int(name[0]), outcome))
        sys.stdout.write(f"\nCARE {name.upper()}. {table(outcome)}\n")
        sys.stdout.flush()
    if asked.json:
        write_measured(asked.json, results)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
