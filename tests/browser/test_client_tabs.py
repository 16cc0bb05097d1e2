"""Many tabs, one connection: whoever leads may close, crash or freeze, and nobody misses anything."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import httpx
import pytest
from playwright.async_api import BrowserContext, Page, Route

from tests.api import create, report
from tests.browser.between import Between
from tests.browser.pages import Serve, Troubles, until
from tests.browser.test_client import LOAD_FAILED
from tests.browser.watching import Watch, at_gateway, watch

HANG = "(ms) => { const end = performance.now() + ms; while (performance.now() < end); }"
HANG_UNTIL_ANSWERED = """() => {
  const request = new XMLHttpRequest();
  request.open("GET", `${location.origin}/hang`, false); // the whole tab waits for the answer
  request.send();
}"""
PEOPLE, WATCHFUL = 5000, 400  # ms after which the others ask whether the leading tab still answers


async def tab(context: BrowserContext, url: str, lead: int = PEOPLE) -> Watch:
    """A watch in a tab of its own, caught up."""
    page = await at_gateway(await context.new_page(), url)
    watched = await watch(page, "/v1/jobs/a", timing={"lead": lead})
    await watched.until_open()
    return watched


async def leader_of(tabs: list[Watch]) -> Watch:
    """The one that holds the connection."""

    async def leader() -> Watch | None:
        found = [watched for watched in tabs if not (await watched.connection())["shared"]]
        return found[0] if len(found) == 1 else None

    found: Watch = await until(leader, "one tab leads")
    return found


async def alternate(client: httpx.AsyncClient, times: int) -> None:
    """A job that runs and pauses."""
    for _ in range(times):
        for state in ("running", "paused"):
            answer = await report(client, "a", state=state)
            assert answer.status_code == 201, answer.text


async def missed(watched: Watch) -> list[int]:
    """Versions that did not come between the first document and the last; each report here makes a transition."""
    versions = [version for _, _, version in await watched.statuses()]
    return [version for version in range(versions[0], versions[-1]) if versions.count(version) != 1]


@pytest.mark.parametrize("way", ["close", "navigate"])
async def test_when_the_leading_tab_goes_another_takes_over_and_nothing_is_lost(
    tmp_path: Path, context: BrowserContext, way: str, served: Serve
) -> None:
    async with served(tmp_path) as at:
        url = str(at.client.base_url)
        await create(at.client, "a")
        tabs = [await tab(context, url) for _ in range(4)]
        leader = await leader_of(tabs)
        await alternate(at.client, 2)
        if way == "close":
            await leader.page.close()
        else:
            await leader.page.goto("about:blank")
        await alternate(at.client, 2)
        rest = [watched for watched in tabs if watched is not leader]
        await leader_of(rest)
        await alternate(at.client, 2)
        await report(at.client, "a", state="succeeded")
        for watched in rest:
            await watched.until_log("end")
            assert await missed(watched) == []
        await until(lambda: not at.app.state.gateway.streams, "no stream is left")


async def test_a_leading_tab_that_hangs_is_replaced_and_follows_when_it_is_back(
    tmp_path: Path, context: BrowserContext, served: Serve
) -> None:
    async with served(tmp_path) as at:
        url = str(at.client.base_url)
        await create(at.client, "a")
        tabs = [await tab(context, url, WATCHFUL) for _ in range(3)]
        leader = await leader_of(tabs)
        rest = [watched for watched in tabs if watched is not leader]
        over = asyncio.Event()

        async def answer(route: Route) -> None:
            await over.wait()
            await route.fulfill(status=204)

        await leader.page.route("**/hang", answer)
        hang = asyncio.create_task(leader.page.evaluate(HANG_UNTIL_ANSWERED))
        await leader_of(rest)
        await alternate(at.client, 2)
        for watched in rest:
            await watched.until_state("paused")
        assert not hang.done(), "the tab did not hang"
        over.set()
        await hang
        await leader_of(tabs)
        await alternate(at.client, 2)
        await report(at.client, "a", state="succeeded")
        for watched in tabs:
            await watched.until_log("end")
            assert await missed(watched) == []


async def test_tabs_that_come_and_go_at_random_miss_nothing(
    tmp_path: Path, context: BrowserContext, served: Serve
) -> None:
    dice = random.Random(7)
    async with served(tmp_path) as at:
        url = str(at.client.base_url)
        await create(at.client, "a")
        tabs = [await tab(context, url) for _ in range(3)]
        for _ in range(8):
            await alternate(at.client, dice.randint(1, 3))
            if len(tabs) > 1 and dice.random() < 0.6:
                leader = await leader_of(tabs)
                gone = leader if dice.random() < 0.6 else dice.choice(tabs)
                tabs.remove(gone)
                await gone.page.close()
            else:
                tabs.append(await tab(context, url))
        await report(at.client, "a", state="succeeded")
        for watched in tabs:
            await watched.until_log("end")
            assert await missed(watched) == []


async def test_a_tab_that_comes_back_as_it_was_goes_on_where_it_stopped(
    tmp_path: Path, context: BrowserContext, served: Serve
) -> None:
    async with served(tmp_path) as at:
        url = str(at.client.base_url)
        await create(at.client, "a")
        one, other = await tab(context, url), await tab(context, url)
        await alternate(at.client, 1)
        await one.until_state("paused")
        # Chromium puts no page aside that a debugger is attached to; so the events of that are sent as it sends them.
        await one.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
        await leader_of([other])
        await alternate(at.client, 2)
        assert len(await one.statuses()) == 3
        await one.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        await report(at.client, "a", state="succeeded")
        await one.until_log("end")
        assert await missed(one) == []


async def test_a_hidden_tab_that_asked_for_it_pauses_and_catches_up(tmp_path: Path, page: Page, served: Serve) -> None:
    hide = """(state) => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with served(tmp_path) as at:
        streams = at.app.state.gateway.streams
        await create(at.client, "a")
        await at_gateway(page, str(at.client.base_url))
        watched = await watch(page, "/v1/jobs/a", pauseWhenHidden=True, timing={"hidden": 200})
        await watched.until_open()
        await page.evaluate(hide, "hidden")
        await watched.until_log("connection", lambda state: state["trouble"] == "paused while hidden")
        await until(lambda: not streams, "the stream is closed")
        await alternate(at.client, 3)
        await page.evaluate(hide, "visible")
        await report(at.client, "a", state="succeeded")
        await watched.until_log("end")
        assert await missed(watched) == []


