"""The curve of the reproduced experiment: what was learnt, and what that does to the SNR."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from micserve.qc.figures import INK, SMALL, WIDTH, label_axes, png_of

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Okabe and Ito: told apart with every kind of colour vision."""
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")

Row = Mapping[str, float]


def training_curves(
    epochs: Sequence[Row], snr_db: Sequence[Row], marks: Mapping[str, float]
) -> bytes:
    """Loss by epoch, and SNR of the judged images by epoch, as PNG.

    Parameters
    ----------
    epochs
        `epoch`, `loss`, `val_loss` of each.
    snr_db
        `epoch`, and the SNR in dB of each image by its name.
    marks
        Label to SNR in dB: horizontal lines to compare with.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    numbers = [row["epoch"] for row in epochs]
    for name, label, look in (("loss", "training", 0), ("val_loss", "validation", 1)):
        values = [row[name] for row in epochs]
        marker = MARKERS[look] if len(numbers) < 20 else ""
        left.plot(numbers, values, color=COLOURS[look], ls=DASHES[look], marker=marker, label=label)
    label_axes(left, "epoch", "loss (mean square, normalised)")
    _snr(right, snr_db, marks)
    left.legend(frameon=False, fontsize=SMALL, loc="upper right")
    right.legend(frameon=False, fontsize=SMALL, loc="lower right")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return png_of(figure)


def _snr(axes: Axes, rows: Sequence[Row], marks: Mapping[str, float]) -> None:
    names = [name for name in rows[0] if name != "epoch"]
    for look, name in enumerate(names):
        axes.plot(
            [row["epoch"] for row in rows],
            [row[name] for row in rows],
            color=COLOURS[look % 4],
            ls=DASHES[look % 4],
            marker=MARKERS[look % 4],
            markersize=4,
            label=name,
        )
    for look, (label, value) in enumerate(marks.items()):
        axes.axhline(
            value, color=INK, linewidth=1.2, ls=DASHES[-1 - look], label=f"{label}: {value:.2f} dB"
        )
    label_axes(axes, "epoch", "SNR (dB)")
