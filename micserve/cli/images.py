"""`micserve predict` and `micserve synthetic`: images through a model, images for a try."""

import csv
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray

from micserve.cli.console import err, out, working
from micserve.client import Client
from micserve.codecs import write_tiff
from micserve.errors import ParameterError
from micserve.image import Image
from micserve.synthetic import SpotsRecipe, spots_series

Model = Annotated[
    str,
    typer.Argument(help="name, name@version or name@alias", metavar="MODEL", show_default=False),
]


class Recipe(StrEnum):
    slides = "slides"
    macro = "macro"


def register(app: typer.Typer) -> None:
    app.command()(predict)
    app.command()(synthetic)


def predict(
    model: Model,
    source: Annotated[Path, typer.Argument(help="TIFF, OME-TIFF or PNG", metavar="IN")],
    target: Annotated[Path, typer.Argument(help="TIFF to write", metavar="OUT")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="A parameter of the model's family: output_dtype=uint16"),
    ] = None,
) -> None:
    """Send an image through a model."""
    with working(f"{source.name} through {model} …"), Client() as client:
        client.predict(model, source, to=target, parameters=settings(parameter or []))
    err.print(f"{target} is written.")
    if client.trust:
        light, _, reason = client.trust.partition("; ")
        err.print(f"Trust: {light}. {reason[:1].upper()}{reason[1:]}.", highlight=False)


def settings(pairs: list[str]) -> dict[str, str]:
    """`name=value` words to a mapping."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ParameterError(f"{pair!r} is not name=value, as in output_dtype=uint16")
        found[name.strip()] = value.strip()
    return found


def synthetic(
    folder: Annotated[Path, typer.Argument(help="Folder to make; must be new or empty")],
    count: Annotated[int, typer.Option(min=1, help="Images to make")] = 5,
    test: Annotated[int, typer.Option(min=0, help="How many of them go to test/")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pixels")] = 2026,
    recipe: Annotated[
        Recipe, typer.Option(help="slides: 800 × 800, 8 bit, noisy; macro: the macro's defaults")
    ] = Recipe.slides,
) -> None:
    """Make spots images with a known truth: train/noisy, test/noisy, test/clean, truth/."""
    if folder.exists() and any(folder.iterdir()):
        raise ParameterError(f"{folder} is not empty; name a new folder.")
    how = SpotsRecipe.slides() if recipe is Recipe.slides else SpotsRecipe()
    for number, spots in enumerate(spots_series(how, count=count, seed=seed), start=1):
        name = f"spots_{number}"
        part = "test" if number > count - test else "train"
        _save(spots.noisy, folder / part / "noisy" / f"{name}.tif")
        if part == "test":
            _save(spots.clean, folder / part / "clean" / f"{name}.tif")
        table = folder / "truth" / f"{name}.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="") as stream:
            rows = spots.table()
            writer = csv.DictWriter(stream, rows[0].keys() if rows else ["Class"])
            writer.writeheader()
            writer.writerows(rows)
    out.print(f"{count - test} images to train on and {test} to test with are in {folder}.")


def _save(pixels: NDArray[Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tiff(Image(pixels, "YX", name=path.stem), path)
