"""Figures drawn with Matplotlib's object interface, without any global state.

Colours are those of Okabe and Ito (lines) and viridis and cividis (maps): legible
with every kind of colour vision, and in grey print by dash and weight.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from micserve.qc.measures import Scores
from micserve.qc.view import GREY, TRUTH, View

WIDTH = 11.0
"""Inches; a report is as wide on a screen, 7 inches in print."""
DPI = 150
TEXT, SMALL = 12, 10.5
"""Points at `WIDTH`: above 6.5 pt in print."""
MARGIN_TOP, MARGIN_BOTTOM, MARGIN_RIGHT = 0.56, 0.06, 1.15
GAP, ROW_GAP, BAR_WIDTH = 0.06, 0.2, 0.14
SMALLEST_ROW, TALLEST_ROW, WIDEST_IMAGE = 1.5, 5.0, 2.42
"""Inches; a row is never too low for the label of its colour bar."""
BINS = 64
SHOWN_PIXELS = 900
"""Along the longer side; larger images are shown with every n-th pixel, never smoothed."""
FRAME = "#F0E442"
INK = "#222222"

STYLES: dict[str, dict[str, Any]] = {
    TRUTH: {"color": "#000000", "linewidth": 2.2, "linestyle": "-", "zorder": 2},
    "prediction": {"color": "#0072B2", "linewidth": 2.0, "linestyle": "-", "zorder": 4},
    "input": {"color": "#999999", "linewidth": 1.0, "linestyle": "-", "zorder": 1},
    "gaussian": {"color": "#D55E00", "linewidth": 1.7, "linestyle": "--", "zorder": 3},
}
FURTHER = ({"color": "#009E73", "linestyle": "-."}, {"color": "#CC79A7", "linestyle": ":"})
"""For filters beyond the Gaussian."""


def panels(seen: View) -> bytes:
    """Every image whole, and the framed part of it magnified."""
    shape = seen.planes[TRUTH].shape
    figure, axes, bars = _grid(len(seen.planes), [shape[0] / shape[1], _window_aspect(seen)])
    grey: dict[str, Any] = {"cmap": "gray", "vmin": seen.low, "vmax": seen.high}
    for (whole, zoom), (key, plane) in zip(
        zip(*axes, strict=True), seen.planes.items(), strict=True
    ):
        _show(whole, _thinned(plane), extent=(0, shape[1], shape[0], 0), **grey)
        shown = _show(zoom, seen.window.of(plane), extent=_window_extent(seen), **grey)
        whole.set_title(title(seen.labels[key]), fontsize=TEXT, color=INK, pad=7)
        _frame(whole, seen)
        zoom.axhline(seen.window.line + 0.5, color=FRAME, linewidth=1.0, linestyle=(0, (4, 4)))
        _scale_bar(zoom, seen)
    bars[0].set_position(_around(bars))
    bars[1].remove()
    _colour_bar(figure, shown, bars[0], seen.unit, extend="both")
    return png_of(figure, "gray")


def maps(seen: View) -> bytes:
    """Error above, SSIM below, one colour bar each."""
    shape = seen.planes[TRUTH].shape
    figure, axes, bars = _grid(len(seen.maps), [shape[0] / shape[1]] * 2)
    most = max(float(np.percentile(found.error, 99.5)) for found in seen.maps.values()) or 1.0
    for (above, below), (key, found) in zip(
        zip(*axes, strict=True), seen.maps.items(), strict=True
    ):
        error = _show(above, _thinned(found.error), cmap="viridis", vmin=0, vmax=most)
        ssim = _show(below, _thinned(found.ssim), cmap="cividis", vmin=0, vmax=1)
        above.set_title(title(seen.labels[key]), fontsize=TEXT, color=INK, pad=7)
    _colour_bar(figure, error, bars[0], "error\n(fraction of range)", extend="max")
    _colour_bar(figure, ssim, bars[1], "SSIM\n(1 = same)", extend="min")
    return png_of(figure, "viridis", "cividis")


def curves(seen: View) -> bytes:
    """Profile along the dashed line, and histogram of the slice."""
    figure = Figure(figsize=(WIDTH, 4.1), layout="constrained", facecolor="white")
    profile, histogram = figure.subplots(1, 2)
    step = seen.pixel_size_um or 1.0
    along = (seen.window.left + np.arange(seen.window.width)) * step
    bins = _bins(seen)
    for key in _legend_order(seen.planes):
        plane, style = seen.planes[key], style_of(key, list(seen.planes))
        profile.plot(along, seen.window.along(plane), label=seen.labels[key], **style)
        counts, _ = np.histogram(plane, bins)
        histogram.stairs(counts, bins, label=seen.labels[key], **style)
    label_axes(profile, f"x ({'µm' if seen.pixel_size_um else 'px'})", seen.unit)
    label_axes(histogram, seen.unit, "pixels")
    histogram.set_yscale("log")
    histogram.set_ylim(bottom=0.7)
    handles, labels = profile.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=TEXT
    )
    return png_of(figure)


def slices(scores: Mapping[str, Sequence[Scores]], labels: Mapping[str, str]) -> bytes:
    """Normalised PSNR and SSIM along the stack."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    for axes, field, unit in (
        (left, "psnr_normalized_db", "PSNR, normalised (dB)"),
        (right, "ssim", "SSIM"),
    ):
        for key, along in scores.items():
            values = [_number(getattr(one, field)) for one in along]
            style = style_of(key, list(scores))
            axes.plot(range(1, len(values) + 1), values, label=labels[key], **style)
        label_axes(axes, "slice", unit)
        axes.xaxis.get_major_locator().set_params(integer=True)
    handles, names = left.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=len(names), frameon=False, fontsize=TEXT
    )
    return png_of(figure)


