"""A segmentation report as PDF: the rows and pictures of the page, laid out for A4.

ReportLab is loaded only with this module.
"""

from collections.abc import Sequence

from reportlab.lib.units import mm

from micserve.qc.about import About
from micserve.qc.page import SIGNS
from micserve.qc.pdf import Sheet
from micserve.qc.segmentation.page import (
    TITLE,
    header_lines,
    image_measures,
    image_rows,
    interval_words,
    measure_rows,
)
from micserve.qc.segmentation.pictures import SegmentationPicture
from micserve.qc.segmentation.report import SegmentationReport


def segmentation_pdf(
    report: SegmentationReport,
    pictures: Sequence[SegmentationPicture] = (),
    *,
    about: About | None = None,
) -> bytes:
    """The whole file; parameters as of `segmentation_html`."""
    about = about or About(title=TITLE)
    summary = report.summary
    sheet = Sheet(about.title)
    sheet.facts(header_lines(report, about))
    sheet.verdict(summary.light, SIGNS[summary.light], summary.headline, summary.sentence)
    _measures(sheet, report)
    for one in pictures:
        if not one.image:
            sheet.picture(one.title, one.png, one.caption, highest=66 * mm)
    if report.notes:
        sheet.heading("To keep in mind")
        sheet.bullets(note[:1].upper() + note[1:] for note in report.notes)
    shown = [one for one in pictures if one.image]
    if shown:
        sheet.new_page()
        sheet.heading("Pictures")
    for one in shown:
        sheet.picture(one.image, one.png, one.caption, highest=98 * mm)
    _image_by_image(sheet, report)
    sheet.heading("What the measures mean")
    sheet.facts(
        [(f"{measure.label} ({measure.unit})", measure.meaning) for measure in report.measures],
        first=50 * mm,
    )
    return sheet.pdf()


def _measures(sheet: Sheet, report: SegmentationReport) -> None:
    count = len(report.images)
    sheet.heading("Measures" if count == 1 else f"Measures of {count} images")
    sheet.table(
        ["Against the ground truth", *(method.label for method in report.methods)],
        [
            (
                f"{row.measure.label} ({row.measure.unit})"
                + (f", {row.measure.better} is better" if row.measure.better else ""),
                row.cells,
            )
            for row in measure_rows(report)
        ],
        size=7.5,
    )
    words = interval_words(report)
    means = " Means over images; objects are summed up." if count > 1 else ""
    small = f" Small: {words}." if words else ""
    sheet.text(f"Bold: the best of the row.{means}{small}", soft=True)


def _image_by_image(sheet: Sheet, report: SegmentationReport) -> None:
    if len(report.images) < 2:
        return
    sheet.new_page()
    sheet.heading("Image by image")
    measures = image_measures(report)
    for image in image_rows(report):
        start = sheet.mark()
        sheet.text(f"{image.name} · {image.size}")
        sheet.table(["", *(measure.label for measure in measures)], image.rows, size=5.4)
        sheet.keep(start)
