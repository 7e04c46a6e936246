"""What MLflow is told before it is imported: be silent, give up soon, phone nobody.

Only programs change their environment, so nothing here runs on import:
`open_registry` calls `quiet_environment`, and so does whoever starts a server.
"""

import os
from collections.abc import Mapping, MutableMapping

CLIENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Requests are repeated in `connection`, which knows what may be repeated. MLflow's own
    # five attempts with growing pauses would keep a caller waiting for a minute.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

SERVER: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The job runner keeps several more processes and 1.8 GB for features that we do not use.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def quiet_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what is not set yet; a person's own choice stays."""
    for name, value in CLIENT.items():
        environment.setdefault(name, value)
