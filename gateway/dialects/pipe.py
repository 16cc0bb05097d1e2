"""A stream in a dialect's own words: the canonical one, translated frame by frame on its way to the socket.

Law: the cursor law is kept by `Subscription`, and nothing here may break it: what it writes is translated whole and in
order, and where one frame becomes several only the last carries the id. These streams are not hot: sse-starlette's
response serves them as it is, with a task that waits for each reader.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import orjson
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from gateway.dialects.sse import EXTENSION, Connection
from gateway.record import dumps
from gateway.stream import Subscription
from gateway.values import Json

KEPT: Final = 16  # translated writes; readers of one job take the same one within moments

Event: TypeAlias = tuple[str, Json]  # its name and its data
Tell: TypeAlias = Callable[[str, Json], Sequence[Event]]  # what a dialect says for a canonical event and its data
Translation: TypeAlias = Callable[[bytes], bytes]


class Pipe:
    """The wire of a subscription on one side, the body of a response on the other. It holds one write at a time, so
    that a slow reader is slow for the subscription too."""

    def __init__(self) -> None:
        self.direct: Connection | None = None  # the connection itself, where the server offers it
        self._held: asyncio.Queue[bytes | None] = asyncio.Queue(1)  # None: the body is complete
        self._left = False

    def socket(self) -> None:
        """See `wanted.Wire`."""

    def try_write(self, data: bytes) -> bool:
        """See `wanted.Wire`."""
        self._check_reader()
        if self._held.full():
            return False
        self._held.put_nowait(data)
        return True

    async def drained(self) -> None:
        """See `wanted.Wire`."""

    async def write(self, data: bytes) -> None:
        """See `wanted.Wire`."""
        self._check_reader()
        await self._held.put(data)

    async def end(self) -> None:
        """See `wanted.Wire`."""
        self._check_reader()
        await self._held.put(None)

    def abort(self) -> None:
        """See `wanted.Wire`. Without a way to the connection the body ends, and the reader comes back by its cursor."""
        if self.direct is not None and not self._left:  # else the connection may serve another request by now
            self.direct.abort()
        self.leave()
        self._held.put_nowait(None)

    def leave(self) -> None:
        """Nobody reads any more: whoever waits to write goes on, and finds that out at the next write."""
        self._left = True
        while not self._held.empty():
            self._held.get_nowait()

    def _check_reader(self) -> None:
        if self._left:
            raise ConnectionResetError(errno.ECONNRESET, "the reader is gone")

    async def body(
        self, translation: Translation, heartbeat: Callable[[], Event], every: float
    ) -> AsyncIterator[bytes]:
        """What the reader gets; after each `every` seconds in which that was nothing, a heartbeat."""
        loop = asyncio.get_running_loop()
        due = loop.time() + every
        while True:
            try:
                async with asyncio.timeout_at(due):
                    data = await self._held.get()
            except TimeoutError:
                told = encoded(*heartbeat())
            else:
                if data is None:
                    return
                told = translation(data)
            if told:
                due = loop.time() + every
                yield told


class TranslatedStream(EventSourceResponse):
    """A subscription, which is not open yet, as a dialect tells it."""

    def __init__(
        self, subscription: Subscription, translation: Translation, heartbeat: Callable[[], Event], every: float
    ) -> None:
        self._subscription, self._pipe = subscription, Pipe()
        super().__init__(self._pipe.body(translation, heartbeat, every), ping=0, sep="\n")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open the subscription, and close it however the response ends; a HEAD, which has no body, at once."""
        self._pipe.direct = scope.get("extensions", {}).get(EXTENSION)
        self._subscription.open(self._pipe)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._subscription.close()
            self._pipe.leave()


def translation(tell: Tell) -> Translation:
    """How the bytes of a canonical event stream become a dialect's, each write once, however many readers take it."""

    @lru_cache(KEPT)
    def translate(data: bytes) -> bytes:
        return b"".join(_told(block, tell) for block in data.split(b"\n\n"))

    return translate


def _told(block: bytes, tell: Tell) -> bytes:
    if block.startswith(b"retry:"):
        return block + b"\n\n"
    fields = dict(line.split(b": ", 1) for line in block.splitlines())
    events = tell(fields[b"event"].decode(), orjson.loads(fields[b"data"])) if fields else ()
    last = len(events) - 1
    position = fields[b"id"].decode() if b"id" in fields else None
    return b"".join(encoded(*event, position if number == last else None) for number, event in enumerate(events))


def encoded(name: str, data: Json, position: str | None = None) -> bytes:
    """One frame; its id comes last, for the reason that `frames.frame` gives."""
    frame = ServerSentEvent(dumps(data).decode(), event=name, sep="\n").encode()
    return frame if position is None else b"%sid: %s\n\n" % (frame[:-1], position.encode())
