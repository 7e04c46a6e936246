"""What a form of `POST /v1/qc` asks for besides its files: which kind of report, read how.

Fields that are not ours are the model's parameters; `take` leaves them.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from micserve.errors import ParameterError
from micserve.qc.segmentation.evaluate import Asked
from micserve.serving.segmentation_files import SEGMENTING
from services.gateway.quality import ReportKind

FIELDS: dict[str, Any] = {
    "kind": {
        "type": "string",
        "enum": list(get_args(ReportKind)),
        "description": "restoration compares grey values, segmentation compares labels or masks. "
        "By default by the model's family; without a model, restoration.",
    },
    "numbers": {
        "type": "string",
        "enum": list(get_args(Asked)),
        "description": "Of a segmentation: whether a number means one object or a class of pixels. "
        "By default by the model; without one, masks with a single value are classes.",
    },
    "dimensions": {
        "type": "string",
        "enum": ["2", "3"],
        "description": "Of a segmentation: whether an object lies in one slice (2) or goes through "
        "a stack (3). By default by the model; without one, 3 for stacks.",
    },
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """As asked for; None where nothing was."""

    kind: ReportKind | None
    numbers: Asked | None
    dimensions: Literal[2, 3] | None

    def for_model(self, family: str, ndim: int, parameters: dict[str, str]) -> "Wanted":
        """With what the model says, where nothing was asked for."""
        kind = self.kind or ("segmentation" if family in SEGMENTING else "restoration")
        objects = family == "stardist" or parameters.get("result") == "labels"
        return Wanted(
            kind,
            self.numbers or ("objects" if objects else "classes"),
            self.dimensions or (3 if ndim == 3 else 2),
        )


def take(values: dict[str, str]) -> tuple[Wanted, dict[str, str]]:
    """What the form asks for, and the fields that are left.

    Raises
    ------
    ParameterError
        Naming what a field may be.
    """
    rest = {name: value for name, value in values.items() if name not in FIELDS}
    for name, field in FIELDS.items():
        if name in values and values[name] not in field["enum"]:
            raise ParameterError(
                f"{name}={values[name]} is not known; {name} may be {' or '.join(field['enum'])}."
            )
    kind, numbers = values.get("kind"), values.get("numbers")
    return (
        Wanted(
            next((one for one in get_args(ReportKind) if one == kind), None),
            next((one for one in get_args(Asked) if one == numbers), None),
            {"2": 2, "3": 3}.get(values.get("dimensions", "")),  # type: ignore[arg-type]
        ),
        rest,
    )
