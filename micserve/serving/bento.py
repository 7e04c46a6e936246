"""A family's app below BentoML: which of its switches are set, and why.

BentoML keeps two processes: a supervisor that holds the port and a worker that
holds the networks. This module is imported by both, so it imports nothing
heavy until the worker starts.
"""

import os
import subprocess
import sys
from contextlib import AsyncExitStack
from typing import Any

import bentoml
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

SERVICE: dict[str, Any] = {
    # One process: networks are loaded once, and the queue is one queue.
    "workers": 1,
    # Ours counts what is waiting, and a large stack on a CPU takes longer than any timeout.
    "traffic": {"timeout": 24 * 3600},
    # BentoML's label every metric with the path, which is without bounds.
    "metrics": {"enabled": False},
    # Ours are JSON, with the request id.
    "logging": {"access": {"enabled": False}},
}


def refuse_without_provider() -> None:
    """End the program with a sentence when CUDA was asked for and does not work here.

    Asked of another process, so that the supervisor takes no memory of the GPU, and before
    the port is opened, so that nobody waits for a service that will never be ready.
    """
    if "cuda" not in (os.environ.get("MICSERVE_PROVIDER"), os.environ.get("PROVIDER")):
        return
    asked = subprocess.run(
        [sys.executable, "-m", "micserve.serving.provider", "cuda"], stderr=subprocess.PIPE
    )
    if asked.returncode:
        raise SystemExit(asked.stderr.decode(errors="replace").strip())


class Mounted:
    """The app of a family, made when the worker starts. Mount it at `/`.

    Not a Starlette app by type, so that BentoML hands over every path that is not its own
    (`/livez`, `/readyz`), and unknown ones get our answer.
    """

    def __init__(self, family: str) -> None:
        self._family = family
        self._app: ASGIApp | None = None
        self._running = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._app is not None, "BentoML starts the service before it sends requests"
        await self._app(scope, receive, send)

    async def start(self) -> None:
        """Called in the worker, once."""
        # BentoML's shared metric files are for many workers; with one they only leak between
        # services that share a folder.
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        from micserve.serving import logs
        from micserve.serving.app import create_app
        from micserve.serving.process import die_with_parent
        from micserve.serving.settings import ServiceSettings

        die_with_parent()
        settings = ServiceSettings()
        logs.configure(settings.log_level)
        app = create_app(self._family, settings)
        await self._running.enter_async_context(app.router.lifespan_context(app))
        self._service = app.state.service
        self._app = app

    async def stop(self) -> None:
        await self._running.aclose()

    async def require_ready(self) -> None:
        """Raise what BentoML's probe shows as 503 with our reasons."""
        state = self._service.state()
        if not state.ready:
            raise HTTPException(503, " ".join(state.reasons) + "\n")


class Predictor:
    """Base of the BentoML services; a service names its `mounted` app."""

    mounted: Mounted

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        await self.mounted.start()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        await self.mounted.stop()

    async def __is_ready__(self) -> bool:
        await self.mounted.require_ready()
        return True
