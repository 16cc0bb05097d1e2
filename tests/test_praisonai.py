"""PraisonAI's dialect: its words, its bodies both ways, its routes, lists and errors over a real log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from gateway.dialects.canonical import Canonical
from gateway.dialects.praisonai import PraisonAI
from gateway.dialects.praisonai_bodies import COUNTS, MARKS, result_body, tell
from gateway.errors import InvalidReport
from gateway.eventlog.base import Standing
from gateway.job import TERMINAL, Job, apply
from gateway.job import create as make
from gateway.record import document, from_json
from gateway.report import State
from gateway.service import Gateway
from gateway.values import DEFAULT_WORKSPACE, Json, parse_time
from tests.api import api, app_of, create, report
from tests.jobs import at, new, say
from tests.strategies import JOBS, LINES, TEXTS, relaxed

VECTORS = Path(__file__).parent / "vectors" / "praisonai"
EXAMPLES = orjson.loads((VECTORS / "page" / "examples.json").read_bytes())  # as PraisonAI publishes them
AT = "/praisonai/api/v1/runs"
PRAISONAI = PraisonAI()
WORDS = ["queued", "running", "succeeded", "failed", "cancelled"]
TIME = {"type": "string", "format": "date-time"}
# The fields of PraisonAI's page, and those that only its server has; none may be null.
STATUS = {
    "type": "object",
    "required": ["job_id", "status", "created_at"],
    "properties": {
        "job_id": {"type": "string", "minLength": 1},
        "status": {"enum": WORDS},
        "progress": {
            "type": "object",
            "required": ["percentage"],
            "properties": {
                "percentage": {"type": "number", "minimum": 0, "maximum": 100},
                "current_step": {"type": "string"},
                **{name: {"type": "integer"} for name in COUNTS},
            },
            "additionalProperties": False,
        },
        **dict.fromkeys(("created_at", "started_at", "completed_at"), TIME),
        **{mark: {"type": "string"} for mark in MARKS},
        "error": {"type": "string"},
        "retry_after": {"type": "integer", "minimum": 1},
    },
    "additionalProperties": False,
}

formats = FormatChecker()


@formats.checks("date-time", raises=InvalidReport)
def is_time(value: object) -> bool:
    return not isinstance(value, str) or parse_time(value).tzinfo is not None


def valid(body: Json) -> Json:
    """The body, which is one as PraisonAI's page describes, in the states in which the page has its members."""
    Draft202012Validator(STATUS, format_checker=formats).validate(body)
    ended = body["status"] in ("succeeded", "failed", "cancelled")
    assert ("progress" in body) is (body["status"] == "running")
    assert ("completed_at" in body) is ended
    assert "error" not in body or body["status"] == "failed"
    assert "retry_after" not in body or not ended
    return body


def shown(job: Job) -> Json:
    """The run's status as it goes over the wire, but for the hint."""
    return valid(orjson.loads(orjson.dumps(PRAISONAI.status(job))))


def told(event: str, data: Json) -> Json:
    """The events of the stream as they go over the wire."""
    return orjson.loads(orjson.dumps(tell(event, data)))


# Words and bodies


@pytest.mark.parametrize("state", list(State))
def test_every_state_is_shown_as_its_vector_says(state: State) -> None:
    vector = orjson.loads((VECTORS / f"{state}.json").read_bytes())
    job = from_json(vector["document"])
    assert shown(job) == {name: value for name, value in vector["status"].items() if name != "retry_after"}
    for event in ("snapshot", "transition", "progress"):
        assert told(event, vector["document"]) == vector[event]
    if job.terminal:
        assert orjson.loads(orjson.dumps(result_body(job))) == vector["result"]


def test_every_word_of_the_page_is_read_and_comes_out_as_it_went_in() -> None:
    assert list(PRAISONAI.states) == WORDS
    assert [PRAISONAI.word(PRAISONAI.read_word(word)) for word in WORDS] == WORDS
    assert set(PRAISONAI.words) == set(State)


