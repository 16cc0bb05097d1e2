"""Where a connection begins. Law: a decision is taken once, by the app; here it is only repeated.

Most connections of a crowd ask for the same, word for word, but for the job that they name and how far they have read
of it. Once the app has answered such a request with a stream, the door remembers its head and what opens that stream,
and the next one needs no parser, no task and no middleware; reports likewise (see `producer`). What is not the same
request to the letter goes the whole way, and so does one whose job or cursor is not in memory. What an answer depends
on beside these words, such as a key that can be revoked, has to forget what was learnt: no middleware is asked again.

Whoever asks for a stream waits in line, and the line moves for a few milliseconds at a time: producers, single reads
and the streams that are open already get their turn while a crowd comes in.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from typing import Any, Final

from uvicorn import Config

from gateway.dialects.sse import Opener, Taker
from gateway.heads import Asked, identify
from gateway.inside import STATUS_LINE, HttpToolsProtocol, ServerState, is_tried
from gateway.parked import MAX_EARLY, Framed, Parked
from gateway.patience import Patience
from gateway.producer import Producer

KNOWN: Final = 1024  # heads that are remembered, about 2 KiB each; the least recently used is forgotten
SLICE_SECONDS: Final = 0.004  # for which the line moves before the loop gets a turn, as in a fan-out

_log = logging.getLogger(__name__)


class Entrance:
    """What the connections of one server share; uvicorn calls it for each new one, as it would a protocol's class."""

    config: Config
    state: ServerState
    app_state: dict[str, Any]
    loop: asyncio.AbstractEventLoop | None

    def __init__(self) -> None:
        self.patience = Patience()
        self._kept: Patience | None = None  # for connections that were used before
        self.connections: set[Any] = set()
        self.framed = Framed()
        self._known: OrderedDict[bytes, tuple[Opener, bytes]] = OrderedDict()
        self._takers: OrderedDict[bytes, Taker] = OrderedDict()
        self._line: deque[Door] = deque()

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Door:
        self.config, self.state, self.app_state, self.loop = config, server_state, app_state, _loop
        self.connections = server_state.connections
        return Door(self, self.patience)

    def welcome(self, transport: asyncio.Transport, data: bytes) -> None:
        """See `parked.Home`."""
        if self._kept is None:
            self._kept = Patience(self.config.timeout_keep_alive)
        door = Door(self, self._kept)
        transport.set_protocol(door)
        door.connection_made(transport)
        if data:
            door.data_received(data)

    def learn(self, head: bytes, opener: Opener, lines: bytes) -> None:
        """See `connection.Hall`."""
        self._known[head] = opener, lines
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)

    def learn_reports(self, head: bytes, taker: Taker) -> None:
        """See `connection.Hall`."""
        self._takers[head] = taker
        if len(self._takers) > KNOWN:
            self._takers.popitem(last=False)

    def taker(self, head: bytes) -> Taker | None:
        """See `connection.Hall`."""
        found = self._takers.get(head)
        if found is not None:
            self._takers.move_to_end(head)
        return found

    def line_up(self, door: Door) -> None:
        """Let it in when its turn has come."""
        self._line.append(door)
        if len(self._line) == 1:
            asyncio.get_running_loop().call_soon(self._move)

    def _move(self) -> None:
        until = time.perf_counter() + SLICE_SECONDS
        while self._line:
            door = self._line[0]
            try:
                door.enter()
            except Exception:
                _log.exception("a connection failed at the door")
                door.transport.abort()
            self._line.popleft()  # only now, so that whoever lines up meanwhile finds that it moves already
            if time.perf_counter() >= until:
                break
        if self._line:
            asyncio.get_running_loop().call_soon(self._move)

    def open(self, transport: asyncio.Transport, asked: Asked) -> bool:
        """Answer a request that is known; False where it is not, or its stream can't be had at once."""
        found = self._known.get(asked.head)
        if found is None or asked.job is None:
            return False
        self._known.move_to_end(asked.head)
        opener, lines = found
        stream = opener(asked.job, asked.cursor)
        if stream is None:
            return False
        first = stream.ready()
        if first is None:
            stream.close()
            return False
        wire = Parked(self, transport, stream.close, chunked=True, keep_alive=True)
        common = b"".join([b"%b: %b\r\n" % field for field in self.state.default_headers])
        wire.begin(STATUS_LINE[200] + common + lines, first)
        stream.live(wire)
        return True

    def let_in(self, transport: asyncio.Transport, data: bytes, asked: Asked | None) -> None:
        """Let uvicorn's connection have it, with what has come so far."""
        protocol = Producer(self.config, self.state, self.app_state, self.loop)
        protocol.hall, protocol.asked = self, asked
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)


class Door(asyncio.Protocol):
    """A connection of which no byte has come yet, or one that stands in line."""

    __slots__ = ("_data", "_hall", "_patience", "transport")

    transport: asyncio.Transport

    def __init__(self, hall: Entrance, patience: Patience) -> None:
        self._hall, self._patience = hall, patience
        self._data = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        """Wait for a request."""
        self.transport = transport
        self._hall.connections.add(self)
        self._patience.begin(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing was asked."""
        self._leave()

    def late(self) -> None:
        """Nothing was asked for too long."""
        self.transport.close()

    def shutdown(self) -> None:
        """The server ends."""
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """The beginning of a request, and nearly always all of it."""
        if self._data:  # it stands in line
            self._data += data
            if len(self._data) > MAX_EARLY:
                self.transport.abort()
            return
        self._patience.end(self)
        self._data = data
        if data.startswith(b"GET ") and b"event-stream" in data:
            self._hall.line_up(self)
        else:
            self.enter()

    def enter(self) -> None:
        """Go on, unless whoever came has left."""
        if self.transport.is_closing():
            return
        self._hall.connections.discard(self)
        asked = identify(self._data)
        if asked is None or not self._hall.open(self.transport, asked):
            self._hall.let_in(self.transport, self._data, asked)

    def _leave(self) -> None:
        self._hall.connections.discard(self)
        self._patience.end(self)


def protocol_for(version: str) -> Entrance | type[HttpToolsProtocol]:
    """The connections to use with that release of uvicorn: our own where its inside is known, else uvicorn's."""
    if is_tried(version):
        return Entrance()
    _log.warning(
        "uvicorn %s was not tried: request heads have no bounds, and streams are written the slow way", version
    )
    return HttpToolsProtocol
