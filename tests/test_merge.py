"""What is said joins what is known: the cases of RFC 7396, and steps and tasks by name."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
from hypothesis import given

from gateway.merge import Item, equal, merge_named, merge_patch, said_or
from gateway.report import MISSING, State, parse_report
from gateway.values import Json
from tests.jobs import at
from tests.strategies import OBJECTS, STEPS, VALUES, relaxed


@pytest.mark.parametrize(
    "target,patch,merged",
    [  # RFC 7396, appendix A, as far as both are objects; then its section 3
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        (
            {"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "tags": ["example", "sample"]},
            {"title": "Hello!", "phoneNumber": "+01", "author": {"familyName": None}, "tags": ["example"]},
            {"title": "Hello!", "author": {"givenName": "John"}, "tags": ["example"], "phoneNumber": "+01"},
        ),
        ({"a": 5}, {"a": {"b": None}}, {"a": {}}),
        ({}, {"a": [None, {"b": None}]}, {"a": [None, {"b": None}]}),
    ],
)
def test_a_patch_is_merged_as_rfc_7396_says(target: Json, patch: Json, merged: Json) -> None:
    before = copy.deepcopy((target, patch))
    result = merge_patch(target, patch)
    assert result == merged
    assert list(result) == list(merged)
    assert (target, patch) == before


@relaxed
@given(OBJECTS, OBJECTS)
def test_a_patch_merged_again_changes_nothing(target: dict[str, Json], patch: dict[str, Json]) -> None:
    once = merge_patch(target, patch)
    again = merge_patch(once, patch)
    assert equal(again, once)
    assert list(again) == list(once)


# Equal as JSON


@pytest.mark.parametrize(
    "one,other",
    [(1, 1.0), (0.0, -0.0), ([], ()), ([1, {"a": None}], ([1.0, {"a": None}])), ({"a": 1, "b": 2}, {"b": 2, "a": 1.0})],
)
def test_values_that_say_the_same_are_equal(one: Json, other: Json) -> None:
    assert equal(one, other)
    assert equal(other, one)


@pytest.mark.parametrize(
    "one,other",
    [
        (1, True),
        (0, False),
        (1.0, True),
        (None, False),
        ("1", 1),
        ("", None),
        ([], {}),
        ([], None),
        ([1], [True]),
        ([1], [1, 2]),
        ({"a": {"b": [1]}}, {"a": {"b": [True]}}),
        ({"a": None}, {}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, ["a"]),
    ],
)
def test_values_that_differ_as_json_are_not_equal(one: Json, other: Json) -> None:
    assert not equal(one, other)
    assert not equal(other, one)


@relaxed
@given(VALUES)
def test_every_value_is_equal_to_its_copy(value: Json) -> None:
    assert equal(value, copy.deepcopy(value))


def test_what_is_missing_leaves_the_default() -> None:
    assert said_or(MISSING, 1) == 1
    assert said_or(None, 1) is None


# Steps and tasks


def merged(known: Sequence[Item], said: Json, when: float, whole: bool = False) -> tuple[Item, ...]:
    """Steps after a report that says `said` of them."""
    steps = parse_report({"steps": said}).steps
    return merge_named(known, said_or(steps, ()), whole, at(when))


def names(items: Sequence[Item]) -> list[str]:
    return [item["name"] for item in items]


def test_a_step_begins_as_pending_with_the_members_of_the_document_in_their_order() -> None:
    (step,) = merged((), [{"name": "s", "tasks": [{"name": "t"}]}], 1)
    blank: Json = {"state": State.PENDING, "details": {}, "error": None, "created": at(1), "updated": at(1)}
    assert step == {"name": "s", **blank, "tasks": [{"name": "t", **blank}]}
    assert list(step) == ["name", "state", "details", "error", "created", "updated", "tasks"]
    assert list(step["tasks"][0]) == ["name", "state", "details", "error", "created", "updated"]


def test_steps_and_tasks_stand_in_the_order_of_their_first_report() -> None:
    steps = merged((), [{"name": "b", "tasks": [{"name": "y"}, {"name": "x"}]}, {"name": "a"}], 1)
    steps = merged(steps, [{"name": "c"}, {"name": "a"}, {"name": "b", "tasks": [{"name": "z"}, {"name": "x"}]}], 2)
    assert names(steps) == ["b", "a", "c"]
    assert names(steps[0]["tasks"]) == ["y", "x", "z"]


def test_what_is_not_said_of_a_step_stays() -> None:
    said = {"name": "s", "state": "running", "details": {"a": 1, "b": 2}, "error": "e", "tasks": [{"name": "t"}]}
    steps = merged((), [said, {"name": "other"}], 1)
    (step, other) = merged(steps, [{"name": "s", "details": {"a": None, "c": 3}}], 2)
    assert step["state"] == State.RUNNING
    assert step["details"] == {"b": 2, "c": 3}
    assert step["error"] == {"message": "e"}
    assert names(step["tasks"]) == ["t"]
    assert (step["created"], step["updated"]) == (at(1), at(2))
    assert step["tasks"][0]["updated"] == at(1)
    assert other is steps[1]


def test_a_step_is_updated_when_a_task_of_it_is_and_its_other_tasks_are_not() -> None:
    steps = merged((), [{"name": "s", "tasks": [{"name": "t"}, {"name": "u"}]}], 1)
    (step,) = merged(steps, [{"name": "s", "tasks": [{"name": "u", "state": "failed", "error": "e"}]}], 2)
    assert step["updated"] == at(2)
    assert [task["updated"] for task in step["tasks"]] == [at(1), at(2)]
    assert [task["created"] for task in step["tasks"]] == [at(1), at(1)]
    assert step["tasks"][1]["error"] == {"message": "e"}


def test_an_error_of_a_step_is_removed_by_null() -> None:
    steps = merged((), [{"name": "s", "error": "e"}], 1)
    assert merged(steps, [{"name": "s", "error": None}], 2)[0]["error"] is None


def test_the_states_of_steps_and_tasks_may_go_anywhere() -> None:
    steps: tuple[Item, ...] = ()
    for state in ("succeeded", "created", "failed", "running", "cancelled"):
        steps = merged(steps, [{"name": "s", "state": state, "tasks": [{"name": "t", "state": state}]}], 1)
        assert steps[0]["state"] == steps[0]["tasks"][0]["state"] == state


def test_what_changes_nothing_of_a_step_gives_the_very_step() -> None:
    steps = merged((), [{"name": "s", "details": {"a": 1}, "tasks": [{"name": "t", "state": "running"}]}], 1)
    again = merged(steps, [{"name": "s", "details": {"a": 1.0}, "tasks": [{"name": "t", "state": "running"}]}], 2)
    assert again[0] is steps[0]
    assert merged(steps, [{"name": "s", "details": {"a": True}}], 2)[0]["updated"] == at(2)


def test_a_replaced_set_holds_what_is_said_and_keeps_nulls_and_the_first_times() -> None:
    said = {"name": "s", "state": "running", "details": {"a": 1}, "error": "e", "tasks": [{"name": "t"}, {"name": "u"}]}
    steps = merged((), [said, {"name": "gone"}], 1)
    new = {"name": "s", "details": {"b": None}, "tasks": [{"name": "u", "state": "failed"}]}
    replaced = merged(steps, [{"name": "first"}, new], 2, whole=True)
    assert names(replaced) == ["first", "s"]
    step = replaced[1]
    assert (step["state"], step["details"], step["error"]) == (State.PENDING, {"b": None}, None)
    assert (step["created"], step["updated"]) == (at(1), at(2))
    assert names(step["tasks"]) == ["u"]
    assert (step["tasks"][0]["created"], step["tasks"][0]["updated"]) == (at(1), at(2))


@pytest.mark.parametrize("whole", [False, True])
@relaxed
@given(known=STEPS, said=STEPS)
def test_steps_said_again_are_the_very_same(whole: bool, known: Json, said: Json) -> None:
    before = merged((), known, 1)
    copied = copy.deepcopy(before)
    once = merged(before, said, 2, whole)
    again = merged(once, said, 3, whole)
    assert all(one is other for one, other in zip(once, again, strict=True))
    assert before == copied
    assert len(set(names(once))) == len(once)
