"""What a batch writes: its rows as statements of one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from gateway.eventlog.batch import Batch

_INSERT_RECORD = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_JOB = (
    "INSERT INTO jobs (job, workspace, id, name, process, state, first, last, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE_JOB = "UPDATE jobs SET last = ? WHERE job = ?"
_MOVE_JOB = "UPDATE jobs SET state = ?, last = ?, finished = ?, lease = ?, deleted = ? WHERE job = ?"
_INSERT_IDENTITY = "INSERT INTO identities VALUES (?, ?, ?)"
_INSERT_KEY = "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?)"
_DELETE_LABELS = "DELETE FROM labels WHERE job = ?"
_INSERT_LABEL = "INSERT INTO labels VALUES (?, ?, ?, ?)"


def statements(batch: Batch, begun: bool) -> list[tuple[str, Sequence[Any]]]:
    """What a batch writes, in one transaction, which may have begun."""
    rows = batch.rows
    moved, kept = [], []
    for key, hot in batch.touched.items():
        job = hot.standing.job
        if key not in batch.moved:
            kept.append((hot.standing.last, hot.row))
            continue
        # When the log learned of the end: a job that ended long ago, and is reported only now, is kept as long.
        finished = milliseconds(job.updated) if job.terminal else None
        moved.append((job.state, hot.standing.last, finished, job.lease, int(hot.standing.deleted), hot.row))
    labels = [
        (key, value, hot.standing.first, hot.row)
        for hot in batch.relabelled.values()
        for key, value in (hot.standing.job.labels or {}).items()
    ]
    pairs: Iterable[tuple[str, Sequence[Any]]] = (
        (_INSERT_JOB, rows.jobs),
        (_INSERT_IDENTITY, rows.identities),
        (_INSERT_RECORD, rows.records),
        (_MOVE_JOB, moved),
        (_UPDATE_JOB, kept),
        (_DELETE_LABELS, [(hot.row,) for hot in batch.relabelled.values()]),
        (_INSERT_LABEL, labels),
        (_INSERT_KEY, rows.keys),
    )
    begin = [] if begun else [("BEGIN IMMEDIATE", [()])]
    return [*begin, *((sql, values) for sql, values in pairs if values), ("COMMIT", [()])]


def milliseconds(text: str) -> int:
    """A stamp as milliseconds since 1970."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
