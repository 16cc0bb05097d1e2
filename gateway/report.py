"""What a producer says of a job: untrusted JSON in, a `Report` that can't be invalid out.

Law: a report says only what is new, and what it leaves out is MISSING, which is not null. Unknown members are refused,
so that a misspelt one is never lost in silence; single values are checked in `values`, and inside a report is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from functools import cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from gateway.errors import InvalidReport
from gateway.values import (
    MAX_LINKS,
    MAX_NAME,
    MAX_STEPS,
    Json,
    Parser,
    parse_href,
    parse_id,
    parse_lease,
    parse_line,
    parse_line_or_null,
    parse_message,
    parse_object,
    parse_object_or_null,
    parse_progress,
    parse_result,
    parse_step_now,
    parse_text,
    parse_time,
    parse_workspace,
)


class State(StrEnum):
    """The states of a job; what may follow which stands in `job.TRANSITIONS`."""

    CREATED = "created"
    PENDING = "pending"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    RETRYING = "retrying"
    CANCELLING = "cancelling"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_STATES: Final = {str(state): state for state in State}  # `State(text)` takes three times as long as a look-up


class Missing(Enum):
    """The mark of a member that a report leaves out: null is something else, and is said."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
_T = TypeVar("_T")
Maybe: TypeAlias = _T | Literal[Missing.MISSING]


@dataclass(frozen=True, slots=True)
class Task:
    """What is said of one task of a step."""

    name: str
    state: Maybe[State] = MISSING
    details: Maybe[Mapping[str, Json]] = MISSING
    error: Maybe[Mapping[str, Json] | None] = MISSING


@dataclass(frozen=True, slots=True)
class Step(Task):
    """What is said of one step; its tasks are merged by name."""

    tasks: tuple[Task, ...] = ()


class Report(NamedTuple):
    """One report; a member left out is MISSING and stays as it is in the job."""

    state: Maybe[State] = MISSING
    progress: Maybe[float | None] = MISSING
    step: Maybe[str | None] = MISSING
    message: Maybe[str | None] = MISSING
    error: Maybe[Mapping[str, Json] | None] = MISSING
    details: Maybe[Mapping[str, Json]] = MISSING
    steps: Maybe[tuple[Step, ...]] = MISSING
    labels: Maybe[Mapping[str, str | None]] = MISSING
    lease: Maybe[float | None] = MISSING
    links: Maybe[tuple[Mapping[str, str], ...]] = MISSING
    result: Maybe[Json] = MISSING
    time: datetime | None = None
    replace: frozenset[str] = frozenset()


class Identity(NamedTuple):
    """Who a report is about, as far as it says so."""

    id: str | None = None
    workspace: str | None = None
    name: str | None = None
    process: str | None = None


def parse_report(data: Json, field: str = "") -> Report:
    """A report from its JSON object. Raises InvalidReport, which names the field, or TooLarge."""
    return Report(**_members(data, field, REPORT_MEMBERS))


def parse_identified(data: Json, known: frozenset[str], field: str = "") -> tuple[Identity, Report]:
    """A report that also says whom it is about; `known` are the members of the identity that may stand here."""
    said = _members(data, field, _table(known))
    job_id = said.pop("job" if "job" in known else "id", None)
    identity = Identity(job_id, said.pop("workspace", None), said.pop("name", None), said.pop("process", None))
    return identity, Report(**said)


@cache
def _table(known: frozenset[str]) -> Mapping[str, Parser]:
    return {**REPORT_MEMBERS, **{name: IDENTITY_MEMBERS[name] for name in known}}


def said_whole(report: Report) -> dict[str, Any]:
    """What a report says of the members that are never merged with what was. Written out, since a loop over their names
    takes twice as long."""
    said: dict[str, Any] = {}
    if report.step is not MISSING:
        said["step"] = report.step
    if report.message is not MISSING:
        said["message"] = report.message
    if report.error is not MISSING:
        said["error"] = report.error
    if report.lease is not MISSING:
        said["lease"] = report.lease
    if report.links is not MISSING:
        said["links"] = report.links
    if report.result is not MISSING:
        said["result"] = report.result
    return said


