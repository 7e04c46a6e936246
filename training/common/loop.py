"""Epoch after epoch: train, validate, keep the best, write a checkpoint, tell everybody.

Knows no framework (that is the `Learner`) and no registry (that is the `Run`).
"""

import math
import time
from collections.abc import Sequence

from micserve.errors import ParameterError
from micserve.registry import Run
from training.common.learner import Learner, Plan
from training.common.progress import Display
from training.common.state import Checkpoint, Epoch, RunFolder
from training.common.stopping import Stop

REPORT_EVERY_S = 2.0
"""Between two notes of progress in the registry."""

SHARE = 0.95
"""Of a run's progress that is training; exporting and checking are the rest."""


def fit(
    learner: Learner,
    plan: Plan,
    *,
    folder: RunFolder,
    run: Run,
    display: Display,
    stop: Stop,
    patience: int | None = None,
) -> tuple[Epoch, ...]:
    """Train from the last checkpoint to the end.

    Parameters
    ----------
    patience
        Epochs without a better validation loss after which the rest is left out; None for all.

    Returns
    -------
    tuple of Epoch
        The whole history, epochs before a resume included.

    Raises
    ------
    CancelledError
        When somebody asked to stop; the checkpoint of the last whole epoch stays.
    ParameterError
        When the loss is no longer a number.
    """
    history = _resumed(learner, folder)
    note = _Reporter(run, display, stop)
    for number in range(len(history), plan.epochs):
        if patience is not None and len(history) - best_epoch(history) >= patience:
            break
        started = time.monotonic()
        metrics = dict(
            learner.train_epoch(
                number,
                validation_losses=[epoch.val_loss for epoch in history],
                on_step=note.of(number),
            )
        )
        metrics |= learner.validate()
        stop.check()
        _refuse_diverged(metrics["loss"])
        _refuse_diverged(metrics["val_loss"])
        done = Epoch(epoch=number + 1, metrics=metrics, seconds=time.monotonic() - started)
        _keep(learner, folder, history, done)
        history.append(done)
        run.log_metrics(metrics, number + 1)
        display.epoch(number + 1, metrics, note.seconds_left)
    return tuple(history)


def best_of(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the lowest validation loss."""
    return min(history, key=lambda epoch: epoch.val_loss)


def best_epoch(history: Sequence[Epoch]) -> int:
    """Its number, 0 before the first."""
    return best_of(history).epoch if history else 0


class _Reporter:
    """After every step: look whether to stop, show it, and now and then tell the registry."""

    def __init__(self, run: Run, display: Display, stop: Stop) -> None:
        self._run, self._display, self._stop = run, display, stop
        self._told = 0.0
        self.seconds_left: float | None = None

    def of(self, epoch: int) -> "_EpochReporter":
        return _EpochReporter(self, epoch)

    def step(self, epoch: int, step: int, loss: float) -> None:
        self._stop.check()
        _refuse_diverged(loss)
        fraction, self.seconds_left = self._display.step(epoch, step, loss)
        if time.monotonic() - self._told > REPORT_EVERY_S:
            self._told = time.monotonic()
            self._run.log_progress(fraction * SHARE, "training", self.seconds_left)


class _EpochReporter:
    def __init__(self, reporter: _Reporter, epoch: int) -> None:
        self._reporter, self._epoch = reporter, epoch

    def __call__(self, step: int, loss: float) -> None:
        self._reporter.step(self._epoch, step, loss)


def _resumed(learner: Learner, folder: RunFolder) -> list[Epoch]:
    checkpoint = folder.checkpoint()
    if checkpoint is None:
        return []
    learner.load_weights(checkpoint.weights)
    learner.load_state(checkpoint.state)
    return list(checkpoint.history)


def _keep(learner: Learner, folder: RunFolder, history: Sequence[Epoch], done: Epoch) -> None:
    """The best weights first: a checkpoint that knows of them must find them."""
    weights = dict(learner.weights())
    if not history or done.val_loss < best_of(history).val_loss:
        folder.save_best(weights)
    folder.save(Checkpoint(weights=weights, state=dict(learner.state()), history=(*history, done)))


def _refuse_diverged(loss: float) -> None:
    if not math.isfinite(loss):
        raise ParameterError(
            "The loss is no longer a number: the training ran away. Start again with a smaller "
            "initial_learning_rate, for example a tenth, or a larger batch_size."
        )