def _grid(columns: int, aspects: Sequence[float]) -> tuple[Figure, list[list[Axes]], list[Axes]]:
    """Rows of images with a colour bar beside each, laid out in inches: (figure, rows, bars)."""
    width = min((WIDTH - MARGIN_RIGHT - GAP * (columns - 1)) / columns, WIDEST_IMAGE)
    heights = [min(max(width * aspect, SMALLEST_ROW), TALLEST_ROW) for aspect in aspects]
    height = MARGIN_TOP + sum(heights) + ROW_GAP * (len(heights) - 1) + MARGIN_BOTTOM
    figure = Figure(figsize=(WIDTH, height), facecolor="white")

    def place(left: float, bottom: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / WIDTH, bottom / height, wide / WIDTH, high / height))

    rows, bars, top = [], [], height - MARGIN_TOP
    right = columns * width + (columns - 1) * GAP
    for high in heights:
        rows.append([place(k * (width + GAP), top - high, width, high) for k in range(columns)])
        bars.append(place(right + 2 * GAP, top - high, BAR_WIDTH, high))
        top -= high + ROW_GAP
    return figure, rows, bars


def _show(axes: Axes, values: Any, **how: Any) -> AxesImage:
    axes.set_axis_off()
    return axes.imshow(values, interpolation="nearest", **how)


def _around(bars: Sequence[Axes]) -> tuple[float, float, float, float]:
    """The box from the first bar to the last, in fractions of the figure."""
    first, last = bars[0].get_position(), bars[-1].get_position()
    return (last.x0, last.y0, last.width, first.y1 - last.y0)


def _colour_bar(figure: Figure, shown: AxesImage, on: Axes, label: str, *, extend: str) -> None:
    bar = figure.colorbar(shown, cax=on, extend=extend, extendfrac=0.03)
    bar.locator = MaxNLocator(6)
    bar.set_label(label, fontsize=SMALL, color=INK)
    on.tick_params(labelsize=SMALL, colors=INK)
    for spine in on.spines.values():
        spine.set_visible(False)
    # White ends on white paper would look cut off.
    bar.outline.set(visible=True, edgecolor="#999999", linewidth=0.6)


def _frame(axes: Axes, seen: View) -> None:
    at = seen.window
    axes.add_patch(
        Rectangle(
            (at.left, at.top), at.width, at.height, fill=False, edgecolor=FRAME, linewidth=1.6
        )
    )


