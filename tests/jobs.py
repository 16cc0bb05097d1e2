"""Jobs as tests make them: by reports, on a clock that stands where the test says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.job import Job, apply, create, stamp
from gateway.report import CREATE_IDENTITY, Report, parse_identified, parse_report
from gateway.values import DEFAULT_WORKSPACE, Json

START = datetime(2026, 2, 19, 10, tzinfo=UTC)


def at(seconds: float) -> str:
    """The stamp of a moment, in seconds after the tests' clock began."""
    return stamp(START + timedelta(seconds=seconds))


def new(when: float = 0, **said: Json) -> Job:
    """A new job `a`, from the members of its report and its identity."""
    identity, report = parse_identified({"id": "a", **said}, CREATE_IDENTITY)
    return create(identity, report, at(when), DEFAULT_WORKSPACE)


def say(job: Job, when: float = 1, **said: Json) -> Job:
    """The job after a report of these members."""
    return apply(job, parse_report(said), at(when))


def report(**said: Json) -> Report:
    """A report of these members."""
    return parse_report(said)
