"""A quality report as files: what `POST /v1/qc` zips, `micserve qc` writes and versions keep.

    report.html              one self-contained page
    report.pdf               the same for print, where ReportLab is installed
    report.json              the documented schema
    held_out.json            the numbers that `promote` compares versions by
    metrics.csv              one row per image, slice and method
    QC_metrics_zerocost.csv  the notebooks' own columns, where there was an input
    maps/SSIM_GTvs….tif      32 bit, with the names that the notebooks give them
    maps/RSE_GTvs….tif
    pictures/….png           those of the page

Knows files and images; the numbers are `micserve.qc`'s.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from micserve.codecs import read_image, write_tiff
from micserve.errors import QualityControlError
from micserve.image import Image
from micserve.qc import (
    MEASURES,
    About,
    RestorationCase,
    RestorationReport,
    draw_pictures,
    report_csv,
    report_html,
    report_json,
    zerocost_csv,
)
from micserve.qc.held_out import held_out

NOTEBOOK_NAMES = {"prediction": "Prediction", "input": "Source"}
"""Method to its name in the notebooks' file names."""


def read_case(
    name: str, *, prediction: bytes | Path, target: bytes | Path, source: bytes | Path | None
) -> tuple[RestorationCase, Image]:
    """The images of one comparison, and the ground truth whose calibration the maps take."""
    truth = _read(target, "The target")
    size = truth.calibration.in_um()
    case = RestorationCase(
        name=name,
        prediction=_read(prediction, "The prediction").data,
        target=truth.data,
        source=None if source is None else _read(source, "The source").data,
        pixel_size_um=size["X"] if size else None,
    )
    return case, truth


def write_report(
    report: RestorationReport,
    folder: Path,
    *,
    about: About,
    truths: Mapping[str, Image],
    progress: Callable[[float, str], None] = lambda fraction, what: None,
) -> None:
    """All forms of a report into a folder.

    Parameters
    ----------
    truths
        The ground truth by the name of its case; a case without one has no maps.
    progress
        Called with (fraction written, what is being written); may raise to stop.
    """
    for inside in ("maps", "pictures"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    progress(0.0, "drawing pictures")
    pictures = draw_pictures(report)
    progress(0.4, "laying out the report")
    texts = {
        "report.html": report_html(report, pictures, about=about),
        "report.json": report_json(report, about=about).model_dump_json(indent=2),
        "held_out.json": held_out(report).model_dump_json(),
        "metrics.csv": report_csv(report),
    }
    if "input" in {method.key for method in report.methods}:
        texts["QC_metrics_zerocost.csv"] = zerocost_csv(report)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    if find_spec("reportlab") is not None:
        # Trainers have no ReportLab, and a service that writes no report does not load it.
        from micserve.qc.pdf import report_pdf

        (folder / "report.pdf").write_bytes(report_pdf(report, pictures, about=about))
    for picture in pictures:
        name = "-".join(part for part in (picture.kind, Path(picture.image).stem) if part)
        (folder / "pictures" / f"{name}.png").write_bytes(picture.png)
    mapped = [image for image in report.images if image.name in truths]
    for number, image in enumerate(mapped):
        for method in report.methods:
            share = 0.6 + 0.4 * number / len(mapped)
            progress(share, f"maps of {method.label} of {image.name}")
            _write_maps(report, image.name, method.key, truths[image.name], folder / "maps")


def summary_for_listings(report: RestorationReport) -> dict[str, Any]:
    """What the registry keeps beside a report: what listings show, and what `promote` asks."""
    verdict = report.summary.verdict
    filters = [one for one in verdict.comparisons if one.method != "input"]
    return {
        "images": report.summary.images,
        "light": verdict.light,
        "sentence": verdict.sentence,
        "beats_gaussian": all(one.outcome == "better" for one in filters) if filters else None,
        "spots": verdict.spots,
        "means": {
            key: {measure.key: scores.value(measure) for measure in MEASURES}
            for key, scores in report.summary.means.items()
        },
    }


def _write_maps(
    report: RestorationReport, image: str, method: str, truth: Image, folder: Path
) -> None:
    try:
        maps = report.maps(image, method)
    except QualityControlError:
        return  # a flat ground truth has no maps; the report says so
    label = NOTEBOOK_NAMES.get(method, method.capitalize())
    stem = Path(image).stem
    for kind, pixels in (("SSIM", maps.ssim), ("RSE", maps.error)):
        write_tiff(truth.with_data(pixels), folder / f"{kind}_GTvs{label}_{stem}.tif")


def _read(source: bytes | Path, name: str) -> Image:
    """Without axes of length 1, which ImageJ drops when it saves."""
    image = read_image(source, name=name)
    kept = [a for a in image.axes if a in "YX" or image.size(a) > 1]
    where = tuple(i for i, a in enumerate(image.axes) if a not in kept)
    return image.with_data(image.data.squeeze(where), "".join(kept))
