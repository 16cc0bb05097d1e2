"""The values a report is made of: single pieces of untrusted JSON, each checked once.

Law: whatever passes here can always be written again. A lone surrogate, NaN, a number that loses digits, a deeper or
larger value is refused at this border, because orjson reads what it can't write; inside, a value is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import orjson

from gateway.errors import InvalidReport, TooLarge

MAX_DEPTH = 32  # levels; orjson writes 254 at most, and readers in other languages often fewer
MAX_INTEGER = 2**53  # beyond it JavaScript and SQLite's REAL lose digits
MAX_RESULT = 64 * 1024  # bytes; the result travels in every later frame of the job
MAX_STEPS = 1000  # steps and tasks together; each is rendered in every frame
MAX_LABELS = 64  # labels are indexed one by one
MAX_NAME = 1000  # characters of a name, process, step, label: these are indexed or shown in one line
MAX_LINKS = 100  # links are shown one by one
MAX_HREF = 8000  # characters; about what servers accept as an address
MAX_LEASE = 7 * 86400  # seconds; a job silent for longer than a week has no lease worth the name
ID_PATTERN = r"^[A-Za-z0-9._~:\-]{1,200}$"
WORKSPACE_PATTERN = r"^[a-z0-9._\-]{1,64}$"
DEFAULT_WORKSPACE = "default"

Json: TypeAlias = Any  # what orjson.loads gives; checked by `check_json` before it is kept

_CONTAINER, _NUMBER = (dict, list), (int, float)  # made once: `dict | list` would be made anew for every value
_ID, _WORKSPACE = re.compile(ID_PATTERN), re.compile(WORKSPACE_PATTERN)

TIME_PATTERN = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"
Parser: TypeAlias = Callable[[Json, str], object]


def read_json(body: bytes) -> Json:
    """The JSON value of a body. Raises InvalidReport for what is no JSON (RFC 8259) or can't be written again."""
    return read_counted(body)[0]


def read_counted(body: bytes) -> tuple[Json, int]:
    """As `read_json`, and how many members the objects in it have."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidReport(f"the body is not JSON: {error}", field="") from error
    # Each member's own bound is exact; this one only stops the walk. The deepest member stands seven levels down:
    # in a list of reports, a report, its steps, a step, its tasks, a task, its error.
    return value, check_json(value, "", MAX_DEPTH + 7)


def check_json(value: Json, field: str, depth: int = MAX_DEPTH) -> int:
    """How many members the objects in `value` have. Raises InvalidReport if it is nested deeper than `depth` or holds a
    number that would lose digits."""
    count = 0
    if isinstance(value, _CONTAINER):
        if depth == 0:
            raise InvalidReport(f"{field or 'the body'} is nested deeper than {MAX_DEPTH} levels", field=field)
        if isinstance(value, dict):
            count = len(value)
            value = value.values()
        for child in value:
            if type(child) is str:  # as most are
                continue
            if isinstance(child, _CONTAINER):
                count += check_json(child, field, depth - 1)
            elif isinstance(child, _NUMBER) and not abs(child) <= MAX_INTEGER:  # this way round NaN is refused as well
                raise _too_large(field)
    elif isinstance(value, _NUMBER) and not abs(value) <= MAX_INTEGER:
        raise _too_large(field)
    return count


def _too_large(field: str) -> InvalidReport:
    return InvalidReport(f"{field or 'the body'} holds a number beyond 2^53; say it as a string", field=field)


def parse_id(value: Json, field: str = "id") -> str:
    """A job's id: 1 to 200 of A-Z a-z 0-9 . _ ~ : - and not `.` or `..`."""
    if not isinstance(value, str) or not _ID.fullmatch(value) or value in (".", ".."):
        raise InvalidReport(f"{field} must be 1 to 200 characters of A-Z a-z 0-9 . _ ~ : - (not . or ..)", field=field)
    return value


def parse_workspace(value: Json, field: str = "workspace") -> str:
    """A workspace's name: 1 to 64 of a-z 0-9 . _ -."""
    if not isinstance(value, str) or not _WORKSPACE.fullmatch(value):
        raise InvalidReport(f"{field} must be 1 to 64 characters of a-z 0-9 . _ -", field=field)
    return value


def parse_time(value: Json, field: str = "time") -> datetime:
    """A moment from RFC 3339 text, as aware UTC. Raises InvalidReport."""
    if isinstance(value, str) and re.fullmatch(TIME_PATTERN, value, re.ASCII):
        try:
            return datetime.fromisoformat(re.sub(r"(:\d\d:)60", r"\g<1>59", value.upper())).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidReport(f"{field} must be a time as RFC 3339 writes it, such as 2026-02-19T10:00:00Z", field=field)


def parse_progress(value: Json, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise InvalidReport(f"{field} must be a number from 0 to 100, or null for not known", field=field)
    return float(value) + 0.0  # -0.0 becomes 0.0


def parse_text(value: Json, field: str) -> str | None:
    return None if value is None else parse_message(value, field)


def parse_line(value: Json, field: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME or "\0" in value:
        raise InvalidReport(f"{field} must be a string of 1 to {MAX_NAME} characters without NUL", field=field)
    return value


def parse_line_or_null(value: Json, field: str) -> str | None:
    return None if value is None else parse_line(value, field)


def parse_step_now(value: Json, field: str) -> str | None:
    if value == "":
        return ""
    return parse_line_or_null(value, field)


def parse_object(value: Json, field: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise InvalidReport(f"{field} must be a JSON object", field=field)
    check_json(value, field)
    return value


def parse_object_or_null(value: Json, field: str) -> Mapping[str, Json] | None:
    """An object, or nothing."""
    return None if value is None else parse_object(value, field)


def parse_result(value: Json, field: str) -> Json:
    check_json(value, field)
    if len(orjson.dumps(value)) > MAX_RESULT:
        raise TooLarge(f"{field} is larger than {MAX_RESULT} bytes; report a link to it instead", field=field)
    return value


def parse_message(value: Json, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidReport(f"{field} must be a string", field=field)
    return value


def parse_lease(value: Json, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_LEASE:
        raise InvalidReport(f"{field} must be a number of seconds above 0 and up to {MAX_LEASE}, or null", field=field)
    return float(value)


def parse_href(value: Json, field: str) -> str:
    """The address of a link."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_HREF:
        raise InvalidReport(f"{field} must be an address of 1 to {MAX_HREF} characters", field=field)
    return value
