"""The report as PDF: the same words, tables and pictures as the page, laid out for A4.

Made without a browser, by ReportLab, which is loaded only here. `Sheet` holds
the pieces that any quality report is put together from. Knows how a sheet is laid
out, not how anything was measured.
"""

import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    CondPageBreak,
    Image,
    KeepTogether,
    PageBreak,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
)

from micserve.qc.about import About
from micserve.qc.measures import MEASURES
from micserve.qc.page import (
    SIGNS,
    Cell,
    bin_names,
    gain_rows,
    header_lines,
    headline,
    image_rows,
    interval_words,
    kept_together,
    mean_row,
    spot_rows,
    spots_how,
    sweep_rows,
    unbroken,
)
from micserve.qc.picture import Picture
from micserve.qc.restoration import RestorationReport

MARGIN = 14 * mm
INNER = A4[0] - 2 * MARGIN
FRAME_PADDING = 6
"""Points that ReportLab leaves between a page's margin and what is on it."""
FONT, BOLD = "DejaVuSans", "DejaVuSans-Bold"
"""Come with Matplotlib; ReportLab's own have no σ, no − and no ✓."""
NARROW = 6
"""Points: tables in smaller print have columns so narrow that long words go over two lines."""
_LONG_WORD = re.compile(r"(\w{4,}[-_])(?=\w{4,})")
INK, SOFT, LINE = colors.HexColor("#1d2329"), colors.HexColor("#5b6570"), colors.HexColor("#dfe3e8")
HIGHEST = {
    "panels": 70 * mm,
    "maps": 70 * mm,
    "curves": 56 * mm,
    "slices": 50 * mm,
    "spots": 64 * mm,
    "dim": 80 * mm,
}
"""So that the figures of one image share a page."""
LIGHTS = {
    "green": ("#0072b2", "#e9f3fa"),
    "amber": ("#b36b00", "#fdf4e3"),
    "red": ("#b03a00", "#fcece4"),
    "grey": ("#5b6570", "#f0f2f4"),
}
"""As on the page: colours that every kind of colour vision tells apart, and a sign beside."""


class Sheet:
    """Pieces from top to bottom."""

    def __init__(self, title: str) -> None:
        _load_fonts()
        self._title = title
        self._pieces: list[Any] = [
            Paragraph(escape(title), _style(17, 21, bold=True)),
            Spacer(1, 6),
        ]

    def facts(self, lines: Iterable[tuple[str, str]], *, first: float = 28 * mm) -> None:
        """(what, value), one below the other; `first` is the width of the left column."""
        rows = [[_text(what, 8.5, soft=True), _text(value, 8.5)] for what, value in lines]
        if rows:
            self._add(_plain_table(rows, [first, INNER - first]), after=8)

    def verdict(self, light: str, sign: str, head: str, *sentences: str) -> None:
        """The box that is read first."""
        ink, tint = LIGHTS[light]
        mark = Paragraph(sign, _style(16, 20, bold=True, colour=colors.white, centre=True))
        words = [
            Paragraph(escape(head), _style(10.5, 14, bold=True, colour=colors.HexColor(ink))),
            *(piece for said in sentences for piece in (Spacer(1, 3), _text(said, 8.5))),
        ]
        box = Table([[mark, words]], [12 * mm, INNER - 12 * mm])
        box.setStyle(
            [
                ("BACKGROUND", (0, 0), (0, 0), colors.HexColor(ink)),
                ("BACKGROUND", (1, 0), (1, 0), colors.HexColor(tint)),
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("LEFTPADDING", (1, 0), (1, 0), 10),
                ("TOPPADDING", (0, 0), (-1, -1), 7),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 9),
            ]
        )
        self._add(box, after=4)

    def heading(self, text: str) -> None:
        """Never the last line of a page."""
        self._pieces += [
            CondPageBreak(40 * mm),
            Spacer(1, 9),
            Paragraph(escape(text), _style(12.5, 16, bold=True)),
            Spacer(1, 4),
        ]

    def text(self, sentence: str, *, soft: bool = False) -> None:
        self._add(_text(sentence, 8.5 if soft else 9, soft=soft), after=4)

    def bullets(self, sentences: Iterable[str]) -> None:
        for sentence in sentences:
            self._add(
                Paragraph(escape(sentence), _style(8.5, 12, indent=11), bulletText="•"), after=2
            )

    def table(
        self, head: Sequence[str], rows: Iterable[tuple[str, Sequence[Cell]]], *, size: float = 8
    ) -> None:
        """First column left, the others right; the best in bold, intervals small below."""
        shown = [[_text(head[0], size, bold=True), *(_right(h, size, bold=True) for h in head[1:])]]
        for name, cells in rows:
            shown.append([_text(name, size), *(_cell(cell, size) for cell in cells)])
        first = INNER * (0.27 if len(head) < 9 else 0.17)
        width = (INNER - first) / max(len(head) - 1, 1)
        self._add(_ruled_table(shown, [first] + [width] * (len(head) - 1)), after=4)

    def picture(self, title: str, png: bytes, caption: str, *, highest: float) -> None:
        """Title, figure and caption on one page; `highest` in points."""
        wide, high = ImageReader(io.BytesIO(png)).getSize()
        scale = min(INNER / wide, highest / high)
        image = Image(io.BytesIO(png), wide * scale, high * scale, hAlign="LEFT")
        head = Paragraph(escape(title), _style(9.5, 13, bold=True))
        self._add(KeepTogether([head, image, _text(caption, 7.5, soft=True)]), after=8)

    def new_page(self) -> None:
        self._pieces.append(PageBreak())

    def keep(self, start: int) -> None:
        """What was added since `mark()` gave `start` stays on one page if it fits on one."""
        self._pieces[start:] = [KeepTogether(self._pieces[start:])]

    def mark(self) -> int:
        return len(self._pieces)

    def pdf(self) -> bytes:
        """The whole file."""
        buffer = io.BytesIO()
        SimpleDocTemplate(
            buffer,
            pagesize=A4,
            leftMargin=MARGIN - FRAME_PADDING,
            rightMargin=MARGIN - FRAME_PADDING,
            topMargin=MARGIN,
            bottomMargin=MARGIN + 4 * mm,
            title=self._title,
            creator="micserve",
            invariant=1,
        ).build(self._pieces, onFirstPage=self._foot, onLaterPages=self._foot)
        return buffer.getvalue()

    def _foot(self, canvas: Any, _: Any) -> None:
        canvas.saveState()
        canvas.setFont(FONT, 7)
        canvas.setFillColor(SOFT)
        canvas.drawString(MARGIN, 9 * mm, f"{self._title} · made by micserve"[:110])
        canvas.drawRightString(A4[0] - MARGIN, 9 * mm, f"page {canvas.getPageNumber()}")
        canvas.restoreState()

    def _add(self, piece: Any, *, after: float) -> None:
        self._pieces += [piece, Spacer(1, after)]


