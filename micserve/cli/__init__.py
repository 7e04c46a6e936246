"""The `micserve` command: what the web page and Fiji do, for scripts and terminals.

`app` collects the commands of this package; `main` turns every error that we
raise on purpose into its one sentence and exit code 1 (2 for a wrong call, as
everywhere). Anything else is a defect of ours and keeps its traceback.
"""

import os
import sys

import typer

from micserve import __version__
from micserve.cli import images, imports, jobs, models, quality, token
from micserve.cli.console import complain
from micserve.errors import CancelledError, MicserveError

app = typer.Typer(
    name="micserve",
    help="Deep learning for microscopy, on your facility's own server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models.register(app)
imports.register(app)
images.register(app)
quality.register(app)
jobs.register(app)
token.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"micserve {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    """The server's address is taken from MICSERVE_URL (http://127.0.0.1:8000 if unset)."""


def main() -> None:
    """Entry point of the `micserve` program."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        app()
    except CancelledError as error:
        complain(str(error))
        sys.exit(130)
    except MicserveError as error:
        complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        complain("Stopped.")
        sys.exit(130)