def _scale_bar(axes: Axes, seen: View) -> None:
    """A round length of at most a third of the zoom, in µm, or in px without calibration."""
    step = seen.pixel_size_um or 1.0
    length = round_length(seen.window.width * step / 3)
    x = seen.window.left + 0.05 * seen.window.width
    y = seen.window.top + 0.94 * seen.window.height
    outline = [withStroke(linewidth=1.8, foreground="black")]
    axes.plot(
        [x, x + length / step],
        [y, y],
        color="white",
        linewidth=3,
        solid_capstyle="butt",
        path_effects=[withStroke(linewidth=4.2, foreground="black")],
    )
    axes.text(
        x + length / step / 2,
        y - 0.04 * seen.window.height,
        f"{length:g} {'µm' if seen.pixel_size_um else 'px'}",
        color="white",
        fontsize=SMALL,
        ha="center",
        va="bottom",
        path_effects=outline,
    )


def title(label: str) -> str:
    """A filter's setting below its name: columns are narrow."""
    name, equals, value = label.partition(" = ")
    if not equals:
        return label
    name, _, symbol = name.rpartition(" ")
    return f"{name}\n{symbol} = {value}"


def round_length(most: float) -> float:
    """1, 2 or 5 times a power of ten, at most `most`."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)))


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Words, quiet axes and a grid behind."""
    axes.set_xlabel(x, fontsize=TEXT, color=INK)
    axes.set_ylabel(y, fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)


def style_of(key: str, keys: list[str]) -> dict[str, Any]:
    """Colour and line of one of the methods `keys`."""
    if key in STYLES:
        return STYLES[key]
    others = [other for other in keys if other not in STYLES]
    return {"linewidth": 1.6, "zorder": 3, **FURTHER[others.index(key) % len(FURTHER)]}


def _legend_order(planes: Iterable[str]) -> list[str]:
    return [TRUTH, *(key for key in planes if key != TRUTH)]


def _bins(seen: View) -> Any:
    """About 64 over all images; of a whole number of grey values where images are wide enough."""
    low = min(float(plane.min()) for plane in seen.planes.values())
    high = max(float(plane.max()) for plane in seen.planes.values())
    if seen.unit == GREY and high - low >= BINS / 2:
        width = np.ceil((high - low) / BINS)
        return np.arange(np.floor(low) - 0.5, high + width, width)
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _thinned(plane: Any) -> Any:
    step = -(-max(plane.shape) // SHOWN_PIXELS)
    return plane[::step, ::step]


def _window_extent(seen: View) -> tuple[float, float, float, float]:
    at = seen.window
    return (at.left, at.left + at.width, at.top + at.height, at.top)


def _window_aspect(seen: View) -> float:
    return seen.window.height / seen.window.width


def _number(value: float | None) -> float:
    return float("nan") if value is None or not np.isfinite(value) else value


def png_of(figure: Figure, *maps: str) -> bytes:
    """As PNG; a figure of maps gets a palette of their colours, which halves a picture of noise."""
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    drawn = _with_palette(pixels, _palette(maps)) if maps else Image.fromarray(pixels)
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG")
    return buffer.getvalue()


def _palette(maps: Sequence[str]) -> NDArray[np.uint8]:
    """(256, 3): mostly the colours of the maps, then greys for the text, and the frame."""
    of_map = 220 // len(maps)
    colours = [colormaps[name](np.linspace(0, 1, of_map))[:, :3] for name in maps]
    greys = np.linspace(0, 1, 255 - of_map * len(maps))[:, None].repeat(3, axis=1)
    table = np.concatenate([*colours, greys, [to_rgb(FRAME)]])
    return np.asarray(np.rint(table * 255), dtype=np.uint8)


def _with_palette(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> Image.Image:
    """(Y, X, RGB) with every pixel in the nearest colour; Pillow's own search is only near it."""
    packed = pixels.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colours, where = np.unique(packed, return_inverse=True)
    rgb = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(float)
    _, nearest = cKDTree(palette.astype(float)).query(rgb)
    image = Image.fromarray(nearest.astype(np.uint8)[where.reshape(packed.shape)])
    image.putpalette(palette.tobytes())
    return image
