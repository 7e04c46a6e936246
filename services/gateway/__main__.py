"""`python -m services.gateway`"""

import sys

import uvicorn
from pydantic import ValidationError

from micserve.serving import logs
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings

DRAIN_S = 600
"""How long images on their way may take when the gateway is told to stop."""


def main() -> int:
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        sentences = [entry["msg"].removeprefix("Value error, ") for entry in error.errors()]
        sys.stderr.write("\n".join(sentences) + "\n")
        return 2
    logs.configure(settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.gateway_host,
        port=settings.gateway_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
