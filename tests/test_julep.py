"""Julep's dialect: its words, its body both ways, its errors, and its own SDK over real sockets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from starlette.requests import Request

from gateway.dialects import julep
from gateway.dialects.base import Operation
from gateway.dialects.canonical import Canonical
from gateway.dialects.julep import Julep
from gateway.errors import InvalidReport
from gateway.job import Job, apply
from gateway.job import create as make
from gateway.record import alias_of, from_json
from gateway.report import State
from gateway.values import DEFAULT_WORKSPACE, Json, parse_time
from tests.api import Served, api, app_of, create, report, served
from tests.driven import Driven, driven
from tests.jobs import at, new
from tests.strategies import JOBS, LINES, TEXTS, relaxed

VECTORS = Path(__file__).parent / "vectors" / "julep"
PAGE = orjson.loads((VECTORS / "page" / "openapi.json").read_bytes())  # what Julep publishes
NAME = regex.compile(PAGE["components"]["schemas"]["JobStatus"]["properties"]["name"]["pattern"])
ID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
NOT_FOUND = {"error": {"message": "job not found or invalid", "code": "NOT_FOUND", "type": "rpc_error"}}
JULEP = Julep()

formats = FormatChecker()


@formats.checks("date-time", raises=InvalidReport)
def is_time(value: object) -> bool:
    return not isinstance(value, str) or parse_time(value).tzinfo is not None


def check_pattern(_: Any, pattern: str, value: object, __: Any) -> Iterator[ValidationError]:
    """As jsonschema has it, but with all of Unicode's properties."""
    if isinstance(value, str) and not regex.search(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


Validator = extend(Draft202012Validator, {"pattern": check_pattern})  # type: ignore[no-untyped-call]  # it has no types


def valid(body: Json, schema: str = "JobStatus") -> Json:
    """The body, which Julep's page describes."""
    reference = {"$ref": f"#/components/schemas/{schema}", "components": PAGE["components"]}
    Validator(reference, format_checker=formats).validate(body)
    return body


def shown(job: Job) -> Json:
    """The job's status as it goes over the wire."""
    return valid(orjson.loads(orjson.dumps(JULEP.status(job))))


# Words and bodies


@pytest.mark.parametrize("state", list(State))
async def test_every_state_is_shown_as_its_vector_says(state: State) -> None:
    vector = orjson.loads((VECTORS / f"{state}.json").read_bytes())
    assert shown(from_json(vector["document"])) == vector["answer"]


def test_every_word_of_the_page_is_read_and_comes_out_as_it_went_in() -> None:
    words = PAGE["components"]["schemas"]["JobStatus"]["properties"]["state"]["enum"]
    assert set(JULEP.states) == set(words) == set(JULEP.words.values())
    assert [JULEP.word(JULEP.read_word(word)) for word in words] == words


@relaxed
@given(JOBS)
def test_every_job_has_a_status_as_the_page_describes(job: Job) -> None:
    status = shown(job)
    assert status["state"] == JULEP.words[job.state]
    assert status["has_progress"] is (job.progress is not None)
    assert ("name" in status) is (len(job.name) <= 120 and bool(NAME.search(job.name)))


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Json]:
    """A status as Julep's server may answer it, of a job whose times the gateway can tell."""
    state = draw(st.sampled_from(sorted(JULEP.states)))
    progress = 100.0 if state == "succeeded" else draw(st.floats(0, 100)) + 0.0
    body = {"id": ID, "created_at": at(0), "updated_at": at(0), "state": state, "reason": draw(TEXTS)}
    return body | draw(
        st.sampled_from([{"has_progress": False, "progress": 0.0}, {"has_progress": True, "progress": progress}])
    )


def read(body: Json) -> Job:
    """The job that a status makes."""
    identity, said = JULEP.parse(body)
    return make(identity._replace(id=identity.id), said, body["updated_at"], DEFAULT_WORKSPACE)


@relaxed
@given(bodies(), st.none() | LINES)
def test_a_status_that_was_read_is_shown_as_it_was(body: dict[str, Json], name: str | None) -> None:
    job = read(body if name is None else body | {"name": name})
    named = {"name": job.name} if NAME.search(job.name) and len(job.name) <= 120 else {}
    assert job.name == (name or ID)
    assert shown(job) == body | named


@relaxed
@given(bodies())
def test_a_status_that_is_read_of_a_known_job_is_shown_as_it_was(body: dict[str, Json]) -> None:
    before = new(id=ID, state="unknown", message="lost", error="lost")  # it may become anything
    _, said = JULEP.parse(body)
    status = shown(apply(before, said, at(5)))
    for name in body.keys() - {"name", "updated_at"}:  # which are the first report's and the gateway's own
        assert status[name] == body[name]