@relaxed
@given(JOBS)
def test_every_job_has_a_status_as_the_page_describes_and_events_that_end_with_it(job: Job) -> None:
    assert shown(job)["status"] == PRAISONAI.words[job.state]
    events = told("snapshot", orjson.loads(document(job)))
    names = [name for name, _ in events]
    end = {State.SUCCEEDED: ["result"], State.FAILED: ["error"], State.CANCELLED: ["cancelled"]}.get(job.state, [])
    assert names == ["status", "progress", *end]
    assert events[0][1] == {"status": PRAISONAI.words[job.state], "job_id": job.id}
    assert events[1][1].keys() == {"percentage", "step"}
    assert all(isinstance(value, str | float) for _, data in events for value in data.values())
    assert len(events[-1][1].get("result", "")) <= 1000


@st.composite
def lives(draw: st.DrawFn) -> list[dict[str, Json]]:
    """Statuses of one run as its server may answer them, one after the other: queued, at work, at the end."""
    run = {"job_id": "run_abc123", "created_at": at(0)} | draw(
        st.fixed_dictionaries({}, optional=dict.fromkeys(MARKS, LINES))
    )
    started, ended = {"started_at": at(1.5)}, {"completed_at": at(100)}
    counts = dict.fromkeys(COUNTS, st.integers(0, 1000))
    more = st.fixed_dictionaries({}, optional={"current_step": TEXTS.map(printable), **counts})
    percentages = sorted(draw(st.lists(st.floats(0, 100), max_size=3)))
    at_work = [
        run | started | {"status": "running", "progress": {"percentage": percentage + 0.0, **draw(more)}}
        for percentage in percentages
    ]
    end = draw(st.sampled_from([{"status": "succeeded"}, {"status": "failed"}, {"status": "cancelled"}]))
    if end["status"] == "failed":
        end = end | draw(st.fixed_dictionaries({}, optional={"error": TEXTS}))
    begun = started if at_work else {}
    return [run | {"status": "queued"}, *at_work, run | begun | ended | end]


def printable(text: str) -> str:
    """A step has no NUL in it."""
    return text.replace("\0", "")


@relaxed
@given(lives(), st.booleans())
def test_a_status_that_was_read_is_shown_as_it_was_through_a_whole_life(
    life: list[dict[str, Json]], as_the_server_has_it: bool
) -> None:
    job: Job | None = None
    for body in life:
        said = body | {"retry_after": 5} if body["status"] in ("queued", "running") else body
        if as_the_server_has_it:  # with every member there is, most of them null
            blank: dict[str, Json] = dict.fromkeys(STATUS["properties"])  # type: ignore[call-overload]  # it is a dict
            said = blank | said
        identity, reported = PRAISONAI.parse(said)
        job = apply(job, reported, at(200)) if job else make(identity, reported, at(0), DEFAULT_WORKSPACE)
        assert shown(job) == valid(body)


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_the_examples_of_the_page_are_read_and_shown_as_they_are(name: str) -> None:
    body = valid(EXAMPLES[name])
    identity, said = PRAISONAI.parse(body)
    job = make(identity, said, "2026-01-01T00:00:00.000Z", DEFAULT_WORKSPACE)
    status = shown(job)
    moment = {"Running": "started_at"}.get(name, "completed_at")
    assert parse_time(status[moment]) == parse_time(body[moment])
    assert {key: status[key] for key in ("job_id", "status")} == {key: body[key] for key in ("job_id", "status")}
    assert status.get("progress") == body.get("progress")
    assert status.get("error") == body.get("error")


