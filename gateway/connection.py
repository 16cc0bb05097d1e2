"""One HTTP connection. Law: what is used of uvicorn beyond its documentation stands here and in server.py alone.

Over uvicorn's own connection it bounds the request head, answers HTTP/1.0 without chunks, and gives each request the
ASGI extension `status_gateway.write`, by which the hub writes to a stream without a task of its own. Under another
server, or a uvicorn that was not tried, the extension is absent and the same streams run over plain ASGI.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, cast

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.dialects.sse import EXTENSION
from gateway.errors import GatewayError, HeadTooLarge, InvalidRequest

TRIED_UVICORN: Final = ((0, 50), (0, 56))  # from, and before: the releases whose inside was read; see pyproject.toml
MAX_HEAD: Final = 16 * 1024  # bytes of a request head; httptools itself would take any number
MAX_FIELDS: Final = 100  # header fields; browsers send about 20
HEAD_TIMEOUT: Final = 10.0  # seconds for a whole head: whoever trickles one holds a connection for nothing
LINGER: Final = 2.0  # seconds a refused sender may go on sending, so that it reads the answer before the reset

_log = logging.getLogger(__name__)
_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Scope]]
_Send = Callable[[_Scope], Awaitable[None]]


@functools.lru_cache(maxsize=4)
def _chunk(data: bytes) -> bytes:
    """One HTTP chunk. The hub hands the same bytes to thousands in a row: they are framed for the first only."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Writer:
    """Writes to one response's body between its start and its end, without waiting; not while a `send` is under way."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def try_write(self, data: bytes) -> bool:
        """True: the bytes are with the transport; False: it does not drain, and nothing was written.

        Raises ConnectionResetError when nobody reads there any more.
        """
        cycle = self._cycle
        if cycle.disconnected or cycle.response_complete or cycle.transport.is_closing():
            raise ConnectionResetError(errno.ECONNRESET, "the reader is gone")
        if cycle.flow.write_paused or not cycle.response_started:
            return False
        if data:  # an empty chunk would be the end of the body
            cycle.transport.write(_chunk(data) if cycle.chunked_encoding else data)
        return True

    def abort(self) -> None:
        """Drop the connection at once, with whatever was not yet sent."""
        self._cycle.transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's connection with a request head bounded in size and time, and a writer for each response."""

    _timer: asyncio.TimerHandle | None = None  # for the head that is awaited, or for a refused sender
    _in_head = True
    _refused = False
    _size = 0  # bytes of the head's parts so far
    _steps = 0  # heads and pieces of a body so far
    _silent = 0  # bytes since the last step: of a field, trailer or chunk extension without an end

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._set_timer(HEAD_TIMEOUT, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self._in_head and self._timer is None:
            self._set_timer(HEAD_TIMEOUT, self.transport.close)
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
        self._size = 0
        if self._timer is None:
            self._set_timer(HEAD_TIMEOUT, self.transport.close)

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._clear_timer()
        self._in_head = False
        self._steps += 1
        super().on_headers_complete()
        # The task that runs the app was made just now and has not begun: it finds the extension in its scope.
        cast(_Scope, self.scope)["extensions"] = {EXTENSION: Writer(self.cycle)}

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._steps += 1
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, _until_close(cycle, app) if cycle.scope["http_version"] == "1.0" else app)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEAD or len(self.headers) >= MAX_FIELDS:
            raise HeadTooLarge

    def _refuse(self, error: GatewayError) -> None:
        """Answer with the problem, stop writing, and read on for a moment: a reset would overtake the answer."""
        self._refused = True
        self._clear_timer()
        cycle: RequestResponseCycle | None = self.cycle
        if self.pipeline or (cycle and cycle.response_started and not cycle.response_complete):
            self.transport.close()  # another answer is under way, into which this one must not be mixed
            return
        if cycle:
            cycle.disconnected = True
            cycle.message_event.set()
        body = orjson.dumps(error.problem())
        headers = [*self.server_state.default_headers, (b"content-type", b"application/problem+json")]
        headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[error.status] + lines + b"\r\n" + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self._set_timer(LINGER, self.transport.abort)

    def _set_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = self.loop.call_later(seconds, then)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


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


def protocol_for(version: str) -> type[HttpToolsProtocol]:
    """The connection to use with that release of uvicorn: our own where its inside is known, else uvicorn's."""
    release = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    if TRIED_UVICORN[0] <= release < TRIED_UVICORN[1]:
        return HttpProtocol
    _log.warning(
        "uvicorn %s was not tried: request heads have no bounds, and streams are written the slow way", version
    )
    return HttpToolsProtocol
