"""`GET /v1/events` as JSON: pages of what happened to many jobs, from which a poller learns all that a stream tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway import past
from gateway.errors import Compacted
from gateway.eventlog.base import RecordPage
from gateway.eventlog.retention import Retention
from gateway.past import happened, news
from gateway.record import Filter
from gateway.service import Gateway
from tests.api import NDJSON, WAIT, Served, app_of, create, document, problem, report, served
from tests.raw import connected

PAGE = {"Accept": "application/json"}
LINES = {"Accept": "application/x-ndjson"}
Item = dict[str, Any]
PLENTY = 200  # pages that no test needs


@pytest.fixture
async def at(tmp_path: Path, under: str) -> AsyncIterator[Served]:
    async with served(tmp_path, under=under) as found:
        yield found


@pytest.fixture
async def client(at: Served) -> httpx.AsyncClient:
    return at.client


async def page(client: httpx.AsyncClient, query: str = "") -> Item:
    response = await client.get(f"/v1/events?{query}", headers=PAGE)
    assert response.status_code == 200, response.text
    return document(response)


async def pages(
    client: httpx.AsyncClient, query: str = "", after: str = "earliest"
) -> tuple[list[dict[str, Any]], str]:
    """All records from there on, and the head behind them."""
    records: list[dict[str, Any]] = []
    for _ in range(PLENTY):
        found = await page(client, f"{query}&after={after}")
        records += found["records"]
        after = found["next"] or found["head"]
        if found["next"] is None:
            return records, after
    raise AssertionError(f"no end in {PLENTY} pages")


async def lives(client: httpx.AsyncClient) -> None:
    """Jobs of two workspaces that come to match and cease to; one is deleted."""
    await create(client, "a", process="p", labels={"team": "geo"})
    await create(client, "b", process="q")
    await client.post("/v1/jobs?workspace=w", json={"id": "c", "state": "running", "labels": {"team": "geo"}})
    for job in ("a", "b"):
        await report(client, job, state="running")
        await report(client, job, progress=10, message="half")
    await report(client, "a", labels={"team": None})
    await report(client, "b", state="failed", error="broken")
    await report(client, "a", state="succeeded", result=1)
    await client.delete("/v1/jobs/b")


QUERIES = ["", "state=running", "state=failed&state=succeeded", "process=p", "workspace=w", "label=team:geo", "name=a",
           "job=a", "job=b&job=w/c", "workspace=default&job=a&job=new", "state=running&omit=steps,details"]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_pages_tell_what_the_stream_tells_in_the_same_order(at: Served, query: str, limit: int) -> None:
    await lives(at.client)
    records, _ = await pages(at.client, f"{query}&limit={limit}")
    streamed = []
    url = f"/v1/events?{query}&after=earliest"
    async with asyncio.timeout(WAIT), at.client.stream("GET", url, headers=LINES) as response:
        async for line in response.aiter_lines():
            frame = orjson.loads(line)
            if frame["event"] in ("sync", "end"):
                break
            streamed.append(frame)
    assert [(record["event"], record["position"], record["job"]) for record in records] == [
        (frame["event"], frame["id"], frame["data"]) for frame in streamed
    ]
    assert records


async def test_an_item_looks_as_in_the_history_of_its_job(client: httpx.AsyncClient) -> None:
    await lives(client)
    history = document(await client.get("/v1/jobs/a/events", headers=PAGE))["records"]
    assert [record for record in (await page(client))["records"] if record["job"]["id"] == "a"] == history


async def test_a_deleted_job_is_told_as_gone_and_nothing_of_it_is_shown_any_more(client: httpx.AsyncClient) -> None:
    await lives(client)
    records = (await page(client, "job=b"))["records"]
    position = records[0]["position"]
    gone = {"id": "b", "workspace": "default", "position": position}
    assert records == [{"event": "deleted", "position": position, "by": "anonymous", "job": gone}]


async def test_list_and_pages_together_miss_nothing_and_show_nothing_twice(client: httpx.AsyncClient) -> None:
    await lives(client)
    listed = document(await client.get("/v1/jobs"))
    assert await pages(client, after=listed["head"]) == ([], listed["head"])
    await create(client, "d")
    first, head = await pages(client, "limit=1", listed["head"])
    await report(client, "d", state="running")
    second, _ = await pages(client, "limit=1", head)
    assert [(record["job"]["id"], record["job"]["version"]) for record in first + second] == [("d", 1), ("d", 2)]


async def test_nothing_happened_yet_is_an_empty_page_from_which_one_may_go_on(client: httpx.AsyncClient) -> None:
    empty = await page(client)
    assert (empty["records"], empty["next"]) == ([], None)
    assert (await page(client, f"after={empty['head']}&job=to-come"))["records"] == []
    await create(client, "to-come")
    found = await page(client, f"after={empty['head']}&job=to-come")
    assert [record["job"]["id"] for record in found["records"]] == ["to-come"]


async def test_head_of_a_page_has_no_body(client: httpx.AsyncClient) -> None:
    response = await client.head("/v1/events", headers=PAGE)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1"])
async def test_a_senseless_limit_is_400(client: httpx.AsyncClient, limit: str) -> None:
    problem(await client.get(f"/v1/events?limit={limit}", headers=PAGE), 400, "invalid-request", "limit")


async def test_a_position_ahead_of_the_log_is_410_with_what_is_oldest(client: httpx.AsyncClient) -> None:
    epoch = (await page(client))["head"].partition("-")[0]
    response = await client.get(f"/v1/events?after={epoch}-999", headers=PAGE)
    found = problem(response, 410, "compacted")
    assert (found["reason"], found["oldest"]) == ("ahead", f"{epoch}-0")


async def test_a_filter_that_matches_next_to_nothing_gets_a_page_soon_and_a_place_to_go_on(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "PAGE_SECONDS", -1.0)  # as if one read had taken all the time there is
    monkeypatch.setattr(past, "READ_RECORDS", 10)
    lines = b"".join(b'{"job":"job-%d"}\n' % n for n in range(95))
    await client.post("/v1/events", content=lines + b'{"job":"seldom","process":"seldom"}\n', headers=NDJSON)
    empty = await page(client, "process=seldom&limit=1000")
    assert empty["records"] == []
    assert empty["next"].endswith("-10")
    records, _ = await pages(client, "process=seldom&limit=1000")
    assert [record["job"]["id"] for record in records] == ["seldom"]


async def test_a_page_of_large_documents_ends_early_and_the_next_goes_on(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "PAGE_BYTES", 20_000)
    for number in range(6):
        await create(client, f"job-{number}", details={"large": "x" * 9_000})
    first = await page(client, "limit=1000")
    assert len(first["records"]) == 3
    records, _ = await pages(client, "limit=1000")
    assert [record["job"]["id"] for record in records] == [f"job-{number}" for number in range(6)]


# ---- Prefer: wait ----


async def asking(client: httpx.AsyncClient, query: str, wait: str = "60") -> asyncio.Task[httpx.Response]:
    """A request that waits, once the gateway has hung up its bell."""
    hub = app_of(client).state.gateway.hub
    before = len(hub)
    task = asyncio.create_task(client.get(f"/v1/events?{query}", headers={**PAGE, "Prefer": f"wait={wait}"}))
    async with asyncio.timeout(WAIT):
        while len(hub) == before and not task.done():
            await asyncio.sleep(0.005)
    return task


async def test_who_waits_is_told_as_soon_as_something_happens_that_concerns_the_filter(
    client: httpx.AsyncClient,
) -> None:
    await create(client)
    head = (await page(client))["head"]
    waiting = await asking(client, f"state=running&after={head}")
    await create(client, "b")  # which is none of it
    changed = await report(client, state="running")
    response = await asyncio.wait_for(waiting, WAIT)
    assert response.headers["preference-applied"] == "wait=60"
    assert [record["job"] for record in document(response)["records"]] == [document(changed)]
    assert not len(app_of(client).state.gateway.hub)


async def test_who_waits_in_vain_is_told_so_when_the_time_is_over_and_from_where_to_go_on(
    client: httpx.AsyncClient,
) -> None:
    await create(client)
    head = (await page(client))["head"]
    waiting = await asking(client, f"state=failed&after={head}", "1")
    other = await report(client, state="running")
    found = document(await asyncio.wait_for(waiting, WAIT))
    assert (found["records"], found["next"], found["head"]) == ([], None, document(other)["position"])


async def test_who_has_something_to_read_does_not_wait(client: httpx.AsyncClient) -> None:
    await create(client)
    waiting = await asking(client, "after=earliest")
    response = await asyncio.wait_for(waiting, WAIT)
    assert [record["job"]["id"] for record in document(response)["records"]] == ["a"]


async def test_who_waits_misses_nothing_however_the_two_race(client: httpx.AsyncClient) -> None:
    await create(client)
    after = (await page(client))["head"]
    for progress in range(1, 31):
        headers = {**PAGE, "Prefer": "wait=60"}
        waiting = asyncio.create_task(client.get(f"/v1/events?job=a&after={after}", headers=headers))
        for _ in range(progress % 5):
            await asyncio.sleep(0)
        await report(client, progress=progress)
        found = document(await asyncio.wait_for(waiting, WAIT))
        assert [record["job"]["progress"] for record in found["records"]] == [progress]
        after = found["head"]


async def test_who_waits_when_the_gateway_ends_is_answered(client: httpx.AsyncClient) -> None:
    await create(client)
    gateway = app_of(client).state.gateway
    head = (await page(client))["head"]
    waiting = await asking(client, f"after={head}")
    assert len(gateway.hub)
    await gateway.hub.beat()  # which is not what it waits for
    assert not waiting.done()
    gateway.drain()
    assert document(await asyncio.wait_for(waiting, WAIT))["records"] == []
    again = await asyncio.wait_for(await asking(client, f"after={head}"), WAIT)
    assert document(again)["records"] == []


@pytest.mark.parametrize("under", ["ours"])
@pytest.mark.parametrize("address", ["/v1/jobs/a", "/v1/events?name=none"])
async def test_nothing_waits_for_a_reader_who_has_left(at: Served, address: str) -> None:
    standing = await create(at.client)
    gateway = at.app.state.gateway
    fields = f"Accept: application/json\r\nPrefer: wait=60\r\nIf-None-Match: {standing['position']}"
    async with connected(at.port, f"GET {address} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n".encode()) as raw:
        for there in (True, False):
            async with asyncio.timeout(WAIT):
                while bool(gateway.hub._waiting) is not there:
                    await asyncio.sleep(0.005)
            raw.writer.transport.abort()
    assert not len(gateway.hub)


# ---- what is taken away, and what comes while a page is read ----


async def compact(gateway: Gateway) -> None:
    """Let the progress of finished jobs go."""
    late = datetime.now(UTC) + timedelta(seconds=10)
    while await gateway.log.tend(Retention(progress=1, age=0), late):
        pass


async def test_what_has_been_compacted_is_410_and_the_earliest_begins_behind_it(client: httpx.AsyncClient) -> None:
    gateway = app_of(client).state.gateway
    begin = (await page(client))["head"]
    await lives(client)
    await compact(gateway)
    found = problem(await client.get(f"/v1/events?after={begin}", headers=PAGE), 410, "compacted")
    assert (found["reason"], found["oldest"]) == ("expired", gateway.log.position(gateway.log.floor))
    for query in ("", "after=earliest", "after="):
        records = (await page(client, query))["records"]
        assert records
        assert all(int(record["position"].partition("-")[2]) > gateway.log.floor for record in records)
    assert await pages(client, after=found["oldest"]) == await pages(client)


class Interrupted:
    """A log at whose first read something happens: before what is read, or after it."""

    def __init__(self, log: Any, what: Callable[[], Awaitable[Any]], before: bool) -> None:
        self._log, self._what, self._before = log, what, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, *asked: Any) -> RecordPage:
        what, self._what = self._what, nothing
        if self._before:
            await what()
        found: RecordPage = await self._log.read(*asked)
        if not self._before:
            await what()
        return found


async def nothing() -> None:
    """No more of it."""


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    async with served(tmp_path) as found:
        await lives(found.client)
        yield found.app.state.gateway, found.client


async def test_a_page_from_which_compaction_took_something_while_it_was_read_is_not_shown_as_whole(
    gateway: tuple[Gateway, httpx.AsyncClient],
) -> None:
    it, _ = gateway
    log: Any = Interrupted(it.log, lambda: compact(it), before=True)
    with pytest.raises(Compacted):
        await happened(log, it.hub.admission, Filter(), it.log.position(1), 1000)


async def test_the_earliest_is_what_is_whole_after_it_was_read(gateway: tuple[Gateway, httpx.AsyncClient]) -> None:
    it, client = gateway
    log: Any = Interrupted(it.log, lambda: compact(it), before=False)
    found = await happened(log, it.hub.admission, Filter(), None, 1)
    assert it.log.floor > 1
    assert not found.records
    assert found.next is not None
    assert (await pages(client, after=found.next))[0] == (await page(client))["records"] != []


async def test_what_comes_while_a_page_is_read_is_left_to_the_next(
    gateway: tuple[Gateway, httpx.AsyncClient],
) -> None:
    it, client = gateway
    known = it.log.position(it.log.head)
    log: Any = Interrupted(it.log, lambda: create(client, "x"), before=True)
    first = await happened(log, it.hub.admission, Filter(), None, 1000)
    assert (first.next, first.head) == (None, known)
    assert first.records[-1].position == known
    second = await happened(it.log, it.hub.admission, Filter(), first.head, 1000)
    assert [record.job.id for record in second.records] == ["x"]


async def test_who_waits_is_not_sent_away_by_what_does_not_concern_the_filter(
    gateway: tuple[Gateway, httpx.AsyncClient],
) -> None:
    it, client = gateway
    log: Any = Interrupted(it.log, lambda: create(client, "x"), before=False)
    waiting = asyncio.create_task(news(log, it.hub, Filter(names=frozenset({"wanted"})), it.log.position(1), 10, WAIT))
    async with asyncio.timeout(WAIT):
        while not len(it.hub) and not waiting.done():
            await asyncio.sleep(0.005)
    await create(client, "wanted")
    assert [record.key[1] for record in (await asyncio.wait_for(waiting, WAIT)).records] == ["wanted"]


async def test_who_is_about_to_wait_when_the_gateway_ends_is_answered(
    gateway: tuple[Gateway, httpx.AsyncClient],
) -> None:
    it, _ = gateway

    async def end() -> None:
        it.drain()

    log: Any = Interrupted(it.log, end, before=False)
    looking = news(log, it.hub, Filter(names=frozenset({"none"})), it.log.position(1), 10, 10 * WAIT)
    assert not (await asyncio.wait_for(looking, WAIT)).records
