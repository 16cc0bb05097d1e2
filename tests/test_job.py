"""What reports make of a job, member by member; the states are in test_transitions, whole lives in test_lives."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.errors import InvalidReport, JobFinished
from gateway.job import Job, create
from gateway.record import as_json
from gateway.report import Identity, State
from gateway.values import MAX_LABELS, MAX_STEPS, Json
from tests.jobs import at, new, report, say

ENDS = ["succeeded", "failed", "cancelled"]


def test_a_new_job_is_pending_and_says_what_its_report_said() -> None:
    job = create(
        Identity("a", "w", "tiles", "p"), report(progress=5, labels={"team": "geo", "x": None}), at(1), "other"
    )
    assert job == Job(
        *("a", "w", "tiles", "p", State.PENDING),
        progress=5.0,
        details={},
        labels={"team": "geo"},
        created=at(1),
        updated=at(1),
        version=1,
    )


def test_a_name_left_out_is_the_id_and_a_workspace_left_out_the_default() -> None:
    job = create(Identity("a"), report(), at(1), "w")
    assert (job.name, job.workspace, job.process, job.key) == ("a", "w", None, ("w", "a"))
    with pytest.raises(ValueError, match="with an id"):
        create(Identity(), report(), at(1), "w")


# What changes nothing


EVERYTHING: dict[str, Json] = {
    "state": "running",
    "progress": 50,
    "step": "s",
    "message": "m",
    "error": "e",
    "details": {"a": [True], "b": {"c": 1}},
    "steps": [{"name": "extract", "state": "running"}],
    "labels": {"l": "v"},
    "lease": 30,
    "links": [{"rel": "r", "href": "h"}],
    "result": {"a": 1},
}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"state": "running"},
        {"progress": 50.0},
        {"progress": 49.9},
        {"progress": None},
        {"step": "s"},
        {"message": "m"},
        {"error": {"message": "e", "code": None}},
        {"details": {}},
        {"details": {"b": {"c": 1.0}, "gone": None}},
        {"details": {"b": {"c": 1}, "a": [True]}, "replace": ["details"]},
        {"labels": {"l": "v", "gone": None}},
        {"labels": {"l": "v"}, "replace": ["labels"]},
        {"steps": [{"name": "extract", "details": {}}]},
        {"steps": [{"name": "extract", "state": "running"}], "replace": ["steps"]},
        {"lease": 30.0},
        {"links": [{"rel": "r", "href": "h"}]},
        {"result": {"a": 1.0}},
        {"time": at(0)},
    ],
)
def test_a_report_that_changes_nothing_makes_no_record(said: dict[str, Json]) -> None:
    job = new(**EVERYTHING)
    assert say(job, **said) is job


@pytest.mark.parametrize(
    "name,truth,number",
    [
        ("result", False, 0),
        ("details", {"a": True}, {"a": 1}),
        ("error", {"message": "m", "details": {"a": [True]}}, {"message": "m", "details": {"a": [1]}}),
        ("steps", [{"name": "s", "details": {"a": True}}], [{"name": "s", "details": {"a": 1}}]),
    ],
)
def test_a_number_in_place_of_a_truth_is_a_change(name: str, truth: Json, number: Json) -> None:
    job = say(new(**{name: truth}), 1, **{name: number})
    assert job.version == 2
    written = orjson.dumps(getattr(job, name))
    assert b"true" not in written
    assert b"false" not in written


# Members


def test_what_is_left_out_stays() -> None:
    job = new(**EVERYTHING)
    assert say(job, progress=60) == job._replace(progress=60.0, version=2, updated=at(1))


def test_what_is_said_again_in_other_words_stays_as_it_was() -> None:
    """Beside something new, too: another order of members would make a whole document of each small change."""
    job = new(details={"a": 1, "b": [1]}, result={"c": 1, "d": 0}, error={"message": "m", "details": {"e": 1, "f": 2}})
    again: dict[str, Json] = {
        "details": {"b": [1.0], "a": 1.0},
        "replace": ["details"],
        "result": {"d": 0.0, "c": 1.0},
        "error": {"message": "m", "details": {"f": 2, "e": 1}},
    }
    assert orjson.dumps(as_json(say(job, message="new", **again))) == orjson.dumps(as_json(say(job, message="new")))


def test_null_is_said_and_clears() -> None:
    cleared: dict[str, Any] = dict.fromkeys(("step", "message", "error", "lease", "result"))
    job = new(**EVERYTHING)
    assert say(job, **cleared) == job._replace(**cleared, version=2, updated=at(1))


def test_links_and_result_are_set_whole() -> None:
    job = new(links=[{"rel": "a", "href": "1"}], result={"a": 1, "b": 2})
    after = say(job, links=[{"rel": "b", "href": "2"}], result={"c": 3})
    assert after.links == ({"rel": "b", "href": "2"},)
    assert after.result == {"c": 3}
    assert say(after, links=[]).links == ()


def test_details_and_labels_are_merged_or_replaced() -> None:
    job = new(details={"a": {"b": 1, "c": 2}}, labels={"a": "1", "b": "2"})
    merged = say(job, details={"a": {"b": None}}, labels={"a": None, "c": "3"})
    assert (merged.details, merged.labels) == ({"a": {"c": 2}}, {"b": "2", "c": "3"})
    whole = say(job, details={"x": None}, labels={"c": "3"}, replace=["details", "labels"])
    assert (whole.details, whole.labels) == ({"x": None}, {"c": "3"})
    assert new(details={"x": None}).details == {}
    assert new(details={"x": None}, replace=["details"]).details == {"x": None}


def test_64_labels_are_kept_and_one_more_is_refused() -> None:
    labels = {str(i): "" for i in range(MAX_LABELS)}
    job = new(labels=labels)
    with pytest.raises(InvalidReport, match="65 labels") as caught:
        say(job, labels={"one more": ""})
    assert caught.value.members == {"field": "labels"}
    assert len(say(job, labels={"0": None, "one more": ""}).labels or {}) == MAX_LABELS
    with pytest.raises(InvalidReport):
        new(labels={**labels, "one more": ""})


def test_1000_steps_and_tasks_are_kept_and_one_more_is_refused() -> None:
    tasks = [{"name": str(i)} for i in range(MAX_STEPS - 2)]
    job = new(steps=[{"name": "a", "tasks": tasks}, {"name": "b"}])
    with pytest.raises(InvalidReport, match="1001 steps and tasks") as caught:
        say(job, steps=[{"name": "b", "tasks": [{"name": "t"}]}])
    assert caught.value.members == {"field": "steps"}
    assert len(say(job, steps=[{"name": "a"}, {"name": "b"}, {"name": "c"}], replace=["steps"]).steps) == 3


# Progress, attempts, success


def test_progress_never_falls_within_an_attempt() -> None:
    job = new(state="running")
    assert job.progress is None
    shown = []
    for value in (10, 5, None, 10.5, 0, 100, 99):
        job = say(job, progress=value)
        shown.append(job.progress)
    assert shown == [10.0, 10.0, 10.0, 10.5, 10.5, 100.0, 100.0]
    assert job.version == 4


def test_progress_that_falls_is_ignored_and_the_rest_of_its_report_counts() -> None:
    job = say(new(progress=50), progress=40, message="m")
    assert (job.progress, job.message) == (50.0, "m")


def test_zero_is_progress() -> None:
    assert say(new(), progress=0).progress == 0.0


def test_retrying_begins_an_attempt_and_clears_progress_and_error_before_its_own_members_apply() -> None:
    job = new(state="running", progress=50, error="e", message="m")
    again = say(job, 1, state="retrying")
    assert (again.attempt, again.progress, again.error, again.message) == (2, None, None, "m")
    assert say(again, 2, state="retrying") is again
    both = say(job, 1, state="retrying", progress=10, error="once more")
    assert (both.attempt, both.progress, both.error) == (2, 10.0, {"message": "once more"})
    assert say(both, 2, state="retrying", progress=10, error="once more") is both
    third = say(say(again, 2, state="running"), 3, state="retrying")
    assert (third.attempt, third.version) == (3, 4)


def test_success_completes_a_reported_progress_and_clears_the_error() -> None:
    job = new(state="running", progress=50, error="e")
    done = say(job, state="succeeded")
    assert (done.progress, done.error) == (100.0, None)
    assert say(new(state="running"), state="succeeded").progress is None
    assert say(new(state="running"), state="succeeded", progress=3, error="x").progress == 100.0
    assert say(new(state="running"), state="succeeded", error="x").error is None
    assert new(state="succeeded", progress=3, error="x") == new(state="succeeded")._replace(
        progress=100.0, error=None, version=1
    )


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_another_end_keeps_progress_and_error(state: str) -> None:
    job = say(new(state="running", progress=50, error="e"), state=state)
    assert (job.progress, job.error) == (50.0, {"message": "e"})


# After the end


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("progress", [0, 50, 100, None])
def test_progress_after_the_end_is_ignored(state: str, progress: float | None) -> None:
    job = say(new(progress=40), state=state)
    assert say(job, progress=progress) is job
    assert say(job, state=state, progress=progress, time=at(1)) is job


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize(
    "said",
    [
        {"message": "m"},
        {"step": "s"},
        {"error": "e"},
        {"details": {"a": True}},
        {"labels": {"a": "b"}},
        {"labels": {}, "replace": ["labels"]},
        {"steps": [{"name": "s"}]},
        {"lease": 30},
        {"links": []},
        {"result": True},
    ],
)
def test_any_other_change_after_the_end_is_refused_by_name(state: str, said: dict[str, Json]) -> None:
    job = say(new(details={"a": 1}, labels={"l": "v"}, links=[{"rel": "r", "href": "h"}], result=1), state=state)
    before = as_json(job)
    (name, *_) = said
    with pytest.raises(JobFinished) as caught:
        say(job, 2, **said)
    assert caught.value.members == {"state": state, "wish": None, "allowed": []}
    assert name in caught.value.detail
    assert as_json(job) == before


def test_success_said_again_with_the_error_that_it_cleared_changes_nothing() -> None:
    job = say(new(progress=3), state="succeeded", error="x", message="m")
    assert say(job, 2, state="succeeded", error="x", message="m", progress=3) is job
    with pytest.raises(JobFinished) as caught:
        say(job, 2, state="succeeded", message="other")
    assert caught.value.members == {"state": "succeeded", "wish": "succeeded", "allowed": []}