def _members(data: Json, field: str, table: Mapping[str, Parser]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidReport(f"{field or 'the report'} must be a JSON object", field=field)
    if not data.keys() <= table.keys():
        where = _join(field, next(name for name in data if name not in table)[:100])
        raise InvalidReport(f"{where!r} is not known here; known are {', '.join(table)}", field=where)
    if field:
        values = {name: table[name](value, f"{field}.{name}") for name, value in data.items()}
    else:
        values = {name: table[name](value, name) for name, value in data.items()}
    if "replace" in values:
        _check_replace(data, values, field)
    return values


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _check_replace(data: Json, values: dict[str, Any], field: str) -> None:
    for name in sorted(values["replace"]):
        if name not in data:
            raise InvalidReport(f"replace names {name!r}, which the report leaves out", field=_join(field, "replace"))
    if "labels" in values["replace"] and None in values["labels"].values():
        where = _join(field, "labels")
        raise InvalidReport(f"{where} are replaced, so none of them can be null; leave it out", field=where)


def _state(value: Json, field: str) -> State:
    state = _STATES.get(value) if isinstance(value, str) else None
    if state is None:
        raise InvalidReport(f"{field} must be one of {', '.join(State)}", field=field)
    return state


def _error(value: Json, field: str) -> Mapping[str, Json] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return {"message": value}
    members = _members(value, field, ERROR_MEMBERS)
    if "message" not in members:
        raise InvalidReport(f"{field}.message is missing", field=_join(field, "message"))
    return {name: members[name] for name in ERROR_MEMBERS if members.get(name) is not None}


def _labels(value: Json, field: str) -> Mapping[str, str | None]:
    if not isinstance(value, dict):
        raise InvalidReport(f"{field} must be an object of strings", field=field)
    for key, label in value.items():
        if not 1 <= len(key) <= MAX_NAME or "\0" in key or ":" in key:
            shown = f"the key {key[:100]!r} must be of 1 to {MAX_NAME} characters"
            raise InvalidReport(f"{field}: {shown} without NUL and ':'", field=field)
        if label is not None and (not isinstance(label, str) or len(label) > MAX_NAME or "\0" in label):
            where = _join(field, key[:100])
            detail = f"{where} must be a string of at most {MAX_NAME} characters without NUL, or null"
            raise InvalidReport(detail, field=where)
    return value


def _links(value: Json, field: str) -> tuple[Mapping[str, str], ...]:
    if not isinstance(value, list) or len(value) > MAX_LINKS:
        raise InvalidReport(f"{field} must be a list of at most {MAX_LINKS} links", field=field)
    links = []
    for i, item in enumerate(value):
        link = _members(item, f"{field}[{i}]", LINK_MEMBERS)
        for name in ("rel", "href"):
            if name not in link:
                raise InvalidReport(f"{field}[{i}].{name} is missing", field=f"{field}[{i}].{name}")
        links.append({name: link[name] for name in LINK_MEMBERS if name in link})
    return tuple(links)


def _replace(value: Json, field: str) -> frozenset[str]:
    if not isinstance(value, list) or any(name not in REPLACEABLE for name in value):
        raise InvalidReport(f"{field} must be a list of {', '.join(REPLACEABLE)}", field=field)
    return frozenset(value)


def _steps(value: Json, field: str) -> tuple[Step, ...]:
    return tuple(Step(**item) for item in _named(value, field, STEP_MEMBERS))


def _tasks(value: Json, field: str) -> tuple[Task, ...]:
    return tuple(Task(**item) for item in _named(value, field, TASK_MEMBERS))


def _named(value: Json, field: str, table: Mapping[str, Parser]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > MAX_STEPS:
        raise InvalidReport(f"{field} must be a list of at most {MAX_STEPS}", field=field)
    items = [_members(item, f"{field}[{i}]", table) for i, item in enumerate(value)]
    names = set()
    for i, item in enumerate(items):
        if "name" not in item:
            raise InvalidReport(f"{field}[{i}].name is missing", field=f"{field}[{i}].name")
        if item["name"] in names:
            raise InvalidReport(f"{field}[{i}].name stands twice in this report", field=f"{field}[{i}].name")
        names.add(item["name"])
    return items


REPLACEABLE = ("details", "labels", "steps")
ERROR_MEMBERS: dict[str, Parser] = {
    "message": parse_message,
    "code": parse_text,
    "stack": parse_text,
    "details": parse_object_or_null,
}
LINK_MEMBERS: dict[str, Parser] = {"rel": parse_line, "href": parse_href, "type": parse_line}
TASK_MEMBERS: dict[str, Parser] = {"name": parse_line, "state": _state, "details": parse_object, "error": _error}
STEP_MEMBERS: dict[str, Parser] = {**TASK_MEMBERS, "tasks": _tasks}
IDENTITY_MEMBERS: dict[str, Parser] = {
    "id": parse_id,
    "job": parse_id,
    "workspace": parse_workspace,
    "name": parse_line,
    "process": parse_line_or_null,
}
REPORT_MEMBERS: dict[str, Parser] = {
    "state": _state,
    "progress": parse_progress,
    "step": parse_step_now,
    "message": parse_text,
    "error": _error,
    "details": parse_object,
    "steps": _steps,
    "labels": _labels,
    "lease": parse_lease,
    "links": _links,
    "result": parse_result,
    "time": parse_time,
    "replace": _replace,
}
CREATE_IDENTITY = frozenset({"id", "name", "workspace", "process"})
LINE_IDENTITY = frozenset({"job", "name", "workspace", "process"})
