"""Measure what Noise2Void reaches on images with a ground truth: the tables of docs/accuracy.md.

    python -m training.n2v.accuracy --images ../shared/data spots w2s-0 w2s-1 w2s-2

Each experiment trains with a preset, packs the model as the trainer does, and
predicts with the packed ONNX network as the service does. Nothing is published.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from micserve.codecs import read_image
from micserve.predict import LoadedModel, predict
from micserve.qc import RestorationCase, RestorationReport, evaluate_restoration
from training.common.degraded import demo_stacks
from training.common.measured import MODEL, Measured, checks_of, write_measured
from training.common.trial import trial
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
    ndim: Literal[2, 3] = 2
    """In 3D, StarDist's demo stacks are degraded; they need no names."""


@dataclass(frozen=True, slots=True)
class Outcome:
    report: RestorationReport
    seconds: float
    """Of training: building the network and all epochs."""
    checks: Mapping[str, str]


MEASURES = {
    "spots": ("snr_db",),
    "spots-batch-norm": ("snr_db",),
    "demo3d": ("scale_invariant_psnr_db", "ssim"),
}
"""What is printed of an experiment; of the others, the scale-invariant PSNR."""

MEASURE_TITLES = {
    "snr_db": "SNR, dB",
    "scale_invariant_psnr_db": "scale-invariant PSNR, dB",
    "ssim": "SSIM",
}


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
    found["demo3d"] = Experiment(
        "degraded demo stacks",
        (),
        (),
        parameters={"preset": "quick"},
        ndim=3,
    )
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


def measure(
    experiment: Experiment, images: Path, console: Console, *, keep: Path | None = None
) -> Outcome:
    """Train, pack, predict, compare."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = folder / "data"
        data.mkdir()
        train, test = _files(experiment, images, folder)
        for path in train:
            (data / path.name).symlink_to(path.absolute())
        asked = {**experiment.parameters, "ndim": experiment.ndim, "data": data}
        with trial(Noise2VoidTrainer(experiment.ndim), asked, console=console, keep=keep) as found:
            cases = [_case(found.model, noisy, truth) for noisy, truth in test]
            checks = checks_of(found.verification)
            return Outcome(evaluate_restoration(cases), found.seconds, checks)


def _files(
    experiment: Experiment, images: Path, scratch: Path
) -> tuple[list[Path], list[tuple[Path, Path]]]:
    """What to learn from, and (noisy, ground truth) to judge."""
    if experiment.ndim == 3:
        train, test = demo_stacks(images, scratch)
        return [noisy for noisy, _ in train], test
    return (
        [images / name for name in experiment.train],
        [(images / noisy, images / truth) for noisy, truth in experiment.test],
    )


def _case(model: LoadedModel, noisy: Path, truth: Path) -> RestorationCase:
    source, target = read_image(noisy), read_image(truth)
    restored = predict(source, model, model.family.parameters()).image
    return RestorationCase(noisy.name, restored.data, target.data, source.data)


def numbers(outcome: Outcome) -> dict[str, Any]:
    """Per image and method, SNR and scale-invariant PSNR in dB."""
    return {
        "seconds": round(outcome.seconds, 1),
        "checks": outcome.checks,
        "gaussian": next(m.label for m in outcome.report.methods if m.key == "gaussian"),
        "images": {
            image.name: {
                key: {
                    "snr_db": found.whole.snr_db,
                    "scale_invariant_psnr_db": found.whole.scale_invariant_psnr_db,
                    "ssim": found.whole.ssim,
                }
                for key, found in image.results.items()
            }
            for image in outcome.report.images
        },
    }


def measured(experiment: Experiment, found: Mapping[str, Any], keys: Sequence[str]) -> Measured:
    """Means over the judged images."""
    methods = {MODEL: "prediction", "noisy": "input", found["gaussian"]: "gaussian"}
    images = list(found["images"].values())
    return Measured(
        model=f"Noise2Void {experiment.ndim}D",
        images=experiment.title,
        seconds=found["seconds"],
        scores={
            MEASURE_TITLES[key]: {
                title: float(np.mean([image[method][key] for image in images]))
                for title, method in methods.items()
            }
            for key in keys
        },
        checks=found["checks"],
    )


def table(found: Mapping[str, Any], measure_key: str) -> str:
    """As the document has it."""
    decimals = 3 if measure_key == "ssim" else 2
    rows = [f"| image | noisy | {found['gaussian']} | N2V |", "|---|---|---|---|"]
    for name, methods in found["images"].items():
        keys = ("input", "gaussian", "prediction")
        values = [f"{methods[key][measure_key]:.{decimals}f}" for key in keys]
        rows.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> int:
    known = experiments()
    parser = argparse.ArgumentParser(prog="python -m training.n2v.accuracy", description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder with mri_spots and w2s")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--keep", type=Path, help="folder for the models' packages")
    parser.add_argument(
        "names", nargs="+", choices=known, metavar="EXPERIMENT", help=", ".join(known)
    )
    asked = parser.parse_args(arguments)
    console = Console(stderr=True)
    results: list[Measured] = []
    for name in asked.names:
        keep = asked.keep and asked.keep / f"n2v-{name}.zip"
        found = numbers(measure(known[name], asked.images, console, keep=keep))
        keys = MEASURES.get(name, ("scale_invariant_psnr_db",))
        results.append(measured(known[name], found, keys))
        for key in keys:
            title = f"{known[name].title}: {key}, trained in {found['seconds']:.0f} s"
            sys.stdout.write(f"\n{title}\n\n{table(found, key)}\n")
        sys.stdout.flush()
    if asked.json:
        write_measured(asked.json, results)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
