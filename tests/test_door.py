"""The short way in: a request for a stream that was answered before, word for word, is answered alike and at once."""

from __future__ import annotations

import ast
import asyncio
import random
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import door, heads, parked
from gateway.app import create_app
from gateway.door import Entrance
from gateway.heads import Asked, identify
from gateway.record import alias_of
from gateway.service import Gateway
from gateway.settings import Settings
from tests.api import Served, create, report, served
from tests.raw import ACCEPT, BOUND, STREAM, Raw, connected, request


class Counting:
    """Notes whatever goes the whole way, through the app and its middleware."""

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self._app, self._seen = app, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._seen.append(scope["path"])
        await self._app(scope, receive, send)


class House:
    """A gateway on a port, and which requests went through its app."""

    def __init__(self, at: Served, seen: list[str]) -> None:
        self.at, self.port, self.client, self.seen = at, at.port, at.client, seen
        self.gateway: Gateway = at.app.state.gateway

    async def by_the_door(self, data: bytes, event: str = "sync") -> Raw:
        """A stream after its beginning, which did not go through the app."""
        before = list(self.seen)
        raw = await self.stack.enter_async_context(connected(self.port, data))
        assert (await raw.head())[0] == 200
        await raw.until(event)
        assert self.seen == before
        return raw

    async def whole_way(self, data: bytes) -> tuple[int, dict[str, str], Raw]:
        """The head of an answer that the app gave."""
        before = len(self.seen)
        raw = await self.stack.enter_async_context(connected(self.port, data))
        head = await raw.head()
        assert len(self.seen) == before + 1
        return *head, raw

    stack: AsyncExitStack


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway with job `a`, whose stream was asked for once."""
    async with open_house(tmp_path) as found:
        yield found


class open_house:  # noqa: N801 - reads as the statement it is
    """`async with open_house(folder, **settings) as house`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._folder, self._settings = folder, settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> House:
        seen: list[str] = []
        app = create_app(Settings(database=str(self._folder / "status.db"), **self._settings))
        app.add_middleware(Counting, seen=seen)
        house = House(await self._stack.enter_async_context(served(self._folder, app=app, **self._settings)), seen)
        house.stack = await self._stack.enter_async_context(AsyncExitStack())
        await create(house.client, state="running")
        _, _, raw = await house.whole_way(request())
        await raw.until("sync")
        return house

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()


async def until_open(house: House, count: int) -> None:
    async with asyncio.timeout(BOUND):
        while len(house.gateway.streams) != count:
            await asyncio.sleep(0.005)


async def test_the_same_request_gets_the_same_answer_without_going_through_the_app(house: House) -> None:
    first = await house.stack.enter_async_context(connected(house.port, request(STREAM, ACCEPT, "X-Other: 1")))
    head = await first.head()
    await first.until("sync")
    second = await house.stack.enter_async_context(connected(house.port, request()))
    before = list(house.seen)
    assert before[-1:] == [STREAM], "a field that is not known goes the whole way"
    again = await second.head()
    await second.until("sync")
    assert house.seen == before
    assert {**again[1], "date": ""} == {**head[1], "date": ""}
    assert again[0] == head[0]
    assert without_chance(second.body) == without_chance(first.body)
    await report(house.client, message="x")
    assert (await first.until("progress"))[-1] == (await second.until("progress"))[-1]


def without_chance(body: bytes) -> bytes:
    """A stream's bytes without the random time to come back and the time of its sync."""
    return re.sub(rb'retry: \d+|"time":"[^"]+"', b"", body)


@pytest.mark.parametrize(
    "fields",
    [("User-Agent: one", ACCEPT), (ACCEPT, "user-agent: two", "Accept-Language: de, en;q=0.5", "X-Forwarded-For: ::1")],
)
async def test_what_no_answer_depends_on_makes_no_other_request(house: House, fields: tuple[str, ...]) -> None:
    await house.by_the_door(request(STREAM, *fields))


