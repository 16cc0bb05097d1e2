"""`watch` of static/gateway.js in a real Chromium: whatever happens on the way, each job is seen to its end."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.async_api import BrowserContext, Page

from tests.api import create, report
from tests.browser.between import Between
from tests.browser.pages import BOUND, Serve, Troubles, until
from tests.browser.watching import NO_STREAM, Watch, at_gateway, watch
from tests.processes import Server

PROXY = "location / { proxy_pass http://gateway; proxy_buffering off; proxy_read_timeout 1h; }"
# Over HTTP/1.0, where nginx can't tell one chunk from the next, it waits until a buffer is full.
BUFFERING = """
  location / {
    proxy_pass http://gateway; proxy_http_version 1.0; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;
  }
"""
BLOCKED_BY_ACCEPT = """
  location / { if ($http_accept ~ event-stream) { return 403; } proxy_pass http://gateway; }
"""
BLOCKED_BY_PATH = """
  location ~ /events$ { return 404; }
  location / { proxy_pass http://gateway; }
"""
UNAVAILABLE = "location / { return 502; }"
LIFE = ("pending", "running", "paused", "running", "succeeded")
LOAD_FAILED = (r"Failed to load resource", r"EventSource's response", r"ERR_")


async def live(client: httpx.AsyncClient, job: str, watched: Watch) -> None:
    """Lead a job from pending through LIFE, each state after the one before was seen."""
    for state in LIFE[1:]:
        answer = await report(client, job, state=state, progress=20)
        assert answer.status_code == 201, answer.text
        await watched.until_state(state)


def in_order(statuses: list[tuple[str, str, int]]) -> bool:
    """No document twice, and none older than the one before."""
    versions = [version for _, _, version in statuses]
    return versions == sorted(set(versions))


@pytest.mark.parametrize("within", [30.0, pytest.param(1.0, marks=pytest.mark.soak)], ids="{:.0f} s".format)
async def test_every_transition_is_seen_as_it_happens(
    gateway: Server, client: httpx.AsyncClient, page: Page, within: float
) -> None:
    await create(client, "a")
    watched = await watch(await at_gateway(page, gateway.url), "/v1/jobs/a")
    await watched.until_open()
    came = {}
    for state in LIFE[1:]:
        answer = await report(client, "a", state=state)
        came[answer.json()["version"]] = answer.json()["updated"]
    await watched.until_log("end")
    assert [state for _, state, _ in await watched.statuses()] == list(LIFE)
    late = await page.evaluate(
        """(updated) => window.watches.a.log.filter(([kind]) => kind === "status")
          .map(([, at, job]) => at - Date.parse(updated[job.version] ?? job.updated))
          .slice(1)""",
        came,
    )
    assert max(late) < within * 1000, late
    assert await watched.transports() == ["eventsource"]
    assert (await watched.connection())["state"] == "closed"


async def test_a_token_goes_into_the_header_of_a_streaming_fetch_and_nowhere_else(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await create(client, "a")
    asked: list[tuple[str, str | None]] = []
    page.on("request", lambda request: asked.append((request.url, request.headers.get("authorization"))))
    watched = await watch(await at_gateway(page, gateway.url), "/v1/jobs/a", token="s3cret")
    await watched.until_open("fetch")
    await live(client, "a", watched)
    await watched.until_log("end")
    streams = [(url, header) for url, header in asked if "/v1/" in url]
    assert streams
    assert all(header == "Bearer s3cret" for _, header in streams)
    assert not any("s3cret" in url for url, _ in asked)


@pytest.mark.parametrize("url", ["/v1/jobs/a", "/v1/events?label=team:geo", "/v1/events?job=a&job=b"])
async def test_a_gateway_killed_in_mid_job_is_found_again_and_nothing_is_missed(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles, url: str
) -> None:
    troubles.expect(*LOAD_FAILED)
    await create(client, "a", labels={"team": "geo"})
    watched = await watch(await at_gateway(page, gateway.url), url)
    await watched.until_open()
    await report(client, "a", state="running")
    await watched.until_state("running")
    gateway.kill()
    await watched.until_log("connection", lambda state: state["state"] == "waiting")
    gateway.start()
    async with httpx.AsyncClient(base_url=gateway.url, timeout=BOUND, trust_env=False) as again:
        for state in LIFE[2:]:
            await report(again, "a", state=state)
    await watched.until_state("succeeded")
    statuses = await watched.statuses()
    assert [state for _, state, _ in statuses] == list(LIFE)
    assert in_order(statuses)


@pytest.mark.parametrize("config", [BUFFERING, BLOCKED_BY_ACCEPT], ids=["buffering", "blocked by accept"])
@pytest.mark.parametrize("url", ["/v1/jobs/a", "/v1/events?label=team:geo", "/v1/events?job=a&job=b&job=c&job=d"])
async def test_where_no_stream_gets_through_requests_take_its_place_and_it_comes_back(
    gateway: Server, page: Page, between: Between, troubles: Troubles, url: str, config: str
) -> None:
    troubles.expect(*LOAD_FAILED)
    nginx = await between.nginx(gateway.url, config)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=BOUND, trust_env=False) as client:
        await create(client, "a", labels={"team": "geo"})
        watched = await watch(await at_gateway(page, nginx.url), url, timing=NO_STREAM)
        await watched.until_open("poll")
        for state in ("running", "paused"):  # at once, so that requests alone can't see both
            await report(client, "a", state=state)
        await watched.until_state("paused")
        await nginx.change(PROXY)
        await watched.until_open("eventsource")
        await report(client, "a", state="running")
        await report(client, "a", state="succeeded")
    await watched.until_state("succeeded")
    statuses = await watched.statuses()
    assert [state for _, state, _ in statuses] == list(LIFE)
    assert in_order(statuses)
    assert await watched.transports() == ["poll", "eventsource"]


async def test_where_even_the_history_is_blocked_the_newest_document_is_seen(
    gateway: Server, client: httpx.AsyncClient, page: Page, between: Between, troubles: Troubles
) -> None:
    troubles.expect(*LOAD_FAILED)
    nginx = await between.nginx(gateway.url, BLOCKED_BY_PATH)
    await create(client, "a")
    watched = await watch(await at_gateway(page, nginx.url), "/v1/jobs/a")
    await watched.until_open("poll")
    await live(client, "a", watched)
    await watched.until_log("end")
    assert in_order(await watched.statuses())
    assert await watched.transports() == ["poll"]


async def test_a_proxy_that_answers_502_for_a_while_is_borne(
    gateway: Server, client: httpx.AsyncClient, page: Page, between: Between, troubles: Troubles
) -> None:
    troubles.expect(*LOAD_FAILED)
    nginx = await between.nginx(gateway.url, PROXY)
    await create(client, "a")
    watched = await watch(await at_gateway(page, nginx.url), "/v1/jobs/a")
    await watched.until_open("eventsource")
    await nginx.change(UNAVAILABLE)
    await watched.until_log("connection", lambda state: "502" in (state["trouble"] or ""))
    for state in LIFE[1:-1]:
        await report(client, "a", state=state)
    await nginx.change(PROXY)
    await watched.until_state("paused")
    await watched.until_open("eventsource")
    await report(client, "a", state="succeeded")
    await watched.until_log("end")
    assert [state for _, state, _ in await watched.statuses()] == list(LIFE)


async def test_a_connection_that_falls_silent_is_given_up(
    gateway: Server, client: httpx.AsyncClient, page: Page, between: Between, troubles: Troubles
) -> None:
    troubles.expect(*LOAD_FAILED)
    relay = await between.relay(gateway.url)
    await create(client, "a")
    watched = await watch(await at_gateway(page, relay.url), "/v1/jobs/a", timing={**NO_STREAM, "silence": 2000})
    await watched.until_open("eventsource")
    relay.hold()
    await watched.until_log("connection", lambda state: state["transport"] == "poll")
    await report(client, "a", state="running")
    relay.go_on()
    await watched.until_state("running")
    await watched.until_open("eventsource")


async def test_ten_tabs_hold_one_connection_and_another_leads_when_the_leading_one_closes(
    tmp_path: Path, context: BrowserContext, served: Serve
) -> None:
    async with served(tmp_path) as at:
        await create(at.client, "a")
        await create(at.client, "b")
        streams = at.app.state.gateway.streams
        pages = [await at_gateway(await context.new_page(), str(at.client.base_url)) for _ in range(10)]
        watches = [await watch(page, f"/v1/jobs/{'ab'[n % 2]}", f"tab {n}") for n, page in enumerate(pages)]
        for watched in watches:
            await watched.until_open()
        await until(lambda: len(streams) == 1, "one connection")
        leads = [not (await watched.connection())["shared"] for watched in watches]
        assert leads.count(True) == 1
        leader = leads.index(True)
        for job in "ab":
            await report(at.client, job, state="running")
        for watched in watches:
            await watched.until_state("running")
        await pages[leader].close()
        for job in "ab":
            for state in LIFE[2:]:
                await report(at.client, job, state=state)
        left = [watched for n, watched in enumerate(watches) if n != leader]
        for watched in left:
            await watched.until_log("end")
            assert [state for _, state, _ in await watched.statuses()] == list(LIFE)


async def test_tabs_with_the_same_list_share_its_stream_and_late_ones_see_all_of_it(
    tmp_path: Path, context: BrowserContext, served: Serve
) -> None:
    async with served(tmp_path) as at:
        streams = at.app.state.gateway.streams
        for job in "abc":
            await create(at.client, job, state="running")
        first = await watch(
            await at_gateway(await context.new_page(), str(at.client.base_url)), "/v1/events?state=running"
        )
        await first.until_open()
        await report(at.client, "a", progress=5)
        second = await watch(
            await at_gateway(await context.new_page(), str(at.client.base_url)), "/v1/events?state=running"
        )
        (sync,) = await second.until_log("sync", lambda sync: sync["shown"] is not None)
        assert (sync["shown"], sync["matched"]) == (3, 3)
        await until(lambda: len(streams) == 1, "one stream")
        await report(at.client, "b", state="succeeded")
        for watched in (first, second):
            await watched.until_state("succeeded")
        assert (await second.statuses())[-1] == ("transition", "succeeded", 2)
        for watched in (first, second):
            await watched.close()
        await until(lambda: not streams, "nobody watches, and nothing is open")


async def test_jobs_that_join_later_ride_on_the_same_stream(tmp_path: Path, page: Page, served: Serve) -> None:
    async with served(tmp_path) as at:
        streams = at.app.state.gateway.streams
        await at_gateway(page, str(at.client.base_url))
        watches = []
        for job in "abcdef":
            await create(at.client, job)
            watches.append(await watch(page, f"/v1/jobs/{job}", job))
            for other in "abcdef"[: len(watches)]:
                await report(at.client, other, progress=len(watches))
        for watched, job in zip(watches, "abcdef", strict=True):
            await watched.until_open()
            await report(at.client, job, state="succeeded")
        for watched in watches:
            await watched.until_log("end")
            assert in_order(await watched.statuses())
        await until(lambda: len(streams) <= 1, "the one stream")


async def test_a_job_that_does_not_exist_yet_is_shown_once_it_does(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect(*LOAD_FAILED)  # the look at the job that is missing
    watched = await watch(await at_gateway(page, gateway.url), "/v1/jobs/a")
    assert await watched.until_log("missing") == [["default/a"]]
    await create(client, "a", state="running")
    await watched.until_state("running")


async def test_ends_are_told_apart(gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles) -> None:
    troubles.expect(*LOAD_FAILED)
    await at_gateway(page, gateway.url)
    for job, state in (("a", "succeeded"), ("b", "failed")):
        await create(client, job)
        await report(client, job, state=state)
    await client.delete("/v1/jobs/b")
    ended = await watch(page, "/v1/jobs/a", "a")
    deleted = await watch(page, "/v1/jobs/b", "b")
    (end,) = await ended.until_log("end")
    assert (end["reason"], end["job"]["state"]) == ("terminal", "succeeded")
    (end,) = await deleted.until_log("end")
    assert end["reason"] == "deleted"
