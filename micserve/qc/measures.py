"""What is measured: the one home of each measure's name, unit, direction and meaning."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Measure:
    """How one number is named and read."""

    key: str
    """Field of `Scores`, and the name in JSON."""
    label: str
    """In a report's table."""
    unit: str
    column: str
    """In a CSV: ASCII, with the unit."""
    better: Direction
    decimals: int
    meaning: str
    """One sentence for a biologist."""


_RANGE = "of the ground truth's range (0.1 to 99.9 percentile)"

MEASURES = (
    Measure(
        "snr_db",
        "SNR",
        "dB",
        "SNR (dB)",
        "higher",
        2,
        "Strength of the ground truth over strength of the error, as in EPFL's SNR plugin for "
        "ImageJ: 10·log10(Σr² / Σ(r − t)²). Compares grey values as they are.",
    ),
    Measure(
        "psnr_db",
        "PSNR",
        "dB",
        "PSNR (dB)",
        "higher",
        2,
        "The same with the largest grey value of the ground truth as the signal (EPFL): "
        "10·log10(max(r)² / MSE).",
    ),
    Measure(
        "rmse_grey",
        "RMSE",
        "grey values",
        "RMSE (grey values)",
        "lower",
        3,
        "Root mean square error (EPFL): a typical error of a pixel; large errors count more.",
    ),
    Measure(
        "mae_grey",
        "MAE",
        "grey values",
        "MAE (grey values)",
        "lower",
        3,
        "Mean absolute error (EPFL): the average error of a pixel.",
    ),
    Measure(
        "ssim",
        "SSIM",
        "0 to 1",
        "SSIM",
        "higher",
        4,
        "Structural similarity: do brightness, contrast and structure agree around each pixel? "
        "Mean over the image, 1 for equal images, as in the ZeroCostDL4Mic notebooks.",
    ),
    Measure(
        "nrmse",
        "NRMSE",
        "fraction of range",
        "NRMSE (fraction of range)",
        "lower",
        4,
        f"Root mean square error as a fraction {_RANGE}, after the best gain and offset. A true "
        "RMSE, unlike the notebooks' figure of this name.",
    ),
    Measure(
        "psnr_normalized_db",
        "PSNR, normalised",
        "dB",
        "PSNR normalised (dB)",
        "higher",
        2,
        f"PSNR as in the notebooks: after the best gain and offset, with 1 = the width {_RANGE}. "
        "The verdict rests on it and on SSIM.",
    ),
    Measure(
        "scale_invariant_psnr_db",
        "PSNR, scale-invariant",
        "dB",
        "PSNR scale-invariant (dB)",
        "higher",
        2,
        "PSNR after the best gain and offset, with the range from the smallest to the largest "
        "grey value of the ground truth as the signal.",
    ),
    Measure(
        "pearson_r",
        "Pearson r",
        "−1 to 1",
        "Pearson r",
        "higher",
        4,
        "Correlation of grey values: 1 when one image is the other but for gain and offset.",
    ),
    Measure(
        "zerocost_compat_nrmse",
        "ZeroCost “NRMSE”",
        "zerocost_compat",
        "zerocost_compat NRMSE",
        "lower",
        4,
        "What the ZeroCostDL4Mic notebooks print as NRMSE, for comparison with old results only: "
        "the square root of the mean absolute error, which is not an RMSE.",
    ),
)


@dataclass(frozen=True, slots=True)
class Scores:
    """One image (or slice) against its ground truth; None where a measure has no meaning.

    Infinite where the images are equal. Units and meanings: `MEASURES`.
    """

    snr_db: float | None = None
    psnr_db: float | None = None
    rmse_grey: float | None = None
    mae_grey: float | None = None
    ssim: float | None = None
    nrmse: float | None = None
    psnr_normalized_db: float | None = None
    scale_invariant_psnr_db: float | None = None
    pearson_r: float | None = None
    zerocost_compat_nrmse: float | None = None

    def value(self, measure: Measure) -> float | None:
        found: float | None = getattr(self, measure.key)
        return found
