"""What survives a kill, and learning rates that do not depend on where a training was cut."""

import numpy as np
import pytest

from micserve.errors import BusyError, IntegrityError, NotFoundError
from training.common.progress import duration
from training.common.schedule import FLOOR, cosine, plateau
from training.common.state import Checkpoint, Epoch, RunFolder

METRICS = {"loss": 1.0, "val_loss": 2.0, "learning_rate": 1e-3}


def checkpoint(value: float) -> Checkpoint:
    return Checkpoint(
        weights={"0000": np.full((2, 3), value)},
        state={"0000": np.array(7)},
        history=(Epoch(epoch=1, metrics=METRICS, seconds=1.5),),
    )


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    folder = RunFolder(tmp_path, "run")
    with folder.locked():
        assert folder.checkpoint() is None
        folder.save(checkpoint(1.0))
        folder.save(checkpoint(2.0))
        found = folder.checkpoint()
    assert found is not None
    assert found.weights["0000"].tolist() == [[2.0] * 3] * 2
    assert found.state["0000"] == 7
    assert found.history == checkpoint(2.0).history
    assert [path.name for path in folder.path.iterdir() if path.suffix == ".part"] == []


def test_a_damaged_checkpoint_is_said_so(tmp_path):
    folder = RunFolder(tmp_path, "run")
    with folder.locked():
        (folder.path / "checkpoint.npz").write_bytes(b"PK\x03\x04 cut off")
        with pytest.raises(IntegrityError, match="damaged"):
            folder.checkpoint()


def test_two_trainers_do_not_share_a_run(tmp_path):
    with RunFolder(tmp_path, "run").locked():
        other = RunFolder(tmp_path, "run").locked()
        with pytest.raises(BusyError, match="another program"):
            other.__enter__()


def test_an_unknown_run_is_not_resumed(tmp_path):
    with pytest.raises(NotFoundError, match="no training run 'abc'"):
        RunFolder(tmp_path, "abc").asked()


def test_the_cosine_rises_then_falls_to_its_floor():
    rates = [cosine(step, 100, 1.0) for step in range(101)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert (max(rates), rates[-1]) == pytest.approx((1.0, FLOOR))


def test_the_plateau_halves_after_ten_epochs_without_improvement():
    assert plateau([1.0] * 10, 1.0) == 1.0
    assert plateau([1.0] * 11, 1.0) == 0.5
    assert plateau([1.0 - 0.01 * n for n in range(50)], 1.0) == 1.0


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.4, "9 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_are_words(seconds, text):
    assert duration(seconds) == text
