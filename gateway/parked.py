"""The connection of an open stream, once the app has returned: no task, no request, no buffer of its own.

Law: whoever writes here owns the stream, one at a time, and nothing is written directly while the transport still holds
bytes: what a socket does not take at once is left to the transport, and until that is gone every write is declined.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Any, Final, Protocol

MAX_EARLY: Final = 16 * 1024  # bytes that a reader may send behind its request, before the stream has ended
LAST_CHUNK: Final = b"0\r\n\r\n"


class Framed:
    """Bytes as one HTTP chunk. The hub hands the same to thousands in a row: they are framed for the first only."""

    def __init__(self) -> None:
        self.data = self.chunk = b""

    def frame(self, data: bytes) -> bytes:
        """The chunk of these."""
        self.data, self.chunk = data, b"%x\r\n%b\r\n" % (len(data), data)
        return self.chunk


class Home(Protocol):
    """Where connections are counted, and where one goes whose stream has ended."""

    connections: set[Any]
    framed: Framed

    def welcome(self, transport: asyncio.Transport, data: bytes) -> None:
        """The connection waits for its next request, of which these bytes have come already."""


class Parked(asyncio.Protocol):
    """An open response body as a `wanted.Wire`. `gone` is called once, when the reader is lost or the body complete."""

    __slots__ = ("_blocked", "_chunked", "_early", "_gone", "_home", "_waiter", "fd", "keep_alive", "transport")

    def __init__(
        self, home: Home, transport: asyncio.Transport, gone: Callable[[], None], *, chunked: bool, keep_alive: bool
    ) -> None:
        self._home, self.transport, self._gone = home, transport, gone
        self._chunked, self.keep_alive = chunked, keep_alive
        self.fd: int = transport.get_extra_info("socket").fileno()
        self._early = b""
        self._waiter: asyncio.Future[None] | None = None
        transport.set_protocol(self)
        self._blocked = transport.get_write_buffer_size() > 0
        transport.set_write_buffer_limits(0)  # so that `resume_writing` comes when the transport holds nothing more
        home.connections.add(self)

    # The wire

    def begin(self, head: bytes, data: bytes) -> None:
        """The response's head and the first piece of its body, in one write."""
        self.transport.write(head + b"%x\r\n%b\r\n" % (len(data), data))

    def socket(self) -> Parked | None:
        """See `wanted.Wire`."""
        return None if self._blocked or not self._chunked else self

    def rest(self, data: bytes) -> None:
        """See `group.Direct`."""
        self.transport.write(data)

    def try_write(self, data: bytes) -> bool:
        """See `wanted.Wire`."""
        if self._blocked:
            return False
        if self._chunked:
            if not data:  # an empty chunk would be the end of the body
                return True
            framed = self._home.framed
            data = framed.chunk if framed.data is data else framed.frame(data)
        # Past the transport, which holds nothing (see `_blocked`): its own way costs a quarter of the kernel's.
        try:
            sent = os.write(self.fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.abort()
            raise ConnectionResetError(errno.ECONNRESET, "the reader is gone") from error
        if sent < len(data):
            self.transport.write(memoryview(data)[sent:])
        return True

    async def drained(self) -> None:
        """See `wanted.Wire`."""
        while self._blocked:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.fd < 0:
            raise ConnectionResetError(errno.ECONNRESET, "the reader is gone")

    async def write(self, data: bytes) -> None:
        """See `wanted.Wire`."""
        while not self.try_write(data):
            await self.drained()

    async def end(self) -> None:
        """See `wanted.Wire`."""
        await self.drained()
        if self._chunked:
            self.transport.write(LAST_CHUNK)
        if not self.keep_alive:
            self.transport.close()
        elif not self.transport.is_closing():
            self._leave()
            self._home.welcome(self.transport, self._early)

    def abort(self) -> None:
        """See `wanted.Wire`."""
        if self.fd >= 0:  # else the connection may serve another request by now
            self.transport.abort()

    def _wake(self) -> None:
        self._blocked = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None

    def _leave(self) -> None:
        self.fd = -1  # so that whatever is written from here on fails
        self._home.connections.discard(self)
        self._wake()
        gone, self._gone = self._gone, _nobody
        gone()

    # asyncio.Protocol, and what uvicorn asks of a connection

    def pause_writing(self) -> None:
        """The transport holds bytes."""
        self._blocked = True

    def resume_writing(self) -> None:
        """The transport holds nothing."""
        self._wake()

    def data_received(self, data: bytes) -> None:
        """A request behind this one: it is answered when the stream has ended, if it is not too long."""
        self._early += data
        if len(self._early) > MAX_EARLY:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The reader is gone."""
        self._leave()

    def shutdown(self) -> None:
        """The server ends: close after the body, whose end is the gateway's business."""
        self.keep_alive = False


def _nobody() -> None:
    """Nobody has to be told any more."""