@pytest.mark.parametrize(
    "data",
    [
        request(host="localhost"),
        request(STREAM + "?"),
        request(STREAM, ACCEPT, "Origin: http://127.0.0.1"),
        request(STREAM, ACCEPT, "Authorization: Bearer x"),
        request(STREAM, ACCEPT, "Accept-Encoding: br"),
        request(STREAM, ACCEPT, "Last-Event-ID: x", "Last-Event-ID: y"),
        request(STREAM, ACCEPT, "User-Agent: a\x01"),
        request().replace(b"Host", b"HOST"),
        request() + request(),
        b"\r\n" + request(),
    ],
)
async def test_any_other_request_is_decided_by_the_app_or_refused(house: House, data: bytes) -> None:
    before = len(house.seen)
    async with connected(house.port, data) as raw:
        assert (await raw.head())[0] in (200, 400)
    assert len(house.seen) == before + 1 or b"\x01" in data


async def test_another_host_is_turned_away_also_where_the_rest_is_known(house: House) -> None:
    status, _, _ = await house.whole_way(request(host="evil.example"))
    assert status == 421


async def test_each_origin_gets_its_own_permission(tmp_path: Path) -> None:
    allowed, foreign = "http://page.example", "http://other.example"
    async with open_house(tmp_path, allowed_origins=(allowed,)) as house:
        for origin, permitted in ((allowed, allowed), (foreign, None), (allowed, allowed), (foreign, None)):
            raw = await house.stack.enter_async_context(
                connected(house.port, request(STREAM, ACCEPT, f"Origin: {origin}"))
            )
            status, fields = await raw.head()
            assert status == 200
            assert (fields.get("access-control-allow-origin") or fields.get("Access-Control-Allow-Origin")) == permitted
            await raw.until("sync")
        assert len(house.seen) == 4, "the job, its first stream, and one for each origin"


async def test_the_stream_of_another_job_is_the_same_request_and_its_own_stream(house: House) -> None:
    await create(house.client, "b", state="running")
    alias = alias_of("default", "b")
    for name in ("b", alias):
        raw = await house.by_the_door(request(f"/v1/jobs/{name}/events"))
        assert raw.frames[0].data["id"] == "b"
        await report(house.client, message=f"of a, while {name} is read")
        await report(house.client, "b", message=f"of {name}")
        assert (await raw.until("progress"))[-1].data["message"] == f"of {name}"
    for name, status in (("c", 404), (".", 400), ("%61", 200)):
        assert (await house.whole_way(request(f"/v1/jobs/{name}/events")))[0] == status


async def test_a_job_of_another_workspace_is_another_request(house: House) -> None:
    await create(house.client, state="running", workspace="w", message="of w")
    path = f"{STREAM}?workspace=w"
    _, _, raw = await house.whole_way(request(path))
    assert (await raw.until("sync"))[0].data["message"] == "of w"
    assert (await house.by_the_door(request(path))).frames[0].data["message"] == "of w"
    assert (await house.by_the_door(request())).frames[0].data["message"] is None


async def test_a_cursor_of_the_header_is_resumed_from_to_the_letter(house: House) -> None:
    for number in range(5):
        await report(house.client, message=str(number))
    for after in range(1, 7):
        position = house.gateway.log.position(after)
        raw = await house.by_the_door(request(STREAM, ACCEPT, f"last-event-id:  {position} "))
        assert [frame.offset for frame in raw.frames if frame.event == "progress"] == list(range(after + 1, 7))
        assert (raw.frames[-1].event, raw.frames[-1].offset) == ("sync", 6)


async def test_a_cursor_that_cant_be_resumed_goes_the_whole_way_to_a_reset(house: House) -> None:
    for cursor in ("zzzzzzzz-1", "\xff\xfe", house.gateway.log.position(99)):
        _, _, raw = await house.whole_way(request(STREAM, ACCEPT, f"Last-Event-ID: {cursor}"))
        assert (await raw.until("sync"))[0].event == "reset"


