"""Weaver's routes over a real log: status, lists, dismissal, logs, exceptions, results, and its errors everywhere."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from gateway.app import create_app
from gateway.dialects import weaver
from gateway.dialects.body import MAX_BODY
from gateway.dialects.weaver import Weaver
from gateway.eventlog.base import Standing
from gateway.service import Gateway
from gateway.settings import Settings
from tests.api import api, app_of, client_of, create, report

ID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
OTHER = "b1b2c3d4-e5f6-7890-abcd-ef1234567890"
OGC = "https://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"
JOB = f"/weaver/jobs/{ID}"
# As its documentation has it: job_logs.json of Weaver's examples.
EXAMPLE = (
    "[2021-03-02 03:32:43] INFO     [weaver.datatype.Job] 0:00:05   7% running    Starting monitoring of job execution."
)
LINE = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)] (.{8}) \[([\w.-]+)] (\d+:\d\d:\d\d) (.{3})% (.{10}) (.*)")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path) as found:
        yield found


async def body(client: httpx.AsyncClient, path: str, status: int = 200, **headers: str) -> Any:
    """The JSON of an answer, which must have that status."""
    response = await client.get(path, headers=headers)
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/json")
    return response.json()


async def running(client: httpx.AsyncClient, job: str = ID, **said: Any) -> None:
    """A job that runs."""
    await create(client, job, process="my-process")
    await report(client, job, state="running", **said)


def refused(response: httpx.Response, status: int, title: str, kind: str | None = None) -> dict[str, Any]:
    """The OGC exception of an answer."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    told: dict[str, Any] = response.json()
    assert told["title"] == told["code"] == title
    assert told["status"] == status
    assert told["detail"] == told["description"]
    if kind is not None:
        assert told["type"] == f"{OGC}/{kind}"
    return told


# Status


async def test_a_status_says_when_to_ask_again_while_the_job_goes_on_and_not_after(client: httpx.AsyncClient) -> None:
    await running(client)
    answer = await client.get(JOB)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert int(answer.headers["retry-after"]) >= 1  # the job's own pace
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.json()["nextPoll"]
    assert "Accept" in answer.headers["vary"]
    await report(client, ID, state="succeeded")
    answer = await client.get(JOB)
    assert "retry-after" not in answer.headers
    assert "nextPoll" not in answer.json()


async def test_a_job_is_found_by_its_uuid_by_its_own_id_and_within_its_process(client: httpx.AsyncClient) -> None:
    await create(client, "tiles", process="my-process:1.0.0", name="tiles of June")
    own = await body(client, "/weaver/jobs/tiles")
    assert (own["processID"], own["title"]) == ("my-process:1.0.0", "tiles of June")
    alias = own["jobID"]
    await create(client, "others", process="mine")
    other = await body(client, "/weaver/processes/mine:1.0.0/jobs/others")
    for path in (f"/jobs/{alias}", f"/processes/my-process:1.0.0/jobs/{alias}"):
        found = await body(client, f"/weaver{path}")
        assert (found["id"], found["jobID"]) == (alias, alias)
    assert other["processID"] == "mine"


async def test_a_job_of_another_workspace_is_reached_through_every_link(client: httpx.AsyncClient) -> None:
    await create(client, ID, workspace="geo", process="a b")
    await client.post(f"/v1/jobs/{ID}/events?workspace=geo", json={"state": "failed", "error": "disk full"})
    refused(await client.get(JOB), 404, "NoSuchJob")
    links = (await body(client, f"{JOB}?workspace=geo"))["links"]
    assert len(links) > 9
    for link in links:
        answer = await client.get(link["href"])
        assert answer.status_code == 200, link
        assert answer.headers["content-type"].partition(";")[0] == link["type"]
        assert "workspace=geo" in link["href"]
        if link["rel"] in ("collection", "up"):
            assert answer.json()["jobs"] == [ID]


