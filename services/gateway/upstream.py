"""Requests to the services and their answers back, streamed: the gateway never holds an image.

Knows addresses and connections; knows nothing of models or pixels.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from micserve.errors import CancelledError, ServiceUnavailableError
from micserve.serving.logs import REQUEST_ID_HEADER, current_request_id
from micserve.serving.uploads import UploadLimits, body

Query = Sequence[tuple[str, str | int | float | bool | None]]

PASSED_ON = ("content-type", "content-length")
"""Of the request; all else is between the client and the gateway."""

KEPT_BACK = {"connection", "keep-alive", "transfer-encoding", "server", "date"}
"""Of the answer: what belongs to one connection, or is the gateway's to say."""

RETRY_PAUSE_S = 0.25

IDLE_S = 2.0
"""Idle connections are closed before the services close them (after 5 s), so that no request
is sent into a connection that is about to end."""


class Upstreams:
    """Connections to all services."""

    def __init__(self, addresses: Mapping[str, str], *, connect_patience_s: float) -> None:
        self._addresses = addresses
        self._patience_s = connect_patience_s
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=5.0),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=32, keepalive_expiry=IDLE_S
            ),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def forward(
        self,
        family: str,
        path: str,
        query: Query,
        request: Request,
        limits: UploadLimits,
    ) -> Response:
        """Stream a client's request to a service and its answer back.

        Raises
        ------
        ServiceUnavailableError
            When the service does not listen, or ends while it works.
        CancelledError
            When the client left; the service is told by its connection ending.
        """
        arriving = _Arriving(request, limits)
        headers = {k: v for k in PASSED_ON if (v := request.headers.get(k)) is not None}
        sending = asyncio.create_task(self._send(family, path, query, arriving, headers))
        leaving = asyncio.create_task(arriving.departure())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise CancelledError("The client left before the answer was there.")
            return _Relayed(sending.result())
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await sending

    async def save(
        self,
        family: str,
        path: str,
        query: Query,
        source: bytes | Path,
        target: Path,
    ) -> httpx.Response:
        """Post a file and keep the answer's body in another; a problem's body is read instead."""
        content = source if isinstance(source, bytes) else _pieces(source)
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        answer = await self._send(family, path, query, content, headers)
        try:
            if answer.status_code != httpx.codes.OK:
                await answer.aread()
                return answer
            with target.open("wb") as file:
                async for chunk in answer.aiter_raw():
                    await asyncio.to_thread(file.write, chunk)
            return answer
        except httpx.TransportError as error:
            raise _ended(family) from error
        finally:
            await answer.aclose()

    async def _send(
        self,
        family: str,
        path: str,
        query: Query,
        content: bytes | AsyncIterable[bytes],
        headers: dict[str, str],
    ) -> httpx.Response:
        address = self._addresses[family]
        request = self._client.build_request(
            "POST",
            address + path,
            params=list(query),
            content=content,
            headers={**headers, "X-Request-Id": current_request_id()},
        )
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                return await self._client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                # Nothing of the body was taken yet, so that it may be sent again.
                if time.monotonic() > give_up:
                    raise ServiceUnavailableError(
                        f"The {family} service at {address} is not running. Try again in a "
                        "minute; if it stays so, tell the facility's staff."
                    ) from error
                await asyncio.sleep(RETRY_PAUSE_S)
            except httpx.TransportError as error:
                raise _ended(family) from error


def _ended(family: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"The {family} service ended while it worked on the image. Send it again in a minute; if "
        "it happens again with the same image, tell the facility's staff."
    )


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, 1 << 20):
            yield piece


class _Arriving:
    """The client's body on its way through, and whether the client is still there after it."""

    def __init__(self, request: Request, limits: UploadLimits) -> None:
        self._request, self._limits = request, limits
        self._arrived = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in body(self._request, self._limits):
            yield chunk
        self._arrived.set()

    async def departure(self) -> None:
        """Returns when the client hangs up after its body was read."""
        await self._arrived.wait()
        with suppress(ClientDisconnect):
            while (await self._request.receive())["type"] != "http.disconnect":
                pass


class _Relayed(Response):
    """A service's answer, passed on as it comes; the connection is closed if the client leaves."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer
        self.status_code = answer.status_code
        self.background = None
        self.raw_headers = [
            (k.lower(), v)
            for k, v in answer.headers.raw
            if k.decode("latin-1").lower() not in KEPT_BACK | {REQUEST_ID_HEADER.lower()}
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            async for chunk in self._answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._answer.aclose()
