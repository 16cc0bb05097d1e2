"""One job's page: it tells all that its document and its history say, as it happens, and lets one wish for more."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any

import httpx
import orjson
import pytest
from playwright.async_api import Locator, Page, expect

from tests.api import create, report
from tests.browser.between import Between
from tests.browser.pages import BOUND, Contexts, Troubles, axe, until
from tests.processes import Server, serving

SECOND = 1000.0  # ms
PHONE = {"width": 390, "height": 844}
MISSING = r"404 \(Not Found\)"  # what Chromium logs of a job that is not there
GONE = r"410 \(Gone\)"
TRACE = 'Traceback (most recent call last):\n  File "warp.py", line 132, in warp\n    raise SingularMatrix(crs)\n'
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"&amp;\u202egnp.exe\u202c'
SCHEMES = ("light", "dark")
LIVE = ("duration", "runningDuration", "runningSeconds", "retry_after", "nextPoll")


async def opened(page: Page, gateway: Server, job: str = "a", workspace: str = "default") -> Locator:
    """The page of a job that exists, once its history is there."""
    await page.goto(f"{gateway.url}/?job={workspace}/{job}")
    await page.locator(".job-change").first.wait_for()
    return page.locator(".job")


def change(page: Page, state: str) -> Locator:
    """The newest entry of the timeline that says so."""
    return page.locator(f".job-change[data-state={state}]").first


@pytest.mark.parametrize("within", [BOUND, pytest.param(1.0, marks=pytest.mark.soak)], ids="{:.0f} s".format)
async def test_every_transition_of_a_live_job_is_in_the_timeline_as_it_happens(
    gateway: Server, client: httpx.AsyncClient, page: Page, within: float
) -> None:
    await create(
        client, name="tiles", process="render", labels={"team": "geo"}, steps=[{"name": "one"}, {"name": "two"}]
    )
    job = await opened(page, gateway)
    await expect(job.get_by_role("heading", level=1)).to_have_text("tiles")
    await expect(job.locator(".job-tags")).to_contain_text("render")
    await expect(job.locator(".job-percent")).to_have_text("Not started")
    for state, members in (
        ("running", {"progress": 10, "step": "one", "message": "begun"}),
        ("paused", {}),
        ("running", {"progress": 60, "step": "two"}),
        ("retrying", {}),
        ("running", {"progress": 5}),
        ("succeeded", {"result": {"pages": 3}}),
    ):
        count = await page.locator(".job-change").count()
        assert (await report(client, state=state, **members)).status_code == 201
        await expect(page.locator(".job-change")).to_have_count(count + 1, timeout=within * SECOND)
        await expect(page.locator(".job-change").first).to_have_attribute("data-state", state)
        await expect(job.locator(".job-name .chip")).to_have_text(state.capitalize())
        if state == "running" and members["progress"] == 60:
            await expect(job.locator(".job-percent")).to_have_text("60%")
            await expect(job.locator(".job-place")).to_have_text("Step 2 of 2 · two")
    await expect(job.locator(".job-percent")).to_have_text("100%")
    await expect(job.locator(".job-result .job-box")).to_contain_text('"pages": 3')
    await expect(page).to_have_title("Succeeded: tiles · status gateway")
    await expect(page.locator(".job-chart desc")).to_contain_text("It is in attempt 2.")
    await expect(job.locator(".job-wishes").get_by_role("button")).to_have_text(["Delete job"])


async def test_a_failed_job_shows_its_error_in_full(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    await create(client, state="running", steps=[{"name": "warp", "tasks": [{"name": "scene-3"}]}])
    task = {"name": "scene-3", "state": "failed", "error": {"message": "singular", "stack": TRACE}}
    error = {"message": "it can't be inverted", "code": "SingularMatrix", "stack": TRACE, "details": {"scene": 3}}
    await report(client, state="failed", error=error, steps=[{"name": "warp", "state": "failed", "tasks": [task]}])
    job = await opened(page, gateway)
    shown = job.locator(".job-failed")
    await expect(shown.locator(".job-error-message")).to_have_text("it can't be inverted")
    await expect(shown.locator(".job-code")).to_have_text("SingularMatrix")
    await expect(shown.get_by_role("region", name="The trace of the error")).to_have_text(TRACE)
    await expect(shown.get_by_role("region", name="The details of the error")).to_contain_text('"scene": 3')
    await expect(change(page, "failed").locator(".job-reason")).to_have_text("it can't be inverted")
    await job.get_by_role("treeitem", name="scene-3").click()
    await expect(job.locator(".job-chosen")).to_contain_text("raise SingularMatrix(crs)")


async def test_what_a_job_says_is_never_more_than_text(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    links = [
        {"rel": HOSTILE, "href": "javascript:window.hacked=1", "type": HOSTILE},
        {"rel": "data", "href": "data:text/html,<script>window.hacked=1</script>"},
        {"rel": "tab", "href": "java\tscript:window.hacked=1"},
        {"rel": "good", "href": "https://example.org/a?b=<c>"},
        {"rel": "near", "href": "../files/a.txt"},
    ]
    steps = [{"name": HOSTILE, "details": {HOSTILE: HOSTILE}, "tasks": [{"name": HOSTILE, "error": HOSTILE}]}]
    details = {HOSTILE: HOSTILE, "__proto__": {"hacked": 1}}
    words: dict[str, Any] = {"step": HOSTILE, "message": HOSTILE, "details": details, "steps": steps, "links": links}
    await create(client, name=HOSTILE, process=HOSTILE, labels={HOSTILE.replace(":", ""): HOSTILE}, state="running")
    await report(client, **words, result=HOSTILE)
    await report(
        client, state="failed", error={"message": HOSTILE, "code": HOSTILE, "stack": HOSTILE, "details": details}
    )
    job = await opened(page, gateway)
    await job.get_by_role("treeitem").last.click()
    await job.locator(".job-table summary").click()
    await page.locator(".job-forms").scroll_into_view_if_needed()
    for name in ("Gateway", "Weaver", "Julep", "PraisonAI", "NeMo", "MCP"):
        await page.get_by_role("tab", name=name).click()
    await expect(job.get_by_role("heading", level=1)).to_contain_text("<script>window.hacked=1</script>")
    assert await page.locator("main :is(img, script, iframe, object, embed)").count() == 0
    assert await page.evaluate("window.hacked === undefined && ({}).hacked === undefined")
    found = await job.locator(".job-links a").evaluate_all("links => links.map(link => link.href)")
    assert found == ["https://example.org/a?b=%3Cc%3E", f"{gateway.url}/v1/files/a.txt"]
    await expect(job.locator(".job-unsafe")).to_have_count(3)


async def test_a_job_is_cancelled_by_keyboard_alone(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    await create(client, name="tiles", state="running", progress=10)
    job = await opened(page, gateway)
    button, dialog = page.get_by_role("button", name="Cancel job"), page.get_by_role("dialog")
    await until(lambda: tabbed_to(page, button), "the button has the focus")
    await page.keyboard.press("Enter")
    await expect(dialog).to_have_accessible_name("Cancel “tiles”?")
    await axe(page)
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(button).to_be_focused()
    assert (await client.get("/v1/jobs/a")).json()["state"] == "running"

    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(job.locator(".job-standing")).to_contain_text("Cancelling: asked; the worker decides")
    await expect(change(page, "cancelling")).to_be_visible()
    await expect(job.locator(".job-wishes")).to_be_hidden()
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await report(client, state="cancelled")
    await expect(job.locator(".job-name .chip")).to_have_text("Cancelled")
    await expect(job.locator(".job-standing")).to_be_hidden()


async def tabbed_to(page: Page, target: Locator) -> bool:
    """Press Tab once; whether it has led there."""
    await page.keyboard.press("Tab")
    return bool(await target.evaluate("element => element === document.activeElement"))


async def test_pause_and_resume_are_offered_where_the_state_allows_them(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await create(client, state="running")
    job = await opened(page, gateway)
    pause, resume = job.locator("[data-wish=pause]"), job.locator("[data-wish=resume]")
    await expect(resume).to_be_hidden()
    await pause.click()
    await page.get_by_role("button", name="Pause the job").click()
    await expect(job.locator(".job-standing")).to_contain_text("Pausing: asked; the worker decides")
    await expect(pause).to_be_hidden()
    await report(client, state="paused")
    await resume.click()
    await page.get_by_role("button", name="Resume the job").click()
    await expect(change(page, "resuming")).to_be_visible()


async def test_a_job_that_has_not_begun_is_cancelled_at_once_and_the_dialog_says_so(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await create(client)
    job = await opened(page, gateway)
    await page.get_by_role("button", name="Cancel job").click()
    await expect(page.get_by_role("dialog")).to_contain_text("cancelled at once")
    await page.get_by_role("button", name="Cancel the job").click()
    await expect(job.locator(".job-name .chip")).to_have_text("Cancelled")


async def test_a_wish_that_is_refused_says_why(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect(r"409 \(Conflict\)")
    await create(client, state="running")
    await opened(page, gateway)
    await page.get_by_role("button", name="Cancel job").click()
    await report(client, state="succeeded")
    await expect(page.locator(".job-name .chip")).to_have_text("Succeeded")
    await page.get_by_role("button", name="Cancel the job").click()
    refused = (await client.post("/v1/jobs/a/cancel")).json()["detail"]
    await expect(page.get_by_role("alert")).to_contain_text(refused)
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("workspace", ["default", "w-1"])
async def test_each_tab_shows_what_that_dialect_really_answers(
    gateway: Server, client: httpx.AsyncClient, page: Page, workspace: str
) -> None:
    await create(client, "job:1", name="tiles", workspace=workspace, state="running", progress=45, process="render")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await opened(page, gateway, "job%3A1", workspace)
    assert not any("/weaver/" in url for url in asked)
    query = {"workspace": workspace} if workspace != "default" else {}
    await page.get_by_role("tab", name="Gateway").click()
    for path in (
        "/v1/jobs/job:1",
        "/weaver/jobs/job:1",
        "/julep/jobs/job:1",
        "/praisonai/api/v1/runs/job:1",
        f"/nemo/apis/jobs/v2/workspaces/{workspace}/jobs/tiles/status",
    ):
        answer = (await client.get(path, params=None if "/nemo/" in path else query)).json()
        box = page.locator(".job-answer .job-box")
        await expect(box).to_contain_text('"job:1"' if path.startswith(("/v1", "/praisonai")) else '"')
        shown = orjson.loads(await box.inner_text())
        assert stable(shown) == stable(answer), path
        await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("tab", name="MCP")).to_be_focused()
    call = await page.locator(".job-form .code").inner_text()
    assert "get_job_status" in call
    said = await shell(call.removesuffix("Copy"))
    assert b'"status":"running"' in said.replace(b"\\", b"").replace(b" ", b"")


async def shell(line: str) -> bytes:
    """What a line prints that somebody pastes into a shell."""
    process = await asyncio.create_subprocess_exec("sh", "-c", line, stdout=PIPE, stderr=DEVNULL)
    said, _ = await asyncio.wait_for(process.communicate(), BOUND)
    assert process.returncode == 0
    return said


def stable(value: dict[str, Any]) -> dict[str, Any]:
    """An answer without what depends on now."""
    return {name: part for name, part in value.items() if name not in LIVE}


async def test_lines_to_copy_are_copied_and_work(
    gateway: Server, client: httpx.AsyncClient, contexts: Contexts
) -> None:
    document = await create(client, "a~1", workspace="w", state="running")
    context = await contexts(permissions=["clipboard-read", "clipboard-write"])
    page = await context.new_page()
    await opened(page, gateway, "a~1", "w")

    async def copied(label: str) -> str:
        button = page.get_by_role("button", name=label, exact=True)
        await button.click()
        await expect(button).to_have_text("Copied")
        return str(await page.evaluate("navigator.clipboard.readText()"))

    assert await copied("Copy the id") == "a~1"
    assert orjson.loads(await shell(await copied("Copy: Read it once"))) == document
    assert await copied("Copy: Wait for its end") == f"status-gateway watch --url {gateway.url} --workspace w a~1"
    assert f'new EventSource("{gateway.url}/v1/jobs/a~1/events?workspace=w")' in await copied("Copy: Listen in a page")
    assert f'<job-status src="{gateway.url}/v1/jobs/a~1?workspace=w">' in await copied("Copy: Show it in a page")


async def test_copying_works_where_the_browser_has_no_clipboard_of_its_own(
    gateway: Server, client: httpx.AsyncClient, contexts: Contexts
) -> None:
    await create(client, "a~1")
    context = await contexts(permissions=["clipboard-read"])
    await context.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})"
    )
    page = await context.new_page()
    await opened(page, gateway, "a~1")
    button = page.get_by_role("button", name="Copy the id")
    await button.click()
    await expect(button).to_have_text("Copied")
    await expect(button).to_be_focused()
    await page.get_by_role("heading", level=1).evaluate("heading => heading.contentEditable = 'true'")
    await page.get_by_role("heading", level=1).press("End")
    await page.keyboard.press("Control+V")
    await expect(page.get_by_role("heading", level=1)).to_have_text("a~1a~1")


async def test_a_job_that_does_not_exist_yet_appears_when_it_is_created(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect(MISSING)
    await page.goto(f"{gateway.url}/?job=default/later")
    await expect(page.get_by_role("heading", level=1)).to_have_text("No such job yet")
    await expect(page.locator(".job-page .empty")).to_contain_text("--id later")
    await until(lambda: page.locator("#connection").inner_text(), "it is connected")
    await expect(page.locator("#connection")).to_contain_text("Live")
    await axe(page)
    await create(client, "later", name="here at last")
    await expect(page.get_by_role("heading", level=1)).to_have_text("here at last")
    await expect(change(page, "pending")).to_be_visible()
    await report(client, "later", state="running")
    await expect(change(page, "running")).to_be_visible()


async def test_a_deleted_job_is_told_of(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect(GONE)
    await create(client, state="running")
    await report(client, state="succeeded")
    job = await opened(page, gateway)
    await client.delete("/v1/jobs/a")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(job.get_by_text("This job was deleted. What is shown is what it said last.")).to_be_visible()
    await expect(job.locator(".job-wishes")).to_be_hidden()
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("This job was deleted")
    await axe(page)


async def test_a_job_that_has_ended_is_deleted_by_keyboard_alone_and_leaves_the_list(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect(GONE)
    await create(client, name="tiles", state="running")
    await create(client, "b", name="stays")
    elsewhere = await page.context.new_page()
    await elsewhere.goto(gateway.url)
    row = elsewhere.locator(".row .name", has_text="tiles")
    await page.goto(gateway.url)
    await page.locator(".row .name", has_text="tiles").click()
    button, dialog = page.get_by_role("button", name="Delete job"), page.get_by_role("dialog")
    await expect(page.get_by_role("button", name="Cancel job")).to_be_visible()
    await expect(button).to_be_hidden()  # it has not ended
    await report(client, state="failed", error="disk full")
    await until(lambda: tabbed_to(page, button), "the button has the focus")
    await page.keyboard.press("Enter")
    await expect(dialog).to_have_accessible_name("Delete “tiles”?")
    await expect(dialog).to_have_accessible_description(re.compile("all its history are deleted.*can't be taken back"))
    await axe(page)
    await page.keyboard.press("Escape")
    await expect(button).to_be_focused()
    assert (await client.get("/v1/jobs/a")).status_code == 200
    await expect(row).to_be_visible()

    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#said")).to_have_text("tiles was deleted")
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_have_text("This job was deleted")
    await expect(heading).to_be_focused()
    await expect(page.locator(".job")).to_have_count(0)
    await expect(row).to_have_count(0)
    await axe(page)
    assert (await client.get("/v1/jobs/a")).status_code == 410
    await until(lambda: tabbed_to(page, page.get_by_role("link", name="Back to all jobs")), "the link has the focus")
    await page.keyboard.press("Enter")
    await expect(page.locator(".row .name")).to_have_text(["stays"])


async def test_a_job_that_somebody_else_deleted_meanwhile_is_deleted(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect(GONE)
    await create(client, state="running")
    await report(client, state="succeeded")
    await opened(page, gateway)
    await page.get_by_role("button", name="Delete job").click()
    await client.delete("/v1/jobs/a")
    await page.get_by_role("button", name="Delete the job").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("This job was deleted")


async def test_a_deletion_that_fails_says_why_and_the_job_is_still_shown(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect(r"ERR_CONNECTION_REFUSED", r"Failed to load")
    await create(client, state="running")
    await report(client, state="succeeded")
    job = await opened(page, gateway)
    await expect(page.locator("#connection[data-state=closed]")).to_be_visible()  # nothing more to follow
    await asyncio.to_thread(gateway.kill)
    await page.get_by_role("button", name="Delete job").click()
    await page.get_by_role("button", name="Delete the job").click()
    await expect(page.get_by_role("alert")).to_contain_text("Delete the job: the gateway did not answer")
    await expect(job.locator(".job-name .chip")).to_have_text("Succeeded")


async def test_the_focus_never_moves_to_the_button_that_deletes_by_itself(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await create(client)
    await opened(page, gateway)
    await page.get_by_role("button", name="Cancel job").click()
    await page.get_by_role("button", name="Cancel the job").click()
    await expect(page.get_by_role("button", name="Delete job")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_be_focused()


async def test_an_address_that_can_be_no_job_is_told_of(gateway: Server, page: Page, troubles: Troubles) -> None:
    troubles.expect(r"400 \(Bad Request\)")
    await page.goto(f"{gateway.url}/?job=default/a%20b")
    await expect(page.get_by_role("heading", level=1)).to_have_text("This is no job's address")
    await expect(page.locator(".job-detail")).not_to_be_empty()


async def test_the_page_recovers_from_a_killed_gateway_and_ends_at_the_right_state(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY")
    await create(client, state="running", progress=10)
    job = await opened(page, gateway)
    gateway.restart()
    async with httpx.AsyncClient(base_url=gateway.url, timeout=BOUND, trust_env=False) as again:
        await report(again, state="paused")
        await report(again, state="running", progress=90)
        await report(again, state="succeeded")
    await expect(job.locator(".job-name .chip")).to_have_text("Succeeded")
    states = page.locator(".job-change")
    await expect(states).to_have_count(4)
    assert await states.evaluate_all("all => all.map(one => one.dataset.state)") == [
        "succeeded",
        "running",
        "paused",
        "running",
    ]


async def test_what_was_compacted_is_told(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    await create(client, state="running")
    await report(client, state="paused")
    for number in range(5):
        await report(client, progress=number)
    await report(client, state="succeeded")
    gateway.terminate()
    with serving(gateway.database, "--progress-retention", "1") as server:  # which compacts as soon as it starts
        async with httpx.AsyncClient(base_url=server.url, timeout=BOUND, trust_env=False) as again:

            async def compacted() -> bool:
                history = await again.get("/v1/jobs/a/events", headers={"Accept": "application/json"})
                return len(history.json()["records"]) == 3

            await until(compacted, "the progress records are gone")
        await opened(page, server)
        await expect(page.locator(".job-gap")).to_have_text("5 records compacted away")
        await page.close()


async def test_the_chart_shows_progress_with_its_pauses_and_says_it_in_words_and_as_a_table(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    minutes = iter(range(10))

    def at() -> str:
        return f"2026-01-01T00:0{next(minutes)}:00Z"

    await create(client, state="running", time=at())
    await report(client, progress=20, time=at())
    await report(client, state="paused", time=at())
    await report(client, state="running", time=at())
    await report(client, state="failed", progress=60, error="x", time=at())
    job = await opened(page, gateway)
    chart = job.get_by_role("img", name="Progress over time")
    await expect(chart.locator(".job-line")).to_have_count(1)
    await expect(chart.locator(".job-band[data-tone=stopped]")).to_have_count(1)
    await expect(chart.locator(".job-strip")).to_have_count(4)
    await expect(chart.locator("desc")).to_have_text(
        "Progress went from 20% to 60% over 4 min 00 s. Paused once, for 1 min 00 s."
    )
    await expect(job.locator(".job-times")).to_contain_text("4 min 00 s")
    await job.get_by_text("As a table").click()
    await expect(job.locator(".job-rows tbody tr")).to_have_count(5)
    await expect(job.locator(".job-rows tbody tr").last).to_contain_text("Failed60%")


async def test_the_page_works_where_the_gateway_is_mounted_below_a_path(
    gateway: Server, client: httpx.AsyncClient, between: Between, page: Page
) -> None:
    await create(client, state="running")
    nginx = await between.nginx(gateway.url, "location /sub/ { proxy_pass http://gateway/; proxy_buffering off; }")
    await page.goto(f"{nginx.url}/sub/?job=default/a")
    await expect(change(page, "running")).to_be_visible()
    await report(client, progress=7)
    await expect(page.locator(".job-percent")).to_have_text("7%")
    await expect(page.locator("[data-snippet=curl] code")).to_have_text(f"curl {nginx.url}/sub/v1/jobs/a")
    await page.get_by_role("tab", name="Weaver").click()
    await expect(page.locator(".job-answer .job-box")).to_contain_text('"jobID"')
    await page.close()


async def test_from_the_list_to_a_job_and_back_the_focus_goes_along(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    await create(client, name="tiles", state="running")
    await page.goto(gateway.url)
    await page.get_by_role("link", name="tiles").press("Enter")
    heading = page.get_by_role("heading", level=1, name="tiles")
    await expect(heading).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(heading).to_have_count(0)
    await expect(page.get_by_role("link", name="tiles")).to_be_visible()


async def test_a_gateway_that_does_not_answer_is_told_of_until_it_does(
    gateway: Server, client: httpx.AsyncClient, page: Page, troubles: Troubles
) -> None:
    troubles.expect("ERR_FAILED", "ERR_INTERNET_DISCONNECTED")
    await create(client, name="tiles", state="running")
    await page.route("**/v1/**", lambda route: route.abort())
    await page.goto(f"{gateway.url}/?job=default/a")
    await expect(page.get_by_role("heading", level=1)).to_have_text("The gateway does not answer")
    await page.unroute("**/v1/**")
    await expect(page.get_by_role("heading", level=1)).to_have_text("tiles")
    await expect(change(page, "running")).to_be_visible()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [{"width": 1280, "height": 720}, PHONE])
async def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    gateway: Server, client: httpx.AsyncClient, contexts: Contexts, scheme: str, size: dict[str, int]
) -> None:
    word = "x" * 200
    tasks = [{"name": f"{word}{number}", "state": "failed", "error": word} for number in range(3)]
    await create(client, name=word, process=word, labels={word[:60]: word}, state="running", lease=60, progress=1)
    links = [{"rel": word, "href": f"https://example.org/{word}"}, {"rel": "x", "href": f"mailto:{word}"}]
    await report(client, progress=40, step=word, message=word, details={word: word}, links=links)
    await report(client, steps=[{"name": word, "state": "failed", "tasks": tasks}, {"name": "b", "state": "running"}])
    await create(client, "b", state="running")
    await report(
        client, "b", state="failed", error={"message": word, "code": word, "stack": word, "details": {"a": word}}
    )
    page = await (await contexts(color_scheme=scheme, viewport=size, reduced_motion="reduce")).new_page()
    for job in ("a", "b"):
        shown = await opened(page, gateway, job)
        for item in await shown.get_by_role("treeitem").all():
            await item.press("Enter")
        for summary in await shown.locator("summary").all():
            await summary.click()
        await page.get_by_role("tab", name="Weaver").click()
        await page.locator(".job-answer .job-box").wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        await axe(page)


async def test_the_tree_of_steps_is_led_through_by_keys(gateway: Server, client: httpx.AsyncClient, page: Page) -> None:
    steps = [{"name": name, "tasks": [{"name": f"{name}-{n}"} for n in range(2)]} for name in ("fetch", "render")]
    await create(client, state="running", steps=steps)
    await opened(page, gateway)
    fetch, render = (page.get_by_role("treeitem", name=name, exact=False).first for name in ("fetch", "render"))
    await fetch.focus()
    await page.keyboard.press("ArrowLeft")
    await expect(fetch).to_have_attribute("aria-expanded", "false")
    await expect(page.get_by_role("treeitem")).to_have_count(4)
    await page.keyboard.press("ArrowDown")
    await expect(render).to_be_focused()
    await report(client, steps=[{"name": "fetch", "state": "running"}], message="news")
    await expect(page.locator(".job-message")).to_have_text("news")
    await expect(render).to_be_focused()
    await expect(fetch).to_have_attribute("aria-expanded", "false")
    await page.keyboard.press("Enter")
    await expect(page.locator(".job-chosen h3")).to_have_text("render")


@pytest.mark.parametrize("longest", [10_000, pytest.param(500, marks=pytest.mark.soak)], ids="{} ms".format)
async def test_a_history_of_two_thousand_records_stays_quick(
    gateway: Server, client: httpx.AsyncClient, page: Page, longest: int
) -> None:
    lines: list[dict[str, Any]] = [{"job": "a", "state": "running"}]
    lines += [{"job": "a", "progress": number / 20, "message": f"line {number}"} for number in range(1500)]
    lines += [{"job": "a", "state": "paused" if number % 2 else "running"} for number in range(499)]
    body = b"\n".join(orjson.dumps(line) for line in lines)
    answer = await client.post("/v1/events", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200
    assert (await client.get("/v1/jobs/a")).json()["version"] >= 1990
    await page.add_init_script(
        "window.longest = 0; new PerformanceObserver((list) => { for (const task of list.getEntries()) "
        "window.longest = Math.max(window.longest, task.duration); }).observe({type: 'longtask', buffered: true})"
    )
    await opened(page, gateway)
    await expect(page.locator(".job-timeline-note")).to_be_hidden()
    assert await page.locator(".job-timeline > li").count() <= 60
    await page.get_by_role("button", name=re.compile("^Show 60 older")).click()
    await expect(page.locator(".job-timeline > li")).to_have_count(120)
    await report(client, message="still quick")
    await expect(page.locator(".job-message")).to_have_text("still quick")
    assert await page.evaluate("window.longest") < longest  # ms that nothing else on the page could happen


async def test_a_document_of_a_quarter_megabyte_stays_usable(
    gateway: Server, client: httpx.AsyncClient, page: Page
) -> None:
    details = {f"key-{number}": {"value": number, "text": "x" * 20} for number in range(3500)}
    await create(client, state="running", details={**details, "long": "y" * 10_000})
    await opened(page, gateway)
    box = page.locator(".job-details .job-box")
    height = await box.evaluate("box => box.clientHeight")
    assert height <= 400
    made = await box.evaluate("box => box.textContent.split('\\n').length")
    assert made < 300
    await box.focus()
    await page.keyboard.press("End")
    await until(lambda: box.evaluate(f"box => box.textContent.split('\\n').length > {made}"), "more lines are made")
    await report(client, progress=5)
    await expect(page.locator(".job-percent")).to_have_text("5%")
