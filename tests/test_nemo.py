"""NeMo's dialect: its words, its bodies both ways, and its routes, lists and errors over a real log."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from gateway.dialects import nemo_bodies, nemo_lists
from gateway.dialects.nemo import Nemo
from gateway.errors import InvalidReport
from gateway.job import Job, apply
from gateway.job import create as make
from gateway.record import alias_of, from_json, uuid_of
from gateway.report import State
from gateway.service import Gateway
from gateway.values import DEFAULT_WORKSPACE, MAX_STEPS, Json, parse_time
from tests.api import api, app_of, create, report
from tests.jobs import at, new, say
from tests.strategies import JOBS, LINES, OBJECTS, TEXTS, relaxed

VECTORS = Path(__file__).parent / "vectors" / "nemo"
PAGE = orjson.loads((VECTORS / "page" / "openapi.json").read_bytes())  # what NeMo publishes
EXAMPLE = orjson.loads((VECTORS / "page" / "example.json").read_bytes())
AT = "/nemo/apis/jobs/v2/workspaces/default/jobs"
NEMO = Nemo()

formats = FormatChecker()


@formats.checks("date-time", raises=InvalidReport)
def is_time(value: object) -> bool:
    return not isinstance(value, str) or bool(parse_time(value))


def valid(body: Json, schema: str) -> Json:
    """The body, which NeMo's page describes."""
    reference = {"$ref": f"#/components/schemas/{schema}", "components": PAGE["components"]}
    Draft202012Validator(reference, format_checker=formats).validate(body)
    return body


def shown(job: Job) -> Json:
    """The job's status as it goes over the wire."""
    return valid(orjson.loads(orjson.dumps(NEMO.status(job))), "PlatformJobStatusResponse")


def read(body: Json) -> Job:
    """The job that a status makes."""
    identity, said = NEMO.parse(body)
    return make(identity._replace(id=identity.id or "a"), said, at(0), DEFAULT_WORKSPACE)


def told(body: Json) -> Json:
    """A status without what the gateway keeps itself: ids of steps and tasks, and times."""
    own = {"created_at", "updated_at"}
    body = {name: value for name, value in body.items() if name not in own}
    for step in body["steps"]:
        for item in (step, *step["tasks"]):
            for name in (*own, "id"):
                item.pop(name, None)
    return body


# Both directions


@pytest.mark.parametrize("state", State)
def test_every_state_is_shown_as_its_golden_vector_says(state: State) -> None:
    vector = orjson.loads((VECTORS / f"{state}.json").read_bytes())
    assert vector["document"]["state"] == state
    assert shown(from_json(vector["document"])) == vector["status"]


def test_every_word_of_the_page_is_known_and_no_other_is_used() -> None:
    words = set(PAGE["components"]["schemas"]["PlatformJobStatus"]["enum"])
    assert set(NEMO.states) == words == set(NEMO.words.values())
    assert set(NEMO.words) == set(State)


@pytest.mark.parametrize("word", NEMO.states)
def test_a_word_that_was_read_is_shown_again_as_it_was(word: str) -> None:
    assert NEMO.word(NEMO.read_word(word)) == word


def test_a_word_shared_by_several_states_is_read_as_pending_or_running() -> None:
    assert (NEMO.read_word("pending"), NEMO.read_word("active")) == (State.PENDING, State.RUNNING)


@relaxed
@given(JOBS)
def test_any_job_at_all_is_shown_as_the_page_describes(job: Job) -> None:
    body = shown(job)
    assert (body["id"], body["name"], body["status"]) == (job.id, job.name, NEMO.words[job.state])
    assert [step["name"] for step in body["steps"]] == [step["name"] for step in job.steps]


def test_the_example_of_the_page_is_read_and_shown_again_as_it_was() -> None:
    job = read(EXAMPLE)
    assert (job.id, job.name, job.state) == (EXAMPLE["id"], EXAMPLE["name"], State.RUNNING)
    assert (job.progress, job.step, job.reported) == (45.0, "validating data", "2024-06-01T08:10:00.000Z")
    assert job.steps[0]["tasks"][0]["details"] == {"duration_seconds": 120}
    assert told(shown(job)) == told(orjson.loads(orjson.dumps(EXAMPLE)))


