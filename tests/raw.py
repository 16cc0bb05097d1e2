"""A connection whose bytes a test writes and reads itself: HTTP/1.1 as it stands on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.streams import Frame, frames_in

BOUND = 60.0  # seconds; everything here takes milliseconds, but not on a machine that is busy or stands still
STREAM = "/v1/jobs/a/events"
ACCEPT = "Accept: text/event-stream"


def request(target: str = STREAM, *fields: str, host: str = "127.0.0.1") -> bytes:
    """The head of a GET, as a browser's EventSource sends it if no fields are given."""
    return "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", *(fields or (ACCEPT,)), "", ""]).encode("latin-1")


class Raw:
    """One connection. `body` is what has come of a chunked body so far, without the chunks' frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.body = b""
        self.ended = False

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and fields of the next answer."""
        async with asyncio.timeout(BOUND):
            status, *lines = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines)

    async def chunk(self) -> bytes:
        """The next chunk; empty for the last."""
        async with asyncio.timeout(BOUND):
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        self.body += data
        self.ended = size == 0
        return data

    async def until(self, event: str) -> list[Frame]:
        """All frames, once one of that kind has come."""
        while f"event: {event}\n".encode() not in self.body:
            assert await self.chunk(), f"the stream ended without {event}: {self.body!r}"
        return self.frames

    async def until_end(self) -> list[Frame]:
        """All frames of the whole body."""
        while await self.chunk():
            pass
        return self.frames

    @property
    def frames(self) -> list[Frame]:
        """What has come so far."""
        return frames_in(self.body)


@asynccontextmanager
async def connected(port: int, data: bytes = b"") -> AsyncIterator[Raw]:
    """A connection on which those bytes were sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        yield Raw(reader, writer)
    finally:
        writer.close()
