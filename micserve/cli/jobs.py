"""`micserve train` and `micserve jobs`: work for the server, ordered from a terminal."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from micserve.cli.console import err, out, progressing
from micserve.cli.images import settings
from micserve.client import Client
from micserve.errors import ParameterError
from micserve.jobs import Job

commands = typer.Typer(help="Trainings and predictions on the server: list, follow, cancel, fetch.")

Identity = Annotated[
    str, typer.Argument(help="The job's id, or how it begins", metavar="JOB", show_default=False)
]
Source = Annotated[
    str,
    typer.Argument(
        help="Folder of this machine, which is uploaded, or a place on the server: "
        "data:<id>/noisy, root:<name>/folder",
        metavar="IMAGES",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="A parameter: number_of_epochs=50")
]
Stay = Annotated[bool, typer.Option("--follow/--detach", help="Show the progress until it ends")]


def register(app: typer.Typer) -> None:
    app.command()(train)
    app.add_typer(commands, name="jobs")


def train(
    family: Annotated[str, typer.Argument(help="n2v, care, stardist, unet or fnet")],
    name: Annotated[str, typer.Argument(help="Name of the model")],
    images: Source,
    target: Annotated[str | None, typer.Option(help="Targets, where the family has them")] = None,
    ndim: Annotated[int, typer.Option(min=2, max=3)] = 2,
    preset: Annotated[str, typer.Option(help="recommended, quick or zerocost")] = "recommended",
    parameter: Settings = None,
    follow: Stay = True,
) -> None:
    """Train a model on the server; it goes on when this program ends."""
    with Client() as client:
        job = client.train(
            family,
            name,
            _place(client, images),
            target=None if target is None else _place(client, target),
            ndim=ndim,
            preset=preset,
            parameters=_typed(settings(parameter or [])),
        )
        err.print(f"Job {job.id} is ordered. micserve jobs follow {job.id[:8]} finds it again.")
        if follow:
            job.wait()
            out.print(f"{name}@{job.version} is trained.")


@commands.callback(invoke_without_command=True)
def jobs(context: typer.Context) -> None:
    """List your jobs, newest first."""
    if context.invoked_subcommand is not None:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("JOB", "WHAT", "MODEL", "STATE", "DONE", "OWNER", "CREATED (UTC)"):
        table.add_column(column, no_wrap=True)
    with Client() as client:
        found = client.jobs()
    for job in found:
        facts = job.facts
        version = f"@{facts['version']}" if facts["version"] else ""
        done = f"{100 * facts['fraction']:.0f} %"
        created = str(facts["created"])[:16].replace("T", " ")
        what = {"train": "training", "predict": "prediction"}[str(facts["kind"])]
        model = f"{facts['model']}{version}"
        table.add_row(job.id[:8], what, model, job.state, done, str(facts["owner"]), created)
    out.print(table if found else "No jobs yet. Start one: micserve train n2v n2v-mine folder")


@commands.command()
def predict(
    model: Annotated[str, typer.Argument(help="name, name@version or name@alias")],
    images: Source,
    into: Annotated[Path | None, typer.Option(help="Folder for the results")] = None,
    output: Annotated[str, typer.Option(help="image, labels, rois, table or bundle")] = "image",
    parameter: Settings = None,
) -> None:
    """Predict all images of a folder on the server."""
    with Client() as client:
        job = client.predict_folder(
            model,
            _place(client, images),
            output=output,
            parameters=settings(parameter or []),
        )
        err.print(
            f"Job {job.id} is ordered. micserve jobs fetch {job.id[:8]} OUT gets its results."
        )
        if into is not None:
            job.wait()
            err.print(f"{len(job.save(into))} files are in {into}.")


@commands.command()
def follow(job: Identity) -> None:
    """Show a job's progress until it ends."""
    with Client() as client:
        found = _found(client, job).wait()
        out.print(f"{found.id} is {found.state}. {found.facts['message']}")


@commands.command()
def log(job: Identity) -> None:
    """Print the last lines of a job's log."""
    with Client() as client:
        for line in _found(client, job).refresh().facts["log_tail"]:
            out.print(line, markup=False)


@commands.command()
def cancel(job: Identity) -> None:
    """End a job within seconds."""
    with Client() as client:
        found = _found(client, job).cancel()
        out.print(f"{found.id} is {found.state}.")


@commands.command()
def delete(job: Identity) -> None:
    """Delete a job and its results; a version that it published stays."""
    with Client() as client:
        found = _found(client, job)
        found.delete()
        out.print(f"{found.id} is deleted.")


@commands.command()
def fetch(job: Identity, into: Annotated[Path, typer.Argument(metavar="OUT")]) -> None:
    """Save a job's results into a folder."""
    with Client() as client:
        err.print(f"{len(_found(client, job).save(into))} files are in {into}.")


def _found(client: Client, text: str) -> Job:
    fitting = [job for job in client.jobs() if job.id.startswith(text)]
    if len(fitting) > 1:
        raise ParameterError(f"{len(fitting)} jobs begin with {text}; write more of the id.")
    return fitting[0] if fitting else client.job(text)


def _place(client: Client, text: str) -> str:
    if text.startswith(("data:", "root:")):
        return text
    source = Path(text)
    with progressing(f"Uploading {source.name} …") as bar:
        return client.upload(source, progress=lambda sent, total: bar(sent / max(total, 1), ""))


def _typed(values: dict[str, str]) -> dict[str, Any]:
    """Numbers and truth as such: the server checks types."""
    words = {"true": True, "false": False, "null": None, "none": None}
    return {name: words.get(text.lower(), _number(text)) for name, text in values.items()}


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
