"""The torch loop's promises, measured in its own environment."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.trainers import ROOT, WITHIN_S, python_of

ROUNDING = 1e-6


@pytest.fixture(scope="module")
def measured() -> dict:
    done = subprocess.run(
        [str(python_of("torch")), str(Path(__file__).with_name("torch_checks.py"))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_resumed_training_ends_where_it_would_have(measured):
    assert measured["resumed"] < ROUNDING


def test_a_warp_of_nothing_moves_nothing(measured):
    assert measured["unmoved"] < ROUNDING * 10


def test_image_and_target_are_turned_together(measured):
    assert measured["turned apart"] == 0


def test_a_warped_mask_holds_no_new_classes(measured):
    assert measured["warped classes"] == [0, 1, 2]


def test_losses_are_none_for_the_truth_and_most_for_its_opposite(measured):
    assert measured["dice of the truth"] < ROUNDING
    assert measured["dice of its opposite"] > 0.9
    assert measured["dice of two classes"] < ROUNDING
    assert measured["cross entropy of the truth"] < ROUNDING
    assert abs(measured["cross entropy, two ways to say two classes"]) < ROUNDING
