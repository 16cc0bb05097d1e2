"""The bytes of the canonical event stream: Server-Sent Events as the WHATWG HTML standard has them, NDJSON, or lines
for people.

Law: a record is encoded once for each form that has readers, and every reader gets those very bytes; late readers too,
in the few forms that are kept with it. The line end is LF, `id` is ASCII, and the data is one line of JSON that no
reader can take for two.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from gateway import plain
from gateway.record import DELETED, Record, dumps
from gateway.values import Json

RETRY_MS: Final = (2_000, 5_000)  # spread, so that the readers of a server that restarts do not all return at once
FAREWELL_MS: Final = (1_000, 10_000)
BUSY_MS: Final = (5_000, 30_000)
CHUNK_BYTES: Final = 64 * 1024  # written at once; about what a socket's buffers take
MAX_KEPT: Final = 4  # forms of a record whose frames are kept with it; more would be asked for to fill the memory
OMITTABLE: Final = ("steps", "details", "result")  # the members that can be bulky


@dataclass(frozen=True, slots=True)
class Form:
    """How a reader wants its frames: as an event stream, as lines of JSON or of text, and which members left out."""

    kind: Literal["sse", "ndjson", "text"] = "sse"
    omit: frozenset[str] = frozenset()


def frame(form: Form, event: str, position: str | None, data: bytes) -> bytes:
    """One frame. `position` becomes its id; without one a reader's cursor stays where it is.

    The id comes last: readers that take it when they see it, and not when the frame is complete, as
    @microsoft/fetch-event-source does, would else lose a frame in whose data the connection breaks.
    """
    if form.kind == "text":
        return plain.line(event, orjson.loads(data))
    if form.kind == "ndjson":
        fields = {"event": event, "id": position, "data": orjson.Fragment(data)}
        return orjson.dumps({name: value for name, value in fields.items() if value is not None}) + b"\n"
    if position is None:
        return b"".join((b"event: ", event.encode(), b"\ndata: ", data, b"\n\n"))
    return b"".join((b"event: ", event.encode(), b"\ndata: ", data, b"\nid: ", position.encode(), b"\n\n"))


def retry(form: Form, between: tuple[int, int] = RETRY_MS) -> bytes:
    """How long a reader is to wait before it comes back, in ms; lines have no such thing."""
    if form.kind != "sse":
        return b""
    return b"retry: %d\n\n" % random.randint(*between)  # noqa: S311 - jitter, no secret


def farewell(form: Form) -> bytes:
    """The gateway stops: the reader is to come back later than others of its kind."""
    return plain.farewell() if form.kind == "text" else retry(form, FAREWELL_MS)


def of_record(record: Record, form: Form) -> bytes:
    """A record's frame: `transition`, `progress` or `deleted`."""
    found = record.frames.get(form)
    if found is None:
        found = of_read(record, form)
        if len(record.frames) < MAX_KEPT:
            record.frames[form] = found
    return found


def of_read(record: Record, form: Form) -> bytes:
    """The frame of a record that was read for one reader: it is not kept, since nobody else will ask for it."""
    return frame(form, record.event, record.position, data_of(record, form.omit))


def data_of(record: Record, omit: frozenset[str]) -> bytes:
    """What is told of a record: the job's document after it, or which job was deleted."""
    if record.event == DELETED:
        workspace, job_id = record.key
        return dumps({"id": job_id, "workspace": workspace, "position": record.position})
    return without(record.document, omit)


def of_records(records: Iterable[Record], form: Form) -> bytes:
    """Frames of records that leave together."""
    return b"".join([of_record(record, form) for record in records])


def chunks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks joined to pieces that are written at once."""
    chunk: list[bytes] = []
    size = 0
    for block in blocks:
        chunk.append(block)
        size += len(block)
        if size >= CHUNK_BYTES:
            yield b"".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield b"".join(chunk)


def snapshot(form: Form, document: bytes, position: str | None) -> bytes:
    """A job as it stands; with an id where there is one job only, for then the position covers all that is owed."""
    return frame(form, "snapshot", position, without(document, form.omit))


def sync(form: Form, position: str, time: str, more: Mapping[str, Json] | None = None) -> bytes:
    """Told to readers that have caught up: where they are."""
    return frame(form, "sync", position, dumps({"head": position, "time": time, **(more or {})}))


def reset(form: Form, reason: str, requested: str, oldest: str, head: str) -> bytes:
    """The cursor can't be resumed from; snapshots follow. `reason` is expired, foreign or ahead."""
    return frame(form, "reset", None, dumps({"reason": reason, "requested": requested, "oldest": oldest, "head": head}))


def busy(form: Form) -> bytes:
    """Too many readers: this one is to come back later."""
    wait = random.randint(*BUSY_MS)  # noqa: S311 - jitter, no secret
    return retry(form, (wait, wait)) + frame(form, "busy", None, dumps({"retry": wait}))


def end(form: Form, reason: str) -> bytes:
    """Nothing will follow: the reader is to stay away. `reason` is terminal, deleted or unauthorized."""
    return frame(form, "end", None, dumps({"reason": reason}))


def without(document: bytes, omit: frozenset[str]) -> bytes:
    """A document with members left out; the very bytes where none is."""
    if not omit:
        return document
    members = orjson.loads(document)
    return dumps({name: value for name, value in members.items() if name not in omit})
