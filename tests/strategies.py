"""Arbitrary JSON, reports and lives of jobs, for hypothesis; for every test that wants to be surprised.

Names and keys come from a small set half of the time, so that reports meet what earlier ones said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.job import WISHES, Change, Job, Stall, Wish, apply, stall, wish
from gateway.report import REPLACEABLE, REPORT_MEMBERS, Report, State, parse_report
from gateway.values import MAX_INTEGER, MAX_LEASE, Json
from tests.jobs import at, new

# Two cores are shared by much: how long an example takes says nothing here.
relaxed = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])

# JSON that may be kept

BREAKS = st.sampled_from(["", "\u2028", "a\u2029b", "\x85", "\r\n", "\n\r", "\v\f\x1c\x1d\x1e\x1f\0", "\U0001f600"])
TEXTS = st.text(max_size=12) | BREAKS
LINES = TEXTS.map(lambda text: text.replace("\0", "") or "x")
KEYS = st.sampled_from(["a", "b", "c"]) | TEXTS
NUMBERS = st.sampled_from([0, 1, -0.0, 0.0, 1.0]) | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(-1e15, 1e15)
SCALARS: st.SearchStrategy[Json] = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3), max_leaves=6
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=3)

# Reports, as the JSON that a producer sends

STATES = st.sampled_from([str(state) for state in State])
PROGRESS = st.none() | st.integers(0, 100) | st.floats(0, 100)
TIMES = st.floats(-30, 60).map(at)
ERRORS = (
    st.none()
    | TEXTS
    | st.fixed_dictionaries(
        {"message": TEXTS},
        optional={"code": st.none() | TEXTS, "stack": st.none() | TEXTS, "details": OBJECTS},
    )
)
_NAMES = st.sampled_from(["extract", "load"]) | LINES
_SAID_OF_TASKS = {"state": STATES, "details": OBJECTS, "error": ERRORS}


def _named(optional: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Json]]]:
    item = st.fixed_dictionaries({"name": _NAMES}, optional=optional)
    return st.lists(item, max_size=3, unique_by=lambda said: said["name"])


STEPS = _named({**_SAID_OF_TASKS, "tasks": _named(_SAID_OF_TASKS)})
LABELS = st.dictionaries(_NAMES.map(lambda name: name.replace(":", "_")), st.none() | LINES, max_size=3)
LINKS = st.lists(st.fixed_dictionaries({"rel": LINES, "href": LINES}, optional={"type": LINES}), max_size=2)
MEMBERS: dict[str, st.SearchStrategy[Json]] = {
    "state": STATES,
    "progress": PROGRESS,
    "step": st.none() | LINES,
    "message": st.none() | TEXTS,
    "error": ERRORS,
    "details": OBJECTS,
    "steps": STEPS,
    "labels": LABELS,
    "lease": st.none() | st.floats(0.001, MAX_LEASE),
    "links": LINKS,
    "result": VALUES,
    "time": TIMES,
}


@st.composite
def reports(draw: st.DrawFn) -> dict[str, Json]:
    """A valid report of any members."""
    said: dict[str, Json] = draw(st.fixed_dictionaries({}, optional=MEMBERS))
    whole = draw(st.sets(st.sampled_from([name for name in REPLACEABLE if name in said] or [""])))
    if whole - {""}:
        said["replace"] = sorted(whole)
    if "labels" in whole:
        said["labels"] = {name: value for name, value in said["labels"].items() if value is not None}
    return said


# What is no report, more or less

WILD: st.SearchStrategy[Json] = st.recursive(
    SCALARS | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3),
    max_leaves=6,
) | st.integers(1, 200).map(lambda levels: orjson.loads(b"[" * levels + b"]" * levels))


@st.composite
def almost_reports(draw: st.DrawFn) -> Json:
    """A report in which one member, somewhere, holds any JSON at all; or any JSON at all instead of a report."""
    said: Json = draw(reports())
    place = said
    for _ in range(draw(st.integers(0, 5))):
        below = [
            value for value in (place.values() if isinstance(place, dict) else place) if isinstance(value, dict | list)
        ]
        if below:
            place = draw(st.sampled_from(below))
    if isinstance(place, list):
        place.append(draw(WILD))
    else:
        place[draw(st.sampled_from([*REPORT_MEMBERS, *place]) | KEYS)] = draw(WILD)
    return draw(st.sampled_from([said, draw(WILD)]))


# Lives: what happens to one job, one thing after the other

Happening: TypeAlias = tuple[str, Json]  # ("report", its JSON), ("wish", its kind) or ("stall", None)
HAPPENINGS: st.SearchStrategy[Happening] = (
    st.tuples(st.just("report"), reports())
    | st.tuples(st.just("wish"), st.sampled_from(sorted(WISHES)))
    | st.tuples(st.just("stall"), st.none())
)
LIVES = st.tuples(reports(), st.lists(HAPPENINGS, max_size=8))


def change_of(happening: Happening, job: Job) -> Change:
    """The change that a happening is to a job."""
    kind, said = happening
    if kind == "report":
        return parse_report(said)
    return Wish(said) if kind == "wish" else Stall(job.version)


def changed(job: Job, change: Change, now: str) -> Job:
    """The job after a change."""
    if isinstance(change, Report):
        return apply(job, change, now)
    return wish(job, change.kind, now) if isinstance(change, Wish) else stall(job, job.version, now)


def lived(life: tuple[dict[str, Json], Sequence[Happening]]) -> Iterator[Job]:
    """The job after each thing that happened to it and was not refused; second by second, each at a new position."""
    first, rest = life
    job = new(0, **first)._replace(position="k7f3q2ab-1")
    yield job
    for second, happening in enumerate(rest, 1):
        before = job
        try:
            job = changed(job, change_of(happening, job), at(second))
        except GatewayError:
            continue
        if job is not before:
            job = job._replace(position=f"k7f3q2ab-{second + 1}")
        yield job


NEW_JOBS: st.SearchStrategy[Job] = reports().map(lambda said: new(**said))
JOBS: st.SearchStrategy[Job] = LIVES.map(lambda life: list(lived(life))[-1])
