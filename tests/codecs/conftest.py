"""Files as they come, and a cage to read them in."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

GIB = 1 << 30
Cage = Callable[[Sequence[Path]], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def in_a_cage() -> Cage:
    """Read files in a process of its own that may not have more than 2 GiB."""
    root = Path(__file__).resolve().parents[2]

    def run(paths: Sequence[Path]) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("read_in_a_cage.py")), str(2 * GIB)]
            + [str(path) for path in paths],
            env={**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        last = paths[len(answers)] if len(answers) < len(paths) else ""
        assert done.returncode == 0, f"{last}: exit {done.returncode}\n{done.stderr[-2000:]}"
        return answers

    return run
