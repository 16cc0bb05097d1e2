"""Wishes and deletion: a reader may wish, only the producer observes; what is deleted is 410 from then on."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.api import api, create, document, problem, report


@pytest.fixture
async def client(tmp_path: Path, under: str) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, under=under) as found:
        await create(found)
        yield found


@pytest.mark.parametrize(
    "before, wish, after",
    [
        (["running"], "cancel", "cancelling"),
        (["running"], "pause", "pausing"),
        (["running", "paused"], "resume", "resuming"),
        (["running", "paused"], "cancel", "cancelling"),
        (["running", "retrying"], "cancel", "cancelling"),
        ([], "pause", "pausing"),
        ([], "cancel", "cancelled"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"{}", b" { } "])
async def test_a_wish_is_202_and_the_job_with_it(
    client: httpx.AsyncClient, before: list[str], wish: str, after: str, body: bytes
) -> None:
    for state in before:
        await report(client, state=state)
    response = await client.post(f"/v1/jobs/a/{wish}", content=body)
    assert response.status_code == 202
    assert document(response)["state"] == after
    assert response.headers["etag"] == (await client.get("/v1/jobs/a")).headers["etag"]


async def test_the_same_wish_again_is_202_and_makes_no_record(client: httpx.AsyncClient) -> None:
    await report(client, state="running")
    first = await client.post("/v1/jobs/a/cancel")
    again = await client.post("/v1/jobs/a/cancel")
    assert (again.status_code, again.content) == (202, first.content)


async def test_a_wish_with_a_key_is_answered_as_the_first_time(client: httpx.AsyncClient) -> None:
    await report(client, state="running")
    headers = {"Idempotency-Key": "k"}
    first = await client.post("/v1/jobs/a/pause", headers=headers)
    await report(client, state="paused")
    again = await client.post("/v1/jobs/a/pause", headers=headers)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("wish", ["cancel", "pause", "resume"])
async def test_nothing_can_be_wished_of_a_finished_job(client: httpx.AsyncClient, wish: str) -> None:
    await report(client, state="succeeded")
    found = problem(await client.post(f"/v1/jobs/a/{wish}"), 409, "job-finished")
    assert found["state"] == "succeeded"


async def test_a_wish_that_the_state_does_not_allow_is_409(client: httpx.AsyncClient) -> None:
    found = problem(await client.post("/v1/jobs/a/resume"), 409, "illegal-transition")
    assert (found["state"], found["wish"]) == ("pending", "resuming")


@pytest.mark.parametrize("wish", ["cancel", "pause", "resume"])
async def test_a_wish_of_an_unknown_job_is_404_and_with_a_body_400(client: httpx.AsyncClient, wish: str) -> None:
    problem(await client.post(f"/v1/jobs/nobody/{wish}"), 404, "job-not-found")
    problem(await client.post(f"/v1/jobs/a/{wish}", json={"now": True}), 400, "invalid-request")


async def test_only_the_three_wishes_have_an_address(client: httpx.AsyncClient) -> None:
    problem(await client.post("/v1/jobs/a/explode"), 404, "not-found")


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
async def test_a_finished_job_is_deleted_and_gone(client: httpx.AsyncClient, end: str) -> None:
    await report(client, state=end)
    response = await client.delete("/v1/jobs/a")
    assert (response.status_code, response.content) == (204, b"")
    for method, path in (
        ("GET", "/v1/jobs/a"),
        ("GET", "/v1/jobs/a?at=2026-01-01T00:00:00Z"),
        ("GET", "/v1/jobs/a/events"),
        ("DELETE", "/v1/jobs/a"),
        ("POST", "/v1/jobs/a/cancel"),
    ):
        problem(await client.request(method, path), 410, "job-deleted")
    assert document(await client.get("/v1/jobs"))["jobs"] == []


@pytest.mark.parametrize("state", ["pending", "running", "paused", "unknown"])
async def test_a_job_that_has_not_ended_is_not_deleted(client: httpx.AsyncClient, state: str) -> None:
    await report(client, state=state)
    problem(await client.delete("/v1/jobs/a"), 409, "job-not-finished")
    assert (await client.get("/v1/jobs/a")).status_code == 200


async def test_an_unknown_job_is_not_deleted(client: httpx.AsyncClient) -> None:
    problem(await client.delete("/v1/jobs/nobody"), 404, "job-not-found")
