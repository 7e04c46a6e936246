"""Measure fnet where the stain is known: its rows of docs/accuracy.md, as Markdown.

    python -m training.fnet.accuracy --images ../shared/data dapi-2d nuclei-3d

`dapi-2d` is label-free imaging as the paper means it, with one field of view: three
planes in transmitted light (phase, z 2, 5 and 8) and the DAPI stain of the same
field (isl_labelfree). Rows 0 to 447 are learnt from, rows 512 to 639 are judged,
and the rows between are seen by neither.

`nuclei-3d` is made: the stacks are fluorescence (stardist_demo3d), and the stain to
predict is their drawn nuclei, blurred as a microscope would. It shows that stacks
go through, and how much better than the image itself the answer is.

Pearson's r needs no intensity scale. It stands beside that of the image itself, of the
image blurred, and of its local contrast (standard deviation within a Gaussian window),
each with the sigma that is best on the training images.
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

from micserve.codecs import read_image, write_tiff
from micserve.families.base import RestorationParameters
from micserve.image import Image
from micserve.predict import LoadedModel, predict
from training.common.measured import MODEL, Measured, checks_of, write_measured
from training.common.trial import trial
from training.fnet.trainer import FnetTrainer

Float = NDArray[np.float32]
Pair = tuple[Float, Float]
"""(transmitted light, stain)."""
Predicted = Callable[[Float], Float]

PLANES = (2, 5, 8)
LEARNT_ROWS, JUDGED_ROWS = slice(0, 448), slice(512, 640)
WINDOWS = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0)
"""Standard deviation in pixels."""
BLUR = 2.0
"""Voxels, of the made stain."""
STAIN_GREY = 1000
NUCLEUS = 4000


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is learnt from and what is judged."""

    title: str
    ndim: int
    pairs: Callable[[Path], tuple[list[Pair], list[Pair]]]
    parameters: Mapping[str, Any]


def dapi(images: Path) -> tuple[list[Pair], list[Pair]]:
    """All planes in one stack, so that the stain of a validation region is in no training one."""
    folder = images / "isl_labelfree"
    phase = np.stack([read_image(folder / f"phase_z{z:02d}.tif").data for z in PLANES])
    stain = read_image(folder / "dapi_confocal_maxproj.tif").data
    stains = np.broadcast_to(stain, phase.shape)
    learnt = [(phase[:, LEARNT_ROWS], stains[:, LEARNT_ROWS])]
    return learnt, [(plane[JUDGED_ROWS], stain[JUDGED_ROWS]) for plane in phase]


def nuclei(images: Path) -> tuple[list[Pair], list[Pair]]:
    """Four stacks to learn from, two to judge."""
    folder = images / "stardist_demo3d" / "train"

    def pair(number: int) -> Pair:
        name = f"stack_00{number:02d}.tif"
        drawn = read_image(folder / "masks" / name).data > 0
        stain = STAIN_GREY + NUCLEUS * gaussian_filter(drawn.astype(np.float32), BLUR)
        return read_image(folder / "images" / name).data, stain.astype(np.uint16)

    return [pair(number) for number in (0, 5, 10, 15)], [pair(number) for number in (20, 25)]


