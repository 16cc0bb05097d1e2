"""Our own dialect, zero: `/v1`. Its operations stand in one table, from which routes and OpenAPI document are made.

Law: what is not in this table is refused, so that a misspelt parameter is never lost in silence.
"""

from __future__ import annotations

from typing import ClassVar, Final

from starlette.requests import Request

from gateway.dialects.badge import MAX_LABEL, SVG, read_badge
from gateway.dialects.base import JSON, Answer, Dialect, Operation, Parameter, Schema
from gateway.dialects.bulk import MAX_LINES, report_bulk
from gateway.dialects.quick import QuickRead
from gateway.dialects.reading import (
    HTML,
    MAX_INTERVAL,
    MAX_PAGE,
    NDJSON,
    PAGE,
    PLAIN,
    SSE,
    list_jobs,
    read_events,
    read_job,
    stream_events,
)
from gateway.dialects.requests import ID_PATTERN, IF_MATCH_PATTERN, MAX_VALUES, MAX_WAIT, refuse_unknown
from gateway.dialects.writing import create_job, delete_job, report_events, wisher
from gateway.errors import (
    Compacted,
    IllegalTransition,
    InvalidCursor,
    InvalidReport,
    JobDeleted,
    JobExists,
    JobFinished,
    JobNotFinished,
    JobNotFound,
    KeyReused,
    LogFull,
    NotAcceptable,
    PreconditionFailed,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
)
from gateway.frames import OMITTABLE
from gateway.report import State
from gateway.values import MAX_NAME, WORKSPACE_PATTERN

POSITION_TEXT: Final = "A position that the gateway gave, such as `k7f3q2ab-1042`"
LINE: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": "^[^\\x00]*$"}
TEXT: Final[Schema] = {"type": "string"}

ID: Final = Parameter("id", "path", "The job's id.", {"type": "string", "pattern": ID_PATTERN})
WORKSPACE: Final = Parameter(
    "workspace", "query", "The job's workspace; `default` where it is not said.",
    {"type": "string", "pattern": WORKSPACE_PATTERN},
)  # fmt: skip
OMIT: Final = Parameter(
    "omit", "query", "Bulky members to leave out, separated by commas.",
    {"type": "array", "items": {"enum": list(OMITTABLE)}}, many=True,
)  # fmt: skip
LIMIT: Final = Parameter(
    "limit", "query", f"How many at most on a page of JSON; {PAGE} where it is not said.",
    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE},
)  # fmt: skip
PLACE: Final = "[a-z2-7]{8}-(0|[1-9][0-9]{0,17})"
CURSOR: Final[Schema] = {"type": "string", "pattern": f"^(earliest|{PLACE})?$"}
AFTER: Final = Parameter(
    "after", "query", "The `next` of the page before.", {"type": "string", "pattern": f"^({PLACE})?$"}
)
FILTERS: Final = (
    Parameter("workspace", "query", "Workspaces that are meant; all where none is said.", WORKSPACE.schema, many=True),
    Parameter("state", "query", "States that are meant.", {"enum": [str(state) for state in State]}, many=True),
    Parameter("process", "query", "Processes that are meant.", LINE, many=True),
    Parameter("name", "query", "Names that are meant.", LINE, many=True),
    Parameter("label", "query", "Labels as `key:value`; all of them have to match.",
              {"type": "string", "pattern": "^[^:\\x00]+:[^\\x00]*$"}, many=True),
)  # fmt: skip
JOBS: Final = Parameter(
    "job", "query", f"Jobs that are meant, as `id` or `workspace/id`, at most {MAX_VALUES}, also ones to come.",
    {"type": "string", "pattern": f"^({WORKSPACE_PATTERN[1:-1]}/)?{ID_PATTERN[1:]}"}, many=True,
)  # fmt: skip
STREAM: Final = (
    Parameter("Last-Event-ID", "header", "The last id received; wins over the query. What can't be resumed is answered "
              "with a `reset`.", TEXT),
    Parameter("lastEventId", "query", f"{POSITION_TEXT}, to go on from.", CURSOR),
    Parameter("last_event_id", "query", "The same; the name before it in this list wins.", CURSOR),
    Parameter("after", "query", "The same; `earliest` replays all there is. For JSON only this counts: the `next` of "
              "the page before, or its `head`; the earliest where it is not said.", CURSOR),
    Parameter("min_interval", "query", "Milliseconds between two progress frames of a job; 0 forbids all conflation.",
              {"type": "integer", "minimum": 0, "maximum": MAX_INTERVAL}),
)  # fmt: skip
KEY: Final = Parameter(
    "Idempotency-Key", "header", "The same key and request get the first answer again, whenever they come.",
    {"type": "string", "pattern": r'^("[!#-\[\]-~]{1,255}"|[!#-~][!-~]{0,254})$'},
)  # fmt: skip
IF_MATCH: Final = Parameter(
    "If-Match", "header", "ETags of which the job must stand at one, or `*`.",
    {"type": "string", "pattern": IF_MATCH_PATTERN},
)  # fmt: skip
IF_NONE_MATCH: Final = Parameter("If-None-Match", "header", "ETags that the client has already.", TEXT)
WAIT: Final = Parameter(
    "Prefer", "header", f"`wait=N`: with If-None-Match, wait up to N seconds for a change ({MAX_WAIT} at most).", TEXT
)
LONG_POLL: Final = Parameter(
    "Prefer",
    "header",
    f"`wait=N`: where a page of JSON would be empty, wait up to N seconds ({MAX_WAIT} at most).",
    TEXT,
)
MINIMAL: Final = Parameter("Prefer", "header", "`return=minimal`: no document, unless a wish stands.", TEXT)
LABEL: Final = Parameter(
    "label", "query", "What stands on the left; the job's name where it is not said.", {**TEXT, "maxLength": MAX_LABEL}
)
AT: Final = Parameter(
    "at", "query", "An RFC 3339 time, or a position: the job as it stood then.",
    {"type": "string", "format": "date-time"},
)  # fmt: skip

