"""`GET /v1/jobs/{id}`: the same bytes for the same position, conditions, waiting, time travel."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import orjson
import pytest

from tests.api import WAIT, api, create, document, problem, report


@pytest.fixture
async def client(tmp_path: Path, under: str) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, under=under) as found:
        await create(found, details={"x": 1})
        yield found


# ---- headers ----


async def test_a_job_comes_with_all_that_a_cache_and_a_poller_need(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/jobs/a")
    job = document(response)
    assert response.headers["etag"] == f'"{job["position"]}"'
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["vary"] == "Accept"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert int(response.headers["retry-after"]) >= 1
    changed = parsedate_to_datetime(response.headers["last-modified"])
    assert changed == datetime.fromisoformat(job["updated"]).replace(microsecond=0)


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
async def test_a_finished_job_gives_no_hint_to_ask_again(client: httpx.AsyncClient, state: str) -> None:
    await report(client, state=state)
    assert "retry-after" not in (await client.get("/v1/jobs/a")).headers


async def test_a_job_is_found_in_its_workspace_only(client: httpx.AsyncClient) -> None:
    await client.post("/v1/jobs?workspace=w", json={"id": "b"})
    assert (await client.get("/v1/jobs/b?workspace=w")).status_code == 200
    problem(await client.get("/v1/jobs/b"), 404, "job-not-found")
    problem(await client.get("/v1/jobs/a?workspace=w"), 404, "job-not-found")


# ---- If-None-Match ----


@pytest.mark.parametrize(
    "header, status",
    [
        ("{etag}", 304),
        ("W/{etag}", 304),
        ('"other", {etag}', 304),
        ('"a,b",W/{etag} , "c"', 304),
        ("*", 304),
        ("{bare}", 304),
        ('"other"', 200),
        ('"{bare}~steps"', 200),
        ("", 200),
        (",,", 200),
        ('"', 200),
        ('W/"other"', 200),
    ],
)
async def test_if_none_match_gets_304_with_the_etag_and_no_body(
    client: httpx.AsyncClient, header: str, status: int
) -> None:
    etag = (await client.get("/v1/jobs/a")).headers["etag"]
    said = header.format(etag=etag, bare=etag.strip('"'))
    response = await client.get("/v1/jobs/a", headers={"If-None-Match": said})
    assert response.status_code == status
    assert response.headers["etag"] == etag
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["vary"] == "Accept"
    assert (response.content == b"") == (status == 304)


async def test_if_none_match_may_be_said_in_several_lines(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/v1/jobs/a")).headers["etag"]
    headers = [("If-None-Match", '"x"'), ("If-None-Match", etag)]
    assert (await client.get("/v1/jobs/a", headers=headers)).status_code == 304


async def test_the_etag_changes_exactly_when_the_document_does(client: httpx.AsyncClient) -> None:
    first = await client.get("/v1/jobs/a")
    await report(client)
    assert (await client.get("/v1/jobs/a")).headers["etag"] == first.headers["etag"]
    await report(client, progress=1)
    assert (await client.get("/v1/jobs/a")).headers["etag"] != first.headers["etag"]


# ---- omit ----


@pytest.mark.parametrize(
    "query, left_out",
    [
        ("omit=steps", {"steps"}),
        ("omit=result,steps", {"steps", "result"}),
        ("omit=steps&omit=details", {"steps", "details"}),
        ("omit=steps,details,result", {"steps", "details", "result"}),
        ("omit=", set()),
    ],
)
async def test_omit_leaves_members_out_and_marks_the_etag(
    client: httpx.AsyncClient, query: str, left_out: set[str]
) -> None:
    whole = await client.get("/v1/jobs/a")
    part = await client.get(f"/v1/jobs/a?{query}")
    assert document(part) == {name: value for name, value in document(whole).items() if name not in left_out}
    if left_out:
        suffix = "~" + ".".join(sorted(left_out))
        assert part.headers["etag"] == whole.headers["etag"][:-1] + suffix + '"'
        for headers, status in ((part.headers, 304), (whole.headers, 200)):
            again = await client.get(f"/v1/jobs/a?{query}", headers={"If-None-Match": headers["etag"]})
            assert again.status_code == status
    else:
        assert part.content == whole.content


@pytest.mark.parametrize("value", ["state", "steps,id", "STEPS", "*"])
async def test_only_the_bulky_members_can_be_left_out(client: httpx.AsyncClient, value: str) -> None:
    problem(await client.get("/v1/jobs/a", params={"omit": value}), 400, "invalid-request", "omit")


# ---- Prefer: wait ----


async def test_who_waits_hears_of_the_change_as_soon_as_it_happens(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/v1/jobs/a")).headers["etag"]
    headers = {"If-None-Match": etag, "Prefer": "wait=60"}
    waiting = asyncio.create_task(client.get("/v1/jobs/a", headers=headers))
    await asyncio.sleep(0)
    changed = await report(client, state="running")
    response = await asyncio.wait_for(waiting, WAIT)
    assert response.status_code == 200
    assert response.content == changed.content
    assert response.headers["preference-applied"] == "wait=60"


async def test_who_waits_in_vain_gets_304_when_the_time_is_over(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/v1/jobs/a")).headers["etag"]
    begin = time.monotonic()
    response = await client.get("/v1/jobs/a", headers={"If-None-Match": etag, "Prefer": "wait=1"})
    assert time.monotonic() - begin >= 0.9
    assert response.status_code == 304
    assert response.headers["preference-applied"] == "wait=1"


@pytest.mark.parametrize("prefer", ["wait=60", "wait=61", "wait=99999999999999999999", 'Wait="60"', "a, wait=60; b"])
async def test_waiting_is_for_a_minute_at_most_and_says_so(client: httpx.AsyncClient, prefer: str) -> None:
    response = await client.get("/v1/jobs/a", headers={"If-None-Match": '"old"', "Prefer": prefer})
    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=60"


@pytest.mark.parametrize(
    "prefer", ["wait", "wait=", "wait=x", "wait=-1", "wait=1.5", "wait=1s", "waits=5", "", "=", "wait=²"]
)
async def test_a_preference_that_makes_no_sense_is_ignored(client: httpx.AsyncClient, prefer: str) -> None:
    headers = httpx.Headers([(b"If-None-Match", b"*"), (b"Prefer", prefer.encode("latin-1"))])
    response = await client.get("/v1/jobs/a", headers=headers)
    assert response.status_code == 304
    assert "preference-applied" not in response.headers


async def test_without_a_condition_nobody_waits(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/jobs/a", headers={"Prefer": "wait=60"})
    assert response.status_code == 200
    assert "preference-applied" not in response.headers


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
async def test_nobody_waits_for_a_finished_job(client: httpx.AsyncClient, state: str) -> None:
    etag = (await report(client, state=state)).headers["etag"]
    response = await asyncio.wait_for(
        client.get("/v1/jobs/a", headers={"If-None-Match": etag, "Prefer": "wait=60"}), WAIT
    )
    assert response.status_code == 304


async def test_who_has_an_old_document_gets_the_new_one_at_once(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/v1/jobs/a")).headers["etag"]
    await report(client, state="running")
    headers = {"If-None-Match": etag, "Prefer": "wait=60"}
    response = await asyncio.wait_for(client.get("/v1/jobs/a", headers=headers), WAIT)
    assert document(response)["state"] == "running"


async def test_who_waits_misses_no_change_however_the_two_race(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/v1/jobs/a")).headers["etag"]
    for progress in range(1, 51):
        headers = {"If-None-Match": etag, "Prefer": "wait=60"}
        waiting = asyncio.create_task(client.get("/v1/jobs/a", headers=headers))
        for _ in range(progress % 5):
            await asyncio.sleep(0)
        await report(client, progress=progress)
        response = await asyncio.wait_for(waiting, WAIT)
        assert document(response)["progress"] == progress
        etag = response.headers["etag"]


# ---- at ----


async def test_a_job_is_shown_as_it_stood_at_each_position(client: httpx.AsyncClient) -> None:
    stood = [await client.get("/v1/jobs/a")]
    stood += [
        await report(client, state="running"),
        await report(client, progress=5),
        await report(client, state="failed"),
    ]
    for answer in stood:
        position = document(answer)["position"]
        then = await client.get("/v1/jobs/a", params={"at": position})
        assert then.status_code == 200
        assert then.content == answer.content
        assert then.headers["etag"] == f'"{position}"'
        assert "retry-after" not in then.headers


async def test_a_position_between_two_records_shows_the_one_before(client: httpx.AsyncClient) -> None:
    before = await client.get("/v1/jobs/a")
    elsewhere = await create(client, "b")
    await report(client, state="running")
    assert (await client.get("/v1/jobs/a", params={"at": elsewhere["position"]})).content == before.content


async def test_a_job_is_shown_as_it_stood_at_a_time_in_any_zone(client: httpx.AsyncClient) -> None:
    job = document(await client.get("/v1/jobs/a"))
    created = datetime.fromisoformat(job["created"])
    await asyncio.sleep(0.002)  # the next record is of a later millisecond
    await report(client, state="running")
    for text in (job["created"], job["created"].replace("Z", "+00:00"), job["created"].lower()):
        assert document(await client.get("/v1/jobs/a", params={"at": text}))["state"] == "pending"
    bare = await client.get(f"/v1/jobs/a?at={created.isoformat()}")  # its + arrives as a space
    assert document(bare)["state"] == "pending"
    late = await client.get("/v1/jobs/a", params={"at": "2999-01-01T00:00:00Z"})
    assert document(late)["state"] == "running"


async def test_before_the_job_there_was_none(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/jobs/a", params={"at": "2001-01-01T00:00:00Z"}), 404, "job-not-found")


@pytest.mark.parametrize(
    "at", ["yesterday", "2026-02-30T00:00:00Z", "2026-02-19", "-1", "aaaaaaaa-99999999999999999999", "aaaaaaaa-1"]
)
async def test_a_moment_that_is_none_is_400(client: httpx.AsyncClient, at: str) -> None:
    problem(await client.get("/v1/jobs/a", params={"at": at}), 400, "invalid-request", "at")


async def test_a_stream_has_no_moment(client: httpx.AsyncClient) -> None:
    headers = {"Accept": "text/event-stream"}
    response = await client.get("/v1/jobs/a", params={"at": "2999-01-01T00:00:00Z"}, headers=headers)
    problem(response, 400, "invalid-request", "at")


async def test_the_past_can_be_asked_for_in_part_and_under_a_condition(client: httpx.AsyncClient) -> None:
    position = document(await client.get("/v1/jobs/a"))["position"]
    await report(client, state="running")
    part = await client.get("/v1/jobs/a", params={"at": position, "omit": "details"})
    assert "details" not in document(part)
    headers = {"If-None-Match": part.headers["etag"]}
    again = await client.get("/v1/jobs/a", params={"at": position, "omit": "details"}, headers=headers)
    assert again.status_code == 304


# ---- Accept ----


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/json",
        "application/*",
        "application/json, text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
        "application/json, text/event-stream",
        "text/event-stream;q=0.5, application/json;q=0.6",
        "text/event-stream;q=0, */*",
        "text/html, image/gif, *; q=.2, */*; q=.2",
        "Application/JSON; charset=utf-8",
        "nonsense;q=2, application/json",
        ";;;",
        "",
    ],
)
async def test_a_job_comes_as_json_to_whoever_takes_that(client: httpx.AsyncClient, accept: str | None) -> None:
    headers = httpx.Headers({} if accept is None else {"Accept": accept})
    request = client.build_request("GET", "/v1/jobs/a")
    request.headers.pop("accept")
    request.headers.update(headers)
    assert document(await client.send(request))["id"] == "a"


@pytest.mark.parametrize("path", ["/v1/jobs/a", "/v1/jobs", "/v1/jobs/a/events", "/v1/events"])
@pytest.mark.parametrize("accept", ["text/css", "application/json;q=0, text/event-stream;q=0, */*;q=0", "image/*"])
async def test_what_cannot_be_made_is_406_and_says_what_can(client: httpx.AsyncClient, path: str, accept: str) -> None:
    found = problem(await client.get(path, headers={"Accept": accept}), 406, "not-acceptable")
    assert found["available"]


async def test_head_says_what_get_says_without_a_body(client: httpx.AsyncClient) -> None:
    for path in ("/v1/jobs/a", "/v1/jobs", "/healthz", "/readyz", "/openapi.json", "/", "/v1/jobs/nobody", "/nowhere"):
        got, head = await client.get(path), await client.head(path)
        assert head.status_code == got.status_code
        assert head.content == b""
        assert {**head.headers, "date": ""} == {**got.headers, "date": ""}  # a second may pass between the two


# ---- one document, the same everywhere ----


async def test_polling_the_list_the_history_and_the_past_agree_to_the_byte(client: httpx.AsyncClient) -> None:
    awkward = {
        "text": 'line\u2028para\u2029next\u0085\x00 \U0001f600 "quote"',
        "big": 2**53,
        "tiny": 1e-7,
        "list": [[]],
    }
    await report(
        client, state="running", details=awkward, result=[None, True], steps=[{"name": "s", "tasks": [{"name": "t"}]}]
    )
    whole = (await client.get("/v1/jobs/a")).content
    assert whole in (await client.get("/v1/jobs")).content
    assert whole in (await client.get("/v1/jobs/a/events", headers={"Accept": "application/json"})).content
    position = orjson.loads(whole)["position"]
    assert (await client.get("/v1/jobs/a", params={"at": position})).content == whole
    assert orjson.loads(whole)["details"] == {"x": 1, **awkward}
