"""What a person may ask of a training: names, ranges and sentences, from flags, YAML and presets.

The names are those of the ZeroCostDL4Mic notebooks. Flags win over the YAML
file, which wins over the preset, which wins over the defaults. What was asked
for and what came of it (`auto` resolved, sizes that had to shrink) are kept
apart, and both are recorded. Knows no framework and no images.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from micserve.artifact.contract import MODEL_NAME
from micserve.errors import ParameterError

RECOMMENDED = "recommended"


class TrainingConfig(BaseModel):
    """Parameters that every family has. Users see these names, ranges and sentences as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(description="Folder with the images to train on: TIFF, OME-TIFF or PNG.")
    name: Annotated[str, Field(pattern=MODEL_NAME)] = Field(
        description="Name of the model: lower case letters, digits and hyphens. Training the same "
        "name again makes its next version; nothing is overwritten.",
    )
    ndim: Annotated[int, Field(ge=2, le=3)] = Field(
        default=2, description="2 learns from planes, 3 from stacks, with depth."
    )
    number_of_epochs: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=100, description="How often the network goes through its training steps."
    )
    number_of_steps: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = Field(
        default="auto",
        description="Training steps per epoch; auto takes as many as show each patch once, up to "
        "auto_steps_limit.",
    )
    auto_steps_limit: Annotated[int, Field(ge=1)] | None = Field(
        default=100, description="Most steps per epoch that auto may choose; null for no limit."
    )
    patch_size: Annotated[int, Field(ge=16, le=1024)] | Literal["auto"] = Field(
        default="auto",
        description="Side of the square patches in pixels, rounded down to a multiple of the "
        "network's stride and limited by the smallest image; auto is 64 or what fits.",
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=16, description="Patches per training step. Take less if memory runs out."
    )
    percentage_validation: Annotated[float, Field(gt=0, le=50)] = Field(
        default=10.0,
        description="Share of the image files, in percent, that is held back to watch the "
        "training; at least one file. A single image is divided into two regions instead.",
    )
    initial_learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1e-3, description="Learning rate at the start."
    )
    learning_rate_schedule: Literal["cosine", "plateau", "constant"] = Field(
        default="cosine",
        description="cosine: warm up, then fall smoothly to 1 % at the end; plateau: halve when "
        "the validation loss has not improved for 10 epochs (as the notebooks do); constant.",
    )
    use_data_augmentation: bool = Field(
        default=True, description="Rotate patches by quarter turns and flip them."
    )
    early_stopping: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Stop when the validation loss has not improved for this many epochs; null to "
        "train all of them.",
    )
    from_model: str | None = Field(
        default=None,
        description="Start from the weights of a model of the same family and shape: name@version "
        "in the registry, or a package file (.zip).",
    )
    weights: Literal["best", "last"] = Field(
        default="best",
        description="Which weights become the model: those with the lowest validation loss, or "
        "those of the last epoch.",
    )
    channel: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Channel to train on, counted from 1; needed when images have several.",
    )
    pixel_size_um: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Pixel size in µm, when the files do not say it or say it wrong.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, description="Of the split, the patches and the first weights."
    )
    author: str = Field(default="", description="Your name, for the model's description.")
    license: str = Field(
        default="CC-BY-4.0", description="Licence of the model, an SPDX name, for its description."
    )


C = TypeVar("C", bound=TrainingConfig)


@dataclass(frozen=True, slots=True)
class Preset:
    """A named set of parameters; data, so that a site can read what it gets."""

    title: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked(Generic[C]):
    """A complete configuration, and which part of it a person asked for."""

    config: C
    preset: str
    requested: Mapping[str, Any]
    """Only what flags and the YAML file said."""


def assemble(
    kind: type[C],
    presets: Mapping[str, Preset],
    *,
    flags: Mapping[str, Any],
    file: Path | None = None,
) -> Asked[C]:
    """The configuration from flags, a YAML file and a preset.

    Raises
    ------
    ParameterError
        For unknown names, with the nearest that there is, and values out of range; all at once.
    """
    requested = {**(read_yaml(file, kind) if file else {}), **canonical(flags, kind)}
    preset = str(requested.pop("preset", RECOMMENDED))
    if preset not in presets:
        raise ParameterError(f"There is no preset {preset!r}: choose {_either(presets)}.")
    try:
        config = kind.model_validate({**presets[preset].values, **requested})
    except ValidationError as error:
        raise ParameterError(_in_words(error)) from error
    return Asked(config, preset, requested)


def read_yaml(path: Path, kind: type[TrainingConfig]) -> dict[str, Any]:
    """Parameters from a YAML file of `name: value` lines."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"The file {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{path.name} is not a YAML file of parameters: {reason}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ParameterError(
            f"{path.name} holds no parameters: write one `name: value` per line, as in "
            "`number_of_epochs: 50`."
        )
    return canonical(content, kind, where=f" in {path.name}")


def canonical(
    values: Mapping[Any, Any], kind: type[TrainingConfig], *, where: str = ""
) -> dict[str, Any]:
    """Names as the notebooks spell them (`Use_Data_augmentation`) to ours; unknown ones refused."""
    known = [*kind.model_fields, "preset"]
    lower = {name.lower(): name for name in known}
    spelled = {key: lower.get(str(key).lower().replace("-", "_")) for key in values}
    unknown = [str(key) for key, name in spelled.items() if name is None]
    if unknown:
        raise ParameterError(" ".join(_unknown(name, list(lower), where) for name in unknown))
    return {str(spelled[key]): value for key, value in values.items()}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    found = difflib.get_close_matches(name.lower().replace("-", "_"), list(known), 1, 0.5)
    return found[0] if found else None


def _unknown(name: str, known: list[str], where: str) -> str:
    meant = nearest(name, known)
    hint = f"did you mean {meant}?" if meant else "--help lists all parameters."
    return f"There is no parameter {name!r}{where}: {hint}"


def _in_words(error: ValidationError) -> str:
    """One sentence per parameter; of a union, only the first complaint, which is the number's."""
    complaints: dict[str, str] = {}
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else "the configuration"
        if item["type"] == "missing":
            complaints.setdefault(name, f"{name} is missing: give --{name}.")
            continue
        reason = item["msg"][0].lower() + item["msg"][1:]
        complaints.setdefault(name, f"{name} is {item['input']!r}, but it must be: {reason}.")
    if "name" in complaints and "missing" not in complaints["name"]:
        complaints["name"] = (
            "The model's name must have lower case letters, digits and hyphens only, at most 63, "
            "as in n2v-spots."
        )
    return " ".join(complaints.values())


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
