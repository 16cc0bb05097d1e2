"""The server: uvicorn with a farewell to open streams and an exit status that tells the truth.

Law: readiness ends first, then accepting, then the streams, then answers under way, then the log; and the process ends
even where one of these hangs.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from types import FrameType
from typing import Any, Final, Protocol, cast

import uvicorn

from gateway import __version__
from gateway.dialects.sse import own_farewell
from gateway.door import protocol_for
from gateway.errors import LogUnusable
from gateway.inside import HttpToolsProtocol
from gateway.process import BACKLOG, FAILURE, ListenError, Watchdog, bind, raise_file_limit, start_listening, url_of
from gateway.settings import Settings

KEEP_ALIVE: Final = 30  # seconds; longer than clients keep idle connections, so that they never send into a closed one
FORCED_PATIENCE: Final = 2.0  # seconds from the second Ctrl-C to the end
LATE_PATIENCE: Final = 3.0  # seconds beyond the grace period before the watchdog ends the process
FAREWELL_PART: Final = 0.2  # of the grace period: the streams' ends are spread over it, and so are their returns
FAREWELL_SECONDS: Final = 2.0  # at most
GC_THRESHOLD: Final = (20_000, 50, 10)  # measured: a quarter of the time of a durable report went into collecting
ANSWERS_PART: Final = 0.4  # of the grace period: for answers under way

_log = logging.getLogger(__name__)
_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Scope]]
_Send = Callable[[_Scope], Awaitable[None]]


class Farewell(Protocol):
    """What the server asks of the gateway in `app.state.gateway` when the end has come."""

    def drain(self) -> None:
        """From now on readiness is false and writes are refused."""

    async def farewell(self, spread: float) -> None:
        """End all open streams, spread over so many seconds."""


class Application(Protocol):
    """The ASGI app with its gateway in `state.gateway`."""

    @property
    def state(self) -> Any: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class _Start:
    """The app as uvicorn sees it: lets connections in once the app has started, and keeps the reason when it fails.

    Left to listen by itself, uvloop closes a socket whose port was taken meanwhile, and says nothing.
    """

    def __init__(self, app: Application) -> None:
        self.app = app
        self.sockets: list[socket.socket] = []
        self.failure: BaseException | None = None

    def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> Awaitable[None]:
        return self._lifespan(scope, receive, send) if scope["type"] == "lifespan" else self.app(scope, receive, send)

    async def _lifespan(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        async def send_briefly(message: _Scope) -> None:
            if message["type"] == "lifespan.startup.complete":
                start_listening(self.sockets)
            elif message["type"] == "lifespan.startup.failed":
                message = {"type": message["type"], "message": ""}  # Starlette puts a whole traceback into it
            await send(message)

        try:
            await self.app(scope, receive, send_briefly)
        except BaseException as error:
            self.failure = error
            raise


class Server(uvicorn.Server):
    """uvicorn's server with a farewell to the streams; `accepting` is set as soon as connections are taken."""

    def __init__(self, app: Application, settings: Settings, watchdog: Watchdog | None = None) -> None:
        self.accepting = asyncio.Event()
        self.start = _Start(app)
        self._app = app
        self._grace = settings.grace
        self._watchdog = watchdog
        super().__init__(
            uvicorn.Config(
                cast(Any, self.start),
                interface="asgi3",
                http=cast(Any, protocol_for(uvicorn.__version__)),
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="debug" if settings.log_level == "debug" else "warning",
                access_log=False,
                proxy_headers=False,  # nothing here asks for the client's address, and whoever is local could forge it
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=math.ceil(settings.grace * ANSWERS_PART),
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the log, then listen; says where on stderr, in the first line of the log."""
        uvicorn_log = logging.getLogger("uvicorn.error")
        uvicorn_log.disabled = True  # what it says of a failed start, `serve` says in one line
        self.start.sockets = sockets or []
        try:
            await super().startup(sockets)
        finally:
            uvicorn_log.disabled = False
        for sock in self.start.sockets:
            print(f"status-gateway {__version__} listening on {url_of(sock)}", file=sys.stderr, flush=True)
        self.accepting.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal asks for the orderly end, a second Ctrl-C for a quick one.

        uvicorn's own handler would raise the signal again at the end, and the exit status would not be 0.
        """
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        if self._watchdog:
            self._watchdog.hurry(FORCED_PATIENCE if self.force_exit else self._grace + LATE_PATIENCE)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse writes, stop accepting, end the streams, let answers under way finish, close the log."""
        gateway: Farewell = self._app.state.gateway
        gateway.drain()
        for server in self.servers:
            server.close()
        spread = min(self._grace * FAREWELL_PART, FAREWELL_SECONDS)
        leaving = asyncio.create_task(_farewell(gateway, spread))
        while not leaving.done() and not self.force_exit:
            await asyncio.wait([leaving], timeout=0.05)
        leaving.cancel()
        # Readers that take nothing are dropped a little before uvicorn would cancel their tasks with an error each.
        patience = (self.config.timeout_graceful_shutdown or 0) * 0.8
        cut = asyncio.get_running_loop().call_later(patience, self._cut_connections)
        await super().shutdown(sockets)
        cut.cancel()
        if self.force_exit:  # uvicorn leaves answers unfinished and the log open then; the watchdog bounds this
            self._cut_connections()
            await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
            await self.lifespan.shutdown()

    def _cut_connections(self) -> None:
        for connection in list(self.server_state.connections):
            cast(HttpToolsProtocol, connection).transport.abort()


async def _farewell(gateway: Farewell, spread: float) -> None:
    try:
        async with asyncio.timeout(spread * 2 + 0.2):
            await gateway.farewell(spread)
    except TimeoutError:
        _log.warning("the farewell to the streams took too long; those still open are cut")
    except Exception:
        _log.exception("the farewell to the streams failed; they are cut")


def serve(app: Application, settings: Settings) -> int:
    """Serve until a signal ends it, and give the exit status; meant for the main thread of a process of its own."""
    level = settings.log_level.upper()
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        sockets = bind(settings.host, settings.port)
    except ListenError as error:
        return _say(str(error))
    raise_file_limit()
    own_farewell()
    watchdog = Watchdog()
    server = Server(app, settings, watchdog)
    _spare_the_collector()
    status = FAILURE
    try:
        server.run(sockets)
        status = FAILURE if server.lifespan.should_exit else 0  # it says so when the log could not be closed
    except SystemExit:  # uvicorn's word for: the app did not start
        failure = server.start.failure
        if not isinstance(failure, (LogUnusable, ListenError)):
            _log.error("the gateway did not start", exc_info=failure)
        _say(str(failure))
    finally:
        for sock in sockets:
            sock.close()
        watchdog.release(status)
    return status


def _spare_the_collector() -> None:
    """Let the cyclic garbage collector run seldom, and look at nothing that is here to stay: each of its full rounds
    visits every stream and every job in memory, and by its own count it makes one for a few thousand reports."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)


def _say(failure: str) -> int:
    print(f"status-gateway: {failure}", file=sys.stderr, flush=True)
    return FAILURE
