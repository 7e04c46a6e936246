"""The training of the N2V slides: two noisy images to learn from, three to predict.

    python -m training.n2v.spots_training --out folder [--images ../shared/data/mri_spots]

Trains on the slides' own images, or on ours (seeded) where those are not there.
After some epochs the network's SNR on the three images is measured, so that a
reader sees how many epochs it takes; training itself never sees their ground
truth. Leaves `noisy/`, `clean/` and `prediction/` with the same file names,
`training.json`, the package and the training report. Publishes nothing.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from micserve.codecs import read_image, write_tiff
from micserve.errors import CancelledError
from micserve.files import publish_file
from micserve.image import Image
from micserve.normalize import fit
from micserve.predict import predict
from micserve.qc import snr
from micserve.synthetic import SpotsRecipe, spots_series
from training.common.learner import Learner
from training.common.machine import hardware
from training.common.trial import trial
from training.n2v.trainer import Noise2VoidTrainer

STOPPED = 130
"""Exit status of what Ctrl-C ended."""
SEED = 2021
"""Of our own images."""
SLIDES_TITLE = "the images of the slides"
TRAINED, JUDGED = ("spots_1", "spots_2"), ("spots_3", "spots_4", "spots_5")
SIZE = 800
"""Pixels along each side, as on the slides."""
EARLY = (1, 2, 5)
"""Epochs after which the SNR is measured besides every `EVERY`th."""
EVERY = 10


@dataclass(frozen=True, slots=True)
class Material:
    """Where the images lie, below one folder: `train/`, `noisy/`, `clean/`."""

    folder: Path
    title: str

    def pairs(self) -> Iterator[tuple[str, Image, Image]]:
        """(name, noisy, clean) of the images to judge."""
        for name in JUDGED:
            noisy = read_image(self.folder / "noisy" / f"{name}.tif")
            yield name, noisy, read_image(self.folder / "clean" / f"{name}.tif")


def slides_images(images: Path, folder: Path) -> Material:
    """Copies of the slides' own images."""
    for name in TRAINED:
        _copy(images / "training" / f"{name}.tif", folder / "train")
    for name in JUDGED:
        _copy(images / "evaluation" / "input" / f"{name}.tif", folder / "noisy")
        _copy(images / "evaluation" / "gt" / f"{name}.tif", folder / "clean")
    return Material(folder, SLIDES_TITLE)


def our_images(folder: Path, *, size: int = SIZE) -> Material:
    """Five images like the slides', the same ones every time; spots as many per pixel."""
    like = SpotsRecipe.slides()
    share = (size / SIZE) ** 2
    recipe = replace(
        like,
        width=size,
        height=size,
        small_count=round(like.small_count * share),
        large_count=round(like.large_count * share),
    )
    for part in ("train", "noisy", "clean", "spots"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    made = spots_series(recipe, count=5, seed=SEED)
    for name, image in zip((*TRAINED, *JUDGED), made, strict=True):
        noisy = Image(image.noisy, "YX")
        if name in TRAINED:
            write_tiff(noisy, folder / "train" / f"{name}.tif")
            continue
        write_tiff(noisy, folder / "noisy" / f"{name}.tif")
        write_tiff(Image(image.clean, "YX"), folder / "clean" / f"{name}.tif")
        rows = [",".join(f"{value:g}" for value in row.values()) for row in image.table()]
        head = ",".join(image.table()[0])
        (folder / "spots" / f"{name}.csv").write_text("\n".join([head, *rows, ""]))
    return Material(folder, f"our own images (made with seed {SEED})")


def _copy(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / source.name)


@dataclass(slots=True)
class SnrByEpoch:
    """Measures the network on the judged images while it learns."""

    pairs: Sequence[tuple[str, Image, Image]]
    last: int
    """The number of the last epoch, which is always measured."""
    found: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    """Spent here, to be taken off the training time."""

    def __call__(self, learner: Learner, epoch: int) -> None:
        if epoch not in (*EARLY, self.last) and epoch % EVERY:
            return
        started = time.monotonic()
        row: dict[str, float] = {"epoch": epoch}
        for name, noisy, clean in self.pairs:
            row[name] = snr(_restored(learner, noisy.data), clean.data)
        self.found.append(row)
        self.seconds += time.monotonic() - started


def _restored(learner: Learner, noisy: NDArray[Any]) -> NDArray[np.float32]:
    """(Y, X), both multiples of the network's stride, through the framework's own network."""
    affine = fit(noisy[None], learner.normalization)
    [head] = learner.run(affine.apply(noisy[None])[None]).values()
    restored: NDArray[np.float32] = affine.invert(head[0])[0]
    return restored


def train(material: Material, asked: Mapping[str, Any], out: Path, console: Console) -> None:
    """Train, predict, and leave everything in `out`."""
    pairs = list(material.pairs())
    watch = SnrByEpoch(pairs, int(asked["number_of_epochs"]))
    parameters = {**asked, "data": material.folder / "train"}
    with trial(Noise2VoidTrainer(2), parameters, console=console, watch=watch) as found:
        (out / "prediction").mkdir(parents=True, exist_ok=True)
        for name, noisy, _ in pairs:
            restored = predict(noisy, found.model, found.model.family.parameters()).image
            write_tiff(restored, out / "prediction" / f"{name}.tif")
        shutil.copyfile(found.package, out / "model.zip")
        shutil.copyfile(found.report, out / f"training_report{found.report.suffix}")
        record = {
            "title": material.title,
            "parameters": {key: str(value) for key, value in asked.items()},
            "seconds": round(found.seconds - watch.seconds, 1),
            "hardware": dict(hardware("the CPU")),
            "epochs": [{"epoch": one.epoch, **one.metrics} for one in found.history],
            "snr_db": watch.found,
        }
    with publish_file(out / "training.json") as part:
        part.write_text(json.dumps(record, indent=1), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.n2v.spots_training")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--images", type=Path, help="the slides' mri_spots; else ours are made")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--size", type=int, default=SIZE, help="of our own images, in pixels")
    known = parser.parse_args(arguments)
    out: Path = known.out
    out.mkdir(parents=True, exist_ok=True)
    # Written last: while it is missing, what lies there is of no finished training.
    (out / "training.json").unlink(missing_ok=True)
    if known.images is None:
        material = our_images(out, size=known.size)
    else:
        material = slides_images(known.images, out)
    asked = {"preset": known.preset, "number_of_epochs": known.epochs, "patch_size": 64}
    console = Console(stderr=True)
    console.print(f"Noise2Void on {material.title}, {known.epochs} epochs", highlight=False)
    try:
        train(material, asked, out, console)
    except CancelledError as error:
        console.print(str(error))
        return STOPPED
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
