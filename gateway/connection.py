"""One HTTP connection.

Over uvicorn's own connection it bounds the request head, answers HTTP/1.0 without chunks, and gives each request the
ASGI extension `status_gateway.write`, by which a stream parks its connection: the app returns, and the hub writes to
the socket. Under another server, or a uvicorn that was not tried, the extension is absent and the same streams run over
plain ASGI.
"""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

import httptools
import orjson

from gateway.dialects.sse import EXTENSION, Opener, Taker
from gateway.errors import GatewayError, HeadTooLarge, InvalidRequest
from gateway.heads import MAX_FIELDS, Asked
from gateway.inside import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from gateway.parked import Home, Parked
from gateway.patience import Patience

MAX_HEAD: Final = 16 * 1024  # bytes of a request head; httptools itself would take any number
LINGER: Final = 2.0  # seconds a refused sender may go on sending, so that it reads the answer before the reset

_log = logging.getLogger(__name__)
_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Scope]]
_Send = Callable[[_Scope], Awaitable[None]]
_Start = tuple[int, list[tuple[bytes, bytes]]]  # status and header fields


class Hall(Home, Protocol):
    """What the connections of one server share."""

    patience: Patience

    def learn(self, head: bytes, opener: Opener, lines: bytes) -> None:
        """A request with that head, word for word, is answered by a stream of the opener with these header lines behind
        those of every answer."""

    def learn_reports(self, head: bytes, taker: Taker) -> None:
        """A report with that head, word for word, may be taken by that."""

    def taker(self, head: bytes) -> Taker | None:
        """What takes the reports with that head, if that was learnt."""


