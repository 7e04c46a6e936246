"""A training without a registry: for measuring what a family reaches, and for tests.

The same loop, export and checks as `training.common.flow`; nothing is published.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from training.common import machine
from training.common.config import assemble
from training.common.flow import effective
from training.common.learner import Trainer
from training.common.loop import fit
from training.common.package import Packed, pack
from training.common.progress import Display
from training.common.report import Training
from training.common.state import Epoch, RunFolder
from training.common.stopping import stop_on_signals


@dataclass(frozen=True, slots=True)
class Trained:
    """A model package that passed all checks, and what it took."""

    packed: Packed
    history: tuple[Epoch, ...]
    seconds: float
    """Of training: building the network and all epochs."""


class Unrecorded:
    """A `Run` that nobody reads."""

    id = "unpublished"

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_progress(self, fraction: float, phase: str, seconds_left: float | None) -> None: ...

    def log_file(self, path: Path, folder: str = "") -> None: ...

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None: ...


def train_unpublished(
    trainer: Trainer[Any], flags: Mapping[str, Any], *, folder: Path, console: Console | None = None
) -> Trained:
    """Train with these parameters and pack the model; all files are written to `folder`."""
    asked = assemble(trainer.config, trainer.presets, flags={"ndim": trainer.ndim, **flags})
    config = asked.config
    data = trainer.data(config)
    plan = trainer.plan(config, data)
    run = RunFolder(folder, Unrecorded.id)
    run.path.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    learner = trainer.learner(config, plan, data)
    with (
        stop_on_signals() as stop,
        Display(
            epochs=plan.epochs, steps=plan.steps, done=0, console=console or Console(stderr=True)
        ) as display,
    ):
        history = fit(learner, plan, folder=run, run=Unrecorded(), display=display, stop=stop)
    seconds = time.monotonic() - started
    if config.weights == "best":
        learner.load_weights(run.best())
    training = Training(
        title=trainer.title,
        name=config.name,
        run_id=Unrecorded.id,
        finished=datetime.now(UTC),
        preset=asked.preset,
        requested={},
        effective=effective(config, plan),
        notes=plan.notes,
        manifest=data.manifest,
        history=history,
        weights=config.weights,
        hardware=machine.hardware(learner.device),
        versions=machine.versions(trainer.versions()),
        methods=trainer.method(config),
        citations=trainer.citations,
        halo=None,
    )
    packed = pack(trainer, learner, config, data, training, folder=folder)
    return Trained(packed, history, seconds)
