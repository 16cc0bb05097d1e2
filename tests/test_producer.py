"""The short way of reports: a head that was answered before, but for its job, is answered alike without the app."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import door, heads, producer
from gateway.app import create_app
from gateway.dialects import writing
from gateway.heads import identify_report
from gateway.service import Gateway
from gateway.settings import Settings
from tests.api import Served, create, served
from tests.raw import BOUND, Raw, connected
from tests.test_door import Counting

JSON = "Content-Type: application/json"
GOOD = b'{"progress":1}'


def post(body: bytes, job: str = "a", *fields: str, query: str = "", version: str = "1.1") -> bytes:
    """A report as it stands on the wire."""
    lines = [f"POST /v1/jobs/{job}/events{query} HTTP/{version}", "Host: 127.0.0.1", *(fields or (JSON,))]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


class House:
    """A gateway on a port whose producers' head is known, and which requests went through its app."""

    def __init__(self, at: Served, seen: list[str]) -> None:
        self.at, self.client, self.seen = at, at.client, seen
        self.gateway: Gateway = at.app.state.gateway

    async def says(self, data: bytes) -> tuple[int, dict[str, str], Any, bool]:
        """The answer on a connection of its own: status, fields, body, and whether the app gave it."""
        before = len(self.seen)
        async with connected(self.at.port, data) as raw:
            return *(await answer(raw)), len(self.seen) > before


async def answer(raw: Raw) -> tuple[int, dict[str, str], Any]:
    """The next answer on a connection: status, fields, body."""
    status, fields = await raw.head()
    async with asyncio.timeout(BOUND):
        body = await raw.reader.readexactly(int(fields.get("content-length", "0")))
    return status, fields, orjson.loads(body) if body else None


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    seen: list[str] = []
    async with served(tmp_path, app=counted(tmp_path, seen)) as at:
        house = House(at, seen)
        await create(at.client, state="running")
        assert (await house.says(post(b'{"message":"first"}')))[3], "the first goes the whole way"
        yield house


def counted(folder: Path, seen: list[str], **settings: Any) -> Any:
    app = create_app(Settings(database=str(folder / "status.db"), **settings))
    app.add_middleware(Counting, seen=seen)
    return app


async def test_a_report_like_one_before_is_written_and_answered_without_going_through_the_app(house: House) -> None:
    status, fields, body, by_app = await house.says(post(b'{"progress":45}'))
    assert (status, body["progress"], by_app) == (201, 45.0, False)
    again = await house.client.get("/v1/jobs/a")
    assert again.json() == body
    assert fields["etag"] == again.headers["etag"]
    assert [record.by async for record in records(house)] == ["anonymous"] * 3


async def records(house: House) -> AsyncIterator[Any]:
    for record in (await house.gateway.history("default", "a", None, 100))[0]:
        yield record


BODIES = (
    b'{"progress":10,"message":"x"}', b"{}", b'[{"message":"y"},{"message":"z"}]', b'{"progress":5}', b'{"x":1}', b"[]",
    b"", b"nonsense", b'{"message":"a","message":"b"}', b'{"state":"created"}', b'{"lease":100}',
    b'{"state":"retrying"}', b'{"details":{"a":[1,null,"\xc3\xa4"]}}', b'{"details":"%s"}' % (b"x" * 300_000),
    b'{"state":"succeeded"}', b'{"state":"running"}', b'{"progress":50}',
)  # fmt: skip


async def test_either_way_a_report_gets_the_same_answer_in_any_condition_of_the_job(house: House) -> None:
    for job in ("short", "whole"):
        await create(house.client, job, state="running")
    await house.says(post(b"{}", "short"))
    ways = {}
    for number, body in enumerate([*BODIES, b"{}", b"{}"]):
        if number == 3:
            for job in ("short", "whole"):
                assert (await house.client.post(f"/v1/jobs/{job}/cancel")).status_code == 202
        if number == len(BODIES):
            for job in ("short", "whole"):
                assert (await house.client.delete(f"/v1/jobs/{job}")).status_code == 204
        name = "{}" if number < len(BODIES) + 1 else "none-{}"
        short = await house.says(post(body, name.format("short")))
        whole = await house.says(b"\r\n" + post(body, name.format("whole")))
        assert alike(short) == alike(whole), body
        assert whole[3]
        ways[short[0], short[3]] = body
    assert {(201, False), (200, False), (409, False), (400, True), (404, False), (410, False)} <= ways.keys(), ways


def alike(said: tuple[int, dict[str, str], Any, bool]) -> tuple[int, list[str], Any]:
    """An answer without what differs between two jobs; the fields in their order, with the values that may not."""
    status, fields, body, _ = said
    differing = ("date", "etag", "last-modified", "content-length")
    lines = [name if name in differing else f"{name}: {value}" for name, value in fields.items()]
    own = ("id", "name", "position", "created", "started", "finished", "updated", "instance", "detail", "job")
    return status, lines, {name: value for name, value in body.items() if name not in own}


