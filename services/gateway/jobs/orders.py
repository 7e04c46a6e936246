"""From what a person orders to the program that does it: checked before anything is started."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from micserve.artifact.contract import MODEL_NAME
from micserve.errors import ParameterError
from micserve.families import FAMILIES
from micserve.registry import ModelVersion
from micserve.registry.jobs import JobOrder
from services.gateway.callers import ANYBODY, Caller
from services.gateway.jobs.families import Scalar, trainable
from services.gateway.jobs.spool import Spec
from services.gateway.parts import Parts

FamilyWord = Literal["n2v", "care", "stardist", "unet", "fnet"]
PREDICTING = "services.gateway.jobs.predicting"

Program = Callable[[str], Spec]
"""What to run, once the job has an id."""


class TrainOrder(BaseModel):
    """Train a model on images that are on the server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["train"]
    family: FamilyWord
    name: Annotated[str, Field(pattern=MODEL_NAME)] = Field(
        description="Of the model; the same name again makes its next version."
    )
    ndim: Literal[2, 3] = 2
    preset: str = "recommended"
    source: str = Field(description="Place of the images, as in `data:<id>/noisy`.")
    target: str | None = Field(default=None, description="Place of the targets.")
    parameters: dict[str, Scalar] = Field(
        default_factory=dict, description="As `GET /v1/families` lists them."
    )


class PredictOrder(BaseModel):
    """Run a model on a folder of images, or on one, that are on the server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["predict"]
    model: str = Field(description="`name`, `name@version` or `name@alias`.")
    source: str = Field(description="Place of a folder or an image.")
    output: Literal["image", "labels", "rois", "table", "bundle"] = "image"
    parameters: dict[str, Scalar] = Field(default_factory=dict)


Order = Annotated[TrainOrder | PredictOrder, Field(discriminator="kind")]


class Prediction(BaseModel):
    """What the program of a prediction is told; in the job's folder as `prediction.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    family: str
    name: str
    version: int
    services: tuple[str, ...]
    """Addresses of the inference service's replicas."""
    source: str
    """A folder or a file of this machine."""
    output: str
    parameters: dict[str, str]


def training(order: TrainOrder, here: Parts, caller: Caller) -> tuple[JobOrder, Program]:
    """The order as it is kept, and how its program is made once there is an id.

    Raises
    ------
    ParameterError, NotFoundError, AccessRefusedError
        With all that is wrong with the parameters, or with the place.
    """
    family = trainable()[order.family]
    parameters = family.checked(order.parameters, order.ndim, order.preset)
    here.catalogue.refuse_hidden(order.name)
    if parameters.get("from_model"):
        parameters["from_model"] = str(here.catalogue.find(str(parameters["from_model"])).ref)
    source = here.library.folder(order.source, caller)[1]
    place = order.target if family.paired else None
    target = here.library.folder(place, caller)[1] if place else None
    if caller != ANYBODY:
        parameters.setdefault("author", caller.name)
    kept = JobOrder(
        kind="train",
        family=order.family,
        model=order.name,
        owner=caller.name,
        source=order.source,
        target=place,
        ndim=order.ndim,
        preset=order.preset,
        parameters=parameters,
    )

    def program(identity: str) -> Spec:
        words = ["--run", identity, "--data", str(source), "--name", order.name]
        words += ["--ndim", str(order.ndim), "--preset", order.preset]
        words += ["--target", str(target)] if target is not None else []
        for name, value in parameters.items():
            words += [f"--{name}={as_flag(value)}"]
        return Spec(
            module=f"training.{order.family}",
            arguments=tuple(words),
            environment=here.settings.job_environment,
        )

    return kept, program


def as_flag(value: Any) -> str:
    """As the trainers' command line takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def prediction(
    here: Parts,
    caller: Caller,
    *,
    version: ModelVersion,
    place: str,
    source: Path | None,
    output: str,
    parameters: Mapping[str, Any],
) -> tuple[JobOrder, Program]:
    """As `training`; `source` is None for an image that comes with the order."""
    family = FAMILIES[version.family]
    offered = (*family.outputs, *(() if "bundle" in family.outputs else ("bundle",)))
    if output not in offered:
        raise ParameterError(
            f"{family.title} makes {', '.join(family.outputs)}, but output is {output!r}."
        )
    services = here.settings.dedicated.get(version.name) or here.settings.upstreams[version.family]
    kept = JobOrder(
        kind="predict",
        family=version.family,
        model=str(version.ref),
        owner=caller.name,
        source=place,
        output=output,
        parameters=dict(parameters),
    )

    def program(identity: str) -> Spec:
        folder = here.jobs.spool.of(identity)
        told = Prediction(
            run=identity,
            family=version.family,
            name=version.name,
            version=version.version,
            services=tuple(services),
            source=str(source or folder / "input"),
            output=output,
            parameters={k: as_flag(v) for k, v in parameters.items() if v is not None},
        )
        return Spec(
            module=PREDICTING,
            arguments=(str(folder), told.model_dump_json()),
            environment=here.settings.job_environment,
        )

    return kept, program
