"""What the pages show of models, in the order and the words in which people look for it.

Reads the registry's types; knows no HTTP and no templates.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.package import open_package
from micserve.codecs import image_to_bytes
from micserve.families import FAMILIES
from micserve.image import Image
from micserve.qc.held_out import Difference, against_version
from micserve.qc.measures import MEASURES, Measure
from micserve.qc.segmentation.measures import (
    CLASS_MEASURES,
    OBJECT_MEASURES,
    SegmentationMeasure,
)
from micserve.registry import Model, ModelVersion, Registry
from micserve.registry.gate import read_held_out

THUMBNAIL_PX = 256

LIGHTS = {"green": "good", "amber": "warn", "red": "bad"}

METHODS = {
    "prediction": "Model",
    "input": "Unprocessed",
    "gaussian": "Gaussian",
    "median": "Median",
    "nlm": "Non-local means",
}
"""Columns of a quality table, in this order."""

TRAINED_BY = ("author", "requested.author", "effective.author", "config.author", "user", "by")


@dataclass(frozen=True, slots=True)
class QualityRow:
    """One measure of all methods."""

    label: str
    unit: str
    values: tuple[str, ...]
    """In the order of the methods."""
    best: int | None
    """Place of the best value; None where fewer than two are known."""


@dataclass(frozen=True, slots=True)
class Quality:
    """The verdict of the quality report that was attached last."""

    tone: str
    """`good`, `warn`, `bad` or empty."""
    sentence: str
    methods: tuple[str, ...]
    rows: tuple[QualityRow, ...]
    images: int | None


@dataclass(frozen=True, slots=True)
class FamilyShelf:
    """One family and its models."""

    name: str
    title: str
    job: str
    models: tuple[Model, ...]


KNOWN: tuple[Measure | SegmentationMeasure, ...] = (*MEASURES, *OBJECT_MEASURES, *CLASS_MEASURES)
"""Of both kinds of report, in the order of a report."""


def shelves(models: tuple[Model, ...]) -> list[FamilyShelf]:
    """Models by family, in the order of the families."""
    order = list(FAMILIES)
    ranked = sorted(models, key=lambda m: (order.index(m.latest.family), m.name))
    return [
        FamilyShelf(name, FAMILIES[name].title, FAMILIES[name].job, tuple(group))
        for name, group in groupby(ranked, key=lambda m: m.latest.family)
    ]


def quality(version: ModelVersion) -> Quality | None:
    """None for a version without a report."""
    if version.qc is None:
        return None
    summary = version.qc.summary
    means = summary.get("means")
    means = means if isinstance(means, Mapping) else {}
    shown = {m: _numbers(means, m) for m in sorted(means, key=_place) if _numbers(means, m)}
    known = {key for numbers in shown.values() for key in numbers}
    images = summary.get("images")
    return Quality(
        tone=LIGHTS.get(str(summary.get("light", "")), ""),
        sentence=str(summary.get("sentence", "")),
        methods=tuple(METHODS.get(m, m.replace("_", " ")) for m in shown),
        rows=tuple(_row(key, list(shown.values())) for key in _ordered(known)),
        images=images if isinstance(images, int) else None,
    )


def _place(method: str) -> int:
    return list(METHODS).index(method) if method in METHODS else len(METHODS)


def _ordered(keys: Set[str]) -> list[str]:
    """Known measures in the order of a report, then all others."""
    order = [measure.key for measure in KNOWN]
    return sorted(keys, key=lambda key: (order.index(key) if key in order else 99, key))


def _row(key: str, methods: list[Mapping[str, float]]) -> QualityRow:
    measure = next((m for m in KNOWN if m.key == key), None)
    values = [numbers.get(key) for numbers in methods]
    known = [(v, i) for i, v in enumerate(values) if v is not None]
    best = None
    if measure and measure.better and len(known) > 1:
        best = (max if measure.better == "higher" else min)(known)[1]
    return QualityRow(
        label=measure.label if measure else key.replace("_", " "),
        unit=measure.unit if measure and measure.unit in ("dB", "grey values") else "",
        values=tuple("–" if v is None else f"{v:.4g}" for v in values),
        best=best,
    )


def _numbers(means: Mapping[str, Any], method: str) -> dict[str, float]:
    values = means.get(method)
    if not isinstance(values, Mapping):
        return {}
    return {k: float(v) for k, v in values.items() if isinstance(v, int | float)}


def compared(registry: Registry, one: ModelVersion, other: ModelVersion) -> tuple[Difference, ...]:
    """`other` minus `one`, image by image, where reports judged both on the same images."""
    ours, theirs = read_held_out(registry, other), read_held_out(registry, one)
    return against_version(ours, theirs) if ours and theirs else ()


def differences(one: ModelVersion, other: ModelVersion) -> list[tuple[str, str, str, bool]]:
    """Rows (what, of one, of the other, whether they differ) for a comparison side by side."""
    left, right = _facts(one), _facts(other)
    names = [*left, *(name for name in right if name not in left)]
    rows = [(name, left.get(name, "–"), right.get(name, "–")) for name in names]
    return [(name, a, b, a != b) for name, a, b in rows]


def _facts(version: ModelVersion) -> dict[str, str]:
    card = version.card
    facts: dict[str, Any] = {
        "made": f"{version.created:%Y-%m-%d %H:%M} UTC",
        "axes": card.axes,
        "channels": card.channels,
        "halo (px)": ", ".join(map(str, card.halo)) if card.halo else "not tiled",
        "normalisation": card.normalization,
        "pixel size (µm)": micrometres(card.pixel_size_um),
        "size (MiB)": f"{card.size_bytes / (1 << 20):.1f}",
    }
    facts |= {f"training: {k}": v for k, v in card.training.items()}
    return {name: str(value) for name, value in facts.items()}


def micrometres(sizes: Mapping[Any, float] | None) -> str:
    """`0.1 × 0.1`, the axes in the order in which they are written."""
    return " × ".join(f"{size:g}" for size in sizes.values()) if sizes else "not known"


def trained_by(version: ModelVersion) -> str:
    """The author that the training was given; empty when it was given none."""
    training = version.card.training
    return next((str(training[key]) for key in TRAINED_BY if training.get(key)), "")


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What a version was trained with: what people ask first, and all the rest."""

    main: Mapping[str, Any]
    rest: Mapping[str, Any]


