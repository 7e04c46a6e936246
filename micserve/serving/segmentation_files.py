"""A segmentation report as files: what `POST /v1/qc` zips, `micserve qc` writes and versions keep.

    report.html              one self-contained page
    report.pdf               the same for print, where ReportLab is installed
    report.json              the documented schema
    held_out.json            the numbers that `promote` compares versions by
    metrics.csv              one row per image, slice and method
    maps/Errors_….tif        8 bit: 1 right, 2 missed, 3 false, 4 split, 5 merged
    pictures/….png           those of the page

Knows files and images; the numbers are `micserve.qc.segmentation`'s.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from micserve.codecs import read_image, write_tiff
from micserve.image import Image
from micserve.qc import About
from micserve.qc.segmentation import (
    SegmentationCase,
    SegmentationReport,
    draw_segmentation,
    segmentation_csv,
    segmentation_held_out,
    segmentation_html,
    segmentation_json,
)
from micserve.qc.segmentation.error_map import error_map

SEGMENTING = frozenset({"stardist", "unet"})
"""Families whose result is labels or classes."""


def read_segmentation(
    name: str, *, prediction: bytes | Path, target: bytes | Path, source: bytes | Path | None
) -> tuple[SegmentationCase, Image]:
    """The images of one comparison, and the ground truth whose calibration the map takes."""
    truth = _squeezed(target, "The target")
    size = truth.calibration.in_um()
    case = SegmentationCase(
        name=name,
        prediction=_squeezed(prediction, "The prediction").data,
        target=truth.data,
        source=None if source is None else _squeezed(source, "The source").data,
        pixel_size_um=size["X"] if size else None,
    )
    return case, truth


def write_segmentation(
    report: SegmentationReport, folder: Path, *, about: About, truths: Mapping[str, Image]
) -> None:
    """All forms of a report into a folder; `truths` by the name of their case."""
    for inside in ("maps", "pictures"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    pictures = draw_segmentation(report)
    texts = {
        "report.html": segmentation_html(report, pictures, about=about),
        "report.json": segmentation_json(report, about=about).model_dump_json(indent=2),
        "held_out.json": segmentation_held_out(report).model_dump_json(),
        "metrics.csv": segmentation_csv(report),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    if find_spec("reportlab") is not None:
        # Trainers have no ReportLab, and a service that writes no report does not load it.
        from micserve.qc.segmentation.pdf import segmentation_pdf

        (folder / "report.pdf").write_bytes(segmentation_pdf(report, pictures, about=about))
    for picture in pictures:
        name = "-".join(part for part in (picture.kind, Path(picture.image).stem) if part)
        (folder / "pictures" / f"{name}.png").write_bytes(picture.png)
    for case in report.cases:
        truth = truths.get(case.name)
        if truth is not None:
            pixels = error_map(report, case.name)
            write_tiff(
                truth.with_data(pixels), folder / "maps" / f"Errors_{Path(case.name).stem}.tif"
            )


def segmentation_for_listings(report: SegmentationReport) -> dict[str, Any]:
    """What the registry keeps beside a report: what listings show, and what `promote` asks."""
    summary = report.summary
    outcomes = [one.outcome for one in summary.against]
    return {
        "kind": "segmentation",
        "images": summary.images,
        "light": summary.light,
        "sentence": summary.sentence,
        "beats_gaussian": None,
        "beats_threshold": all(one == "better" for one in outcomes) if outcomes else None,
        "means": {key: dict(scores) for key, scores in summary.values.items()},
    }


def _squeezed(source: bytes | Path, name: str) -> Image:
    """Without axes of length 1, which ImageJ drops when it saves."""
    image = read_image(source, name=name)
    kept = [a for a in image.axes if a in "YXS" or image.size(a) > 1]
    where = tuple(i for i, a in enumerate(image.axes) if a not in kept)
    return image.with_data(np.asarray(image.data).squeeze(where), "".join(kept))
