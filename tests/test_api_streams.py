"""Streams over real sockets: how they begin, what a cursor means, how they end. What flows in them is test_stream's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.api import SSE, WAIT, Served, create, document, frames_until, problem, report, served

FOREIGN = "aaaaaaaa-1"
EVENTS = "/v1/jobs/a/events"


@pytest.fixture
async def at(tmp_path: Path, under: str) -> AsyncIterator[Served]:
    async with served(tmp_path, under=under) as found:
        await create(found.client)
        yield found


@asynccontextmanager
async def opened(at: Served, path: str = EVENTS, **options: Any) -> AsyncIterator[httpx.Response]:
    async with asyncio.timeout(WAIT), at.client.stream("GET", path, **options) as response:
        yield response


async def lines(response: httpx.Response, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for line in response.aiter_lines():
        found.append(orjson.loads(line))
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize(
    "path, headers",
    [
        (EVENTS, {}),
        (EVENTS, {"Accept": "*/*"}),
        (EVENTS, SSE),
        (EVENTS, {"Accept": "application/json;q=0.5, text/event-stream"}),
        ("/v1/jobs/a", SSE),
        ("/v1/jobs/a", {"Accept": "text/event-stream, application/json;q=0.1"}),
        ("/v1/events", {}),
        ("/v1/events?job=a", SSE),
    ],
)
async def test_a_stream_begins_at_once_with_its_headers_and_a_retry(
    at: Served, path: str, headers: dict[str, str]
) -> None:
    async with opened(at, path, headers={**headers, "Accept-Encoding": "gzip"}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["incremental"] == "?1"
        assert response.headers["vary"] == "Accept"
        assert "content-length" not in response.headers
        assert "content-encoding" not in response.headers
        first = await anext(response.aiter_bytes())
        name, _, number = first.partition(b"\n\n")[0].partition(b": ")
        assert name == b"retry"
        assert 2000 <= int(number) <= 5000


async def test_a_fresh_stream_of_one_job_shows_it_and_then_each_change(at: Served) -> None:
    async with opened(at) as response:
        frames = aiter_frames(response)
        snapshot = await anext(frames)
        assert (snapshot["event"], snapshot["data"]) == ("snapshot", document(await at.client.get("/v1/jobs/a")))
        assert (await anext(frames))["event"] == "sync"
        answer = await report(at.client, state="running")
        transition = await anext(frames)
        assert transition["event"] == "transition"
        assert transition["data"] == document(answer)
        assert transition["id"] == document(answer)["position"]


async def aiter_frames(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    frame: dict[str, Any] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            frame[name] = value
        elif frame:
            if "data" in frame:
                yield {**frame, "data": orjson.loads(frame["data"])}
            frame = {}


async def test_the_data_of_a_frame_is_what_get_answers_to_the_byte(at: Served) -> None:
    async with opened(at) as response:
        pieces = response.aiter_bytes()
        await anext(pieces)
        answer = await report(at.client, state="running", message="line\u2028next", details={"x": 2**53})
        seen = b""
        while b"data: " + answer.content + b"\n" not in seen:
            seen += await anext(pieces)
    assert (await at.client.get("/v1/jobs/a")).content == answer.content


async def test_lines_of_json_carry_the_same_frames(at: Served) -> None:
    async with opened(at, headers={"Accept": "application/x-ndjson"}) as response:
        assert response.headers["content-type"].startswith("application/x-ndjson")
        snapshot, sync = await lines(response, 2)
    assert snapshot["event"] == "snapshot"
    assert snapshot["data"] == document(await at.client.get("/v1/jobs/a"))
    assert sync["event"] == "sync"
    assert sync["id"] == sync["data"]["head"]


async def test_a_stream_leaves_bulky_members_out_if_wanted(at: Served) -> None:
    async with opened(at, f"{EVENTS}?omit=steps,details,result") as response:
        frames = await frames_until(response, "snapshot")
    assert not {"steps", "details", "result"} & set(orjson.loads(frames[-1].data))


# ---- cursors ----


@pytest.mark.parametrize(
    "query, header, begins_at",
    [
        ("after={0}", None, 1),
        ("last_event_id={0}", None, 1),
        ("lastEventId={0}", None, 1),
        ("after={1}", None, 2),
        ("after=earliest", None, 0),
        ("", "{1}", 2),
        ("after={0}&last_event_id={0}&lastEventId={0}", "{1}", 2),
        ("after={0}&last_event_id={0}&lastEventId={1}", "", 2),
        ("after={0}&last_event_id={1}&lastEventId=", "", 2),
        ("after={1}&last_event_id=&lastEventId=", "", 2),
    ],
)
async def test_the_cursor_is_the_header_then_the_query_and_what_is_empty_is_absent(
    at: Served, query: str, header: str | None, begins_at: int
) -> None:
    positions = [document(await at.client.get("/v1/jobs/a"))["position"]]
    answers = [await report(at.client, state=state) for state in ("running", "paused", "succeeded")]
    positions += [document(answer)["position"] for answer in answers]
    headers = {} if header is None else {"Last-Event-ID": header.format(*positions)}
    async with opened(at, f"{EVENTS}?{query.format(*positions)}", headers=headers) as response:
        frames = await frames_until(response, "end")
    assert [frame.id for frame in frames if frame.event == "transition"] == positions[begins_at:]
    assert not any(frame.event == "snapshot" for frame in frames)


NO_POSITIONS = [
    b"\xff\xfe",
    b"a" * 10_000,
    b"-1",
    b"18446744073709551616",
    b"abc",
    b"aaaaaaaa-01",
    b"*",
    FOREIGN.encode(),
]


@pytest.mark.parametrize("path", [EVENTS, "/v1/events", "/v1/events?job=a"])
async def test_a_header_that_is_no_position_is_answered_with_a_reset(at: Served, path: str) -> None:
    for header in NO_POSITIONS:
        async with opened(at, path, headers=httpx.Headers([(b"Last-Event-ID", header)])) as response:
            assert response.status_code == 200
            frames = await frames_until(response, "sync")
        assert [frame.event for frame in frames if frame.event != "message"] == ["reset", "snapshot", "sync"]
        reset = next(frame for frame in frames if frame.event == "reset")
        told = orjson.loads(reset.data)
        assert not reset.id
        assert (told["reason"], bool(told["head"]), bool(told["oldest"])) == ("foreign", True, True)


async def test_a_position_ahead_of_the_log_is_answered_with_a_reset(at: Served) -> None:
    epoch = document(await at.client.get("/v1/jobs/a"))["position"].partition("-")[0]
    async with opened(at, headers={"Last-Event-ID": f"{epoch}-999"}) as response:
        frames = await frames_until(response, "reset")
    assert orjson.loads(frames[-1].data)["reason"] == "ahead"


@pytest.mark.parametrize("path", [EVENTS, "/v1/events", "/v1/jobs/a"])
@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_a_malformed_cursor_of_the_query_is_400_in_whatever_form(at: Served, path: str, accept: str) -> None:
    for name in ("lastEventId", "last_event_id", "after"):
        for value in ("abc", "-1", "aaaaaaaa-99999999999999999999", "Earliest"):
            query = {"after": "earliest", name: value}
            response = await at.client.get(path, params=query, headers={"Accept": accept})
            problem(response, 400, "invalid-cursor", name)


async def test_a_foreign_cursor_of_the_query_is_answered_with_a_reset(at: Served) -> None:
    async with opened(at, f"{EVENTS}?after={FOREIGN}") as response:
        assert orjson.loads((await frames_until(response, "reset"))[-1].data)["requested"] == FOREIGN


# ---- the end ----


async def test_a_finished_job_shows_itself_and_ends(at: Served) -> None:
    await report(at.client, state="succeeded")
    async with opened(at) as response:
        body = await response.aread()
    assert [line for line in body.decode().splitlines() if line.startswith("event")] == [
        "event: snapshot",
        "event: end",
    ]


@pytest.mark.parametrize("path", [EVENTS, "/v1/events?job=a", "/v1/events?job=default/a", "/v1/jobs/a"])
async def test_who_has_seen_the_end_gets_204_for_good(at: Served, path: str) -> None:
    last = document(await report(at.client, state="failed"))["position"]
    for _ in range(2):
        response = await at.client.get(path, headers={**SSE, "Last-Event-ID": last})
        assert (response.status_code, response.content) == (204, b"")


async def test_a_stream_of_named_jobs_ends_with_the_last_of_them_also_of_one_to_come(at: Served) -> None:
    async with opened(at, "/v1/events?job=a&job=w/b") as response:
        frames = aiter_frames(response)
        assert [(await anext(frames))["event"] for _ in range(2)] == ["snapshot", "sync"]
        await report(at.client, state="succeeded")
        assert (await anext(frames))["event"] == "transition"
        await at.client.post("/v1/jobs?workspace=w", json={"id": "b"})
        assert (await anext(frames))["data"]["id"] == "b"
        await at.client.post("/v1/jobs/b/events?workspace=w", json={"state": "cancelled"})
        rest = [frame["event"] async for frame in frames]
    assert rest == ["transition", "end"]


async def test_an_unknown_job_has_no_stream(at: Served) -> None:
    problem(await at.client.get("/v1/jobs/nobody/events"), 404, "job-not-found")
    problem(await at.client.get("/v1/jobs/nobody", headers=SSE), 404, "job-not-found")


# ---- what is asked for ----


@pytest.mark.parametrize(
    "query, seen",
    [("", {"a", "b"}), ("state=running", {"b"}), ("workspace=w", {"b"}), ("label=k:v", {"b"}), ("process=p", {"b"}),
     ("job=a", {"a"}), ("job=a&workspace=default", {"a"}), ("workspace=w&job=b", {"b"}), ("name=b&job=w/b", {"b"})],
)  # fmt: skip
async def test_a_stream_over_many_jobs_shows_what_its_filter_means(at: Served, query: str, seen: set[str]) -> None:
    body = {"id": "b", "state": "running", "labels": {"k": "v"}, "process": "p"}
    await at.client.post("/v1/jobs?workspace=w", json=body)
    async with opened(at, f"/v1/events?{query}") as response:
        frames = await frames_until(response, "sync")
    assert {orjson.loads(frame.data)["id"] for frame in frames if frame.event == "snapshot"} == seen


SENSELESS = [
    (f"{EVENTS}?min_interval=-1", "min_interval"),
    (f"{EVENTS}?min_interval=3600001", "min_interval"),
    (f"{EVENTS}?min_interval=x", "min_interval"),
    (f"{EVENTS}?min_interval=", "min_interval"),
    (f"{EVENTS}?min_interval=1&min_interval=2", "min_interval"),
    (f"{EVENTS}?omit=state", "omit"),
    (f"{EVENTS}?state=running", "state"),
    ("/v1/events?job=", "job"),
    ("/v1/events?job=..", "job"),
    ("/v1/events?job=a/b/c", "job"),
    ("/v1/events?job=/a", "job"),
    ("/v1/events?job=W/a", "job"),
    ("/v1/events?job=a%0A", "job"),
    ("/v1/events?workspace=v&workspace=w&" + "&".join(f"job=j{i}" for i in range(101)), "job"),
    ("/v1/events?" + "&".join(f"job=j{i}" for i in range(201)), "job"),
    ("/v1/events?limit=0", "limit"),
    ("/v1/events?jobs=a", "jobs"),
]


async def test_a_stream_that_makes_no_sense_is_400_and_names_the_parameter(at: Served) -> None:
    for path, field in SENSELESS:
        problem(await at.client.get(path, headers=SSE), 400, "invalid-request", field)


async def test_two_hundred_jobs_can_be_named(at: Served) -> None:
    async with opened(at, "/v1/events?" + "&".join(f"job=j{i}" for i in range(200))) as response:
        assert response.status_code == 200
        await frames_until(response, "sync")


@pytest.mark.parametrize("interval", ["0", "3600000"])
async def test_a_reader_may_want_less_or_all_of_the_progress(at: Served, interval: str) -> None:
    await report(at.client, state="running")
    async with opened(at, f"{EVENTS}?min_interval={interval}") as response:
        frames = aiter_frames(response)
        assert [(await anext(frames))["event"] for _ in range(2)] == ["snapshot", "sync"]
        for progress in range(1, 6):
            await report(at.client, progress=progress)
        await report(at.client, state="succeeded")
        seen = [frame["data"]["progress"] async for frame in frames if frame["event"] == "progress"]
    assert seen[-1] == 5.0
    assert seen[0] == 1.0
    assert (len(seen) == 5) == (interval == "0")


@pytest.mark.parametrize("path", [EVENTS, "/v1/jobs/a", "/v1/events", "/v1/events?job=a"])
async def test_head_of_a_stream_gives_its_headers_and_subscribes_nobody(at: Served, path: str) -> None:
    response = await at.client.head(path, headers=SSE)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store, no-transform"
    assert not at.app.state.gateway.streams


async def test_head_of_a_stream_that_has_ended_is_204_and_of_an_unknown_job_404(at: Served) -> None:
    last = document(await report(at.client, state="failed"))["position"]
    assert (await at.client.head(EVENTS, headers={"Last-Event-ID": last})).status_code == 204
    assert (await at.client.head("/v1/jobs/nobody/events")).status_code == 404


async def test_a_reader_that_leaves_is_forgotten(at: Served) -> None:
    async with opened(at) as response:
        await anext(response.aiter_bytes())
        assert len(at.app.state.gateway.streams) == 1
    async with asyncio.timeout(WAIT):
        while at.app.state.gateway.streams:  # the server tells nobody
            await asyncio.sleep(0.005)


async def test_too_many_readers_are_told_to_come_back_later_and_never_refused(tmp_path: Path) -> None:
    async with served(tmp_path, max_streams=1) as at:
        await create(at.client)
        async with opened(at) as first:
            await anext(first.aiter_bytes())
            async with opened(at) as second:
                body = await second.aread()
        assert second.status_code == 200
        assert b"event: busy\n" in body
        assert body.startswith(b"retry: ")
