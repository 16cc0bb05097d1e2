"""What of a job can be shared, as a browser sees it: its address, its badge on another page, and the page's policy."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.async_api import Error, Page, expect

from tests.api import create, report
from tests.browser.between import Between
from tests.browser.pages import Troubles, until
from tests.processes import Server


async def test_the_address_of_a_job_opens_its_page(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    await create(client, "a:1", name="tiles", workspace="geo")
    await page.goto(f"{gateway.url}/v1/jobs/a:1?workspace=geo")
    await expect(page).to_have_url(f"{gateway.url}/?job=geo/a%3A1")
    await page.get_by_text("tiles").first.wait_for()


async def test_it_does_so_behind_a_proxy_that_serves_it_under_a_path(
    gateway: Server, client: httpx.AsyncClient, page: Page, between: Between
) -> None:
    await create(client, "a", name="tiles")
    nginx = await between.nginx(gateway.url, "location /status/ { proxy_pass http://gateway/; proxy_buffering off; }")
    await page.goto(f"{nginx.url}/status/v1/jobs/a")
    await expect(page).to_have_url(f"{nginx.url}/status/?job=default/a")
    await page.get_by_text("tiles").first.wait_for()


async def test_a_badge_shows_on_any_page_and_is_fresh_at_each_look(
    gateway: Server, client: httpx.AsyncClient, page: Page, between: Between, troubles: Troubles
) -> None:
    await create(client, "a", state="running", progress=5)
    badges = "".join(f'<img alt="{job}" src="{gateway.url}/v1/jobs/{job}/badge.svg">' for job in ("a", "nobody"))
    origin = await between.origin({"/": f"<!doctype html><title>t</title><link rel=icon href=data:,>{badges}"})
    troubles.expect("404")  # the badge of nobody, which shows all the same
    widths = "[...document.images].map((image) => image.complete ? image.naturalWidth : 0)"
    seen = []
    for state in ("running", "succeeded"):
        await report(client, "a", state=state)
        await page.goto(origin.url)
        seen.append(await page.evaluate(widths))
    assert all(width > 40 for both in seen for width in both)
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] == seen[1][1]


@pytest.mark.parametrize("path", ["/v1/jobs/a/badge.svg", "/v1/jobs/nobody/badge.svg"])
async def test_a_badge_opened_by_itself_is_a_picture(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles, path: str
) -> None:
    await create(client, "a", name="<script>alert(1)</script>")
    troubles.expect("404", "favicon")
    await page.goto(f"{gateway.url}{path}")
    assert await page.evaluate("document.documentElement.getAttribute('role')") == "img"
    lengths = "(text) => [text.getComputedTextLength(), text.textLength.baseVal.value]"
    for real, meant in await page.evaluate(f"[...document.querySelectorAll('text')].map({lengths})"):
        assert abs(real - meant) < 1


@pytest.mark.parametrize(
    "script",
    [
        "document.body.innerHTML = '<b>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>')",
        "document.body.setAttribute('onclick', 'window.ran = true')",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = true'}))",
    ],
)
async def test_the_browser_itself_lets_no_text_become_markup(
    gateway: Server, page: Page, troubles: Troubles, script: str
) -> None:
    troubles.expect("TrustedHTML", "TrustedScript", "Content Security Policy")
    await page.goto(gateway.url)
    with pytest.raises(Error, match="Trusted"):
        await page.evaluate(script)
    assert not await page.evaluate("window.ran === true")


async def test_an_address_that_is_code_does_not_run(gateway: Server, page: Page, troubles: Troubles) -> None:
    troubles.expect("Content Security Policy")
    await page.goto(gateway.url)
    link = "Object.assign(document.createElement('a'), {href: 'javascript:window.ran = true'})"
    await page.evaluate(f"{link}.click()")
    await until(lambda: any(re.search("Content Security Policy", text) for text in troubles.seen))
    assert not await page.evaluate("window.ran === true")