def test_the_times_of_a_job_that_is_followed_are_those_that_julep_says() -> None:
    job = read({"id": ID, "created_at": at(0), "updated_at": at(0)})
    for seconds, state in ((2, "in_progress"), (9, "succeeded")):
        _, said = JULEP.parse({"id": ID, "created_at": at(0), "updated_at": at(seconds), "state": state})
        job = apply(job, said, at(20))
    assert (job.created, job.started, job.finished) == (at(0), at(2), at(9))


@pytest.mark.parametrize(
    "body, field",
    [
        ([], ""),
        ({}, "created_at"),
        ({"created_at": at(0)}, "id"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"state": "running"}, "state"),
        ({"state": None}, "state"),
        ({"state": "failed"}, "updated_at"),
        ({"created_at": at(0), "id": 7}, "id"),
        ({"created_at": at(0), "id": ID, "name": 7}, "name"),
        ({"created_at": at(0), "id": ID, "reason": 7}, "reason"),
        ({"created_at": at(0), "id": ID, "has_progress": True, "progress": 101}, "progress"),
    ],
)
def test_what_is_no_status_is_refused_by_its_field(body: Json, field: str) -> None:
    with pytest.raises(InvalidReport) as refused:
        JULEP.parse(body)
    assert refused.value.members["field"] == field


# Traps


def test_trap_python_has_no_such_pattern_but_every_name_is_judged_as_the_page_does() -> None:
    signs = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    for text in [*signs, *(f"a{sign}" for sign in signs)]:
        allowed = bool(NAME.search(text))
        if text[-1].isprintable() or text[-1].isspace():  # others may be letters of a newer Unicode than Python's
            assert julep._can_show(text) == allowed, ascii(text)
        else:
            assert allowed or not julep._can_show(text), ascii(text)


@pytest.mark.parametrize("name, seen", [("a" * 120, True), ("a" * 121, False), (ID, False), ("7 steps", False)])
def test_trap_a_name_that_the_page_does_not_allow_is_left_out(name: str, seen: bool) -> None:
    assert ("name" in shown(new(name=name))) is seen


@pytest.mark.parametrize("authorization", ["Bearer k", "bearer k", "k", "", None])
async def test_trap_a_key_is_accepted_in_every_form(tmp_path: Path, authorization: str | None) -> None:
    headers = {"X-API-Key": "k", "X-Auth-Key": "k"} if authorization is None else {"Authorization": authorization}
    async with api(tmp_path) as client:
        await create(client, ID)
        assert (await client.get(f"/julep/jobs/{ID}", headers=headers)).status_code == 200