@pytest.mark.parametrize(
    "data",
    [
        post(GOOD, "a", JSON, "Idempotency-Key: k1"),
        post(GOOD, "a", JSON, "If-Match: *"),
        post(GOOD, "a", JSON, "Prefer: respond-async"),
        post(GOOD, "a", JSON, "Connection: close"),
        post(GOOD, "a", JSON, "Expect: 200-ok"),
        post(GOOD, "a", JSON, "X-Other: " + "x" * heads.MAX_KNOWN),
        post(GOOD, version="1.0"),
        b"\r\n" + post(GOOD),
    ],
)
async def test_what_asks_for_more_or_cant_be_compared_goes_the_whole_way_each_time(house: House, data: bytes) -> None:
    for _ in range(2):
        status, _, _, by_app = await house.says(data)
        assert status in (200, 201)
        assert by_app


async def test_a_head_with_other_words_is_decided_by_the_app_once(house: House) -> None:
    for fields in (("Content-Type: application/json; charset=utf-8",), (JSON, "Authorization: x"), (JSON, "DNT: 1")):
        ways = [(await house.says(post(GOOD, "a", *fields)))[3] for _ in range(2)]
        assert ways == [fields[-1] != "DNT: 1", False]
    foreign = post(GOOD, "a", JSON, "Origin: http://foreign.example")
    assert [(await house.says(foreign))[::3] for _ in range(2)] == [(403, True)] * 2
    assert [(await house.says(post(GOOD, "a", "Content-Type: text/plain")))[::3] for _ in range(2)] == [(415, True)] * 2


async def test_a_report_of_another_job_or_workspace_reaches_its_own_job(house: House) -> None:
    await create(house.client, "b", state="running")
    await create(house.client, workspace="w", state="running")
    status, _, body, by_app = await house.says(post(GOOD, "b"))
    assert (status, body["id"], by_app) == (201, "b", False)
    for by_app in (True, False):
        status, _, body, way = await house.says(post(b'{"details":{"n":%d}}' % by_app, query="?workspace=w"))
        assert (status, body["workspace"], way) == (201, "w", by_app)
    for name, status in ((".", 400), ("%61", 201), ("x" * 201, 400)):
        said = await house.says(post(b'{"progress":%d}' % len(house.seen), name))
        assert said[::3] == (status, True)


async def test_where_middleware_alters_the_answer_the_app_is_always_asked(tmp_path: Path) -> None:
    seen: list[str] = []
    app = counted(tmp_path, seen, allowed_origins=("http://page.example",))
    async with served(tmp_path, app=app) as at:
        house = House(at, seen)
        await create(at.client, state="running")
        for number in range(2):
            _, fields, _, by_app = await house.says(post(b'{"progress":%d}' % number))
            assert (fields["vary"], by_app) == ("Origin", True)


async def test_reports_that_are_sent_at_once_are_answered_one_after_the_other(house: House) -> None:
    get = b"GET /v1/jobs/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    numbers = range(1, 20)
    async with connected(house.at.port, post(b'{"progress":0}')) as raw:
        for number in numbers:
            raw.writer.write(post(b'{"progress":%d}' % number))
        raw.writer.write(get)
        raw.writer.write(post(b'{"progress":99}'))
        said = [(await answer(raw))[2] for _ in range(22)]
    assert [body["progress"] for body in said] == [0.0, *map(float, numbers), 19.0, 99.0]


async def test_a_connection_serves_both_ways_in_turn(house: House) -> None:
    async with connected(house.at.port) as raw:
        for number in range(6):
            head, body = post(b'{"message":"%d"}' % number).split(b"\r\n\r\n")
            raw.writer.write(head + b"\r\n\r\n" + (b"" if number % 2 else body))
            if number % 2:  # a body that comes apart from its head
                async with asyncio.timeout(BOUND):
                    while len(house.seen) < 3 + number // 2:
                        await asyncio.sleep(0)
                raw.writer.write(body)
            status, _, said = await answer(raw)
            assert (status, said["message"]) == (201, str(number))


@pytest.fixture
async def held(house: House) -> AsyncIterator[threading.Event]:
    """Lets go of the connection that writes, which waits: what is reported is under way until then."""
    entered, release = threading.Event(), threading.Event()

    def work(_: object) -> None:
        entered.set()
        assert release.wait(BOUND)

    holding = asyncio.create_task(house.gateway.log._writer.chore(work))
    await asyncio.to_thread(entered.wait, BOUND)
    yield release
    release.set()
    await holding


async def under_way(house: House, count: int = 1) -> None:
    async with asyncio.timeout(BOUND):
        while house.gateway.log._writer._count < count:
            await asyncio.sleep(0.001)