ASKED_FIRST = (
    "data",
    "preset",
    "split_sentence",
    "number_of_epochs",
    "patch_size",
    "batch_size",
    "initial_learning_rate",
    "val_loss",
    "seconds",
    "device",
)


def training(version: ModelVersion) -> TrainingFacts | None:
    """By the last part of each name; what was left empty is left out."""
    tails = {k.rpartition(".")[2]: v for k, v in version.card.training.items() if v != ""}
    if not tails:
        return None
    main = {name: tails.pop(name) for name in ASKED_FIRST if name in tails}
    return TrainingFacts(main, tails)


def thumbnails(package: Path) -> dict[str, bytes]:
    """`before` and `after` as PNG, from the test tensors that travel in the package."""
    opened = open_package(package)
    after = next(iter(opened.test_output.values()))
    return {"before": _png(opened.test_input), "after": _png(after)}


def _png(tensor: NDArray[np.float32]) -> bytes:
    plane = tensor[0, 0]
    plane = plane[len(plane) // 2] if plane.ndim == 3 else plane
    top, left = ((size - min(size, THUMBNAIL_PX)) // 2 for size in plane.shape)
    plane = plane[top : top + THUMBNAIL_PX, left : left + THUMBNAIL_PX]
    low, high = np.percentile(plane, (0.5, 99.7))
    grey = np.clip((plane - low) / max(high - low, 1e-6), 0, 1)
    return image_to_bytes(Image((grey * 255).astype(np.uint8), "YX"), "png")
