"""The times of a job, its lease, and what remains of it; the rest of a job is in test_job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.errors import InvalidReport
from gateway.job import AT_REST, Job, remains, stall, stamp, wish
from gateway.report import State, parse_report
from gateway.values import Json
from tests.jobs import at, new, say

# Times


def test_times_are_the_reports_own_where_they_are_in_order() -> None:
    job = new(10, time=at(1))
    job = say(job, 11, state="running", time=at(2))
    job = say(job, 12, state="succeeded", time=at(3))
    assert (job.created, job.started, job.finished) == (at(1), at(2), at(3))
    assert (job.updated, job.reported) == (at(12), at(3))
    assert say(new(10), 12, state="running", time=at(10)).started == at(10)


def test_times_in_the_future_or_out_of_order_are_the_gateways() -> None:
    assert new(10, time=at(11)).created == at(10)
    job = new(10, time=at(5))
    assert say(job, 12, state="running", time=at(4)).started == at(12)
    assert say(job, 12, state="running", time=at(13)).started == at(12)
    job = say(job, 12, state="running", time=at(6))
    assert say(job, 14, state="failed", time=at(5.5)).finished == at(14)
    assert say(job, 14, state="failed", time=at(14)).finished == at(14)
    assert say(new(10), 12, state="failed", time=at(9)).finished == at(12)


def test_started_is_the_first_running_only() -> None:
    job = say(say(say(new(), 1, state="running"), 2, state="paused"), 3, state="running")
    assert job.started == at(1)
    both = new(4, state="running", time=at(2))
    assert (both.created, both.started) == (at(2), at(2))
    assert say(new(), 1, state="failed").started is None


def test_reported_is_the_last_records_time_and_time_alone_makes_no_record() -> None:
    job = say(new(), 5, message="m", time=at(2))
    assert job.reported == at(2)
    assert say(job, 6, time=at(3)) is job
    assert say(job, 6, message="n").reported is None
    assert wish(say(job, 6, state="running", time=at(6)), "cancel", at(7)).reported is None


@pytest.mark.parametrize("offset", [0, 2, -5])
def test_stamps_are_utc_with_milliseconds(offset: int) -> None:
    moment = datetime(2026, 2, 19, 10 + offset, 0, 0, 999_999, timezone(timedelta(hours=offset)))
    assert stamp(moment.astimezone(UTC)) == "2026-02-19T10:00:00.999Z"
    assert say(new(5), 9, message="m", time=moment.isoformat()).reported == "2026-02-19T10:00:00.999Z"


# Leases, deletion


@pytest.mark.parametrize("state", State)
def test_a_silent_job_with_a_lease_is_stalled_where_it_should_be_at_work(state: State) -> None:
    job = new(state=state, lease=30, time=at(0))
    if state in AT_REST:
        assert stall(job, 1, at(31)) is job
    else:
        stalled = stall(job, 1, at(31))
        assert stalled == job._replace(stalled=True, updated=at(31), reported=None, version=2)
        assert stall(stalled, 2, at(62)) is stalled


def test_a_job_without_a_lease_or_that_has_moved_on_is_not_stalled() -> None:
    job = new(state="running")
    assert stall(job, 1, at(31)) is job
    leased = say(job, lease=30)
    assert stall(leased, 1, at(31)) is leased


@pytest.mark.parametrize("said", [{}, {"time": at(32)}, {"progress": 1}, {"state": "failed"}, {"state": "retrying"}])
def test_the_next_report_clears_stalled(said: dict[str, Json]) -> None:
    stalled = stall(new(state="running", lease=30), 1, at(31))
    after = say(stalled, 32, **said)
    assert (after.stalled, after.version) == (False, 3)


def test_a_wish_or_a_refused_report_leaves_a_job_stalled() -> None:
    stalled = stall(new(state="running", lease=30), 1, at(31))
    assert wish(stalled, "cancel", at(32)).stalled
    with pytest.raises(InvalidReport):
        parse_report({"progress": 101})
    assert stalled.stalled


def test_what_remains_of_a_deleted_job_is_what_lists_and_filters_ask_for() -> None:
    said: dict[str, Json] = {
        "name": "n",
        "process": "p",
        "labels": {"l": "v"},
        "details": {"a": 1},
        "steps": [{"name": "s"}],
    }
    job = say(new(**said, state="running", message="m", lease=1, progress=1, result=1), 1, state="failed", error="e")
    gone = remains(job, at(2))
    assert gone == Job(
        *("a", "default", "n", "p", State.FAILED, State.RUNNING),
        details={},
        labels={"l": "v"},
        created=at(0),
        started=at(0),
        finished=at(1),
        updated=at(2),
        version=3,
    )
