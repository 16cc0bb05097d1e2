"""Connections of open streams under ill treatment, on both loops: whatever a reader does, every byte that an honest one
gets is the byte that was owed, in one stream of whole chunks, and nothing of anybody is left behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import resource
import signal
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import uvloop

from gateway import catchup, patience, process
from gateway.connection import HttpProtocol
from gateway.door import Entrance
from gateway.parked import Parked
from gateway.server import KEEP_ALIVE
from gateway.service import Gateway
from gateway.stream import Subscription
from tests.api import Client, Served, create, report, served
from tests.processes import serving
from tests.raw import ACCEPT, BOUND, STREAM, Raw, connected, request

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of nothing: closing sends RST
EVERYTHING = f"{STREAM}?min_interval=0"
Scenario: TypeAlias = Callable[[Served], Coroutine[Any, Any, None]]


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scenario], None]:
    """Runs a scenario against a gateway with a running job `a`, on each loop."""

    async def scene(scenario: Scenario) -> None:
        async with served(tmp_path) as at:
            await create(at.client, state="running")
            await scenario(at)

    def run(scenario: Scenario) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(scene(scenario))

    return run


def gateway_of(at: Served) -> Gateway:
    gateway: Gateway = at.app.state.gateway
    return gateway


async def until_left(at: Served, count: int = 0) -> None:
    """Wait until so many streams are open."""
    gateway = gateway_of(at)
    async with asyncio.timeout(BOUND):
        while len(gateway.streams) != count or len(gateway.hub) > count:
            await gateway.hub.beat()
            await asyncio.sleep(0.01)


async def caught_up(stack: AsyncExitStack, at: Served, *fields: str, target: str = EVERYTHING) -> Raw:
    """A reader that has read until it was live."""
    raw = await stack.enter_async_context(connected(at.port, request(target, *(fields or (ACCEPT,)))))
    assert (await raw.head())[0] == 200
    await raw.until("sync")
    return raw


def offsets_of(raw: Raw) -> list[int]:
    return [frame.offset for frame in raw.frames if frame.event in ("progress", "transition")]


# Whole chunks, in order


class Slow:
    """A reader with the smallest of buffers, which reads at random in random pieces, and keeps each byte."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self._sock.connect(("127.0.0.1", port))
        self._sock.setblocking(False)
        self._chance = chance
        self.wire = b""

    async def read(self, head: bytes) -> bytes:
        """Everything until the body's end."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._sock, head)
        try:
            while not self.wire.endswith(b"\r\n0\r\n\r\n"):
                piece = await loop.sock_recv(self._sock, self._chance.choice((1, 7, 500, 3000, 60_000)))
                assert piece, f"cut after {self.wire[-300:]!r}"
                self.wire += piece
                if self._chance.random() < 0.1:
                    await asyncio.sleep(self._chance.random() * 0.01)
        finally:
            self._sock.close()
        return unchunked(self.wire.partition(b"\r\n\r\n")[2])


def unchunked(data: bytes) -> bytes:
    """A body without the chunks' frames; refuses what is not framed to the byte."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        assert data[length : length + 2] == b"\r\n", data[:100]
        if length == 0:
            assert data == b"\r\n"
            return body
        body, data = body + data[:length], data[length + 2 :]


