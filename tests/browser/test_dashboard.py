"""The list of the dashboard, before a real gateway in a real browser."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.api import create, report, served
from tests.browser.between import Between
from tests.browser.pages import BOUND, Contexts, Troubles, axe, until
from tests.browser.screenshots import Line
from tests.browser.screenshots import report as bulk
from tests.processes import Server

PHONE = {"width": 390, "height": 844}
LOST = (
    r"ERR_CONNECTION_REFUSED",
    r"ERR_INCOMPLETE_CHUNKED",
    r"ERR_EMPTY_RESPONSE",
    r"Failed to load",
    r"ERR_CONNECTION",
)


async def names(page: Page) -> list[str]:
    """The jobs whose rows exist, from the top."""
    return await page.locator(".row .name").all_text_contents()


async def opened(page: Page, gateway: Server, search: str = "") -> None:
    """The dashboard, once it is live."""
    await page.goto(f"{gateway.url}/{search}")
    await live(page)


async def live(page: Page) -> None:
    """Wait until what is shown is how things stand."""
    await expect(page.locator("#connection-word")).to_have_text("Live")


async def shows(page: Page, *expected: str) -> None:
    """Wait until these are the rows, from the top."""
    await until(lambda: _are(page, expected), f"rows {expected}")


async def _are(page: Page, expected: Sequence[str]) -> bool:
    return await names(page) == list(expected)


def chip(page: Page, state: str) -> Any:
    """The button of a state, with its count."""
    return page.locator("#states").get_by_role("button", name=state)


async def some(client: httpx.AsyncClient) -> None:
    """Five jobs: from the top render-b, render-a, sync, train, load."""
    lines: list[Line] = [
        {"job": "load", "state": "succeeded", "process": "etl", "message": "41,880 rows"},
        {"job": "train", "state": "running", "process": "fit", "workspace": "ml", "labels": {"gpu": "l4"}},
        {"job": "sync", "state": "failed", "process": "etl", "error": "no route to the crm"},
        {"job": "render-a", "state": "running", "process": "tiles", "progress": 30, "labels": {"team": "geo"}},
        {"job": "render-b", "state": "pending", "process": "tiles", "labels": {"team": "geo"}},
    ]
    for line in lines:  # one after another, so that their times differ
        await bulk(client, [line])


ALL = ("render-b", "render-a", "sync", "train", "load")


# ---- what is shown ----


async def test_a_job_lives_from_pending_to_its_end_while_the_page_watches(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await opened(page, gateway)
    await create(client, "tiles")
    row = page.locator(".row")
    await expect(row.locator(".chip")).to_have_text("Pending")
    await page.evaluate("window.same = document.querySelector('.row')")
    await report(client, "tiles", state="running", progress=0, step="extract")
    await expect(row.locator(".chip")).to_have_text("Running")
    await report(client, "tiles", progress=45, message="step 2 of 4")
    await expect(row.locator(".percent")).to_have_text("45%")
    await expect(row.locator("progress")).to_have_attribute("aria-valuetext", "45%, extract")
    await expect(row.locator(".message")).to_have_text("step 2 of 4")
    await report(client, "tiles", state="failed", error="disk full")
    await expect(row.locator(".chip")).to_have_text("Failed")
    await expect(row.locator(".message")).to_have_text("disk full")
    assert await page.evaluate("window.same === document.querySelector('.row')"), "the row was made anew"


async def test_jobs_stand_newest_first_and_one_that_is_deleted_leaves(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await some(client)
    await opened(page, gateway)
    await shows(page, *ALL)
    await create(client, "newest")
    await shows(page, "newest", *ALL)
    assert (await client.delete("/v1/jobs/load")).status_code == 204
    await shows(page, "newest", *ALL[:-1])


async def test_what_a_job_says_is_text_and_never_markup(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    evil = "<img src=x onerror=alert(1)>\u202e</span>"
    await create(client, "a", name=evil, state="running", message=evil, step=evil, process=evil, labels={"x": evil})
    await opened(page, gateway, "?text=img")
    await expect(page.locator(".row .message")).to_have_text("<img src=x onerror=alert(1)> </span>")
    assert await page.locator(".row img").count() == 0


async def test_a_stalled_job_is_marked_and_the_mark_goes_with_the_next_report(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await create(client, "a", state="running", lease=1)
    await opened(page, gateway)
    await expect(page.locator(".row .stalled")).to_be_visible()
    await report(client, "a", message="here I am", lease=3600)
    await expect(page.locator(".row .stalled")).to_be_hidden()


# ---- filters ----


async def test_counts_by_state_follow_the_jobs(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    await some(client)
    await opened(page, gateway)
    for state, count in (("All", 5), ("Running", 2), ("Pending", 1), ("Succeeded", 1), ("Failed", 1)):
        await expect(chip(page, state)).to_have_text(f"{state}{count}")
    await report(client, "render-a", state="succeeded")
    await expect(chip(page, "Running")).to_have_text("Running1")
    await expect(chip(page, "Succeeded")).to_have_text("Succeeded2")
    await expect(chip(page, "Cancelling")).to_be_hidden()
    await client.post("/v1/jobs/train/cancel?workspace=ml")
    await expect(chip(page, "Cancelling")).to_have_text("Cancelling1")


async def test_filters_stand_in_the_address_and_the_back_button_undoes_them(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await some(client)
    await opened(page, gateway)
    await chip(page, "Running").click()
    await shows(page, "render-a", "train")
    await chip(page, "Failed").click()
    await shows(page, "render-a", "sync", "train")
    assert page.url.endswith("/?state=running&state=failed")
    await page.locator("#process").select_option("tiles")
    await shows(page, "render-a")
    await page.locator("#text").fill("nothing")
    await expect(page.locator("#empty")).to_contain_text("No job matches")
    assert page.url.endswith("/?process=tiles&state=running&state=failed&text=nothing")
    await page.go_back()
    await shows(page, "render-a")
    await expect(page.locator("#text")).to_have_value("")
    await page.go_back()
    await shows(page, "render-a", "sync", "train")
    await page.go_back()
    await page.go_back()
    await shows(page, *ALL)
    await page.go_forward()
    await shows(page, "render-a", "train")
    await expect(chip(page, "Running")).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(
    "search, expected",
    [
        ("?workspace=ml", ("train",)),
        ("?workspace=ml&workspace=default&state=running", ("render-a", "train")),
        ("?process=etl", ("sync", "load")),
        ("?label=team:geo", ("render-b", "render-a")),
        ("?label=team:geo&state=pending", ("render-b",)),
        ("?text=crm", ("sync",)),
        ("?text=41,880+ROWS", ("load",)),
        ("?state=nonsense&label=nonsense", ALL),
    ],
)
async def test_a_copied_link_shows_the_same_jobs(
    gateway: Server, client: httpx.AsyncClient, page: Page, search: str, expected: tuple[str, ...]
) -> None:
    await some(client)
    await opened(page, gateway, search)
    await shows(page, *expected)


async def test_a_row_that_no_longer_matches_leaves_and_one_that_comes_to_match_appears(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await some(client)
    await opened(page, gateway, "?state=running&process=tiles&label=team:geo")
    await shows(page, "render-a")
    await report(client, "render-b", state="running")
    await shows(page, "render-b", "render-a")
    await report(client, "render-a", state="succeeded")
    await shows(page, "render-b")
    await report(client, "render-b", labels={"team": "maps"})
    await expect(page.locator("#empty")).to_contain_text("No job matches")
    await page.get_by_role("button", name="Clear the filters").last.click()
    await shows(page, *ALL)


async def test_labels_are_added_by_writing_them_and_removed_by_their_button(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await some(client)
    await opened(page, gateway)
    await page.locator("#label").fill("team:geo")
    await page.locator("#label").press("Enter")
    await shows(page, "render-b", "render-a")
    await page.get_by_role("button", name="Remove the label filter team:geo").click()
    await shows(page, *ALL)


# ---- keyboard ----


async def test_the_whole_list_works_by_keyboard_alone(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    await some(client)
    await opened(page, gateway)
    await shows(page, *ALL)
    keys = page.keyboard
    focused = page.locator(".row:has(.name:focus) .name")
    await keys.press("j")
    await expect(focused).to_have_text("render-b")
    await keys.press("ArrowDown")
    await keys.press("j")
    await expect(focused).to_have_text("sync")
    await keys.press("k")
    await expect(focused).to_have_text("render-a")
    await keys.press("Enter")
    await expect(page.locator(".job-page h1")).to_contain_text("render-a")
    assert page.url.endswith("/?job=default/render-a")
    await keys.press("Escape")
    await expect(focused).to_have_text("render-a")
    await keys.press("/")
    await expect(page.locator("#text")).to_be_focused()
    await keys.type("rend")
    await shows(page, "render-b", "render-a")
    await keys.press("ArrowDown")
    await expect(focused).to_have_text("render-b")
    await keys.press("/")
    await keys.press("Escape")
    await shows(page, *ALL)
    await keys.press("Escape")
    await keys.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    await keys.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await keys.press("End")
    await keys.press("j")
    await keys.press("End")
    await expect(focused).to_have_text("load")


async def test_keys_of_a_single_character_can_be_switched_off_for_good(
    gateway: Server, client: httpx.AsyncClient, context: BrowserContext
) -> None:
    await some(client)
    page, other = [await context.new_page() for _ in range(2)]
    await opened(other, gateway)
    await opened(page, gateway)
    await shows(page, *ALL)
    keys = page.keyboard
    focused = page.locator(".row:has(.name:focus) .name")
    switch = page.get_by_role("switch", name="Single-key shortcuts")
    theme = page.get_by_role("button", name="Theme: system")
    await expect(theme).to_have_attribute("title", "Theme: system (t)")
    await keys.press("?")
    await keys.press("Shift+Tab")
    await expect(switch).to_be_focused()
    await expect(switch).to_be_checked()
    for key in ("/", "j", "k", "t", "?"):
        await expect(page.locator(".shortcuts kbd", has_text=key)).to_be_visible()
    await keys.press("Space")
    await expect(switch).not_to_be_checked()
    await expect(page.locator("#said")).to_have_text("Single-key shortcuts off")
    await keys.press("Escape")
    for _ in range(2):  # now, and when the page is opened again
        await expect(page.locator(".find kbd")).to_be_hidden()
        await expect(theme).to_have_attribute("title", "Theme: system")
        for key in ("?", "t", "j", "j", "/"):
            await keys.press(key)
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(theme).to_be_visible()
        await expect(page.locator("#text")).not_to_be_focused()
        await keys.press("ArrowDown")  # no single character
        await expect(focused).to_have_text(ALL[0])
        await keys.press("Enter")
        await expect(page.locator(".job-page h1")).to_have_text(ALL[0])
        await keys.press("/")
        await expect(page.locator(".job-page h1")).to_have_text(ALL[0])
        await keys.press("Escape")
        await expect(focused).to_have_text(ALL[0])
        await page.reload()
        await live(page)
        await shows(page, *ALL)
    await other.keyboard.press("t")  # another tab has heard of it
    await expect(other.get_by_role("button", name="Theme: system")).to_be_visible()
    await page.get_by_role("button", name="Keyboard and help").click()
    await switch.click()
    await keys.press("Escape")
    await keys.press("j")
    await expect(focused).to_have_text(ALL[0])
    await keys.press("/")
    await expect(page.locator("#text")).to_be_focused()


async def test_enter_in_the_search_leads_to_the_first_row_that_it_finds_and_the_count_is_said(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await some(client)
    await opened(page, gateway)
    await shows(page, *ALL)
    await page.keyboard.press("/")
    await page.keyboard.type("route crm")
    await page.keyboard.press("Enter")
    await expect(page.locator(".row:has(.name:focus) .name")).to_have_text("sync")
    await expect(page.locator("#said")).to_have_text("1 job shown")


async def test_a_click_anywhere_in_a_row_opens_it_but_selecting_its_text_does_not(
    gateway: Server, client: httpx.AsyncClient, context: BrowserContext, page: Page
) -> None:
    await some(client)
    await opened(page, gateway)
    box = await page.get_by_text("41,880 rows").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + 1, middle)
    await page.mouse.down()
    await page.mouse.move(box["x"] + 200, middle, steps=5)
    await page.mouse.up()
    assert await page.evaluate("getSelection().toString().trim()") == "41,880 rows"
    await expect(page.locator("#list")).to_be_visible()
    async with context.expect_page() as another:
        await page.locator(".row", has_text="sync").locator(".c-time").click(button="middle")
    await expect((await another.value).locator(".job-page h1")).to_contain_text("sync")
    await page.mouse.click(5, 300)
    await page.locator(".row", has_text="sync").locator(".c-time").click()
    await expect(page.locator(".job-page h1")).to_contain_text("sync")


async def test_tab_leads_through_the_filters_into_one_row_and_out(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await some(client)
    await opened(page, gateway)
    await shows(page, *ALL)
    await page.locator("#label").focus()
    await page.keyboard.press("Tab")
    await expect(page.locator(".row:has(.name:focus) .name")).to_have_text("render-b")
    await page.keyboard.press("Tab")
    assert await page.locator(".row:has(.name:focus)").count() == 0


async def test_the_focus_stays_with_its_job_when_others_come_and_moves_on_when_it_goes(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await some(client)
    await opened(page, gateway)
    await shows(page, *ALL)
    focused = page.locator(".row:has(.name:focus) .name")
    for _ in ALL:
        await page.keyboard.press("j")
    await expect(focused).to_have_text("load")
    await create(client, "newest")
    await shows(page, "newest", *ALL)
    await expect(focused).to_have_text("load")
    await client.delete("/v1/jobs/load")
    await expect(focused).to_have_text("train")


# ---- far down the list ----


async def many(client: httpx.AsyncClient, count: int) -> None:
    """Finished jobs by the names j-00000, j-00001, …"""
    await bulk(client, [{"job": f"j-{n:05}", "state": "succeeded"} for n in range(count)])


async def test_all_rows_can_be_reached_though_few_exist(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    await many(client, 2500)
    await opened(page, gateway)
    await expect(chip(page, "All")).to_have_text("All2,500")
    assert await page.locator(".row").count() < 60
    await page.keyboard.press("j")
    await page.keyboard.press("End")
    await expect(page.locator(".row:has(.name:focus) .name")).to_have_text("j-00000")
    row = page.locator(".row:has(.name:focus)")
    assert await row.get_attribute("aria-rowindex") == "2501"
    assert await page.locator("#table").get_attribute("aria-rowcount") == "2501"
    assert await row.evaluate("(row) => row.getBoundingClientRect().bottom <= innerHeight")


async def test_a_state_finds_its_jobs_also_among_those_that_no_snapshot_shows(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await bulk(client, [{"job": "old", "state": "failed", "error": "long ago"}])
    await many(client, 1200)
    await opened(page, gateway, "?state=failed")
    await shows(page, "old")
    await client.delete("/v1/jobs/old")
    await expect(page.locator("#empty")).to_contain_text("No job matches")


async def test_what_is_read_stays_in_its_place_while_jobs_come_above(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await many(client, 300)
    await opened(page, gateway, "?state=succeeded&state=pending")
    await expect(chip(page, "All")).to_have_text("All300")
    await page.mouse.wheel(0, 4000)
    await until(lambda: page.evaluate("scrollY > 3000"))
    place = "document.elementFromPoint(600, 500).closest('.row')?.querySelector('.name').textContent"
    before = await until(lambda: page.evaluate(place))
    await create(client, "of-another-state", state="running")
    for number in range(3):
        await create(client, f"new-{number}")
    await expect(page.locator("#newer")).to_have_text("↑ 3 new jobs")
    assert await page.evaluate(place) == before
    await page.locator("#newer").click()
    await expect(page.locator("#newer")).to_be_hidden()
    await until(lambda: _starts(page, "new-2"))


async def _starts(page: Page, name: str) -> bool:
    return (await names(page))[:1] == [name]


async def test_the_way_back_from_a_job_leads_to_the_same_place(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await many(client, 300)
    await opened(page, gateway, "?state=succeeded")
    await expect(chip(page, "All")).to_have_text("All300")
    await page.mouse.wheel(0, 4000)
    await until(lambda: page.evaluate("scrollY > 3000"))
    at = await page.evaluate("scrollY")
    await page.mouse.click(600, 500)
    await page.locator(".job-page h1").wait_for()
    await page.get_by_role("link", name="All jobs").click()
    await page.locator("#list").wait_for()
    assert page.url.endswith("/?state=succeeded")
    await until(lambda: page.evaluate("(at) => Math.abs(scrollY - at) < 60", at), "the same place")


async def test_from_a_job_that_was_opened_by_its_link_escape_leads_to_the_list(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await some(client)
    await page.goto(f"{gateway.url}/?job=ml/train")
    await expect(page.locator(".job-page h1")).to_contain_text("train")
    await page.keyboard.press("Escape")
    await shows(page, *ALL)
    assert await page.title() == "2 running · Jobs · status gateway"
    await page.go_back()
    await expect(page.locator(".job-page h1")).to_contain_text("train")
    await page.keyboard.press("/")
    await expect(page.locator("#text")).to_be_focused()
    await page.keyboard.type("sync")
    await shows(page, "sync")


# ---- trouble ----


async def test_a_newcomer_is_told_how_to_make_the_first_job_here(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await opened(page, gateway)
    await expect(page.locator("#empty")).to_contain_text("No jobs yet")
    commands = await page.locator("#empty code").all_text_contents()
    assert commands[0].startswith(f"status-gateway run --url {gateway.url} ")
    assert f"curl {gateway.url}/v1/jobs " in commands[1]
    await create(client, "hello")
    await shows(page, "hello")


async def test_after_kill_9_and_restart_the_page_recovers_by_itself(
    gateway: Server, client: httpx.AsyncClient, troubles: Troubles, page: Page
) -> None:
    troubles.expect(*LOST)
    await create(client, "a", state="running", progress=10)
    await opened(page, gateway)
    gateway.kill()
    await expect(page.locator("#connection-word")).to_have_text("Reconnecting")
    await expect(page.locator("#trouble")).to_contain_text("No connection to the gateway since")
    await expect(page.locator("#trouble")).to_be_in_viewport()
    await axe(page)
    gateway.start()
    await report(client, "a", state="succeeded")
    await expect(page.locator(".row .chip")).to_have_text("Succeeded")
    await live(page)
    await expect(page.locator("#trouble")).to_be_hidden()


async def test_where_no_stream_gets_through_the_list_is_asked_for_and_says_so(
    gateway: Server, client: httpx.AsyncClient, between: Between, troubles: Troubles, page: Page
) -> None:
    troubles.expect("403")
    proxy = await between.nginx(
        gateway.url, "location / { proxy_pass http://gateway; } location /v1/events { return 403; }"
    )
    await some(client)
    await page.goto(proxy.url)
    await shows(page, *ALL)
    await expect(page.locator("#connection-word")).to_have_text("Polling")
    await report(client, "render-b", state="running")
    await expect(chip(page, "Running")).to_have_text("Running3")
    await proxy.change("location / { proxy_pass http://gateway; proxy_buffering off; }")
    await expect(page.locator("#connection-word")).to_have_text("Live", timeout=2 * BOUND * 1000)


async def test_what_another_log_does_not_know_leaves_the_page(
    gateway: Server, client: httpx.AsyncClient, tmp_path: Path, troubles: Troubles, page: Page
) -> None:
    troubles.expect(*LOST)
    await create(client, "a", state="running")
    await create(client, "b", message="of the old log")
    await report(client, "b", message="still of the old log")
    await opened(page, gateway)
    await shows(page, "b", "a")
    gateway.kill()
    forget(tmp_path)
    gateway.start()
    await create(client, "b", message="of the new log")
    await shows(page, "b")
    await expect(page.locator(".row .message")).to_have_text("of the new log")


def forget(folder: Path) -> None:
    """Remove a gateway's log."""
    for file in folder.glob("status.db*"):
        file.unlink()


