"""Quality control: is the restored image closer to the truth, and closer than a plain filter?

    RestorationCase(s)                     one prediction, its ground truth, its input
        │ evaluate_restoration             every measure, per image and per slice
        ▼
    RestorationReport ── .summary          means over images, verdict in a sentence
        │             └─ .maps(image, method)   SSIM and error map, float32
        ├─ report_json ──► RestorationDocument  the documented schema
        ├─ report_csv, zerocost_csv             ours with units; the notebooks' columns
        └─ draw_pictures ──► Picture(s) ──► report_html   one self-contained page
                                        └──► pdf.report_pdf the same for print

    the measures        snr psnr rmse mae                 EPFL's SNR plugin: grey values as they are
    one by one          compare difference_maps           the notebooks' normalisation, a true RMSE
                        scale_invariant_psnr pearson_r    gain and offset forgiven
                        MEASURES                          names, units, directions, meanings
    plain filters       GAUSSIAN Filter                   each at its best setting
    ImageJ's blur       imagej_blur_8bit                  to reproduce figures made in ImageJ

Works on arrays; imports no file format, web framework or runtime. Matplotlib is
loaded only when pictures are drawn, ReportLab only with `micserve.qc.pdf`.
"""

from micserve.qc.about import About
from micserve.qc.baselines import BASELINES, GAUSSIAN, MEDIAN, NON_LOCAL_MEANS, Filter
from micserve.qc.document import RestorationDocument, report_json
from micserve.qc.epfl import mae, psnr, rmse, snr
from micserve.qc.evaluate import evaluate_restoration
from micserve.qc.imagej_blur import imagej_blur_8bit
from micserve.qc.intervals import Interval, differences, interval
from micserve.qc.measures import MEASURES, Measure, Scores
from micserve.qc.moments import pearson_r, scale_invariant_psnr
from micserve.qc.normalized import Maps, compare, difference_maps
from micserve.qc.page import report_html
from micserve.qc.picture import Picture, draw_pictures
from micserve.qc.restoration import (
    ImageResult,
    Method,
    MethodResult,
    RestorationCase,
    RestorationReport,
)
from micserve.qc.spots import Spot, SpotsFound
from micserve.qc.summary import Comparison, Summary, Verdict
from micserve.qc.sweep import Sweep
from micserve.qc.tables import report_csv, zerocost_csv

__all__ = [
    "BASELINES",
    "GAUSSIAN",
    "MEASURES",
    "MEDIAN",
    "NON_LOCAL_MEANS",
    "About",
    "Comparison",
    "Filter",
    "ImageResult",
    "Interval",
    "Maps",
    "Measure",
    "Method",
    "MethodResult",
    "Picture",
    "RestorationCase",
    "RestorationDocument",
    "RestorationReport",
    "Scores",
    "Spot",
    "SpotsFound",
    "Summary",
    "Sweep",
    "Verdict",
    "compare",
    "difference_maps",
    "differences",
    "draw_pictures",
    "evaluate_restoration",
    "imagej_blur_8bit",
    "interval",
    "mae",
    "pearson_r",
    "psnr",
    "report_csv",
    "report_html",
    "report_json",
    "rmse",
    "scale_invariant_psnr",
    "snr",
    "zerocost_csv",
]
