"""A job and what reports make of it: the state table and `apply`. The heart.

Law: nothing here does I/O or looks at a clock. The state machine is the literal table TRANSITIONS, which code only
looks up; a refused report raises and leaves the job as it was, since a job is a value that is never changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from gateway.errors import IllegalTransition, InvalidReport, JobFinished
from gateway.merge import equal, merge_named, merge_patch, said_or
from gateway.report import MISSING, Identity, Maybe, Report, State, said_whole
from gateway.values import MAX_LABELS, MAX_STEPS, Json

_END = (State.CANCELLED, State.FAILED, State.SUCCEEDED, State.UNKNOWN)
TRANSITIONS: Final[Mapping[State, tuple[State, ...]]] = {
    State.CREATED: (State.PENDING, State.RUNNING, State.PAUSING, State.PAUSED, State.RETRYING, State.CANCELLING, *_END),
    State.PENDING: (State.RUNNING, State.PAUSING, State.PAUSED, State.RETRYING, State.CANCELLING, *_END),
    State.RUNNING: (State.PAUSING, State.PAUSED, State.RETRYING, State.CANCELLING, *_END),
    State.PAUSING: (State.PAUSED, State.RESUMING, State.CANCELLING, *_END),
    State.PAUSED: (State.RESUMING, State.RUNNING, State.PENDING, State.RETRYING, State.CANCELLING, *_END),
    State.RESUMING: (
        *(State.PENDING, State.RUNNING, State.PAUSED, State.PAUSING, State.RETRYING, State.CANCELLING),
        *_END,
    ),
    State.RETRYING: (State.PENDING, State.RUNNING, State.PAUSING, State.PAUSED, State.CANCELLING, *_END),
    State.CANCELLING: _END,
    State.UNKNOWN: tuple(state for state in State if state not in (State.CREATED, State.UNKNOWN)),
    State.SUCCEEDED: (),
    State.FAILED: (),
    State.CANCELLED: (),
}
TERMINAL: Final = frozenset(state for state, after in TRANSITIONS.items() if not after)
AT_REST: Final = TERMINAL | {State.CREATED, State.PENDING, State.PAUSED}  # a lease does not run out in these
HELD: Final = frozenset({State.CANCELLING, State.PAUSING})  # wishes that a producer's `running` does not undo
WISHES: Final[Mapping[str, State]] = {
    "cancel": State.CANCELLING,
    "pause": State.PAUSING,
    "resume": State.RESUMING,
}


class Job(NamedTuple):
    """A job as it stands after a record. Times are text: RFC 3339, UTC, milliseconds, so they compare as they sort.

    A named tuple, since one is made for each record: a frozen dataclass of so many members takes ten times as long.
    """

    id: str
    workspace: str
    name: str
    process: str | None
    state: State
    previous: State | None = None
    stalled: bool = False
    attempt: int = 1
    progress: float | None = None
    step: str | None = None
    message: str | None = None
    error: Mapping[str, Json] | None = None
    details: Mapping[str, Json] | None = None
    labels: Mapping[str, str] | None = None
    steps: tuple[Mapping[str, Json], ...] = ()
    links: tuple[Mapping[str, str], ...] = ()
    result: Json = None
    created: str = ""
    started: str | None = None
    finished: str | None = None
    lease: float | None = None
    updated: str = ""
    reported: str | None = None
    version: int = 0
    position: str = ""

    @property
    def terminal(self) -> bool:
        """Whether nothing of it changes any more."""
        return self.state in TERMINAL

    @property
    def key(self) -> tuple[str, str]:
        """(workspace, id)."""
        return self.workspace, self.id


@dataclass(frozen=True, slots=True)
class Wish:
    """A reader's wish: `cancel`, `pause` or `resume`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Stall:
    """The gateway's own observation that a job was silent for its lease; void if it has moved on since `version`."""

    version: int


@dataclass(frozen=True, slots=True)
class Delete:
    """The end of a finished job's record in the log."""


