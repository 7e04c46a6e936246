"""Measure U-Net on images with drawn masks: its rows of docs/accuracy.md, as Markdown.

    python -m training.unet.accuracy --images ../shared/data membranes-2d nuclei-3d

Each experiment trains small with files that are not measured, packs the model as
the trainer does, and predicts with the packed ONNX network as the service does.
Beside it stands Otsu's threshold on the smoothed image, with its sigma and side
(dark or bright) chosen as well as can be on the training images.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu
from skimage.measure import label

from micserve.codecs import read_image
from micserve.families.unet import UNetParameters
from micserve.predict import LoadedModel, predict
from training.common.measured import MODEL, Measured, checks_of, write_measured
from training.common.trial import trial
from training.unet.trainer import UNetTrainer

Mask = NDArray[np.bool_]
Found = Callable[[Path], Mask]
Scored = tuple[str, Mapping[str, float]]
"""A method and its scores."""

SIGMAS = (0.0, 1.0, 2.0, 3.0)
"""Pixels."""

COLUMNS = ("IoU", "Dice", "IoU of the background", "Rand (foreground)")


@dataclass(frozen=True, slots=True)
class Experiment:
    """Files below the folder of images; `train` and `test` have none in common."""

    title: str
    ndim: int
    images: str
    masks: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    parameters: Mapping[str, Any]
    rand: bool = False
    """Whether the objects are regions between thin membranes, for which Rand's score was made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one experiment gave."""

    rows: Sequence[Scored]
    """Each method with its scores, the network first."""
    seconds: float
    """Of training."""
    checks: Mapping[str, str]


EXPERIMENTS = {
    "membranes-2d": Experiment(
        "cells between membranes, EM (isbi2012_em)",
        ndim=2,
        images="isbi2012_em/image",
        masks="isbi2012_em/label",
        train=tuple(f"{n}.png" for n in range(16)),
        test=tuple(f"{n}.png" for n in range(16, 20)),
        parameters={
            "number_of_epochs": 12,
            "number_of_steps": 30,
            "patch_size": 128,
            "batch_size": 6,
            "first_filters": 12,
            "pooling_steps": 3,
            "initial_learning_rate": 2e-3,
        },
        rand=True,
    ),
    "nuclei-3d": Experiment(
        "nuclei in stacks (stardist_demo3d)",
        ndim=3,
        images="stardist_demo3d/train/images",
        masks="stardist_demo3d/train/masks",
        train=tuple(f"stack_00{n:02d}.tif" for n in (0, 5, 10, 15)),
        test=tuple(f"stack_00{n:02d}.tif" for n in (20, 25)),
        parameters={
            "preset": "quick",
            "mask_type": "binary",
            "number_of_epochs": 8,
        },
    ),
}


