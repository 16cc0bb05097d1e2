"""Every server that the gateway is tried under. Ours gives streams a direct writer; the others are plain ASGI.

Each one serves an app on a free port of 127.0.0.1 for the length of a `with` block, and is ended in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeAlias, cast

import hypercorn
import hypercorn.asyncio
import uvicorn
from granian.constants import Interfaces
from granian.server.embed import Server as Granian
from starlette.applications import Starlette

from gateway.process import bind
from gateway.server import Server
from gateway.settings import Settings

BOUND: Final = 60.0  # seconds for a start or an end that takes milliseconds where nothing else runs
GRACE: Final = 2  # seconds for streams that are open when it ends

Serving: TypeAlias = Callable[[Starlette, Settings], AbstractAsyncContextManager[int]]


@asynccontextmanager
async def ours(app: Starlette, settings: Settings) -> AsyncIterator[int]:
    """As `status-gateway serve` does it."""
    sockets = bind("127.0.0.1", 0)
    server = Server(app, settings)
    task = asyncio.create_task(server.serve(sockets))
    accepting = asyncio.create_task(server.accepting.wait())
    await asyncio.wait([task, accepting], timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
    accepting.cancel()
    assert server.accepting.is_set(), "the server did not start"
    try:
        yield sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, BOUND)


async def _run_uvicorn(app: Starlette, http: str) -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, http=http, log_level="warning", lifespan="on", timeout_graceful_shutdown=GRACE)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    async with asyncio.timeout(BOUND):
        while not server.started:
            await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, BOUND)


@asynccontextmanager
async def httptools(app: Starlette, _: Settings) -> AsyncIterator[int]:
    """uvicorn as it is, with the parser that ours has too."""
    async for port in _run_uvicorn(app, "httptools"):
        yield port


@asynccontextmanager
async def h11(app: Starlette, _: Settings) -> AsyncIterator[int]:
    """uvicorn as it is, with the parser in Python."""
    async for port in _run_uvicorn(app, "h11"):
        yield port


@asynccontextmanager
async def under_hypercorn(app: Starlette, _: Settings) -> AsyncIterator[int]:
    """Its `send` writes before it waits, so a second try after one that would block would say everything twice."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = hypercorn.Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.graceful_timeout = GRACE / 2
    config.errorlog = None
    ending = asyncio.Event()
    task = asyncio.create_task(hypercorn.asyncio.serve(cast(Any, app), config, shutdown_trigger=ending.wait))
    try:
        yield listener.getsockname()[1]
    finally:
        ending.set()
        await asyncio.wait_for(task, BOUND)
        listener.detach()  # the server has closed it


@asynccontextmanager
async def under_granian(app: Starlette, _: Settings) -> AsyncIterator[int]:
    """Its connections are Rust's: what is sent goes through a thread, and an awaited `send` is no coroutine."""
    # It takes no port 0 and no socket. This one keeps the port from others meanwhile; it does not listen.
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    server = Granian(app, port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False)
    server.workers_kill_timeout = GRACE
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(BOUND):
            while not await _is_open(port):
                assert not task.done(), task
                await asyncio.sleep(0.01)
        yield port
    finally:
        held.close()
        server.stop()  # type: ignore[no-untyped-call]  # it has no annotations
        await asyncio.wait_for(task, BOUND)


async def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


OURS: Final = "ours"
SERVERS: Final[Mapping[str, Serving]] = {
    OURS: ours,
    "httptools": httptools,
    "h11": h11,
    "hypercorn": under_hypercorn,
    "granian": under_granian,
}
