"""A job's changes as lines for people: what `curl -N -H 'Accept: text/plain'` shows.

Law: what a job says is one line, and is never let through raw: its control characters could rewrite the reader's
terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

# Also what turns the direction of writing round, and with it the meaning of what follows.
CONTROL: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
MAX_TEXT: Final = 500  # characters of a message or an error: a line is read, a document is asked for
QUIET: Final = b"\r"  # a heartbeat: it keeps proxies from closing, and moves no terminal's cursor down


def one_line(text: str) -> str:
    """Text of a job without what could move a cursor or break a line."""
    return CONTROL.sub(" ", text).strip()


def percent(progress: float | None) -> str:
    """Progress as people write it: `45 %`, or nothing where it is not known."""
    return "" if progress is None else f"{progress:.4g} %"


def line(event: str, data: Mapping[str, Any]) -> bytes:
    """What a reader sees of one frame: a job's line, a note behind `#`, or nothing that shows."""
    if event in ("snapshot", "transition", "progress"):
        text = _job(data)
    elif event == "deleted":
        text = f"{'-':<24} {data['workspace']}/{data['id']} deleted"
    elif event == "sync":
        text = _note_of_sync(data)
    elif event == "reset":
        text = f"# the cursor can't be resumed from ({data['reason']}); what stands now follows"
    elif event == "busy":
        text = f"# too many readers; come back in {data['retry'] // 1000} s"
    else:
        text = "" if data["reason"] in ("terminal", "deleted") else f"# ended: {data['reason']}"
    if text:
        return text.encode() + b"\n"
    return QUIET if event == "sync" else b""


def farewell() -> bytes:
    """Tells the end of a stream from the end of its job."""
    return b"# the gateway is stopping; the job goes on\n"


def _job(document: Mapping[str, Any]) -> str:
    """Time, workspace/id, state, progress, step and message of a job, and its error."""
    error = (document["error"] or {}).get("message")
    said = [one_line(text)[:MAX_TEXT] for text in (document["step"], document["message"]) if text]
    words = (
        f"{document['updated']} {document['workspace']}/{document['id']} {document['state']:<10}",
        f"{percent(document['progress']):>7} ",
        f"attempt {document['attempt']} " if document["attempt"] > 1 else "",
        "(stalled) " if document["stalled"] else "",
        ": ".join(said),
        f" error: {one_line(error)[:MAX_TEXT]}" if error else "",
    )
    return "".join(words).rstrip()


def _note_of_sync(data: Mapping[str, Any]) -> str:
    """Said once after snapshots, where they do not speak for themselves."""
    shown, matched = data.get("shown"), data.get("matched")
    if shown == 0:
        return "# no job matches yet; it will be shown when one does"
    return f"# the {shown} newest jobs that match are shown; there are more" if shown != matched else ""