DETAILS = OBJECTS | st.fixed_dictionaries(
    {},
    optional={
        "progress": st.sampled_from(["45%", "12.5 %", "100", "101%", "soon", 33, 0.5, 200, True, None]),
        "current_step": LINES | st.integers(0, 9) | st.just("a\0b"),
        "message": TEXTS | st.none(),
    },
)
ERRORS = OBJECTS | st.fixed_dictionaries(
    {},
    optional={
        "message": TEXTS | st.integers(0, 9),
        "error": TEXTS,
        "code": TEXTS | st.integers(0, 9),
        "stack": TEXTS,
        "details": OBJECTS,
    },
)
TIMES = st.sampled_from(["2026-02-19T09:00:00Z", "2026-02-19T09:30:00.123456+00:00"])
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "id": TEXTS,
    "name": LINES,
    "status": st.sampled_from(sorted(NEMO.states)),
    "status_details": DETAILS,
    "error_details": ERRORS,
    "created_at": TIMES,
    "updated_at": TIMES,
}
STACKS = TEXTS | st.just("Traceback\nOSError: full")


def some(members: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """A few items of different names."""
    return st.lists(st.fixed_dictionaries(members), max_size=2, unique_by=lambda item: str(item["name"]))


STEPS = some({**COMMON, "tasks": some({**COMMON, "error_stack": STACKS})})
IDS = st.from_regex(r"\A[A-Za-z0-9_~:-]{1,40}\Z")
BODIES = st.fixed_dictionaries({**COMMON, "id": IDS, "steps": STEPS}).map(
    # A job that succeeded has no error, whatever was said of it.
    lambda body: body | ({"error_details": {}} if body["status"] == "completed" else {})
)


@relaxed
@given(BODIES)
def test_whatever_nemo_says_of_a_new_job_is_shown_again_as_it_was(body: dict[str, Json]) -> None:
    valid(body, "PlatformJobStatusResponse")
    again = shown(read(body))
    assert told(again) == told(orjson.loads(orjson.dumps(body)))


@relaxed
@given(BODIES)
def test_whatever_nemo_says_later_replaces_what_it_said_before(body: dict[str, Json]) -> None:
    before = new(
        state="unknown", details={"old": 1}, error="old", step="old", message="old",
        steps=[{"name": "old"}, {"name": "extract", "details": {"old": 1}, "tasks": [{"name": "old"}]}],
    )  # fmt: skip
    body["status"] = "pending" if body["status"] == "created" else body["status"]  # no job becomes created
    again = shown(apply(before, NEMO.parse(body)[1], at(1)))
    assert told(again) | {"id": body["id"], "name": body["name"]} == told(orjson.loads(orjson.dumps(body)))


def test_a_job_as_lists_have_it_is_read_without_its_steps_being_forgotten() -> None:
    before = say(new(), state="running", steps=[{"name": "extract"}])
    identity, said = NEMO.parse({"id": "j", "name": "n", "workspace": "w", "status": "active", "spec": {}})
    assert (identity.id, identity.name, identity.workspace) == ("j", "n", "w")
    assert apply(before, said, at(2)).steps == before.steps


def test_times_are_taken_from_the_moment_that_counts() -> None:
    body = {
        "name": "n",
        "status_details": {},
        "created_at": "2026-02-19T08:00:00Z",
        "updated_at": "2026-02-19T09:00:00Z",
    }
    assert read(body | {"status": "pending"}).created == "2026-02-19T08:00:00.000Z"
    running = say(new(-9000), -8000, state="running")
    assert apply(running, NEMO.parse(body | {"status": "completed"})[1], at(0)).finished == "2026-02-19T09:00:00.000Z"


@pytest.mark.parametrize(
    "body, field",
    [
        ([], ""),
        ({}, "status"),
        ({"name": "n", "status": "running"}, "status"),
        ({"status": "active"}, "name"),
        ({"name": 1, "status": "active"}, "name"),
        ({"name": "n", "id": "a b", "status": "active"}, "id"),
        ({"name": "n", "status": "active", "status_details": []}, "status_details"),
        ({"name": "n", "status": "active", "error_details": "x"}, "error_details"),
        ({"name": "n", "status": "active", "updated_at": "today"}, "updated_at"),
        ({"name": "n", "status": "active", "steps": {}}, "steps"),
        ({"name": "n", "status": "active", "steps": [1]}, "steps[0]"),
        ({"name": "n", "status": "active", "steps": [{"status": "active"}]}, "steps[0].name"),
        ({"name": "n", "status": "active", "steps": [{"name": "s", "status": ""}]}, "steps[0].status"),
        ({"name": "n", "status": "active", "steps": [{"name": "s", "status": "active", "tasks": 1}]}, "steps[0].tasks"),
        (
            {"name": "n", "status": "active", "steps": [
                {"name": "s", "status": "active", "tasks": [{"name": "t", "status": "active", "error_stack": []}]}
            ]},
            "steps[0].tasks[0].error_stack",
        ),
    ],
)  # fmt: skip
def test_what_is_no_status_is_refused_with_the_name_of_its_field(body: Json, field: str) -> None:
    with pytest.raises(InvalidReport) as refusal:
        NEMO.parse(body)
    assert refusal.value.members["field"] == field


@pytest.mark.parametrize(
    "progress, text",
    [(0, "0%"), (45, "45%"), (45.5, "45.5%"), (100 / 3, "33.33%"), (99.9999, "99.99%"), (100, "100%"), (1e-9, "0%")],
)
def test_progress_is_written_for_people_and_is_100_only_when_it_is(progress: float, text: str) -> None:
    assert shown(say(new(), state="running", progress=progress))["status_details"] == {"progress": text}


def test_what_was_reported_as_details_goes_before_what_is_made_of_the_rest() -> None:
    job = say(new(), state="running", progress=10, step="load", message="hm", details={"progress": "a tenth"}, lease=1)
    assert shown(job._replace(stalled=True))["status_details"] == {
        "progress": "a tenth", "current_step": "load", "message": "hm", "stalled": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "error, details, stack",
    [
        ("full", {"message": "full"}, ""),
        ({"message": "full", "code": "E1", "stack": "at x"}, {"message": "full", "code": "E1"}, "at x"),
        ({"message": "full", "details": {"message": "other", "disk": 1}}, {"message": "full", "disk": 1}, ""),
        ({"message": "full", "details": {}}, {"message": "full"}, ""),
        ({"message": ""}, {"message": ""}, ""),
        (None, {}, ""),
    ],
)
def test_an_error_becomes_details_and_a_stack(error: Json, details: Json, stack: str) -> None:
    job = say(new(), state="running", steps=[{"name": "s", "tasks": [{"name": "t", "error": error}]}])
    (task,) = shown(job)["steps"][0]["tasks"]
    assert (task["error_details"], task["error_stack"]) == (details, stack)
    with_stack = details | ({"stack": stack} if stack else {})
    assert shown(say(job, 2, state="failed", error=error))["error_details"] == with_stack


@pytest.mark.parametrize(
    "details, stack, message",
    [
        ({"message": "full"}, "", "full"),
        ({"error": "boom", "code": 5}, "", "boom"),
        ({}, "Traceback\n  x\nOSError: full\n", "OSError: full"),
        ({"n": 1}, "", '{"n":1}'),
    ],
)
def test_an_error_that_is_read_says_one_line_to_whoever_shows_it(details: Json, stack: str, message: str) -> None:
    task = {"name": "t", "status": "error", "status_details": {}, "error_details": details, "error_stack": stack}
    step = {"name": "s", "status": "error", "status_details": {}, "error_details": {}, "tasks": [task]}
    job = read({"name": "n", "status": "error", "status_details": {}, "error_details": {}, "steps": [step]})
    assert job.steps[0]["tasks"][0]["error"]["message"] == message


# Over HTTP


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path) as found:
        yield found


