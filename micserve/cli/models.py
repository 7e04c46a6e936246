"""`micserve models`, `package`, `verify`, `promote`, `promotions`: what there is and is trusted."""

import getpass
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from micserve.artifact.verification import Verification
from micserve.cli.console import err, out, working
from micserve.errors import ParameterError
from micserve.files import publish_file
from micserve.registry import ModelRef, ModelVersion, open_registry
from micserve.registry.gate import Gate, difference_in_words, gate
from micserve.registry.model import refuse_bad_alias

Reference = Annotated[
    str,
    typer.Argument(help="name, name@version or name@alias", metavar="MODEL", show_default=False),
]


def register(app: typer.Typer) -> None:
    app.command()(models)
    app.command()(package)
    app.command()(verify)
    app.command()(promote)
    app.command()(promotions)


def models(
    name: Annotated[str | None, typer.Argument(help="Show the versions of this model")] = None,
) -> None:
    """List the models, or the versions of one."""
    registry = open_registry()
    if name is None:
        _print_versions([model.latest for model in registry.list_models()])
    else:
        _print_versions(registry.list_versions(ModelRef.parse(name).name))


def _print_versions(versions: Sequence[ModelVersion]) -> None:
    if not versions:
        out.print("No models yet. Train one: make train-n2v DATA=folder NAME=n2v-mine")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("MODEL", "FAMILY", "AXES", "ALIASES", "VERIFIED", "CREATED (UTC)", "SHA256"):
        table.add_column(column, no_wrap=True)
    for one in versions:
        verified = one.verification is not None and one.verification.passed
        table.add_row(
            f"{one.name}@{one.version}",
            one.family,
            one.card.axes,
            ", ".join(one.aliases) or "–",
            "yes" if verified else "NO",
            f"{one.created:%Y-%m-%d %H:%M}",
            one.digest[:12],
        )
    out.print(table)


def package(
    model: Reference,
    target: Annotated[Path | None, typer.Argument(help="Zip to write", metavar="OUT")] = None,
) -> None:
    """Save a version as a bioimage.io package, for Fiji, ilastik, napari or another server."""
    registry = open_registry()
    version = registry.resolve(ModelRef.parse(model))
    target = target or Path(f"{version.name}-{version.version}.zip")
    if target.exists():
        raise ParameterError(f"{target} exists already; name another file.")
    with publish_file(target) as part:
        shutil.copyfile(registry.fetch(version), part)
    err.print(f"{target} is written, sha256 {version.digest}.")


def verify(
    model: Annotated[str, typer.Argument(help="A package (.zip) or a model", metavar="MODEL")],
) -> None:
    """Check a package: digest, bioimage.io test, test tensors, halo, tiled equals whole."""
    from micserve.artifact.verify import verify_package  # loads ONNX Runtime

    if model.endswith(".zip"):
        with working(f"Checking {model} …"):
            verification = verify_package(Path(model), network_of=network)
    else:
        registry = open_registry()
        version = registry.resolve(ModelRef.parse(model))
        with working(f"Checking {version.ref} …"):
            verification = verify_package(
                registry.fetch(version), network_of=network, digest=version.digest
            )
        registry.record_verification(version, verification)
    print_checks(verification)
    verification.require_passed()


def network(path: Path) -> Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]:
    """The network as `micserve.artifact.verify_package` wants it."""
    from micserve.backends.onnx import OnnxBackend

    return OnnxBackend(path, provider="cpu").run


def print_checks(verification: Verification) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in verification.checks:
        mark = "[green]passed[/]" if check.passed else "[red]FAILED[/]"
        table.add_row(mark, check.name, check.sentence)
    out.print(table)


def promote(
    model: Reference,
    alias: Annotated[str, typer.Option(help="The alias to move")] = "production",
    reason: Annotated[str, typer.Option(help="Kept with the promotion")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also if it was never verified; needs a reason")
    ] = False,
) -> None:
    """Compare a version with the one in use, and point an alias at it if it was verified.

    Services load it within seconds, without a restart.
    """
    registry = open_registry()
    ref = ModelRef.parse(model)
    refuse_bad_alias(alias)
    print_gate(gate(registry, registry.resolve(ref), alias))
    promotion = registry.promote(ref, alias, by=getpass.getuser(), reason=reason, force=force)
    for warning in promotion.warnings:
        err.print(f"[yellow]warning:[/] {warning}", soft_wrap=True)
    before = f"version {promotion.from_version}" if promotion.from_version else "nothing"
    out.print(
        f"{promotion.name}@{promotion.alias} is now version {promotion.to_version} (was {before})."
    )


def promotions(
    name: Annotated[str, typer.Argument(help="A model's name", metavar="MODEL")],
) -> None:
    """List who moved which alias of a model, when, from where to where, and why."""
    table = Table(box=None, pad_edge=False)
    for column in ("WHEN (UTC)", "WHO", "ALIAS", "FROM", "TO", "WHY"):
        table.add_column(column)
    for one in reversed(open_registry().promotions(ModelRef.parse(name).name)):
        table.add_row(
            f"{one.at:%Y-%m-%d %H:%M}",
            one.by,
            one.alias,
            str(one.from_version or "–"),
            str(one.to_version),
            f"forced: {one.reason}" if one.forced else one.reason or "–",
        )
    out.print(table)


def print_gate(found: Gate) -> None:
    """What the candidate gains over filters and over the version in use."""
    if found.images:
        table = Table(box=None, pad_edge=False)
        images = "1 image" if found.images == 1 else f"{found.images} images"
        table.add_column(f"version {found.candidate} on {images}, minus …")
        table.add_column("difference [interval]")
        for one in found.against_methods:
            table.add_row(one.label, "; ".join(map(difference_in_words, one.differences)))
        if found.against_current:
            words = "; ".join(map(difference_in_words, found.against_current))
            table.add_row(f"version {found.current}", words)
        err.print(table)
    for sentence in found.sentences:
        if sentence not in found.warnings:
            err.print(sentence, soft_wrap=True)