@pytest.mark.parametrize(
    "body, field",
    [
        (None, ""),
        ({}, "status"),
        ({"status": "pending"}, "status"),
        ({"status": ["queued"]}, "status"),
        ({"status": "queued"}, "job_id"),
        ({"job_id": "a b"}, "job_id"),
        ({"progress": 45}, "progress"),
        ({"progress": {"percentage": "45"}}, "progress.percentage"),
        ({"progress": {"percentage": 101}}, "progress.percentage"),
        ({"progress": {"current_step": 7}}, "progress.current_step"),
        ({"progress": {"steps_total": 1.5}}, "progress.steps_total"),
        ({"status": "failed", "error": {}}, "error"),
        ({"created_at": "2026"}, "created_at"),
        ({"session_id": 7}, "session_id"),
    ],
)
def test_what_is_no_status_is_refused_by_its_field(body: Json, field: str) -> None:
    if body and field != "job_id":
        body = {"job_id": "a", "status": "queued", **body}
    if body and field == "job_id":
        body = {"status": "queued", **body}
    with pytest.raises(InvalidReport) as refused:
        PRAISONAI.parse(body)
    assert refused.value.members["field"] == field


def test_the_counts_of_steps_are_those_of_the_job_where_it_has_steps() -> None:
    steps = [{"name": "a", "state": "succeeded"}, {"name": "b", "state": "failed"}, {"name": "c"}]
    job = new(state="running", steps=steps, details={"steps_completed": 9, "steps_total": True})
    assert shown(job)["progress"] == {"percentage": 0.0, "steps_completed": 1, "steps_total": 3}
    without = new(state="running", details={"steps_completed": 9, "steps_total": True})
    assert shown(without)["progress"] == {"percentage": 0.0, "steps_completed": 9}


def test_a_step_that_was_not_named_is_told_by_the_message() -> None:
    job = new(state="running", message="step 2 of 4")
    assert shown(job)["progress"]["current_step"] == "step 2 of 4"
    assert told("progress", orjson.loads(document(job)))[0][1]["step"] == "step 2 of 4"
    assert shown(say(job, step="load"))["progress"]["current_step"] == "load"


@pytest.mark.parametrize(
    "result, text",
    [
        ('say "hi"\n\u2028', 'say "hi"\n\u2028'),
        ({"a": [1]}, '{"a":[1]}'),
        (None, ""),
        (7, "7"),
        ("x" * 2000, "x" * 1000),
    ],
)
def test_the_result_in_the_stream_is_a_text_of_at_most_a_thousand_characters(result: Json, text: str) -> None:
    job = say(new(state="running"), state="succeeded", result=result)
    assert told("transition", orjson.loads(document(job)))[-1] == ["result", {"result": text}]


@pytest.mark.parametrize("event", ["sync", "reset", "busy", "end"])
def test_what_only_the_canonical_stream_says_is_left_out(event: str) -> None:
    assert told(event, {}) == []


def test_a_deletion_is_told_as_its_server_does() -> None:
    assert told("deleted", {"id": "a"}) == [["error", {"error": "Job not found"}]]


# Routes


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path) as found:
        yield found


async def become(client: httpx.AsyncClient, job: str, state: str, **more: Any) -> None:
    """A job in that state."""
    await create(client, job, **more)
    if state != "pending":
        await report(client, job, state="running")
    if state not in ("pending", "running"):
        await report(client, job, state=state)


