"""`micserve qc --kind segmentation`: objects and masks against what people drew."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from rich.table import Table

from micserve.cli.console import out, progressing, working
from micserve.errors import ParameterError
from micserve.qc import About
from micserve.qc.page import number
from micserve.qc.segmentation import SegmentationReport, evaluate_segmentation
from micserve.qc.segmentation.evaluate import Asked
from micserve.qc.segmentation.page import TITLE
from micserve.registry import ModelVersion
from micserve.serving.segmentation_files import (
    SEGMENTING,
    read_segmentation,
    segmentation_for_listings,
    write_segmentation,
)

KINDS = ("restoration", "segmentation")

Pair = tuple[str, Path, Path, Path | None]
"""Name, prediction, ground truth, input."""


@dataclass(frozen=True, slots=True)
class Done:
    """A report that is written."""

    summary: Mapping[str, Any]
    """For the registry's listings."""
    show: Callable[[], None]
    """Print it for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class WantedReport:
    kind: str
    numbers: Asked
    dimensions: int | None


def wanted_report(
    kind: str | None, numbers: str | None, dimensions: int | None, version: ModelVersion | None
) -> WantedReport:
    """What was asked for, else what suits the model.

    Raises
    ------
    ParameterError
        Naming what there is.
    """
    if kind is not None and kind not in KINDS:
        raise ParameterError(f"--kind {kind} is not known; it may be {' or '.join(KINDS)}.")
    known = get_args(Asked)
    if numbers is not None and numbers not in known:
        raise ParameterError(f"--numbers {numbers} is not known; it may be {' or '.join(known)}.")
    if version is None:
        return WantedReport(
            kind or "restoration", next((o for o in known if o == numbers), "auto"), dimensions
        )
    by_family = "segmentation" if version.family in SEGMENTING else "restoration"
    by_model = "objects" if version.family == "stardist" else "classes"
    chosen: Asked = next(one for one in known if one == (numbers or by_model))
    return WantedReport(kind or by_family, chosen, dimensions or version.ndim)


def judge_segmentation(
    pairs: Sequence[Pair], wanted: WantedReport, about: About, report: Path
) -> Done:
    """Measure and write."""
    cases, truths = [], {}
    for name, result_file, truth_file, input_file in pairs:
        case, truths[name] = read_segmentation(
            name, prediction=result_file, target=truth_file, source=input_file
        )
        cases.append(case)
    with progressing("Comparing") as told:
        result = evaluate_segmentation(
            cases, reading=wanted.numbers, ndim=wanted.dimensions, progress=told
        )
    with working("Writing the report …"), replacing(report) as folder:
        write_segmentation(result, folder, about=replace(about, title=TITLE), truths=truths)
    return Done(segmentation_for_listings(result), lambda: print_segmentation(result))


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` when all is written."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def print_segmentation(report: SegmentationReport) -> None:
    """Means over images as a table, and the verdict."""
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{report.summary.images} image{'s' if report.summary.images > 1 else ''}")
    for method in report.methods:
        table.add_column(method.label, justify="right")
    for measure in report.measures:
        values = [report.summary.values[method.key].get(measure.key) for method in report.methods]
        table.add_row(measure.label, *(number(value, measure) for value in values))
    out.print(table)
    out.print(report.summary.sentence, soft_wrap=True)
