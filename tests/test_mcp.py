"""mcp-background-job's words for a job, both ways: held by vectors, a recording, schemas, and arbitrary jobs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.dialects.mcp import Mcp
from gateway.dialects.mcp_tools import MAX_WAIT, TOOLS, ToolError
from gateway.errors import InvalidReport
from gateway.job import Job, apply, create
from gateway.record import dumps, from_json
from gateway.report import MISSING, State
from gateway.values import DEFAULT_WORKSPACE, MAX_NAME
from tests.jobs import START, at, new, say
from tests.strategies import JOBS, WILD, relaxed

FOLDER = Path(__file__).parent / "vectors" / "mcp"
VECTORS = sorted(FOLDER.glob("*.json"))
RECORDED = orjson.loads((FOLDER / "original" / "recorded.json").read_bytes())
MCP = Mcp()
CHECKERS = {
    name: Draft202012Validator(tool.output, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for name, tool in TOOLS.items()
}
# What the real server's two tools say of a job, from its own schemas.
WORDS = st.sampled_from(["running", "completed", "failed", "killed"])
COMMANDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
STARTS = st.floats(-3600, 0).map(at)
SUMMARIES = st.fixed_dictionaries({"job_id": st.uuids(version=4).map(str), "status": WORDS, "command": COMMANDS,
                                   "started": STARTS})  # fmt: skip
STATUSES = st.fixed_dictionaries({"status": WORDS})


# Rendering


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_vector_comes_out_as_it_stands(path: Path) -> None:
    vector = orjson.loads(path.read_bytes())
    job = from_json(vector["input"])
    assert MCP.status(job) == vector["get_job_status"]
    assert MCP.summary(job) == vector["list_jobs"]
    assert MCP.news(job) == vector["wait_for_job"]


def test_there_is_a_vector_for_every_state() -> None:
    assert {path.stem for path in VECTORS} == set(MCP.words) == set(State)
    assert all(orjson.loads(path.read_bytes())["input"]["state"] == path.stem for path in VECTORS)


@relaxed
@given(JOBS)
def test_every_answer_satisfies_the_schema_that_its_tool_declares(job: Job) -> None:
    CHECKERS["get_job_status"].validate(orjson.loads(dumps(MCP.status(job))))
    CHECKERS["list_jobs"].validate(orjson.loads(dumps({"jobs": [MCP.summary(job)]})))
    CHECKERS["wait_for_job"].validate(orjson.loads(dumps({"changed": True, **MCP.news(job)})))


def test_the_command_is_the_name_and_without_one_the_process_or_the_id() -> None:
    assert MCP.summary(new(name="tiles", process="p"))["command"] == "tiles"
    assert MCP.summary(new(process="p"))["command"] == "p"
    assert MCP.summary(new())["command"] == "a"


def test_an_agent_is_spared_the_rest_of_a_long_message() -> None:
    job = say(new(), state="failed", message="m" * 5000, error="e" * 5000)
    assert len(MCP.news(job)["message"]) == len(MCP.news(job)["error"]) == 4000


# Reading


@relaxed
@given(STATUSES | SUMMARIES)
def test_what_was_read_is_shown_as_it_was(body: dict[str, Any]) -> None:
    identity, report = MCP.parse(body)
    job = create(identity._replace(id=identity.id or "a"), report, at(0), DEFAULT_WORKSPACE)
    assert MCP.status(job)["status"] == body["status"]
    shown = MCP.summary(job)
    wanted = dict(body)
    if body["status"] != "running":  # one that had ended before it was first read has lost when it began
        wanted.pop("started", None)
    assert {name: shown[name] for name in wanted} == wanted


@relaxed
@given(SUMMARIES)
def test_a_job_that_was_seen_running_keeps_its_start_to_the_end(body: dict[str, Any]) -> None:
    identity, report = MCP.parse({**body, "status": "running"})
    job = create(identity, report, at(0), DEFAULT_WORKSPACE)
    later = apply(job, MCP.parse(body)[1], at(7))
    assert MCP.summary(later) == body
    assert later is job or later.finished == at(7)


@relaxed
@given(WILD | st.fixed_dictionaries({}, optional=dict.fromkeys(("job_id", "status", "command", "started"), WILD)))
def test_whatever_is_read_is_a_report_or_refused(body: Any) -> None:
    field = None
    try:
        _, report = MCP.parse(body)
    except InvalidReport as error:
        field = error.members["field"]
    else:
        assert report.state in (State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED)
    assert field in (None, "", "job_id", "status", "command", "started")


@pytest.mark.parametrize(
    "body, field",
    [
        ([], ""),
        ({}, "status"),
        ({"status": "queued"}, "status"),
        ({"status": "running", "job_id": "a b"}, "job_id"),
        ({"status": "running", "command": None}, "command"),
        ({"status": "running", "started": "yesterday"}, "started"),
    ],
)
def test_a_status_that_makes_no_sense_is_refused_by_the_name_of_its_field(body: Any, field: str) -> None:
    with pytest.raises(InvalidReport) as refused:
        MCP.parse(body)
    assert refused.value.members["field"] == field


def test_a_command_that_is_no_name_is_made_one() -> None:
    assert MCP.parse({"status": "running", "command": "x" * 5000})[0].name == "x" * MAX_NAME
    assert MCP.parse({"status": "running", "command": "a\0b"})[0].name == "ab"
    assert MCP.parse({"status": "running", "command": ""})[0].name is None


def test_a_start_is_the_time_of_no_report_of_an_end() -> None:
    body = {"job_id": "a", "command": "x", "started": "2026-02-19T10:00:00.123456Z"}
    assert MCP.parse({**body, "status": "completed"})[1].time is None
    report = MCP.parse({**body, "status": "running"})[1]
    assert report.time is not None
    assert report.time.replace(microsecond=0) == START
    assert report.progress is MISSING


# The tools


def test_the_tools_of_the_original_are_listed_as_it_lists_them() -> None:
    for recorded in RECORDED["tools"]:
        tool = TOOLS[recorded["name"]]
        assert recorded == {
            "name": tool.name,
            "title": tool.title,
            "description": tool.description,
            "inputSchema": tool.input,
            "outputSchema": tool.output,
        }
    assert [tool["name"] for tool in RECORDED["tools"]] == list(TOOLS)[:-1]
    assert list(TOOLS)[-1] == "wait_for_job"


def in_short(text: str) -> str:
    """An error's text without what pydantic adds for programmers."""
    return re.sub(r" \[type=.*\]|\n    For further .*", "", text)


