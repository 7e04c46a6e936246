"""Memory is bounded by the tile, not by the image."""

import sys
from pathlib import Path

import pytest

from tests.bench.parts import result_of
from tests.support.networks import small_unet

SIDE = 16384
LIMIT_MIB = 1024
"""Beside the input and the output, which lie in files."""


@pytest.mark.slow
def test_a_very_large_image_takes_its_files_and_at_most_one_gib(tmp_path: Path):
    network = small_unet(tmp_path / "network.onnx", depth=1, features=2)
    used = result_of(Path(sys.executable), "-m", "tests.bench.memory", str(network), str(SIDE))
    assert used["size"] == SIDE
    assert used["peak_mib"] < LIMIT_MIB
