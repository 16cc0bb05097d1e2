"""`GET /v1/jobs` and the history: filters, pages, and a position from which a stream misses nothing."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import api, create, document, problem, report

HISTORY = {"Accept": "application/json"}
FOREIGN = "aaaaaaaa-1"


@pytest.fixture
async def client(tmp_path: Path, under: str) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, under=under) as found:
        yield found


@pytest.fixture
async def jobs(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Five jobs in two workspaces, a to e."""
    await create(client, "a", process="p", labels={"team": "geo", "env": "test"})
    await create(client, "b", process="q", name="nightly", labels={"team": "geo"})
    await create(client, "c", process="p", name="nightly")
    await report(client, "b", state="running")
    await report(client, "c", state="failed", error="broken")
    await client.post("/v1/jobs?workspace=w", json={"id": "d", "labels": {"url": "http://x:1"}})
    await client.post("/v1/jobs?workspace=w", json={"id": "e", "state": "running"})
    return client


async def ids(client: httpx.AsyncClient, query: str) -> str:
    response = await client.get(f"/v1/jobs?{query}")
    assert response.status_code == 200, response.text
    return "".join(job["id"] for job in document(response)["jobs"])


@pytest.mark.parametrize(
    "query, found",
    [
        ("", "edcba"),
        ("workspace=w", "ed"),
        ("workspace=w&workspace=default", "edcba"),
        ("workspace=none", ""),
        ("state=running", "eb"),
        ("state=running&state=failed", "ecb"),
        ("state=running&workspace=default", "b"),
        ("process=p", "ca"),
        ("process=p&process=q", "cba"),
        ("name=nightly", "cb"),
        ("name=nightly&state=failed", "c"),
        ("name=a&name=d", "da"),
        ("label=team:geo", "ba"),
        ("label=team:geo&label=env:test", "a"),
        ("label=team:geo&label=env:live", ""),
        ("label=url:http://x:1", "d"),
        ("label=team:", ""),
        ("limit=2", "ed"),
        ("after=", "edcba"),
    ],
)
async def test_a_filter_lets_through_what_it_means_newest_first(
    jobs: httpx.AsyncClient, query: str, found: str
) -> None:
    assert await ids(jobs, query) == found


async def test_a_filter_follows_the_job(jobs: httpx.AsyncClient) -> None:
    await report(jobs, "b", state="succeeded", labels={"team": None})
    assert await ids(jobs, "state=running") == "e"
    assert await ids(jobs, "label=team:geo") == "a"


@pytest.mark.parametrize("query", ["", "state=pending&state=running&state=failed", "workspace=w&workspace=default"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 1000])
async def test_pages_give_each_job_once(jobs: httpx.AsyncClient, query: str, limit: int) -> None:
    seen, after = "", ""
    for _ in range(6):
        page = document(await jobs.get(f"/v1/jobs?{query}&limit={limit}&after={after}"))
        assert len(page["jobs"]) <= limit
        seen += "".join(job["id"] for job in page["jobs"])
        after = page["next"]
        if after is None:
            break
    assert seen == "edcba"
    assert after is None


async def test_jobs_made_while_paging_do_not_shift_the_pages(jobs: httpx.AsyncClient) -> None:
    first = document(await jobs.get("/v1/jobs?limit=2"))
    await create(jobs, "f")
    await report(jobs, "a", state="running")
    second = document(await jobs.get("/v1/jobs", params={"limit": 5, "after": first["next"]}))
    assert [job["id"] for job in second["jobs"]] == ["c", "b", "a"]


async def test_the_head_is_the_newest_position_also_of_an_empty_list(client: httpx.AsyncClient) -> None:
    empty = document(await client.get("/v1/jobs"))
    assert (empty["jobs"], empty["next"]) == ([], None)
    assert empty["head"].endswith("-0")
    job = await create(client)
    assert document(await client.get("/v1/jobs?state=failed"))["head"] == job["position"]


async def test_the_list_leaves_bulky_members_out_if_wanted(jobs: httpx.AsyncClient) -> None:
    page = document(await jobs.get("/v1/jobs?omit=steps,details"))
    assert all("steps" not in job and "details" not in job and "result" in job for job in page["jobs"])


