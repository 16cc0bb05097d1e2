"""A small real ASGI app for the tests of the server: an answer, an echo, and streams that are written from outside.

`python -m tests.server_app WORD… -- FLAG…` serves it in a process of its own; a word makes it misbehave on purpose.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.dialects.sse import EXTENSION
from gateway.errors import LogUnusable
from gateway.parked import Parked
from gateway.server import serve
from gateway.settings import add_flags, load
from tests.patiently import be_patient

GOODBYE = b"retry: 1000\n\n"


class Stream:
    """An endless response: opened, then written to by whoever holds it, until its reader goes or it is ended."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.wire: Parked | None = None
        self.gone = asyncio.Event()

    async def end(self) -> None:
        """The last bytes and the end of the body."""
        if self.wire is None:
            await self.send({"type": "http.response.body", "body": GOODBYE, "more_body": False})
        else:
            await self.wire.write(GOODBYE)
            await self.wire.end()


class Streams:
    """What the server expects in `app.state.gateway`."""

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        self.open: set[Stream] = set()
        self.opened = asyncio.Event()
        self.drained = False

    def drain(self) -> None:
        """Refuse writes."""
        self.drained = True

    async def farewell(self, spread: float) -> None:
        """End the streams."""
        if "failing-farewell" in self.faults:
            raise RuntimeError("no goodbye today")
        if "endless-farewell" in self.faults:
            await asyncio.Event().wait()
        for stream in list(self.open):
            await stream.end()

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open a stream and keep it until its reader is gone."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"first\n\n", "more_body": True})
        stream = Stream(send)
        connection = scope.get("extensions", {}).get(EXTENSION)
        stream.wire = connection and connection.park(lambda: self.close(stream))
        self.open.add(stream)
        self.opened.set()
        if stream.wire is None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.close(stream)

    def close(self, stream: Stream) -> None:
        """Its reader is gone, or it has ended."""
        self.open.discard(stream)
        stream.gone.set()


class StreamRoute:
    """Starlette calls an endpoint that is no function as an ASGI app."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.streams.stream(scope, receive, send)


async def hello(request: Request) -> Response:
    """A short answer of known length."""
    return PlainTextResponse("hello")


async def echo(request: Request) -> Response:
    """The body, back."""
    try:
        return Response(await request.body())
    except ClientDisconnect:
        return Response(status_code=400)


def make_app(*faults: str) -> Starlette:
    """The app; each fault makes it misbehave in one way."""

    stolen = contextlib.ExitStack()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if "unusable-log" in faults:
            raise LogUnusable("status.db is not a database: give another file with --database")
        for fault in faults:
            if fault.startswith("steal="):
                stolen.enter_context(socket.create_server(("127.0.0.1", int(fault.partition("=")[2]))))
        if "broken-start" in faults:
            raise RuntimeError("a defect")
        with stolen:
            yield
        if "broken-end" in faults:
            raise RuntimeError("a defect at the end")
        if "stuck-end" in faults:
            await asyncio.Event().wait()
        if "stuck-thread" in faults:
            threading.Thread(target=threading.Event().wait, name="stuck").start()

    streams = Streams(*faults)
    routes = [Route("/hello", hello), Route("/echo", echo, methods=["POST"]), Route("/stream", StreamRoute(streams))]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.gateway = streams
    return app


def main(words: list[str]) -> int:
    """Serve the app with the flags after `--`."""
    split = words.index("--")
    if "patient" in words[:split]:
        be_patient()
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return serve(make_app(*words[:split]), load(vars(parser.parse_args(words[split + 1 :])), os.environ))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