Change = Report | Wish | Stall | Delete


_PLACES: Final = {name: place for place, name in enumerate(Job._fields)}
_OWN: Final = _PLACES["updated"]  # from here on stands what every record changes


def evolve(job: Job, changes: Mapping[str, Any]) -> Job:
    """The job with some members changed."""
    return Job._make(_evolved(job, changes)[0])


def _evolved(job: Job, changes: Mapping[str, Any]) -> tuple[list[Any], bool]:
    """The job's values, and whether any of them differs: what is the same JSON, as 1.0 is for 1, stays as it was."""
    values, differs = list(job), False
    for name, value in changes.items():
        known = values[_PLACES[name]]
        if known != value or not equal(known, value):  # what differs for Python differs as JSON too, and is seen sooner
            values[_PLACES[name]], differs = value, True
    return values, differs


def stamp(moment: datetime) -> str:
    """A moment as the document writes it: `2026-02-19T10:00:00.000Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def create(identity: Identity, report: Report, now: str, workspace: str, position: str = "") -> Job:
    """A job's first version. `identity.id` is set; `now` is a stamp. Raises InvalidReport for what exceeds a limit."""
    if identity.id is None:
        raise ValueError("a job is created with an id")
    state, created = said_or(report.state, State.PENDING), _moment(report, now, "")
    blank = Job(
        identity.id,
        identity.workspace or workspace,
        identity.name or identity.id,
        identity.process,
        state,
        details={},
        labels={},
        created=created,
        started=created if state is State.RUNNING else None,
        finished=created if state in TERMINAL else None,
    )
    return _recorded(_evolved(blank, _changes(blank, report, state, now))[0], report, now, position)


def apply(job: Job, report: Report, now: str, position: str | None = None) -> Job:
    """The job after a report, at `position` where that is said; the very same object if nothing changes.

    Raises IllegalTransition, JobFinished, and InvalidReport for what exceeds a limit.
    """
    if job.state in TERMINAL:
        return _after_the_end(job, report, now)
    state = _next_state(job, report.state)
    if state is State.RETRYING and job.state is not State.RETRYING:
        base = job._replace(attempt=job.attempt + 1, progress=None, error=None)
    else:
        base = job
    changes = _changes(base, report, state, now)
    if state is not job.state:
        changes |= {"state": state, "previous": job.state}
    if report.state is State.RUNNING and job.started is None:
        changes["started"] = _moment(report, now, job.created)
    if state in TERMINAL:
        changes["finished"] = _moment(report, now, job.started or job.created)
    if job.stalled:
        changes["stalled"] = False
    values, differs = _evolved(base, changes)
    return _recorded(values, report, now, position) if differs else job


def wish(job: Job, kind: str, now: str) -> Job:
    """The job after a reader's wish; the very same object if the wish stands already.

    Raises IllegalTransition, JobFinished.
    """
    wanted = WISHES[kind]
    if job.terminal:
        detail = f"the job is {job.state}: there is nothing to {kind}"
        raise JobFinished(detail, state=job.state, wish=wanted, allowed=[])
    if job.state is wanted:
        return job
    if wanted is State.CANCELLING and job.state in (State.CREATED, State.PENDING) and job.started is None:
        return _moved(job, State.CANCELLED, now, finished=now)
    if wanted not in TRANSITIONS[job.state]:
        raise _illegal(job, wanted)
    return _moved(job, wanted, now)


def stall(job: Job, version: int, now: str) -> Job:
    """The job marked as silent; the same object if it is at rest, marked already, or has moved on since `version`."""
    if job.stalled or job.state in AT_REST or job.lease is None or job.version != version:
        return job
    return job._replace(stalled=True, updated=now, reported=None, version=job.version + 1)


