"""Reports at the border: whatever JSON comes, it is refused with its field and the remedy, or it is a report."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given

from gateway.errors import GatewayError, IllegalTransition, InvalidReport, TooLarge
from gateway.frames import Form
from gateway.job import Delete, Job, Stall, Wish, apply, create
from gateway.record import Filter, Position, document, from_json
from gateway.report import (
    CREATE_IDENTITY,
    LINE_IDENTITY,
    MISSING,
    REPORT_MEMBERS,
    Identity,
    Report,
    State,
    Step,
    Task,
    parse_identified,
    parse_report,
)
from gateway.values import MAX_LINKS, MAX_NAME, MAX_STEPS, Json, parse_time
from tests.jobs import at, new
from tests.strategies import almost_reports, relaxed, reports


def field_of(said: Json) -> tuple[str, str]:
    """The field and the detail with which a report is refused."""
    with pytest.raises(InvalidReport) as caught:
        parse_report(said)
    assert set(caught.value.members) == {"field"}
    return str(caught.value.members["field"]), caught.value.detail


def test_an_empty_report_says_nothing() -> None:
    assert parse_report({}) == Report()


def test_what_is_left_out_is_missing_and_null_is_said() -> None:
    nulls = dict.fromkeys(("progress", "step", "message", "error", "lease", "result"))
    said = parse_report(nulls)
    for name in REPORT_MEMBERS:
        expected: object = None if name in nulls or name == "time" else frozenset() if name == "replace" else MISSING
        assert getattr(said, name) == expected


def test_every_member_is_read() -> None:
    said = parse_report(
        {
            "state": "running",
            "progress": 45,
            "step": "validating",
            "message": "Processing step 2 of 4",
            "error": "it broke",
            "details": {"a": None},
            "steps": [{"name": "extract", "state": "succeeded", "tasks": [{"name": "t", "error": None}]}],
            "labels": {"team": "geo", "gone": None},
            "lease": 30,
            "links": [{"type": "text/html", "href": "/x", "rel": "results"}],
            "result": [1],
            "time": "2026-02-19T11:00:00+01:00",
            "replace": ["details", "steps", "details"],
        }
    )
    assert said == Report(
        state=State.RUNNING,
        progress=45.0,
        step="validating",
        message="Processing step 2 of 4",
        error={"message": "it broke"},
        details={"a": None},
        steps=(Step("extract", State.SUCCEEDED, tasks=(Task("t", error=None),)),),
        labels={"team": "geo", "gone": None},
        lease=30.0,
        links=({"rel": "results", "href": "/x", "type": "text/html"},),
        result=[1],
        time=parse_time("2026-02-19T10:00:00Z"),
        replace=frozenset({"details", "steps"}),
    )


@pytest.mark.parametrize("said", [None, [], "running", 1, True, [{}]])
def test_what_is_no_object_is_no_report(said: Json) -> None:
    assert field_of(said) == ("", "the report must be a JSON object")


def test_an_unknown_member_is_refused_wherever_it_stands_and_the_known_ones_are_named() -> None:
    assert field_of({"progres": 1})[0] == "progres"
    assert "progress" in field_of({"progres": 1})[1]
    assert field_of({"error": {"message": "m", "kind": 1}})[0] == "error.kind"
    assert field_of({"steps": [{"name": "a"}, {"name": "b", "progress": 1}]})[0] == "steps[1].progress"
    assert field_of({"steps": [{"name": "a", "tasks": [{"name": "t", "tasks": []}]}]})[0] == "steps[0].tasks[0].tasks"
    assert field_of({"links": [{"rel": "a", "href": "b", "title": "c"}]})[0] == "links[0].title"
    for member in ("id", "job", "name", "workspace", "process", "key", "version", "position", "x" * 10_000):
        assert field_of({member: "a"})[0] == member[:100]


def test_a_report_of_a_list_is_named_by_its_place() -> None:
    with pytest.raises(InvalidReport) as caught:
        parse_report({"labels": {"a": None}, "replace": ["labels"]}, "[3]")
    assert caught.value.members == {"field": "[3].labels"}


@pytest.mark.parametrize(
    "said,field",
    [
        ({"state": "done"}, "state"),
        ({"state": "RUNNING"}, "state"),
        ({"state": None}, "state"),
        ({"state": []}, "state"),
        ({"state": {}}, "state"),
        ({"progress": True}, "progress"),
        ({"error": 1}, "error"),
        ({"error": {}}, "error.message"),
        ({"error": {"message": None}}, "error.message"),
        ({"error": {"message": "m", "code": 1}}, "error.code"),
        ({"error": {"message": "m", "stack": []}}, "error.stack"),
        ({"error": {"message": "m", "details": []}}, "error.details"),
        ({"details": None}, "details"),
        ({"details": []}, "details"),
        ({"labels": None}, "labels"),
        ({"labels": {"": "a"}}, "labels"),
        ({"labels": {"a:b": "c"}}, "labels"),
        ({"labels": {"a\0": "c"}}, "labels"),
        ({"labels": {"a" * (MAX_NAME + 1): "c"}}, "labels"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"labels": {"a": "\0"}}, "labels.a"),
        ({"labels": {"a": "x" * (MAX_NAME + 1)}}, "labels.a"),
        ({"links": {}}, "links"),
        ({"links": None}, "links"),
        ({"links": [{"rel": "a", "href": "b"}] * (MAX_LINKS + 1)}, "links"),
        ({"links": ["a"]}, "links[0]"),
        ({"links": [{"rel": "a"}]}, "links[0].href"),
        ({"links": [{"rel": "a", "href": "b"}, {"href": "b"}]}, "links[1].rel"),
        ({"links": [{"rel": "a", "href": "b", "type": None}]}, "links[0].type"),
        ({"steps": {}}, "steps"),
        ({"steps": [1]}, "steps[0]"),
        ({"steps": [{}]}, "steps[0].name"),
        ({"steps": [{"name": ""}]}, "steps[0].name"),
        ({"steps": [{"name": "a", "state": "done"}]}, "steps[0].state"),
        ({"steps": [{"name": "a", "error": {"code": "x"}}]}, "steps[0].error.message"),
        ({"steps": [{"name": "a"}, {"name": "a"}]}, "steps[1].name"),
        ({"steps": [{"name": "a", "tasks": [{"name": "t"}, {"name": "t"}]}]}, "steps[0].tasks[1].name"),
        ({"steps": [{"name": str(i)} for i in range(MAX_STEPS + 1)]}, "steps"),
        ({"lease": 0}, "lease"),
        ({"time": "yesterday"}, "time"),
        ({"time": None}, "time"),
        ({"replace": "labels"}, "replace"),
        ({"replace": None}, "replace"),
        ({"replace": ["links"]}, "replace"),
        ({"replace": [[]]}, "replace"),
        ({"replace": ["labels"]}, "replace"),
        ({"replace": ["steps", "details"], "steps": []}, "replace"),
        ({"replace": ["labels"], "labels": {"a": None}}, "labels"),
    ],
)
def test_a_bad_member_is_refused_with_its_field(said: Json, field: str) -> None:
    named, detail = field_of(said)
    assert named == field
    assert field.rpartition(".")[2].rpartition("]")[2] in detail


def test_what_is_just_within_the_limits_is_accepted() -> None:
    long = "a" * MAX_NAME
    links = [{"rel": "a", "href": "b"}] * MAX_LINKS
    steps = [{"name": str(i)} for i in range(MAX_STEPS)]
    said = parse_report({"labels": {long: long}, "links": links, "steps": steps})
    assert said.labels == {long: long}
    assert said.links == tuple(links)
    assert said.steps == tuple(Step(step["name"]) for step in steps)


@pytest.mark.parametrize("value", [Task, Step, Report, Identity, Job, Wish, Stall, Delete, Position, Filter, Form])
def test_values_are_frozen_and_have_slots(value: type[Any]) -> None:
    assert issubclass(value, tuple) or value.__dataclass_params__.frozen
    assert "__slots__" in vars(value)


def test_the_words_for_states_are_named_when_one_is_wrong() -> None:
    _, detail = field_of({"state": "done"})
    assert detail == f"state must be one of {', '.join(State)}"


def test_an_error_is_a_text_or_an_object_in_one_order_without_nulls() -> None:
    assert parse_report({"error": ""}).error == {"message": ""}
    nulls = parse_report({"error": {"message": "m", "code": None, "stack": None, "details": None}})
    assert nulls.error == {"message": "m"}
    said = {"details": {"b": None}, "stack": None, "code": "E1", "message": "m"}
    error = parse_report({"error": said}).error
    assert orjson.dumps(error) == b'{"message":"m","code":"E1","details":{"b":null}}'


def test_a_replaced_set_may_be_empty() -> None:
    said = parse_report({"replace": ["labels", "details", "steps"], "labels": {}, "details": {}, "steps": []})
    assert said.replace == {"labels", "details", "steps"}


# Who a report is about


def test_identity_is_read_beside_the_report() -> None:
    line: dict[str, Any] = {"job": "a", "workspace": "w", "name": "n", "process": None, "progress": 1}
    assert parse_identified(line, LINE_IDENTITY) == (Identity("a", "w", "n", None), Report(progress=1.0))
    assert parse_identified({"id": "a"}, CREATE_IDENTITY) == (Identity("a"), Report())
    assert parse_identified({}, CREATE_IDENTITY) == (Identity(), Report())


@pytest.mark.parametrize(
    "said,known,field",
    [
        ({"job": "a"}, CREATE_IDENTITY, "job"),
        ({"id": "a"}, LINE_IDENTITY, "id"),
        ({"id": ".."}, CREATE_IDENTITY, "id"),
        ({"job": "a/b"}, LINE_IDENTITY, "job"),
        ({"workspace": "W"}, CREATE_IDENTITY, "workspace"),
        ({"name": None}, CREATE_IDENTITY, "name"),
        ({"name": ""}, CREATE_IDENTITY, "name"),
        ({"process": ""}, LINE_IDENTITY, "process"),
    ],
)
def test_a_bad_identity_is_refused_with_its_field(said: Json, known: frozenset[str], field: str) -> None:
    with pytest.raises(InvalidReport) as caught:
        parse_identified(said, known)
    assert caught.value.members == {"field": field}


# Any JSON at all


@relaxed
@given(reports())
def test_every_valid_report_is_accepted_and_makes_a_job(said: Json) -> None:
    assert document(create(Identity("a"), parse_report(orjson.loads(orjson.dumps(said))), at(0), "w"))


def refusal_of(said: Json) -> GatewayError | None:
    """With what any JSON is refused, if it is; a job that it makes is written, read, and written again the same."""
    try:
        report = parse_report(said)
        for job in (create(Identity("a"), report, at(0), "w"), apply(new(state="unknown"), report, at(1))):
            data = document(job)
            assert document(from_json(orjson.loads(data))) == data
    except (InvalidReport, TooLarge, IllegalTransition) as error:
        return error
    return None


@relaxed
@given(almost_reports())
def test_any_json_at_all_is_refused_with_its_field_or_makes_a_job_that_can_be_written_and_read_again(
    said: Json,
) -> None:
    refused = refusal_of(orjson.loads(orjson.dumps(said)))
    if refused is not None:
        assert refused.detail
        assert isinstance(refused, IllegalTransition) or isinstance(refused.members["field"], str)


def test_json_of_both_kinds_exists() -> None:
    assert refusal_of({"state": "running", "result": {"a": [1.0, True, "\u2028"]}}) is None
    assert isinstance(refusal_of({"state": "running", "result": {"a": 2**60}}), InvalidReport)
    assert isinstance(refusal_of({"message": "a" * 2**18}), TooLarge)
