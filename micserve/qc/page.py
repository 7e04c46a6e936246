"""The report as one HTML file that needs nothing else: styles and pictures are inside.

Looks the same from a server, from a mail attachment and on paper. Knows how a
page is laid out, not how anything was measured.
"""

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from micserve.qc.about import About
from micserve.qc.intervals import Interval, in_words
from micserve.qc.measures import MEASURES, Measure
from micserve.qc.picture import Picture
from micserve.qc.restoration import RestorationReport
from micserve.qc.spots import BINS, SpotsFound
from micserve.qc.sweep import Sweep

SIGNS = {"green": "✓", "amber": "!", "red": "✕", "grey": "?"}
HEADLINES = {
    "green": "Better than the input and than every plain filter",
    "red": "Not better than the input",
    "grey": "Cannot be judged",
}


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    best: bool = False
    around: str = ""
    """The interval, as printed."""


class Printed(Protocol):
    """What of a measure is printed, of a restoration or a segmentation."""

    @property
    def key(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def better(self) -> Literal["higher", "lower", ""]: ...
    @property
    def decimals(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One measure over all methods."""

    measure: Printed
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
    return template("report.html").render(
        about=about,
        header=list(header_lines(report, about)),
        light=verdict.light,
        sign=SIGNS[verdict.light],
        headline=headline(report),
        sentence=kept_together(verdict.sentence, report),
        spots_sentence=kept_together(verdict.spots, report),
        methods=[unbroken(method.label) for method in report.methods],
        rows=[mean_row(measure, report) for measure in MEASURES],
        gains=list(gain_rows(report)),
        intervals=interval_words(report),
        spots=None if report.spots is None else list(spot_rows(report)),
        spot_bins=[] if report.spots is None else bin_names(report.spots),
        spots_how="" if report.spots is None else spots_how(report.spots),
        images=list(image_rows(report)),
        count=len(report.images),
        measures=MEASURES,
        measures_in_full=MEASURES,
        sweeps=[sweep_rows(method.sweep) for method in report.methods if method.sweep],
        notes=report.notes,
        pictures=[
            (name, [(one, data_address(one.png)) for one in group])
            for name, group in groupby(
                (one for one in pictures if one.image), key=lambda picture: picture.image
            )
        ],
        spot_pictures=[(one, data_address(one.png)) for one in pictures if not one.image],
    )


def template(name: str) -> Template:
    """One of the pages beside this module."""
    environment = Environment(
        loader=PackageLoader("micserve.qc", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def unbroken(label: str) -> str:
    """A filter's setting is not torn apart at the end of a line."""
    name, equals, value = label.partition(" = ")
    if not equals:
        return label
    name, _, symbol = name.rpartition(" ")
    return f"{name} " + f"{symbol} = {value}".replace(" ", "\u00a0")


def kept_together(text: str, report: RestorationReport) -> str:
    """The same for every filter that a sentence names."""
    for method in report.methods:
        text = text.replace(method.label, unbroken(method.label))
    return text


def headline(report: RestorationReport) -> str:
    """The verdict in a few words."""
    lost = ""
    if report.spots is not None and any(
        report.spots.dim_against(key)[0] == "fewer"
        for key in report.spots.methods
        if key not in ("prediction", "input")
    ):
        lost = ", but dim spots are lost"
    return _in_few_words(report) + lost


def _in_few_words(report: RestorationReport) -> str:
    verdict = report.summary.verdict
    if verdict.light != "amber":
        return HEADLINES[verdict.light]
    against_input, *against_filters = (one.outcome for one in verdict.comparisons)
    if against_input != "better":
        return "Not clearly better than the input"
    if "worse" in against_filters:
        return "Better than the input, but a plain filter does better"
    return "Better than the input, but not clearly better than a plain filter"


def header_lines(report: RestorationReport, about: About) -> Iterator[tuple[str, str]]:
    """(what, value)."""
    count = len(report.images)
    against = ", ".join(method.label for method in report.methods[1:])
    compared = f"{count} {'image' if count == 1 else 'images'} with ground truth"
    return about_lines(about, compared=f"{compared}; beside it: {against}" if against else compared)


def about_lines(about: About, *, compared: str) -> Iterator[tuple[str, str]]:
    """(what, value), for a report of any kind."""
    if about.model:
        yield "Model", about.model
    if about.digest:
        yield "Digest", f"sha256 {about.digest.removeprefix('sha256:')[:16]}…"
    yield "Compared", compared
    if about.made_at is not None:
        yield "Made", f"{about.made_at.day} {about.made_at:%B %Y, %H:%M %Z}".strip()
    yield from about.details


def mean_row(measure: Measure, report: RestorationReport) -> Row:
    """Means over images with their intervals."""
    keys = [method.key for method in report.methods]
    values = [report.summary.means[key].value(measure) for key in keys]
    return row(measure, values, [report.summary.intervals[key].get(measure.key) for key in keys])


def row(measure: Printed, values: Sequence[float | None], around: Sequence[Interval | None]) -> Row:
    """Of one value, and its interval, per method."""
    cells = zip(marked(measure, values), around, strict=True)
    return Row(measure, tuple(replace(cell, around=span(one, measure)) for cell, one in cells))


def span(one: Interval | None, measure: Printed) -> str:
    """`36.1 to 37.0`, or nothing."""
    if one is None:
        return ""
    return f"{number(one.low, measure)} to {number(one.high, measure)}"


def interval_words(report: RestorationReport) -> str:
    """What the intervals in the table of means are."""
    of = report.summary.intervals["prediction"]
    return in_words(next(iter(of.values()), None))


@dataclass(frozen=True, slots=True)
class GainRow:
    """The prediction minus one other method."""

    label: str
    cells: tuple[Cell, ...]
    """PSNR, SSIM, SNR."""
    better_in: str


GAINS = ("psnr_normalized_db", "ssim", "snr_db")


def gain_rows(report: RestorationReport) -> Iterator[GainRow]:
    """What the prediction gains over each other method, with paired intervals."""
    measures = [next(one for one in MEASURES if one.key == key) for key in GAINS]
    for one in report.summary.verdict.comparisons:
        gains = (
            (one.psnr_gain_db, one.psnr_interval),
            (one.ssim_gain, one.ssim_interval),
            (one.snr_gain_db, one.snr_interval),
        )
        yield GainRow(
            unbroken(one.label),
            tuple(
                Cell(_signed(gain, measure), around=_signed_span(around, measure))
                for (gain, around), measure in zip(gains, measures, strict=True)
            ),
            f"{one.better_in} of {report.summary.images}",
        )


def _signed(value: float | None, measure: Measure) -> str:
    text = number(value, measure)
    return f"+{text}" if value is not None and value > 0 else text


def _signed_span(one: Interval | None, measure: Measure) -> str:
    return "" if one is None else f"{_signed(one.low, measure)} to {_signed(one.high, measure)}"


@dataclass(frozen=True, slots=True)
class SpotRow:
    """One method: found of true per bin, then recall, precision and F1."""

    label: str
    cells: tuple[Cell, ...]


def bin_names(found: SpotsFound) -> list[tuple[str, str]]:
    """(name, contrasts in grey values) of each bin."""
    ends = [0.0, *found.edges]
    spans = [f"{low:.3g} to {high:.3g}" for low, high in zip(ends, found.edges, strict=False)]
    return list(zip(BINS, [*spans, f"above {ends[-1]:.3g}"], strict=True))


def spot_rows(report: RestorationReport) -> Iterator[SpotRow]:
    """One per method, the best of each column marked."""
    found = report.spots
    assert found is not None
    rows = []
    for method in report.methods:
        one = found.methods[method.key]
        bins = [found.in_bin(method.key, n) for n in range(len(BINS))]
        shares = [one.recall, one.precision or 0.0, one.f1]
        texts = [f"{hits} of {true}" for hits, true in bins]
        texts += [f"{100 * value:.1f} %" for value in shares]
        rows.append((unbroken(method.label), [float(hits) for hits, _ in bins] + shares, texts))
    for label, values, texts in rows:
        yield SpotRow(
            label,
            tuple(
                Cell(text, _is_best(value, [other[1][n] for other in rows]))
                for n, (value, text) in enumerate(zip(values, texts, strict=True))
            ),
        )


def _is_best(value: float, column: Sequence[float]) -> bool:
    return value == max(column) and len(set(column)) > 1


def spots_how(found: SpotsFound) -> str:
    """Where the true spots come from, and how they were looked for."""
    known = (
        "their places were given"
        if found.given
        else "they are what the detector finds in the clean images"
    )
    searched = (
        ""
        if found.planes == found.planes_of
        else f" {found.planes} of {found.planes_of} slices were searched."
    )
    return (
        f"{len(found.true)} true spots: {known}. Every image is searched with the same detector "
        "(Laplacian of Gaussian), each method at the threshold with its highest F1, which was "
        f"chosen with the ground truth.{searched}"
    )


def marked(measure: Printed, values: Sequence[float | None]) -> tuple[Cell, ...]:
    """The best as printed is marked; nothing is where all are the same, or none is better."""
    rounded = [None if v is None else round(v, measure.decimals) for v in values]
    known = [value for value in rounded if value is not None]
    best = None
    if len(set(known)) > 1 and measure.better:
        best = max(known) if measure.better == "higher" else min(known)
    return tuple(
        Cell(number(value, measure), short is not None and short == best)
        for value, short in zip(values, rounded, strict=True)
    )


def image_rows(report: RestorationReport) -> Iterator[ImageRows]:
    """Every image with every method."""
    labels = {method.key: unbroken(method.label) for method in report.methods}
    for image in report.images:
        by_measure = [
            marked(measure, [found.whole.value(measure) for found in image.results.values()])
            for measure in MEASURES
        ]
        yield ImageRows(
            image.name,
            size_words(image.shape),
            tuple(
                (labels[key], tuple(cells[index] for cells in by_measure))
                for index, key in enumerate(image.results)
            ),
        )


def size_words(shape: Sequence[int]) -> str:
    return " × ".join(str(length) for length in shape) + " px"


def number(value: float | None, measure: Printed) -> str:
    """As printed: a true minus sign, ∞ for equal images, – where there is no meaning."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{measure.decimals}f}".replace("-", "−")


def sweep_rows(sweep: Sweep) -> dict[str, Any]:
    """What was tried of one filter, as printed."""
    return {
        "label": sweep.filter.label,
        "symbol": sweep.filter.symbol,
        "unit": sweep.filter.unit,
        "tried_on": sweep.tried_on,
        "trials": [
            (f"{setting:g}", "∞" if math.isinf(psnr) else f"{psnr:.2f}", setting == sweep.best)
            for setting, psnr in sweep.tried
        ],
    }


def data_address(png: bytes) -> str:
    """As a page holds a picture."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
