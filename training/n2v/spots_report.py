"""The N2V slides' experiment on one page: every figure, and the numbers beside the slides'.

    python -m training.n2v.spots_report folder … --out folder

Each folder is what `training.n2v.spots_training` left. Judges the predictions with
the quality control that everybody uses, leaves its full report in `folder/qc`, and
writes `reproduction.html` (one file for screen and print), `reproduction.md` and
`pictures/`. Trains nothing, so it may run anywhere.
"""

import argparse
import base64
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from micserve.codecs import read_image
from micserve.files import publish_file
from micserve.image import Image
from micserve.qc import (
    About,
    Picture,
    RestorationReport,
    Scores,
    draw_pictures,
    evaluate_restoration,
    imagej_blur_8bit,
    mae,
    psnr,
    rmse,
    snr,
)
from micserve.serving.report_files import read_case, write_report
from training.n2v.spots_figures import training_curves
from training.n2v.spots_training import JUDGED, SLIDES_TITLE

TEMPLATE = Path(__file__).with_name("spots_report.html")
SHOWN = "spots_5"
"""The image that the slides show and measure."""
EPFL = ("snr_db", "psnr_db", "rmse_grey", "mae_grey")
EPFL_TITLES = ("SNR, dB", "PSNR, dB", "RMSE, grey", "MAE, grey")
DECIMALS = (2, 2, 3, 3)

