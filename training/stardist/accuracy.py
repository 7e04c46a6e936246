"""Measure what StarDist finds of the objects that people drew: its tables of docs/accuracy.md.

    python -m training.stardist.accuracy --images ../shared/data 2d 3d

Each experiment trains, packs the model as the trainer does, and predicts with the
packed ONNX network as the service does. Nothing is published. The baseline is what
one gets without learning: a threshold and a watershed.
"""

import argparse
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed
from stardist.matching import matching_dataset

from micserve.codecs import read_image
from micserve.predict import LoadedModel, predict
from training.common.measured import MODEL, Measured, checks_of, write_measured
from training.common.trial import trial
from training.stardist.trainer import StarDistTrainer

Labels = NDArray[Any]

OVERLAPS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Intersection over union from which an object counts as found."""

DISTANCES = (2, 3, 4, 6, 8, 11)
"""Least pixels between two seeds of the watershed; the baseline takes the best of them."""

SMOOTHING = 1.0
"""Standard deviation in pixels, before the baseline's threshold."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Files, by their names in `images` and `masks`; none is in both parts."""

    title: str
    folder: str
    ndim: int
    held_back: int
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one experiment gave: per method, AP at each of `OVERLAPS`."""

    found: Mapping[str, tuple[float, ...]]
    seconds: float
    """Of training."""
    images: int
    objects: int
    sentence: str
    checks: Mapping[str, str] = field(default_factory=dict)


EXPERIMENTS: Mapping[str, Experiment] = {
    "2d": Experiment(
        "dsb2018, fluorescence",
        "dsb2018_train160",
        2,
        30,
        {
            "preset": "quick",
            "number_of_epochs": 60,
            "number_of_steps": 80,
            "initial_learning_rate": 1e-3,
        },
    ),
    "3d": Experiment(
        "stardist_demo3d",
        "stardist_demo3d/train",
        3,
        2,
        {
            "preset": "quick",
            "percentage_validation": 25,
            "number_of_epochs": 8,
            "number_of_steps": 50,
            "batch_size": 2,
            "patch_size": 64,
            "grid_parameter": 2,
            "unet_n_depth": 2,
            "unet_n_first": 16,
            "use_data_augmentation": False,
            "initial_learning_rate": 2e-3,
        },
    ),
}


def measure(
    experiment: Experiment, images: Path, console: Console, *, keep: Path | None = None
) -> Outcome:
    """Train, pack, predict, compare."""
    folder = images / experiment.folder
    names = sorted(path.name for path in (folder / "images").glob("*.tif"))
    held = set(random.Random(0).sample(names, experiment.held_back))
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch)
        for kind in ("images", "masks"):
            (data / kind).mkdir()
            for name in set(names) - held:
                (data / kind / name).symlink_to((folder / kind / name).absolute())
        asked = {**experiment.parameters, "ndim": experiment.ndim, "data": data}
        with trial(StarDistTrainer(experiment.ndim), asked, console=console, keep=keep) as trained:
            pairs = [(folder / "images" / n, folder / "masks" / n) for n in sorted(held)]
            found = judge(trained.model, pairs, seconds=trained.seconds)
            return replace(found, checks=checks_of(trained.verification))


def judge(model: LoadedModel, pairs: Sequence[tuple[Path, Path]], *, seconds: float) -> Outcome:
    """Predictions and baseline beside what was drawn."""
    images = [read_image(image) for image, _ in pairs]
    truths = [np.asarray(read_image(mask).data).astype(np.int32) for _, mask in pairs]
    ours = [
        np.asarray(predict(image, model, model.family.parameters()).image.data).astype(np.int32)
        for image in images
    ]
    plain, distance = best_baseline([np.asarray(image.data) for image in images], truths)
    return Outcome(
        found={
            f"threshold and watershed (seeds {distance} pixels apart)": precision(truths, plain),
            "StarDist": precision(truths, ours),
        },
        seconds=seconds,
        images=len(truths),
        objects=sum(len(np.unique(truth)) - 1 for truth in truths),
        sentence="thresholds "
        + ", ".join(
            f"{name} {model.contract.parameters[name]:.2f}"
            for name in ("prob_thresh", "nms_thresh")
        ),
    )


def precision(truths: Sequence[Labels], found: Sequence[Labels]) -> tuple[float, ...]:
    """TP / (TP + FN + FP) of each image, and their mean, as in the StarDist paper."""
    return tuple(
        float(
            matching_dataset(
                truths, found, thresh=overlap, by_image=True, show_progress=False
            ).accuracy
        )
        for overlap in OVERLAPS
    )


def best_baseline(
    images: Sequence[NDArray[Any]], truths: Sequence[Labels]
) -> tuple[list[Labels], int]:
    """The baseline with the seeds' distance that is best on these very images: as good as it can
    be, and better than it would be for anybody who has no truth."""
    tried = {d: [split_by_watershed(image, distance=d) for image in images] for d in DISTANCES}
    best = max(DISTANCES, key=lambda d: float(np.mean(precision(truths, tried[d]))))
    return tried[best], best


def split_by_watershed(image: NDArray[Any], *, distance: int) -> Labels:
    """Otsu's threshold, then a watershed from the middles of what is above it."""
    smooth = gaussian(image.astype(np.float32), SMOOTHING, preserve_range=True)
    inside = ndimage.binary_fill_holes(smooth > threshold_otsu(smooth))
    depth = ndimage.distance_transform_edt(inside)
    peaks = peak_local_max(depth, min_distance=distance, labels=inside.astype(np.int32))
    seeds = np.zeros(image.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-depth, seeds, mask=inside))


