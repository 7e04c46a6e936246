"""One JSON line per event, with the id of the request that caused it.

Only programs call `configure`; a library that imports micserve keeps its own logging.
"""

import json
import logging
import re
import sys
import time
import uuid
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("micserve.access")

REQUEST_ID_HEADER = "X-Micserve-Request-Id"

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_STANDARD_FIELDS = set(vars(logging.makeLogRecord({}))) | {"message", "taskName"}

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Of the request that is being answered; empty outside of one."""
    return _request_id.get()


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `message`, `request_id`, and whatever `extra` holds."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id():
            line["request_id"] = request_id
        line |= {k: v for k, v in vars(record).items() if k not in _STANDARD_FIELDS}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str) -> None:
    """Write the logs of micserve and of all libraries to stderr, as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("micserve", "services"):
        logging.getLogger(name).setLevel(level)


class RequestLog:
    """ASGI middleware: gives every request an id, returns it, and writes one line per request.

    An `X-Request-Id` that the caller sent is kept, so that a line of the gateway
    and one of a service can be put together.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _ACCEPTED_ID.fullmatch(asked) else uuid.uuid4().hex
        token = _request_id.set(request_id)
        started, status, sent = time.perf_counter(), 0, 0

        async def send_with_id(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            level = logging.DEBUG if scope["path"] in QUIET_PATHS else logging.INFO
            log.log(
                level,
                "%s %s",
                scope["method"],
                scope["path"],
                extra={
                    "status": status,
                    "bytes": sent,
                    "seconds": round(time.perf_counter() - started, 4),
                },
            )
            _request_id.reset(token)


QUIET_PATHS = {"/livez", "/readyz", "/metrics"}
"""Asked every few seconds by machines."""
