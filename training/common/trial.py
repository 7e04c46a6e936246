"""Train and pack a model as the trainer does, with nobody to record or publish it.

For measurements (`training.<family>.accuracy`) and tests: what comes out is the
checked package, opened and ready to predict with.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from micserve.artifact.package import open_package
from micserve.artifact.verify import Verification
from micserve.backends.onnx import OnnxBackend
from micserve.files import publish_file
from micserve.predict import LoadedModel
from training.common import machine
from training.common.config import assemble
from training.common.flow import effective
from training.common.learner import Learner, Trainer
from training.common.loop import fit
from training.common.package import pack
from training.common.progress import Display
from training.common.report import Training
from training.common.state import Epoch, RunFolder
from training.common.stopping import stop_on_signals

Watch = Callable[[Learner, int], None]
"""(the network, epochs done)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A model that was trained to be measured."""

    model: LoadedModel
    seconds: float
    """Of training: building the network and all epochs."""
    report: Path
    verification: Verification
    history: tuple[Epoch, ...]
    package: Path


class Unrecorded:
    """A `Run` that nobody reads."""

    id = "trial"

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_progress(self, fraction: float, phase: str, seconds_left: float | None) -> None: ...

    def log_file(self, path: Path, folder: str = "") -> None: ...

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None: ...


class Watched(Unrecorded):
    """A `Run` that shows the network to somebody after every epoch."""

    def __init__(self, learner: Learner, watch: Watch) -> None:
        self._learner, self._watch = learner, watch

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._watch(self._learner, step)


@contextmanager
def trial(
    trainer: Trainer[Any],
    parameters: Mapping[str, Any],
    *,
    console: Console,
    watch: Watch | None = None,
    keep: Path | None = None,
) -> Iterator[Trial]:
    """Train with these parameters (`data`, `preset`, …); the files live as long as the block.

    Parameters
    ----------
    watch
        Called after every epoch, for example to measure what the network does by then.
    keep
        Where the package outlives the block; the model has this file's name, without its ending.

    Raises
    ------
    VerificationError
        When the package does not pass the checks that publishing asks for.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        asked = assemble(
            trainer.config,
            trainer.presets,
            flags={"name": keep.stem if keep else Unrecorded.id, **parameters},
        )
        config = asked.config
        data = trainer.data(config)
        plan = trainer.plan(config, data)
        run = RunFolder(folder, Unrecorded.id)
        run.path.mkdir(parents=True)
        started = time.monotonic()
        learner = trainer.learner(config, plan, data)
        with (
            stop_on_signals() as stop,
            Display(epochs=plan.epochs, steps=plan.steps, done=0, console=console) as display,
        ):
            history = fit(
                learner,
                plan,
                folder=run,
                run=Unrecorded() if watch is None else Watched(learner, watch),
                display=display,
                stop=stop,
                patience=config.early_stopping,
            )
        seconds = time.monotonic() - started
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
        if keep:
            with publish_file(keep) as part:
                shutil.copyfile(packed.path, part)
        opened = open_package(packed.path, into=folder / "opened")
        model = LoadedModel(opened.contract, OnnxBackend(opened.onnx, provider="cpu"))
        yield Trial(model, seconds, packed.report, packed.verification, tuple(history), packed.path)