def report_pdf(
    report: RestorationReport, pictures: Sequence[Picture] = (), *, about: About | None = None
) -> bytes:
    """The whole file; parameters as of `report_html`."""
    about = about or About()
    sheet = Sheet(about.title)
    verdict = report.summary.verdict
    sheet.facts(header_lines(report, about))
    said = [kept_together(one, report) for one in (verdict.sentence, verdict.spots) if one]
    sheet.verdict(verdict.light, SIGNS[verdict.light], headline(report), *said)
    _measures(sheet, report)
    _gains(sheet, report)
    if report.spots is None:
        _notes(sheet, report)
    _spots(sheet, report, [one for one in pictures if not one.image])
    _pictures(sheet, [one for one in pictures if one.image])
    _image_by_image(sheet, report)
    if report.spots is not None:
        _notes(sheet, report)  # else alone on a page, between two pages of figures
    _filters(sheet, report)
    sheet.heading("What the measures mean")
    sheet.facts(
        [(f"{measure.label} ({measure.unit})", measure.meaning) for measure in MEASURES],
        first=44 * mm,
    )
    return sheet.pdf()


def _measures(sheet: Sheet, report: RestorationReport) -> None:
    count = len(report.images)
    sheet.heading("Measures" if count == 1 else f"Measures, mean of {count} images")
    rows = [mean_row(measure, report) for measure in MEASURES]
    sheet.table(
        ["Against the ground truth", *(unbroken(method.label) for method in report.methods)],
        [(f"{r.measure.label} ({r.measure.unit}), {r.measure.better} is better", r.cells)
         for r in rows],
        size=7.5,
    )  # fmt: skip
    words = interval_words(report)
    sheet.text("Bold: the best of the row." + (f" Small: {words}." if words else ""), soft=True)


def _gains(sheet: Sheet, report: RestorationReport) -> None:
    rows = list(gain_rows(report))
    if not rows:
        return
    start = sheet.mark()
    sheet.heading("What the prediction gains")
    sheet.table(
        ["Prediction minus …", "PSNR, normalised (dB)", "SSIM", "SNR (dB)", "Higher PSNR in"],
        [(row.label, [*row.cells, Cell(row.better_in)]) for row in rows],
    )
    words = interval_words(report)
    around = f"; small: {words}, of these differences" if words else ""
    sheet.text(
        f"Image by image, then averaged{around}. Above zero: the prediction is closer to the "
        "ground truth.",
        soft=True,
    )
    sheet.keep(start)


