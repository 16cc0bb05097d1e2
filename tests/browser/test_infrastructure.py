"""The browser tests' own ground: what a page does wrong is seen, and what stands between can be cut and changed."""

from __future__ import annotations

import httpx
import pytest
from _pytest.outcomes import Failed, Skipped
from playwright.async_api import Page

from tests.api import create
from tests.browser.between import Between
from tests.browser.pages import BOUND, MACHINE, Contexts, Troubles, axe, needed, node, until
from tests.processes import Server

PROXY = "location / { proxy_pass http://gateway; proxy_buffering off; }"
UNAVAILABLE = "location / { return 502; }"


async def test_the_page_of_a_real_gateway_opens(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    await create(client, "a", name="tiles")
    await page.goto(gateway.url)
    await page.get_by_text("tiles").first.wait_for()


@pytest.mark.parametrize(
    "html, complaint",
    [
        ("<script>console.error('oh')</script>", "console: oh"),
        ("<script>throw new Error('ah')</script>", "exception: Error: ah"),
        ("<script>Promise.reject(new Error('eh'))</script>", "exception: Error: eh"),
        ("<img src='http://192.0.2.1/x.png'>", "elsewhere: http://192.0.2.1/x.png"),
        (
            "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\"><script>1</script>",
            "Content Security Policy",
        ),
    ],
)
async def test_what_a_page_does_wrong_is_seen(
    between: Between, page: Page, troubles: Troubles, html: str, complaint: str
) -> None:
    origin = await between.origin({"/": f"<!doctype html><link rel=icon href=data:,>{html}"})
    troubles.expect(".")
    await page.goto(origin.url, wait_until="commit")
    await until(lambda: any(complaint in text for text in troubles.seen), complaint)


async def test_axe_names_the_rule_and_the_element(between: Between, page: Page) -> None:
    files = {
        "/": "<!doctype html><title>t</title><html lang=en><link rel=icon href=data:,><main><h1>h</h1><img src=data:,>"
    }
    await page.goto((await between.origin(files)).url)
    with pytest.raises(AssertionError, match="image-alt"):
        await axe(page)


async def test_a_context_has_the_colours_and_size_that_a_test_asks_for(contexts: Contexts) -> None:
    context = await contexts(color_scheme="dark", viewport={"width": 390, "height": 844})
    page = await context.new_page()
    assert await page.evaluate("[matchMedia('(prefers-color-scheme: dark)').matches, innerWidth]") == [True, 390]


async def test_nginx_stands_before_the_gateway_and_changes(gateway: Server, between: Between) -> None:
    nginx = await between.nginx(gateway.url, PROXY)
    async with httpx.AsyncClient(timeout=BOUND, trust_env=False) as client:
        assert (await client.get(f"{nginx.url}/healthz")).status_code == 200
    await nginx.change(UNAVAILABLE)
    async with httpx.AsyncClient(timeout=BOUND, trust_env=False) as client:
        assert (await client.get(f"{nginx.url}/healthz")).status_code == 502


async def test_a_relay_counts_cuts_and_holds(gateway: Server, between: Between) -> None:
    relay = await between.relay(gateway.url)
    async with httpx.AsyncClient(base_url=relay.url, timeout=BOUND, trust_env=False) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (relay.total, relay.open) == (1, 1)
        relay.cut()
        await until(lambda: relay.open == 0)
        relay.hold()
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/healthz", timeout=httpx.Timeout(BOUND, read=0.3))
        relay.go_on()
        assert (await client.get("/healthz")).status_code == 200
        await relay.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get("/healthz")
        await relay.start()
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("ci, outcome", [("true", Failed), ("", Skipped)])
def test_where_a_program_is_missing_a_test_says_so_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setitem(MACHINE, "no-such-browser", "no-such-package")
    with pytest.raises(outcome, match="sudo apt-get install no-such-package"):
        needed("chromium", "no-such-browser")


async def test_a_relay_breaks_a_connection_right_behind_what_it_is_told(gateway: Server, between: Between) -> None:
    relay = await between.relay(gateway.url)
    relay.cut_behind(b'{"status":')
    async with httpx.AsyncClient(base_url=relay.url, timeout=BOUND, trust_env=False) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/healthz")
        assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_a_script_of_node_finds_the_packages_of_npm() -> None:
    assert await node("says.mjs", "axe-core") == "object\n"
