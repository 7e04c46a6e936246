"""What there is, as clients see it: models, versions, and what may be asked of them.

Translates the registry's words into the gateway's; knows no HTTP.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from micserve.errors import AccessRefusedError
from micserve.families import FAMILIES, OutputKind
from micserve.registry import Model, ModelRef, ModelVersion
from micserve.serving.directory import Directory
from micserve.serving.schema import parameter_list


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Parameter(_View):
    """One thing that may be asked of a prediction, as JSON Schema describes it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    description: str = ""
    default: Any = None


class VersionView(_View):
    """One published version."""

    name: str
    version: int
    aliases: tuple[str, ...]
    digest: str
    created: datetime
    family: str
    title: str
    job: str
    """What it does, in words."""
    description: str
    axes: str
    channels: int
    pixel_size_um: dict[str, float] | None
    """Of the training images."""
    outputs: tuple[OutputKind, ...]
    parameters: tuple[Parameter, ...]
    verified: bool
    qc: dict[str, Any] | None
    """Summary of the quality report that was attached last."""
    training: dict[str, str | int | float | bool]
    size_bytes: int


class ModelView(_View):
    """One model by name, with the version that is used unless another is asked for."""

    name: str
    family: str
    title: str
    job: str
    axes: str
    description: str
    production: int | None
    """The version that `production` means; None when there is none yet."""
    latest: int
    aliases: dict[str, int]


class ModelDetail(ModelView):
    """One model with all its versions, newest first."""

    versions: tuple[VersionView, ...]


class Listing(_View):
    """All models."""

    models: tuple[ModelView, ...]
    trouble: str = ""
    """Why the list may be old: the registry does not answer."""


TSV_COLUMNS = (
    *("name", "production", "latest", "family", "axes", "job"),
    *("title", "channels", "pixel_size_um", "outputs"),
)

PARAMETER_COLUMNS = ("name", "type", "default", "minimum", "maximum", "choices", "description")


class Catalogue:
    """Reads the registry through a directory. Thread-safe; every method may block."""

    def __init__(
        self, directory: Directory, *, may_see: Callable[[str], bool] = lambda name: True
    ) -> None:
        self._directory, self._may_see = directory, may_see

    def models(self) -> tuple[Model, ...]:
        """All models that are served here and that the person who asks may see."""
        seen = [m for m in self._directory.list_models() if self._may_see(m.name)]
        return tuple(_served(seen))

    def listing(self) -> Listing:
        return Listing(models=tuple(map(_view, self.models())), trouble=self._directory.trouble)

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Of one model, newest first."""
        return self._directory.registry.list_versions(self._allowed(name).name)

    def detail(self, name: str) -> ModelDetail:
        versions = self.versions(name)
        aliases = {alias: v.version for v in versions for alias in v.aliases}
        model = Model(name=name, latest=versions[0], aliases=aliases)
        return ModelDetail(
            **_view(model).model_dump(), versions=tuple(version_view(v) for v in versions)
        )

    def version(self, name: str, pointer: str) -> ModelVersion:
        """By number or alias."""
        return self.find(f"{name}@{pointer}")

    def find(self, text: str) -> ModelVersion:
        """What `name`, `name@version` or `name@alias` means."""
        return self._directory.resolve(self._allowed(text))

    def fresh_version(self, name: str, pointer: str) -> ModelVersion:
        """With what may have been attached since it was first seen."""
        return self._directory.registry.resolve(self._allowed(f"{name}@{pointer}"))

    def refuse_hidden(self, name: str) -> None:
        """AccessRefusedError for a model of a group that the caller is not in; it may not exist."""
        self._allowed(name)

    def _allowed(self, text: str) -> ModelRef:
        ref = ModelRef.parse(text)
        if not self._may_see(ref.name):
            raise AccessRefusedError(
                f"The model {ref.name} belongs to a group that you are not in. Ask the facility's "
                "staff."
            )
        return ref

    def tsv(self) -> str:
        """One line per model under a line of column names; for macros."""
        return tab_separated(TSV_COLUMNS, map(_row, self.models()))

    def parameters_tsv(self, name: str, pointer: str) -> str:
        """One line per parameter of a prediction with this version; for macros' dialogs."""
        version = self.version(name, pointer)
        entries = parameter_list(FAMILIES[version.family])
        own = version.card.parameters
        return tab_separated(PARAMETER_COLUMNS, (_parameter_row(e, own) for e in entries))


def tab_separated(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lines with tabs between; what could be taken for one of them becomes a space."""
    return "".join("\t".join(" ".join(c.split()) for c in row) + "\n" for row in (columns, *rows))


def progress_line(state: str, fraction: float, message: str, seconds_left: float | None) -> str:
    """One line for macros that wait: `state<TAB>fraction<TAB>message<TAB>seconds_left`."""
    left = "" if seconds_left is None else f"{seconds_left:.0f}"
    return tab_separated((state, f"{fraction:.4f}", message, left), ())


def _row(model: Model) -> tuple[str, ...]:
    family, card = FAMILIES[model.latest.family], model.latest.card
    production = model.aliases.get("production")
    size = (card.pixel_size_um or {}).get("X")
    return (
        *(model.name, str(production or ""), str(model.latest.version), family.name, card.axes),
        *(family.job, family.title, str(card.channels), "" if size is None else f"{size:g}"),
        ",".join(family.outputs),
    )


def _parameter_row(entry: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, ...]:
    """What a dialog needs; where the family has no default of its own, the model's."""
    forms = entry.get("anyOf", [entry])
    kinds = [form.get("type") for form in forms]
    choices = [str(word) for form in forms for word in form.get("enum", ())]
    kind = "choice" if choices else "text"
    if len([k for k in kinds if k not in (None, "null")]) == 1 and not choices:
        kind = next(k for k in kinds if k not in (None, "null"))
    default = entry.get("default")
    if default is None:
        default = own.get(entry["name"], "")
    ends = [
        next((form[key] for form in forms for key in keys if key in form), "")
        for keys in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
    ]
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return (
        *(entry["name"], {"string": "text"}.get(kind, kind), text, *map(str, ends)),
        *("|".join(choices), entry.get("description", "")),
    )


def version_view(version: ModelVersion) -> VersionView:
    family = FAMILIES[version.family]
    card = version.card
    return VersionView(
        name=version.name,
        version=version.version,
        aliases=version.aliases,
        digest=f"sha256:{version.digest}",
        created=version.created,
        family=family.name,
        title=family.title,
        job=family.job,
        description=card.description,
        axes=card.axes,
        channels=card.channels,
        pixel_size_um=_plain(card.pixel_size_um),
        outputs=family.outputs,
        parameters=tuple(Parameter(**entry) for entry in parameter_list(family)),
        verified=version.verification is not None and version.verification.passed,
        qc=version.qc.summary if version.qc else None,
        training=dict(card.training),
        size_bytes=card.size_bytes,
    )


def _served(models: Iterable[Model]) -> list[Model]:
    return [model for model in models if model.latest.family in FAMILIES]


def _view(model: Model) -> ModelView:
    family = FAMILIES[model.latest.family]
    return ModelView(
        name=model.name,
        family=family.name,
        title=family.title,
        job=family.job,
        axes=model.latest.card.axes,
        description=model.latest.card.description,
        production=model.aliases.get("production"),
        latest=model.latest.version,
        aliases=dict(model.aliases),
    )


def _plain(sizes: dict[Literal["Z", "Y", "X"], float] | None) -> dict[str, float] | None:
    return None if sizes is None else {str(axis): size for axis, size in sizes.items()}
