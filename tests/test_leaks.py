"""Readers come and go, also by a reset in the midst of a fan-out: nothing of them is left behind."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from gateway.service import Gateway
from tests.api import Served, served

BOUND = 20.0  # seconds
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of nothing: closing sends RST


async def come_and_go(gateway: Served, number: int) -> None:
    """Open a stream, and leave it: by a reset, by a proper end, or with a report on its way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    path = b"/v1/jobs/a/events" if number % 2 else b"/v1/events?min_interval=50"
    writer.write(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n" % path)
    await reader.readuntil(b"event: sync")
    if number % 3:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    if number % 10 == 0:
        await gateway.client.post("/v1/jobs/a/events", json={"message": str(number)})
    writer.close()


async def cycles(folder: Path, count: int) -> None:
    async with served(folder) as found:
        gateway: Gateway = found.app.state.gateway
        await found.client.post("/v1/jobs", json={"id": "a", "state": "running"})
        await asyncio.gather(*(come_and_go(found, number) for number in range(50)))  # fills the client's pool, too
        await until_empty(gateway)
        files, tasks = open_files(), len(asyncio.all_tasks())
        for start in range(0, count, 50):
            await asyncio.gather(*(come_and_go(found, number) for number in range(start, start + 50)))
        await until_empty(gateway)
        async with asyncio.timeout(BOUND):
            while open_files() > files + 2 or len(asyncio.all_tasks()) > tasks + 2:
                await asyncio.sleep(0.05)
        assert (await found.client.get("/readyz")).status_code == 200


def open_files() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def until_empty(gateway: Gateway) -> None:
    """Wait until the gateway knows that everybody has left; what it sends next tells it of those who were reset."""
    async with asyncio.timeout(BOUND):
        while gateway.streams or len(gateway.hub) or gateway.hub.withheld:
            await gateway.hub.beat()
            await asyncio.sleep(0.02)


@pytest.mark.soak
async def test_a_thousand_readers_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    await cycles(tmp_path, 1000)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_ten_thousand_readers_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    await cycles(tmp_path, 10_000)