@pytest.mark.parametrize(
    "query, field",
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=１", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("state=done", "state"),
        ("state=", "state"),
        ("state=Running", "state"),
        ("workspace=No", "workspace"),
        ("workspace=", "workspace"),
        ("workspace=w%0A", "workspace"),
        ("label=team", "label"),
        ("label=:x", "label"),
        ("label=", "label"),
        ("label=a:%00", "label"),
        ("process=", "process"),
        ("process=%00", "process"),
        ("name=" + "x" * 1001, "name"),
        ("omit=all", "omit"),
        ("after=1&after=2", "after"),
        ("&".join(f"name={i}" for i in range(201)), "name"),
        ("stat=running", "stat"),
        ("job=a", "job"),
        ("lastEventId=x", "lastEventId"),
    ],
)
async def test_a_query_that_makes_no_sense_is_400_and_names_the_parameter(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    problem(await client.get(f"/v1/jobs?{query}"), 400, "invalid-request", field)


async def test_a_misspelt_parameter_is_told_the_right_one(client: httpx.AsyncClient) -> None:
    found = problem(await client.get("/v1/jobs?sate=running"), 400, "invalid-request", "sate")
    assert "did you mean state?" in found["detail"]


async def test_what_polyfills_add_against_caches_is_let_pass(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/jobs?_=17&r=0.5")).status_code == 200


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/a/events", "/v1/events"])
async def test_a_page_of_another_log_is_410_with_what_is_oldest(client: httpx.AsyncClient, path: str) -> None:
    await create(client)
    found = problem(await client.get(path, params={"after": FOREIGN}, headers=HISTORY), 410, "compacted")
    assert found["oldest"]
    assert found["reason"] == "foreign"


@pytest.mark.parametrize(
    "after", ["x", "-1", "aaaaaaaa-18446744073709551616", "AAAAAAAA-1", "aaaaaaaa-01", "\x00", "a" * 9000]
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/a/events", "/v1/events"])
async def test_a_page_that_is_none_is_400(client: httpx.AsyncClient, path: str, after: str) -> None:
    await create(client)
    response = await client.get(path, params={"after": after}, headers=HISTORY)
    problem(response, 400, "invalid-cursor", "after")


# ---- history ----


async def history(client: httpx.AsyncClient, query: str = "") -> dict[str, Any]:
    return document(await client.get(f"/v1/jobs/a/events?{query}", headers=HISTORY))


async def test_the_history_holds_each_record_with_the_document_of_then(client: httpx.AsyncClient) -> None:
    answers = [await client.post("/v1/jobs", json={"id": "a"})]
    answers += [
        await report(client, state="running"),
        await report(client, progress=5),
        await report(client, message="m"),
    ]
    answers.append(await client.post("/v1/jobs/a/cancel"))
    page = await history(client)
    assert [record["job"] for record in page["records"]] == [document(answer) for answer in answers]
    assert [record["event"] for record in page["records"]] == [
        "transition",
        "transition",
        "progress",
        "progress",
        "transition",
    ]
    assert [record["position"] for record in page["records"]] == [
        record["job"]["position"] for record in page["records"]
    ]
    assert {record["by"] for record in page["records"]} == {"anonymous"}
    assert page["next"] is None


@pytest.mark.parametrize("limit", [1, 2, 4, 5])
async def test_the_history_is_paged_without_hole_or_double(client: httpx.AsyncClient, limit: int) -> None:
    await create(client)
    await create(client, "b")
    for progress in range(4):
        await report(client, progress=progress)
        await report(client, "b", progress=progress)
    versions: list[int] = []
    after = "earliest"
    for _ in range(6):
        page = await history(client, f"limit={limit}&after={after}")
        versions += [record["job"]["version"] for record in page["records"]]
        after = page["next"]
        if after is None:
            break
    assert versions == [1, 2, 3, 4, 5]
    assert after is None


async def test_the_history_leaves_bulky_members_out_if_wanted(client: httpx.AsyncClient) -> None:
    await create(client)
    page = await history(client, "omit=details")
    assert "details" not in page["records"][0]["job"]


async def test_an_unknown_job_has_no_history(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/jobs/a/events", headers=HISTORY), 404, "job-not-found")
