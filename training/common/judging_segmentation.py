"""What a segmenting trainer found out about its validation frames, as a report.

Knows the segmentation report and its files; the frames are `judging`'s, and how labels
were made of them is the family's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.qc import About
from micserve.qc.segmentation import SegmentationCase, evaluate_segmentation
from micserve.qc.segmentation.evaluate import Asked
from micserve.qc.segmentation.page import TITLE
from micserve.serving.segmentation_files import segmentation_for_listings, write_segmentation
from training.common.judging import Shown, Written


@dataclass(frozen=True, slots=True)
class Segmented:
    """Labels or classes beside what people drew."""

    cases: tuple[SegmentationCase, ...]
    numbers: Asked
    notes: tuple[str, ...]
    """How what was predicted was chosen, in sentences."""

    def write(self, folder: Path, *, about: About, first: Sequence[str]) -> Written:
        """All forms of the report but the error maps."""
        ndim = max(np.ndim(case.target) for case in self.cases)
        report = evaluate_segmentation(self.cases, reading=self.numbers, ndim=ndim)
        report = replace(report, notes=(*first, *self.notes, *report.notes))
        write_segmentation(report, folder, about=replace(about, title=TITLE), truths={})
        return Written(report.summary.sentence, segmentation_for_listings(report))


def segmentation_case(frame: Shown, prediction: NDArray[Any]) -> SegmentationCase:
    """One frame and its labels, with the source below the outlines."""
    return SegmentationCase(
        name=frame.name,
        prediction=np.asarray(prediction),
        target=np.rint(frame.target).astype(np.int64),
        source=frame.source,
        pixel_size_um=frame.pixel_size_um,
    )
