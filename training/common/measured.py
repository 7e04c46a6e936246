"""One measured experiment as data: what `training.<family>.accuracy --json` writes, and the one
table of `docs/accuracy.md` reads. Knows no family and no images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from micserve.artifact.verification import Verification
from micserve.files import publish_file

MODEL = "model"
"""The trained network among the methods; every other method is plain."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over the images that were held back."""

    model: str
    """Such as "CARE 3D"."""
    images: str
    """What was judged, in words."""
    seconds: float
    """Of training, wall clock."""
    scores: Mapping[str, Mapping[str, float]]
    """Measure with its unit to method to mean; `MODEL` is one of the methods."""
    checks: Mapping[str, str] = field(default_factory=dict)
    """What the package had to pass, and what was found, in a sentence each."""


def checks_of(verification: Verification) -> dict[str, str]:
    """The findings about one package, as `Measured` has them."""
    return {check.name: check.sentence for check in verification.checks}


def write_measured(path: Path, found: Sequence[Measured]) -> None:
    with publish_file(path) as part:
        part.write_text(json.dumps([asdict(one) for one in found], indent=1), encoding="utf-8")


def read_measured(path: Path) -> list[Measured]:
    return [Measured(**one) for one in json.loads(path.read_text("utf-8"))]
