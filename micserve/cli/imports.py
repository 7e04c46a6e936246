"""`micserve import`: a model from elsewhere becomes a version in the registry."""

import getpass
import tempfile
from pathlib import Path
from typing import Annotated, get_args

import typer

from micserve.artifact.contract import FamilyName
from micserve.cli.console import err, out, working
from micserve.cli.models import print_checks
from micserve.errors import ParameterError
from micserve.registry import ModelRef, open_registry

CANDIDATE = "candidate"


def register(app: typer.Typer) -> None:
    app.command(name="import")(import_)


def import_(
    source: Annotated[
        Path,
        typer.Argument(
            help="bioimage.io package, csbdeep, n2v or stardist model folder, TF_SavedModel.zip",
            metavar="FILE",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the model here", show_default=False)],
    family: Annotated[
        str | None, typer.Option(help="n2v, care, unet or fnet, where the package does not say")
    ] = None,
) -> None:
    """Bring in a model that was trained elsewhere, check it, and publish it as a candidate."""
    from micserve.importing import import_model  # loads ONNX and its runtime

    if family is not None and family not in get_args(FamilyName):
        raise ParameterError(
            f"There is no family {family!r}: choose one of {', '.join(get_args(FamilyName))}."
        )
    ref = ModelRef.parse(name)
    registry = open_registry()
    with tempfile.TemporaryDirectory() as scratch:
        with working("Importing …") as status:
            imported = import_model(
                source,
                name=ref.name,
                scratch=Path(scratch),
                family=family,  # type: ignore[arg-type]
                say=lambda sentence: status.update(f"{sentence} …"),
            )
        print_checks(imported.verification)
        version = registry.publish(
            imported.path,
            name=ref.name,
            run_id=None,
            contract=imported.contract,
            verification=imported.verification,
            description=f"imported from {imported.origin}",
        )
    registry.promote(version.ref, CANDIDATE, by=getpass.getuser(), reason="just imported")
    out.print(f"{version.ref} is published ({version.family}), and is {ref.name}@{CANDIDATE}.")
    err.print(f"Next: micserve promote {version.ref} --reason '…'")
