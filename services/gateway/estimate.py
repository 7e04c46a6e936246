"""What a training will take, before it starts: by what trainings of its kind took here.

Time follows the arithmetic of the network: patches that are shown, pixels of a patch, filters
squared. Memory follows what a step holds: pixels of a batch times filters. Both are scaled from
trainings of the same family that this registry remembers; where there are none, time is not
known and memory is counted from the network's shape. Knows parameters; sees no image.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from micserve.registry import ModelVersion
from micserve.serving.problems import problem_responses
from services.gateway.jobs.families import Scalar, TrainableFamily, trainable
from services.gateway.jobs.orders import FamilyWord
from services.gateway.parts import Here, Parts

REMEMBERED = 5
"""Trainings of the same kind that the time is taken from, the newest."""

FILTERS = ("unet_n_first", "first_filters")

FRAMEWORK_BYTES = 900 << 20
"""Of a Python process with TensorFlow or torch before it holds an image: a guess."""

MAPS_PER_PIXEL = 14
"""Feature maps of a U-Net per pixel and first filter, all levels, forward and backward: two
convolutions down and two up on each level, a quarter of the pixels and twice the filters a level
further down, and everything kept once for the gradients."""


class EstimateOrder(BaseModel):
    """A training as it would be ordered, and how many pixels it would learn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: FamilyWord
    ndim: int = Field(default=2, ge=2, le=3)
    preset: str = "recommended"
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    pixels: int | None = Field(
        default=None, ge=1, le=1 << 50, description="Of all training images, as the check says."
    )


class Estimate(BaseModel):
    """In seconds and bytes, and in words."""

    seconds: float | None
    """None where no such training was done here."""
    memory_bytes: int
    trainings: int
    """That the time was taken from."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Load:
    """How much a training asks of a machine."""

    steps: int
    """Of all epochs."""
    pixels: int
    """Of one step: patches times pixels of a patch."""
    filters: int

    @property
    def arithmetic(self) -> float:
        return float(self.steps) * self.pixels * self.filters**2

    @property
    def maps(self) -> float:
        return float(self.pixels) * self.filters


def load_of(values: Mapping[str, Any], *, ndim: int, pixels: int | None = None) -> Load:
    """From parameters by their names; `auto` becomes what the trainers take for it."""
    side = _number(values.get("patch_size"), 64)
    depth = _number(values.get("patch_height"), 8) if ndim == 3 else 1
    batch = _number(values.get("batch_size"), 16)
    steps = _number(values.get("number_of_steps"), 0) or _shown_once(
        pixels, side * side * depth * batch, _number(values.get("auto_steps_limit"), 0)
    )
    filters = next((_number(values[n], 32) for n in FILTERS if values.get(n)), 32)
    epochs = _number(values.get("number_of_epochs"), 100)
    return Load(epochs * steps, batch * side * side * depth, filters)


def _shown_once(pixels: int | None, step: int, limit: int) -> int:
    """Steps of an epoch that shows each patch once."""
    if pixels is None:
        return limit or 100
    steps = max(1, ceil(pixels / step))
    return min(steps, limit) if limit else steps


def _number(value: Any, otherwise: int) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return otherwise


@dataclass(frozen=True, slots=True)
class Done:
    """A training that was done here."""

    load: Load
    seconds: float
    peak_bytes: int | None
    device: str


def done(versions: Iterable[ModelVersion], *, family: str, ndim: int) -> list[Done]:
    """Of one kind, newest first; imported models were not trained here."""
    found = []
    for version in sorted(versions, key=lambda v: v.created, reverse=True):
        card = version.card
        facts = {k.rpartition(".")[2]: v for k, v in card.training.items()}
        if version.family != family or version.ndim != ndim or not facts.get("seconds"):
            continue
        load = load_of(facts, ndim=ndim)
        if load.arithmetic > 0:
            peak = _bytes(str(facts.get("peak_memory", "")))
            device = str(facts.get("device", ""))
            found.append(Done(load, float(facts["seconds"]), peak, device))
    return found[:REMEMBERED]


def _bytes(text: str) -> int | None:
    """`1.5 GiB` to bytes."""
    number, _, unit = text.partition(" ")
    try:
        return int(float(number) * (1 << 30)) if unit == "GiB" else None
    except ValueError:
        return None


def estimated(load: Load, before: list[Done], family: TrainableFamily) -> Estimate:
    """By the trainings before; of memory without any, by the network's shape."""
    seconds = None
    if before:
        seconds = load.arithmetic * median(one.seconds / one.load.arithmetic for one in before)
    memory = _memory(load, before)
    said = f"about {memory / (1 << 30):.1f} GiB of memory"
    if seconds is None:
        sentence = (
            f"No {family.title} training was done on this server yet: its first epoch will tell "
            f"how long it takes. It needs {said}."
        )
    else:
        on = f" on {before[0].device}" if before[0].device else ""
        sentence = (
            f"About {_in_words(seconds)}{on}, and {said}, by the last "
            f"{'training' if len(before) == 1 else f'{len(before)} trainings'} of this kind here."
        )
    return Estimate(seconds=seconds, memory_bytes=memory, trainings=len(before), sentence=sentence)


def _memory(load: Load, before: list[Done]) -> int:
    known = [one for one in before if one.peak_bytes]
    if not known:
        return FRAMEWORK_BYTES + int(load.maps * MAPS_PER_PIXEL * 4)
    per_map = median(
        max(0, (one.peak_bytes or 0) - FRAMEWORK_BYTES) / one.load.maps for one in known
    )
    return FRAMEWORK_BYTES + int(load.maps * per_map)


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def add_estimate(app: FastAPI) -> None:
    @app.post(
        "/v1/jobs/estimate",
        summary="How long a training would take and how much memory; starts nothing",
        responses=problem_responses(422, 503),
    )
    async def estimate(order: EstimateOrder, here: Here) -> Estimate:
        family = trainable()[order.family]
        asked = family.checked(order.parameters, order.ndim, order.preset)
        values = {p.name: p.default for p in family.parameters}
        values |= family.preset_values(str(order.ndim), order.preset)
        load = load_of(values | asked, ndim=order.ndim, pixels=order.pixels)
        before = await asyncio.to_thread(_remembered, here, order.family, order.ndim)
        return estimated(load, before, family)


def _remembered(here: Parts, family: str, ndim: int) -> list[Done]:
    """From the newest version of each model, which the list of models has without asking more."""
    return done((model.latest for model in here.catalogue.models()), family=family, ndim=ndim)
