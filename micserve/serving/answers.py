"""Images on their way out: headers that any client can read, bytes that leave no file behind."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

READ_BYTES = 1 << 20
"""How much of a file is read and sent at a time."""


class FileAnswer(Response):
    """An open file as a body of exact length; closed whether the client took it or left."""

    def __init__(
        self, content: BinaryIO, size: int, *, media_type: str, headers: Mapping[str, str]
    ) -> None:
        self._content = content
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers({**headers, "content-length": str(size)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while chunk := await asyncio.to_thread(self._content.read, READ_BYTES):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._content.close()


def result_headers(
    *,
    model: str,
    version: int,
    digest: str,
    seconds: Mapping[str, float],
    warnings: Sequence[str],
    trust: str,
    filename: str,
) -> dict[str, str]:
    """What made the image and how long it took, in ASCII."""
    headers = {
        "X-Micserve-Model": model,
        "X-Micserve-Version": str(version),
        "X-Micserve-Digest": f"sha256:{digest}",
        "X-Micserve-Trust": ascii_only(trust),
        "X-Micserve-Timings": " ".join(f"{k}={v:.4f}" for k, v in seconds.items()),
        "Server-Timing": ", ".join(f"{k};dur={v * 1000:.1f}" for k, v in seconds.items()),
        "Content-Disposition": disposition(filename),
    }
    if warnings:
        headers["X-Micserve-Warnings"] = ascii_only(" ".join(warnings))
    return headers


def disposition(filename: str) -> str:
    return f"attachment; filename=\"{ascii_only(filename)}\"; filename*=UTF-8''{quote(filename)}"


def ascii_only(text: str) -> str:
    """One line that survives every HTTP library: µ becomes u, other letters a question mark."""
    plain = text.replace("µ", "u").replace("μ", "u").replace("…", "...").replace('"', "'")
    one_line = " ".join(plain.split())
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in one_line)


ASKED_FOR_HEAD = "micserve.head"
"""In the scope of a request that was a HEAD, for the route that answers it otherwise."""


class HeadAsGet:
    """ASGI middleware: HEAD is answered as GET is; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", ASKED_FOR_HEAD: True}
        await self.app(scope, receive, send)
