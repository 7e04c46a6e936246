"""A query string to a family's parameters, and what is wrong with it in words."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from micserve.errors import ParameterError
from micserve.families import Family, OutputKind, PredictParameters

Parameters = TypeVar("Parameters", bound=BaseModel)

OWN_NAMES = ("version", "output", "trust")
"""What `predict` itself takes, beside the family's parameters."""


def read_parameters(family: Family, query: Iterable[tuple[str, str]]) -> PredictParameters:
    """The family's parameters from (name, value) pairs; those of `predict` itself are skipped.

    Raises
    ------
    ParameterError
        Naming every parameter that is unknown, doubled, or has a value out of range.
    """
    known = family.parameters.model_fields
    values: dict[str, str] = {}
    for name, value in query:
        if name in OWN_NAMES:
            continue
        if name not in known:
            raise ParameterError(
                f"{family.title} has no parameter {name!r}. It has: "
                f"{', '.join([*known, *OWN_NAMES])}."
            )
        if name in values:
            raise ParameterError(f"The parameter {name!r} was given twice. Give it once.")
        values[name] = value
    return validate(family.parameters, values)


def read_output(family: Family, asked: str | None) -> OutputKind:
    """Which of the family's outputs is wanted; its first one by default."""
    for kind in family.outputs:
        if asked in (None, kind):
            return kind
    raise ParameterError(
        f"{family.title} has no output {asked!r}. It has: {', '.join(family.outputs)}."
    )


def read_trust(asked: str | None) -> bool:
    """Whether the maps of the trust light are wanted: `maps`; the light alone by default."""
    if asked not in (None, "light", "maps"):
        raise ParameterError(
            f"trust={asked} is not known: `light` (the default) says it in a header, `maps` "
            "answers with its maps instead of the result."
        )
    return asked == "maps"


def validate(kind: type[Parameters], values: Mapping[str, Any]) -> Parameters:
    """`kind(**values)`, with what is wrong as one ParameterError."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ParameterError(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    reasons: dict[str, list[str]] = {}
    inputs: dict[str, Any] = {}
    for entry in error.errors(include_url=False):
        name = str(entry["loc"][0]) if entry["loc"] else "the parameters"
        reason = entry["msg"].removeprefix("Input ").removeprefix("Value error, ")
        reasons.setdefault(name, []).append(reason)
        inputs[name] = entry["input"]
    return " ".join(
        f"{name}={inputs[name]} is not accepted: it {' or it '.join(why)}."
        for name, why in reasons.items()
    )
