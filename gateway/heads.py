"""Which requests are the same: what the decision about one depends on, the head says, word for word.

Law: what can't be compared to the letter is like nothing else. A head counts only if it is whole, if all of the request
has come with it and nothing behind it, and if no reader of HTTP could take it for two.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

MAX_FIELDS: Final = 100  # header fields; browsers send about 20
MAX_KNOWN: Final = 4096  # bytes of a head that is remembered
KEPT: Final = 256  # heads of reports, with what they say

# Fields that no decision here depends on, whoever asks: two heads that differ in nothing else are the same request. One
# that is looked at anywhere may not stand here, or one reader's answer would be another's; a test looks for it.
IGNORED: Final = (
    "accept-language", "cookie", "dnt", "last-event-id", "priority", "referer", "sec-ch-ua", "sec-ch-ua-mobile",
    "sec-ch-ua-platform", "sec-gpc", "traceparent", "tracestate", "user-agent", "x-forwarded-for", "x-real-ip",
    "x-request-id",
)  # fmt: skip
_IGNORED: Final = re.compile(rf"\r\n(?:{'|'.join(IGNORED)}):[\t -~\x80-\xff]*(?=\r\n)".encode("latin-1"), re.IGNORECASE)
_JOB: Final = re.compile(rb"GET /v1/jobs/([A-Za-z0-9._~:-]+)(?=[/? ])")  # anywhere else it could mean something else
_CURSOR: Final = re.compile(rb"\r\nlast-event-id:([\t -~\x80-\xff]*)(?=\r\n)", re.IGNORECASE)
_ASKED_OTHERWISE: Final = re.compile(rb"[^\r]*[?&](?:after|lastEventId|last_event_id|[^=&\r]*%)")  # in the address
_REPORT: Final = re.compile(rb"POST /v1/jobs/([A-Za-z0-9._~:-]{1,200})(?=/events[? ])")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[\t ]*([0-9]{1,7})[\t ]*(?=\r\n)", re.IGNORECASE)


class Asked(NamedTuple):
    """A request: its head without what may differ, the job and the cursor that stood there."""

    head: bytes
    job: str | None
    cursor: str | None


def identify(data: bytes) -> Asked | None:
    """What a request asks for; None for what is no whole head of a GET, and nothing behind it, or can't be compared."""
    if not data.startswith(b"GET ") or data.find(b"\r\n\r\n") != len(data) - 4 or len(data) > MAX_KNOWN:
        return None
    if b"\r\n " in data or b"\r\n\t" in data or data.count(b"\r\n") > MAX_FIELDS:  # a field that goes on, or too many
        return None
    cursors = _CURSOR.findall(data)
    if len(cursors) > 1 or (cursors and _ASKED_OTHERWISE.match(data)):
        return None
    cursor = cursors[0].strip().decode("latin-1") if cursors else None
    found = _JOB.match(data)
    if found is None:
        return Asked(_IGNORED.sub(b"", data), None, cursor or None)
    return Asked(_IGNORED.sub(b"", data[: found.start(1)] + data[found.end() :]), found[1].decode(), cursor or None)


def identify_report(data: bytes) -> tuple[Asked, bytes] | None:
    """What a report's head says, and its body; None for what is no whole report, or can't be compared."""
    end = data.find(b"\r\n\r\n") + 2
    if not 2 < end <= MAX_KNOWN:
        return None
    asked, length = _identify_report(data[:end])
    return (asked, data[end + 2 :]) if asked is not None and length == len(data) - end - 2 else None


@lru_cache(KEPT)  # a producer that comes again says the same, but for the length
def _identify_report(head: bytes) -> tuple[Asked | None, int]:
    """What a report's head says, and how long its body is."""
    found = _REPORT.match(head)
    lengths = _LENGTH.findall(head)
    if found is None or len(lengths) != 1 or _is_ambiguous(head):
        return None, 0
    said = _IGNORED.sub(b"", _LENGTH.sub(b"", head[found.end() :]))
    return Asked(said, found[1].decode(), None), int(lengths[0])


def _is_ambiguous(head: bytes) -> bool:
    """Whether a field goes on in the next line, a line ends otherwise than others, or there are too many."""
    lines = head.count(b"\r\n")
    return b"\r\n " in head or b"\r\n\t" in head or lines > MAX_FIELDS or head.count(b"\n") != lines