EXPERIMENTS = {
    "dapi-2d": Experiment(
        "phase contrast → DAPI (isl_labelfree), one field, rows held out",
        ndim=2,
        pairs=dapi,
        parameters={
            "preset": "quick",
            "number_of_epochs": 8,
            "number_of_steps": 20,
            "first_filters": 12,
        },
    ),
    "nuclei-3d": Experiment(
        "stacks → blurred drawn nuclei (stardist_demo3d; made stain)",
        ndim=3,
        pairs=nuclei,
        parameters={"preset": "quick", "number_of_epochs": 8},
    ),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one experiment gave."""

    rows: Sequence[tuple[str, float]]
    """Each method with its r, the network first."""
    seconds: float
    """Of training."""
    checks: Mapping[str, str]


def measure(
    experiment: Experiment, images: Path, console: Console, *, keep: Path | None = None
) -> Outcome:
    """Train, predict, compare."""
    learnt, judged = experiment.pairs(images)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch)
        for number, pair in enumerate(learnt):
            for folder, pixels in zip(("images", "target"), pair, strict=True):
                (data / folder).mkdir(exist_ok=True)
                axes = "ZYX"[-pixels.ndim :]
                write_tiff(Image(np.asarray(pixels), axes), data / folder / f"{number}.tif")
        trainer = FnetTrainer(experiment.ndim)
        with trial(
            trainer, {**experiment.parameters, "data": data}, console=console, keep=keep
        ) as found:
            named = f"fnet, {found.seconds:.0f} s of training"
            network = (named, _mean_r(judged, _network(found.model, experiment.ndim)))
            seconds, checks = found.seconds, checks_of(found.verification)
    flat = [planes for pair in learnt for planes in _frames(pair, experiment.ndim)]
    window = max(WINDOWS, key=lambda sigma: abs(_mean_r(flat, _contrast(sigma))))
    blur = max(WINDOWS, key=lambda sigma: abs(_mean_r(flat, _blurred(sigma))))
    plain: list[tuple[str, Predicted]] = [
        ("the image itself", lambda image: image),
        (f"the image blurred, sigma {blur:g}", _blurred(blur)),
        (f"local contrast, sigma {window:g}", _contrast(window)),
    ]
    rows = [network, *((named, _mean_r(judged, method)) for named, method in plain)]
    return Outcome(rows, seconds, checks)


def pearson(found: Float, truth: Float) -> float:
    """Correlation of grey values."""
    return float(np.corrcoef(found.ravel(), truth.ravel())[0, 1])


def _network(model: LoadedModel, ndim: int) -> Predicted:
    def predicted(pixels: Float) -> Float:
        image = Image(pixels, "ZYX"[-ndim:])
        return np.asarray(predict(image, model, RestorationParameters()).image.data)

    return predicted


def _contrast(sigma: float) -> Predicted:
    def predicted(pixels: Float) -> Float:
        values = pixels.astype(np.float32)
        mean = gaussian_filter(values, sigma)
        return np.sqrt(np.maximum(gaussian_filter(np.square(values), sigma) - mean**2, 0))

    return predicted


def _blurred(sigma: float) -> Predicted:
    def predicted(pixels: Float) -> Float:
        return np.asarray(gaussian_filter(pixels.astype(np.float32), sigma))

    return predicted


def _frames(pair: Pair, ndim: int) -> list[Pair]:
    """A stack that a 2D network learns from, plane by plane."""
    return [pair] if pair[0].ndim == ndim else list(zip(*pair, strict=True))


def _mean_r(pairs: Sequence[Pair], method: Predicted) -> float:
    return float(np.mean([pearson(method(image), stain) for image, stain in pairs]))


def measured(experiment: Experiment, outcome: Outcome) -> Measured:
    """The network beside what needs no training."""
    names = (MODEL, *(method for method, _ in outcome.rows[1:]))
    found = {name: r for name, (_, r) in zip(names, outcome.rows, strict=True)}
    return Measured(
        model=f"fnet {experiment.ndim}D",
        images=experiment.title,
        seconds=outcome.seconds,
        scores={"Pearson's r": found},
        checks=outcome.checks,
    )


HEADER = "| images | method | Pearson's r |\n|---|---|---|"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.fnet.accuracy", description=__doc__)
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
        keep = asked.keep and asked.keep / f"fnet-{name}.zip"
        outcome = measure(experiment, asked.images, console, keep=keep)
        results.append(measured(experiment, outcome))
        for method, r in outcome.rows:
            print(f"| {experiment.title} | {method} | {r:.3f} |", flush=True)
    if asked.json:
        write_measured(asked.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