def test_slow_readers_with_tiny_buffers_get_every_byte(
    play: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ("SOL_SOCKET", "SO_SNDBUF", 4608)  # the least that the kernel gives; the last one counts
    monkeypatch.setattr(process, "_SOCKET_OPTIONS", (*process._SOCKET_OPTIONS, tiny))

    async def scenario(at: Served) -> None:
        chance = random.Random(11)
        gateway = gateway_of(at)
        reading = []
        for number in range(60):
            if number % 6 == 0:
                head = request(EVERYTHING, ACCEPT, f"Last-Event-ID: {gateway.log.position(1)}")
                reading.append(asyncio.create_task(Slow(at.port, chance).read(head)))
            await report(at.client, details={"filling": "x" * chance.choice((1, 900, 9000)), "number": number})
        await report(at.client, state="succeeded")
        async with asyncio.timeout(BOUND * 3):
            bodies = await asyncio.gather(*reading)
        told = [blocks(body) for body in bodies]
        assert [told[0]] * len(told) == told
        assert len(told[0]) == 62

    play(scenario)


def blocks(body: bytes) -> list[bytes]:
    """The frames that a reader must get, as bytes."""
    return [block for block in body.split(b"\n\n") if block and not block.startswith((b"retry:", b"event: sync"))]


# Readers that leave or misbehave, beside honest ones


@pytest.mark.parametrize("how", ["reset", "half-close", "garbage", "request", "close"])
def test_whatever_readers_do_in_the_midst_of_a_fan_out_honest_ones_miss_nothing(
    how: str, play: Callable[[Scenario], None]
) -> None:
    async def scenario(at: Served) -> None:
        async with AsyncExitStack() as stack:
            honest = [await caught_up(stack, at) for _ in range(5)]
            bad = [await caught_up(stack, at) for _ in range(15)]
            posting = [asyncio.create_task(report(at.client, message=str(number))) for number in range(5)]
            for raw in bad:
                await asyncio.sleep(0)
                misbehave(raw, how)
            await asyncio.gather(*posting)
            await report(at.client, state="succeeded")
            for raw in honest:
                await raw.until_end()
                assert offsets_of(raw) == [2, 3, 4, 5, 6, 7]
            await until_left(at)
            assert (await at.client.get("/readyz")).status_code == 200

    play(scenario)


def misbehave(raw: Raw, how: str) -> None:
    if how == "reset":
        raw.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    if how in ("reset", "close"):
        raw.writer.transport.abort()
    elif how == "half-close":
        raw.writer.write_eof()
    else:
        raw.writer.write(b"\x00\xff garbage" if how == "garbage" else request("/v1/jobs/a"))


def test_a_descriptor_that_is_used_again_gets_nothing_of_the_stream_before(play: Callable[[Scenario], None]) -> None:
    """Readers leave and others come all the time, so that the numbers of their sockets are soon used again; what each
    new one gets is its own job's."""

    async def scenario(at: Served) -> None:
        await create(at.client, "b", state="running")
        over = asyncio.Event()

        async def produce(job: str) -> None:
            while not over.is_set():
                await report(at.client, job, message=str(random.random()))

        producing = [asyncio.create_task(produce(job)) for job in ("a", "b")]
        chance = random.Random(3)
        for number in range(60):
            job = "ab"[number % 2]
            async with connected(at.port, request(f"/v1/jobs/{job}/events?min_interval=0")) as raw:
                assert (await raw.head())[0] == 200
                for _ in range(chance.randrange(1, 5)):
                    await raw.chunk()
                documents = [frame.data for frame in raw.frames if frame.event in ("snapshot", "progress")]
                assert {document["id"] for document in documents} == {job}
                versions = [document["version"] for document in documents]
                assert versions == list(range(versions[0], versions[0] + len(versions)))
                if chance.random() < 0.5:
                    misbehave(raw, "reset")
        over.set()
        await asyncio.gather(*producing)
        await until_left(at)

    play(scenario)


def test_whoever_still_holds_a_wire_whose_reader_has_left_writes_to_nobody(play: Callable[[Scenario], None]) -> None:
    async def scenario(at: Served) -> None:
        async with AsyncExitStack() as stack:
            raw = await caught_up(stack, at)
            (old,) = parked_of(at)
            number = old.fd
            misbehave(raw, "close")
            await until_left(at)
            others = [await caught_up(stack, at) for _ in range(20)]
            assert number in {wire.fd for wire in parked_of(at)}, "the number of its socket is used again"
            old.abort()
            for attempt in (old.drained, old.end, lambda: old.write(b"x")):
                with pytest.raises(ConnectionResetError):
                    await attempt()
            with pytest.raises(ConnectionResetError):
                old.try_write(b"x")
            await report(at.client, state="succeeded")
            for raw in others:
                await raw.until_end()
                assert offsets_of(raw) == [2]

    play(scenario)


def test_a_connection_serves_one_stream_after_another(play: Callable[[Scenario], None]) -> None:
    async def scenario(at: Served) -> None:
        async with connected(at.port) as raw:
            for number in range(30):
                job = f"j{number}"
                await create(at.client, job, state="running")
                raw.body = b""
                raw.writer.write(request(f"/v1/jobs/{job}/events"))
                assert (await raw.head())[0] == 200
                await raw.until("sync")
                if number % 3 == 0:  # a request behind the stream
                    raw.writer.write(request(f"/v1/jobs/{job}", "Accept: application/json"))
                await report(at.client, job, state="succeeded")
                assert (await raw.until_end())[-1].event == "end"
                if number % 3 == 0:
                    _, fields = await raw.head()
                    assert b'"succeeded"' in await raw.reader.readexactly(int(fields["content-length"]))
        await until_left(at)

    play(scenario)


# What must not grow


def test_a_reader_that_comes_back_from_far_and_takes_nothing_costs_a_position(play: Callable[[Scenario], None]) -> None:
    async def scenario(at: Served) -> None:
        position = gateway_of(at).log.position(1)
        async with AsyncExitStack() as stack:
            await caught_up(stack, at)  # so that the door knows the request
            for number in range(40):
                await report(at.client, details={"filling": "x" * 50_000, "number": number})
            raw = await stack.enter_async_context(connected(at.port))
            raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a connection's transport has it
            raw.writer.write(request(EVERYTHING, ACCEPT, f"Last-Event-ID: {position}"))
            await until_left(at, 2)
            held = [it.transport.get_write_buffer_size() for it in parked_of(at)]
            assert max(held) < 256 * 1024

    play(scenario)


def parked_of(at: Served) -> list[Parked]:
    wires: list[object] = [it._wire for it in gateway_of(at).streams if it._opened]
    return [wire for wire in wires if isinstance(wire, Parked)]


def test_connections_and_tasks_are_counted_out_however_they_end(play: Callable[[Scenario], None]) -> None:
    async def scenario(at: Served) -> None:
        async with AsyncExitStack() as stack:
            await caught_up(stack, at, target=STREAM)
            entrance = parked_of(at)[0]._home
            assert isinstance(entrance, Entrance)
            await come_and_go(at.port, 150)
        await until_left(at)
        own = 1  # the client's
        async with asyncio.timeout(BOUND):
            while len(entrance.connections) > own or entrance.state.tasks or entrance.patience._due:
                await asyncio.sleep(0.01)
        assert entrance.state.connections is entrance.connections
        assert not entrance._line
        hub = gateway_of(at).hub
        assert [hub._topics, hub._by_job, hub._wide, hub.withheld, hub._waiting] == [{}, {}, set(), set(), {}]

    play(scenario)


WAYS = (
    request(),
    request(STREAM, ACCEPT, "Connection: close"),
    request("/v1/events"),
    request("/v1/jobs/a", "Accept: */*"),
    request()[:-1],
    b"GET /v1",
    b"\x00 garbage\r\n\r\n",
    b"",
)


async def come_and_go(port: int, count: int) -> None:
    """So many connections, some at the same time, of every kind, each left at some point of its life."""
    chance = random.Random(5)

    async def one(data: bytes) -> None:
        async with connected(port, data) as raw:
            if chance.random() < 0.7 and data.endswith(b"\r\n\r\n") and b"\x00" not in data:
                await raw.head()
                if b"event-stream" in data:
                    await raw.until("sync")
            if chance.random() < 0.5:
                misbehave(raw, "reset")

    for _ in range(0, count, 10):
        await asyncio.gather(*(one(chance.choice(WAYS)) for _ in range(10)))


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_twenty_thousand_connections_leave_the_servers_memory_as_it_was(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db") as server:
        async with Client(base_url=server.url, timeout=BOUND, trust_env=False) as client:
            await create(client, state="running")
            await come_and_go(server.port, 5_000)
            before = memory_of(server.process.pid)
            await come_and_go(server.port, 20_000)
            assert memory_of(server.process.pid) - before < 8 * 2**20, "less than 420 bytes for each"
            assert files_of(server.process.pid) < 100


def files_of(pid: int) -> int:
    """How many files and sockets are open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def memory_of(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_has_gone_leaves_nothing_to_the_garbage_collector(
    play: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector runs seldom in a server, and what has got old before it died would wait for it for hours."""
    monkeypatch.setattr(patience, "HEAD_TIMEOUT", 600.0)  # no timer lets go of anything before the bound below
    heads = (
        request(STREAM, ACCEPT, "Connection: close"),
        request(),
        request(),
        request("/v1/events"),
        request("/v1/jobs/a", "Accept: */*"),
        request("/v1/jobs/none", "Accept: */*"),
    )

    async def scenario(at: Served) -> None:
        gc.collect()
        own = of_connections()  # the client's
        gc.disable()
        try:
            for head, how in itertools.product(heads, ("close", "reset")):
                async with connected(at.port, head) as raw:
                    if b"event-stream" in head:
                        await raw.head()
                        await raw.until("sync")
                    else:
                        await raw.reader.readuntil(b"}")
                    misbehave(raw, how)
            await until_left(at)
            async with asyncio.timeout(KEEP_ALIVE - 5):
                while left(own):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"left to the collector: {left(own)}") from None
        finally:
            gc.enable()

    def left(own: list[object]) -> list[str]:
        return [type(it).__name__ for it in of_connections() if not any(it is mine for mine in own)]

    def of_connections() -> list[object]:
        return [it for it in gc.get_objects() if isinstance(it, (Parked, HttpProtocol, Subscription))]

    play(scenario)


def test_a_reader_that_takes_nothing_is_closed_in_time_also_at_the_end(
    play: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catchup, "STUCK_SECONDS", 0.3)

    async def scenario(at: Served) -> None:
        async with AsyncExitStack() as stack:
            raw = await caught_up(stack, at)
            raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a connection's transport has it
            (wire,) = parked_of(at)
            while wire.try_write(b": filling\n\n" * 5000):
                await asyncio.sleep(0)
            await report(at.client, state="succeeded")
            async with asyncio.timeout(BOUND):
                while not wire.transport.is_closing():
                    await asyncio.sleep(0.01)

    play(scenario)


# The beginning of a connection


def test_connections_that_say_nothing_or_not_enough_are_closed_in_time_and_forgotten(
    play: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "HEAD_TIMEOUT", 0.3)

    async def scenario(at: Served) -> None:
        async with AsyncExitStack() as stack:
            silent = [await stack.enter_async_context(connected(at.port, data)) for data in (b"", b"G", b"\r\n") * 20]
            async with asyncio.timeout(BOUND):
                for raw in silent:
                    with suppress(ConnectionResetError):  # closed while a byte of ours waited there
                        assert await raw.reader.read() == b""

    play(scenario)


# What happens to a stream's neighbours, and at the end of the server


class Failing:
    """A subscriber with a defect."""

    def __init__(self, like: Subscription) -> None:
        self.match, self.form = like.match, like.form
        self.cursor, self.seat = 0, -1

    def socket(self) -> None:
        """It is asked each time."""

    def push(self, *_: object) -> None:
        """Fail."""
        raise RuntimeError("a defect")

    def sync(self, offset: int) -> bytes:
        """Fail."""
        raise RuntimeError("a defect")

    def beat(self, offset: int) -> None:
        """Fail."""
        raise RuntimeError("a defect")

    def flush(self) -> bool:
        """Fail."""
        raise RuntimeError("a defect")

    def fail(self) -> None:
        """Fail."""
        raise RuntimeError("a defect")


def test_a_stream_with_a_defect_takes_no_other_with_it(play: Callable[[Scenario], None]) -> None:
    async def scenario(at: Served) -> None:
        async with AsyncExitStack() as stack:
            gateway = gateway_of(at)
            before = await caught_up(stack, at, target=STREAM)
            failing = Failing(next(iter(gateway.streams)))
            gateway.hub.add(failing)
            gateway.hub.withhold(failing)
            after = await caught_up(stack, at, target=STREAM)
            await report(at.client, message="x")
            for raw in (before, after):
                assert (await raw.until("progress"))[-1].data["message"] == "x"
            await gateway.hub.beat()
            assert (await at.client.get("/readyz")).status_code == 200

    play(scenario)


async def test_sigterm_among_readers_of_every_kind_ends_each_as_it_should(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db", "--grace", "15") as server:
        async with (
            Client(base_url=server.url, timeout=BOUND, trust_env=False) as client,
            AsyncExitStack() as stack,
        ):
            await create(client, state="running")

            async def opened(data: bytes) -> Raw:
                return await stack.enter_async_context(connected(server.port, data))

            live = [await opened(request(EVERYTHING)) for _ in range(30)]
            for raw in live:
                await raw.head()
                await raw.until("sync")
            stalled = [await opened(request(EVERYTHING)) for _ in range(5)]
            for raw in stalled:
                raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a connection's transport has it
            reading = [asyncio.create_task(raw.until_end()) for raw in live]
            for number in range(60):
                await report(client, details={"filling": "x" * 20_000, "number": number})
            async with asyncio.timeout(BOUND):  # who is behind when the end comes is told no more than to come back
                while not all(b'"number":59' in raw.body for raw in live):
                    await asyncio.sleep(0.01)
            live[0].writer.write(request("/v1/jobs/a", "Accept: application/json"))  # for when its stream has ended
            silent = [await opened(data) for data in (b"", b"GET /v1", request()[:-1])]
            assert await asyncio.to_thread(server.terminate) == 0
            async with asyncio.timeout(BOUND):
                await asyncio.gather(*reading)
                assert all(raw.body.rpartition(b"\n\nretry: ")[2].strip().isdigit() for raw in live)
                assert (await live[0].head())[0] == 200
                for raw in silent:
                    with suppress(ConnectionResetError):
                        assert await raw.reader.read() == b""
        assert "Traceback" not in server.log
        assert "WARNING" not in server.log


async def test_a_second_ctrl_c_in_the_midst_of_a_farewell_ends_at_once_and_in_order(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db", "--grace", "600", patient=True) as server:
        async with (
            Client(base_url=server.url, timeout=BOUND, trust_env=False) as client,
            AsyncExitStack() as stack,
        ):
            await create(client, state="running")
            streams = [await stack.enter_async_context(connected(server.port, request())) for _ in range(50)]
            for raw in streams:
                await raw.head()
                await raw.until("sync")
            reading = [asyncio.create_task(raw.until_end()) for raw in streams]
            server.process.send_signal(signal.SIGINT)
            # The first is told; the last would be a minute later.
            await asyncio.wait(reading, timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
            server.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(server.process.wait, BOUND) == 0
            ends = await asyncio.gather(*reading, return_exceptions=True)
            cut = sum(isinstance(end, Exception) for end in ends)
            assert 10 < cut < 50, "some were told, and it did not wait for the rest"
