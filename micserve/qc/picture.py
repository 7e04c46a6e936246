"""The pictures of a report, as PNG bytes with the words that go with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from micserve.qc.restoration import RestorationReport
from micserve.qc.spot_view import dim_spots
from micserve.qc.view import GREY, TRUTH, View, view

PICTURES_SHOWN = 4
"""Images with pictures in one report; the numbers cover all of them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure: `png` is the file, the rest is text."""

    image: str
    """Name of the case; empty for what is of all images."""
    kind: Literal["panels", "maps", "curves", "slices", "spots", "dim"]
    title: str
    caption: str
    alt: str
    """For those who cannot see it."""
    png: bytes


def draw_pictures(
    report: RestorationReport, *, images: Sequence[str] | None = None, limit: int = PICTURES_SHOWN
) -> tuple[Picture, ...]:
    """Figures of the images named, or of the first `limit` ones, in the report's order; at the
    end those of the spots of all images, where there are any."""
    chosen = [image.name for image in report.images][:limit] if images is None else images
    drawn = [picture for name in chosen for picture in _pictures(report, name)]
    return (*drawn, *_of_spots(report))


def _pictures(report: RestorationReport, name: str) -> list[Picture]:
    # Matplotlib takes a second to load; services that never draw do not pay for it.
    from micserve.qc import figures

    seen = view(report, name)
    labels = ", ".join(seen.labels.values())
    drawn = [
        Picture(
            name,
            "panels",
            "Images",
            _caption(seen),
            f"{labels} of {name}, whole and magnified.",
            figures.panels(seen),
        ),
        Picture(
            name,
            "curves",
            "Profile and histogram",
            "Left: values along the dashed line, through the brightest structure of the ground "
            "truth. Right: how many pixels have which value.",
            f"Line profile and histogram of {labels} of {name}.",
            figures.curves(seen),
        ),
    ]
    if seen.maps:
        drawn.insert(
            1,
            Picture(
                name,
                "maps",
                "Where they differ from the ground truth",
                "Above: absolute error after the best gain and offset, in fractions of the ground "
                "truth's range; dark is good. Below: structural similarity; yellow is good.",
                f"Error maps and SSIM maps of {name}.",
                figures.maps(seen),
            ),
        )
    if seen.slices > 1:
        found = next(image for image in report.images if image.name == name)
        drawn.append(
            Picture(
                name,
                "slices",
                "Slice by slice",
                "Normalised PSNR and SSIM of each slice, on the scale of the whole stack.",
                f"PSNR and SSIM per slice of {name}.",
                figures.slices({k: found.results[k].slices for k in seen.maps}, seen.labels),
            )
        )
    return drawn


def _of_spots(report: RestorationReport) -> list[Picture]:
    if report.spots is None:
        return []
    from micserve.qc import spot_figures

    labels = {method.key: method.label for method in report.methods}
    return [
        Picture(
            "",
            "spots",
            "What is found, by how bright it is",
            "Left: the share of the true spots that is found. Right: the share of the detections "
            "that is true. Lines are 95 % intervals (Wilson). Contrast is the detector's answer, "
            "for a Gaussian spot its height above the surroundings.",
            "Recall and precision of spot detection by contrast for each method.",
            spot_figures.recall_and_precision(report.spots, labels),
        ),
        Picture(
            "",
            "dim",
            "Some of the dimmest spots",
            "Columns: spots of the dimmest tenth, evenly picked from dim to bright, each at the "
            "same place and contrast in all rows. A ring: found there; a cross: not found.",
            "Zoomed crops of dim spots for each method.",
            spot_figures.gallery(dim_spots(report)),
        ),
    ]


def _caption(seen: View) -> str:
    height, width = seen.planes[TRUTH].shape
    at = seen.window
    place = f"Slice {seen.slice_index + 1} of {seen.slices}" if seen.slices > 1 else "Whole image"
    size = "" if seen.pixel_size_um is None else f", {seen.pixel_size_um:g} µm per pixel"
    shown = (
        "All at the same contrast."
        if seen.unit == GREY
        else "The images have different grey scales: each is shown from its own 0.1 to its own "
        "99.9 percentile."
    )
    return (
        f"{place} ({width} × {height} px{size}) above, the framed part ({at.width} × {at.height} "
        f"px) below. {shown}"
    )
