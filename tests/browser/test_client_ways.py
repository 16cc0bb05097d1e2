"""The smaller promises of `watch`: ends and refusals, other origins, overload, the iterator, many jobs at once."""

from __future__ import annotations

from pathlib import Path

import httpx
import orjson
import pytest
from playwright.async_api import Page

from gateway import frames
from tests.api import create, report
from tests.browser.between import Between
from tests.browser.pages import BOUND, Serve, Troubles, until
from tests.browser.test_client import BLOCKED_BY_ACCEPT, BUFFERING, LOAD_FAILED
from tests.browser.watching import NO_STREAM, at_gateway, watch
from tests.processes import Server, serving

ITERATE = """async ([url, wanted]) => {
  const { watch } = await import(new URL("/static/gateway.js", location.href).href);
  const states = [];
  const watcher = watch(url);
  for await (const { job, change } of watcher) {
    states.push(`${change.event} ${job.state}`);
    window.states = states;
    if (job.state === wanted) break;
  }
  return { states, closed: watcher.closed, state: watcher.connection.state };
}"""


async def test_the_iterator_gives_each_document_and_ends_with_the_job(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await create(client, "a")
    await at_gateway(page, gateway.url)
    await page.evaluate(f"window.done = ({ITERATE})(['/v1/jobs/a', 'none']); 0")
    await page.wait_for_function("() => window.states?.length === 1")
    for state in ("running", "failed"):
        await report(client, "a", state=state)
    assert await page.evaluate("window.done") == {
        "states": ["snapshot pending", "transition running", "transition failed"],
        "closed": True,
        "state": "closed",
    }


async def test_whoever_leaves_the_iterator_leaves_the_stream(tmp_path: Path, page: Page, served: Serve) -> None:
    async with served(tmp_path) as at:
        await create(at.client, "a")
        await at_gateway(page, str(at.client.base_url))
        found = await page.evaluate(ITERATE, ["/v1/jobs/a", "pending"])
        assert found == {"states": ["snapshot pending"], "closed": True, "state": "closed"}
        await until(lambda: not at.app.state.gateway.streams, "the stream is closed")


async def test_a_signal_closes_a_watch_and_nothing_is_called_after_it(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await create(client, "a")
    other = await watch(await at_gateway(page, gateway.url), "/v1/jobs/a", "other")
    calls = await page.evaluate(
        """async () => {
          const { watch } = await import("/static/gateway.js");
          const abort = new AbortController();
          const calls = window.calls = [];
          await new Promise((resolve) => {
            const onStatus = (job) => { calls.push(job.state); resolve(); };
            watch("/v1/jobs/a", { onStatus, onEnd: () => calls.push("end"), signal: abort.signal });
          });
          abort.abort();
          watch("/v1/jobs/a", { onStatus: () => calls.push("late"), signal: abort.signal });
          return calls.length;
        }"""
    )
    assert calls == 1
    await report(client, "a", state="succeeded")
    await other.until_log("end")
    assert await page.evaluate("window.calls") == ["pending"]


async def test_a_mistake_in_one_callback_costs_no_other_its_news(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect("a mistake")
    await create(client, "a")
    await at_gateway(page, gateway.url)
    await page.evaluate(
        """async () => {
          const { watch } = await import("/static/gateway.js");
          watch("/v1/jobs/a", { onStatus: () => { throw new Error("a mistake"); } });
        }"""
    )
    watched = await watch(page, "/v1/jobs/a")
    await report(client, "a", state="succeeded")
    await watched.until_log("end")
    await until(lambda: any("a mistake" in text for text in troubles.seen), "the mistake is reported")


@pytest.mark.parametrize("case", [(401, "unauthorized"), (403, "unauthorized"), (400, "refused")])
@pytest.mark.parametrize("url", ["/v1/jobs/a", "/v1/events?state=running"])
async def test_a_refusal_ends_the_watch_with_its_reason(
    gateway: Server, between: Between, page: Page, troubles: Troubles, url: str, case: tuple[int, str]
) -> None:
    status, reason = case
    troubles.expect(*LOAD_FAILED)
    config = f"location /v1/ {{ return {status}; }} location / {{ proxy_pass http://gateway; }}"
    nginx = await between.nginx(gateway.url, config)
    watched = await watch(await at_gateway(page, nginx.url), url)
    (end,) = await watched.until_log("end")
    assert (end["reason"], end["problem"]["status"]) == (reason, status)
    assert (await watched.connection())["state"] == "closed"


async def test_an_overloaded_gateway_is_left_alone_for_as_long_as_it_asks(
    tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch, served: Serve
) -> None:
    monkeypatch.setattr(frames, "BUSY_MS", (700, 700))
    async with served(tmp_path, max_streams=1) as at:
        await create(at.client, "a")
        async with at.client.stream("GET", "/v1/events", headers={"Accept": "text/event-stream"}):
            watched = await watch(await at_gateway(page, str(at.client.base_url)), "/v1/jobs/a")
            (state,) = await watched.until_log("connection", lambda state: state["state"] == "waiting")
            assert state["trouble"] == "the gateway is busy"
            assert await page.evaluate("(at) => at - Date.now()", state["retryAt"]) <= 900
        await watched.until_open("eventsource")
        await watched.until_state("pending")
        calls = [(at, values[0]) for kind, at, *values in await watched.log() if kind == "connection"]
        waits = [at for at, state in calls if state["state"] == "waiting"]
        tries = [at for at, state in calls if state["state"] == "connecting"]
        assert all(after - before >= 690 for before, after in zip(waits, tries[1:], strict=False)), calls
        await watched.close()
        await until(lambda: not at.app.state.gateway.streams, "the stream is closed")


@pytest.mark.parametrize("token", [None, "t"])
async def test_a_page_of_an_allowed_origin_follows_a_job_and_another_does_not(
    tmp_path: Path, between: Between, page: Page, troubles: Troubles, token: str | None
) -> None:
    html = "<!doctype html><link rel=icon href=data:,>"
    friend, stranger = [await between.origin({"/": html}) for _ in range(2)]
    static = await between.static()
    for origin in (friend, stranger):
        origin.files.update(static.files)
    more = {} if token is None else {"token": token}
    with serving(tmp_path / "status.db", "--allowed-origins", friend.url) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=BOUND, trust_env=False) as client:
            await create(client, "a")
            await page.goto(friend.url)
            watched = await watch(page, f"{gateway.url}/v1/jobs/a", **more)
            await watched.until_open("fetch" if token else "eventsource")
            await report(client, "a", state="succeeded")
            await watched.until_log("end")
            assert await watched.states() == ["pending", "succeeded"]
            troubles.expect(*LOAD_FAILED, "CORS")
            await page.goto(stranger.url)
            watched = await watch(page, f"{gateway.url}/v1/jobs/a", **more)
            await watched.until_log("connection", lambda state: state["state"] == "waiting")
            assert await watched.statuses() == []


async def test_hundreds_of_jobs_ride_on_a_few_streams(tmp_path: Path, page: Page, served: Serve) -> None:
    count = 450
    async with served(tmp_path) as at:
        lines = b"".join(b'{"job":"job-%03d","state":"running"}\n' % n for n in range(count))
        kind = {"Content-Type": "application/x-ndjson"}
        await at.client.post("/v1/events", content=lines, headers=kind)
        await at_gateway(page, str(at.client.base_url))
        await page.evaluate(
            """async (count) => {
              const { watch } = await import("/static/gateway.js");
              window.ended = 0;
              window.shown = 0;
              for (let n = 0; n < count; n += 1) {
                watch(`/v1/jobs/job-${String(n).padStart(3, "0")}`, {
                  onStatus: (job) => { window.shown += job.state === "running"; },
                  onEnd: () => { window.ended += 1; },
                });
              }
            }""",
            count,
        )
        await page.wait_for_function("(count) => window.shown === count", arg=count)
        assert len(at.app.state.gateway.streams) == 3
        lines = lines.replace(b"running", b"succeeded")
        await at.client.post("/v1/events", content=lines, headers=kind)
        await page.wait_for_function("(count) => window.ended === count", arg=count)
        await until(lambda: not at.app.state.gateway.streams, "all streams are closed")


async def test_a_list_notices_without_a_stream_what_came_left_and_was_deleted(
    gateway: Server, client: httpx.AsyncClient, page: Page, between: Between, troubles: Troubles
) -> None:
    troubles.expect(*LOAD_FAILED)
    nginx = await between.nginx(gateway.url, BUFFERING)
    for job in ("stays", "leaves", "goes"):
        await create(client, job, state="running")
    await report(client, "goes", state="failed")
    await at_gateway(page, nginx.url)
    watched = await watch(page, "/v1/events?state=running&state=failed", timing={**NO_STREAM, "back": [60_000]})
    await watched.until_open("poll")
    assert {state for _, state, _ in await watched.statuses()} == {"running", "failed"}
    await client.delete("/v1/jobs/goes")
    await report(client, "leaves", state="succeeded")
    await create(client, "quick", state="running")  # came and left between two looks
    await report(client, "quick", state="succeeded")
    await watched.until_log("status", lambda job, change: change["event"] == "deleted" and job["id"] == "goes")
    await watched.until_log("status", lambda job, _: (job["id"], job.get("state")) == ("leaves", "succeeded"))
    for state in ("running", "succeeded"):
        await watched.until_log("status", lambda job, _, state=state: (job["id"], job.get("state")) == ("quick", state))
    await report(client, "stays", progress=5)
    await watched.until_log("status", lambda job, _: job.get("progress") == 5)
    assert len(await watched.statuses()) == 3 + 1 + 1 + 2 + 1


async def transitions_since(client: httpx.AsyncClient, after: str) -> list[list[str]]:
    """Key and position of each, in order, as the gateway's own pages tell them."""
    found: list[list[str]] = []
    for _ in range(100):
        answer = await client.get(f"/v1/events?limit=1000&after={after}", headers={"Accept": "application/json"})
        page = answer.json()
        found += [
            [f"{record['job']['workspace']}/{record['job']['id']}", record["position"]]
            for record in page["records"]
            if record["event"] == "transition"
        ]
        if page["next"] is None:
            return found
        after = page["next"]
    raise AssertionError("no end of pages")


async def test_of_any_number_of_jobs_each_transition_comes_once_and_in_order_without_a_stream(
    gateway: Server, client: httpx.AsyncClient, page: Page, between: Between, troubles: Troubles
) -> None:
    count = 1500  # more than a list shows
    troubles.expect(*LOAD_FAILED)
    nginx = await between.nginx(gateway.url, BLOCKED_BY_ACCEPT)
    jobs = [f"job-{number}" for number in range(count)]

    async def say(state: str) -> None:
        lines = b"".join(orjson.dumps({"job": job, "state": state}) + b"\n" for job in jobs)
        answer = await client.post("/v1/events", content=lines, headers={"Content-Type": "application/x-ndjson"})
        assert answer.status_code == 200

    await say("running")
    begin = (await client.get("/v1/jobs?limit=1")).json()["head"]
    await at_gateway(page, nginx.url)
    await page.evaluate(
        """async () => {
          const { watch } = await import("/static/gateway.js");
          window.told = [];
          const timing = { first: 1500, back: [60_000], base: 200, cap: 1000, look: 300 };
          const onStatus = (job, { event, key, position }) => {
            if (event === "transition") window.told.push([key, position]);
          };
          window.watcher = watch("/v1/events?state=running&state=paused", { onStatus, timing });
        }"""
    )
    await page.wait_for_function("() => window.watcher.connection.state === 'open'")
    for state in ("paused", "running", "succeeded"):
        await say(state)
    owed = await transitions_since(client, begin)
    assert len(owed) == 3 * count
    await page.wait_for_function("(count) => window.told.length >= count", arg=len(owed))
    assert await page.evaluate("window.told") == owed
    assert await page.evaluate("window.watcher.connection.transport") == "poll"