async def test_a_header_beside_a_cursor_of_the_query_goes_the_whole_way(house: House) -> None:
    position = house.gateway.log.position(1)
    for _ in range(2):
        _, _, raw = await house.whole_way(request(f"{STREAM}?after=earliest", ACCEPT, f"Last-Event-ID: {position}"))
        await raw.until("sync")
    _, _, raw = await house.whole_way(request(f"{STREAM}?after=earliest"))
    assert [frame.event for frame in await raw.until("sync")] == ["transition", "sync"]
    again = await house.by_the_door(request(f"{STREAM}?after=earliest"))
    assert [frame.event for frame in again.frames] == ["transition", "sync"]


async def test_a_stream_that_is_learnt_from_a_resumption_begins_afresh_without_a_cursor(house: House) -> None:
    other = f"{STREAM}?min_interval=0"
    position = house.gateway.log.position(1)
    _, _, raw = await house.whole_way(request(other, ACCEPT, f"Last-Event-ID: {position}"))
    assert [frame.event for frame in await raw.until("sync")] == ["sync"]
    fresh = await house.by_the_door(request(other))
    assert [frame.event for frame in fresh.frames] == ["snapshot", "sync"]


async def test_a_job_that_has_ended_answers_as_if_nothing_were_known(house: House) -> None:
    await report(house.client, state="succeeded")
    status, _, raw = await house.whole_way(request())
    assert status == 200
    assert [frame.event for frame in await raw.until_end()] == ["snapshot", "end"]
    position = house.gateway.log.position(2)
    status, _, _ = await house.whole_way(request(STREAM, ACCEPT, f"Last-Event-ID: {position}"))
    assert status == 204
    await house.client.delete("/v1/jobs/a")
    assert (await house.whole_way(request()))[0] == 410


async def test_a_gateway_that_is_full_or_ends_tells_known_requests_to_come_back_too(tmp_path: Path) -> None:
    async with open_house(tmp_path, max_streams=2) as house:
        await house.by_the_door(request())
        for why in ("full", "draining"):
            if why == "draining":
                house.gateway.drain()
            _, _, raw = await house.whole_way(request())
            assert [frame.event for frame in await raw.until_end()] == ["busy"]


