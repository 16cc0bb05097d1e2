"""`POST /v1/jobs/{id}/events`: a report counts once or not at all, and a producer learns of every wish."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import api, create, document, problem, report

MINIMAL = {"Prefer": "return=minimal"}


@pytest.fixture
async def client(tmp_path: Path, under: str) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, under=under) as found:
        await create(found)
        yield found


async def test_a_report_is_201_with_the_document_and_its_etag(client: httpx.AsyncClient) -> None:
    response = await report(client, state="running", progress=45, message="step 2 of 4")
    job = document(response)
    assert response.status_code == 201
    assert response.headers["etag"] == f'"{job["position"]}"'
    assert (job["state"], job["previous"], job["progress"], job["version"]) == ("running", "pending", 45.0, 2)
    assert (await client.get("/v1/jobs/a")).content == response.content


@pytest.mark.parametrize("members", [{}, {"state": "pending"}, {"message": None}, {"time": "2026-02-19T10:00:00Z"}])
async def test_a_report_that_changes_nothing_is_200_and_makes_no_record(
    client: httpx.AsyncClient, members: dict[str, Any]
) -> None:
    before = await client.get("/v1/jobs/a")
    response = await report(client, **members)
    assert response.status_code == 200
    assert response.content == before.content


async def test_a_list_of_reports_counts_whole(client: httpx.AsyncClient) -> None:
    body = [{"state": "running"}, {"progress": 10}, {"progress": 20}]
    response = await client.post("/v1/jobs/a/events", json=body)
    assert response.status_code == 201
    assert (document(response)["progress"], document(response)["version"]) == (20.0, 4)


@pytest.mark.parametrize(
    "last, status, code",
    [({"progress": 101}, 400, "invalid-report"), ({"state": "created"}, 409, "illegal-transition")],
)
async def test_a_list_with_one_bad_report_counts_not_at_all(
    client: httpx.AsyncClient, last: dict[str, Any], status: int, code: str
) -> None:
    before = await client.get("/v1/jobs/a")
    problem(await client.post("/v1/jobs/a/events", json=[{"state": "running"}, last]), status, code)
    assert (await client.get("/v1/jobs/a")).content == before.content


async def test_a_bad_report_of_a_list_is_named_by_its_place(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/jobs/a/events", json=[{}, {"progress": "x"}])
    problem(response, 400, "invalid-report", "[1].progress")


@pytest.mark.parametrize("body", [[], [{}] * 1001])
async def test_a_list_holds_one_to_a_thousand_reports(client: httpx.AsyncClient, body: list[Any]) -> None:
    problem(await client.post("/v1/jobs/a/events", json=body), 400, "invalid-report", "")


async def test_an_illegal_transition_says_what_is_allowed_and_changes_nothing(client: httpx.AsyncClient) -> None:
    before = await client.get("/v1/jobs/a")
    found = problem(await report(client, state="resuming"), 409, "illegal-transition")
    assert (found["state"], found["wish"]) == ("pending", "resuming")
    assert "running" in found["allowed"]
    assert (await client.get("/v1/jobs/a")).content == before.content


async def test_after_the_end_nothing_changes_and_progress_is_ignored(client: httpx.AsyncClient) -> None:
    end = await report(client, state="succeeded", progress=30)
    assert (await report(client, progress=50)).content == end.content
    assert (await report(client, progress=50)).status_code == 200
    problem(await report(client, message="late"), 409, "job-finished")
    problem(await report(client, state="failed"), 409, "job-finished")
    assert (await client.get("/v1/jobs/a")).content == end.content


async def test_an_unknown_job_is_404_and_a_deleted_one_410(client: httpx.AsyncClient) -> None:
    problem(await report(client, "nobody", state="running"), 404, "job-not-found")
    await report(client, state="failed", error="broken")
    await client.delete("/v1/jobs/a")
    problem(await report(client, state="running"), 410, "job-deleted")


# ---- keys ----


@pytest.mark.parametrize("body", [{"state": "running"}, {}], ids=["a record", "no record"])
async def test_a_key_gets_the_first_answer_again(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": '"k"'}
    first = await client.post("/v1/jobs/a/events", json=body, headers=headers)
    await report(client, message="moved on")
    again = await client.post("/v1/jobs/a/events", json=body, headers=headers)
    assert again.status_code == first.status_code == (201 if body else 200)
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_key_is_known_by_the_sense_of_the_body_not_by_its_bytes(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    await client.post("/v1/jobs/a/events", content=b'{"message":"m","progress":1}', headers=headers)
    again = await client.post("/v1/jobs/a/events", content=b' {"progress": 1, "message": "\\u006d"}', headers=headers)
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_key_with_another_body_or_use_is_422(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    await client.post("/v1/jobs/a/events", json={"state": "running"}, headers=headers)
    other = await client.post("/v1/jobs/a/events", json={"state": "failed"}, headers=headers)
    problem(other, 422, "idempotency-key-reused", "Idempotency-Key")
    problem(await client.post("/v1/jobs/a/cancel", headers=headers), 422, "idempotency-key-reused")
    assert document(await client.get("/v1/jobs/a"))["state"] == "running"


async def test_a_key_belongs_to_its_job(client: httpx.AsyncClient) -> None:
    await create(client, "b")
    headers = {"Idempotency-Key": "k"}
    for job in ("a", "b"):
        response = await client.post(f"/v1/jobs/{job}/events", json={"state": "running"}, headers=headers)
        assert response.status_code == 201
        assert "idempotent-replayed" not in response.headers


async def test_a_refusal_is_not_kept_so_the_key_can_be_tried_again(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    problem(
        await client.post("/v1/jobs/a/events", json={"state": "resuming"}, headers=headers), 409, "illegal-transition"
    )
    assert (await client.post("/v1/jobs/a/events", json={"state": "running"}, headers=headers)).status_code == 201


@pytest.mark.parametrize("key", ["k", '"k"', "k-1/2:3", '"with \\"quotes\\" and \\\\"'.replace(" ", "_"), "x" * 255])
async def test_a_key_is_a_string_in_quotes_or_bare(client: httpx.AsyncClient, key: str) -> None:
    response = await client.post("/v1/jobs/a/events", json={"state": "running"}, headers={"Idempotency-Key": key})
    assert response.status_code == 201


async def test_a_quoted_key_is_the_same_as_the_bare_one(client: httpx.AsyncClient) -> None:
    answers = [
        await client.post("/v1/jobs/a/events", json={"state": "running"}, headers={"Idempotency-Key": key})
        for key in ("k", '"k"')
    ]
    assert answers[1].headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("key", ["", '""', '"open', '"', '"a"b"', '"a\\b"', "two words", "x" * 256, "caf\xe9"])
async def test_a_key_that_is_none_is_400(client: httpx.AsyncClient, key: str) -> None:
    headers = httpx.Headers([(b"Idempotency-Key", key.encode("latin-1"))])
    response = await client.post("/v1/jobs/a/events", json={"state": "running"}, headers=headers)
    problem(response, 400, "invalid-request", "Idempotency-Key")


async def test_two_keys_are_400(client: httpx.AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = await client.post("/v1/jobs/a/events", json={}, headers=headers)
    problem(response, 400, "invalid-request", "Idempotency-Key")


# ---- If-Match ----


@pytest.mark.parametrize(
    "header, status",
    [
        ('"{now}"', 201),
        ("{now}", 201),
        ("*", 201),
        ('"x-1", "{now}"', 201),
        ('"{old}", "{now}", "x"', 201),
        ('"{now}~details.steps"', 201),
        ('"{old}"', 412),
        ('"{old}", "x"', 412),
        ('W/"{now}"', 412),
        ('"abc"', 412),
    ],
)
async def test_if_match_permits_a_report_at_the_positions_it_names(
    client: httpx.AsyncClient, header: str, status: int
) -> None:
    old = document(await client.get("/v1/jobs/a"))["position"]
    now = document(await report(client, state="running"))["position"]
    headers = {"If-Match": header.format(now=now, old=old)}
    response = await client.post("/v1/jobs/a/events", json={"progress": 5}, headers=headers)
    assert response.status_code == status
    if status == 412:
        assert problem(response, 412, "precondition-failed")["position"] == now
        assert document(await client.get("/v1/jobs/a"))["progress"] is None


@pytest.mark.parametrize("header", ["", " , ", '"', "{}", '"a" "b"', '"a",', "*, *", 'w/"a"'])
async def test_if_match_that_names_nothing_is_400(client: httpx.AsyncClient, header: str) -> None:
    response = await client.post("/v1/jobs/a/events", json={}, headers={"If-Match": header.strip()})
    problem(response, 400, "invalid-request", "If-Match")


async def test_a_replay_wins_over_if_match_for_it_was_permitted_then(client: httpx.AsyncClient) -> None:
    position = document(await client.get("/v1/jobs/a"))["position"]
    headers = {"If-Match": f'"{position}", "x"', "Idempotency-Key": "k"}
    answers = [await client.post("/v1/jobs/a/events", json={"progress": 5}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]


# ---- Prefer: return=minimal ----


@pytest.mark.parametrize("members", [{"state": "running"}, {}, {"state": "succeeded"}])
async def test_who_prefers_a_minimal_answer_gets_204_with_the_etag(
    client: httpx.AsyncClient, members: dict[str, Any]
) -> None:
    response = await client.post("/v1/jobs/a/events", json=members, headers=MINIMAL)
    assert response.status_code == 204
    assert response.content == b""
    assert response.headers["preference-applied"] == "return=minimal"
    assert response.headers["etag"] == (await client.get("/v1/jobs/a")).headers["etag"]


@pytest.mark.parametrize("value", ["return=minimal", "respond-async, return=minimal", 'foo; x=1, Return="minimal" ;y'])
async def test_the_preference_is_read_as_its_specification_has_it(client: httpx.AsyncClient, value: str) -> None:
    assert (await client.post("/v1/jobs/a/events", json={}, headers={"Prefer": value})).status_code == 204


@pytest.mark.parametrize(
    "value", ["return=representation", "return", "minimal", "return=representation, return=minimal"]
)
async def test_whatever_else_is_preferred_gets_the_document(client: httpx.AsyncClient, value: str) -> None:
    response = await client.post("/v1/jobs/a/events", json={}, headers={"Prefer": value})
    assert response.status_code == 200
    assert "preference-applied" not in response.headers


@pytest.mark.parametrize(
    "before, wish, seen",
    [
        (["running"], "cancel", "cancelling"),
        (["running"], "pause", "pausing"),
        (["running", "paused"], "resume", "resuming"),
        ([], "cancel", "cancelled"),
    ],
)
async def test_a_producer_learns_of_a_wish_however_little_it_wants_to_hear(
    client: httpx.AsyncClient, before: list[str], wish: str, seen: str
) -> None:
    for state in before:
        await report(client, state=state)
    await client.post(f"/v1/jobs/a/{wish}")
    response = await client.post("/v1/jobs/a/events", json={}, headers=MINIMAL)
    assert response.status_code == 200
    assert document(response)["state"] == seen
