"""One training from the first check to the published version; the same for every family.

Nothing is published before all checks passed; a run that was stopped or failed
is marked so, and says how to go on.
"""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from micserve.errors import CancelledError, MicserveError, ParameterError, TrainingDataError
from micserve.registry import ModelRef, ModelVersion, Registry, RegistrySettings, Run, open_registry
from training.common import machine
from training.common.config import Asked, TrainingConfig
from training.common.images import Dataset, Manifest
from training.common.judging import Judging, attach_judgement
from training.common.learner import Learner, Plan, Trainer
from training.common.loop import SHARE, fit
from training.common.package import Packed, pack
from training.common.pairs import PairedDataset
from training.common.progress import Display, duration
from training.common.report import Training
from training.common.state import AskedFor, RunFolder
from training.common.stopping import Stop, stop_on_signals
from training.common.transfer import weights_of

log = logging.getLogger(__name__)

CANDIDATE = "candidate"
"""The alias that moves to a version that was just trained and verified."""

PLACES = {"data", "target", "from_model"}
"""Parameters that may name a place on this computer."""

DEFAULT_PATCH = 64
"""Pixels; what `auto` wishes for."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Which run goes on, and what was given beside its id."""

    run_id: str
    data: Path | None = None
    """Where the images are now, when the folder was moved."""
    name: str | None = None