async def test_a_cursor_older_than_memory_is_read_from_the_log(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.hub.RING_RECORDS", 2)
    for number in range(5):
        await report(house.client, message=str(number))
    position = house.gateway.log.position(1)
    _, _, raw = await house.whole_way(request(STREAM, ACCEPT, f"Last-Event-ID: {position}"))
    assert [frame.offset for frame in await raw.until("sync")] == [2, 3, 4, 5, 6, 6]


async def test_only_so_many_requests_are_remembered(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "KNOWN", 2)
    for interval in (1, 2):
        _, _, raw = await house.whole_way(request(f"{STREAM}?min_interval={interval}"))
        await raw.until("sync")
    await house.whole_way(request())
    await house.by_the_door(request(f"{STREAM}?min_interval=2"))


# The line


async def test_a_crowd_comes_in_one_by_one_where_the_loop_has_other_work(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "SLICE_SECONDS", 0.0)
    with ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", house.port))) for _ in range(60)]
        while (await house.client.get("/healthz")).status_code != 200:
            pass  # by now the server knows of all connections
        for number, sock in enumerate(crowd):  # one half by the door, the other the whole way
            sock.sendall(request(STREAM, ACCEPT, *(["X-Other: 1"] if number % 2 else [])))
        steps = []
        async with asyncio.timeout(BOUND):
            while len(house.gateway.streams) < 61:
                before = len(house.gateway.streams)
                await asyncio.sleep(0)
                steps.append(len(house.gateway.streams) - before)
        assert max(steps) <= 2, "one by the door, and one whose task was made a turn before"


async def test_a_fault_at_the_door_costs_one_connection(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Entrance.open
    faults = [RuntimeError("no entrance today")]

    def broken(hall: Entrance, transport: asyncio.Transport, asked: Asked) -> bool:
        if faults:
            raise faults.pop()
        return real(hall, transport, asked)

    monkeypatch.setattr(Entrance, "open", broken)
    async with connected(house.port, request()) as raw, asyncio.timeout(BOUND):
        with suppress(ConnectionError):
            assert await raw.reader.read() == b""
    await house.by_the_door(request())


async def test_who_leaves_or_says_more_while_in_line_is_no_trouble(house: House) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", house.port))) for _ in range(30)]
        for number, sock in enumerate(crowd):
            sock.sendall(request())
            if number % 3 == 0:
                sock.close()
            elif number % 3 == 1:
                sock.sendall(request("/v1/jobs/a", "Accept: application/json"))
        await until_open(house, 21)
    async with asyncio.timeout(BOUND):
        while len(house.gateway.streams) > 1:  # nothing is read behind a waiting request: the next beat finds them gone
            await house.gateway.hub.beat()
            await asyncio.sleep(0.01)


# What happens to the connection


async def test_when_a_stream_has_ended_its_connection_serves_the_next_request(house: House) -> None:
    for opening in ("door", "app"):
        raw = await house.by_the_door(request()) if opening == "door" else None
        if raw is None:
            _, _, raw = await house.whole_way(request(STREAM, ACCEPT, "X-Other: 1"))
            await raw.until("sync")
        for stream in list(house.gateway.streams):
            await stream.farewell()
        await raw.until_end()
        raw.writer.write(request("/v1/jobs/a", "Accept: application/json"))
        status, fields = await raw.head()
        assert (status, fields["content-type"]) == (200, "application/json")
        await raw.reader.readexactly(int(fields["content-length"]))
        raw.body = b""
        raw.writer.write(request())
        assert (await raw.head())[0] == 200
        await raw.until("sync")


async def test_a_request_behind_a_stream_is_answered_when_the_stream_has_ended(house: House) -> None:
    raw = await house.by_the_door(request())
    raw.writer.write(request("/v1/jobs/a", "Accept: application/json"))
    await report(house.client, state="succeeded")
    assert (await raw.until_end())[-1].event == "end"
    assert (await raw.head())[0] == 200


async def test_a_reader_that_says_too_much_behind_its_request_is_dropped(house: House) -> None:
    raw = await house.by_the_door(request())
    raw.writer.write(b"x" * (parked.MAX_EARLY + 1))
    async with asyncio.timeout(BOUND):
        with pytest.raises((ConnectionError, AssertionError)):
            assert await raw.reader.read() != b""
    await until_open(house, 1)


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
async def test_a_reader_that_leaves_is_forgotten_at_once(house: House, how: str) -> None:
    raw = await house.by_the_door(request())
    await until_open(house, 2)
    if how == "half-close":
        raw.writer.write_eof()
    elif how == "close":
        raw.writer.close()
    else:
        raw.writer.transport.abort()
    await until_open(house, 1)
    assert len(house.gateway.hub) == 1


async def test_a_stream_that_wants_its_connection_closed_gets_that(house: House) -> None:
    for _ in range(2):
        _, fields, raw = await house.whole_way(request(STREAM, ACCEPT, "Connection: close"))
        assert fields["connection"] == "close"
        await raw.until("sync")
        for stream in list(house.gateway.streams):
            await stream.farewell()
        await raw.until_end()
        async with asyncio.timeout(BOUND):
            assert await raw.reader.read() == b""


async def test_a_stream_asked_for_with_a_body_or_with_the_next_request_runs_on_plain_asgi(house: House) -> None:
    with_body = request(STREAM, ACCEPT, "Content-Length: 2") + b"{}"
    for data in (with_body, with_body[:-1], request() + b"GET /v1/jo"):
        _, _, raw = await house.whole_way(data)
        await raw.until("sync")
        await report(house.client, message=repr(data[-9:]))
        await raw.until("progress")


# The law, over real sockets


async def test_readers_that_are_cut_again_and_again_miss_nothing_and_get_nothing_twice(house: House) -> None:
    chance = random.Random(4)
    writing = asyncio.create_task(produce(house, 150))
    got = await asyncio.gather(*(follow(house, chance) for _ in range(12)))
    last = await writing
    for offsets in got:
        assert offsets == list(range(1, last + 1))
    assert len(house.seen) < 500, "most of them came in by the door"


async def produce(house: House, count: int) -> int:
    for number in range(count):
        await report(house.client, message=str(number))
    await report(house.client, state="succeeded")
    return house.gateway.log.head


async def follow(house: House, chance: random.Random) -> list[int]:
    """The offsets of what came, each counted from where its stream began; never conflated."""
    offsets: list[int] = []
    cursor = house.gateway.log.position(1)
    offsets.append(1)
    while True:
        data = request(f"{STREAM}?min_interval=0", ACCEPT, f"Last-Event-ID: {cursor}")
        async with connected(house.port, data) as raw:
            status, _ = await raw.head()
            if status == 204:
                return offsets
            for _ in range(chance.randrange(1, 9)):
                if not await raw.chunk():
                    break
            for frame in raw.frames:
                if frame.event in ("progress", "transition"):
                    offsets.append(frame.offset)
                if frame.id is not None:
                    cursor = frame.id
            if chance.random() < 0.5:
                raw.writer.transport.abort()


# Heads


def test_two_heads_are_the_same_request_where_they_differ_in_nothing_that_counts() -> None:
    plain = request("/v1/jobs//events", ACCEPT)
    assert identify(request(STREAM, ACCEPT)) == (plain, "a", None)
    assert identify(request("/v1/jobs/B.~:-9/events", ACCEPT)) == (plain, "B.~:-9", None)
    assert identify(request(STREAM, "User-Agent: x", ACCEPT, "Sec-CH-UA-Mobile: ?0")) == (plain, "a", None)
    assert identify(request(STREAM, ACCEPT, "LAST-EVENT-ID:\tk7f3q2ab-1 ")) == (plain, "a", "k7f3q2ab-1")
    assert identify(request(STREAM, ACCEPT, "Last-Event-ID:")) == (plain, "a", None)
    assert identify(request("/v1/jobs/a?x=/jobs/b", ACCEPT)) == (request("/v1/jobs/?x=/jobs/b", ACCEPT), "a", None)


@pytest.mark.parametrize(
    "data",
    [
        request(STREAM, ACCEPT, "X-User-Agent: x"),
        request(STREAM + "?a=User-Agent:", ACCEPT),
        request(STREAM, ACCEPT, "Referer: x", "Accept: */*"),
        request("/v1/jobs/a%41/events", ACCEPT),
        request("/v1/jobs/a", ACCEPT),
        request("/v1/events", ACCEPT),
    ],
)
def test_heads_that_differ_otherwise_are_other_requests(data: bytes) -> None:
    found = identify(data)
    assert found is not None
    assert found.head != request("/v1/jobs//events", ACCEPT)


@pytest.mark.parametrize(
    "data",
    [
        request()[:-2],
        request() + b"x",
        request() + request(),
        request().replace(b"GET", b"POST"),
        request(STREAM, "User-Agent: x\r\n folded", ACCEPT),
        request(STREAM, ACCEPT, "Last-Event-ID: x", "last-event-id: y"),
        request(f"{STREAM}?x=1&lastEventId=x", ACCEPT, "Last-Event-ID: y"),
        request(STREAM, ACCEPT, "X: " + "x" * heads.MAX_KNOWN),
        b"",
    ],
)
def test_what_is_no_whole_head_or_cant_be_compared_is_not_known(data: bytes) -> None:
    assert identify(data) is None


def test_no_decision_depends_on_a_field_that_makes_no_other_request() -> None:
    """What says who asks, once anything does, has to leave the list. The cursor alone is read: it is handed on."""
    ignored = set(heads.IGNORED) - {"last-event-id"}
    for path in Path(door.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Attribute) and node.attr == "cookies"), path
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and path.name != "heads.py":
                assert node.value.lower() not in ignored, path


def test_each_server_remembers_for_itself() -> None:
    assert door.protocol_for("0.54.0") is not door.protocol_for("0.54.0")
    assert isinstance(door.protocol_for("0.54.0"), Entrance)
