"""Differences are shares of what a head can answer."""

import numpy as np
import pytest

from micserve.artifact.rounding import difference


def test_a_difference_is_a_share_of_the_expected_range():
    expected = np.array([100.0, 300.0], np.float32)
    assert difference("dist", expected + 2, expected) == pytest.approx(0.01)


def test_a_probability_that_is_nowhere_high_is_held_to_its_whole_range():
    """A trained StarDist says at most 0.003 on noise; float32 rounding is not 5e-5 of that."""
    expected = np.array([0.0, 0.0035], np.float32)
    assert difference("prob", expected + np.float32(2e-7), expected) < 1e-6
    assert difference("mean", expected + np.float32(2e-7), expected) > 1e-5


def test_what_cannot_be_compared_is_infinitely_far():
    assert difference("mean", np.zeros(3), np.zeros(4)) == np.inf
    assert difference("mean", np.array([np.nan, 1]), np.array([0, 1.0])) == np.inf
    assert difference("mean", np.ones(3), np.ones(3)) == 0
