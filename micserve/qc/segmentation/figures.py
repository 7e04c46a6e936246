"""Figures of a segmentation: outlines on the image, AP by overlap, what became of the objects.

Colours are those of Okabe and Ito. Every one has a line style of its own beside
it, so that a print in grey, or an eye without one cone, loses nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from micserve.qc.figures import INK, SMALL, TEXT, WIDTH, label_axes, png_of, round_length
from micserve.qc.segmentation.matching import THRESHOLDS
from micserve.qc.segmentation.parts import Fate
from micserve.qc.segmentation.report import SegmentationReport
from micserve.qc.segmentation.view import Outline, Part, Seen

Style = tuple[str, Any, float]
"""Colour, line style, line width in points."""

STYLES: Mapping[Fate, Style] = {
    "found": ("#56B4E9", "-", 1.2),
    "missed": ("#E69F00", (0, (3.2, 1.4)), 2.2),
    "false": ("#CC79A7", (0, (1, 1.1)), 2.4),
    "split": ("#F0E442", "-", 3.0),
    "merged": ("#D55E00", (0, (5, 1.2, 1, 1.2)), 2.4),
}
WORDS: Mapping[Fate, str] = {
    "found": "found",
    "missed": "missed",
    "false": "false",
    "split": "split",
    "merged": "merged with a neighbour",
}
MARKS = ("o", "s", "D", "^")
LINES = (
    {"color": "#0072B2", "linestyle": "-", "linewidth": 2.2},
    {"color": "#D55E00", "linestyle": "--", "linewidth": 1.8},
    {"color": "#009E73", "linestyle": "-.", "linewidth": 1.8},
)
HATCHES: Mapping[Fate, str] = {
    "missed": "////",
    "false": "....",
    "split": "xx",
    "merged": "\\\\\\\\",
}
TALLEST = 5.4
"""Inches of an image."""
SHOWN_PIXELS = 1100
GAP = 0.3


def overlay(seen: Seen) -> bytes:
    """The slice with all outlines, and the busiest part of it magnified."""
    figure, (whole, zoom) = _two(seen)
    _below(whole, seen)
    _below(zoom, seen)
    for fate, (colour, line, width) in STYLES.items():
        for axes, scale in ((whole, 0.55), (zoom, 1.0)):
            axes.add_collection(_lines(seen.parts.get(fate, []), (colour, "-", 0.9 * scale)))
            axes.add_collection(_lines(seen.outlines.get(fate, []), (colour, line, width * scale)))
    _frame(whole, seen.part)
    _zoomed(zoom, seen)
    handles = [
        Line2D([], [], color=colour, linestyle=line, linewidth=width + 0.6)
        for colour, line, width in STYLES.values()
    ]
    labels = [f"{WORDS[fate]} ({seen.counts.get(fate, 0)})" for fate in STYLES]
    _legend(figure, handles, labels)
    return png_of(figure)


def _lines(outlines: Sequence[Outline], style: Style) -> LineCollection:
    colour, line, width = style
    return LineCollection(
        [outline[:, ::-1] for outline in outlines],
        colors=colour, linestyles=[line], linewidths=width, capstyle="butt",
    )  # fmt: skip


def class_overlay(seen: Seen, missed: NDArray[np.bool_], false: NDArray[np.bool_]) -> bytes:
    """The slice, hatched where pixels are missed or false."""
    figure, axes = _two(seen)
    for one in axes:
        _below(one, seen)
        for where, fate in ((missed, "missed"), (false, "false")):
            colour = STYLES[fate][0]  # type: ignore[index]
            shown = np.zeros((*where.shape, 4), np.float32)
            shown[where] = (*_rgb(colour), 0.6 if fate == "missed" else 0.75)
            one.imshow(shown, interpolation="nearest")
            if where.any() and fate == "missed":
                with_hatch = one.contourf(
                    where.astype(float), levels=[0.5, 1.5], colors="none", hatches=["////"]
                )
                with_hatch.set_edgecolor("#00000088")
                with_hatch.set_linewidth(0)
    _frame(axes[0], seen.part)
    _zoomed(axes[1], seen)
    handles = [
        Patch(facecolor=STYLES["missed"][0], hatch="////", edgecolor="#555555"),
        Patch(facecolor=STYLES["false"][0]),
    ]
    names = [
        f"{word} ({100 * where.mean():.1f} % of the pixels)"
        for word, where in (("missed", missed), ("false", false))
    ]
    _legend(figure, handles, names)
    return png_of(figure)


def precision_curves(report: SegmentationReport) -> bytes:
    """AP from IoU 0.5 to 0.9 for each method, and what became of the true objects."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    for place, method in enumerate(report.methods):
        curves = [
            found.average_precision
            for image in report.images
            if (found := image.results[method.key]).average_precision
        ]
        style: dict[str, Any] = LINES[place % len(LINES)]
        mean = np.mean(curves, axis=0) if curves else np.full(len(THRESHOLDS), np.nan)
        left.plot(THRESHOLDS, mean, marker=MARKS[place % len(MARKS)], label=method.label, **style)
    left.set_ylim(-0.02, 1.02)
    label_axes(left, "IoU from which an object counts as found", "AP, mean over images")
    left.legend(frameon=False, fontsize=SMALL - 1, loc="best")
    _fates(right, report)
    return png_of(figure)


