"""The report as one HTML file that needs nothing else: styles and pictures are inside.

Looks the same from a server, from a mail attachment and on paper. Knows how a
page is laid out, not how anything was measured.
"""

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from micserve.qc.about import About
from micserve.qc.measures import MEASURES, Measure, Scores
from micserve.qc.picture import Picture
from micserve.qc.restoration import RestorationReport

SIGNS = {"green": "✓", "amber": "!", "red": "✕", "grey": "?"}
HEADLINES = {
    "green": "Better than the input and than the plain filter",
    "red": "Not better than the input",
    "grey": "Cannot be judged",
}


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    best: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One measure over all methods, or one image with one method."""

    measure: Measure
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ImageRows:
    name: str
    size: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """(method label, one cell per measure)."""


def report_html(
    report: RestorationReport, pictures: Sequence[Picture] = (), *, about: About | None = None
) -> str:
    """The whole page, UTF-8.

    Parameters
    ----------
    report
        From `evaluate_restoration`.
    pictures
        From `draw_pictures`; without them the page has only its numbers.
    about
        What was compared, for the header.
    """
    about = about or About()
    verdict = report.summary.verdict
    return _template().render(
        about=about,
        header=list(_header(report, about)),
        light=verdict.light,
        sign=SIGNS[verdict.light],
        headline=_headline(report),
        sentence=verdict.sentence,
        methods=[method.label for method in report.methods],
        means=[_row(measure, report) for measure in MEASURES],
        images=list(_image_rows(report)),
        count=len(report.images),
        measures=MEASURES,
        sweeps=[_sweep(method.sweep) for method in report.methods if method.sweep],
        notes=report.notes,
        pictures=[
            (name, [(one, _data_address(one.png)) for one in group])
            for name, group in groupby(pictures, key=lambda picture: picture.image)
        ],
    )


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("micserve.qc", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _headline(report: RestorationReport) -> str:
    verdict = report.summary.verdict
    if verdict.light != "amber":
        return HEADLINES[verdict.light]
    against_input, *against_filters = (one.outcome for one in verdict.comparisons)
    if against_input != "better":
        return "Not clearly better than the input"
    if "worse" in against_filters:
        return "Better than the input, but a plain filter does better"
    return "Better than the input, but not clearly better than a plain filter"


def _header(report: RestorationReport, about: About) -> Iterator[tuple[str, str]]:
    if about.model:
        yield "Model", about.model
    if about.digest:
        yield "Digest", f"sha256 {about.digest.removeprefix('sha256:')[:16]}…"
    count = len(report.images)
    against = " and ".join(method.label for method in report.methods[1:])
    compared = f"{count} {'image' if count == 1 else 'images'} with ground truth"
    yield "Compared", f"{compared}; beside it: {against}" if against else compared
    if about.made_at is not None:
        yield "Made", f"{about.made_at.day} {about.made_at:%B %Y, %H:%M %Z}".strip()
    yield from about.details


def _row(measure: Measure, report: RestorationReport) -> Row:
    means = [report.summary.means[method.key] for method in report.methods]
    return Row(measure, _marked(measure, means))


def _marked(measure: Measure, scores: Sequence[Scores]) -> tuple[Cell, ...]:
    """The best as printed is marked; nothing is marked where all are the same."""
    values = [one.value(measure) for one in scores]
    rounded = [None if v is None else round(v, measure.decimals) for v in values]
    known = [value for value in rounded if value is not None]
    best = None
    if len(set(known)) > 1:
        best = max(known) if measure.better == "higher" else min(known)
    return tuple(
        Cell(number(value, measure), short is not None and short == best)
        for value, short in zip(values, rounded, strict=True)
    )


def _image_rows(report: RestorationReport) -> Iterator[ImageRows]:
    labels = {method.key: method.label for method in report.methods}
    for image in report.images:
        by_measure = [
            _marked(measure, [found.whole for found in image.results.values()])
            for measure in MEASURES
        ]
        yield ImageRows(
            image.name,
            " × ".join(str(length) for length in image.shape) + " px",
            tuple(
                (labels[key], tuple(cells[index] for cells in by_measure))
                for index, key in enumerate(image.results)
            ),
        )


def number(value: float | None, measure: Measure) -> str:
    """As printed: a true minus sign, ∞ for equal images, – where there is no meaning."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{measure.decimals}f}".replace("-", "−")


def _sweep(sweep: Any) -> dict[str, Any]:
    return {
        "label": sweep.filter.label,
        "symbol": sweep.filter.symbol,
        "unit": sweep.filter.unit,
        "trials": [
            (f"{setting:g}", "∞" if math.isinf(psnr) else f"{psnr:.2f}", setting == sweep.best)
            for setting, psnr in sweep.tried
        ],
    }


def _data_address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
