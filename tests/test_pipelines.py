"""Several requests on one connection: each gets its answer, in their order, before anything behind it is looked at."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httptools
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway import patience, producer
from gateway.heads import end_of_part
from gateway.parked import MAX_EARLY
from gateway.producer import Producer
from tests.api import create, served
from tests.logs import writing_held
from tests.mcp_calls import ERAS, call, tool
from tests.raw import BOUND, connected, request
from tests.test_producer import House, answer, connection_of, counted, post
from tests.test_server import Peer, running

READ = 256 * 1024  # bytes that a loop takes from a socket at once, at most
CHUNKED = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
GARBAGE = b"\x00\x01 this is not HTTP\r\n\r\n"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway with a running job `a`, whose producer's head is known."""
    seen: list[str] = []
    async with served(tmp_path, app=counted(tmp_path, seen)) as at:
        house = House(at, seen)
        await create(at.client, state="running")
        await house.says(post(b'{"message":"first"}'))
        yield house


@pytest.fixture
async def held(house: House) -> AsyncIterator[threading.Event]:
    """Lets go of the connection that writes: what is reported is under way until then."""
    async with writing_held(house.gateway.log) as release:
        yield release


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with running() as found:
        yield found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.001)


async def holds(connection: Producer, size: int = 1) -> None:
    """Until at least so many bytes wait behind what is under way."""
    await until(lambda: len(connection._behind) >= size)


async def under_way(house: House, count: int = 1) -> None:
    await until(lambda: house.gateway.log._writer._count >= count)


# What is no HTTP


def in_chunks(body: bytes) -> bytes:
    """A report whose body comes in chunks."""
    return CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