async def ask(client: httpx.AsyncClient, path: str, method: str = "GET", **more: Any) -> Json:
    """The JSON of a good answer."""
    response = await client.request(method, AT + path, **more)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return orjson.loads(response.content)


async def refusal(client: httpx.AsyncClient, status: int, path: str, method: str = "GET", **more: Any) -> Json:
    """The detail of a refusal in NeMo's form."""
    response = await client.request(method, path if path.startswith("/nemo") else AT + path, **more)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = orjson.loads(response.content)
    assert list(body) == ["detail"]
    return valid(body, "HTTPValidationError")["detail"] if isinstance(body["detail"], list) else body["detail"]


async def test_trap_a_job_is_addressed_by_name_and_its_id_is_another_value(client: httpx.AsyncClient) -> None:
    await create(client, "job-9f8b", name="data import")
    body = valid(await ask(client, "/data%20import/status"), "PlatformJobStatusResponse")
    assert (body["id"], body["name"]) == ("job-9f8b", "data import")
    assert await ask(client, "/job-9f8b/status") == body
    assert await ask(client, f"/{alias_of('default', 'job-9f8b')}/status") == body


async def test_the_newest_job_of_a_name_is_meant_and_after_its_deletion_the_one_before(
    client: httpx.AsyncClient,
) -> None:
    await create(client, "a", name="nightly")
    await create(client, "b", name="nightly", state="running")
    await client.post("/v1/jobs?workspace=w", json={"id": "c", "name": "nightly"})
    assert (await ask(client, "/nightly/status"))["id"] == "b"
    await report(client, "b", state="failed")
    assert (await client.delete(f"{AT}/nightly")).status_code == 204
    assert (await ask(client, "/nightly/status"))["id"] == "a"
    assert (await client.get(AT.replace("default", "w") + "/nightly/status")).json()["id"] == "c"


