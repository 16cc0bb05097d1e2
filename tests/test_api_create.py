"""`POST /v1/jobs`: a job begins, once, whatever is tried again."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.api import api, create, document, problem, report

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
async def client(tmp_path: Path, under: str) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, under=under) as found:
        yield found


async def test_a_new_job_is_201_with_its_address_its_etag_and_its_document(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/jobs", json={"id": "a", "name": "tiles", "process": "p", "labels": {"team": "geo"}}
    )
    job = document(response)
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/jobs/a"
    assert response.headers["etag"] == f'"{job["position"]}"'
    assert (job["id"], job["workspace"], job["name"], job["process"]) == ("a", "default", "tiles", "p")
    assert (job["state"], job["version"], job["labels"]) == ("pending", 1, {"team": "geo"})
    assert (await client.get(response.headers["location"])).content == response.content


async def test_a_job_without_id_gets_a_uuid_of_version_7_and_is_named_after_it(client: httpx.AsyncClient) -> None:
    job = document(await client.post("/v1/jobs", json={}))
    assert UUID7.fullmatch(job["id"])
    assert job["name"] == job["id"]


async def test_two_creations_without_id_are_two_jobs(client: httpx.AsyncClient) -> None:
    first, second = [document(await client.post("/v1/jobs", json={"name": "n"})) for _ in range(2)]
    assert first["id"] != second["id"]


@pytest.mark.parametrize("state", ["created", "pending", "running"])
async def test_a_job_begins_in_the_state_that_is_said(client: httpx.AsyncClient, state: str) -> None:
    job = await create(client, state=state)
    assert job["state"] == state
    assert (job["started"] is not None) == (state == "running")


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled", "paused", "cancelling", "unknown", "retrying"])
async def test_a_job_begins_in_no_other_state(client: httpx.AsyncClient, state: str) -> None:
    found = problem(await client.post("/v1/jobs", json={"id": "a", "state": state}), 400, "invalid-report", "state")
    assert "created, pending, running" in found["detail"]


async def test_the_same_creation_again_is_200_and_the_job_as_it_stands(client: httpx.AsyncClient) -> None:
    body = {"id": "a", "name": "n", "details": {"x": 1, "y": 2}}
    first = await client.post("/v1/jobs", json=body)
    await report(client, state="running")
    again = await client.post("/v1/jobs", content=orjson.dumps(dict(reversed(body.items()))), headers={
        "Content-Type": "application/json"})  # fmt: skip
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["location"] == "/v1/jobs/a"
    assert document(again)["state"] == "running"


async def test_another_job_of_that_id_is_409(client: httpx.AsyncClient) -> None:
    await create(client, name="one")
    problem(await client.post("/v1/jobs", json={"id": "a", "name": "two"}), 409, "job-exists", "id")


async def test_the_id_of_a_deleted_job_is_410(client: httpx.AsyncClient) -> None:
    await create(client)
    await report(client, state="succeeded")
    await client.delete("/v1/jobs/a")
    problem(await client.post("/v1/jobs", json={"id": "a"}), 410, "job-deleted")


@pytest.mark.parametrize(
    "query, body, location",
    [
        ("", {"workspace": "w"}, "/v1/jobs/a?workspace=w"),
        ("?workspace=w", {}, "/v1/jobs/a?workspace=w"),
        ("?workspace=w", {"workspace": "w"}, "/v1/jobs/a?workspace=w"),
        ("?workspace=v", {"workspace": "w"}, "/v1/jobs/a?workspace=w"),
        ("?workspace=default", {}, "/v1/jobs/a"),
        ("", {"workspace": "default"}, "/v1/jobs/a"),
    ],
)
async def test_the_address_says_the_workspace_where_it_is_not_the_default_one(
    client: httpx.AsyncClient, query: str, body: dict[str, Any], location: str
) -> None:
    response = await client.post(f"/v1/jobs{query}", json={"id": "a", **body})
    assert response.headers["location"] == location
    assert (await client.get(location)).content == response.content


async def test_one_id_in_two_workspaces_is_two_jobs(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/jobs?workspace=v", json={"id": "a"})).status_code == 201
    assert (await client.post("/v1/jobs?workspace=w", json={"id": "a"})).status_code == 201
    problem(await client.get("/v1/jobs/a"), 404, "job-not-found")


async def test_a_key_makes_one_job_however_often_it_is_sent(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": '"k-1"'}
    answers = [await client.post("/v1/jobs", json={"name": "n"}, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true", "true"]
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1


async def test_a_key_sent_by_many_at_once_makes_one_job(client: httpx.AsyncClient) -> None:
    sent = [client.post("/v1/jobs", json={"name": "n"}, headers={"Idempotency-Key": "k"}) for _ in range(8)]
    answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} == {201}
    assert len({document(answer)["id"] for answer in answers}) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count("true") == 7


async def test_a_key_used_for_another_job_is_422(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    await client.post("/v1/jobs", json={"name": "one"}, headers=headers)
    answer = await client.post("/v1/jobs", json={"name": "two"}, headers=headers)
    problem(answer, 422, "idempotency-key-reused", "Idempotency-Key")


async def test_a_key_is_known_in_its_workspace_only(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    ids = {
        document(await client.post(f"/v1/jobs?workspace={workspace}", json={}, headers=headers))["id"]
        for workspace in ("v", "w")
    }
    assert len(ids) == 2