WAYS = {
    "short": post,
    "whole": lambda body: post(body, "a", "Content-Type: application/json", "If-Match: *"),
    "in chunks": in_chunks,
}
BEHIND = {
    "garbage": GARBAGE,
    "a head that breaks off into it": b"GET /v1/jobs/a HTTP/1.1\r\nHost\x00",
    "a body that breaks off into it": CHUNKED + b"zz\r\n",
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("apart", [False, True], ids=["in one packet", "in two"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_report_is_answered_before_what_is_no_http_behind_it(
    house: House, held: threading.Event, way: str, apart: bool, behind: bytes
) -> None:
    first = WAYS[way](b'{"message":"written"}')
    async with connected(house.at.port, first if apart else first + behind) as raw:
        await under_way(house)
        if apart:
            raw.writer.write(behind)
            await holds(connection_of(raw))
        held.set()
        status, _, body = await answer(raw)
        assert (status, body["message"]) == (201, "written")
        status, fields, body = await answer(raw)
        assert (status, fields["connection"], body["status"]) == (400, "close", 400)
        assert await raw.reader.read() == b""
    assert (await house.client.get("/v1/jobs/a")).json()["message"] == "written"


async def test_every_request_before_what_is_no_http_is_answered(house: House) -> None:
    reports = b"".join(WAYS[way](b'{"message":"%d"}' % number) for number, way in enumerate([*WAYS] * 3))
    async with connected(house.at.port, reports + GARBAGE) as raw:
        said = [await answer(raw) for _ in range(10)]
    assert [status for status, _, _ in said] == [201] * 9 + [400]
    assert [body["message"] for _, _, body in said[:9]] == [str(number) for number in range(9)]


async def test_a_last_request_is_the_last_whatever_comes_behind_it(house: House) -> None:
    last = request("/v1/jobs/a", "Accept: application/json", "Connection: close")
    for behind in (GARBAGE, request("/healthz")):
        async with connected(house.at.port, last + behind) as raw:
            assert (await answer(raw))[0] == 200
            assert await raw.reader.read() == b""


# Many at once


async def test_of_thousands_of_small_requests_in_one_packet_one_is_under_way(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads, alive = 0, list[int]()
    real = Producer.on_headers_complete

    def counting(self: Producer) -> None:
        nonlocal heads
        real(self)
        heads += 1
        if heads % 500 == 0:
            gc.collect()
            alive.append(sum(isinstance(it, RequestResponseCycle) for it in gc.get_objects()))

    monkeypatch.setattr(Producer, "on_headers_complete", counting)
    reader, _ = await peer.connect(b"".join(echo(b"%d" % number) for number in range(3000)))
    for number in range(3000):
        assert await echoed(reader) == b"%d" % number
    assert len(alive) == 6
    assert max(alive) <= 2, "one that was just answered, and the next"


@pytest.mark.parametrize("kind", ["reports", "looks"])
async def test_whoever_sends_more_than_is_answered_is_read_no_faster(
    house: House, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    most = 0
    real = Producer._hold

    def watched(self: Producer, data: bytes) -> None:
        nonlocal most
        real(self, data)
        most = max(most, len(self._behind))

    monkeypatch.setattr(Producer, "_hold", watched)
    filling = "x" * 8000
    if kind == "reports":
        sent = [WAYS["whole"](b'{"details":{"%d":"%b"}}' % (number % 9, filling.encode())) for number in range(300)]
    else:
        sent = [request("/v1/jobs/a", "Accept: application/json", f"X: {filling}")] * 300
    async with connected(house.at.port, b"".join(sent)) as raw:
        for _ in sent:
            assert (await answer(raw))[0] in (200, 201)
    assert MAX_EARLY < most <= MAX_EARLY + READ


def echo(body: bytes, *fields: bytes) -> bytes:
    lines = [b"POST /echo HTTP/1.1", b"Host: x", *fields, b"Content-Length: %d" % len(body), b"", body]
    return b"\r\n".join(lines)


async def echoed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(BOUND):
        status, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        assert status == "HTTP/1.1 200 OK"
        fields = dict(line.lower().split(": ", 1) for line in lines)
        return await reader.readexactly(int(fields["content-length"]))


# Where one ends


PIECES = (b"", b"x", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"GET /hello HTTP/1.1\r\n\r\n", b"a\r\n\r\nb")
bodies = st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request as it stands on the wire, and the body of its answer."""
    before = draw(st.sampled_from([b"", b"", b"\r\n", b"\r\n\r\n"]))
    kind = draw(st.sampled_from(["plain", "length", "length", "chunks", "chunks", "upgrade"]))
    if kind in ("plain", "upgrade"):
        fields = b"Connection: Upgrade\r\nUpgrade: h2c\r\n" if kind == "upgrade" else b"X:\r\n"
        return before + b"GET /hello HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n", b"hello"
    if kind == "length":
        body = draw(bodies)
        return before + echo(body), body
    chunks = [body for body in draw(st.lists(bodies, max_size=3)) if body]
    said = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    end = draw(st.sampled_from([b"0\r\n\r\n", b"000;x=y\r\n\r\n", b"0\r\nX: y\r\nZ:\r\n\r\n"]))
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return before + head + said + end, b"".join(chunks)


FREELY = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("parts", [1, 3, producer.PARTS])
async def test_however_requests_are_cut_into_packets_each_gets_its_own_answer(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    monkeypatch.setattr(producer, "PARTS", parts)
    monkeypatch.setattr(Producer, "on_message_begin", one_at_a_time(Producer.on_message_begin))
    loop = asyncio.get_running_loop()

    @FREELY
    @given(st.lists(requests(), min_size=1, max_size=6), st.randoms(use_true_random=False), st.booleans())
    def ask(asked: list[tuple[bytes, bytes]], chance: random.Random, cut: bool) -> None:
        data = b"".join(said for said, _ in asked)
        cuts = sorted(chance.sample(range(len(data)), min(len(data), chance.randrange(1, 20)))) if cut else []
        packets = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        got = asyncio.run_coroutine_threadsafe(exchange(peer, packets, len(asked)), loop).result(BOUND)
        assert got == [body for _, body in asked]

    await asyncio.to_thread(ask)


def one_at_a_time(begin: Callable[[Producer], None]) -> Callable[[Producer], None]:
    """The same where nothing is under way; else the parser gets an error, and the sender a 400."""

    def checked(self: Producer) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        assert cycle is None or cycle.response_complete, "the one before is not answered"
        begin(self)

    return checked


async def exchange(peer: Peer, packets: list[bytes], count: int) -> list[bytes]:
    """The bodies of so many answers to bytes that are sent in these packets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
    try:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            writer.write(packet)
            await asyncio.sleep(0)
        return [await echoed(reader) for _ in range(count)]
    finally:
        writer.close()


async def test_a_head_behind_many_empty_lines_is_read_to_its_end_and_the_loop_has_turns_meanwhile(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "HEAD_TIMEOUT", BOUND)
    monkeypatch.setattr(producer, "PARTS", 50)
    monkeypatch.setattr(producer, "MAX_EARLY", 1000)
    turns = 0
    real = Producer._go_on

    def counting(self: Producer) -> None:
        nonlocal turns
        real(self)
        turns += 1

    monkeypatch.setattr(Producer, "_go_on", counting)
    hello = b"GET /hello HTTP/1.1\r\nHost: x\r\n"
    reader, writer = await peer.connect(hello + b"\r\n" + b"\r\n" * 3000 + hello + b"X: " + b"x" * 2000)
    assert await echoed(reader) == b"hello"
    await until(lambda: turns > 3000 / 2 / 50)  # by then all of it was parsed, of which it was too much to read on
    writer.write(b"\r\n\r\n")
    assert await echoed(reader) == b"hello"


@pytest.mark.parametrize("ends", ["\r\n\r\n", "\r \n \r\n", "\r\n \r \n", "\r\n\r \n", "\r \n\r\n", "\r \n \r \n"])
async def test_the_end_of_a_head_is_found_in_whatever_packets_it_comes(peer: Peer, ends: str) -> None:
    head = b"GET /hello HTTP/1.1\r\nHost: x"
    *packets, last = [head, *ends.encode().split(b" ")]
    async with connected(peer.port, head + b"\r\n\r\n") as raw:
        assert await echoed(raw.reader) == b"hello"
        connection = connection_of(raw)
        for packet in packets:
            raw.writer.write(packet)
            await until(partial(arrived, connection, packet[-3:]))
        raw.writer.write(last + GARBAGE)
        assert await echoed(raw.reader) == b"hello"
        assert (await raw.head())[0] == 400


async def test_the_end_of_a_body_that_comes_in_parts_is_found(peer: Peer) -> None:
    said = echo(b"0123456789")
    async with connected(peer.port, echo(b"")) as raw:
        assert await echoed(raw.reader) == b""
        raw.writer.write(said[:-5])
        await until(partial(arrived, connection_of(raw), said[-8:-5]))
        raw.writer.write(said[-5:] + GARBAGE)
        assert await echoed(raw.reader) == b"0123456789"
        assert (await raw.head())[0] == 400


async def test_the_length_of_a_body_that_the_parser_takes_for_another_protocol_hides_no_requests(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Producer, "on_message_begin", one_at_a_time(Producer.on_message_begin))
    upgrade = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 99999\r\n\r\n"
    reader, _ = await peer.connect(upgrade + echo(b"one") + echo(b"two") + echo(b"three"))
    assert [await echoed(reader) for _ in range(4)] == [b"hello", b"one", b"two", b"three"]


def arrived(connection: Producer, end: bytes) -> bool:
    return connection._before.endswith(end)


class Ends:
    """What a parser tells: how many bytes had been fed when each message was complete, and of the length they said."""

    def __init__(self) -> None:
        self.fed, self.ends, self.owed = 0, list[int](), 0
        self.parser = httptools.HttpRequestParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-length":
            self.owed = int(value)

    def on_message_complete(self) -> None:
        self.ends.append(self.fed)
        self.owed = 0

    def feed(self, part: bytes) -> None:
        self.fed += len(part)
        self.owed -= min(self.owed, len(part))
        with contextlib.suppress(httptools.HttpParserUpgrade):
            self.parser.feed_data(part)


@given(st.lists(requests(), min_size=1, max_size=6), st.integers(1, 60))
def test_a_request_ends_where_a_part_ends(asked: list[tuple[bytes, bytes]], size: int) -> None:
    data = b"".join(said for said, _ in asked)
    found, before = Ends(), b""
    for at in range(0, len(data), size):
        packet, start = data[at : at + size], 0
        while start < len(packet):
            end = end_of_part(packet, start, before, found.owed)
            found.feed(packet[start:end])
            start = end
        before = (before + packet)[-3:]
    total, ends = 0, []
    for said, _ in asked:
        total += len(said)
        ends.append(total)
    assert found.ends == ends


# Who leaves


async def test_what_waits_behind_the_report_of_a_producer_who_left_is_not_done(
    house: House, held: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    faults = list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    report = b'{"message":"behind"}'
    for number, behind in enumerate((post(report), post(report, "a", "If-Match: *"), GARBAGE), 1):
        async with connected(house.at.port, post(b'{"message":"last words"}')) as raw:
            await under_way(house, number)
            connection = connection_of(raw)
            raw.writer.write(behind)
            await holds(connection)
            raw.writer.transport.abort()
            await until(connection.transport.is_closing)
    held.set()
    assert (await house.says(post(b'{"message":"more"}')))[0] == 201
    said = [record.job.message for record in (await house.gateway.history("default", "a", None, 100))[0]]
    assert said == [None, "first", "last words", "more"]
    assert not faults
    assert not caplog.records


async def test_nothing_is_begun_on_a_connection_that_the_server_has_cut(
    house: House, held: threading.Event, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(house.seen)
    async with connected(house.at.port, post(b'{"message":"kept"}')) as raw:
        await under_way(house)
        connection = connection_of(raw)
        raw.writer.write(request("/v1/jobs/a"))
        await holds(connection)
        told = list[bytes]()
        monkeypatch.setattr(connection, "on_response_complete", lambda: told.append(b"answered"))
        connection.transport.close()
        held.set()
        assert await raw.reader.read() == b""
    assert (await house.says(post(b'{"message":"more"}')))[2]["version"] == 4, "what was under way is written"
    assert len(house.seen) == before
    assert not told, "nobody was answered"
    assert not caplog.records


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_begun_behind_the_last_answer_of_a_server_that_ends(
    house: House, held: threading.Event, way: str
) -> None:
    async with connected(house.at.port, WAYS[way](b'{"message":"last"}')) as raw:
        await under_way(house)
        raw.writer.write(post(b'{"message":"behind"}'))
        await holds(connection_of(raw))
        connection_of(raw).shutdown()
        held.set()
        status, fields, body = await answer(raw)
        assert (status, fields["connection"], body["message"]) == (201, "close", "last")
        assert await raw.reader.read() == b""
    assert (await house.says(post(b'{"message":"more"}')))[2]["version"] == 4


@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_who_leaves_ends_its_wait_also_where_its_next_request_waits(house: House, era: str) -> None:
    asked = call(era, "wait_for_job", {"job_id": "a", "timeout_s": 3600})
    body = orjson.dumps(asked["json"])
    fields = [f"{name}: {value}" for name, value in asked["headers"].items()]
    data = post(body, "a", *fields, "Content-Type: application/json").replace(b"/v1/jobs/a/events", b"/mcp")
    await tool(house.client, "get_job_status", era, job_id="a")  # loads the SDK
    await leaves(house, data)


async def test_a_reader_who_leaves_ends_its_wait_also_where_its_next_request_waits(house: House) -> None:
    position = (await house.client.get("/v1/jobs/a")).headers["etag"]
    await leaves(house, request("/v1/jobs/a", f"If-None-Match: {position}", "Prefer: wait=60"))


async def leaves(house: House, data: bytes) -> None:
    """Ask, ask for more while that waits, and leave: nobody waits any more."""
    waiting = house.gateway.hub._waiting
    for more in ((), (request("/healthz"),), (request("/healthz"), b"GET /he")):
        async with connected(house.at.port, data) as raw:
            await until(lambda: waiting)
            size = 0
            for piece in more:
                raw.writer.write(piece)
                size += len(piece)
                await holds(connection_of(raw), size)
            raw.writer.transport.abort()
            await until(lambda: not waiting)


# Streams


async def test_a_stream_with_a_request_behind_it_ends_before_that_is_answered(house: House) -> None:
    async with connected(house.at.port, request() + request("/v1/jobs/a", "Accept: application/json")) as raw:
        assert (await raw.head())[0] == 200
        await raw.until("sync")
        assert (await house.says(post(b'{"state":"succeeded"}')))[0] == 201
        assert (await raw.until_end())[-1].event == "end"
        assert (await answer(raw))[2]["state"] == "succeeded"


async def test_a_reader_who_leaves_a_stream_with_a_request_behind_it_is_forgotten(house: House) -> None:
    async with connected(house.at.port, request() + request("/healthz")) as raw:
        assert (await raw.head())[0] == 200
        await until(lambda: len(house.gateway.streams) == 1)
    await until(lambda: not house.gateway.streams)