class Writer:
    """The extension, for one response: see `sse.Connection`."""

    __slots__ = ("_asked", "_connection", "_cycle", "start")

    def __init__(self, connection: HttpProtocol, cycle: RequestResponseCycle, asked: Asked | None) -> None:
        # Weak, for they hold the scope that holds this, and all would wait for the garbage collector.
        self._connection, self._cycle, self._asked = weakref.ref(connection), weakref.ref(cycle), asked
        self.start: _Start | None = None  # as the server got it; noted only where something may be learnt from it

    def park(self, gone: Callable[[], None]) -> Parked | None:
        """See `sse.Connection`."""
        connection, cycle = self._connection(), self._cycle()
        return None if connection is None or cycle is None else connection.park(cycle, gone)

    def learn(self, job: str, opener: Opener) -> None:
        """See `sse.Connection`."""
        connection, cycle, asked = self._connection(), self._cycle(), self._asked
        if not connection or not cycle or not asked or not self.start or asked.job != job:
            return
        status, fields = self.start
        if status == 200 and cycle.keep_alive and cycle.chunked_encoding:
            lines = b"".join(b"%b: %b\r\n" % (name.lower(), value) for name, value in fields)
            connection.hall.learn(asked.head, opener, lines + b"transfer-encoding: chunked\r\n\r\n")

    def learn_reports(self, job: str, status: int, fields: list[tuple[bytes, bytes]], taker: Taker) -> None:
        """See `sse.Connection`."""
        connection, cycle, asked = self._connection(), self._cycle(), self._asked
        if connection and cycle and cycle.keep_alive and asked and asked.job == job and self.start == (status, fields):
            connection.hall.learn_reports(asked.head, taker)

    def abort(self) -> None:
        """See `sse.Connection`."""
        if (cycle := self._cycle()) is not None:
            cycle.transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's connection with a request head bounded in size and time, and a writer for each response."""

    hall: Hall
    asked: Asked | None = None  # with the next request, if anything may be learnt from it
    _running: RequestResponseCycle | None = None  # the request whose app was started last
    _timer: asyncio.TimerHandle | None = None  # for a refused sender
    _in_head = True
    _begun = False  # a request's first byte has come, but not all of its head
    _refused = False
    _size = 0  # bytes of the head's parts so far
    _steps = 0  # heads and pieces of a body so far
    _silent = 0  # bytes since the last step: of a field, trailer or chunk extension without an end

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.hall.patience.begin(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_timer()
        self._unset_keepalive_if_required()  # after a reset uvicorn leaves that, and is held by it
        super().connection_lost(exc)
        if self._running is not None:  # uvicorn tells the newest request alone, which may still wait behind this one
            self._running.disconnected = True
            self._running.message_event.set()

    def late(self) -> None:
        """The head did not come in time."""
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            self.hall.patience.begin(self)
        steps = self._steps
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            _log.debug("an upgrade was asked for; the request was answered without it")
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, HeadTooLarge) else InvalidRequest("this is not HTTP/1.1"))
            return
        self._silent = self._silent + len(data) if steps == self._steps else 0
        if self._silent > MAX_HEAD:
            self._refuse(HeadTooLarge())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = True
        self._size = 0
        self.hall.patience.begin(self)

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.hall.patience.end(self)
        self._in_head = self._begun = False
        self._steps += 1
        super().on_headers_complete()
        self.asked = None  # the next request on this connection is another one

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._steps += 1
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        writer = Writer(self, cycle, self.asked)
        scope: _Scope = cycle.scope  # type: ignore[assignment]  # a TypedDict is not as open as ASGI's scope
        scope["extensions"] = {EXTENSION: writer}
        if self.asked is not None:
            app = _noting(writer, app)
        if scope["http_version"] == "1.0":
            app = _until_close(cycle, app)
        super()._start_asgi_task(cycle, app)

    def park(self, cycle: RequestResponseCycle, gone: Callable[[], None]) -> Parked | None:
        """Give the connection to a response that goes on after its app has returned; None where a request's body or
        another request is under way on it, or the response is of known length, or over; and where its socket can't be
        written to directly, as with TLS."""
        if self.scheme != "http" or os.name != "posix":
            return None
        if cycle is not self.cycle or not self._in_head or self._begun or self.pipeline:
            return None
        if not cycle.response_started or cycle.response_complete or cycle.disconnected or self.transport.is_closing():
            return None
        if cycle.expected_content_length:
            return None
        self._clear_timer()
        self.connections.discard(self)
        cycle.disconnected = True  # uvicorn takes it that nobody reads any more, and lets the app return in silence
        self.flow.resume_reading()
        del self.parser  # it holds this connection, which would wait for the garbage collector
        chunked = bool(cycle.chunked_encoding)
        return Parked(self.hall, self.transport, gone, chunked=chunked, keep_alive=chunked and cycle.keep_alive)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEAD or len(self.headers) >= MAX_FIELDS:
            raise HeadTooLarge

    def _refuse(self, error: GatewayError) -> None:
        """Answer with the problem, stop writing, and read on for a moment: a reset would overtake the answer."""
        self._refused = True
        self.hall.patience.end(self)
        cycle: RequestResponseCycle | None = self.cycle
        if self.pipeline or (cycle and cycle.response_started and not cycle.response_complete):
            self.transport.close()  # another answer is under way, into which this one must not be mixed
            return
        if cycle:
            cycle.disconnected = True
            cycle.waiting_for_100_continue = False  # else whoever begins to read the body would write after the end
            cycle.message_event.set()
        body = orjson.dumps(error.problem())
        headers = [*self.server_state.default_headers, (b"content-type", b"application/problem+json")]
        headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[error.status] + lines + b"\r\n" + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER, self.transport.abort)

    def _clear_timer(self) -> None:
        self.hall.patience.end(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _noting(writer: Writer, app: Any) -> Any:
    """The app, with the beginning of its response noted as the server gets it, behind all middleware."""

    async def run(scope: _Scope, receive: _Receive, send: _Send) -> None:
        async def note(message: _Scope) -> None:
            if message["type"] == "http.response.start":
                writer.start = message["status"], list(message.get("headers", ()))
            await send(message)

        await app(scope, receive, note)

    return run


def _until_close(cycle: RequestResponseCycle, app: Any) -> Any:
    """The app for a client of HTTP/1.0, which knows no chunks: a body of unknown length ends with the connection.

    uvicorn would send chunks; what it believes of the length is set to what is so before each `send`.
    """

    async def run(scope: _Scope, receive: _Receive, send: _Send) -> None:
        unknown = False

        async def send_plain(message: _Scope) -> None:
            nonlocal unknown
            if message["type"] == "http.response.start":
                unknown = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                cycle.chunked_encoding = False if unknown else None
            elif unknown:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_plain)

    return run
