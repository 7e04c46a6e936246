"""All families with their trainers, and what a person may set, as data for who cannot import this.

    python -m training.families > services/gateway/jobs/families.json

The gateway shows these names, ranges and sentences and never loads a trainer; a test compares the
file with what this prints. Importing a trainer loads no framework.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from micserve.families import FAMILIES
from training.care.trainer import CareTrainer
from training.common.learner import Trainer
from training.fnet.trainer import FnetTrainer
from training.n2v.trainer import Noise2VoidTrainer
from training.stardist.trainer import StarDistTrainer
from training.unet.trainer import UNetTrainer

TRAINERS: Mapping[str, Sequence[Trainer[Any]]] = {
    "n2v": (Noise2VoidTrainer(2), Noise2VoidTrainer(3)),
    "care": (CareTrainer(2), CareTrainer(3)),
    "stardist": (StarDistTrainer(2), StarDistTrainer(3)),
    "unet": (UNetTrainer(2), UNetTrainer(3)),
    "fnet": (FnetTrainer(2), FnetTrainer(3)),
}

NOT_FOR_FORMS = {"data", "target", "name", "ndim"}
"""What an order says in fields of its own."""


def described() -> list[dict[str, Any]]:
    """One entry per family: presets by dimensions, and every parameter."""
    return [_family(name, trainers) for name, trainers in TRAINERS.items()]


def _family(name: str, trainers: Sequence[Trainer[Any]]) -> dict[str, Any]:
    fields = trainers[0].config.model_fields
    schema = trainers[0].config.model_json_schema()
    return {
        "name": name,
        "title": FAMILIES[name].title,
        "job": FAMILIES[name].job,
        "paired": "target" in fields,
        "dimensions": [trainer.ndim for trainer in trainers],
        "presets": {
            str(trainer.ndim): [
                {"name": key, "title": preset.title, "values": dict(preset.values)}
                for key, preset in trainer.presets.items()
            ]
            for trainer in trainers
        },
        "parameters": [
            _parameter(key, entry, schema.get("$defs", {}))
            for key, entry in schema["properties"].items()
            if key not in NOT_FOR_FORMS
        ],
    }


def _parameter(name: str, entry: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """A form's field: the numbers of a union give the type and range, its words the choices."""
    forms = [_followed(form, shared) for form in entry.get("anyOf", [entry])]
    words = [w for form in forms for w in (form.get("enum") or [form.get("const")]) if w]
    kinds = [form.get("type") for form in forms if form.get("type") not in (None, "null")]
    numbers = next((f for f in forms if f.get("type") in ("integer", "number")), {})
    least = numbers.get("minimum", numbers.get("exclusiveMinimum"))
    most = numbers.get("maximum", numbers.get("exclusiveMaximum"))
    return {
        "name": name,
        "type": numbers.get("type") or (kinds[0] if kinds else "string"),
        "default": entry.get("default"),
        "choices": words,
        "range": [least, most],
        "above": "exclusiveMinimum" in numbers,
        "optional": any(form.get("type") == "null" for form in forms),
        "help": entry.get("description", ""),
    }


def _followed(form: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
    where = form.get("$ref")
    if where is None:
        return form
    found: Mapping[str, Any] = shared[where.rpartition("/")[2]]
    return found


def as_text() -> str:
    """The file as it is kept in the repository."""

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else str(value)

    return json.dumps(described(), indent=1, ensure_ascii=False, default=plain) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(as_text(), encoding="utf-8")
    else:
        print(as_text(), end="")