async def test_a_name_goes_before_the_id_of_another_job(client: httpx.AsyncClient) -> None:
    await create(client, "a")
    await create(client, "b", name="a")
    assert (await ask(client, "/a/status"))["id"] == "b"


async def test_trap_an_unknown_job_is_404_in_the_servers_own_words(client: httpx.AsyncClient) -> None:
    for path in ("/x", "/x/status", "/x/logs", "/x/steps/s", "/x/steps/s/tasks", "/x/steps/s/tasks/t"):
        assert await refusal(client, 404, path) == "Job 'x' not found in workspace 'default'."
    assert await refusal(client, 404, "/%2E%2E/status") == "Job '..' not found in workspace 'default'."
    await refusal(client, 404, "/a%2Fb/status")  # no address: such a job is found by its id


@pytest.mark.parametrize("kind", ["cancel", "pause", "resume"])
async def test_a_wish_for_an_unknown_job_is_404(client: httpx.AsyncClient, kind: str) -> None:
    assert "'x' not found" in await refusal(client, 404, f"/x/{kind}", "POST")


async def test_trap_the_steps_of_an_unknown_job_are_an_empty_page(client: httpx.AsyncClient) -> None:
    assert (await ask(client, "/x/steps"))["data"] == []


async def test_a_deleted_job_is_not_there(client: httpx.AsyncClient) -> None:
    await create(client, "a", name="n")
    await report(client, "a", state="cancelled")
    assert (await client.delete(f"{AT}/n")).status_code == 204
    assert (await client.get("/v1/jobs/a")).status_code == 410
    for path in ("/n/status", "/a/status", "/a"):
        await refusal(client, 404, path)
    await refusal(client, 404, "/a", "DELETE")
    assert (await ask(client, ""))["data"] == []


async def test_trap_a_body_on_get_is_ignored(client: httpx.AsyncClient) -> None:
    await create(client)
    for body in (b"{}", b"no JSON"):
        await ask(client, "/a/status", content=body, headers={"Content-Type": "application/json"})


async def test_a_job_reported_by_its_producer_is_seen_with_its_steps_and_tasks(client: httpx.AsyncClient) -> None:
    await create(client, "a", process="ingest", labels={"project": "p", "team": "geo"})
    tasks = [{"name": "t", "state": "failed", "error": {"message": "x", "stack": "at y"}}]
    await report(client, state="running", steps=[{"name": "extract", "tasks": tasks}, {"name": "Load it"}])
    step, task = uuid_of("default", "a", "extract"), uuid_of("default", "a", "extract", "t")

    status = valid(await ask(client, "/a/status"), "PlatformJobStatusResponse")
    assert [found["id"] for found in status["steps"]] == [step, uuid_of("default", "a", "Load it")]
    assert status["steps"][0]["tasks"][0]["id"] == task

    job = await ask(client, "/a")
    assert (job["workspace"], job["source"], job["project"]) == ("default", "ingest", "p")
    assert job["custom_fields"] == {"project": "p", "team": "geo"}
    names = [found["name"] for found in job["platform_spec"]["steps"]]
    assert names == ["extract", f"step-{uuid_of('default', 'a', 'Load it')}"], "NeMo's model refuses other names"
    assert "steps" not in job

    listed = await ask(client, "/a/steps")
    assert [(found["name"], found["job"]) for found in listed["data"]] == [("extract", "a"), ("Load it", "a")]
    one = await ask(client, "/a/steps/extract")
    assert (one["id"], one["parent"], one["status"]) == (step, job["attempt_id"], "pending")
    assert (one["entity_id"], one["db_version"]) == (step, 2), "clients from 0.6 on refuse a step without db_version"
    found = (await ask(client, "/a/steps/extract/tasks"))["data"]
    assert [(item["id"], item["step_id"], item["error_stack"]) for item in found] == [(task, step, "at y")]
    assert found[0]["db_version"] == 2
    assert await ask(client, "/a/steps/extract/tasks/t") == found[0]
    assert await refusal(client, 404, "/a/steps/z") == "Step 'z' for job 'a' not found in workspace 'default'."
    assert await refusal(client, 404, "/a/steps/z/tasks") == "Step 'z' for job 'a' not found in workspace 'default'."
    assert (
        await refusal(client, 404, "/a/steps/extract/tasks/z")
        == "Task 'z' for job 'a' not found in workspace 'default'."
    )


async def test_a_job_without_steps_has_one_in_its_spec_because_the_client_refuses_a_job_without(
    client: httpx.AsyncClient,
) -> None:
    await create(client)
    job = await ask(client, "/a")
    assert [step["name"] for step in job["platform_spec"]["steps"]] == ["job"]
    assert (job["source"], "project" in job, job["error_details"]) == ("", False, {})


