"""Suppression in a child process gives what it gives here, and stops when it is told to."""

import numpy as np
import pytest

from micserve.errors import CancelledError
from micserve.families.stardist import survivors as module
from micserve.families.stardist.survivors import survivors


def shapes(count: int) -> dict[str, np.ndarray]:
    """Overlapping discs all over an image; their arrays are larger than any pipe's buffer."""
    random = np.random.default_rng(0)
    return {
        "distances": random.uniform(4, 8, (count, 32)).astype(np.float32),
        "points": random.integers(0, 900, (count, 2)).astype(np.int32),
        "scores": np.sort(random.uniform(0.5, 1, count).astype(np.float32))[::-1].copy(),
    }


def test_a_child_keeps_the_same_shapes(monkeypatch):
    here = survivors(**shapes(5000), threshold=0.4)
    monkeypatch.setattr(module, "LONG", {2: 0})
    child = survivors(**shapes(5000), threshold=0.4)
    np.testing.assert_array_equal(child, here)
    assert 0 < here.sum() < 5000


def test_a_child_is_ended_when_the_prediction_is_cancelled(monkeypatch):
    monkeypatch.setattr(module, "LONG", {2: 0})
    answers = iter([False, True])
    with pytest.raises(CancelledError):
        survivors(**shapes(5000), threshold=0.4, cancelled=lambda: next(answers))