SLIDES: Mapping[str, tuple[float, ...]] = {
    "noisy": (19.20405144, 26.77276932, 8.52853583, 6.72216094),
    "gaussian": (34.12542003, 41.69413791, 1.53040385, 1.08228281),
    "n2v": (38.72119838, 46.28991626, 0.90160670, 0.58652819),
}
"""What the slides report for spots_5, measured there with EPFL's SNR plugin for ImageJ."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: who measured what, in the order of `EPFL`."""

    what: str
    values: tuple[float | None, ...]
    slides: bool = False
    """Whether the slides say so; else it was measured now."""

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(
            "–" if value is None else f"{value:.{decimals}f}"
            for value, decimals in zip(self.values, DECIMALS, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Figure:
    title: str
    caption: str
    alt: str
    file: str
    png: bytes

    @property
    def address(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True, slots=True)
class Experiment:
    """One training, judged; what the template shows."""

    key: str
    title: str
    trained: str
    rows: tuple[Row, ...]
    """Of spots_5."""
    methods: tuple[str, ...]
    snr_rows: tuple[tuple[str, tuple[str, ...]], ...]
    """(image, SNR in dB of each method)."""
    reached: str
    verdict: str
    spots: str
    figures: tuple[Figure, ...]


def judge(folder: Path) -> Experiment:
    """Compare, draw, and leave the full report in `folder/qc`.

    The true spots are those that the detector finds in the clean images, for ours too: their
    table also has spots that others cover, and some too small to be seen even without noise.
    """
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    report, truths = _compared(folder)
    about = About(
        title="Noise2Void on synthetic spots",
        made_at=datetime.now(UTC),
        details=(("Images", record["title"]), ("Training", _trained(record))),
    )
    write_report(report, folder / "qc", about=about, truths=truths)
    is_slides = record["title"] == SLIDES_TITLE
    return Experiment(
        key=folder.name,
        title=record["title"],
        trained=_trained(record),
        rows=tuple(_rows(report, folder, is_slides=is_slides)),
        methods=tuple(method.label for method in report.methods),
        snr_rows=tuple(
            (image.name, tuple(_decibel(found.whole) for found in image.results.values()))
            for image in report.images
        ),
        reached=_reached(record["snr_db"]) if is_slides else "",
        verdict=report.summary.verdict.sentence,
        spots=report.summary.verdict.spots,
        figures=tuple(_figures(report, record, folder.name, is_slides=is_slides)),
    )


def _compared(folder: Path) -> tuple[RestorationReport, dict[str, Image]]:
    cases, truths = [], {}
    for name in JUDGED:
        file = f"{name}.tif"
        case, truths[file] = read_case(
            file,
            prediction=folder / "prediction" / file,
            target=folder / "clean" / file,
            source=folder / "noisy" / file,
        )
        cases.append(case)
    return evaluate_restoration(cases), truths


def _trained(record: Mapping[str, Any]) -> str:
    asked, machine = record["parameters"], record["hardware"]
    return (
        f"{asked['number_of_epochs']} epochs of the preset {asked['preset']} with patches of "
        f"{asked['patch_size']} px in {record['seconds']:.0f} s on {machine['device']} "
        f"({machine['processor']}, {machine['cores']} cores); kept is the network of epoch "
        f"{_kept(record['epochs'])}, which has the lowest validation loss"
    )


def _kept(epochs: Sequence[Mapping[str, float]]) -> str:
    return f"{min(epochs, key=lambda row: row['val_loss'])['epoch']:.0f}"


def _rows(report: RestorationReport, folder: Path, *, is_slides: bool) -> Iterator[Row]:
    [image] = [one for one in report.images if one.name == f"{SHOWN}.tif"]
    whole = {key: found.whole for key, found in image.results.items()}
    if is_slides:
        yield Row("Noisy image", SLIDES["noisy"], slides=True)
    yield Row("Noisy image", _epfl(whole["input"]))
    if is_slides:
        yield Row("Gaussian σ = 2 px in ImageJ", SLIDES["gaussian"], slides=True)
    yield Row("Gaussian σ = 2 px as ImageJ does it on 8 bit", _imagej(folder))
    for method in report.methods:
        if method.sweep is not None:
            yield Row(f"{method.label}, the best of a sweep", _epfl(whole[method.key]))
    if is_slides:
        yield Row("Noise2Void", SLIDES["n2v"], slides=True)
    yield Row("Noise2Void", _epfl(whole["prediction"]))


def _epfl(scores: Scores) -> tuple[float | None, ...]:
    return tuple(getattr(scores, key) for key in EPFL)


def _imagej(folder: Path) -> tuple[float | None, ...]:
    noisy = np.asarray(read_image(folder / "noisy" / f"{SHOWN}.tif").data, dtype=np.uint8)
    truth = read_image(folder / "clean" / f"{SHOWN}.tif").data
    blurred = imagej_blur_8bit(noisy, sigma=2.0)
    return tuple(measure(blurred, truth) for measure in (snr, psnr, rmse, mae))


def _decibel(scores: Scores) -> str:
    return "–" if scores.snr_db is None else f"{scores.snr_db:.2f}"


def _reached(found: Sequence[Mapping[str, float]]) -> str:
    """How many epochs it takes to the slides' SNR, as far as it was looked."""
    mark = SLIDES["n2v"][0]
    looked = ", ".join(f"{row['epoch']:.0f}" for row in found)
    said = f"The SNR of {SHOWN} was measured after epoch {looked}."
    above = [row[SHOWN] >= mark for row in found]
    if not any(above):
        best = max(found, key=lambda row: row[SHOWN])
        return (
            f"{said} It never reached the slides' {mark:.2f} dB; the highest was "
            f"{best[SHOWN]:.2f} dB after epoch {best['epoch']:.0f}."
        )
    first = found[above.index(True)]
    said += f" It first reached the slides' {mark:.2f} dB at epoch {first['epoch']:.0f}"
    below = [index for index, reached in enumerate(above) if not reached]
    last = below[-1] if below else -1
    if last < above.index(True):
        return f"{said} ({first[SHOWN]:.2f} dB), and was never below it afterwards."
    if last == len(found) - 1:
        return f"{said} ({first[SHOWN]:.2f} dB), but ended below it: {found[-1][SHOWN]:.2f} dB."
    return (
        f"{said} ({first[SHOWN]:.2f} dB), fell below it again, and was above it from epoch "
        f"{found[last + 1]['epoch']:.0f} on."
    )


def _figures(
    report: RestorationReport, record: Mapping[str, Any], key: str, *, is_slides: bool
) -> Iterator[Figure]:
    [image] = [one for one in report.images if one.name == f"{SHOWN}.tif"]
    gaussian = image.results["gaussian"].whole.snr_db if "gaussian" in image.results else None
    marks = {} if gaussian is None else {f"{SHOWN}, best Gaussian": gaussian}
    if is_slides:
        marks[f"{SHOWN}, N2V of the slides"] = SLIDES["n2v"][0]
    yield Figure(
        "Training",
        "Left: the loss that the network was trained with, on the hidden pixels of the noisy "
        "images. Right: SNR of the three images that it never learnt from, measured while it "
        "learnt; training did not see their ground truth.",
        "Loss and SNR by epoch.",
        f"{key}-training.png",
        training_curves(record["epochs"], record["snr_db"], marks),
    )
    for picture in draw_pictures(report, images=[image.name]):
        yield _figure(picture, key)


def _figure(picture: Picture, key: str) -> Figure:
    title = f"{picture.title}: {SHOWN}" if picture.image else picture.title
    return Figure(title, picture.caption, picture.alt, f"{key}-{picture.kind}.png", picture.png)


def write(experiments: Sequence[Experiment], out: Path) -> Path:
    """The page, its text and its pictures; the address of the page."""
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    for figure in (figure for one in experiments for figure in one.figures):
        (out / "pictures" / figure.file).write_bytes(figure.png)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        experiments=experiments, titles=EPFL_TITLES, shown=SHOWN
    )
    for name, text in (("reproduction.html", page), ("reproduction.md", markdown(experiments))):
        with publish_file(out / name) as part:
            part.write_text(text, encoding="utf-8")
    return out / "reproduction.html"


def markdown(experiments: Sequence[Experiment]) -> str:
    """The tables and pictures as a document can take them."""
    lines: list[str] = []
    for one in experiments:
        lines += [f"## {one.title[:1].upper()}{one.title[1:]}", "", f"Trained {one.trained}.", ""]
        lines += [_line((SHOWN, "who says so", *EPFL_TITLES)), "|---" * (2 + len(EPFL)) + "|"]
        lines += [
            _line((row.what, "the slides" if row.slides else "measured", *row.cells))
            for row in one.rows
        ]
        lines += ["", _line(("SNR, dB", *one.methods)), "|---" * (1 + len(one.methods)) + "|"]
        lines += [_line((name, *cells)) for name, cells in one.snr_rows]
        lines += ["", *(f"{said}\n" for said in (one.reached, one.verdict, one.spots) if said)]
        lines += [f"![{f.alt}](pictures/{f.file})\n\n*{f.caption}*\n" for f in one.figures]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.n2v.spots_report")
    parser.add_argument("folders", type=Path, nargs="+", help="of spots_training")
    parser.add_argument("--out", type=Path, required=True, help="folder for the page")
    known = parser.parse_args(arguments)
    experiments = []
    for folder in known.folders:
        if not (folder / "training.json").is_file():
            parser.error(f"{folder} holds no finished training; run make reproduce-spots")
        sys.stderr.write(f"Comparing the images in {folder} …\n")
        experiments.append(judge(folder))
    page = write(experiments, known.out)
    sys.stdout.write(f"\n{_summary(experiments)}\nAll figures: {page}\n")
    return 0


def _summary(experiments: Sequence[Experiment]) -> str:
    width = max(len(row.what) for one in experiments for row in one.rows)
    lines = []
    for one in experiments:
        lines += [f"{SHOWN} of {one.title}: SNR in dB"]
        lines += [
            f"  {row.what:<{width}}  {row.cells[0]:>6}{'  (the slides)' if row.slides else ''}"
            for row in one.rows
        ]
        lines += [f"  {said}" for said in (one.reached, one.spots) if said]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