def measure(
    experiment: Experiment, images: Path, console: Console, *, keep: Path | None = None
) -> Outcome:
    """Train, predict, compare."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch)
        for folder, source in (("images", experiment.images), ("masks", experiment.masks)):
            (data / folder).mkdir()
            for name in experiment.train:
                (data / folder / name).symlink_to((images / source / name).absolute())
        trainer = UNetTrainer(experiment.ndim)
        with trial(
            trainer, {**experiment.parameters, "data": data}, console=console, keep=keep
        ) as found:
            threshold = found.model.contract.parameters["threshold"]
            network = f"U-Net, {found.seconds:.0f} s of training, threshold {threshold:g}"
            rows = [(network, _scores(experiment, images, _network(found.model)))]
            seconds, checks = found.seconds, checks_of(found.verification)
    sigma, dark = _best_otsu(experiment, images)
    side = "dark" if dark else "bright"
    named = f"Otsu, {side} side, Gaussian sigma {sigma:g}"
    plain = (named, _scores(experiment, images, _otsu(sigma, dark)))
    return Outcome((*rows, plain), seconds, checks)


def intersection_over_union(found: Mask, truth: Mask) -> float:
    return float((found & truth).sum() / max((found | truth).sum(), 1))


def dice(found: Mask, truth: Mask) -> float:
    return float(2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1))


def rand_score(found: Mask, truth: Mask) -> float:
    """Foreground-restricted Rand F-score of the ISBI 2012 challenge.

    Regions are connected components; only pixels that are region in the truth count. The
    challenge thins the membranes of both first, which is not done here.

    References
    ----------
    .. [1] Arganda-Carreras et al. 2015, doi:10.3389/fnana.2015.00142.
    """
    its, true = label(found, connectivity=1)[truth], label(truth, connectivity=1)[truth]
    together = np.unique(np.stack([its, true]), axis=1, return_counts=True)[1].astype(float)
    squares = [np.square(np.bincount(part).astype(float)).sum() for part in (its, true)]
    return float(np.square(together).sum() / (sum(squares) / 2))


def _network(model: LoadedModel) -> Found:
    def found(path: Path) -> Mask:
        asked = UNetParameters(result="mask")
        return np.asarray(predict(read_image(path), model, asked).image.data > 0)

    return found


def _otsu(sigma: float, dark: bool) -> Found:
    def found(path: Path) -> Mask:
        smooth = gaussian_filter(read_image(path).data.astype(np.float32), sigma)
        above = np.asarray(smooth > threshold_otsu(smooth))
        return ~above if dark else above

    return found


def _best_otsu(experiment: Experiment, images: Path) -> tuple[float, bool]:
    """Sigma and side with the best overlap on the training images."""
    choices = [(sigma, dark) for sigma in SIGMAS for dark in (False, True)]

    def overlap(choice: tuple[float, bool]) -> float:
        method = _otsu(*choice)
        return float(
            np.mean([
                intersection_over_union(
                    method(images / experiment.images / name), _truth(experiment, images, name)
                )
                for name in experiment.train
            ])
        )  # fmt: skip

    return max(choices, key=overlap)


def _scores(experiment: Experiment, images: Path, found: Found) -> dict[str, float]:
    """Means over the judged images, by the titles of `COLUMNS`."""
    values: dict[str, list[float]] = {title: [] for title in COLUMNS}
    for name in experiment.test:
        truth = _truth(experiment, images, name)
        mask = found(images / experiment.images / name)
        values["IoU"].append(intersection_over_union(mask, truth))
        values["Dice"].append(dice(mask, truth))
        values["IoU of the background"].append(intersection_over_union(~mask, ~truth))
        if experiment.rand:
            values["Rand (foreground)"].append(rand_score(mask, truth))
    return {title: float(np.mean(each)) for title, each in values.items() if each}


def _row(experiment: Experiment, method: str, scores: Mapping[str, float]) -> str:
    means = [f"{scores[title]:.3f}" if title in scores else "" for title in COLUMNS]
    return f"| {experiment.title} | {method} | {' | '.join(means)} |"


def measured(experiment: Experiment, outcome: Outcome) -> Measured:
    """The network beside the plain threshold."""
    rows = outcome.rows
    names = (MODEL, *(method for method, _ in rows[1:]))
    return Measured(
        model=f"U-Net {experiment.ndim}D",
        images=experiment.title,
        seconds=outcome.seconds,
        scores={
            title: {name: scores[title] for name, (_, scores) in zip(names, rows, strict=True)}
            for title in rows[0][1]
        },
        checks=outcome.checks,
    )


def _truth(experiment: Experiment, images: Path, name: str) -> Mask:
    return np.asarray(read_image(images / experiment.masks / name).data > 0)


HEADER = f"| images | method | {' | '.join(COLUMNS)} |\n|{'---|' * (2 + len(COLUMNS))}"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.unet.accuracy", description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--keep", type=Path, help="folder for the models' packages")
    asked = parser.parse_args(arguments)
    console = Console(stderr=True)
    results = []
    print(HEADER)
    for name in asked.names or EXPERIMENTS:
        experiment = EXPERIMENTS[name]
        keep = asked.keep and asked.keep / f"unet-{name}.zip"
        outcome = measure(experiment, asked.images, console, keep=keep)
        results.append(measured(experiment, outcome))
        print("\n".join(_row(experiment, *row) for row in outcome.rows), flush=True)
    if asked.json:
        write_measured(asked.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