async def test_a_retry_is_another_attempt(client: httpx.AsyncClient) -> None:
    await create(client, state="running")
    before = (await ask(client, "/a"))["attempt_id"]
    await report(client, state="retrying")
    after = await ask(client, "/a")
    assert (before, after["attempt_id"]) == (
        f"attempt-1-{alias_of('default', 'a')}",
        f"attempt-2-{alias_of('default', 'a')}",
    )
    assert after["status"] == "active"


async def test_a_reader_who_has_it_already_gets_304_and_a_hint_when_to_ask_again(client: httpx.AsyncClient) -> None:
    await create(client)
    first = await client.get(f"{AT}/a/status")
    assert first.headers["retry-after"] == "1"
    again = await client.get(f"{AT}/a/status", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await report(client, state="cancelled")
    ended = await client.get(f"{AT}/a/status", headers={"If-None-Match": first.headers["etag"]})
    assert ended.json()["status"] == "cancelled"
    assert "retry-after" not in ended.headers


async def test_trap_the_old_client_asks_elsewhere_by_id_and_wants_a_job_id(client: httpx.AsyncClient) -> None:
    await create(client, "a", name="n", steps=[{"name": "s", "tasks": [{"name": "t"}]}])
    await create(client, "b", name="a")
    body = (await client.get("/nemo/v1/jobs/a/status")).json()
    assert body == {"job_id": "a", **await ask(client, "/n/status")}
    await client.post("/v1/jobs?workspace=w", json={"id": "c"})
    assert (await client.get("/nemo/v1/jobs/c/status?workspace=w")).json()["job_id"] == "c"
    await refusal(client, 404, "/nemo/v1/jobs/c/status")
    await refusal(client, 400, "/nemo/v1/jobs/a%20b/status")
    await report(client, "b", state="cancelled")
    await client.delete("/v1/jobs/b")
    await refusal(client, 404, "/nemo/v1/jobs/b/status")


# Wishes


async def test_a_wish_is_seen_by_the_producer_and_only_the_producer_fulfils_it(client: httpx.AsyncClient) -> None:
    await create(client, state="running")
    for kind, word in (("pause", "pausing"), ("resume", "resuming"), ("cancel", "cancelling")):
        assert (await ask(client, f"/a/{kind}", "POST"))["status"] == word
        assert (await report(client)).json()["state"] == word
    assert (await ask(client, "/a/cancel", "POST"))["status"] == "cancelling"


async def test_a_job_that_has_not_begun_is_cancelled_at_once(client: httpx.AsyncClient) -> None:
    await create(client)
    assert (await ask(client, "/a/cancel", "POST"))["status"] == "cancelled"


@pytest.mark.parametrize("kind", ["cancel", "pause", "resume"])
@pytest.mark.parametrize("state, word", [("succeeded", "completed"), ("failed", "error"), ("cancelled", "cancelled")])
async def test_trap_a_wish_for_a_finished_job_is_200_with_the_job_as_it_is(
    client: httpx.AsyncClient, kind: str, state: str, word: str
) -> None:
    await create(client, state="running")
    before = (await report(client, state=state)).json()
    assert (await ask(client, f"/a/{kind}", "POST"))["status"] == word
    assert (await client.get("/v1/jobs/a")).json() == before


@pytest.mark.parametrize("state, kind", [("running", "resume"), ("paused", "pause"), ("pending", "resume")])
async def test_trap_a_wish_that_makes_no_sense_is_200_with_the_job_as_it_is(
    client: httpx.AsyncClient, state: str, kind: str
) -> None:
    await create(client)
    if state != "pending":
        await report(client, state=state)
    assert (await ask(client, f"/a/{kind}", "POST"))["status"] == NEMO.words[State(state)]


async def test_trap_deleting_a_job_at_work_is_422_because_409_would_be_sent_three_times(
    client: httpx.AsyncClient,
) -> None:
    await create(client, state="running")
    assert "cancel it first" in await refusal(client, 422, "/a", "DELETE")
    assert (await ask(client, "/a/status"))["status"] == "active"


# Logs


async def test_each_record_is_a_line_of_the_log_page_by_page(client: httpx.AsyncClient) -> None:
    await create(client)
    await report(client, state="running", progress=50, step="load", message="half")
    await report(client, state="failed", error="disk full", message=None)
    page = await ask(client, "/a/logs?limit=2")
    assert [line["message"] for line in page["data"]] == ["pending", "active 50% half"]
    assert (page["total"], page["prev_page"], page["data"][1]["job_step"]) == (3, None, "load")
    rest = await ask(client, f"/a/logs?page_cursor={page['next_page']}")
    assert [line["message"] for line in rest["data"]] == ["error 50% disk full"]
    assert rest["next_page"] is None
    assert len((await ask(client, "/a/logs?step_id=load"))["data"]) == 2
    assert (await ask(client, "/a/logs?task_id=t"))["data"] == []
    assert (await ask(client, "/a/logs?attempt_id=2"))["data"] == []
    assert len((await ask(client, "/a/logs?attempt_id=1&limit=5000"))["data"]) == 3


@pytest.mark.parametrize("cursor", ["x", "aaaaaaaa-1"])
async def test_trap_a_foreign_cursor_is_422_with_the_words_at_which_watch_begins_anew(
    client: httpx.AsyncClient, cursor: str
) -> None:
    await create(client)
    assert await refusal(client, 422, f"/a/logs?page_cursor={cursor}") == "Invalid page cursor"


# Lists


@pytest.fixture
async def jobs(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Five jobs, a to e, and one of another workspace."""
    await create(client, "a", process="p", labels={"project": "red"})
    await create(client, "b", process="q", name="nightly-import", labels={"project": "blue"})
    await create(client, "c", process="p", name="nightly")
    await create(client, "d", state="running")
    await create(client, "e", state="created")
    await client.post("/v1/jobs?workspace=w", json={"id": "f"})
    await report(client, "b", state="running")
    await report(client, "c", state="failed")
    return client


def params(query: str) -> httpx.QueryParams:
    """The parameters of a query that is written as it is meant."""
    return httpx.QueryParams([(part.partition("=")[0], part.partition("=")[2]) for part in query.split("&") if part])


async def listed(client: httpx.AsyncClient, query: str) -> str:
    """The ids of the jobs of a list."""
    return "".join(job["id"] for job in (await ask(client, "", params=params(query)))["data"])


LISTS = {
    "": "edcba",
    "sort=created_at": "abcde",
    "sort=-created_at&page_size=2": "ed",
    "page_size=2&page=2": "cb",
    "page_size=2&page=3": "a",
    "page_size=2&page=4": "",
    "sort=created_at&page_size=2&page=2": "cd",
    "sort=created_at&page=9": "",
    "sort=source": "deacb",
    "sort=-source": "bcaed",
    "filter[status]=active": "db",
    "filter[status]=active&sort=created_at": "bd",
    "filter[status]=pending,error": "ca",
    "filter[status]=pending&filter[status]=error": "ca",
    "filter[status]=running": "",
    "filter[status][eq]=created": "e",
    "filter[status][$nin]=active,pending": "ec",
    "filter[name]=nightly": "c",
    "filter[name]=a": "a",
    "filter[name][like]=NIGHT": "cb",
    "filter[name][$in]=nightly,d": "dc",
    'filter[name][$in]=["nightly","d"]': "dc",
    'filter[name]={"$like":"night"}': "cb",
    "filter[name][not][like]=night": "eda",
    "filter[id]=d": "d",
    "filter[source]=p": "ca",
    "filter[source]=p&filter[status]=error": "c",
    "filter[project]=red": "a",
    "filter[project]=": "edc",
    "filter[project][nin]=red": "b",
    "filter[workspace]=default": "edcba",
    "filter[workspace]=w": "",
    "filter[created_at][gte]=2020-01-01": "edcba",
    "filter[created_at][lt]=2020-01-01T00:00:00Z": "",
    "filter[updated_at][gt]=2020-01-01T00:00:00&filter[updated_at][lte]=2999-01-01": "edcba",
    'filter={"status":"active"}': "db",
    'filter={"status":{"$in":["error","created"]},"name":{"$like":"nightly"}}': "c",
    'filter={"$or":[{"status":"error"},{"name":"a"}]}': "ca",
    'filter={"$and":[{"status":"active"},{"$not":{"name":"d"}}]}': "b",
    'filter={"status":{"$or":[{"$eq":"error"},{"$eq":"created"}]}}': "ec",
    'filter={"name":{"$eq":"a","$in":["a","b"]}}': "a",
    'filter={"name":[]}': "",
    'filter={"source":""}': "ed",
    "filter={}": "edcba",
    "unknown=1": "edcba",
}


async def test_a_list_holds_what_its_filter_means_in_the_order_that_is_asked_for(jobs: httpx.AsyncClient) -> None:
    assert {query: await listed(jobs, query) for query in LISTS} == LISTS


async def test_a_list_says_which_page_it_is_and_how_many_there_are(jobs: httpx.AsyncClient) -> None:
    page = await ask(jobs, "?page_size=2&page=3")
    assert page["pagination"] == {
        "page": 3, "page_size": 2, "current_page_size": 1, "total_pages": 3, "total_results": 5,
    }  # fmt: skip
    assert page["sort"] == "-created_at"
    assert "filter" not in page
    none = await ask(jobs, "?filter[status]=cancelled&sort=created_at")
    assert none["pagination"] | {"page_size": 10} == {
        "page": 1, "page_size": 10, "current_page_size": 0, "total_pages": 1, "total_results": 0,
    }  # fmt: skip
    assert none["filter"] == {"status": {"$eq": "cancelled"}}
    assert "null" not in (await jobs.get(AT)).text


async def test_a_page_larger_than_the_largest_is_given_as_the_largest(jobs: httpx.AsyncClient) -> None:
    assert (await ask(jobs, "?page_size=5000"))["pagination"]["page_size"] == 1000


async def test_many_values_are_found_though_the_log_is_not_asked_for_each(jobs: httpx.AsyncClient) -> None:
    names = ",".join(["a", "d", *(f"x{i}" for i in range(200))])
    assert await listed(jobs, f"filter[name][in]={names}") == "da"


async def test_a_list_looks_at_a_bounded_number_of_jobs(
    jobs: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nemo_lists, "SLICE", 2)
    assert await listed(jobs, "sort=created_at") == "abcde", "pieced together of slices"
    monkeypatch.setattr(nemo_lists, "MAX_SCANNED", 4)
    assert await listed(jobs, "sort=created_at") == "bcde", "of the newest"
    assert await listed(jobs, "") == "edcba", "the log itself pages through all of them"


async def test_a_bad_parameter_of_a_list_is_422_that_says_which(client: httpx.AsyncClient) -> None:
    await create(client)
    for query in (
        "page=0",
        "page=-1",
        "page=x",
        "page=1.5",
        "page=",
        "page=9999999999999999",
        "page_size=0",
        "sort=name",
    ):
        name, _, value = query.partition("=")
        for path in ("", "/a/steps"):
            (found,) = await refusal(client, 422, f"{path}?{query}")
            assert (found["loc"], found["input"]) == (["query", name], value)


MEANINGLESS = (
    "filter=status:active",
    "filter={",
    'filter={"status":1}',
    'filter={"nme":"a"}',
    'filter={"name":{"$regex":"a"}}',
    'filter={"$or":{}}',
    'filter={"$not":[]}',
    'filter={"name":{"$like":["a"]}}',
    'filter={"name":{"$in":1}}',
    'filter={"created_at":{"$gte":"yesterday"}}',
    'filter={"created_at":{"$gte":"0001-01-01T00:00:00+23:00"}}',
    "filter[]=a",
    "filter[a][b][c][d][e][f][g][h][i]=a",
    "filter[nme]=a",
    "filter[name]=a&filter[name][like]=b",
    "filter[status]=[",
    "filter=" + '{"$not":' * 60 + "{}" + "}" * 60,
)


async def test_a_filter_that_means_nothing_is_refused(client: httpx.AsyncClient) -> None:
    for query in MEANINGLESS:
        detail = await refusal(client, 400, "", params=params(query))
        assert detail.startswith("The filter can't be used: "), query


async def test_steps_are_paged_sorted_and_filtered_as_jobs_are(client: httpx.AsyncClient) -> None:
    await create(client, "a", name="n", process="p", steps=[{"name": name} for name in "xyz"])
    await report(client, steps=[{"name": "y", "state": "failed"}])
    expected = {
        "": "xyz",
        "sort=-created_at": "zyx",
        "page_size=2&page=2": "z",
        "filter[status]=error": "y",
        "filter[status]=error,pending&filter[job]=n&filter[source]=p": "xyz",
        "filter[job]=other": "",
    }
    pages = {query: await ask(client, "/n/steps", params=params(query)) for query in expected}
    assert {query: "".join(step["name"] for step in page["data"]) for query, page in pages.items()} == expected
    assert pages[""]["pagination"]["page_size"] == 25


def test_what_changed_last_stands_first_and_of_two_that_are_alike_the_newer_one() -> None:
    job = say(new(steps=[{"name": name} for name in "wxyz"]), 5, steps=[{"name": "x", "state": "running"}])
    listing = nemo_lists.Listing(1, 10, "-updated_at", {}, lambda _: True)
    assert [step["name"] for step in nemo_lists.steps_found(job, listing)] == list("xzyw")
    assert [step["name"] for step in nemo_lists.steps_found(job, replace(listing, sort="updated_at"))] == list("wyzx")


# Errors have the dialect's own form, wherever they come from


@pytest.mark.parametrize("workspace", ["UPPER", "a b", "x" * 65])
async def test_a_workspace_that_can_not_be_is_422(client: httpx.AsyncClient, workspace: str) -> None:
    for path in ("", "/a/status"):
        (found,) = await refusal(client, 422, AT.replace("default", workspace) + path)
        assert (found["loc"], found["input"]) == (["path", "workspace"], workspace)


@pytest.mark.parametrize("name", ["a%00b", "x" * 1001])
async def test_a_name_that_can_not_be_is_422(client: httpx.AsyncClient, name: str) -> None:
    (found,) = await refusal(client, 422, f"/{name}/status")
    assert found["loc"] == ["path", "name"]


async def test_unknown_addresses_and_methods_are_refused_in_the_dialects_form(client: httpx.AsyncClient) -> None:
    for path in ("/nemo", "/nemo/", "/nemo/apis/jobs/v2/execution-profiles", f"{AT}/", f"{AT}/a/results"):
        await refusal(client, 404, path)
    response = await client.put(f"{AT}/a/status")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert list(response.json()) == ["detail"]


async def test_what_is_too_large_is_refused_in_the_dialects_form(client: httpx.AsyncClient) -> None:
    await create(client)
    await refusal(client, 413, "/a/cancel", "POST", content=b"x" * (1024 * 1024 + 1))
    assert (await ask(client, "/a"))["status"] == "pending"


async def test_the_doors_refusals_have_the_dialects_form(client: httpx.AsyncClient) -> None:
    await refusal(client, 421, "/a/status", headers={"Host": "evil.example"})
    await refusal(client, 403, "/a/cancel", "POST", headers={"Origin": "http://evil.example"})
    gateway: Gateway = app_of(client).state.gateway
    await create(client)
    gateway.drain()
    await refusal(client, 503, "/a/cancel", "POST")
    await ask(client, "/a/status")


async def test_a_fault_of_the_server_is_told_in_the_dialects_form_and_without_its_inside(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def stumble(*_: object) -> None:
        raise ZeroDivisionError("of the inside")

    monkeypatch.setattr(Gateway, "jobs", stumble)
    with caplog.at_level(logging.ERROR):
        detail = await refusal(client, 500, "/a/status")
    assert "inside" not in detail
    assert "of the inside" in caplog.text


async def test_a_key_in_any_form_is_no_hindrance(client: httpx.AsyncClient) -> None:
    await create(client)
    for headers in ({"Authorization": "Bearer k"}, {"Authorization": "k"}, {"X-API-Key": "k"}):
        await ask(client, "/a/status", headers=headers)


# Work


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, ...]]:
    """How often the id of each step and task was made: once for each time that it is rendered."""
    made: Counter[tuple[str, ...]] = Counter()

    def counted(*names: str) -> str:
        made[names] += 1
        return uuid_of(*names)

    monkeypatch.setattr(nemo_bodies, "uuid_of", counted)
    return made


async def test_a_thousand_steps_and_tasks_are_rendered_once_for_each_record_however_many_ask(
    client: httpx.AsyncClient, ids: Counter[tuple[str, ...]]
) -> None:
    steps = [{"name": f"s{i}", "tasks": [{"name": f"t{j}"} for j in range(19)]} for i in range(MAX_STEPS // 20)]
    await create(client, state="running", steps=steps)
    answers = await asyncio.gather(*(client.get(f"{AT}/a/status") for _ in range(30)))
    assert len({answer.content for answer in answers}) == 1
    body = valid(orjson.loads(answers[0].content), "PlatformJobStatusResponse")
    assert sum(1 + len(step["tasks"]) for step in body["steps"]) == MAX_STEPS
    assert len(ids) == sum(ids.values()) == MAX_STEPS, "each once, and nothing besides"
    await report(client, steps=[{"name": "s0", "state": "running"}])
    await asyncio.gather(*(client.get(f"{AT}/a/status") for _ in range(3)))
    assert sum(ids.values()) == 2 * MAX_STEPS, "and once more for the next record"


async def test_a_page_of_steps_costs_no_more_than_the_page(
    client: httpx.AsyncClient, ids: Counter[tuple[str, ...]]
) -> None:
    await create(client, state="running", steps=[{"name": f"s{i}"} for i in range(MAX_STEPS)])
    for _ in range(3):
        assert (await ask(client, "/a/steps?page=7"))["pagination"]["total_pages"] == 40
    assert sum(ids.values()) == 25
    for _ in range(3):
        await ask(client, "/a/steps/s7")
        await ask(client, "/a/steps/s7/tasks")
    assert sum(ids.values()) == 27