@pytest.mark.parametrize("state", ["pending", "running", "succeeded", "failed", "cancelled"])
async def test_under_any_mount_every_link_of_every_state_resolves(tmp_path: Path, state: str) -> None:
    inner = create_app(Settings(database=str(tmp_path / "status.db")))
    app = Starlette(routes=[Mount("/with space", inner)])
    async with inner.router.lifespan_context(inner), client_of(app, "http://localhost/with%20space") as client:
        await create(client, ID, process="my-process")
        results = [{"rel": "results", "href": "https://example.org/results"}]
        await report(client, ID, state=state, links=results)
        for path in (f"/weaver/jobs/{ID}", "/weaver/"):
            for link in (await body(client, path))["links"]:
                assert link["href"].startswith("http://localhost/with%20space/weaver/")
                answer = await client.get(link["href"])
                assert answer.status_code == (303 if link["rel"].endswith("/results") else 200), link
        document = await client.get(f"/weaver/jobs/{ID}?f=xml")
        (location,) = re.findall('statusLocation="([^"]+)"', document.text)
        assert (await client.get(location)).content == document.content


async def test_head_has_the_headers_of_get_and_no_body(client: httpx.AsyncClient) -> None:
    await running(client)
    answer = await client.head(JOB, headers={"Accept": "application/json; profile=ogc"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/json; profile=ogc"


async def test_root_and_conformance_are_json(client: httpx.AsyncClient) -> None:
    root = await body(client, "/weaver/")
    (where,) = [link["href"] for link in root["links"] if link["rel"] == "conformance"]
    assert any("dismiss" in item for item in (await body(client, where))["conformsTo"])


# Errors


async def test_a_job_that_is_not_there_is_404_and_what_is_no_uuid_400(client: httpx.AsyncClient) -> None:
    await running(client)
    for path in ("", "/logs", "/exceptions", "/results"):
        told = refused(await client.get(f"/weaver/jobs/{OTHER}{path}"), 404, "NoSuchJob", "no-such-job")
        assert (told["cause"], told["detail"]) == (OTHER, "Could not find job with specified reference.")
        for bad in ("nope", "a%20b", "x" * 300):
            told = refused(await client.get(f"/weaver/jobs/{bad}{path}"), 400, "NoSuchJob", "no-such-job")
            assert told["detail"] == "Invalid job reference is not a valid UUID."
        told = refused(await client.get(f"/weaver/processes/x/jobs/{ID}{path}"), 404, "NoSuchProcess", "no-such-job")
        assert told["cause"] == "x"
    refused(await client.delete(f"/weaver/jobs/{OTHER}"), 404, "NoSuchJob")
    refused(await client.delete("/weaver/jobs/nope"), 400, "NoSuchJob")
    refused(await client.delete(f"/weaver/processes/x/jobs/{ID}"), 404, "NoSuchProcess")
    assert (await body(client, JOB))["status"] == "running"


@pytest.mark.parametrize(
    "method, path, headers, status, title",
    [
        ("GET", "/weaver/nowhere", {}, 404, "NotFound"),
        ("GET", "/weaver", {}, 404, "NotFound"),
        ("PATCH", JOB, {}, 405, "MethodNotAllowed"),
        ("POST", "/weaver/jobs", {}, 405, "MethodNotAllowed"),
        ("GET", JOB, {"Accept": "text/html"}, 406, "NotAcceptable"),
        ("GET", "/weaver/jobs", {"Accept": "application/xml"}, 406, "NotAcceptable"),
        ("GET", f"{JOB}/logs", {"Accept": "application/xml"}, 406, "NotAcceptable"),
        ("GET", f"{JOB}?profile=openeo&f=xml", {}, 400, "InvalidParameterValue"),
        ("GET", f"{JOB}?workspace=NO", {}, 400, "InvalidParameterValue"),
        ("GET", f"{JOB}/logs?after=x", {}, 400, "InvalidParameterValue"),
        ("GET", JOB, {"Host": "evil.example"}, 421, "Misdirected"),
        ("DELETE", JOB, {"Origin": "https://evil.example"}, 403, "ForeignOrigin"),
        ("DELETE", JOB, {"Content-Length": str(MAX_BODY + 1)}, 413, "TooLarge"),
    ],
)
async def test_every_refusal_under_the_prefix_is_an_ogc_exception(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int, title: str
) -> None:
    await running(client)
    answer = await client.request(method, path, headers=headers)
    told = refused(answer, status, title)
    assert "urn:status-gateway" not in answer.text
    if status == 405:
        assert "GET" in answer.headers["allow"]
    if "openeo" in path:
        assert told["cause"] == {"profile": "openeo"}
        assert told["description"] == "Requested job schema profile cannot be combined with XML representation."


async def test_a_fault_of_ours_is_an_ogc_exception_without_details(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running(client)
    monkeypatch.setattr(Gateway, "pace", lambda *_: 1 / 0)
    told = refused(await client.get(JOB), 500, "InternalServerError")
    assert "ZeroDivision" not in str(told)


# Dismissal


@pytest.mark.parametrize("begun", [True, False])
async def test_a_job_at_work_is_cancelled_once_and_its_producer_learns_of_it(
    client: httpx.AsyncClient, begun: bool
) -> None:
    await create(client, ID)
    if begun:
        await report(client, ID, state="running", progress=45.5)
    answer = await client.delete(JOB)
    percent = 45.5 if begun else 0
    expected = {"jobID": ID, "status": "dismissed", "message": "Job dismissed.", "percentCompleted": percent}
    assert (answer.status_code, answer.json()) == (200, expected)
    state = (await client.get(f"/v1/jobs/{ID}")).json()["state"]
    assert state == ("cancelling" if begun else "cancelled")
    for _ in range(2):  # the wish stands, and then it is fulfilled
        told = refused(await client.delete(JOB), 410, "JobDismissed", "result-not-available")
        assert told["detail"] == "Job was dismissed and artifacts have been removed."
        assert (told["cause"], told["value"]) == ({"status": "dismissed"}, ID)
        assert {link["rel"] for link in told["links"]} == {"status", "alternate", "collection", "up"}
        if begun:
            assert (await report(client, ID, state="cancelled")).status_code in (200, 201)
    assert (await body(client, JOB))["status"] == "dismissed"


@pytest.mark.parametrize("state", ["succeeded", "failed"])
async def test_a_job_that_has_ended_is_deleted_and_gone_for_good(client: httpx.AsyncClient, state: str) -> None:
    await running(client)
    await report(client, ID, state=state)
    answer = await client.delete(f"/weaver/processes/my-process/jobs/{ID}")
    assert (answer.status_code, answer.json()["status"]) == (200, "dismissed")
    assert (await client.get(f"/v1/jobs/{ID}")).status_code == 410
    for path in ("", "/logs", "/exceptions", "/results"):
        refused(await client.get(JOB + path), 410, "JobDismissed", "result-not-available")
    refused(await client.delete(JOB), 410, "JobDismissed")
    assert (await body(client, "/weaver/jobs"))["jobs"] == []


@pytest.mark.parametrize("end, status", [("succeeded", 200), ("cancelled", 410)])
async def test_a_job_that_ends_while_it_is_being_dismissed_is_treated_as_ended(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, end: str, status: int
) -> None:
    await running(client)
    find = Weaver._job

    async def found_before_it_ended(self: Weaver, gateway: Gateway, request: Request) -> Standing:
        standing = await find(self, gateway, request)
        await report(client, ID, state=end)
        return standing

    monkeypatch.setattr(Weaver, "_job", found_before_it_ended)
    assert (await client.delete(JOB)).status_code == status
    assert (await client.get(f"/v1/jobs/{ID}")).status_code == (410 if end == "succeeded" else 200)


async def test_of_two_dismissals_at_once_one_is_told_that_it_came_second(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running(client)
    stale = await app_of(client).state.gateway.standing("default", ID)

    async def found_before_the_other(*_: object) -> Standing:
        assert isinstance(stale, Standing)
        return stale

    monkeypatch.setattr(Weaver, "_job", found_before_the_other)
    assert [(await client.delete(JOB)).status_code for _ in range(2)] == [200, 410]


# Logs


async def test_the_log_has_a_line_for_each_record_in_weavers_form(client: httpx.AsyncClient) -> None:
    assert LINE.fullmatch(EXAMPLE)
    await running(client)
    await report(client, ID, progress=7, message="Starting\nmonitoring")
    await report(client, ID, state="failed", message="Job failed.")
    lines = await body(client, f"{JOB}/logs")
    parts = [found.groups() for line in lines if (found := LINE.fullmatch(line))]
    assert [(level, name, percent, word, text) for _, level, name, _, percent, word, text in parts] == [
        ("INFO    ", "status-gateway.job", "  0", "accepted  ", "Job task submitted for execution."),
        ("INFO    ", "status-gateway.job", "  0", "running   ", "Job is running."),
        ("INFO    ", "status-gateway.job", "  7", "running   ", "Starting monitoring"),
        ("ERROR   ", "status-gateway.job", "  7", "failed    ", "Job failed."),
    ]
    for query, headers in (("?f=txt", {}), ("", {"Accept": "text/plain"})):
        answer = await client.get(f"{JOB}/logs{query}", headers=headers)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text.split("\n") == lines


async def test_a_long_log_goes_on_where_its_link_leads(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running(client)
    for percent in range(1, 8):
        await report(client, ID, progress=percent)
    whole = await body(client, f"{JOB}/logs")
    monkeypatch.setattr(weaver, "LOG_PAGE", 2)
    monkeypatch.setattr(weaver, "LOG_PAGES", 2)
    path, lines, answers = f"{JOB}/logs", list[str](), 0
    while path:
        answer = await client.get(path)
        lines, answers = lines + answer.json(), answers + 1
        path = answer.links.get("next", {}).get("url", "")
    assert (lines, answers) == (whole, 3)


# Exceptions and results


async def test_the_exceptions_of_a_failed_job_are_those_of_its_steps_and_tasks_too(client: httpx.AsyncClient) -> None:
    await running(client, step="load")
    assert await body(client, f"{JOB}/exceptions") == []
    tasks = [{"name": "first", "state": "failed", "error": {"message": "no room", "stack": "line 1\nline 2"}}]
    steps = [{"name": "load", "state": "failed", "tasks": tasks}, {"name": "store", "error": "never begun"}]
    await report(client, ID, state="failed", error={"message": "disk full", "code": "NoSpace"}, steps=steps)
    assert await body(client, f"{JOB}/exceptions") == [
        {"Code": "NoSpace", "Locator": "load", "Text": "disk full"},
        {"Code": "NoApplicableCode", "Locator": "load/first", "Text": "no room\nline 1\nline 2"},
        {"Code": "NoApplicableCode", "Locator": "store", "Text": "never begun"},
    ]


async def test_a_failure_without_a_reason_is_an_exception_all_the_same(client: httpx.AsyncClient) -> None:
    await running(client)
    await report(client, ID, state="failed")
    expected = [{"Code": "NoApplicableCode", "Locator": "", "Text": "Job failed."}]
    assert await body(client, f"{JOB}/exceptions") == expected


async def test_results_are_not_ready_until_a_job_has_succeeded_and_said_where_they_are(
    client: httpx.AsyncClient,
) -> None:
    await running(client, links=[{"rel": "results", "href": "https://example.org/so-far"}])
    told = refused(await client.get(f"{JOB}/results"), 404, "JobResultsNotReady", "result-not-ready")
    assert told["cause"] == {"status": "running"}
    await report(client, ID, state="succeeded", links=[])
    told = refused(await client.get(f"{JOB}/results"), 404, "JobResultsNotReady", "result-not-ready")
    assert told["cause"] == {"status": "succeeded"}


async def test_results_of_a_failed_job_say_why_and_of_a_dismissed_one_that_they_are_gone(
    client: httpx.AsyncClient,
) -> None:
    await running(client)
    await report(client, ID, state="failed", error={"message": "disk full", "code": "NoSpace"})
    told = refused(await client.get(f"{JOB}/results"), 400, "JobResultsFailed", "result-not-available")
    assert (told["error"], told["cause"]) == ("NoSpace", "disk full")
    await create(client, OTHER)
    await client.delete(f"/weaver/jobs/{OTHER}")
    for part in ("results", "exceptions"):
        refused(await client.get(f"/weaver/jobs/{OTHER}/{part}"), 410, "JobDismissed", "result-not-available")
    assert len(await body(client, f"/weaver/jobs/{OTHER}/logs")) == 2


@pytest.mark.parametrize(
    "link, location",
    [
        ({"href": "https://example.org/r?a=b&c=%20d"}, "https://example.org/r?a=b&c=%20d"),
        ({"href": "http://example.org/ä\r\nX: y", "type": "application/json"}, "http://example.org/%C3%A4%0D%0AX:%20y"),
        ({"href": "https://example.org/tiles.tif", "type": "image/tiff"}, None),
        ({"href": "s3://bucket/results.json"}, None),
        ({"href": "javascript:alert(1)"}, None),
        ({"href": "http://"}, None),
        ({"href": "http://[::1]:8000"}, "http://[::1]:8000"),
        ({"href": "http://[::"}, None),
        ({"href": "http://a:b/c"}, None),
        ({"href": "/results"}, None),
    ],
)
async def test_the_producers_link_is_followed_to_a_document_and_told_of_a_file(
    client: httpx.AsyncClient, link: dict[str, str], location: str | None
) -> None:
    await running(client)
    found = {"rel": "results", **link}
    await report(client, ID, state="succeeded", links=[{"rel": "other", "href": "x"}, found])
    answer = await client.get(f"{JOB}/results")
    assert answer.status_code == (200 if location is None else 303)
    assert answer.headers.get("location") == location
    assert answer.json() == {"results": found}


# Lists


async def listed(client: httpx.AsyncClient, query: str = "", of: str = "") -> list[str]:
    """The names of the listed jobs, oldest first."""
    found = await body(client, f"/weaver{of}/jobs?detail=true&limit=100&{query}")
    assert found["count"] == found["total"] == len(found["jobs"])
    return [job.get("title", job["jobID"]) for job in reversed(found["jobs"])]


async def crowd(client: httpx.AsyncClient) -> None:
    """A job of each state that a producer can bring about, named by it."""
    for state in ("created", "pending", "running", "paused", "retrying", "unknown", "succeeded", "failed", "cancelled"):
        labels = {"team": "geo"} if state in ("running", "failed") else {}
        await create(client, f"job-{state}", name=state, process="p" if state != "failed" else "q", labels=labels,
                     **({"state": "created"} if state == "created" else {}))  # fmt: skip
        if state not in ("created", "pending"):
            await report(client, f"job-{state}", state=state)
    await create(client, "elsewhere", workspace="other")


async def test_filters_take_the_words_of_every_vocabulary(client: httpx.AsyncClient) -> None:
    await crowd(client)
    at_work = ["running", "paused", "retrying", "unknown"]
    for words, names in (
        ("accepted", ["created", "pending"]),
        ("queued", ["created", "pending"]),
        ("created", ["created"]),
        ("running", at_work),
        ("started", at_work),
        ("ProcessStarted", at_work),
        ("paused", ["paused"]),
        ("unknown", ["unknown"]),
        ("succeeded", ["succeeded"]),
        ("SUCCESSFUL", ["succeeded"]),
        ("finished", ["succeeded"]),
        ("error", ["failed"]),
        ("dismissed,%20failed", ["failed", "cancelled"]),
        ("canceled&status=exception", ["failed", "cancelled"]),
        ("FINISHED", ["succeeded", "failed", "cancelled"]),
        ("RUNNING", ["pending", *at_work]),
        ("PENDING", ["created", "pending", "paused"]),
        ("FAILED", ["failed", "cancelled"]),
        ("SUCCESS", ["succeeded"]),
        ("", ["created", "pending", *at_work, "succeeded", "failed", "cancelled"]),
    ):
        assert await listed(client, f"status={words}") == names, words


async def test_filters_narrow_by_process_label_and_workspace(client: httpx.AsyncClient) -> None:
    await crowd(client)
    assert await listed(client, "process=q") == await listed(client, "processID=q") == ["failed"]
    assert await listed(client, of="/processes/q") == ["failed"]
    assert await listed(client, "process=p", of="/processes/q") == []
    assert await listed(client, "tags=team:geo") == ["running", "failed"]
    assert await listed(client, "tags=team:geo&status=failed") == ["failed"]
    for nothing in ("tags=untagged", "tags=a:%00", "provider=x", "service=x", "type=provider", "process=r"):
        assert await listed(client, nothing) == [], nothing
    assert len(await listed(client, "type=process&sort=created&version=1")) == 9
    assert len(await listed(client, "workspace=other")) == 1


async def test_a_filter_that_can_not_be_served_is_refused_and_not_passed_over(client: httpx.AsyncClient) -> None:
    for query in ("datetime=../2026", "minDuration=1", "maxDuration=1", "groups=process", "sort=progress",
                  "status=bogus", "status=running,bogus", "process=%00", "page=-1", "page=x", "page=%C2%B2",
                  "limit=0", "limit=1001", "limit=9999999999", "page=9999999999", "page=" + "9" * 5000):  # fmt: skip
        told = refused(await client.get(f"/weaver/jobs?{query}"), 400, "JobInvalidParameter", "invalid-parameter")
        assert query.partition("=")[0] in told["detail"] or query.startswith("sort"), query


async def test_pages_hold_every_job_once_newest_first_and_lead_to_one_another(client: httpx.AsyncClient) -> None:
    ids = [f"{number:08}-e5f6-7890-abcd-ef1234567890" for number in range(7)]
    for each in ids:
        await create(client, each, process="p q")
    path, pages = "/weaver/processes/p%20q/jobs?limit=3&status=accepted", list[list[str]]()
    while path:
        answer = await client.get(path)
        found = answer.json()
        assert (found["page"], found["limit"], found["total"]) == (len(pages), 3, 7)
        assert found["count"] == len(found["jobs"])
        pages.append(found["jobs"])
        links = {link["rel"]: link["href"] for link in found["links"]}
        assert {rel: link["url"] for rel, link in answer.links.items()} == links
        assert (await client.get(links["self"])).json() == found
        assert (await client.get(links["first"])).json()["jobs"] == pages[0]
        assert (await client.get(links["last"])).json()["page"] == 2
        assert ("prev" in links) == (len(pages) > 1)
        path = links.get("next", "")
    assert pages == [ids[:3:-1], ids[3:0:-1], ids[:1]]
    told = refused(await client.get("/weaver/jobs?page=9"), 400, "JobInvalidParameter")
    assert told["description"] == "Page index 9 is out of range from [0,0]."
    assert (told["error"], told["cause"]) == ("IndexError", "Invalid paging parameters.")


async def test_an_empty_list_is_a_page(client: httpx.AsyncClient) -> None:
    found = await body(client, "/weaver/jobs")
    assert found["links"]
    del found["links"]
    assert found == {"jobs": [], "page": 0, "limit": 10, "count": 0, "total": 0}


async def test_details_come_in_the_profile_that_is_asked_for(client: httpx.AsyncClient) -> None:
    await running(client)
    await report(client, ID, state="succeeded")
    for query, word in (("", "succeeded"), ("&profile=ogc", "successful"), ("&profile=openeo", "finished")):
        found = await body(client, f"/weaver/jobs?detail=True{query}")
        assert [job["status"] for job in found["jobs"]] == [word]
        assert found["jobs"][0]["duration"].startswith("00:00:")