def _fates(axes: Axes, report: SegmentationReport) -> None:
    """Per method what became of the objects, as bars side by side."""
    kinds: Sequence[Fate] = ("missed", "false", "split", "merged")
    width = 0.8 / len(report.methods)
    for place, method in enumerate(report.methods):
        values = report.summary.values[method.key]
        heights = [values[kind] or 0 for kind in kinds]
        at = np.arange(len(kinds)) + (place - (len(report.methods) - 1) / 2) * width
        style = LINES[place % len(LINES)]
        bars = axes.bar(
            at, heights, width * 0.9, color=style["color"], hatch=("", "//", "..")[place % 3],
            edgecolor="white", linewidth=0, label=method.label,
        )  # fmt: skip
        axes.bar_label(bars, [f"{height:.0f}" for height in heights], fontsize=SMALL - 1, color=INK)
    true = report.summary.values[report.methods[0].key]["n_true"] or 0
    axes.set_xticks(range(len(kinds)), ["missed", "false", "split", "merging"], fontsize=TEXT)
    label_axes(axes, "", f"objects ({true:.0f} true ones)")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.12)


def _two(seen: Seen) -> tuple[Figure, tuple[Axes, Axes]]:
    """The whole slice on the left, the part on the right, of one height."""
    high, wide = seen.grey.shape[:2]
    ratios = [wide / high, seen.part.width / seen.part.height]
    height = min((WIDTH - GAP) / sum(ratios), TALLEST)
    figure_height = height + 0.55
    figure = Figure(figsize=(WIDTH, figure_height), facecolor="white")
    left, axes = 0.0, []
    for ratio in ratios:
        box = (left / WIDTH, 0.0, height * ratio / WIDTH, height / figure_height)
        axes.append(figure.add_axes(box))
        left += height * ratio + GAP
    return figure, (axes[0], axes[1])


def _below(axes: Axes, seen: Seen) -> None:
    axes.set_axis_off()
    high, wide = seen.grey.shape[:2]
    step = -(-max(high, wide) // SHOWN_PIXELS)
    shown = seen.grey[::step, ::step]
    how: dict[str, Any] = {
        "interpolation": "nearest",
        "extent": (-0.5, wide - 0.5, high - 0.5, -0.5),
    }
    if shown.ndim == 3:
        axes.imshow(_colours(shown), **how)
        return
    low, top = np.percentile(seen.grey.astype(np.float64), (0.5, 99.7))
    if not seen.has_source:
        low, top = 0.0, 3.0
    axes.imshow(shown, cmap="gray", vmin=low, vmax=max(top, low + 1e-9), **how)


def _colours(pixels: NDArray[Any]) -> NDArray[Any]:
    top = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "ui" else float(pixels.max())
    return np.asarray(np.clip(pixels.astype(np.float32) / max(top, 1e-9), 0, 1))


def _frame(axes: Axes, part: Part) -> None:
    axes.add_patch(
        Rectangle(
            (part.left - 0.5, part.top - 0.5), part.width, part.height, fill=False,
            edgecolor="white", linewidth=1.4,
            path_effects=[withStroke(linewidth=2.6, foreground="black")],
        )
    )  # fmt: skip
    high, wide = axes.get_images()[0].get_extent()[2] + 0.5, axes.get_images()[0].get_extent()[1]
    axes.set_xlim(-0.5, wide)
    axes.set_ylim(high - 0.5, -0.5)


def _zoomed(axes: Axes, seen: Seen) -> None:
    part = seen.part
    axes.set_xlim(part.left - 0.5, part.left + part.width - 0.5)
    axes.set_ylim(part.top + part.height - 0.5, part.top - 0.5)
    step = seen.pixel_size_um or 1.0
    length = round_length(part.width * step / 4)
    x, y = part.left + 0.04 * part.width, part.top + 0.95 * part.height
    stroke = withStroke(linewidth=5, foreground="black")
    axes.plot(
        [x, x + length / step], [y, y], color="white", linewidth=3.4, solid_capstyle="butt",
        path_effects=[stroke],
    )  # fmt: skip
    axes.text(
        x + length / step / 2, y - 0.02 * part.height,
        f"{length:g} {'µm' if seen.pixel_size_um else 'px'}", color="white", fontsize=SMALL,
        ha="center", va="bottom", path_effects=[withStroke(linewidth=2.2, foreground="black")],
    )  # fmt: skip


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    legend = figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=len(labels),
        frameon=True, fontsize=SMALL, handlelength=2.6, columnspacing=1.6, borderpad=0.45,
        facecolor="#333333", edgecolor="none", labelcolor="white",
    )  # fmt: skip
    legend.get_frame().set_alpha(1)


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]