def remains(job: Job, now: str) -> Job:
    """What is kept of a deleted job while its tombstone stands: only what lists and filters ask for."""
    return Job(
        *(job.id, job.workspace, job.name, job.process, job.state, job.previous),
        details={},
        labels=job.labels,
        created=job.created,
        started=job.started,
        finished=job.finished,
        updated=now,
        version=job.version + 1,
    )


def _illegal(job: Job, wanted: State) -> IllegalTransition:
    allowed = [str(state) for state in TRANSITIONS[job.state]]
    detail = f"a job that is {job.state} can't become {wanted}; it may become {', '.join(allowed)}"
    return IllegalTransition(detail, state=job.state, wish=wanted, allowed=allowed)


def _next_state(job: Job, wanted: Maybe[State]) -> State:
    if wanted is MISSING or wanted is job.state:
        return job.state
    if wanted is State.RUNNING and job.state in HELD:
        return job.state
    if wanted is State.RUNNING and job.state is State.UNKNOWN and job.previous in HELD:
        return job.previous
    if wanted not in TRANSITIONS[job.state]:
        raise _illegal(job, wanted)
    return wanted


def _after_the_end(job: Job, report: Report, now: str) -> Job:
    if report.state is not MISSING and report.state is not job.state:
        detail = f"the job is {job.state}, which is final; it can't become {report.state}"
        raise JobFinished(detail, state=job.state, wish=report.state, allowed=[])
    # With the state that is said, not the job's: success said again clears its own error again, an error alone is news.
    changes = _changes(job, report._replace(progress=MISSING), report.state, now)
    changed = sorted(name for name, value in changes.items() if not equal(getattr(job, name), value))
    if changed:
        detail = f"the job is {job.state}, which is final; {', '.join(changed)} can't change any more"
        raise JobFinished(detail, state=job.state, wish=said_or(report.state, None), allowed=[])
    return job


def _changes(job: Job, report: Report, state: Maybe[State], now: str) -> dict[str, Any]:
    changes = said_whole(report)
    progress, said = job.progress, report.progress
    if said is not MISSING and said is not None and said >= (progress or 0.0):
        changes["progress"] = progress = said
    if state is State.SUCCEEDED:
        changes |= {"error": None, "progress": None if progress is None else 100.0}
    if report.details is not MISSING:
        whole = "details" in report.replace
        changes["details"] = report.details if whole else merge_patch(job.details or {}, report.details)
    if report.labels is not MISSING:
        changes["labels"] = _labels(job, report)
    if report.steps is not MISSING:
        changes["steps"] = _steps(job, report, now)
    return changes


def _labels(job: Job, report: Report) -> Mapping[str, Json]:
    said = said_or(report.labels, {})
    labels = said if "labels" in report.replace else merge_patch(job.labels or {}, said)
    if len(labels) > MAX_LABELS:
        raise InvalidReport(f"the job would have {len(labels)} labels; {MAX_LABELS} are the limit", field="labels")
    return labels


def _steps(job: Job, report: Report, now: str) -> tuple[Mapping[str, Json], ...]:
    whole = "steps" in report.replace
    steps = merge_named(job.steps, said_or(report.steps, ()), whole, now)
    count = len(steps) + sum(len(step["tasks"]) for step in steps)
    if count > MAX_STEPS:
        detail = f"the job would have {count} steps and tasks; {MAX_STEPS} together are the limit"
        raise InvalidReport(detail, field="steps")
    return steps


def _moment(report: Report, now: str, earliest: str) -> str:
    moment = now if report.time is None else stamp(report.time)
    return moment if earliest <= moment <= now else max(now, earliest)


def _recorded(values: list[Any], report: Report, now: str, position: str | None) -> Job:
    version, before = values[-2:]
    reported = None if report.time is None else stamp(report.time)
    values[_OWN:] = now, reported, version + 1, before if position is None else position
    return Job._make(values)


def _moved(job: Job, state: State, now: str, **changes: Any) -> Job:
    known = {"state": state, "previous": job.state, "updated": now, "reported": None, "version": job.version + 1}
    return evolve(job, known | changes)
