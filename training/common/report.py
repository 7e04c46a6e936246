"""The training report: one HTML file with everything in it, which opens without a network.

Knows how to show a training; gathers nothing itself.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from micserve.artifact.build import Citation
from micserve.artifact.verify import Check
from training.common import figures
from training.common.images import Manifest
from training.common.learner import Samples
from training.common.loop import best_of
from training.common.progress import duration
from training.common.state import Epoch

TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True, slots=True)
class Training:
    """All that the report says, and the model's README repeats in part."""

    title: str
    """`Noise2Void 2D`"""
    name: str
    run_id: str
    finished: datetime
    preset: str
    requested: Mapping[str, Any]
    effective: Mapping[str, Any]
    notes: Sequence[str]
    manifest: Manifest
    history: Sequence[Epoch]
    weights: str
    hardware: Mapping[str, str]
    versions: Mapping[str, str]
    methods: str
    citations: Sequence[Citation]
    halo: tuple[int, ...] | None

    @property
    def seconds(self) -> float:
        """Of training, all resumed parts together."""
        return sum(epoch.seconds for epoch in self.history)

    @property
    def chosen(self) -> Epoch:
        return best_of(self.history) if self.weights == "best" else self.history[-1]


@dataclass(frozen=True, slots=True)
class Pictures:
    """(Y, X) grey values."""

    example: NDArray[np.float32]
    answer: NDArray[np.float32]
    """What the network makes of it; in the example's grey values unless there is a target."""
    example_name: str
    samples: Samples
    target: NDArray[np.float32] | None = None
    """Of paired data: what the network should answer, in the target's own values."""


def write_report(
    path: Path, training: Training, pictures: Pictures, *, checks: Sequence[Check]
) -> Path:
    """Write the report as one HTML file."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        t=training,
        duration=duration(training.seconds),
        parameters=_parameters(training),
        figures=_figures(training, pictures),
        checks=checks,
        example_name=pictures.example_name,
        paired=pictures.target is not None,
    )
    path.write_text(page, encoding="utf-8")
    return path


def _parameters(training: Training) -> list[tuple[str, str, str]]:
    """(name, asked for or where it came from, what was used)."""
    return [
        (name, str(training.requested[name]) if name in training.requested else "", str(value))
        for name, value in training.effective.items()
    ]


def _example(pictures: Pictures) -> list[tuple[str, NDArray[np.float32]]]:
    shown = [("image", pictures.example), ("through the network", pictures.answer)]
    return shown if pictures.target is None else [*shown, ("target", pictures.target)]


def _figures(training: Training, pictures: Pictures) -> dict[str, str]:
    low, high = (float(p) for p in np.percentile(pictures.example, (0.5, 99.8)))
    limits = (low, high)
    drawn = {
        "curves": figures.loss_curves(training.history),
        "example": figures.images_in_a_row(
            _example(pictures), limits=limits if pictures.target is None else None
        ),
        "train": figures.patches(pictures.samples.train, limits=limits),
        "validation": figures.patches(pictures.samples.validation, limits=limits),
    }
    if len(pictures.samples.augmented):
        drawn["augmented"] = figures.patches(pictures.samples.augmented, limits=limits)
    return {name: base64.b64encode(png).decode() for name, png in drawn.items()}