async def test_without_locks_each_tab_has_one_connection_of_its_own(
    tmp_path: Path, context: BrowserContext, served: Serve
) -> None:
    await context.add_init_script("delete Navigator.prototype.locks")
    async with served(tmp_path) as at:
        url = str(at.client.base_url)
        for job in "ab":
            await create(at.client, job)
        one, other = await tab(context, url), await tab(context, url)
        more = await watch(one.page, "/v1/jobs/b", "more")
        await more.until_open()
        await until(lambda: len(at.app.state.gateway.streams) == 2, "a stream for each tab")
        for job in "ab":
            await report(at.client, job, state="succeeded")
        for watched in (one, other, more):
            await watched.until_log("end")


async def test_watches_with_different_tokens_share_nothing(
    tmp_path: Path, context: BrowserContext, served: Serve
) -> None:
    async with served(tmp_path) as at:
        await create(at.client, "a")
        page = await at_gateway(await context.new_page(), str(at.client.base_url))
        names = {"one": "x", "same": "x", "two": "y"}
        for name, token in names.items():
            watched = await watch(page, "/v1/jobs/a", name, token=token)
            await watched.until_open("fetch")
        await until(lambda: len(at.app.state.gateway.streams) == 2, "a stream for each token")
        told = await page.evaluate("navigator.locks.query().then((all) => JSON.stringify(all))")
        assert told.count('"name"') == 0
        await report(at.client, "a", state="succeeded")
        for name in names:
            await Watch(page, name).until_log("end")


async def test_many_lists_leave_connections_for_the_rest_of_the_page(
    tmp_path: Path, page: Page, troubles: Troubles, served: Serve
) -> None:
    async with served(tmp_path) as at:
        await at_gateway(page, str(at.client.base_url))
        watches = []
        for n in range(8):
            watches.append(await watch(page, f"/v1/events?process=p{n}", f"list {n}"))
            await watches[-1].until_open()
        await until(lambda: len(at.app.state.gateway.streams) == 4, "four streams, and no more")
        for n, watched in enumerate(watches):
            await create(at.client, f"job-{n}", process=f"p{n}", state="running")
            await watched.until_state("running")
        for watched in watches:
            await watched.close()
        await until(lambda: not at.app.state.gateway.streams, "no stream is left")


async def ordeal(
    served: Serve, tmp_path: Path, context: BrowserContext, between: Between, seed: int, turns: int
) -> None:
    """Tabs come, go and hang over a network that breaks, while each report makes a transition that all are owed."""
    dice = random.Random(seed)
    async with served(tmp_path) as at:
        relay = await between.relay(str(at.client.base_url))
        await create(at.client, "a")
        tabs = [await tab(context, relay.url, WATCHFUL) for _ in range(3)]
        for _ in range(turns):
            await alternate(at.client, dice.randint(1, 3))
            what = dice.choice(("open", "close", "hang", "cut", "hold", "list"))
            if what == "open" and len(tabs) < 6:
                tabs.append(await tab(context, relay.url, WATCHFUL))
            elif what == "list" and len(tabs) < 6:
                page = await at_gateway(await context.new_page(), relay.url)
                tabs.append(await watch(page, "/v1/events", timing={"lead": WATCHFUL}))
                await tabs[-1].until_open()
            elif what == "close" and len(tabs) > 1:
                gone = tabs.pop(dice.randrange(len(tabs)))
                await gone.page.close()
            elif what == "hang":
                await dice.choice(tabs).page.evaluate(HANG, dice.randint(100, 2500))
            elif what == "cut":
                relay.cut()
            elif what == "hold":
                relay.hold()
                await alternate(at.client, dice.randint(1, 3))
                relay.go_on()
        await report(at.client, "a", state="succeeded")
        for watched in tabs:
            await watched.until_state("succeeded")
            assert await missed(watched) == [], f"seed {seed}"
            await watched.close()


@pytest.mark.parametrize("seed", range(1))
async def test_tabs_over_a_bad_network_miss_nothing(
    served: Serve, tmp_path: Path, context: BrowserContext, between: Between, troubles: Troubles, seed: int
) -> None:
    troubles.expect(*LOAD_FAILED)
    await ordeal(served, tmp_path, context, between, seed, 12)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 110))
async def test_tabs_over_a_bad_network_miss_nothing_for_long(
    served: Serve, tmp_path: Path, context: BrowserContext, between: Between, troubles: Troubles, seed: int
) -> None:
    troubles.expect(*LOAD_FAILED)
    await ordeal(served, tmp_path, context, between, seed, 50)
