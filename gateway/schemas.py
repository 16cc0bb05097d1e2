"""The JSON schemas of what goes over the wire, made from the tables that the code itself reads and writes by.

Law: a schema says what the code does; members come from REPORT_MEMBERS and its kin, states from TRANSITIONS, errors
from ERRORS, and tests hold the rest against real answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gateway.dialects.requests import ID_PATTERN, KEY_LENGTH
from gateway.dialects.writing import FIRST_STATES, MAX_REPORTS
from gateway.errors import ERRORS, PROBLEM_TYPE
from gateway.job import TRANSITIONS
from gateway.record import POSITION
from gateway.report import (
    CREATE_IDENTITY,
    ERROR_MEMBERS,
    LINE_IDENTITY,
    LINK_MEMBERS,
    REPLACEABLE,
    REPORT_MEMBERS,
    STEP_MEMBERS,
    TASK_MEMBERS,
    State,
)
from gateway.values import (
    MAX_HREF,
    MAX_INTEGER,
    MAX_LABELS,
    MAX_LEASE,
    MAX_LINKS,
    MAX_NAME,
    MAX_RESULT,
    MAX_STEPS,
    WORKSPACE_PATTERN,
    Json,
)

Schema = Mapping[str, Json]
NUL_FREE: Final = "^[^\\x00]*$"


def ref(name: str) -> Schema:
    """A reference to a schema of this file."""
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(members: Mapping[str, Schema], required: Iterable[str]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": dict(members),
        "required": list(required),
        "additionalProperties": False,
    }


TEXT: Final[Schema] = {"type": "string"}
LINE: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": NUL_FREE}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
PLACE: Final[Schema] = {"type": "string", "pattern": f"^{POSITION.pattern}$", "examples": ["k7f3q2ab-1042"]}
OBJECT: Final[Schema] = {"type": "object", "additionalProperties": ref("Json")}
PROGRESS: Final[Schema] = _or_null({"type": "number", "minimum": 0, "maximum": 100})

# What each member of a report may be. The tables of `report` say which members there are; a name that is missing here
# fails when the schemas are made.
_MEMBERS: Final[Mapping[str, Schema]] = {
    "id": {"type": "string", "pattern": ID_PATTERN},
    "job": {"type": "string", "pattern": ID_PATTERN},
    "workspace": {"type": "string", "pattern": WORKSPACE_PATTERN},
    "name": LINE,
    "process": _or_null(LINE),
    "state": ref("State"),
    "progress": {**PROGRESS, "description": "Percent; null for not known. Within an attempt it never falls."},
    "step": _or_null({"type": "string", "maxLength": MAX_NAME, "pattern": NUL_FREE}),
    "message": _or_null(TEXT),
    "error": {"anyOf": [ref("Error"), TEXT, {"type": "null"}], "description": "A string stands for the message."},
    "details": {**OBJECT, "description": "Merged as RFC 7396 says: null removes."},
    "steps": {
        "type": "array",
        "items": ref("Step"),
        "maxItems": MAX_STEPS,
        "uniqueItems": True,
        "description": "Merged by name; no two of a report have the same.",
    },
    "labels": {
        "type": "object",
        "maxProperties": MAX_LABELS,
        "propertyNames": {**LINE, "pattern": "^[^:\\x00]+$"},
        "additionalProperties": _or_null({"type": "string", "maxLength": MAX_NAME, "pattern": NUL_FREE}),
    },
    "lease": _or_null(
        {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": MAX_LEASE,
            "description": "Seconds of silence after which the job counts as stalled.",
        }
    ),
    "links": {"type": "array", "items": ref("Link"), "maxItems": MAX_LINKS},
    "result": {**ref("Json"), "description": f"Any JSON up to {MAX_RESULT} bytes."},
    "time": {**TIME, "description": "When it happened, by the producer's clock."},
    "replace": {
        "type": "array",
        "items": {"enum": list(REPLACEABLE)},
        "description": "Members that this report sets whole.",
    },
    "key": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH, "pattern": "^[!-~]+$"},
    "tasks": {
        "type": "array",
        "items": ref("Task"),
        "maxItems": MAX_STEPS,
        "uniqueItems": True,
        "description": "Merged by name; no two of a report have the same.",
    },
    "code": _or_null(TEXT),
    "stack": _or_null(TEXT),
    "rel": LINE,
    "href": {"type": "string", "minLength": 1, "maxLength": MAX_HREF},
    "type": LINE,
}
_SET_WHOLE: Final[Mapping[str, Schema]] = {
    "labels": {"additionalProperties": TEXT, "description": "A set that is replaced holds no nulls."}
}
_REPLACED: Final[list[Schema]] = [
    {
        "if": {"required": ["replace"], "properties": {"replace": {"contains": {"const": name}}}},
        "then": {"required": [name], "properties": {name: _SET_WHOLE.get(name, {})}},
    }
    for name in REPLACEABLE
]


def _said(names: Iterable[str], required: Iterable[str] = (), **other: Schema) -> dict[str, Json]:
    return _object({name: {**_MEMBERS, **other}[name] for name in names}, required)


def _report(identity: Iterable[str] = (), required: Iterable[str] = (), **other: Schema) -> dict[str, Json]:
    return {**_said((*sorted(identity), *REPORT_MEMBERS), required, **other), "allOf": _REPLACED}


def _lines(item: str) -> Schema:
    return {"type": "array", "items": ref(item), "description": "Lines of JSON, here as the list of them."}


_SHOWN_ITEM: Final[Mapping[str, Schema]] = {
    "name": LINE,
    "state": ref("State"),
    "details": OBJECT,
    "error": _or_null(ref("Error")),
    "created": TIME,
    "updated": TIME,
}
_SHOWN_TASK: Final = _object(_SHOWN_ITEM, _SHOWN_ITEM)
_SHOWN_STEP: Final = _object({**_SHOWN_ITEM, "tasks": {"type": "array", "items": _SHOWN_TASK}}, (*_SHOWN_ITEM, "tasks"))
_JOB: Final[Mapping[str, Schema]] = {
    "id": {"type": "string", "pattern": ID_PATTERN},
    "workspace": {"type": "string", "pattern": WORKSPACE_PATTERN},
    "name": LINE,
    "process": _or_null(LINE),
    "state": ref("State"),
    "previous": _or_null(ref("State")),
    "terminal": {"type": "boolean", "description": "Whether nothing of it changes any more."},
    "stalled": {"type": "boolean", "description": "Whether it has been silent for longer than its lease."},
    "attempt": {"type": "integer", "minimum": 1},
    "progress": PROGRESS,
    "step": _or_null(TEXT),
    "message": _or_null(TEXT),
    "error": _or_null(ref("Error")),
    "details": OBJECT,
    "labels": {"type": "object", "additionalProperties": TEXT},
    "steps": {"type": "array", "items": _SHOWN_STEP},
    "links": {"type": "array", "items": ref("Link")},
    "result": ref("Json"),
    "created": TIME,
    "started": _or_null(TIME),
    "finished": _or_null(TIME),
    "updated": TIME,
    "reported": _or_null(TIME),
    "lease": _or_null({"type": "number"}),
    "version": {"type": "integer", "minimum": 1, "description": "How many records the job has had."},
    "position": PLACE,
}
_OMITTABLE: Final = ("steps", "details", "result")
_EVENTS: Final = """\
| event | id | data |
| --- | --- | --- |
| `snapshot` | one job: the position of that read; many: none | the document, at once on a fresh connect |
| `transition` | its position | the document; the state changed |
| `progress` | its position | the document; anything else changed |
| `deleted` | its position | `id`, `workspace`, `position`; the job is gone |
| `sync` | dispatched so far | `head`, `time`, after snapshots `shown` and `matched`; all caught up |
| `reset` | none | `reason`, `requested`, `oldest`, `head`; the cursor can't be resumed, snapshots follow |
| `busy` | none | `retry` in ms; come back later |
| `end` | none | `reason`: terminal, deleted or unauthorized; stay away |
"""
_FRAME: Final[Mapping[str, Schema]] = {
    "event": {"enum": ["snapshot", "transition", "progress", "deleted", "sync", "reset", "busy", "end"]},
    "id": PLACE,
}
SCHEMAS: Final[Mapping[str, Schema]] = {
    "State": {
        "type": "string",
        "enum": [str(state) for state in State],
        "description": "What may follow which stands in `x-transitions`.",
        "x-transitions": {str(state): [str(after) for after in allowed] for state, allowed in TRANSITIONS.items()},
    },
    "Json": {
        "description": "Any JSON whose numbers lie within 2^53, at most 32 levels deep.",
        "anyOf": [
            {"type": ["string", "boolean", "null"]},
            {"type": "number", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER},
            {"type": "array", "items": ref("Json")},
            OBJECT,
        ],
    },
    "Error": _said(ERROR_MEMBERS, ["message"], message=TEXT),
    "Link": _said(LINK_MEMBERS, ["rel", "href"]),
    "Task": _said(TASK_MEMBERS, ["name"]),
    "Step": _said(STEP_MEMBERS, ["name"]),
    "Report": _report(),
    "Reports": {
        "anyOf": [ref("Report"), {"type": "array", "items": ref("Report"), "minItems": 1, "maxItems": MAX_REPORTS}]
    },
    "NewJob": _report(CREATE_IDENTITY, state={"enum": [str(state) for state in FIRST_STATES]}),
    "BulkLine": _report((*LINE_IDENTITY, "key"), ["job"]),
    "BulkLines": _lines("BulkLine"),
    "BulkAnswer": {
        "anyOf": [_object({"position": PLACE, "state": ref("State")}, ["position", "state"]), ref("Problem")]
    },
    "BulkAnswers": _lines("BulkAnswer"),
    "Job": _object(_JOB, [name for name in _JOB if name not in _OMITTABLE]),
    "Jobs": _object(
        {
            "jobs": {"type": "array", "items": ref("Job")},
            "next": _or_null({"type": "string", "description": "`after` of the next page; null on the last one."}),
            "head": {**PLACE, "description": "Streaming from here misses nothing."},
        },
        ["jobs", "next", "head"],
    ),
    "Record": _object(
        {
            "event": {"enum": ["transition", "progress", "deleted"]},
            "position": PLACE,
            "by": {"type": "string", "description": "Who wrote it; `gateway` for the gateway itself."},
            "job": {"anyOf": [ref("Job"), ref("Deleted")]},
        },
        ["event", "position", "by", "job"],
    ),
    "Deleted": {
        **_object({name: _JOB[name] for name in ("id", "workspace", "position")}, ["id", "workspace", "position"]),
        "description": "Of a job that was deleted, no more than this is told.",
    },
    "History": _object(
        {"records": {"type": "array", "items": ref("Record")}, "next": _or_null(TEXT)}, ["records", "next"]
    ),
    "Happened": _object(
        {
            "records": {"type": "array", "items": ref("Record")},
            "next": _or_null({"type": "string", "description": "`after` of the next page; null: there is none yet."}),
            "head": {**PLACE, "description": "`after` of whoever asks again once `next` is null: it misses nothing."},
        },
        ["records", "next", "head"],
    ),
    "EventStream": {
        "type": "object",
        "description": "An event of the stream of Server-Sent Events.\n\n" + _EVENTS,
        "properties": {**_FRAME, "data": {"type": "string", "contentMediaType": "application/json"}},
    },
    "EventLine": _object({**_FRAME, "data": {"type": "object"}}, ["event", "data"]),
    "EventLines": _lines("EventLine"),
    "Health": _object({"status": {"enum": ["ok", "ready"]}}, ["status"]),
    "Contract": {"type": "object", "required": ["openapi", "paths"]},
    "Text": {"type": "string"},
    "Problem": {
        "type": "object",
        "description": "RFC 9457; what helps stands in further members: `field`, `allowed`, `oldest`, `position`, …",
        "properties": {
            "type": {"enum": [PROBLEM_TYPE + error.code for error in ERRORS]},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": TEXT,
            "field": TEXT,
            "allowed": {"type": "array", "items": TEXT},
        },
        "required": ["type", "title", "status", "detail"],
        "additionalProperties": True,
    },
}