async def test_what_comes_behind_a_report_under_way_is_answered_behind_it(house: House, held: threading.Event) -> None:
    get = b"GET /v1/jobs/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    async with connected(house.at.port, post(b'{"message":"slow"}')) as raw:
        await under_way(house)
        connection = connection_of(raw)
        raw.writer.write(get[:10])
        async with asyncio.timeout(BOUND):
            while not connection._behind:
                await asyncio.sleep(0.001)
        raw.writer.write(get[10:] + post(b'{"message":"next"}'))
        held.set()
        said = [await answer(raw) for _ in range(3)]
    assert [(status, body["message"]) for status, _, body in said] == [(201, "slow"), (200, "slow"), (201, "next")]


async def test_a_report_whose_producer_leaves_is_written_all_the_same(house: House, held: threading.Event) -> None:
    async with connected(house.at.port, post(b'{"message":"last words"}')) as raw:
        await under_way(house)
        raw.writer.transport.abort()
    held.set()
    async with asyncio.timeout(BOUND):
        while (await house.client.get("/v1/jobs/a")).json()["message"] != "last words":
            await asyncio.sleep(0.001)
    assert (await house.says(post(b'{"message":"more"}')))[::3] == (201, False)


async def test_a_server_that_ends_answers_the_report_under_way_as_the_last(house: House, held: threading.Event) -> None:
    async with connected(house.at.port, post(b'{"message":"last"}')) as raw:
        await under_way(house)
        connection_of(raw).shutdown()
        held.set()
        status, fields, body = await answer(raw)
        assert (status, fields["connection"], body["message"]) == (201, "close", "last")
        async with asyncio.timeout(BOUND):
            assert await raw.reader.read() == b""


def connection_of(raw: Raw) -> producer.Producer:
    """The server's side of a connection."""
    port = raw.writer.get_extra_info("sockname")[1]
    (found,) = [
        it for it in gc.get_objects() if isinstance(it, producer.Producer) and it.client and it.client[1] == port
    ]
    return found


async def test_a_producer_who_takes_no_answers_goes_the_whole_way_which_waits_for_it(house: House) -> None:
    async with connected(house.at.port, post(b'{"message":"0"}')) as raw:
        await answer(raw)
        flow = connection_of(raw).flow
        flow.pause_writing()  # as its transport does when it holds too much
        before = len(house.seen)
        raw.writer.write(post(b'{"message":"1"}'))
        async with asyncio.timeout(BOUND):
            while len(house.seen) == before:
                await asyncio.sleep(0.001)
        flow.resume_writing()
        assert (await answer(raw))[2]["message"] == "1"


async def test_a_gateway_that_ends_refuses_known_heads_in_the_apps_own_words(house: House) -> None:
    house.gateway.drain()
    assert (await house.says(post(GOOD)))[::3] == (503, True)


async def test_an_answer_that_can_not_be_made_is_a_problem_and_not_silence(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> dict[str, str]:
        raise RuntimeError("no headers today")

    monkeypatch.setattr(writing, "job_headers", broken)
    status, _, body, by_app = await house.says(post(b'{"message":"kept"}'))
    assert (status, body["status"], by_app) == (500, 500, False)
    assert (await house.client.get("/v1/jobs/a")).json()["message"] == "kept"


async def test_only_so_many_heads_are_remembered(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "KNOWN", 2)
    for other in ("X: 1", "X: 2"):
        await house.says(post(b"{}", "a", JSON, other))
    ways = [(await house.says(post(b"{}", "a", JSON, other)))[3] for other in ("X: 1", "X: 2", "X: 3", "X: 2", "X: 1")]
    assert ways == [False, False, True, False, True]


@pytest.mark.parametrize(
    "data",
    [
        post(GOOD)[:-1],
        post(GOOD) + b" ",
        post(GOOD, "a", JSON, "Content-Length: 14"),
        post(GOOD, "a", JSON, "X: a\nContent-Length: 3"),
        post(GOOD, "a", JSON, "X: a\r\n b"),
        post(GOOD, "a", *["DNT: 1"] * heads.MAX_FIELDS),
        post(GOOD, "a/b"),
        post(GOOD, ""),
        post(GOOD).replace(b"Content-Length: 14", b"Content-Length: +14"),
        post(GOOD).replace(b"Content-Length", b"X-Content-Length"),
        post(GOOD).replace(b"POST", b"PUT"),
        post(GOOD).replace(b"POST ", b"POST http://a"),
        b"",
    ],
)
def test_what_is_no_whole_report_or_could_be_taken_for_two_is_like_no_other(data: bytes) -> None:
    assert identify_report(data) is None


def test_a_report_is_known_by_its_head_without_job_length_and_what_no_answer_depends_on() -> None:
    first = identify_report(post(GOOD))
    other = identify_report(post(b"{}", "b", "User-Agent: x", JSON, "X-Request-Id: 7"))
    assert first is not None
    assert other is not None
    assert (first[0].job, first[1], other[0].job, other[1]) == ("a", GOOD, "b", b"{}")
    assert first[0].head == other[0].head
