"""The figures of spots: recall and precision by contrast, and crops of dim ones."""

from collections.abc import Callable, Mapping
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from micserve.qc.figures import INK, SMALL, TEXT, WIDTH, label_axes, png_of, style_of, title
from micserve.qc.spot_view import Crop, DimSpots
from micserve.qc.spots import BINS, SpotsFound, wilson

MARKERS = ("o", "s", "D", "^", "v", "P")
SPREAD = 0.13
"""Between methods within a bin, so that no point hides another."""
FOUND, MISSED = "#56B4E9", "#E69F00"
LABEL_WIDTH = 2.05
"""Inches left of the crops."""
TOP = 0.36
"""Inches above the crops, for the contrasts."""
TITLE_PAD = 6.0
"""Points between a crop and its contrast."""


def recall_and_precision(found: SpotsFound, labels: Mapping[str, str]) -> bytes:
    """Two panels, a point with its interval per bin and method."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    _points(left, found, lambda key, n: found.in_bin(key, n))
    _points(right, found, lambda key, n: _right_of(found, key, n))
    label_axes(left, "", "recall (share of true spots)")
    label_axes(right, "", "precision (share of detections)")
    left.set_ylim(-0.03, 1.03)
    right.tick_params(labelleft=True)
    names = [_bin_name(found, n) for n in range(len(BINS))]
    for axes in (left, right):
        axes.set_xticks(range(len(BINS)), names, fontsize=SMALL)
        axes.set_xlim(-0.5, len(BINS) - 0.5)
        axes.set_xlabel("contrast in grey values", fontsize=TEXT, color=INK)
    handles, _ = left.get_legend_handles_labels()
    figure.legend(
        handles,
        [labels[key] for key in found.methods],
        loc="outside upper center",
        ncols=min(len(labels), 5),
        frameon=False,
        fontsize=SMALL,
    )
    return png_of(figure)


def _points(axes: Axes, found: SpotsFound, share: Callable[[str, int], tuple[int, int]]) -> None:
    keys = list(found.methods)
    for place, key in enumerate(keys):
        style = style_of(key, keys)
        counted = [(n, *share(key, n)) for n in range(len(BINS))]
        at = np.array([n + (place - (len(keys) - 1) / 2) * SPREAD for n, _, of in counted if of])
        values = np.array([hits / of for _, hits, of in counted if of])
        ends = np.array([wilson(hits, of) for _, hits, of in counted if of]).reshape(-1, 2)
        axes.errorbar(
            at,
            values,
            yerr=np.abs(np.stack([values - ends[:, 0], ends[:, 1] - values])),
            fmt=MARKERS[place % len(MARKERS)],
            color=style["color"],
            markersize=7,
            elinewidth=1.6,
            label=key,
        )


def _right_of(found: SpotsFound, key: str, number: int) -> tuple[int, int]:
    one = found.methods[key]
    return one.right[number], one.detected[number]


def _bin_name(found: SpotsFound, number: int) -> str:
    edges = found.edges
    if number == 0:
        span = f"< {edges[0]:.3g}"
    elif number == len(edges):
        span = f"> {edges[-1]:.3g}"
    else:
        span = f"{edges[number - 1]:.3g} to {edges[number]:.3g}"
    return f"{fill(BINS[number], 10)}\n{span}"


def gallery(dim: DimSpots) -> bytes:
    """Rows: ground truth and methods; columns: spots."""
    columns = len(dim.spots)
    side = (WIDTH - LABEL_WIDTH) / max(columns, 6) - 0.06
    height = len(dim.rows) * (side + 0.06) + TOP
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    limits = [_limits(dim, n) for n in range(columns)]
    for row, (key, crops) in enumerate(dim.rows.items()):
        bottom = height - TOP - (row + 1) * (side + 0.06)
        figure.text(
            (LABEL_WIDTH - 0.15) / WIDTH,
            (bottom + side / 2) / height,
            title(dim.labels[key]),
            ha="right",
            va="center",
            fontsize=SMALL,
            color=INK,
        )
        for column, crop in enumerate(crops):
            left = LABEL_WIDTH + column * (side + 0.06)
            axes = figure.add_axes((left / WIDTH, bottom / height, side / WIDTH, side / height))
            _draw(axes, crop, limits[column], dim.spots[column].sigma)
            if row == 0:
                axes.set_title(
                    f"{dim.spots[column].contrast:.1f}", fontsize=SMALL, color=INK, pad=TITLE_PAD
                )
    figure.text(
        (LABEL_WIDTH - 0.15) / WIDTH,
        1 - (TOP + 0.06 - TITLE_PAD / 72) / height,
        "contrast (grey values)",
        ha="right",
        va="baseline",
        fontsize=SMALL,
        color=INK,
    )
    return png_of(figure)


def _draw(axes: Axes, crop: Crop, limits: tuple[float, float], sigma: float) -> None:
    axes.imshow(crop.pixels, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.set_axis_off()
    if crop.found is None:
        return
    middle = (crop.pixels.shape[0] - 1) / 2
    radius = max(np.sqrt(2) * sigma, 4) + 2
    if crop.found:
        angle = np.linspace(0, 2 * np.pi, 60)
        axes.plot(
            middle + radius * np.cos(angle), middle + radius * np.sin(angle), color=FOUND, lw=1.4
        )
    else:
        corner = crop.pixels.shape[0] - 5
        axes.plot(corner, 4, "x", color=MISSED, markersize=9, markeredgewidth=2.4)


def _limits(dim: DimSpots, column: int) -> tuple[float, float]:
    """Of one spot: from below its surroundings to above its top, with room for some noise."""
    truth = next(iter(dim.rows.values()))[column].pixels
    low, high = float(np.nanmin(truth)), float(np.nanmax(truth))
    room = max(high - low, 4 * dim.spots[column].contrast, 1.0) * 0.35
    return low - room, high + room
