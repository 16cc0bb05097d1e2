"""The response that carries a subscription over ASGI; with `pipe`, the only file that imports sse-starlette.

It derives from `EventSourceResponse`, whose headers and HEAD it keeps. What it overrides is the task group for each
connection: on our own server the response returns at once, and the connection stays with the subscription; under any
other one task waits for the reader to leave. Everything is written by the hub, or by the subscription's own task while
it catches up.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol, TypeAlias

from sse_starlette.sse import AppStatus, EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.stream import Subscription
from gateway.wanted import Wire

EXTENSION = "status_gateway.write"
MEDIA_TYPES = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain"}
HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "Incremental": "?1",
    "Vary": "Accept",
}


Opener: TypeAlias = Callable[[str, str | None], Subscription | None]  # of a job, from a header's cursor, if at once

# Takes a report, of a job and with a body, if it can be taken without a task. Then, and only then, its answer is told,
# never before this returns.
Taker: TypeAlias = Callable[[str, bytes, Callable[[Response], None]], bool]


class Connection(Protocol):
    """What our server offers under `scope["extensions"][EXTENSION]`."""

    def park(self, gone: Callable[[], None]) -> Wire | None:
        """Once the response has started: the rest of its body, which goes on when the app has returned. `gone` is
        called when it is over. None where the connection can't be had; then the app goes on as under any server."""

    def learn(self, job: str, opener: Opener) -> None:
        """The same request, word for word but for the name of the job in its path and its Last-Event-ID, may be
        answered by what this opens."""

    def learn_reports(self, job: str, status: int, fields: list[tuple[bytes, bytes]], taker: Taker) -> None:
        """The same request, word for word but for the name of the job in its path and its body, may be taken by that,
        if the answer's head, as it is here, has reached the server unaltered."""

    def abort(self) -> None:
        """Drop the connection at once."""


class AsgiWire:
    """A response body over plain ASGI. `try_write` always declines, so that every frame is written by a task that
    awaits `send`, which any server understands."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.aborted = asyncio.Event()

    def socket(self) -> None:
        """See `wanted.Wire`."""

    def try_write(self, data: bytes) -> bool:
        """See `wanted.Wire`."""
        return False

    async def drained(self) -> None:
        """See `wanted.Wire`."""

    async def write(self, data: bytes) -> None:
        """See `wanted.Wire`."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """See `wanted.Wire`."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def abort(self) -> None:
        """See `wanted.Wire`."""
        self.aborted.set()


@functools.cache
def _members(media_type: str) -> Mapping[str, Any]:
    """Those of a response of that kind. Making one makes a lock and more, of which ours use nothing."""
    response = EventSourceResponse(_nothing(), headers=HEADERS, media_type=media_type, ping=0, sep="\n")
    del response.headers["Connection"]  # a hop-by-hop header: the server's business
    return {name: value for name, value in vars(response).items() if name != "_headers"}


class SubscriptionResponse(EventSourceResponse):
    """An event stream, or the same as lines of JSON, of one subscription."""

    def __init__(self, subscription: Subscription) -> None:
        vars(self).update(_members(MEDIA_TYPES[subscription.form.kind]))
        self.raw_headers = list(self.raw_headers)  # middleware may add to them
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open the subscription; return at once where the connection can be had, else when the stream is over."""
        subscription = self._subscription
        if scope["method"] == "HEAD":
            subscription.close()
            await super().__call__(scope, receive, send)
            return
        connection: Connection | None = scope.get("extensions", {}).get(EXTENSION)
        parked: Wire | None = None
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if connection is not None:
                parked = connection.park(subscription.close)
            if connection is not None and parked is not None:
                subscription.open(parked)
                job = scope.get("path_params", {}).get("id")
                if job is not None and (opener := subscription.again()):
                    connection.learn(job, opener)
                return
            wire = AsgiWire(send)
            subscription.open(wire)
            await _until_gone_or_aborted(receive, wire)
        finally:
            if parked is None:
                subscription.close()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until_gone_or_aborted(receive: Receive, wire: AsgiWire) -> None:
    """Plain ASGI has no way to drop a connection but to return; so a second task waits for that."""
    waits = {asyncio.ensure_future(_until_gone(receive)), asyncio.ensure_future(wire.aborted.wait())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def own_farewell() -> None:
    """Keep sse-starlette from cutting our streams at shutdown: the gateway ends them itself, with a farewell."""
    AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]  # it has no annotations


async def _nothing() -> AsyncIterator[bytes]:
    for piece in iter(tuple[bytes, ...]()):
        yield piece