@pytest.mark.parametrize("state", sorted(TERMINAL | {State.PENDING, State.RUNNING}))
async def test_the_status_of_a_run_has_a_hint_while_there_is_more_to_come(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    def pace(_: Gateway, __: Standing) -> int:
        return 7

    monkeypatch.setattr(Gateway, "pace", pace)
    await become(client, "run_abc123", state)
    response = await client.get(f"{AT}/run_abc123")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-cache"
    assert valid(response.json()).get("retry_after") == (None if state in TERMINAL else 7)


async def test_the_hint_is_filled_in_for_each_answer_and_the_rest_rendered_once(tmp_path: Path) -> None:
    made: list[str] = []

    class Counted(PraisonAI):
        def status(self, job: Job) -> Json:
            made.append(job.position)
            return super().status(job)

    async with api(tmp_path, (Canonical, Counted)) as client:
        await create(client)
        answers = [(await client.get(f"{AT}/a")).json() for _ in range(3)]
        listed = (await client.get(AT)).json()["jobs"]
    assert answers == [listed[0]] * 3
    assert len(made) == 1


async def test_a_run_is_found_by_its_alias_and_in_its_workspace(client: httpx.AsyncClient) -> None:
    await create(client, "a", workspace="w", state="running")
    assert (await client.get(f"{AT}/a?workspace=w")).json()["job_id"] == "a"
    response = await client.get(f"{AT}/a")
    assert response.status_code == 404
    assert (await client.get(f"{AT}?workspace=w")).json()["total"] == 1
    assert (await client.get(AT)).json() == {"jobs": [], "total": 0, "page": 1, "page_size": 20}


@pytest.mark.parametrize(
    "method, rest", [("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("DELETE", ""), ("GET", "/stream")]
)
async def test_a_run_that_is_not_known_is_404_whatever_its_id_looks_like(
    client: httpx.AsyncClient, method: str, rest: str
) -> None:
    for job in ("nope", "a b", "ä", "..a", "x" * 201, "run_1;drop"):
        response = await client.request(method, f"{AT}/{job}{rest}")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/json"
        assert response.json() == {"detail": f"Job not found: {job}"}


@pytest.mark.parametrize(
    "method, path, headers, status, detail",
    [
        ("GET", "/praisonai/nope", {}, 404, "Not Found"),
        ("GET", "/praisonai", {}, 404, "Not Found"),
        ("PUT", f"{AT}/a", {}, 405, "Method Not Allowed"),
        ("POST", AT, {}, 405, "Method Not Allowed"),
        ("GET", f"{AT}?status=bogus", {}, 400, f"Invalid status: bogus. Valid values: {WORDS}"),
        ("GET", AT, {"Host": "evil.example"}, 421, None),
        ("DELETE", f"{AT}/a", {"Origin": "https://evil.example"}, 403, None),
    ],
)
async def test_every_refusal_is_a_detail(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int, detail: str | None
) -> None:
    response = await client.request(method, path, headers=headers)
    assert response.status_code == status
    assert response.json().keys() == {"detail"}
    assert detail in (None, response.json()["detail"])
    assert ("allow" in response.headers) is (status == 405)


INTEGER = "Input should be a valid integer, unable to parse string as an integer"
LEAST = "Input should be greater than or equal to 1"
MOST = "Input should be less than or equal to 100"


@pytest.mark.parametrize(
    "query, name, wrong",
    [
        ("page=0", "page", {"type": "greater_than_equal", "msg": LEAST, "input": "0", "ctx": {"ge": 1}}),
        ("page=x", "page", {"type": "int_parsing", "msg": INTEGER, "input": "x"}),
        ("page=", "page", {"type": "int_parsing", "msg": INTEGER, "input": ""}),
        ("page_size=101", "page_size", {"type": "less_than_equal", "msg": MOST, "input": "101", "ctx": {"le": 100}}),
        ("page_size=-1", "page_size", {"type": "greater_than_equal", "msg": LEAST, "input": "-1", "ctx": {"ge": 1}}),
    ],
)
async def test_a_number_that_can_be_none_is_refused_as_its_framework_does(
    client: httpx.AsyncClient, query: str, name: str, wrong: dict[str, Json]
) -> None:
    response = await client.get(f"{AT}?{query}")
    assert response.status_code == 422
    assert response.json() == {"detail": [wrong | {"loc": ["query", name]}]}


@pytest.mark.parametrize("path", [f"{AT}?workspace=A", f"{AT}/a?workspace=A", "/praisonai/stats?workspace=A"])
async def test_a_workspace_that_can_be_none_is_refused(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "workspace"]


async def test_a_fault_of_the_server_is_a_detail_that_tells_nothing(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_of(client).state.gateway, "glance", lambda *_: 1 / 0)
    response = await client.get(f"{AT}/a")
    assert response.status_code == 500
    assert response.json().keys() == {"detail"}
    assert "division" not in response.text


async def test_a_list_is_of_the_status_and_session_that_are_asked_for(client: httpx.AsyncClient) -> None:
    for number, state in enumerate(("pending", "running", "succeeded", "failed", "cancelled", "running")):
        await become(client, f"run_{number}", state, labels={"session_id": f"s{number % 2}"})
    await create(client, "run_6", state="running")
    await client.post("/v1/jobs/run_6/pause")

    async def ids(query: str) -> list[str]:
        listed = (await client.get(f"{AT}?{query}")).json()
        assert all(valid(run) for run in listed["jobs"])
        assert listed["total"] == len(listed["jobs"])
        return [run["job_id"][-1] for run in listed["jobs"]]

    assert await ids("") == ["6", "5", "4", "3", "2", "1", "0"]
    assert await ids("status=&session_id=") == ["6", "5", "4", "3", "2", "1", "0"]
    assert await ids("status=running") == ["6", "5", "1"]
    assert await ids("status=queued") == ["0"]
    assert await ids("status=cancelled") == ["4"]
    assert await ids("session_id=s1") == ["5", "3", "1"]
    assert await ids("session_id=s1&status=running") == ["5", "1"]
    assert await ids("session_id=%00") == []


async def test_pages_put_together_are_the_whole_list(client: httpx.AsyncClient) -> None:
    for number in range(23):
        await create(client, f"run_{number:02}", state=("pending", "running")[number % 2])
    whole = [f"run_{number:02}" for number in reversed(range(23))]
    for size in (1, 5, 23, 100):
        found = []
        for page in range(1, 25):
            listed = (await client.get(f"{AT}?page={page}&page_size={size}")).json()
            assert (listed["total"], listed["page"], listed["page_size"]) == (23, page, size)
            found += [run["job_id"] for run in listed["jobs"]]
        assert found == whole
    at_work = (await client.get(f"{AT}?status=running&page=2&page_size=4")).json()
    assert [run["job_id"] for run in at_work["jobs"]] == ["run_13", "run_11", "run_09", "run_07"]
    assert (await client.get(f"{AT}?page={2**53}")).json()["jobs"] == []
    assert (await client.get(f"{AT}?page={2**64}")).status_code == 422


async def test_the_result_is_there_when_the_run_has_ended(client: httpx.AsyncClient) -> None:
    await become(client, "run_1", "running")
    response = await client.get(f"{AT}/run_1/result")
    assert response.status_code == 409
    assert response.json() == {"detail": "Job is not complete. Current status: running"}
    links = [{"rel": "logs", "href": "http://x/log"}, {"rel": "results", "href": "http://x/out"}]
    await report(client, "run_1", state="succeeded", result={"rows": 7}, links=links)
    result = (await client.get(f"{AT}/run_1/result")).json()
    assert result["result"] == {"rows": 7}
    assert result["result_url"] == "http://x/out"
    assert result["duration_seconds"] >= 0
    await become(client, "run_2", "failed")
    assert (await client.get(f"{AT}/run_2/result")).json().keys() == {
        *("job_id", "status", "created_at", "started_at", "completed_at", "duration_seconds")
    }
    await become(client, "run_3", "succeeded")
    assert (await client.get(f"{AT}/run_3/result")).json()["result"] is None


async def test_a_cancel_is_the_wish_that_the_producer_sees(client: httpx.AsyncClient) -> None:
    await become(client, "run_1", "running")
    for _ in range(2):
        response = await client.post(f"{AT}/run_1/cancel")
        assert response.status_code == 200
        assert valid(response.json())["status"] == "running"
        assert (await client.get("/v1/jobs/run_1")).json()["state"] == "cancelling"
    await report(client, "run_1", state="cancelled")
    response = await client.post(f"{AT}/run_1/cancel")
    assert response.status_code == 409
    assert response.json() == {"detail": "Job is already complete. Status: cancelled"}


async def test_a_run_that_has_not_begun_is_cancelled_at_once(client: httpx.AsyncClient) -> None:
    await create(client, "run_1")
    assert valid((await client.post(f"{AT}/run_1/cancel")).json())["status"] == "cancelled"
    assert (await client.get(f"{AT}/run_1/result")).json().keys() == {"job_id", "status", "created_at", "completed_at"}


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
async def test_a_run_that_has_ended_cannot_be_cancelled_but_deleted(client: httpx.AsyncClient, state: str) -> None:
    await become(client, "run_1", state)
    response = await client.post(f"{AT}/run_1/cancel")
    assert response.status_code == 409
    assert response.json() == {"detail": f"Job is already complete. Status: {state}"}
    response = await client.delete(f"{AT}/run_1")
    assert (response.status_code, response.content) == (204, b"")
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/result"), ("GET", "/stream")):
        response = await client.request(method, f"{AT}/run_1{rest}")
        assert response.status_code == 404
        assert response.json() == {"detail": "Job not found: run_1"}
    assert (await client.get(AT)).json()["total"] == 0


@pytest.mark.parametrize("state", ["pending", "running"])
async def test_a_run_that_has_not_ended_cannot_be_deleted(client: httpx.AsyncClient, state: str) -> None:
    await become(client, "run_1", state)
    response = await client.delete(f"{AT}/run_1")
    assert response.status_code == 409
    assert response.json() == {"detail": "Cannot delete a running job. Cancel it first."}


async def test_health_and_stats_say_how_many_runs_there_are(client: httpx.AsyncClient) -> None:
    for number, state in enumerate(("running", "running", "failed", "pending")):
        await become(client, f"run_{number}", state)
    await create(client, "other", workspace="w")
    executor = {"running_jobs": 2, "shutdown": False}
    health = (await client.get("/praisonai/health")).json()
    assert health == {"status": "healthy", "store": "SqliteLog", "executor_stats": executor}
    counts = {"queued": 1, "running": 2, "failed": 1}
    stats = (await client.get("/praisonai/stats")).json()
    assert stats == {"executor": executor, "store": {"total_jobs": 4, "status_counts": counts}}
    app_of(client).state.gateway.drain()
    assert (await client.get("/praisonai/health")).json()["executor_stats"]["shutdown"] is True


# Traps


@pytest.mark.parametrize("state", list(State))
def test_trap_nothing_is_null_for_the_command_line_fails_on_progress_null(state: State) -> None:
    status = PRAISONAI.status(new()._replace(state=state))
    assert None not in status.values()
    assert None not in status.get("progress", {}).values()


@pytest.mark.parametrize("authorization", [{"Authorization": "Bearer k"}, {"Authorization": "k"}, {"X-API-Key": "k"}])
async def test_trap_a_key_is_accepted_in_every_form(client: httpx.AsyncClient, authorization: dict[str, str]) -> None:
    await create(client, "run_1")
    assert (await client.get(f"{AT}/run_1", headers=authorization)).status_code == 200


async def test_trap_created_at_is_a_text_of_which_the_command_line_cuts_off_the_end(client: httpx.AsyncClient) -> None:
    await create(client, "run_1")
    (run,) = (await client.get(AT)).json()["jobs"]
    assert parse_time(run["created_at"][:19] + "Z") <= parse_time(run["created_at"])


async def test_new_runs_are_not_taken_for_nobody_here_would_do_them(client: httpx.AsyncClient) -> None:
    response = await client.post(AT, json={"prompt": "p"})
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"
