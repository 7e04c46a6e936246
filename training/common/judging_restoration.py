"""Restored validation frames beside their ground truth, the input and plain filters, as a report.

Knows the restoration report and its files; the frames are `judging`'s, and which
filters make sense for what the input shows is the family's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from micserve.predict import LoadedModel
from micserve.qc import About, RestorationCase
from micserve.qc.baselines import Filter
from micserve.qc.evaluate import evaluate_restoration
from micserve.serving.report_files import summary_for_listings, write_report
from training.common.judging import Shown, Written, answers


@dataclass(frozen=True, slots=True)
class Restored:
    """Grey values beside the ground truth's."""

    cases: tuple[RestorationCase, ...]
    baselines: tuple[Filter, ...]
    notes: tuple[str, ...]
    """What a reader has to know of the comparison, in sentences."""

    def write(self, folder: Path, *, about: About, first: Sequence[str]) -> Written:
        """All forms of the report but the maps, which would be ten times as large as the images."""
        report = evaluate_restoration(self.cases, baselines=self.baselines)
        report = replace(report, notes=(*first, *self.notes, *report.notes))
        write_report(report, folder, about=about, truths={})
        return Written(report.summary.verdict.sentence, summary_for_listings(report))


def restored(
    model: LoadedModel,
    frames: Sequence[Shown],
    *,
    baselines: Sequence[Filter],
    notes: Sequence[str] = (),
) -> Restored:
    """Every frame predicted with the family's usual parameters."""
    found = answers(model, frames, model.family.parameters())
    cases = [
        RestorationCase(
            name=frame.name,
            prediction=prediction,
            target=frame.target,
            source=frame.source,
            pixel_size_um=frame.pixel_size_um,
        )
        for frame, prediction in zip(frames, found, strict=True)
    ]
    return Restored(tuple(cases), tuple(baselines), tuple(notes))