class TrainingFlow:
    """Trains one model."""

    def __init__(self, trainer: Trainer[Any], console: Console) -> None:
        self._trainer, self._console = trainer, console
        self._settings = RegistrySettings()

    def start(self, asked: Asked[Any], *, run_id: str | None = None) -> ModelVersion:
        """A new training; in a run that was made for it, or in one of its own."""
        data = self._trainer.data(asked.config)
        registry = open_registry(settings=self._settings)
        plan = self._trainer.plan(asked.config, data)
        run = self._open_run(
            registry, asked.config, asked.preset, asked.requested, plan, data, run_id=run_id
        )
        folder = RunFolder(self._settings.home, run.id)
        with folder.locked():
            folder.begin(
                AskedFor(
                    family=self._trainer.family,
                    preset=asked.preset,
                    requested=plain(asked.requested),
                    config=asked.config.model_dump(mode="json"),
                    manifest=data.manifest,
                )
            )
            return self._supervised(registry, run, folder, asked, plan, data)

    def resume(self, wish: Resume) -> ModelVersion:
        """Go on with a training that was stopped or killed; in the same run of the registry."""
        folder = RunFolder(self._settings.home, wish.run_id)
        before = folder.asked()
        asked = self._asked_before(before, wish)
        with folder.locked():
            registry = open_registry(settings=self._settings)
            done = self._already_published(registry, folder, asked.config.name)
            if done is not None:
                self._say(f"Run {wish.run_id} was already finished: it is {done.ref}.")
                return done
            data = self._trainer.data(asked.config)
            refuse_changed(before.manifest, data.manifest)
            plan = self._trainer.plan(asked.config, data)
            run = self._open_run(
                registry,
                asked.config,
                asked.preset,
                asked.requested,
                plan,
                data,
                run_id=wish.run_id,
            )
            return self._supervised(registry, run, folder, asked, plan, data)

    def _asked_before(self, before: AskedFor, wish: Resume) -> Asked[Any]:
        if before.family != self._trainer.family:
            raise ParameterError(
                f"Run {wish.run_id} is a {before.family} training: resume it with "
                f"make train-{before.family} RESUME={wish.run_id}."
            )
        if wish.name is not None and wish.name != before.config["name"]:
            raise ParameterError(
                f"Run {wish.run_id} trains {before.config['name']}, not {wish.name}: leave the "
                "name out, or start a new training."
            )
        moved = {"data": wish.data} if wish.data else {}
        try:
            config = self._trainer.config.model_validate({**before.config, **moved})
        except ValidationError as error:
            raise ParameterError(
                f"Run {wish.run_id} was begun by another version of micserve, whose parameters "
                "this one does not take. Go on with that version, or start a new training."
            ) from error
        return Asked(config, before.preset, before.requested)

    def _open_run(
        self,
        registry: Registry,
        config: TrainingConfig,
        preset: str,
        requested: Mapping[str, Any],
        plan: Plan,
        data: Dataset,
        run_id: str | None = None,
    ) -> Run:
        given = {f"requested.{name}": str(value) for name, value in plain(requested).items()}
        used = {name: str(value) for name, value in effective(config, plan).items()}
        return registry.start_run(
            family=self._trainer.family,
            name=config.name,
            run_id=run_id,
            params={"preset": preset, **used, **given},
            tags={"micserve.split": data.manifest.split},
        )

    def _supervised(
        self,
        registry: Registry,
        run: Run,
        folder: RunFolder,
        asked: Asked[Any],
        plan: Plan,
        data: Dataset,
    ) -> ModelVersion:
        """Whatever happens, the run's end is noted."""
        try:
            with stop_on_signals() as stop:
                version = self._train(registry, run, folder, asked, plan, data, stop)
        except CancelledError as error:
            run.finish("KILLED")
            raise CancelledError(f"{error} {self._how_to_resume(run.id)}") from error
        except MicserveError:
            run.finish("FAILED")
            raise
        except BaseException:
            run.finish("FAILED")
            self._say(self._how_to_resume(run.id))
            raise
        run.finish("FINISHED")
        return version

    def _train(
        self,
        registry: Registry,
        run: Run,
        folder: RunFolder,
        asked: Asked[Any],
        plan: Plan,
        data: Dataset,
        stop: Stop,
    ) -> ModelVersion:
        config = asked.config
        learner: Learner = self._trainer.learner(config, plan, data)
        before = folder.checkpoint()
        if before is None and config.from_model is not None:
            learner.load_weights(weights_of(config.from_model, registry, self._trainer))
        self._introduce(run, config, plan, data, learner, done=len(before.history) if before else 0)
        with Display(
            epochs=plan.epochs,
            steps=plan.steps,
            done=len(before.history) if before else 0,
            console=self._console,
        ) as display:
            history = fit(
                learner,
                plan,
                folder=folder,
                run=run,
                display=display,
                stop=stop,
                patience=config.early_stopping,
            )
        if len(history) < plan.epochs:
            self._say(
                f"Stopped after epoch {len(history)} of {plan.epochs}: the validation loss had not "
                f"improved for {config.early_stopping} epochs."
            )
        # What the report says was done, where the training stopped early.
        plan = replace(plan, epochs=len(history))
        if config.weights == "best":
            learner.load_weights(folder.best())
        training = Training(
            title=self._trainer.title,
            name=config.name,
            run_id=run.id,
            finished=datetime.now(UTC),
            preset=asked.preset,
            requested=plain(asked.requested),
            effective=effective(config, plan),
            notes=(*plan.notes, *data.notes),
            manifest=data.manifest,
            history=history,
            weights=config.weights,
            hardware=machine.hardware(learner.device),
            versions=machine.versions(self._trainer.versions()),
            methods=self._methods(config, plan, data, learner),
            citations=self._trainer.citations,
            halo=None,
        )
        self._say(f"Trained in {duration(training.seconds)}. Exporting and checking the model …")
        run.log_progress(SHARE, "exporting and checking", None)
        with tempfile.TemporaryDirectory(dir=folder.path) as scratch:
            packed = pack(self._trainer, learner, config, data, training, folder=Path(scratch))
            stop.check()
            run.log_progress(0.99, "publishing", None)
            version = self._publish(registry, run, packed, config, folder)
            # The files are sent by the run's own thread, so they must outlive this block.
            report = folder.path / packed.report.name
            packed.report.replace(report)
            quality = self._judged(registry, run, version, packed.path, data, folder.path)
        run.log_file(report)
        run.log_progress(1.0, "done", 0)
        self._conclude(version, report, quality)
        return version

    def _judged(
        self,
        registry: Registry,
        run: Run,
        version: ModelVersion,
        package: Path,
        data: Dataset,
        folder: Path,
    ) -> str:
        """A quality report on held-out images, for families that learn from pairs; a sentence."""
        if not isinstance(self._trainer, Judging) or not isinstance(data, PairedDataset):
            return ""
        run.log_progress(0.99, "judging held-out images", None)
        return attach_judgement(
            self._trainer,
            data,
            package=package,
            registry=registry,
            version=version,
            folder=folder / "judged",
        )

    def _publish(
        self,
        registry: Registry,
        run: Run,
        packed: Packed,
        config: TrainingConfig,
        folder: RunFolder,
    ) -> ModelVersion:
        version = registry.publish(
            packed.path,
            name=config.name,
            run_id=run.id,
            contract=packed.contract,
            verification=packed.verification,
            description=self._trainer.title,
        )
        registry.promote(
            version.ref, CANDIDATE, by=config.author or "trainer", reason="just trained"
        )
        folder.note_published(str(version.ref))
        return version

    def _already_published(
        self, registry: Registry, folder: RunFolder, name: str
    ) -> ModelVersion | None:
        """A kill between publishing and noting it must not publish twice."""
        noted = folder.published()
        if noted is not None:
            return registry.resolve(ModelRef.parse(noted))
        for model in registry.list_models():
            if model.name == name:
                mine = [v for v in registry.list_versions(name) if v.run_id == folder.run_id]
                return mine[0] if mine else None
        return None

    def _methods(self, config: Any, plan: Plan, data: Dataset, learner: Learner) -> str:
        count = len(data.manifest.images)
        size = " × ".join(map(str, plan.patch_size))
        return (
            f"A {self._trainer.title} network [1] was trained with micserve on {count} "
            f"image{'s' if count > 1 else ''} for {plan.epochs} epochs of {plan.steps} steps "
            f"(batch size {config.batch_size}, patch size {size} pixels). "
            f"{self._trainer.method(config)} {data.manifest.sentence} "
            f"Trained on {learner.device}."
        )

    def _introduce(
        self, run: Run, config: Any, plan: Plan, data: Dataset, learner: Learner, *, done: int
    ) -> None:
        self._say(f"{self._trainer.title}: {config.name}, run {run.id}")
        self._say(f"  on {learner.device}")
        self._say(f"  {data.manifest.sentence}")
        for note in (*plan.notes, *data.notes):
            self._say(f"  {note}")
        if done:
            self._say(f"  Going on after epoch {done} of {plan.epochs}.")

    def _conclude(self, version: ModelVersion, report: Path, quality: str) -> None:
        self._say(f"Published {version.ref} (alias {CANDIDATE}), sha256 {version.digest[:12]}…")
        self._say(f"Report: {report}")
        if quality:
            self._say(quality)
        self._say(f"Next: micserve promote {version.ref} --reason '…'")

    def _how_to_resume(self, run_id: str) -> str:
        return f"To go on: make train-{self._trainer.family} RESUME={run_id}"

    def _say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False, soft_wrap=True, markup=False)


def effective(config: TrainingConfig, plan: Plan) -> dict[str, Any]:
    """Parameters as they were used: `auto` resolved, sizes as they came out."""
    values = config.model_dump(mode="json")
    resolved = {
        "number_of_epochs": plan.epochs,
        "number_of_steps": plan.steps,
        "patch_size": plan.patch_size[-1],
    }
    if len(plan.patch_size) == 3:
        resolved["patch_height"] = plan.patch_size[0]
    return plain({**values, **resolved})


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them; places by their last name, since models travel and paths do not."""
    return {
        name: Path(value).name if name in PLACES and value is not None else value
        for name, value in values.items()
    }


def refuse_changed(before: Manifest, now: Manifest) -> None:
    """A training goes on with the images that it began with."""
    old = {entry.file: entry.sha256 for entry in before.files}
    new = {entry.file: entry.sha256 for entry in now.files}
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if changed:
        raise TrainingDataError(
            f"The images are not those that this run began with ({', '.join(changed[:5])}): put "
            "them back, or start a new training."
        )
