"""The least that could do the same work, with sqlite3 alone: `python -m tests.bench.bare COMMAND FILE …`.

bulk FILE LINES       report NDJSON lines of known jobs into the log, 500 a transaction; prints seconds and CPU seconds
commit FILE COUNT GAP commit a record so often, with a gap in seconds after each; prints the median in ms
replay FILE PORT      send all records as events to whoever connects first
"""

from __future__ import annotations

import socket
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.eventlog.codec import patch
from gateway.eventlog.schema import migrations
from gateway.record import as_json, dumps
from tests.jobs import new, report, say

BATCH: Final = 500  # lines of a transaction
PAGE: Final = 500  # rows of a replay that leave together, about as many bytes as a socket takes at once
SENT: Final = 64 * 1024  # bytes

_RECORD: Final = (
    "INSERT INTO records (offset, job, event, by, time, codec, body) VALUES (?, ?, 'progress', 'bare', ?, 1, ?)"
)
_JOB: Final = (
    "INSERT INTO jobs (job, workspace, id, name, state, first, last) VALUES (?, 'default', ?, ?, 'running', ?, ?)"
)
_READ: Final = (
    "SELECT i.job, r.body FROM identities AS i JOIN jobs AS j ON j.job = i.job JOIN records AS r ON r.offset = j.last "
    "WHERE i.workspace = 'default' AND i.id = ?"
)
_ROWS: Final = "SELECT offset, event, base, body FROM records WHERE offset > ? ORDER BY offset LIMIT ?"


def opened(file: str) -> sqlite3.Connection:
    """The log's own tables, written as durably as the gateway does."""
    db = sqlite3.connect(file, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        for step in migrations():
            db.executescript(step)
    return db


def with_jobs(db: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Make the jobs that reports will be about."""
    db.execute("BEGIN IMMEDIATE")
    for row, job in enumerate(ids, start=1):
        body = dumps(as_json(new(id=job, state="running")))
        db.execute(_RECORD, (row, row, 0, body))
        db.execute(_JOB, (row, job, job, row, row))
        db.execute("INSERT INTO identities VALUES ('default', ?, ?)", (job, row))
    db.execute("COMMIT")


def bulk(file: str, lines: str) -> None:
    """Parse each line, read its job, write the record and the job: one transaction for each 500 lines."""
    body = Path(lines).read_bytes()
    with closing(opened(file)) as db:
        if not db.execute("SELECT count(*) FROM jobs").fetchone()[0]:
            with_jobs(db, sorted({orjson.loads(line)["job"] for line in body.splitlines()}))
        offset = db.execute("SELECT max(offset) FROM records").fetchone()[0]
        begin, cpu = time.perf_counter(), time.process_time()
        held = body.splitlines()
        for start in range(0, len(held), BATCH):
            offset = _transaction(db, held[start : start + BATCH], offset)
        print(time.perf_counter() - begin, time.process_time() - cpu)


def _transaction(db: sqlite3.Connection, lines: Sequence[bytes], offset: int) -> int:
    known: dict[str, tuple[int, dict[str, Any]]] = {}
    records, now = [], time.time_ns() // 1_000_000
    db.execute("BEGIN IMMEDIATE")
    for line in lines:
        said = orjson.loads(line)
        job = said.pop("job")
        if job not in known:
            row, body = db.execute(_READ, (job,)).fetchone()
            known[job] = row, orjson.loads(body)
        row, document = known[job]
        offset += 1
        document.update(said, version=document["version"] + 1, position=f"k7f3q2ab-{offset}")
        records.append((offset, row, now, dumps(document)))
    last = {row: offset for offset, row, _, _ in records}
    db.executemany(_RECORD, records)
    db.executemany("UPDATE jobs SET last = ? WHERE job = ?", [(offset, row) for row, offset in last.items()])
    db.execute("COMMIT")
    return offset


def commit(file: str, count: int, gap: float) -> None:
    """Commit a record of one job and its place in the job's row, again and again."""
    body = dumps(as_json(say(new(state="running"), **_said())))
    took = []
    with closing(opened(file)) as db:
        with_jobs(db, ["a"])
        for offset in range(2, count + 2):
            begin = time.perf_counter()
            db.execute("BEGIN IMMEDIATE")
            db.execute(_RECORD, (offset, 1, time.time_ns() // 1_000_000, body))
            db.execute("UPDATE jobs SET last = ? WHERE job = 1", (offset,))
            db.execute("COMMIT")
            took.append(time.perf_counter() - begin)
            time.sleep(gap)
    print(statistics.median(took) * 1000)


def _said() -> dict[str, Any]:
    said = report(progress=45, message="Processing step 2 of 4", details={"t": time.monotonic_ns()})
    return {"progress": said.progress, "message": said.message, "details": said.details}


def replay(file: str, port: int) -> None:
    """Select the rows and send them as events; changes are folded, as each stands on the one before."""
    with socket.create_server(("127.0.0.1", port)) as listener, closing(opened(file)) as db:
        while True:
            reader, _ = listener.accept()
            with closing(reader):
                if not reader.recv(65536):
                    continue  # somebody looked whether it listens
                reader.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                (epoch,) = db.execute("SELECT epoch FROM epochs").fetchone()
                for piece in _pieces(db, epoch.encode()):
                    reader.sendall(piece)
                return


def _pieces(db: sqlite3.Connection, epoch: bytes) -> Iterator[bytes]:
    held: list[bytes] = []
    size = after = 0
    document: Any = None
    while rows := db.execute(_ROWS, (after, PAGE)).fetchall():
        for offset, event, base, body in rows:
            if base is not None:
                document = patch(document, orjson.loads(body))
                body = dumps(document)
            elif len(body) > SENT // 4:
                document = orjson.loads(body)
            held.append(b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (epoch, offset, event.encode(), body))
            size += len(held[-1])
            if size >= SENT:
                yield b"".join(held)
                held, size = [], 0
        after = rows[-1][0]
    yield b"".join(held)


def main() -> None:
    """Run one of the commands."""
    match sys.argv[1:]:
        case ["bulk", file, lines]:
            bulk(file, lines)
        case ["commit", file, count, gap]:
            commit(file, int(count), float(gap))
        case ["replay", file, port]:
            replay(file, int(port))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
