"""What must be true of a package before anybody may use it, checked and written down."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from micserve.artifact.contract import Contract

Run = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]
"""A loaded network: (B, C, (Z,) Y, X) normalised to one array per head."""


class Check(Contract):
    """One thing that was looked at."""

    name: str
    passed: bool
    sentence: str
    """For people: what was found."""
    measured: dict[str, float | int | str | None] = Field(default_factory=dict)


class Verification(Contract):
    """Everything that was checked of one package, and with which libraries."""

    digest: str
    checks: tuple[Check, ...]
    versions: dict[str, str]
    when: datetime
    """UTC."""

    @property
    def passed(self) -> bool:
        """True when no check failed."""
        return all(check.passed for check in self.checks)

    def require_passed(self) -> None:
        """Raise VerificationError naming the checks that failed."""
        raise NotImplementedError


def verify_package(
    path: Path, *, network_of: Callable[[Path], Run], digest: str | None = None
) -> Verification:
    """Check a package; what fails becomes a failed check, never an exception.

    Parameters
    ----------
    network_of
        Opens an ONNX file; the backends lie above this layer, so the caller brings one.
    digest
        What was published, when there is such a thing yet.
    """
    raise NotImplementedError
