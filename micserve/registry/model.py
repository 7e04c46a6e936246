"""The registry's words: references, versions, verification, promotions.

Everything that publishes, lists or loads models speaks these types. They know
nothing of MLflow, of addresses or of files' whereabouts.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, NonNegativeInt, PositiveInt

from micserve.artifact.contract import MODEL_NAME, Contract, FamilyName
from micserve.artifact.verification import Verification
from micserve.errors import ParameterError

ALIAS = r"^[a-z][a-z0-9-]{0,62}$"
RESERVED_ALIAS = r"latest|v[0-9]+"
"""What MLflow keeps for itself."""

DEFAULT_ALIAS = "production"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""sha256 of a package zip, 64 hexadecimal digits."""

Scalar = str | int | float | bool
"""What a listing shows of a parameter."""

RunStatus = Literal["SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"]


class ModelRef(Contract):
    """Which model is meant: a name with either a version number or an alias."""

    name: Annotated[str, Field(pattern=MODEL_NAME)]
    version: PositiveInt | None = None
    alias: Annotated[str, Field(pattern=ALIAS)] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name@3`, `name@production` or `name` (which means `name@production`).

        Raises
        ------
        ParameterError
            Saying which part is wrong and what it may look like.
        """
        name, at, pointer = text.strip().partition("@")
        _refuse_bad_name(name)
        if not at:
            return cls(name=name, alias=DEFAULT_ALIAS)
        if re.fullmatch(r"[0-9]{1,9}", pointer) and int(pointer) > 0:
            return cls(name=name, version=int(pointer))
        refuse_bad_alias(pointer)
        return cls(name=name, alias=pointer)

    def __str__(self) -> str:
        return f"{self.name}@{self.alias if self.version is None else self.version}"


def _refuse_bad_name(name: str) -> None:
    if not re.fullmatch(MODEL_NAME, name):
        raise ParameterError(
            f"{name!r} is not a model name: use lower case letters, digits and hyphens, at most "
            "63 of them, as in n2v-spots."
        )


def refuse_bad_alias(alias: str) -> None:
    """ParameterError for what cannot name an alias."""
    if not re.fullmatch(ALIAS, alias) or re.fullmatch(RESERVED_ALIAS, alias):
        raise ParameterError(
            f"{alias!r} is neither a version number nor an alias: write name@3 for version 3, or "
            "name@production; an alias has lower case letters, digits and hyphens, and is "
            "neither 'latest' nor a 'v' with a number."
        )


class QualityControl(Contract):
    """The quality report that was attached to a version last."""

    created: AwareDatetime
    summary: dict[str, Any]
    """Free, except for `beats_gaussian` (true or false): whether the model did better than a
    plain Gaussian filter; `promote` warns when it is false."""
    folder: str
    """Where its files lie; `read_file(version, f"{folder}/report.html")`."""


class Card(Contract):
    """What listings and clients need to know of a version without downloading its package."""

    description: str = ""
    axes: str
    """Spatial axes, `YX` or `ZYX`."""
    channels: PositiveInt
    outputs: dict[str, PositiveInt]
    """Head name to number of channels."""
    pixel_size_um: dict[Literal["Z", "Y", "X"], float] | None
    halo: tuple[NonNegativeInt, ...] | None
    """Pixels per spatial axis; None for a network that must not be tiled."""
    multiple: tuple[PositiveInt, ...]
    normalization: str
    """Name of the rule, as in `micserve.normalize`."""
    parameters: dict[str, Scalar]
    """The contract's family-specific parameters that are plain values."""
    training: dict[str, Scalar]
    """Plain values of the contract's provenance; nested names are joined with a dot."""
    size_bytes: NonNegativeInt
    """Of the package zip."""


class ModelVersion(Contract):
    """One published version. All of it is fixed for ever, but `aliases`, `qc`, `verification`."""

    name: str
    version: PositiveInt
    digest: Digest
    family: FamilyName
    ndim: Literal[2, 3]
    created: AwareDatetime
    run_id: str
    aliases: tuple[str, ...] = ()
    verification: Verification | None = None
    qc: QualityControl | None = None
    card: Card
    source: str
    """Where the registry keeps the package; only the registry itself reads this."""

    @property
    def ref(self) -> ModelRef:
        return ModelRef(name=self.name, version=self.version)


class Model(Contract):
    """One name with its newest version and the versions that its aliases point to."""

    name: str
    latest: ModelVersion
    aliases: dict[str, PositiveInt]


class Promotion(Contract):
    """One move of an alias: who moved it, when, from where to where, and why."""

    name: str
    alias: str
    from_version: PositiveInt | None
    """None when the alias was new."""
    to_version: PositiveInt
    by: str
    at: AwareDatetime
    reason: str
    forced: bool = False
    warnings: tuple[str, ...] = ()
    """Sentences for the person who promotes, for example that a Gaussian filter does better."""


class Progress(Contract):
    """How far a run is."""

    fraction: Annotated[float, Field(ge=0, le=1)]
    phase: str
    seconds_left: float | None = None
    at: AwareDatetime


class RunRecord(Contract):
    """What the tracking server knows of one training run."""

    id: str
    name: str
    family: str
    status: RunStatus
    started: AwareDatetime
    ended: AwareDatetime | None = None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    """The last value of each."""
    progress: Progress | None = None
