"""`python -m services.registry`: the tracking server as a program of its own, as in its container.

`make up` starts the same server without this module. Becomes MLflow; what it stores where is in
the settings.
"""

import os
import sys

from pydantic import ValidationError

from micserve.registry.server import DATABASE_VARIABLE, server_command, server_environment
from services.registry.settings import RegistryServerSettings


def main() -> None:
    try:
        settings = RegistryServerSettings()
    except ValidationError as error:
        names = [f"MICSERVE_{str(entry['loc'][0]).upper()}" for entry in error.errors()]
        sys.stderr.write(f"{', '.join(names)}: {error.errors()[0]['msg']}.\n")
        sys.exit(2)
    settings.folder.mkdir(parents=True, exist_ok=True)
    command = server_command(
        settings.folder,
        host=settings.registry_host,
        port=settings.registry_port,
        allowed_hosts=settings.registry_allowed_hosts,
        files=settings.registry_files,
        database_elsewhere=settings.registry_database is not None,
    )
    environment = server_environment(os.environ)
    if settings.registry_database is not None:
        environment[DATABASE_VARIABLE] = settings.registry_database.get_secret_value()
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    main()
