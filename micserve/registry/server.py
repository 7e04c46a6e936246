"""How the tracking server of a registry folder is started: one home for its switches.

Knows the command, not how processes are kept: `make up`, the containers and
the tests start it in their own ways.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from micserve.registry.environment import SERVER

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"
DATABASE_VARIABLE = "MLFLOW_BACKEND_STORE_URI"


def server_command(
    folder: Path,
    *,
    port: int,
    host: str = "127.0.0.1",
    allowed_hosts: str | None = None,
    files: str | None = None,
    database_elsewhere: bool = False,
) -> tuple[str, ...]:
    """The command line that serves the registry kept in `folder`.

    A program may open the same folder directly (`sqlite:///folder/mlflow.db`)
    before or after, and finds all versions and files there.

    Parameters
    ----------
    allowed_hosts
        Host names under which clients may reach it, separated by commas, where that is
        more than localhost and private addresses: MLflow refuses other `Host` headers.
    files
        A folder or `s3://…`, instead of the one in `folder`.
    database_elsewhere
        The environment names the database (`DATABASE_VARIABLE`), so that its password is not
        on the command line, where every user of the machine could read it.
    """
    folder = folder.absolute()
    command = [sys.executable, "-m", "mlflow", "server"]
    if not database_elsewhere:
        command += ["--backend-store-uri", f"sqlite:///{folder / DATABASE}"]
    command += ["--artifacts-destination", files or str(folder / ARTIFACTS)]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", allowed_hosts] if allowed_hosts else []
    return tuple(command)


def server_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment for `server_command`: no telemetry, no job runner."""
    return {**inherited, **SERVER}