@pytest.mark.parametrize(
    "call", [each for each in RECORDED["calls"] if "validation" in each["result"]["content"][0]["text"]], ids=str
)
def test_arguments_are_refused_in_the_originals_words(call: dict[str, Any]) -> None:
    with pytest.raises(ToolError) as refused:
        TOOLS[call["tool"]].check(call["arguments"])
    assert str(refused.value) == in_short(call["result"]["content"][0]["text"])


@pytest.mark.parametrize(
    "argument, text",
    [
        ({"timeout_s": "5"}, "Input should be a valid number"),
        ({"timeout_s": True}, "Input should be a valid number"),
        ({"timeout_s": -1}, "Input should be greater than or equal to 0"),
        ({"timeout_s": MAX_WAIT + 1}, "Input should be less than or equal to 3600"),
        ({"until": "noon"}, "Input should be 'change' or 'end'"),
        ({"until": 5}, "Input should be a valid string"),
    ],
)
def test_a_wait_that_makes_no_sense_is_refused(argument: dict[str, Any], text: str) -> None:
    with pytest.raises(ToolError) as refused:
        TOOLS["wait_for_job"].check({"job_id": "a", **argument})
    assert str(refused.value) == f"1 validation error for call[wait_for_job]\n{next(iter(argument))}\n  {text}"


@relaxed
@given(
    st.sampled_from(list(TOOLS)), st.dictionaries(st.sampled_from(["job_id", "timeout_s", "until", "after", "x"]), WILD)
)
def test_a_tool_takes_what_its_schema_permits_and_nothing_else(name: str, arguments: dict[str, Any]) -> None:
    permitted = Draft202012Validator(TOOLS[name].input).is_valid(arguments)
    try:
        TOOLS[name].check(arguments)
    except ToolError:
        assert not permitted
    else:
        assert permitted
