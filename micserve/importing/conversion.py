"""Turn weights that only a training framework reads into ONNX, in that framework's environment.

A child process does it: this program never imports a framework, and never opens
a pickle. What the child may read is a copy; what it writes is a network and
its facts as JSON.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from micserve.errors import PackageError, ParameterError

Stack = Literal["n2v", "tf", "torch"]

CHECKOUT = Path(__file__).resolve().parents[2]
"""Trainers are run from the checkout, never installed."""

LONGEST_S = 900


@dataclass(frozen=True, slots=True)
class Converted:
    """What the child wrote."""

    onnx: Path
    facts: Mapping[str, Any]


def convert(stack: Stack, kind: str, source: Path, into: Path) -> Converted:
    """Run `python -m training.imports` in the environment of one training stack.

    Raises
    ------
    ParameterError
        When that environment is not set up.
    PackageError
        With the converter's own sentence, when it cannot be converted.
    """
    into.mkdir(parents=True, exist_ok=True)
    command = [str(_python(stack)), "-m", "training.imports", kind, str(source), str(into)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, timeout=LONGEST_S
        )
    except subprocess.TimeoutExpired as error:
        raise PackageError(
            f"The model was not converted within {LONGEST_S // 60} minutes, and the attempt was "
            "ended."
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["It said nothing."]
        raise PackageError(f"The model could not be converted: {said[-1]}")
    facts = json.loads((into / "facts.json").read_text("utf-8"))
    return Converted(into / "network.onnx", facts)


def _python(stack: Stack) -> Path:
    folder = Path(os.environ.get("MICSERVE_ENVIRONMENTS", CHECKOUT / ".venvs"))
    python = folder / stack / "bin" / "python"
    if not python.is_file():
        raise ParameterError(
            f"This model has to be converted with the training environment {stack}, which is not "
            f"set up here. Run: make setup-{stack}"
        )
    return python
