"""Figures of a training report as PNG bytes; drawn with matplotlib's objects, no global state."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.common.state import Epoch

MOST_PATCHES = 8
MOST_PIXELS = 1024
"""Along one side of the example image; larger ones are shown by every n-th pixel."""
INK = {"loss": "#4477aa", "val_loss": "#cc6677", "learning_rate": "#117733"}
"""Paul Tol's palette, which colour-blind readers can tell apart."""


def loss_curves(history: Sequence[Epoch]) -> bytes:
    """Loss and validation loss, linear and logarithmic, and the learning rate."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    linear, log, rate = figure.subplots(1, 3)
    numbers = [epoch.epoch for epoch in history]
    for axes, scale in ((linear, "linear"), (log, "log")):
        for name, label in (("loss", "training"), ("val_loss", "validation")):
            values = [epoch.metrics[name] for epoch in history]
            axes.plot(numbers, values, color=INK[name], label=label, marker=_marker(numbers))
        axes.set(xlabel="epoch", ylabel="loss", yscale=scale, title=f"Loss, {scale}")
        axes.legend(frameon=False)
    rates = [epoch.metrics["learning_rate"] for epoch in history]
    rate.plot(numbers, rates, color=INK["learning_rate"], marker=_marker(numbers))
    rate.set(xlabel="epoch", yscale="log", title="Learning rate")
    for axes in (linear, log, rate):
        axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def images_in_a_row(
    pictures: Sequence[tuple[str, NDArray[np.float32]]], *, limits: tuple[float, float] | None
) -> bytes:
    """(Y, X) images side by side; None shows each between its own darkest and brightest pixels."""
    figure = Figure(figsize=(5.2 * len(pictures), 5.4), layout="constrained")
    for axes, (title, pixels) in zip(
        np.atleast_1d(figure.subplots(1, len(pictures))), pictures, strict=True
    ):
        step = -(-max(pixels.shape) // MOST_PIXELS)
        low, high = limits or np.percentile(pixels, (0.5, 99.8))
        axes.imshow(pixels[::step, ::step], cmap="gray", vmin=low, vmax=high)
        axes.set_title(title)
        axes.axis("off")
    return _png(figure)


def patches(stack: NDArray[np.float32], *, limits: tuple[float, float]) -> bytes:
    """Up to eight patches (N, Y, X) in a row."""
    shown = stack[:MOST_PATCHES]
    figure = Figure(figsize=(11, 11 / MOST_PATCHES + 0.1), layout="constrained")
    for axes in figure.subplots(1, MOST_PATCHES):
        axes.axis("off")
    for axes, patch in zip(figure.axes, shown, strict=False):
        axes.imshow(patch, cmap="gray", vmin=limits[0], vmax=limits[1])
    return _png(figure)


def _marker(numbers: Sequence[int]) -> str:
    return "o" if len(numbers) < 20 else ""


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
