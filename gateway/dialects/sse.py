"""The response that carries a subscription over ASGI; with `pipe`, the only file that imports sse-starlette.

It derives from `EventSourceResponse`, whose headers and HEAD it keeps. What it overrides is the task group for each
connection: here one task waits for the reader to leave, and everything is written by the hub, or by the subscription's
own task while it catches up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from sse_starlette.sse import AppStatus, EventSourceResponse
from starlette.types import Receive, Scope, Send

from gateway.stream import Subscription

EXTENSION = "status_gateway.write"
MEDIA_TYPES = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}
HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "Incremental": "?1",
    "Vary": "Accept",
}


class DirectWriter(Protocol):
    """What our server offers under `scope["extensions"][EXTENSION]`, once the response has started."""

    def try_write(self, data: bytes) -> bool:
        """Write a piece of the body now; False where the socket does not drain, and then nothing was written."""

    def abort(self) -> None:
        """Drop the connection at once."""


class AsgiWire:
    """A response body over ASGI, and past it where the server offers that. Without the offer `try_write` always
    declines, so that every frame is written by a task that awaits `send`, which any server understands."""

    def __init__(self, send: Send, direct: DirectWriter | None) -> None:
        self._send, self._direct = send, direct
        self.aborted = asyncio.Event()

    def try_write(self, data: bytes) -> bool:
        """See `wanted.Wire`."""
        return self._direct is not None and self._direct.try_write(data)

    async def write(self, data: bytes) -> None:
        """See `wanted.Wire`."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """See `wanted.Wire`."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def abort(self) -> None:
        """See `wanted.Wire`."""
        self.aborted.set()
        if self._direct is not None:
            self._direct.abort()


class SubscriptionResponse(EventSourceResponse):
    """An event stream, or the same as lines of JSON, of one subscription."""

    def __init__(self, subscription: Subscription) -> None:
        media_type = MEDIA_TYPES[subscription.form.kind]
        super().__init__(_nothing(), headers=HEADERS, media_type=media_type, ping=0, sep="\n")
        del self.headers["Connection"]  # a hop-by-hop header: the server's business
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open the subscription, and wait until the reader is gone or the stream has ended."""
        if scope["method"] == "HEAD":
            self._subscription.close()
            await super().__call__(scope, receive, send)
            return
        direct = scope.get("extensions", {}).get(EXTENSION)
        wire = AsgiWire(send, direct)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            self._subscription.open(wire)
            if direct is None:
                await _until_gone_or_aborted(receive, wire)
            else:
                await _until_gone(receive)
        finally:
            self._subscription.close()


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