def measured(experiment: Experiment, outcome: Outcome) -> Measured:
    """AP at the least overlaps that matter for counting, and for measuring."""
    names = {name: MODEL if name == "StarDist" else name for name in outcome.found}
    return Measured(
        model=f"StarDist {experiment.ndim}D",
        images=f"{experiment.title}; {outcome.images} images with {outcome.objects} objects",
        seconds=outcome.seconds,
        scores={
            f"AP at IoU {overlap}": {
                names[name]: values[place] for name, values in outcome.found.items()
            }
            for place, overlap in enumerate(OVERLAPS)
        },
        checks=outcome.checks,
    )


def table(outcome: Outcome) -> str:
    """As the document has it."""
    heads = " | ".join(f"AP at IoU {overlap}" for overlap in OVERLAPS)
    rows = [f"| method | {heads} |", "|---" * (len(OVERLAPS) + 1) + "|"]
    for name, values in outcome.found.items():
        rows.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |")
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.stardist.accuracy", description=__doc__
    )
    parser.add_argument("--images", type=Path, required=True, help="folder with the data sets")
    parser.add_argument(
        "names", nargs="+", choices=EXPERIMENTS, metavar="EXPERIMENT", help=", ".join(EXPERIMENTS)
    )
    parser.add_argument("--epochs", type=int, help="train for longer than the tables say")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--keep", type=Path, help="folder for the models' packages")
    asked = parser.parse_args(arguments)
    console = Console(stderr=True)
    results = []
    for name in asked.names:
        experiment = EXPERIMENTS[name]
        if asked.epochs:
            longer = {**experiment.parameters, "number_of_epochs": asked.epochs}
            experiment = replace(experiment, parameters=longer)
        keep = asked.keep and asked.keep / f"stardist-{name}.zip"
        outcome = measure(experiment, asked.images, console, keep=keep)
        results.append(measured(experiment, outcome))
        sys.stdout.write(
            f"\n{experiment.title}: {outcome.images} images with {outcome.objects} objects held "
            f"back, trained in {outcome.seconds:.0f} s, {outcome.sentence}\n\n{table(outcome)}\n"
        )
        sys.stdout.flush()
    if asked.json:
        write_measured(asked.json, results)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", module="(csbdeep|stardist|keras|tensorflow)")
    sys.exit(main(sys.argv[1:]))