async def test_a_gateway_that_refuses_is_quoted_and_the_way_out_is_a_button(
    gateway: Server, client: httpx.AsyncClient, troubles: Troubles, page: Page
) -> None:
    troubles.expect("400")
    await some(client)
    await page.goto(f"{gateway.url}/?workspace=NOT%20ONE")
    await expect(page.locator("#empty")).to_contain_text("The gateway refused this")
    await expect(page.locator("#empty")).to_contain_text("workspace")
    await axe(page)
    await page.locator("#empty").get_by_role("button", name="Clear the filters").click()
    await shows(page, *ALL)


async def test_before_a_gateway_that_is_away_the_page_says_so_and_then_finds_it(
    gateway: Server, between: Between, client: httpx.AsyncClient, troubles: Troubles, page: Page
) -> None:
    troubles.expect(*LOST, "502")
    proxy = await between.nginx(gateway.url, "location / { proxy_pass http://gateway; }")
    await page.goto(f"{proxy.url}/?workspace=ml")
    await expect(page.locator("#empty")).to_contain_text("No job matches")
    await proxy.change("location / { proxy_pass http://gateway; } location /v1/ { return 502; }")
    await page.locator("#clear").click()
    await expect(page.locator("#empty")).to_contain_text("The gateway")
    await axe(page)
    await create(client, "a")
    await proxy.change("location / { proxy_pass http://gateway; proxy_buffering off; }")
    await expect(page.locator(".row .name")).to_have_text("a")


