"""The elements in a real page of another origin: what they show, say, tell the page, and let go of.

Every page here is served by a site of its own; the elements come from the gateway by their one script tag.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, Request, expect

from tests.api import create, report, served
from tests.browser.between import Between
from tests.browser.embedding import BOTH_SCHEMES, Embedding, Site, another_site, embedding, noted, said
from tests.browser.pages import BOUND, Contexts, Troubles, axe, needed, node, program, until
from tests.processes import serving

RECOVERY = 120_000  # milliseconds: a back-off of some seconds on a loaded machine


@pytest_asyncio.fixture(loop_scope="session")
async def site(tmp_path: Path, between: Between, contexts: Contexts) -> AsyncIterator[Embedding]:
    """A site that the gateway allows."""
    async with embedding(tmp_path, between, contexts) as site:
        yield site


ONE = '<job-status src="GATEWAY/v1/jobs/a"></job-status>'


async def test_a_whole_job_is_shown_said_and_told_to_the_page(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles")
    await site.open(page, ONE)
    await expect(page.get_by_role("group", name="tiles")).to_contain_text("Pending")
    await report(site.client, "a", state="running", step="validating", message="step 2 of 4")
    await expect(page.get_by_role("group", name="tiles")).to_contain_text("Running")
    bar = page.get_by_role("progressbar", name="Progress of tiles")
    await expect(bar).to_have_attribute("aria-valuetext", "progress not known, validating")
    assert await bar.get_attribute("aria-valuenow") is None
    for progress in (10, 25.5, 45.9):
        await report(site.client, "a", progress=progress)
    await expect(bar).to_have_attribute("aria-valuenow", "45")
    await expect(bar).to_have_attribute("aria-valuetext", "45%, validating")
    await expect(page.get_by_text("45%", exact=True)).to_be_visible()
    await expect(page.get_by_text("step 2 of 4")).to_be_visible()
    await report(site.client, "a", state="succeeded")
    await expect(page.get_by_role("group", name="tiles")).to_contain_text("Succeeded")
    await expect(bar).to_have_attribute("aria-valuenow", "100")
    await until(lambda: noted(page, "end"))

    changes = await noted(page, "statuschange")
    states = [change["job"]["state"] for change in changes]
    assert [state for n, state in enumerate(states) if n == 0 or states[n - 1] != state] == [
        "pending",
        "running",
        "succeeded",
    ]
    assert [change["previous"] and change["previous"]["position"] for change in changes] == [
        None,
        *(change["job"]["position"] for change in changes[:-1]),
    ]
    assert changes[0]["change"]["event"] == "snapshot"
    assert changes[-1]["change"]["event"] == "transition"
    ends = await noted(page, "end")
    assert [(end["reason"], end["job"]["state"]) for end in ends] == [("terminal", "succeeded")]
    assert await page.evaluate("events.at(-1).type === 'end' || events.at(-2).type === 'end'")
    assert await page.evaluate("document.querySelector('job-status').job.state") == "succeeded"
    # Five changes of state and progress; two transitions after what stood there at first.
    spoken = await said(page)
    assert spoken[0] == "tiles: Running"
    assert spoken[1].startswith("tiles: Succeeded after ")
    assert len(spoken) == 2


async def test_progress_alone_is_never_announced(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles", state="running")
    await site.open(page, ONE)
    bar = page.get_by_role("progressbar")
    await expect(bar).to_be_visible()  # it has its snapshot: what follows are changes
    for progress in range(1, 31):
        await report(site.client, "a", progress=progress, step=f"part {progress}", message=f"{progress} of 30")
    await expect(bar).to_have_attribute("aria-valuenow", "30")
    assert await said(page) == []
    await report(site.client, "a", state="paused")
    await until(lambda: said(page))
    assert await said(page) == ["tiles: Paused"]


async def test_a_failed_job_shows_why_and_how_far_it_came(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles", state="running", progress=61)
    await site.open(page, ONE)
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "61")
    await report(site.client, "a", state="failed", error={"message": "No space left\u202e on <b>device</b>"})
    await expect(page.locator("job-status .error")).to_have_text("No space left on <b>device</b>")
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "Failed at 61%")
    await until(lambda: said(page))
    (spoken,) = await said(page)
    assert spoken.startswith("tiles: Failed after ")
    assert spoken.endswith(". No space left on <b>device</b>")
    assert (await noted(page, "end"))[0]["reason"] == "terminal"


async def test_the_time_at_work_runs_on_and_stands_still_at_the_end(page: Page, site: Embedding) -> None:
    await create(site.client, "a", state="running")
    await site.open(page, ONE)
    time = page.locator("job-status time")
    first = await time.text_content()
    await expect(time).not_to_have_text(first or "")
    assert (await time.get_attribute("datetime") or "").startswith("PT")
    await report(site.client, "a", state="cancelled")
    await expect(time).to_contain_text("took ")


async def test_a_killed_and_restarted_gateway_is_found_again(page: Page, site: Embedding, troubles: Troubles) -> None:
    troubles.expect(
        "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "Failed to load"
    )
    await create(site.client, "a", name="tiles", state="running", progress=10)
    await site.open(page, ONE)
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "10")
    site.server.kill()
    await expect(page.get_by_text("Connection lost")).to_be_visible()
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "10")  # what was known stays
    site.server.start()
    await report(site.client, "a", progress=80)
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "80", timeout=RECOVERY)
    await expect(page.get_by_text("Connection lost")).to_be_hidden()
    await report(site.client, "a", state="succeeded")
    await expect(page.get_by_role("group", name="tiles")).to_contain_text("Succeeded")
    spoken = await said(page)
    assert len(spoken) == 1, spoken


async def test_a_page_that_is_not_allowed_is_told_how_to_be_and_recovers_when_it_is(
    page: Page, tmp_path: Path, between: Between, troubles: Troubles
) -> None:
    troubles.expect("CORS policy", "ERR_FAILED", "Failed to load", "ERR_CONNECTION")
    origin = await another_site(between)
    with serving(tmp_path / "status.db", "--allowed-origin", "http://elsewhere.example") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=BOUND, trust_env=False) as client:
            await create(client, "a", name="secret", state="running")
        body = ONE + '<job-list src="GATEWAY/v1/events?state=running"></job-list>'
        await Site(origin, server.url).open(page, body)
        for element in ("job-status", "job-list"):
            shown = page.locator(element)
            await expect(shown).to_contain_text(f"{server.url} does not allow this page to read it")
            await expect(shown).to_contain_text(f"--allowed-origin {origin.url}")
            assert await shown.evaluate("(element) => element.problem.code") == "origin-not-allowed"
        await expect(page.get_by_text("secret")).to_have_count(0)
        port = server.port
    with serving(tmp_path / "status.db", "--allowed-origin", origin.url, port=port):
        await expect(page.get_by_role("group", name="secret").first).to_contain_text("Running", timeout=RECOVERY)


async def test_a_gateway_that_does_not_run_is_named_and_found_once_it_does(
    page: Page, site: Embedding, troubles: Troubles
) -> None:
    troubles.expect("ERR_CONNECTION_REFUSED", "Failed to load")
    await create(site.client, "a", name="tiles")
    await site.open(page, "")
    site.server.kill()
    await page.evaluate(
        "(src) => { const one = document.createElement('job-status'); one.src = src; document.body.append(one); }",
        f"{site.gateway}/v1/jobs/a",
    )
    await expect(page.locator("job-status")).to_contain_text(f"No answer from {site.gateway}")
    site.server.start()
    await expect(page.get_by_role("group", name="tiles")).to_contain_text("Pending", timeout=RECOVERY)


async def test_a_proxy_that_answers_for_the_gateway_is_not_taken_for_it(
    page: Page, site: Embedding, between: Between, troubles: Troubles
) -> None:
    troubles.expect("CORS policy", "ERR_FAILED", "Failed to load", "502")
    await create(site.client, "a", name="tiles")
    nginx = await between.nginx(site.gateway, "location / { return 502; }")
    await site.open(page, "")
    await page.evaluate(
        "(src) => { const one = document.createElement('job-status'); one.src = src; document.body.append(one); }",
        f"{nginx.url}/v1/jobs/a",
    )
    await expect(page.locator("job-status")).to_contain_text(f"{nginx.url} does not answer as a gateway does")
    await nginx.change("location / { proxy_pass http://gateway; proxy_buffering off; }")
    await expect(page.get_by_role("group", name="tiles")).to_contain_text("Pending", timeout=RECOVERY)


STRICT = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; script-src 'self' GATEWAY; connect-src {connect}; img-src data:\">"
)


async def test_a_strict_content_security_policy_stops_neither_look_nor_stream(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles", state="running", progress=45)
    await site.open(page, ONE, STRICT.format(connect="GATEWAY"))
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "45")
    card = page.locator("job-status .card")
    assert await card.evaluate("(card) => getComputedStyle(card).borderRadius") == "10px"
    filled = """(card) => {
      const [bar, track] = [".bar", ".track"].map((part) => card.querySelector(part).getBoundingClientRect());
      return Math.abs((bar.right - track.left) / track.width - 0.45) < 0.01;
    }"""
    await until(lambda: card.evaluate(filled), "a bar that is filled to 45 %")


async def test_a_policy_that_forbids_the_connection_is_named_with_its_remedy(
    page: Page, site: Embedding, troubles: Troubles
) -> None:
    troubles.expect("Content Security Policy", "violates the document")
    await create(site.client, "a")
    await site.open(page, ONE, STRICT.format(connect="'self'"))
    shown = page.locator("job-status")
    await expect(shown).to_contain_text(f"Add {site.gateway} to its connect-src")
    await page.keyboard.press("Tab")
    await expect(shown.get_by_role("button", name="Try again")).to_be_focused()
    spoken = len(await said(page))
    await page.keyboard.press("Enter")
    await until(lambda: page.evaluate("(before) => said.length > before", spoken), "the same, said again")
    await expect(shown).to_contain_text("connect-src")


@pytest.mark.parametrize(
    "src, says",
    [
        ("", "Set src to the address of a job"),
        ("ftp://127.0.0.1/v1/jobs/a", "no address of http"),
        ("http://", "is no address"),
        ("http://user:word@127.0.0.1/v1/jobs/a", "No user name and password"),
        ("GATEWAY/v1/events?state=running", "something else"),
        ("GATEWAY/v1/jobs/", "something else"),
        ("GATEWAY/v1/jobs/a?colour=red", "colour"),
        ("javascript:alert(1)//v1/jobs/a", "no address of http"),
    ],
)
async def test_a_src_that_means_no_job_says_what_it_should_be(page: Page, site: Embedding, src: str, says: str) -> None:
    await site.open(page, f'<job-status src="{src}"></job-status>')
    await expect(page.locator("job-status")).to_contain_text(says)
    await expect(page.locator("job-status")).to_contain_text("such as http://gateway:8000/v1/jobs/ID")


async def test_the_gateways_own_page_of_a_job_may_be_its_src(page: Page, site: Embedding) -> None:
    await create(site.client, "a:1", name="tiles", workspace="geo")
    await site.open(page, '<job-status src="GATEWAY/?job=geo/a%3A1"></job-status>')
    name = page.get_by_role("link", name="tiles")
    await expect(name).to_have_attribute("href", f"{site.gateway}/?job=geo/a%3A1")


async def test_a_job_that_is_not_there_yet_appears_and_another_src_takes_its_place(
    page: Page, site: Embedding, troubles: Troubles
) -> None:
    troubles.expect("404", "410")
    await site.open(page, ONE)
    await expect(page.locator("job-status")).to_contain_text("There is no job “a” yet")
    await create(site.client, "a", name="tiles", state="running")
    await expect(page.get_by_role("group", name="tiles")).to_contain_text("Running")
    await report(site.client, "a", state="succeeded")
    await until(lambda: noted(page, "end"))

    await create(site.client, "b", name="late", state="running")
    await page.evaluate("(src) => { document.querySelector('job-status').src = src; }", f"{site.gateway}/v1/jobs/b")
    await expect(page.get_by_role("group", name="late")).to_contain_text("Running")
    assert await page.get_by_role("group", name="tiles").count() == 0


async def test_a_job_that_was_deleted_says_so(page: Page, site: Embedding, troubles: Troubles) -> None:
    troubles.expect("404", "410")
    await create(site.client, "a", name="tiles", state="running")
    await report(site.client, "a", state="failed")
    assert (await site.client.delete("/v1/jobs/a")).status_code == 204
    await site.open(page, ONE)
    await expect(page.get_by_role("group", name="a")).to_contain_text("Deleted")
    await until(lambda: noted(page, "end"))
    assert (await noted(page, "end"))[0]["reason"] == "deleted"


async def test_a_page_from_a_file_is_told_to_be_served(
    page: Page, site: Embedding, tmp_path: Path, troubles: Troubles
) -> None:
    troubles.expect("CORS policy", "ERR_FAILED", "Failed to load")
    file = tmp_path / "page.html"
    file.write_text(
        f'<script type="module" src="{site.gateway}/static/job-status.js"></script>'
        + ONE.replace("GATEWAY", site.gateway)
    )
    await page.goto(file.as_uri())
    await expect(page.locator("job-status")).to_contain_text("Serve it by http")


async def test_links_lead_only_to_http(page: Page, site: Embedding) -> None:
    links = [
        {"rel": "result", "href": "/results/1"},
        {"rel": "log", "href": "https://x.example/log"},
        {"rel": "evil", "href": "javascript:document.title='run'"},
        {"rel": "data", "href": "data:text/html,x"},
    ]
    await create(site.client, "a", name="tiles", links=links)
    await site.open(page, ONE)
    await expect(page.get_by_text("evil: javascript:")).to_be_visible()
    hrefs = await page.locator("job-status").evaluate(
        "(e) => [...e.shadowRoot.querySelectorAll('a')].map((a) => a.href)"
    )
    assert sorted(hrefs) == [
        f"{site.gateway}/?job=default/a",
        f"{site.gateway}/results/1",
        "https://x.example/log",
    ]


async def test_a_token_is_sent_as_a_header_and_refused_as_an_attribute(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles")
    asked: list[Request] = []

    def note(request: Request) -> None:
        asked.append(request)

    page.on("request", note)
    await site.open(page, "<job-status></job-status>" + ONE.replace("src", 'token="secret-1" src'))
    await expect(page.locator("job-status").nth(1)).to_contain_text("A token does not belong into the markup")
    await page.evaluate(
        "(src) => { const one = document.querySelector('job-status'); one.token = 'secret-2'; one.src = src; }",
        f"{site.gateway}/v1/jobs/a",
    )
    await expect(page.get_by_role("group", name="tiles")).to_contain_text("Pending")
    assert not any("secret" in request.url for request in asked)
    headers = [await request.all_headers() for request in asked if "/v1/" in request.url and request.method == "GET"]
    assert {head.get("authorization") for head in headers} == {"Bearer secret-2"}
    assert "secret-2" not in await page.content()


async def test_what_was_set_before_the_script_came_counts(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles")
    site.origin.files["/early.js"] = f"document.querySelector('job-status').src = '{site.gateway}/v1/jobs/a';"
    await site.open(page, '<job-status></job-status><script src="/early.js"></script>')
    await expect(page.get_by_role("group", name="tiles")).to_contain_text("Pending")
    assert await page.locator("job-status").get_attribute("src") == f"{site.gateway}/v1/jobs/a"


async def test_a_removed_element_closes_its_stream_and_a_moved_one_keeps_it(
    page: Page, between: Between, tmp_path: Path
) -> None:
    origin = await another_site(between)
    async with served(tmp_path, allowed_origins=(origin.url,)) as at:
        streams = at.app.state.gateway.streams
        await create(at.client, "a", name="tiles", state="running")
        await Site(origin, f"http://127.0.0.1:{at.port}").open(page, ONE)
        await expect(page.get_by_role("group", name="tiles")).to_contain_text("Running")
        await until(lambda: len(streams) == 1, "one stream")
        (stream,) = streams
        await page.evaluate("document.body.append(document.querySelector('job-status'))")
        await report(at.client, "a", progress=5)
        await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "5")
        assert list(streams) == [stream]
        assert len(await noted(page, "statuschange")) == 2
        await page.evaluate("window.kept = document.querySelector('job-status'); kept.remove()")
        await until(lambda: len(streams) == 0, "no stream")
        await report(at.client, "a", progress=50)
        await page.evaluate("document.body.append(kept)")
        await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
        await until(lambda: len(streams) == 1, "one stream again")
        changes = await noted(page, "statuschange")
        assert [change["job"]["progress"] for change in changes] == [None, 5, 50]
        await page.close()  # before the gateway, of whose end it would complain


async def test_removed_elements_are_let_go_by_the_page(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles", state="running")
    await site.open(page, "")
    await page.evaluate(
        """async (src) => {
          window.gone = [];
          for (const name of ["job-status", "job-list"]) {
            for (let n = 0; n < 3; n += 1) {
              const element = document.createElement(name);
              element.src = name === "job-status" ? `${src}/v1/jobs/a` : `${src}/v1/events?state=running`;
              const shown = new Promise((done) => element.addEventListener("statuschange", done, { once: true }));
              document.body.append(element);
              await shown;
              element.remove();
              gone.push(new WeakRef(element));
            }
          }
          events.length = 0;
        }""",
        site.gateway,
    )
    session = await page.context.new_cdp_session(page)

    async def all_gone() -> bool:
        await session.send("HeapProfiler.collectGarbage")
        return bool(await page.evaluate("events.length = 0, gone.every((ref) => ref.deref() === undefined)"))

    await until(all_gone, "the removed elements are collected")


@pytest.fixture
def shown() -> Mapping[str, Any]:
    """Jobs in every state that looks different."""
    return {
        "pending": {},
        "running": {"state": "running", "progress": 45, "step": "validating", "message": "step 2 of 4"},
        "endless": {"state": "running", "message": "no idea how long", "links": [{"rel": "log", "href": "/log"}]},
        "long": {"name": "n" * 180, "state": "running", "message": "m" * 900, "step": "s" * 100, "progress": 99.9},
    }


@pytest_asyncio.fixture(loop_scope="session")
async def jobs(site: Embedding, shown: Mapping[str, Any]) -> AsyncIterator[list[str]]:
    for name, members in shown.items():
        await create(site.client, name, **members)
    for state in ("succeeded", "failed", "cancelled", "paused", "cancelling", "retrying"):
        await create(site.client, state, state="running", progress=30)
        if state == "cancelling":
            await site.client.post(f"/v1/jobs/{state}/cancel")
        else:
            error = {"error": {"message": "disk full"}} if state == "failed" else {}
            await report(site.client, state, state=state, **error)
    yield [*shown, "succeeded", "failed", "cancelled", "paused", "cancelling", "retrying"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_in_any_state(
    contexts: Contexts, site: Embedding, jobs: list[str], scheme: str, troubles: Troubles
) -> None:
    troubles.expect("404")
    context = await contexts(color_scheme=scheme, reduced_motion="reduce")
    page = await context.new_page()
    cards = "".join(f'<job-status src="GATEWAY/v1/jobs/{job}"></job-status>' for job in [*jobs, "missing"])
    rows = "".join(f'<job-status compact src="GATEWAY/v1/jobs/{job}"></job-status>' for job in jobs)
    lists = [
        f'<job-list heading="{name}" src="GATEWAY/v1/events?{name}"></job-list>' for name in ("omit=details", "name=no")
    ]
    await site.open(page, "".join([cards, rows, *lists, "<job-status></job-status>"]))
    await expect(page.get_by_text("10 jobs", exact=True)).to_be_visible()
    await expect(page.locator("[aria-busy]:visible")).to_have_count(0)
    await expect(page.locator(".none:visible")).to_contain_text("No job matches now")
    await expect(page.get_by_text("There is no job “missing” yet", exact=True)).to_be_visible()
    await axe(page)
    await page.set_viewport_size({"width": 320, "height": 600})
    await axe(page)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it overflows a narrow page"
    # Nothing moves for those who asked for that.
    assert await page.evaluate(
        "[...document.querySelectorAll('job-status, job-list')]"
        ".flatMap((element) => element.shadowRoot.getAnimations()).length === 0"
    )


async def test_a_page_that_is_only_light_or_says_a_theme_gets_it(contexts: Contexts, site: Embedding) -> None:
    await create(site.client, "a", name="tiles", state="running")
    page = await (await contexts(color_scheme="dark")).new_page()
    themes = [ONE, ONE.replace("src", 'theme="dark" src'), ONE.replace("src", 'theme="light" src')]
    await site.open(page, "".join(themes), head="")  # without a color-scheme of its own a page is light
    await expect(page.get_by_role("group", name="tiles")).to_have_count(3)
    grounds = await page.evaluate(
        "[...document.querySelectorAll('job-status')].map((element) =>"
        " getComputedStyle(element.shadowRoot.querySelector('.card')).backgroundColor)"
    )
    assert grounds == ["rgb(255, 255, 255)", "rgb(23, 27, 32)", "rgb(255, 255, 255)"]


async def test_a_page_styles_it_by_properties_parts_and_states(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles", state="running", step="reading", message="of all", progress=3)
    site.origin.files["/page.css"] = (
        "job-status { --job-radius: 3px; --job-active: rgb(1, 2, 3); }"
        "job-status::part(name) { letter-spacing: 2px; } job-status:state(running) { opacity: 0.5; }"
    )
    body = ONE.replace("src", "hide-step hide-time no-link src") + '<p id="below">below</p>'
    await site.open(page, body, '<link rel="stylesheet" href="/page.css">')
    await expect(page.get_by_role("group", name="tiles")).to_be_visible()
    style = "(element, [part, name]) => getComputedStyle(element.shadowRoot.querySelector(part))[name]"
    host = page.locator("job-status")
    assert await host.evaluate(style, [".card", "borderRadius"]) == "3px"
    assert await host.evaluate(style, [".bar", "backgroundColor"]) == "rgb(1, 2, 3)"
    assert await host.evaluate(style, [".name", "letterSpacing"]) == "2px"
    assert await host.evaluate("(element) => getComputedStyle(element).opacity") == "0.5"
    await expect(page.get_by_text("reading")).to_be_hidden()
    await expect(page.get_by_text("of all")).to_be_visible()
    await expect(host.locator("time")).to_be_hidden()
    await expect(page.get_by_role("link", name="tiles")).to_have_count(0)


async def test_colours_that_a_reader_forces_leave_bar_and_state_to_be_seen(contexts: Contexts, site: Embedding) -> None:
    await create(site.client, "a", name="tiles", state="running", progress=40)
    page = await (await contexts(forced_colors="active")).new_page()
    await site.open(page, ONE)
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "40")
    colours = await page.locator("job-status").evaluate(
        """(element) => {
          const [bar, track] = [".bar", ".track"].map((part) => element.shadowRoot.querySelector(part));
          const probe = document.body.appendChild(document.createElement("p"));
          probe.style.color = "Highlight";
          const [one, other, frame] = [probe, bar, track].map((element) => getComputedStyle(element));
          return [one.color, other.backgroundColor, frame.borderWidth];
        }"""
    )
    assert colours == [colours[0], colours[0], "1px"]


async def test_where_the_writing_goes_to_the_left_the_bar_grows_to_the_left(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles", state="running", progress=25)
    await site.open(page, f'<div dir="rtl">{ONE}</div>')
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    filled = """(element) => {
      const [bar, track] = [".bar", ".track"].map((part) =>
        element.shadowRoot.querySelector(part).getBoundingClientRect());
      return Math.abs((track.right - bar.left) / track.width - 0.25) < 0.01;
    }"""
    await until(lambda: page.locator("job-status").evaluate(filled), "a quarter, from the right")


async def test_an_element_that_moves_into_a_frame_keeps_its_look_and_its_job(page: Page, site: Embedding) -> None:
    await create(site.client, "a", name="tiles", state="running", progress=25)
    site.origin.files["/frame"] = "<!doctype html><title>frame</title>"
    await site.open(page, ONE + '<iframe src="/frame" title="frame"></iframe>')
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    await page.evaluate(
        "document.querySelector('iframe').contentDocument.body.append(document.querySelector('job-status'))"
    )
    inside = page.frame_locator("iframe").locator("job-status .card")
    await report(site.client, "a", progress=50)
    await expect(inside.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
    assert await inside.evaluate("(card) => getComputedStyle(card).borderRadius") == "10px"


async def test_firefox_shows_the_same(page: Page, site: Embedding) -> None:
    needed("firefox-esr")
    await create(site.client, "a", name="tiles", state="running", progress=25)
    await site.open(page, ONE + '<job-list src="GATEWAY/v1/events"></job-list>', BOTH_SCHEMES)
    await page.close()
    job = f"{site.gateway}/v1/jobs/a"
    shown = json.loads(
        await node("elements_firefox.mjs", site.origin.url, job, program("firefox-esr") or "", bound=3 * BOUND)
    )
    spoken = shown.pop("said")
    assert shown == {
        "state": "Succeeded",
        "now": "100",
        "rows": 1,
        "troubles": [],
        "radius": "10px",
        "ground": "rgb(255, 255, 255)",
        "bar": "rgb(20, 117, 58)",
    }
    assert all(text.startswith("tiles: Succeeded after ") for text in spoken)
