"""What holds of a job whatever happens to it, whoever says it, in whatever order."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import orjson
import pytest
from hypothesis import example, given

from gateway.errors import GatewayError
from gateway.job import HELD, TRANSITIONS, Job, apply
from gateway.record import as_json, document, from_json
from gateway.report import State, parse_report
from gateway.values import Json
from tests.jobs import at, new
from tests.strategies import JOBS, LIVES, Happening, change_of, changed, lived, relaxed, reports

Life = tuple[dict[str, Json], Sequence[Happening]]
OWN = frozenset({"version", "updated", "reported", "position"})  # what every record changes


def versions_are_dense_and_updated_never_decreases(before: Job, after: Job) -> None:
    assert after.version == before.version + (after is not before)
    assert after.updated >= before.updated
    assert after.key == before.key
    assert (after.name, after.process, after.created) == (before.name, before.process, before.created)


def a_new_version_says_something_new(before: Job, after: Job) -> None:
    said = [{name: value for name, value in as_json(job).items() if name not in OWN} for job in (before, after)]
    assert after is before or orjson.dumps(said[0]) != orjson.dumps(said[1])


def states_follow_the_table(before: Job, after: Job) -> None:
    if after.state is before.state:
        assert after.previous is before.previous
    else:
        assert after.state in TRANSITIONS[before.state]
        assert after.previous is before.state
    assert not before.terminal or after is before
    assert not (before.state in HELD and after.state is State.RUNNING)


def progress_falls_only_with_a_new_attempt(before: Job, after: Job) -> None:
    begun = after.state is State.RETRYING and before.state is not State.RETRYING
    assert after.attempt == before.attempt + begun
    assert begun or before.progress is None or (after.progress or 0.0) >= before.progress


def times_are_in_order(before: Job, after: Job) -> None:
    times = [time for time in (after.created, after.started, after.finished, after.updated) if time is not None]
    assert times == sorted(times)
    assert before.started in (None, after.started)
    assert (after.finished is not None) == after.terminal


@relaxed
@given(LIVES)
def test_each_thing_that_happens_keeps_the_laws(life: Life) -> None:
    for before, after in pairwise(lived(life)):
        versions_are_dense_and_updated_never_decreases(before, after)
        a_new_version_says_something_new(before, after)
        states_follow_the_table(before, after)
        progress_falls_only_with_a_new_attempt(before, after)
        times_are_in_order(before, after)


@relaxed
@given(LIVES)
def test_nothing_that_happens_changes_an_earlier_job_in_place(life: Life) -> None:
    kept = [(job, copy.deepcopy(as_json(job))) for job in lived(life)]  # copied while the life goes on
    for job, members in kept:
        assert orjson.dumps(as_json(job)) == orjson.dumps(members)


@relaxed
@given(LIVES)
def test_a_document_read_again_is_the_same_job_and_the_same_bytes(life: Life) -> None:
    for job in lived(life):
        data = document(job)
        again = from_json(orjson.loads(data))
        assert document(again) == data
        assert (again.key, again.state, again.previous) == (job.key, job.state, job.previous)


@relaxed
@given(JOBS, reports())
def test_a_report_leaves_itself_and_a_job_that_refuses_it_as_they_were(job: Job, said: Json) -> None:
    report = parse_report(said)
    before = orjson.dumps(as_json(job)), copy.deepcopy(report)
    try:
        apply(job, report, at(99))
    except GatewayError as error:
        problem = error.problem()
    else:
        problem = {"status": None, "detail": "it was not refused"}
    assert problem["status"] in (None, 409)
    assert problem["detail"]
    assert (orjson.dumps(as_json(job)), report) == before


@relaxed
@given(JOBS, reports())
@example(new(state="running", progress=50), {"state": "retrying", "progress": 10, "error": "e"})
@example(new(state="running", progress=50), {"state": "succeeded", "progress": 10, "error": "e"})
@example(new(state="cancelling"), {"state": "running"})
def test_a_report_said_twice_makes_one_record_at_most(job: Job, said: Json) -> None:
    report = parse_report(said)
    try:
        once = apply(job, report, at(98))
    except GatewayError as error:
        with pytest.raises(type(error)):
            apply(job, report, at(99))
        return
    assert apply(once, report, at(99)) is once


@relaxed
@given(JOBS, reports())
def test_what_a_report_makes_of_a_job_read_again_is_what_it_makes_of_the_job(job: Job, said: Json) -> None:
    outcomes = []
    for one in (job, from_json(orjson.loads(document(job)))):
        try:
            after = changed(one, change_of(("report", said), one), at(99))
            outcomes.append((after is one, document(after)))
        except GatewayError as error:
            outcomes.append((True, orjson.dumps(error.problem())))
    assert outcomes[0] == outcomes[1]