async def test_ten_tabs_share_one_stream_and_outlive_the_first(tmp_path: Path, context: BrowserContext) -> None:
    async with served(tmp_path) as at:
        streams = at.app.state.gateway.streams
        await create(at.client, "a")
        tabs = [await context.new_page() for _ in range(10)]
        for tab in tabs:
            await tab.goto(f"http://127.0.0.1:{at.port}/")
        for tab in tabs:
            await live(tab)
        await until(lambda: len(streams) == 1, "one stream")
        await tabs[0].close()
        await report(at.client, "a", state="running")
        for tab in tabs[1:]:
            await expect(tab.locator(".row .chip")).to_have_text("Running")
            await live(tab)
        await until(lambda: len(streams) == 1, "one stream again")
        await context.close()  # before the gateway goes


async def test_without_javascript_the_page_says_what_to_do(gateway: Server, contexts: Contexts) -> None:
    page = await (await contexts(java_script_enabled=False)).new_page()
    await page.goto(gateway.url)
    await expect(page.get_by_role("heading", name="This page needs JavaScript")).to_be_visible()
    await expect(page.get_by_role("link", name="v1/jobs")).to_be_visible()


# ---- how it looks ----


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1280, "height": 720}, PHONE], ids=["desk", "phone"])
async def test_axe_finds_nothing_wrong_with_any_view(
    gateway: Server, client: httpx.AsyncClient, contexts: Contexts, scheme: str, size: dict[str, int]
) -> None:
    page = await (await contexts(color_scheme=scheme, viewport=size, reduced_motion="reduce")).new_page()
    await opened(page, gateway)
    await expect(page.locator("#empty")).to_contain_text("No jobs yet")
    await axe(page)
    await some(client)
    await bulk(client, [{"job": state, "state": state} for state in ("cancelled", "retrying", "unknown", "paused")])
    await bulk(client, [{"job": "late", "state": "running", "progress": 3, "lease": 1}])
    await expect(page.locator(".row .stalled:visible")).to_have_count(1)
    await axe(page)
    await page.goto(f"{gateway.url}/?state=running&label=team:geo&workspace=default&text=render")
    await shows(page, "render-a")
    await axe(page)
    await page.goto(f"{gateway.url}/?text=nothing")
    await expect(page.locator("#empty")).to_contain_text("No job matches")
    await axe(page)
    await page.keyboard.press("?")
    await axe(page)
    await page.get_by_role("switch").click()
    await axe(page)