def _notes(sheet: Sheet, report: RestorationReport) -> None:
    if report.notes:
        start = sheet.mark()
        sheet.heading("To keep in mind")
        sheet.bullets(note[:1].upper() + note[1:] for note in report.notes)
        sheet.keep(start)


def _spots(sheet: Sheet, report: RestorationReport, pictures: Sequence[Picture]) -> None:
    if report.spots is None:
        return
    sheet.new_page()
    sheet.heading("Dim and bright spots")
    bins = [f"{name} ({contrast})" for name, contrast in bin_names(report.spots)]
    sheet.table(
        ["Spots found, by contrast in grey values", *bins, "Recall", "Precision", "F1"],
        [(row.label, row.cells) for row in spot_rows(report)],
        size=7.5,
    )
    sheet.text(spots_how(report.spots), soft=True)
    for one in pictures:
        sheet.picture(one.title, one.png, one.caption, highest=HIGHEST[one.kind])


def _pictures(sheet: Sheet, pictures: Sequence[Picture]) -> None:
    for name, group in groupby(pictures, key=lambda one: one.image):
        sheet.new_page()
        sheet.heading(name)
        for one in group:
            sheet.picture(one.title, one.png, one.caption, highest=HIGHEST[one.kind])


def _image_by_image(sheet: Sheet, report: RestorationReport) -> None:
    if len(report.images) < 2:
        return
    sheet.new_page()
    sheet.heading("Image by image")
    short = [
        f"{measure.label} ({measure.unit})".replace("0 to 1", "0\u00a0to\u00a01")
        for measure in MEASURES
    ]
    for image in image_rows(report):
        start = sheet.mark()
        sheet.text(f"{image.name} · {image.size}")
        sheet.table(["", *short], image.rows, size=5.8)
        sheet.keep(start)


def _filters(sheet: Sheet, report: RestorationReport) -> None:
    sweeps = [sweep_rows(method.sweep) for method in report.methods if method.sweep]
    if not sweeps:
        return
    start = sheet.mark()
    sheet.heading("How the plain filters were chosen")
    for one in sweeps:
        where = f", on {one['tried_on']}" if one["tried_on"] else ""
        sheet.text(f"{one['label']}: mean normalised PSNR for each setting that was tried{where}.")
        values = [Cell(psnr, best) for _, psnr, best in one["trials"]]
        head = [f"{one['symbol']} ({one['unit']})", *(setting for setting, _, _ in one["trials"])]
        sheet.table(head, [("PSNR (dB)", values)], size=7)
    sheet.keep(start)


def _load_fonts() -> None:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (FONT, BOLD):
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, folder / f"{name}.ttf"))


def _style(
    size: float,
    leading: float,
    *,
    bold: bool = False,
    colour: Any = INK,
    centre: bool = False,
    right: bool = False,
    indent: float = 0,
) -> ParagraphStyle:
    return ParagraphStyle(
        "",
        fontName=BOLD if bold else FONT,
        fontSize=size,
        leading=leading,
        textColor=colour,
        alignment=1 if centre else 2 if right else 0,
        leftIndent=indent,
        bulletFontName=FONT,
        splitLongWords=1,
    )


def _text(words: str, size: float, *, soft: bool = False, bold: bool = False) -> Paragraph:
    colour = SOFT if soft else INK
    return Paragraph(escape(words), _style(size, size * 1.38, bold=bold, colour=colour))


def _right(words: str, size: float, *, bold: bool = False) -> Paragraph:
    shown = _LONG_WORD.sub(r"\1<br/>", escape(words)) if size < NARROW else escape(words)
    return Paragraph(shown, _style(size, size * 1.38, bold=bold, right=True))


def _cell(cell: Cell, size: float) -> list[Paragraph]:
    shown = [_right(cell.text, size, bold=cell.best)]
    if cell.around:
        small = size * 0.78
        shown.append(
            Paragraph(escape(cell.around), _style(small, small * 1.3, colour=SOFT, right=True))
        )
    return shown


def _plain_table(rows: list[list[Any]], widths: list[float]) -> Table:
    table = Table(rows, widths)
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 1),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
        ]
    )
    return table


def _ruled_table(rows: list[list[Any]], widths: list[float]) -> Table:
    table = Table(rows, widths, repeatRows=1)
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, 0), "BOTTOM"),
            ("VALIGN", (0, 1), (-1, -1), "MIDDLE"),
            ("LINEBELOW", (0, 0), (-1, 0), 1, INK),
            ("LINEBELOW", (0, 1), (-1, -1), 0.5, LINE),
            ("LEFTPADDING", (0, 0), (-1, -1), 2),
            ("RIGHTPADDING", (0, 0), (-1, -1), 2),
            ("TOPPADDING", (0, 0), (-1, -1), 1.7),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1.7),
        ]
    )
    return table
