"""Requests to the services and their answers back, streamed: the gateway never holds an image.

A family may have several replicas. The one with the fewest open requests is
asked; one that does not listen is left out for a moment. What was sent is
remembered up to a limit, so that a replica that ends before it answered, as in
a rolling restart, costs no request: it is sent once more, to another.

Knows addresses and connections; knows nothing of models or pixels.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from micserve.errors import CancelledError, ServiceUnavailableError
from micserve.serving.logs import REQUEST_ID_HEADER, current_request_id
from micserve.serving.uploads import UploadLimits, body
from services.gateway.metrics import GatewayMetrics
from services.gateway.replicas import Replica, Replicas

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
    """Connections to all services.

    Parameters
    ----------
    addresses
        Of each family, one per replica.
    dedicated
        Of models that have a service of their own, by name.
    connect_patience_s
        How long a service that does not listen is tried again.
    """

    def __init__(
        self,
        addresses: Mapping[str, Sequence[str]],
        *,
        dedicated: Mapping[str, Sequence[str]],
        connect_patience_s: float,
        metrics: GatewayMetrics,
    ) -> None:
        self._families = {family: Replicas(found) for family, found in addresses.items()}
        self._models = {
            f"/v1/models/{model}/predict": Replicas(found) for model, found in dedicated.items()
        }
        self._metrics = metrics
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
        content = _Kept(source)
        headers = {"content-type": "application/octet-stream", "content-length": str(content.size)}
        sent = await self._send(family, path, query, content, headers)
        answer = sent.answer
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
            await sent.close()

    async def _send(
        self,
        family: str,
        path: str,
        query: Query,
        content: "_Content",
        headers: dict[str, str],
    ) -> "_Sent":
        with self._metrics.upstream_requests.labels(family).track_inprogress():
            return await self._deliver(family, path, query, content, headers)

    async def _deliver(
        self,
        family: str,
        path: str,
        query: Query,
        content: "_Content",
        headers: dict[str, str],
    ) -> "_Sent":
        """To a replica that listens, and once more if one ends before it answered."""
        replicas = self._models.get(path) or self._families[family]
        give_up = time.monotonic() + self._patience_s
        has_ended = False
        while True:
            replica = replicas.next()
            try:
                return await self._ask(replica, path, query, content, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                # Nothing of the body was taken yet, so that it may be sent again.
                self._metrics.upstream_failures.labels(family, "refused").inc()
                replica.leave_out()
                if not replicas.all_left_out:
                    continue
                if time.monotonic() > give_up:
                    raise (_ended(family) if has_ended else _away(family, replicas)) from error
                await asyncio.sleep(RETRY_PAUSE_S)
            except httpx.TransportError as error:
                self._metrics.upstream_failures.labels(family, "ended").inc()
                replica.leave_out()
                if has_ended or not content.can_be_sent_again:
                    raise _ended(family) from error
                has_ended = True

    async def _ask(
        self,
        replica: Replica,
        path: str,
        query: Query,
        content: "_Content",
        headers: dict[str, str],
    ) -> "_Sent":
        request = self._client.build_request(
            "POST",
            replica.address + path,
            params=list(query),
            content=content.chunks(),
            headers={**headers, "X-Request-Id": current_request_id()},
        )
        with ExitStack() as held:
            held.enter_context(replica.counted())
            answer = await self._client.send(request, stream=True)
            return _Sent(answer, held.pop_all())


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request whose answer has begun; the replica counts it until it is closed."""

    answer: httpx.Response
    held: ExitStack

    async def close(self) -> None:
        self.held.close()
        await self.answer.aclose()


class _Content(Protocol):
    """A body that may have to be sent twice."""

    def chunks(self) -> AsyncIterator[bytes]: ...

    @property
    def can_be_sent_again(self) -> bool: ...


def passed_on(problem: httpx.Response) -> Response:
    """A service's refusal, whose body was read, as the gateway's own answer."""
    kept = {k: v for k, v in problem.headers.items() if k in ("content-type", "retry-after")}
    return Response(problem.content, status_code=problem.status_code, headers=kept)


def _away(family: str, replicas: Replicas) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"The {family} service at {replicas} is not running. Try again in a minute; if it stays "
        "so, tell the facility's staff."
    )


def _ended(family: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"The {family} service ended while it worked on the image. Send it again in a minute; if "
        "it happens again with the same image, tell the facility's staff."
    )


class _Kept:
    """A body that is in memory or in a file."""

    can_be_sent_again = True

    def __init__(self, source: bytes | Path) -> None:
        self._source = source
        self.size = len(source) if isinstance(source, bytes) else source.stat().st_size

    async def chunks(self) -> AsyncIterator[bytes]:
        if isinstance(self._source, bytes):
            yield self._source
            return
        with self._source.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, 1 << 20):
                yield piece


class _Arriving:
    """The client's body on its way through, and whether the client is still there after it.

    Remembers up to `limits.spool_bytes`, so that a small image can be sent again.
    """

    def __init__(self, request: Request, limits: UploadLimits) -> None:
        self._request = request
        self._source = body(request, limits)
        self._remembered: list[bytes] = []
        self._room = limits.spool_bytes
        self._arrived = asyncio.Event()

    @property
    def can_be_sent_again(self) -> bool:
        return self._room >= 0

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in tuple(self._remembered):
            yield chunk
        async for chunk in self._source:
            self._remember(chunk)
            yield chunk
        self._arrived.set()

    def _remember(self, chunk: bytes) -> None:
        self._room -= len(chunk)
        if self.can_be_sent_again:
            self._remembered.append(chunk)
        else:
            self._remembered.clear()

    async def departure(self) -> None:
        """Returns when the client hangs up after its body was read."""
        await self._arrived.wait()
        with suppress(ClientDisconnect):
            while (await self._request.receive())["type"] != "http.disconnect":
                pass


class _Relayed(Response):
    """A service's answer, passed on as it comes; the connection is closed if the client leaves."""

    def __init__(self, sent: _Sent) -> None:
        self._sent, answer = sent, sent.answer
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
            async for chunk in self._sent.answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._sent.close()