BODY_ERRORS: Final = (InvalidReport, TooLarge, UnsupportedMediaType, RequestTimeout)
LOST: Final = (JobNotFound, JobDeleted)
REFUSED: Final = (IllegalTransition, JobFinished)
DOCUMENT: Final = ("ETag", "Last-Modified")
EVENTS: Final = {SSE: "EventStream", NDJSON: "EventLines", PLAIN: "Text"}
ENDED: Final = Answer(204, "There is nothing to follow: all of it had ended by the cursor.")


def _wish(kind: str, state: State) -> Operation:
    return Operation(
        f"{kind}_job",
        "POST",
        f"/jobs/{{id}}/{kind}",
        wisher(kind),
        f"Wish that the job may become {state}; only its producer makes it so",
        (Answer(202, "The job with the wish.", {JSON: "Job"}, (*DOCUMENT, "Idempotent-Replayed")),),
        (ID, WORKSPACE, KEY),
        errors=(*LOST, *REFUSED, KeyReused, LogFull, RequestTimeout, TooLarge),
    )


OPERATIONS: Final = (
    Operation(
        "create_job",
        "POST",
        "/jobs",
        create_job,
        "Create a job",
        (
            Answer(201, "The new job.", {JSON: "Job"}, (*DOCUMENT, "Location", "Idempotent-Replayed")),
            Answer(200, "It was created with the same content before; the job as it stands.", {JSON: "Job"},
                   (*DOCUMENT, "Location", "Idempotent-Replayed")),
        ),
        (WORKSPACE, KEY),
        {JSON: "NewJob"},
        errors=(*BODY_ERRORS, JobExists, JobDeleted, KeyReused, LogFull),
    ),
    Operation(
        "list_jobs",
        "GET",
        "/jobs",
        list_jobs,
        "Jobs that match, newest first",
        (Answer(200, "A page of jobs.", {JSON: "Jobs"}),),
        (*FILTERS, LIMIT, AFTER, OMIT),
        errors=(InvalidCursor, Compacted, NotAcceptable),
    ),
    Operation(
        "read_job",
        "GET",
        "/jobs/{id}",
        read_job,
        "A job as it stands, after a wait if wanted, as it stood, or its stream",
        (
            Answer(200, "The job.", {JSON: "Job", SSE: "EventStream"},
                   (*DOCUMENT, "Retry-After", "Preference-Applied")),
            ENDED,
            Answer(303, f"To the job's page, for who prefers {HTML}.", {}, ("Location",)),
            Answer(304, "The client has it already.", {}, (*DOCUMENT, "Retry-After", "Preference-Applied")),
        ),
        (ID, WORKSPACE, AT, OMIT, IF_NONE_MATCH, WAIT, *STREAM),
        errors=(*LOST, InvalidCursor, Compacted, NotAcceptable),
        quick=QuickRead,
    ),
    Operation(
        "read_badge",
        "GET",
        "/jobs/{id}/badge.svg",
        read_badge,
        "The job's status as a small picture",
        (
            Answer(200, "The badge.", {SVG: "Text"}, ("ETag",)),
            Answer(304, "The client has it already.", {}, ("ETag",)),
            Answer(404, "There is no such job, and a badge says so: a picture is all that a page can show here.",
                   {SVG: "Text"}, ("ETag",)),
            Answer(410, "The job was deleted, and a badge says so.", {SVG: "Text"}, ("ETag",)),
        ),
        (ID, WORKSPACE, LABEL, IF_NONE_MATCH),
    ),
    Operation(
        "delete_job",
        "DELETE",
        "/jobs/{id}",
        delete_job,
        "Delete a finished job; it is 410 from then on",
        (Answer(204, "It is gone."),),
        (ID, WORKSPACE),
        errors=(*LOST, JobNotFinished, LogFull, RequestTimeout, TooLarge),
    ),
    Operation(
        "report_events",
        "POST",
        "/jobs/{id}/events",
        report_events,
        "Report what is new of a job: one report, or a list of which all or none count",
        (
            Answer(201, "Recorded; the job as it stands.", {JSON: "Job"}, (*DOCUMENT, "Idempotent-Replayed")),
            Answer(200, "Nothing was new; the job as it stands.", {JSON: "Job"}, (*DOCUMENT, "Idempotent-Replayed")),
            Answer(204, "As 200 or 201, with `Prefer: return=minimal`.", {},
                   (*DOCUMENT, "Preference-Applied", "Idempotent-Replayed")),
        ),
        (ID, WORKSPACE, KEY, IF_MATCH, MINIMAL),
        {JSON: "Reports"},
        errors=(*BODY_ERRORS, *LOST, *REFUSED, PreconditionFailed, KeyReused, LogFull),
    ),
    Operation(
        "read_events",
        "GET",
        "/jobs/{id}/events",
        read_events,
        "The job's stream, or a page of its history as JSON",
        (Answer(200, "What happened and happens.", {**EVENTS, JSON: "History"}), ENDED),
        (ID, WORKSPACE, LIMIT, OMIT, *STREAM),
        errors=(*LOST, InvalidCursor, Compacted, NotAcceptable),
    ),
    *(_wish(kind, state) for kind, state in
      (("cancel", State.CANCELLED), ("pause", State.PAUSED), ("resume", State.RUNNING))),
    Operation(
        "stream_events",
        "GET",
        "/events",
        stream_events,
        "One stream over many jobs, or as JSON a page of what happened to them, in the order of the log",
        (Answer(200, "What happened and happens.", {**EVENTS, JSON: "Happened"}, ("Preference-Applied",)), ENDED),
        (JOBS, *FILTERS, LIMIT, OMIT, LONG_POLL, *STREAM),
        errors=(InvalidCursor, Compacted, NotAcceptable),
    ),
    Operation(
        "report_bulk",
        "POST",
        "/events",
        report_bulk,
        f"Report on many jobs: a report a line, {MAX_LINES} at most; a job not known is created",
        (Answer(200, "An answer line for each line, after the whole body was read.", {NDJSON: "BulkAnswers"}),),
        (WORKSPACE,),
        {NDJSON: "BulkLines"},
        streamed=True,
        errors=(TooLarge, UnsupportedMediaType, RequestTimeout, LogFull),
    ),
)  # fmt: skip


class Canonical(Dialect):
    """Dialect zero; its errors are problem documents (RFC 9457), as `Dialect` writes them."""

    name: ClassVar[str] = "canonical"
    prefix: ClassVar[str] = "/v1"
    operations = OPERATIONS

    def check(self, request: Request, operation: Operation) -> None:
        """Refuse query parameters that the operation does not have."""
        refuse_unknown(request, operation)
