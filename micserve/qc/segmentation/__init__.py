"""Quality control of a segmentation: are the objects found, told apart, and outlined rightly?

    SegmentationCase(s)                one label image or mask, its ground truth, its source
        │ evaluate_segmentation        every measure, per image and per slice
        ▼
    SegmentationReport ── .summary     means over images, verdict in a sentence
        ├─ segmentation_json ──► SegmentationDocument   the documented schema
        ├─ segmentation_csv            a row per image, slice and method
        ├─ segmentation_held_out       what the gate compares versions by
        └─ draw_segmentation ──► pictures ──► segmentation_html, pdf.segmentation_pdf

    overlaps match fates               the counting, equal to `stardist.matching`

Works on arrays; imports no file format, web framework or runtime. Matplotlib and
scikit-image are loaded when they are used, ReportLab only with `pdf`.
"""

from micserve.qc.segmentation.document import SegmentationDocument, segmentation_json
from micserve.qc.segmentation.evaluate import evaluate_segmentation
from micserve.qc.segmentation.held_out import segmentation_held_out
from micserve.qc.segmentation.labels import checked_labels
from micserve.qc.segmentation.matching import THRESHOLDS, Matching, match
from micserve.qc.segmentation.overlap import Overlap, overlaps
from micserve.qc.segmentation.page import segmentation_html
from micserve.qc.segmentation.parts import Fates, fates
from micserve.qc.segmentation.pictures import SegmentationPicture, draw_segmentation
from micserve.qc.segmentation.report import SegmentationCase, SegmentationReport
from micserve.qc.segmentation.tables import segmentation_csv

__all__ = [
    "THRESHOLDS",
    "Fates",
    "Matching",
    "Overlap",
    "SegmentationCase",
    "SegmentationDocument",
    "SegmentationPicture",
    "SegmentationReport",
    "checked_labels",
    "draw_segmentation",
    "evaluate_segmentation",
    "fates",
    "match",
    "overlaps",
    "segmentation_csv",
    "segmentation_held_out",
    "segmentation_html",
    "segmentation_json",
]