async def test_the_page_is_as_wide_as_a_phone_and_no_wider(
    gateway: Server, client: httpx.AsyncClient, contexts: Contexts
) -> None:
    await some(client)
    await create(client, "x" * 200, message="y" * 5000, process="z" * 500, labels={"l" * 60: "v" * 500})
    for width in (320, 390, 800, 1000, 1280):
        page = await (await contexts(viewport={"width": width, "height": 700})).new_page()
        await opened(page, gateway)
        await page.locator(".row").first.wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        edges = "(rows) => rows.map((row) => [row.getBoundingClientRect().top, row.getBoundingClientRect().bottom])"
        rows = sorted(await page.locator(".row").evaluate_all(edges))
        assert all(upper[1] <= lower[0] + 0.5 for upper, lower in pairwise(rows)), width


@pytest.mark.parametrize("width", [820, 1280])
async def test_the_headings_stand_above_their_columns_with_processes_and_without(
    gateway: Server, client: httpx.AsyncClient, page: Page, width: int
) -> None:
    edges = """(selector) => [...document.querySelector(selector).children]
      .map((cell) => cell.getBoundingClientRect()).filter((box) => box.width > 0).map((box) => Math.round(box.left))"""
    await page.set_viewport_size({"width": width, "height": 700})
    await create(client, "a", state="running", progress=3, step="one", message="two")
    await opened(page, gateway)
    await page.locator(".row").wait_for()
    without = await page.evaluate(edges, ".row")
    assert without == await page.evaluate(edges, ".head")
    await create(client, "b", process="etl")
    await expect(page.locator("#process")).to_be_visible()
    found = await page.evaluate(edges, ".row")
    assert found == await page.evaluate(edges, ".head")
    assert (len(without), len(found)) == ((5, 6) if width > 1000 else (5, 5))


async def test_the_theme_is_chosen_kept_and_given_back_to_the_system(gateway: Server, page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    await opened(page, gateway)
    light = await page.evaluate(ground)
    await page.keyboard.press("t")
    await page.keyboard.press("t")
    await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    dark = await page.evaluate(ground)
    assert dark != light
    await page.reload()
    assert await page.evaluate(ground) == dark
    await page.get_by_role("button", name="Theme: dark").click()
    assert await page.evaluate(ground) == light


async def test_nothing_moves_for_those_who_want_no_motion(
    gateway: Server, client: httpx.AsyncClient, contexts: Contexts
) -> None:
    page = await (await contexts(reduced_motion="reduce")).new_page()
    await create(client, "a", state="running")
    await opened(page, gateway)
    await page.locator(".row").wait_for()
    await report(client, "a", state="succeeded")
    await expect(page.locator(".row .chip")).to_have_text("Succeeded")
    assert await page.evaluate("document.getAnimations().length") == 0
