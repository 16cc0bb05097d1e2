"""Readers that stall, and readers that are reset in the midst of a fan-out, beside honest ones: over real sockets, past
the transport. The honest ones miss nothing, nor do the stalled ones once they go on, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop

from gateway import catchup
from gateway.service import Gateway
from tests.api import Served, create, report, served
from tests.raw import BOUND, STREAM, Raw, connected, request

RESET = struct.pack("ii", 1, 0)  # SO_LINGER of nothing: closing sends RST
FILLING = "x" * 20_000  # of an event that soon fills the buffers of whoever does not read
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
EVERYTHING = request(f"{STREAM}?min_interval=0")


def in_loop(name: str, folder: Path, readers: int, faulty: int, events: int) -> None:
    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(scenario(folder, readers, faulty, events))


@pytest.mark.parametrize("loop", LOOPS)
def test_stalled_and_reset_readers_harm_no_honest_one(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catchup, "STUCK_SECONDS", BOUND)  # the stalled ones are not to be closed, however long it takes
    in_loop(loop, tmp_path, readers=20, faulty=8, events=30)


@pytest.mark.soak
@pytest.mark.parametrize("loop", LOOPS)
def test_thousands_of_resets_and_a_hundred_stalled_readers_harm_no_honest_one(loop: str, tmp_path: Path) -> None:
    in_loop(loop, tmp_path, readers=200, faulty=100, events=40)


async def scenario(folder: Path, readers: int, faulty: int, events: int) -> None:
    async with served(folder) as at, AsyncExitStack() as stack:
        gateway: Gateway = at.app.state.gateway
        await create(at.client, state="running")
        honest = [await opened(stack, at) for _ in range(readers)]
        reading = [asyncio.create_task(raw.until_end()) for raw in honest]
        stalled = [await stack.enter_async_context(connected(at.port, EVERYTHING)) for _ in range(faulty)]
        for raw in stalled:
            pause(raw)
        chance = random.Random(7)
        for number in range(events):
            resets = [resettable(at.port) for _ in range(faulty)]
            posted = asyncio.create_task(report(at.client, details={"filling": FILLING, "number": number}))
            for sock in chance.sample(resets, len(resets)):
                await asyncio.sleep(0)
                sock.close()
            await posted
        await until_left(gateway, readers + faulty)
        await report(at.client, state="succeeded", details={"filling": None})
        for raw in stalled:
            resume(raw)
            await raw.head()
        async with asyncio.timeout(BOUND * 3):
            bodies = await asyncio.gather(*reading, *(raw.until_end() for raw in stalled))
        for frames in bodies:
            offsets = [frame.offset for frame in frames if frame.event in ("snapshot", "progress", "transition")]
            assert offsets == list(range(offsets[0], events + 3))
        await until_left(gateway, 0)
        assert (await at.client.get("/readyz")).status_code == 200


async def opened(stack: AsyncExitStack, at: Served) -> Raw:
    """A reader of everything, which has caught up."""
    raw = await stack.enter_async_context(connected(at.port, EVERYTHING))
    await raw.head()
    await raw.until("sync")
    return raw


def pause(raw: Raw) -> None:
    """Read nothing from now on."""
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a connection's transport has it


def resume(raw: Raw) -> None:
    """Read again."""
    raw.writer.transport.resume_reading()  # type: ignore[attr-defined]  # a connection's transport has it


def resettable(port: int) -> socket.socket:
    """A reader whose end is a reset."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=BOUND)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.sendall(EVERYTHING)
    return sock


async def until_left(gateway: Gateway, count: int) -> None:
    async with asyncio.timeout(BOUND):
        while len(gateway.streams) != count:
            await gateway.hub.beat()
            await asyncio.sleep(0.02)


async def test_a_reader_that_takes_nothing_is_closed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catchup, "STUCK_SECONDS", 0.2)
    async with served(tmp_path) as at, connected(at.port) as raw:
        await create(at.client, state="running")
        pause(raw)
        raw.writer.write(EVERYTHING)
        for number in range(60):
            await report(at.client, details={"filling": FILLING, "number": number})
        await until_left(at.app.state.gateway, 0)
