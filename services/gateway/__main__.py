"""`python -m services.gateway`"""

import sys
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from micserve.serving import logs
from services.gateway.app import create_app
from services.gateway.parts import Parts
from services.gateway.settings import GatewaySettings

STARTUP_FAILED = 3
"""As `uvicorn.run` ends with."""

DRAIN_S = 600
"""How long images on their way may take when the gateway is told to stop."""


class Server(uvicorn.Server):
    """Images on their way may take their time when it stops; who follows a job need not."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        parts: Parts | None = getattr(self._app.state, "parts", None)
        if parts is not None:
            parts.jobs.leaving.set()
        super().handle_exit(sig, frame)


def main() -> int:
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        sentences = [entry["msg"].removeprefix("Value error, ") for entry in error.errors()]
        sys.stderr.write("\n".join(sentences) + "\n")
        return 2
    logs.configure(settings.log_level)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.gateway_host,
        port=settings.gateway_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = Server(config, app)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else STARTUP_FAILED


if __name__ == "__main__":
    sys.exit(main())
