"""Filters: which jobs are meant, and that a record matches by the job before it as well as after it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.eventlog.base import Entry
from gateway.eventlog.batch import Batch
from gateway.eventlog.hot import Extent
from gateway.eventlog.known import Known
from gateway.job import Change, Delete, Job, Wish
from gateway.record import DELETED, PROGRESS, TRANSITION, Filter, Record, is_end
from gateway.report import Identity, State
from gateway.values import Json
from tests.jobs import at, new, report
from tests.strategies import LIVES, Happening, change_of, relaxed


class Log:
    """What the log makes of the changes of one job, without the file."""

    def __init__(self, **identity: str) -> None:
        self._batch = Batch(Extent([(1, "k7f3q2ab")], 0, 0, 0), 1, at(1), 0, Known(), {})
        self._identity = Identity("a", **identity)
        self.records = self._batch.records

    def add(self, change: Change) -> Job:
        """The job after a change. Raises what it is refused with."""
        outcome = self._batch.add(Entry("default", "a", (change,), identity=self._identity))
        assert hasattr(outcome, "standing")
        return outcome.standing.job


def last(*changes: Change) -> Record:
    """The record of the last of these changes of one job."""
    log = Log(name="n", process="p")
    for change in changes:
        log.add(change)
    return log.records[-1]


BEGIN = report(state="running", labels={"l": "v", "m": "w"})
JOB = new(name="n", process="p", state="running", labels={"l": "v", "m": "w"})


@pytest.mark.parametrize(
    "match",
    [
        Filter(),
        Filter(jobs=frozenset({("default", "a")})),
        Filter(jobs=frozenset({("default", "a"), ("default", "b")})),
        Filter(workspaces=frozenset({"default", "w"})),
        Filter(states=frozenset({State.RUNNING, State.FAILED})),
        Filter(processes=frozenset({"p"})),
        Filter(names=frozenset({"n", "o"})),
        Filter(labels=frozenset({("l", "v")})),
        Filter(labels=frozenset({("l", "v"), ("m", "w")})),
        Filter(states=frozenset({State.RUNNING}), names=frozenset({"n"}), labels=frozenset({("l", "v")})),
    ],
)
def test_a_job_that_is_meant_matches(match: Filter) -> None:
    assert match.matches_job(JOB)
    assert match.matches(last(BEGIN))


@pytest.mark.parametrize(
    "match",
    [
        Filter(jobs=frozenset({("default", "b")})),
        Filter(jobs=frozenset({("w", "a")})),
        Filter(workspaces=frozenset({"w"})),
        Filter(states=frozenset({State.FAILED, State.PENDING})),
        Filter(processes=frozenset({"n"})),
        Filter(names=frozenset({"p"})),
        Filter(labels=frozenset({("l", "w")})),
        Filter(labels=frozenset({("l", "v"), ("l", "w")})),
        Filter(labels=frozenset({("l", "v"), ("x", "v")})),
        Filter(states=frozenset({State.RUNNING}), names=frozenset({"p"})),
        Filter(jobs=frozenset({("default", "a")}), states=frozenset({State.FAILED})),
    ],
)
def test_another_job_does_not_match(match: Filter) -> None:
    assert not match.matches_job(JOB)
    assert not match.matches(last(BEGIN))


def test_a_list_lets_a_job_go_by_the_record_that_takes_it_out() -> None:
    running = Filter(states=frozenset({State.RUNNING}))
    labelled = Filter(labels=frozenset({("l", "v")}))
    failed, unlabelled = report(state="failed"), report(labels={"l": None})
    assert running.matches(last(BEGIN, failed))
    assert not running.matches(last(BEGIN, failed, Delete()))
    assert labelled.matches(last(BEGIN, unlabelled))
    assert not labelled.matches(last(BEGIN, unlabelled, report(progress=1)))
    assert labelled.matches(last(BEGIN, failed, Delete()))
    both = Filter(states=frozenset({State.RUNNING}), labels=frozenset({("l", "v")}))
    assert both.matches(last(BEGIN, report(state="failed", labels={"l": None})))
    assert both.matches(last(BEGIN, failed))
    assert not both.matches(last(BEGIN, unlabelled, failed))


@pytest.mark.parametrize(
    "changes,event,end",
    [
        ([BEGIN], TRANSITION, False),
        ([BEGIN, report(progress=1)], PROGRESS, False),
        ([BEGIN, Wish("cancel")], TRANSITION, False),
        ([BEGIN, report(state="failed")], TRANSITION, True),
        ([report(), Wish("cancel")], TRANSITION, True),
        ([report(state="succeeded")], TRANSITION, True),
        ([BEGIN, report(state="failed"), Delete()], DELETED, True),
    ],
)
def test_a_record_tells_whether_the_job_has_ended(changes: Sequence[Change], event: str, end: bool) -> None:
    record = last(*changes)
    assert (record.event, is_end(record)) == (event, end)


FILTERS = st.builds(
    Filter,
    jobs=st.frozensets(st.sampled_from([("default", "a"), ("default", "b")]), max_size=1),
    workspaces=st.frozensets(st.sampled_from(["default", "w"]), max_size=1),
    states=st.frozensets(st.sampled_from(State), max_size=3),
    processes=st.frozensets(st.sampled_from(["p", "q"]), max_size=1),
    names=st.frozensets(st.sampled_from(["a", "b"]), max_size=1),
    labels=st.frozensets(st.tuples(st.sampled_from(["extract", "load"]), st.sampled_from(["x", "\u2028"])), max_size=1),
)


@relaxed
@given(LIVES, st.lists(FILTERS, max_size=4))
def test_a_record_matches_if_the_job_before_or_after_it_does(
    life: tuple[dict[str, Json], Sequence[Happening]], filters: Sequence[Filter]
) -> None:
    log = Log(process="p")
    jobs = [log.add(report(**life[0]))]
    for change in (*life[1], None):
        try:
            job = log.add(Delete() if change is None else change_of(change, jobs[-1]))
        except GatewayError:
            continue
        if job is not jobs[-1]:
            jobs.append(job)
    assert len(jobs) == len(log.records)
    for match in filters:
        assert match.matches(log.records[0]) == match.matches_job(jobs[0])
        for number, record in enumerate(log.records[1:], 1):
            before, after = jobs[number - 1], jobs[number]
            assert match.matches(record) == (match.matches_job(before) or match.matches_job(after))
