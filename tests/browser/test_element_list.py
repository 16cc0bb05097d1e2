"""`<job-list>` in a real page of another origin: which jobs it shows, what it says, and what it tells the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.api import create, report
from tests.browser.between import Between
from tests.browser.embedding import Embedding, embedding, noted, said
from tests.browser.pages import Contexts, Troubles, until

RUNNING = '<job-list heading="At work" src="GATEWAY/v1/events?state=running"></job-list>'
RECOVERY = 120_000  # milliseconds: a back-off of some seconds on a loaded machine


@pytest_asyncio.fixture(loop_scope="session")
async def site(tmp_path: Path, between: Between, contexts: Contexts) -> AsyncIterator[Embedding]:
    """A site that the gateway allows."""
    async with embedding(tmp_path, between, contexts) as site:
        yield site


async def names(page: Page) -> list[str]:
    """The names of the jobs that are listed, from top to bottom."""
    found: list[str] = await page.locator("job-list li .name").all_inner_texts()
    return found


async def test_a_list_takes_jobs_in_and_lets_them_go_as_they_match(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="first", state="running")
    await create(site.client, "b", name="second")
    await site.open(page, RUNNING)
    await expect(page.get_by_role("list", name="At work").get_by_role("listitem")).to_have_count(1)
    await report(site.client, "b", state="running", progress=7, step="reading")
    await until(lambda: names(page), "two rows")
    await expect(page.get_by_role("listitem")).to_have_count(2)
    assert await names(page) == ["second", "first"]  # newest first
    await expect(page.get_by_text("2 jobs")).to_be_visible()
    await expect(page.get_by_role("progressbar", name="Progress of second")).to_have_attribute("aria-valuenow", "7")
    await report(site.client, "b", state="paused")
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await report(site.client, "a", state="succeeded")
    await expect(page.get_by_text("No job matches now")).to_be_visible()
    await expect(page.get_by_text("0 jobs")).to_be_visible()
    await report(site.client, "b", state="running")
    await expect(page.get_by_role("listitem")).to_have_count(1)
    changes = await noted(page, "statuschange")
    assert [(change["job"]["name"], change["job"]["state"]) for change in changes] == [
        ("first", "running"),
        ("second", "running"),
        ("second", "paused"),
        ("first", "succeeded"),
        ("second", "running"),
    ]
    assert changes[2]["previous"]["progress"] == 7
    assert "steps" not in changes[0]["job"]


async def test_only_ends_are_announced_and_many_at_once_as_a_number(page: Page, site: Embedding) -> None:
    for job in "abc":
        await create(site.client, job, name=job, state="running")
    await site.open(page, '<job-list src="GATEWAY/v1/events"></job-list>')
    await expect(page.get_by_role("listitem")).to_have_count(3)
    for progress in (10, 20):
        await report(site.client, "a", progress=progress, message=f"at {progress}")
    await report(site.client, "a", state="paused")
    await report(site.client, "a", state="succeeded")
    await until(lambda: said(page))
    (spoken,) = await said(page)
    assert spoken.startswith("a: Succeeded after ")
    lines = "".join(f'{{"job":"{job}","state":"failed"}}\n' for job in "bc")
    lines += '{"job":"d","state":"running"}\n{"job":"d","state":"cancelled"}\n'
    await site.client.post("/v1/events", content=lines, headers={"Content-Type": "application/x-ndjson"})
    await until(lambda: page.evaluate("said.at(-1) === '3 jobs ended'"), "the number of what ended")


async def test_a_list_shows_as_many_rows_as_asked_for_and_counts_the_others(page: Page, site: Embedding) -> None:
    lines = "".join(f'{{"job":"j{n:04}","state":"running"}}\n' for n in range(1_100))
    await site.client.post("/v1/events", content=lines, headers={"Content-Type": "application/x-ndjson"})
    await site.open(page, RUNNING.replace("src", 'limit="5" src'))
    await expect(page.get_by_role("listitem")).to_have_count(5)
    await expect(page.get_by_text("5 of 1,000+ jobs")).to_be_visible()
    await page.locator("job-list").evaluate("(element) => element.setAttribute('limit', 8)")
    await expect(page.get_by_role("listitem")).to_have_count(8)
    assert await page.evaluate("document.querySelector('job-list').jobs.length") == 1_000
    await create(site.client, "newest", state="running")
    await until(lambda: first(page), "the newest on top")
    await expect(page.get_by_role("listitem")).to_have_count(8)
    assert await page.evaluate("document.querySelector('job-list').jobs.length") == 1_000  # as many as before


async def first(page: Page) -> bool:
    return (await names(page))[0] == "newest"


async def test_a_deleted_job_leaves_the_list(page: Page, site: Embedding) -> None:
    await create(site.client, "a", state="running")
    await create(site.client, "b", state="running")
    await report(site.client, "a", state="failed")
    await site.open(page, '<job-list src="GATEWAY/v1/jobs?state=failed&state=running&limit=3"></job-list>')
    await expect(page.get_by_role("listitem")).to_have_count(2)
    assert (await site.client.delete("/v1/jobs/a")).status_code == 204
    await expect(page.get_by_role("listitem")).to_have_count(1)
    assert (await noted(page, "statuschange"))[-1]["change"]["event"] == "deleted"


async def test_what_happened_while_the_gateway_was_away_is_caught_up(
    page: Page, site: Embedding, troubles: Troubles
) -> None:
    troubles.expect(
        "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "Failed to load"
    )
    await create(site.client, "a", name="first", state="running")
    await site.open(page, RUNNING)
    await expect(page.get_by_role("listitem")).to_have_count(1)
    site.server.kill()
    await expect(page.get_by_text("Connection lost")).to_be_visible()
    await expect(page.get_by_role("listitem")).to_have_count(1)
    site.server.start()
    await report(site.client, "a", state="succeeded")
    await create(site.client, "b", name="second", state="running")
    await expect(page.locator("job-list li .name")).to_have_text(["second"], timeout=RECOVERY)
    await expect(page.get_by_text("Connection lost")).to_be_hidden()


async def test_another_src_shows_other_jobs_only(page: Page, site: Embedding) -> None:
    for job, state in (("a", "running"), ("b", "pending")):
        await create(site.client, job, name=job, state=state, labels={"team": job})
    await site.open(page, RUNNING)
    await expect(page.locator("job-list li .name")).to_have_text(["a"])
    for query, expected in (("state=pending", ["b"]), ("label=team:a", ["a"]), ("job=b&job=a", ["b", "a"])):
        await page.locator("job-list").evaluate(
            "(element, src) => { element.src = src; }", f"{site.gateway}/v1/events?{query}"
        )
        await expect(page.locator("job-list li .name")).to_have_text(expected)


async def test_jobs_that_are_named_end_the_list_with_the_last_of_them(page: Page, site: Embedding) -> None:
    for job in "ab":
        await create(site.client, job, name=job, state="running")
    await site.open(page, '<job-list src="GATEWAY/v1/events?job=a&job=b"></job-list>')
    await expect(page.get_by_role("listitem")).to_have_count(2)
    await report(site.client, "a", state="succeeded")
    assert await noted(page, "end") == []
    await report(site.client, "b", state="failed")
    await until(lambda: noted(page, "end"), "the end")
    assert (await noted(page, "end"))[0]["reason"] == "terminal"
    await expect(page.get_by_role("listitem")).to_have_count(2)


async def test_words_of_the_page_stand_where_the_list_is_empty(page: Page, site: Embedding) -> None:
    await site.open(page, RUNNING.replace("src", 'empty="All <i>quiet</i>" src'))
    await expect(page.get_by_text("All <i>quiet</i>")).to_be_visible()


@pytest.mark.parametrize(
    "src, says",
    [
        ("GATEWAY/v1/jobs/a", "something else"),
        ("GATEWAY/v1/events?colour=red", "colour"),
        ("", "Set src to the address of a list"),
    ],
)
async def test_a_src_that_means_no_list_says_what_it_should_be(
    page: Page, site: Embedding, src: str, says: str
) -> None:
    await site.open(page, f'<job-list src="{src}"></job-list>')
    await expect(page.locator("job-list")).to_contain_text(says)
    await expect(page.locator("job-list")).to_contain_text("such as http://gateway:8000/v1/events?state=running")