# Its route and its errors


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    "job, path",
    [
        ("tiles", "tiles"),
        ("tiles", alias_of("default", "tiles")),
        ("tiles", alias_of("default", "tiles").upper()),
        ("tiles", alias_of("default", "tiles").replace("-", "")),
        ("tiles", f"urn:uuid:{alias_of('default', 'tiles')}"),
        (ID, ID),
        (ID, f"{{{ID}}}"),
    ],
)
async def test_a_job_is_found_by_its_id_and_by_its_uuid_in_every_way_to_write_one(
    client: httpx.AsyncClient, job: str, path: str
) -> None:
    await create(client, job)
    response = await client.get(f"/julep/jobs/{path}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-cache"
    assert valid(response.json())["id"] == alias_of("default", job)


async def test_a_workspace_is_named_in_the_query(client: httpx.AsyncClient) -> None:
    await create(client, workspace="w", state="running")
    assert (await client.get("/julep/jobs/a?workspace=w")).json()["state"] == "in_progress"
    assert (await client.get("/julep/jobs/a")).status_code == 422


@pytest.mark.parametrize("job", ["nobody", "a b", "%C3%A4", "1b4e28ba", "%00", "x" * 300])
async def test_an_id_that_is_no_uuid_and_no_jobs_own_is_422_as_on_the_page(client: httpx.AsyncClient, job: str) -> None:
    response = await client.get(f"/julep/jobs/{job}")
    assert response.status_code == 422
    (wrong,) = valid(response.json(), "HTTPValidationError")["detail"]
    assert (wrong["loc"], wrong["type"]) == (["path", "job_id"], "uuid_parsing")


async def test_a_job_that_is_not_known_or_was_deleted_is_404_in_the_error_envelope(client: httpx.AsyncClient) -> None:
    await create(client, "tiles")
    await report(client, "tiles", state="running")
    await report(client, "tiles", state="failed")
    assert (await client.delete("/v1/jobs/tiles")).status_code == 204
    for job in (ID, ID.upper(), "tiles", alias_of("default", "tiles")):
        response = await client.get(f"/julep/jobs/{job}")
        assert response.status_code == 404
        assert response.json() == NOT_FOUND


@pytest.mark.parametrize(
    "method, path, headers, status",
    [
        ("GET", "/julep/jobs", {}, 404),
        ("GET", "/julep", {}, 404),
        ("POST", f"/julep/jobs/{ID}", {}, 405),
        ("GET", f"/julep/jobs/{ID}", {"Host": "evil.example"}, 421),
        ("DELETE", f"/julep/jobs/{ID}", {"Origin": "https://evil.example"}, 403),
    ],
)
async def test_every_other_refusal_has_the_error_envelope(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = await client.request(method, path, headers=headers)
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["code"], error["type"]) == (f"http_{status}", "http_error")
    assert error["message"]
    assert ("allow" in response.headers) is (status == 405)


async def test_a_workspace_that_can_be_none_is_refused_as_on_the_page(client: httpx.AsyncClient) -> None:
    response = await client.get(f"/julep/jobs/{ID}?workspace=A%20B")
    assert response.status_code == 422
    assert valid(response.json(), "HTTPValidationError")["detail"][0]["loc"] == ["query", "workspace"]


async def test_a_fault_of_the_server_is_told_in_the_error_envelope_without_its_details(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(client, ID)
    monkeypatch.setattr(app_of(client).state.gateway, "glance", lambda *_: 1 / 0)
    response = await client.get(f"/julep/jobs/{ID}")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "http_500"
    assert "division" not in response.text


class Counted(Julep):
    """Counts what it is asked, and what it renders."""

    asked: list[str]
    made: list[str]

    def __init__(self) -> None:
        super().__init__()
        type(self).asked, type(self).made = [], []

    def check(self, request: Request, operation: Operation) -> None:
        """Note the path."""
        self.asked.append(request.url.path)

    def status(self, job: Job) -> Json:
        """Note the position."""
        self.made.append(job.position)
        return super().status(job)


async def test_a_status_is_rendered_once_for_each_record(tmp_path: Path) -> None:
    async with api(tmp_path, (Canonical, Counted)) as client:
        await create(client, ID)
        first = {(await client.get(f"/julep/jobs/{ID}")).content for _ in range(5)}
        await report(client, ID, state="running")
        then = {(await client.get(f"/julep/jobs/{ID}")).content for _ in range(5)}
    assert len(first) == len(then) == 1
    assert first != then
    assert len(Counted.made) == 2


# Its own SDK


@pytest.fixture(scope="module")
def sdk() -> Iterator[Driven]:
    with driven("julep", "julep_sdk.py") as found:
        yield found


@pytest.fixture
async def at_work(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, (Canonical, Counted)) as found:
        yield found


@pytest.mark.parametrize("do", ["get", "get_async"])
@pytest.mark.parametrize(
    "end, told",
    [
        ({"state": "succeeded", "message": "all done"}, ("succeeded", "all done", 100)),
        ({"state": "failed", "error": "out of memory"}, ("failed", "out of memory", 45)),
        ({"state": "cancelled"}, ("aborted", "step 2 of 4", 45)),
    ],
)
async def test_the_sdk_follows_a_job_from_queued_to_each_end(
    at_work: Served, sdk: Driven, do: str, end: dict[str, Json], told: tuple[str, str, float]
) -> None:
    async def seen() -> tuple[str, str, float]:
        answer = await sdk.ask(do, base=f"http://127.0.0.1:{at_work.port}/julep", job=ID)
        assert answer["kind"] == "JobStatus"
        assert answer["status"]["id"] == ID
        assert answer["status"]["name"] == "create_embeddings"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", answer["status"]["updated_at"])
        return answer["status"]["state"], answer["status"]["reason"], answer["status"]["progress"]

    await create(at_work.client, ID, name="create_embeddings")
    assert await seen() == ("pending", "", 0)
    await report(at_work.client, ID, state="running", progress=45, message="step 2 of 4")
    assert await seen() == ("in_progress", "step 2 of 4", 45)
    await at_work.client.post(f"/v1/jobs/{ID}/cancel")
    assert (await seen())[0] == "in_progress"
    await report(at_work.client, ID, **end)
    assert await seen() == told


async def test_the_sdk_reads_retrying_and_unknown(at_work: Served, sdk: Driven) -> None:
    await create(at_work.client, ID, state="running")
    for state in ("retrying", "unknown"):
        await report(at_work.client, ID, state=state)
        answer = await sdk.ask("get", base=f"http://127.0.0.1:{at_work.port}/julep", job=ID)
        assert answer["status"]["state"] == state


@pytest.mark.parametrize("do", ["get", "get_async"])
@pytest.mark.parametrize(
    "job, error, status", [(ID, "NotFoundError", 404), ("no-uuid", "UnprocessableEntityError", 422)]
)
async def test_trap_the_sdk_asks_again_in_silence_but_not_here(
    at_work: Served, sdk: Driven, do: str, job: str, error: str, status: int
) -> None:
    answer = await sdk.ask(do, base=f"http://127.0.0.1:{at_work.port}/julep", job=job)
    assert (answer["error"], answer["code"]) == (error, status)
    assert status == 422 or answer["body"] == NOT_FOUND
    assert Counted.asked == [f"/julep/jobs/{job}"]
