"""A job as a stream of server-sent events, until it has ended or nobody listens any more.

event: progress    state, fraction, phase, message, seconds_left, queue_position
event: metrics     the epochs that are new: a list of epoch, loss, val_loss, learning_rate
event: log         one line that the program printed
event: end         the whole job
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from micserve.errors import MicserveError, NotFoundError
from micserve.registry.jobs import ENDED
from services.gateway.callers import Caller
from services.gateway.jobs.desk import JobDesk
from services.gateway.jobs.views import JobView, seen_by

EVERY_S = 1.0
ALIVE_S = 15.0
"""A comment is sent as often as this, so that proxies keep the connection."""
SHOWN = ("state", "fraction", "phase", "message", "seconds_left", "queue_position")


async def events_of(desk: JobDesk, identity: str, caller: Caller) -> AsyncIterator[str]:
    """The events as text; the registry being away for a while only delays them.

    They end without an `end` when the gateway is to stop: browsers come back by themselves.
    """
    told = _Told(desk, identity)
    quiet = 0.0
    while not desk.leaving.is_set():
        try:
            view = await asyncio.to_thread(seen_by, caller, desk, identity)
            said = await asyncio.to_thread(told.news, view)
        except NotFoundError as error:
            yield _event("problem", {"detail": str(error)})
            return
        except MicserveError as error:
            said = [_event("problem", {"detail": str(error)})]
            view = None
        for text in said:
            yield text
        quiet = 0.0 if said else quiet + EVERY_S
        if view is not None and view.state in ENDED:
            yield _event("end", view.model_dump(mode="json"))
            return
        if quiet >= ALIVE_S:
            yield ": still here\n\n"
            quiet = 0.0
        await asyncio.sleep(EVERY_S)


class _Told:
    """What one listener has heard."""

    def __init__(self, desk: JobDesk, identity: str) -> None:
        self._desk, self._identity = desk, identity
        self._progress: dict[str, Any] = {}
        self._epochs = 0
        self._trained: tuple[Any, ...] = ()
        self._lines: list[str] = []

    def news(self, view: JobView) -> list[str]:
        said = []
        whole = view.model_dump(mode="json")
        progress = {name: whole[name] for name in SHOWN}
        if progress != self._progress:
            self._progress = progress
            said.append(_event("progress", progress))
        said += [_event("log", {"line": line}) for line in self._new_lines(list(view.log_tail))]
        trained = (view.state, view.phase, view.fraction, view.metrics)
        if view.kind == "train" and view.metrics and trained != self._trained:
            # The whole history is three requests: asked for when something changed, not always.
            rows = self._desk.records.curves(self._identity)
            if len(rows) > self._epochs:
                said.append(_event("metrics", rows[self._epochs :]))
                self._epochs = len(rows)
            self._trained = trained
        return said

    def _new_lines(self, tail: list[str]) -> list[str]:
        """What follows the part of the tail that was told already."""
        before, self._lines = self._lines, tail
        for kept in range(min(len(before), len(tail)), 0, -1):
            if before[-kept:] == tail[:kept]:
                return tail[kept:]
        return tail


def _event(name: str, content: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
