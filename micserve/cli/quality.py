"""`micserve qc`: how close images are to their truth, and whether a plain filter does better."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

from micserve.cli.console import err, out, progressing, working
from micserve.cli.segmentation_quality import (
    Done,
    Pair,
    judge_segmentation,
    replacing,
    wanted_report,
)
from micserve.client import Client
from micserve.errors import ParameterError, QualityControlError
from micserve.qc import MEASURES, About, RestorationReport, Spot, evaluate_restoration
from micserve.registry import ModelRef, ModelVersion, open_registry
from micserve.registry.learnt import Seen, seen_by
from micserve.serving.report_files import read_case, summary_for_listings, write_report
from micserve.serving.spot_tables import read_spots

SUFFIXES = {".tif", ".tiff", ".png"}

UNTAUGHT = ("n2v",)
"""Families that never see a ground truth: judging them on what they learnt from is fair."""

MOST_NAMED = 5

Images = dict[str, Path]
"""File name to file."""


def register(app: typer.Typer) -> None:
    app.command()(qc)


def qc(
    target: Annotated[Path, typer.Option(help="Ground truth: an image or a folder")],
    source: Annotated[
        Path | None, typer.Option(help="What the model was given: an image or a folder")
    ] = None,
    prediction: Annotated[
        Path | None, typer.Option(help="Results to judge: an image or a folder")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Make the predictions with this model, from --source")
    ] = None,
    spots: Annotated[
        Path | None,
        typer.Option(help="Where the true spots are: a CSV, or a folder of them (X, Y in pixels)"),
    ] = None,
    report: Annotated[
        Path,
        typer.Option(
            help="Folder for report.html, report.pdf, metrics.csv, report.json, pictures/ and maps/"
        ),
    ] = Path("qc-report"),
    kind: Annotated[
        str | None,
        typer.Option(
            help="restoration or segmentation; by default by the model's family, without a model "
            "restoration"
        ),
    ] = None,
    numbers: Annotated[
        str | None,
        typer.Option(help="Of a segmentation: whether a number means one of objects or classes"),
    ] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(min=2, max=3, help="Of a segmentation's objects; by default 3 in stacks"),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Leave out what the model learnt from, by its manifest"),
    ] = False,
    attach: Annotated[
        bool, typer.Option("--attach", help="Keep the report with the model's version")
    ] = False,
) -> None:
    """Compare predictions, their input and plain filters with the ground truth."""
    if (prediction is None) == (model is None):
        raise ParameterError("give either --prediction, or --model together with --source")
    if model is not None and source is None:
        raise ParameterError("--model makes its predictions from images: name them with --source")
    if attach and model is None:
        raise ParameterError("--attach keeps the report with a model: name it with --model")
    if held_out and model is None:
        raise ParameterError("--held-out asks what a model learnt from: name it with --model")
    version = None if model is None else open_registry().resolve(ModelRef.parse(model))
    wanted = wanted_report(kind, numbers, dimensions, version)
    targets = images_in(target)
    sources = {} if source is None else images_in(source)
    seen = None
    if version is not None:
        seen = seen_by(open_registry(), version, sources)
        if held_out:
            sources, targets = _without_learnt(version, seen, sources, targets)
            seen = replace(seen, learnt=())
        elif attach:
            _refuse_learnt(version, seen)
    with tempfile.TemporaryDirectory() as scratch:
        if version is not None:
            prediction = _predict_all(version, sources, Path(scratch))
        assert prediction is not None
        pairs = tuple(_pairs(images_in(prediction), targets, sources))
        about = _about(version, seen)
        if wanted.kind == "segmentation":
            done = judge_segmentation(pairs, wanted, about, report)
        else:
            done = _judge_restoration(pairs, about, report, spots=spots)
    if attach and version is not None:
        open_registry().attach_qc(version, done.summary, report)
        err.print(f"The report is kept with {version.ref}.")
    done.show()
    err.print(f"The report is {report / 'report.html'}")


def _judge_restoration(
    pairs: Sequence[Pair], about: About, report: Path, *, spots: Path | None
) -> Done:
    """Measure and write."""
    cases, truths = [], {}
    for name, result_file, truth_file, input_file in pairs:
        case, truths[name] = read_case(
            name, prediction=result_file, target=truth_file, source=input_file
        )
        cases.append(case if spots is None else replace(case, spots=_spots_of(name, spots)))
    with progressing("Comparing") as told:
        result = evaluate_restoration(cases, progress=told)
    with working("Writing the report …"), replacing(report) as folder:
        write_report(result, folder, about=about, truths=truths)
    return Done(summary_for_listings(result), lambda: print_summary(result))


def images_in(place: Path) -> Images:
    """The images of a folder, or the one image, by file name without suffix."""
    files = [place] if place.is_file() else sorted(place.glob("*"))
    found = {file.stem: file for file in files if file.suffix.lower() in SUFFIXES}
    if not found:
        raise QualityControlError(f"there is no TIFF or PNG image at {place}")
    return found


def _spots_of(name: str, tables: Path) -> tuple[Spot, ...]:
    return read_spots(tables / f"{name}.csv" if tables.is_dir() else tables)


def _predict_all(version: ModelVersion, sources: Images, folder: Path) -> Path:
    with Client() as client:
        for name, path in track(sources.items(), "Predicting", console=err, transient=True):
            client.predict(str(version.ref), path, to=folder / f"{name}.tif", parameters={})
    return folder


def _without_learnt(
    version: ModelVersion, seen: Seen, sources: Images, targets: Images
) -> tuple[Images, Images]:
    """Sources and targets that the version did not learn from."""
    if not seen.known:
        raise ParameterError(
            f"{version.ref} does not say which images it was trained on, so nothing can be left "
            "out. Take --held-out away, and name images that are new to it."
        )
    kept = {name: file for name, file in sources.items() if name not in seen.learnt}
    if not kept:
        raise QualityControlError(
            f"{version.ref} learnt from every one of these {len(sources)} images. Name others."
        )
    if seen.learnt:
        err.print(f"Left out, because the model learnt from them: {', '.join(seen.learnt)}")
    return kept, {name: file for name, file in targets.items() if name not in seen.learnt}


def _refuse_learnt(version: ModelVersion, seen: Seen) -> None:
    """A report that is kept is about new images, of which no answer was seen."""
    if seen.learnt and version.family not in UNTAUGHT:
        names = ", ".join(seen.learnt[:MOST_NAMED])
        more = f" and {len(seen.learnt) - MOST_NAMED} more" if len(seen.learnt) > MOST_NAMED else ""
        raise QualityControlError(
            f"{version.ref} learnt from {names}{more}, so a report on them would not say what it "
            "does to new images, and is not kept. Leave them out with --held-out."
        )


def _pairs(predictions: Images, targets: Images, sources: Images) -> Iterator[Pair]:
    """(name, prediction, ground truth, input), matched by file name; single images by place."""
    if len(predictions) == len(targets) == 1 and len(sources) <= 1:
        [result], [(name, truth)] = predictions.values(), targets.items()
        yield name, result, truth, next(iter(sources.values()), None)
        return
    _refuse_unpaired(predictions, targets, sources)
    for name in targets:
        yield name, predictions[name], targets[name], sources.get(name)


def _refuse_unpaired(predictions: Images, targets: Images, sources: Images) -> None:
    missing = [
        f"{what} of {', '.join(sorted(set(targets) ^ set(images)))}"
        for what, images in (("prediction", predictions), ("input", sources))
        if images and set(images) != set(targets)
    ]
    if missing:
        raise QualityControlError(
            "images are compared by file name, and these have no partner: " + "; ".join(missing)
        )


def _about(version: ModelVersion | None, seen: Seen | None) -> About:
    if version is None:
        return About(made_at=datetime.now(UTC))
    return About(
        model=str(version.ref),
        digest=version.digest,
        made_at=datetime.now(UTC),
        details=() if seen is None else (("Images", seen.sentence),),
    )


def print_summary(report: RestorationReport) -> None:
    """Means over images as a table, and the verdict."""
    table = Table(box=None, pad_edge=False)
    table.add_column(f"mean of {report.summary.images}")
    for method in report.methods:
        table.add_column(method.label, justify="right")
    for measure in MEASURES:
        values = [report.summary.means[method.key].value(measure) for method in report.methods]
        table.add_row(measure.column, *("–" if v is None else f"{v:.4g}" for v in values))
    out.print(table)
    out.print(report.summary.verdict.sentence, soft_wrap=True)
    if report.summary.verdict.spots:
        out.print(report.summary.verdict.spots, soft_wrap=True)
