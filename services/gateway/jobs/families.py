"""`/v1/families`: what can be trained, with every parameter's name, range and sentence.

Read from `families.json`, which the trainers write (`python -m training.families`); a test
compares them, since the gateway must not import a trainer.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from micserve.errors import NotFoundError, ParameterError
from micserve.serving.problems import problem_responses

Scalar = bool | int | float | str | None


class TrainingParameter(BaseModel):
    """One field of a form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: Literal["integer", "number", "boolean", "string"]
    default: Scalar
    choices: tuple[int | str, ...]
    """The only values, or words that may stand for a number (`auto`)."""
    range: tuple[int | float | None, int | float | None]
    above: bool
    """The least value itself is not allowed."""
    optional: bool
    """null is a value: none, or no limit."""
    help: str

    def refuse(self, value: Any) -> str:
        """What is wrong with a value, in words; empty when nothing is."""
        if (value is None and self.optional) or value in self.choices:
            return ""
        right: dict[str, tuple[type, ...]] = {
            "integer": (int,),
            "number": (int, float),
            "boolean": (bool,),
            "string": (str,),
        }
        is_number = self.type in ("integer", "number")
        only = self.choices and not (is_number and self.range != (None, None))
        fits = isinstance(value, right[self.type]) and isinstance(value, bool) == (
            self.type == "boolean"
        )
        if only or not fits or (is_number and not self._within(value)):
            return f"{self.name} is {value!r}, but it must be {self._expected()}."
        return ""

    def _within(self, value: float) -> bool:
        least, most = self.range
        too_small = least is not None and (value <= least if self.above else value < least)
        return not too_small and (most is None or value <= most)

    def _expected(self) -> str:
        words = [
            repr(choice) if isinstance(choice, str) else str(choice) for choice in self.choices
        ]
        least, most = self.range
        kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
        said = kinds.get(self.type, "a text")
        if (least, most) != (None, None):
            low = "" if least is None else f" {'above' if self.above else 'from'} {least:g}"
            said += low + ("" if most is None else f" up to {most:g}")
        if words and (least, most) == (None, None):
            said = "one of " + ", ".join(words)
        elif words:
            said += f", or {', '.join(words)}"
        return said + (", or null" if self.optional else "")


class Preset(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    values: dict[str, Scalar]


class TrainableFamily(BaseModel):
    """One family as the Train page and `micserve train` show it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    job: str
    paired: bool
    """It learns from images and their targets."""
    dimensions: tuple[int, ...]
    presets: dict[str, tuple[Preset, ...]]
    """By the number of dimensions."""
    parameters: tuple[TrainingParameter, ...]

    def checked(self, parameters: Mapping[str, Any], ndim: int, preset: str) -> dict[str, Any]:
        """The parameters under our spelling of their names, when all of them fit.

        Raises
        ------
        ParameterError
            Naming everything that is wrong.
        """
        known = {p.name: p for p in self.parameters}
        wrong = []
        if ndim not in self.dimensions:
            wrong.append(f"{self.title} has no {ndim}D.")
        names = [p.name for p in self.presets.get(str(ndim), ())]
        if preset not in names:
            wrong.append(f"There is no preset {preset!r}: choose {', '.join(names)}.")
        spelled = {}
        for given, value in parameters.items():
            name = given.lower().replace("-", "_")
            if name not in known:
                wrong.append(f"{self.title} has no parameter {given!r}; GET /v1/families has all.")
                continue
            spelled[name] = value
            wrong += filter(None, [known[name].refuse(value)])
        if wrong:
            raise ParameterError(" ".join(wrong))
        return spelled

    def preset_values(self, ndim: str, preset: str) -> dict[str, Scalar]:
        """What a preset changes; NotFoundError for one that there is not."""
        presets = {each.name: each.values for each in self.presets.get(ndim, ())}
        if preset not in presets:
            have = ", ".join(presets) or "none"
            raise NotFoundError(
                f"{self.title} has no preset {preset!r} in {ndim}D; it has: {have}."
            )
        return presets[preset]


class FamilyListing(BaseModel):
    families: tuple[TrainableFamily, ...]


@lru_cache(maxsize=1)
def trainable() -> Mapping[str, TrainableFamily]:
    """All families that can be trained, by name."""
    text = resources.files(__package__).joinpath("families.json").read_text("utf-8")
    return {entry["name"]: TrainableFamily.model_validate(entry) for entry in json.loads(text)}


def add_families(app: FastAPI) -> None:
    @app.get(
        "/v1/families",
        summary="What can be trained: presets, and parameters with range and help",
        responses=problem_responses(403),
    )
    async def families() -> FamilyListing:
        return FamilyListing(families=tuple(trainable().values()))
