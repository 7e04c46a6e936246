"""What Prometheus may ask of the gateway; `docs/metrics.md` lists it, a test compares."""

import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from micserve.families import FAMILIES
from micserve.serving.metrics import SECONDS


class GatewayMetrics:
    """Declared once, in a registry of their own; a route is its pattern, never a path."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "micserve_gateway_requests_total",
            "Requests by route and HTTP status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "micserve_gateway_request_duration_seconds",
            "Time from a request's head to the last byte of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.running = Gauge(
            "micserve_gateway_requests_running", "Requests that are open now.", registry=registry
        )

        self.upstream_requests = Gauge(
            "micserve_gateway_upstream_requests",
            "Images that a family's service works on, or that wait for it to listen.",
            ["family"],
            registry=registry,
        )
        self.upstream_failures = Counter(
            "micserve_gateway_upstream_failures_total",
            "Attempts to reach a service that failed, by outcome: refused when it did not listen, "
            "ended when it ended before it answered. Most are repeated and nobody notices.",
            ["family", "outcome"],
            registry=registry,
        )
        self.registry_up = Gauge(
            "micserve_gateway_registry_up",
            "1 when the registry answered the gateway the last time it was asked.",
            registry=registry,
        )
        self.jobs = Gauge(
            "micserve_jobs",
            "Jobs that wait or run, by kind (train, predict) and state (queued, running).",
            ["kind", "state"],
            registry=registry,
        )
        self.jobs_ended = Gauge(
            "micserve_jobs_ended",
            "Jobs that ended while this gateway ran, by kind and how: finished, failed, cancelled.",
            ["kind", "state"],
            registry=registry,
        )
        for family in FAMILIES:
            self.upstream_requests.labels(family)
        self.note_jobs({}, {})

    def note_jobs(
        self, active: Mapping[tuple[str, str], int], ended: Mapping[tuple[str, str], int]
    ) -> None:
        """Numbers of jobs by kind and state, as they are now."""
        for kind in ("train", "predict"):
            for state in ("queued", "running"):
                self.jobs.labels(kind, state).set(active.get((kind, state), 0))
            for state in ("finished", "failed", "cancelled"):
                self.jobs_ended.labels(kind, state).set(ended.get((kind, state), 0))

    def render(self) -> bytes:
        return generate_latest(self.registry)


class CountRequests:
    """ASGI middleware around the routes."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.running.inc()
        try:
            await self.app(scope, receive, send_and_note)
        finally:
            self._metrics.running.dec()
            route = _pattern(scope)
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)


METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


def _pattern(scope: Scope) -> str:
    """Of the route that matched; one word for all that matched none."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "") or "none")
