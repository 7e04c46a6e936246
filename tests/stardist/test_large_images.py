"""An image of 10 000² pixels: all objects are found, and memory is bounded by what was found."""

import sys
from pathlib import Path

import pytest

from tests.bench.parts import result_of

SIDE = 10_000
LIMIT_MIB = 1024
"""Beside the input and the labels, which lie in files."""


@pytest.mark.slow
def test_ten_thousand_pixels_squared_are_segmented_in_one_gib():
    found = result_of(Path(sys.executable), "-m", "tests.bench.large_stardist", str(SIDE))
    assert found["size"] == SIDE
    # More than 16 bits count: labels become 32 bit floats, as ImageJ can read them.
    assert found["expected"] > 65535
    assert found["dtype"].endswith("f4") or found["dtype"] == "float32"
    assert found["found"] == found["distinct"] == found["expected"]
    assert found["peak_mib"] < LIMIT_MIB
