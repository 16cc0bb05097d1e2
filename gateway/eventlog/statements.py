"""What a batch writes: its rows as statements of one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final

from gateway.eventlog.batch import Batch

Statement = tuple[str, Sequence[Any]]

# Rows of one statement, the most first: what is done once a statement (AUTOINCREMENT's bookkeeping, giving the
# interpreter away and taking it back) is then done once for many rows.
WIDTHS: Final = (64, 16, 4, 1)


def _wide(begin: str, row: str, end: str = "") -> dict[int, str]:
    return {width: f"{begin}{', '.join([row] * width)}{end}" for width in WIDTHS}


_INSERT_RECORDS: Final = _wide("INSERT INTO records VALUES ", "(?, ?, ?, ?, ?, ?, ?, ?, ?)")
_UPDATE_JOBS: Final = _wide(
    "UPDATE jobs SET last = v.column1 FROM (VALUES ", "(?, ?)", ") AS v WHERE jobs.job = v.column2"
) | {1: "UPDATE jobs SET last = ? WHERE job = ?"}
_INSERT_JOB = (
    "INSERT INTO jobs (job, workspace, id, name, process, state, first, last, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_MOVE_JOB = "UPDATE jobs SET state = ?, last = ?, finished = ?, lease = ?, deleted = ? WHERE job = ?"
_INSERT_IDENTITY = "INSERT INTO identities VALUES (?, ?, ?)"
_INSERT_KEY = "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?)"
_DELETE_LABELS = "DELETE FROM labels WHERE job = ?"
_INSERT_LABEL = "INSERT INTO labels VALUES (?, ?, ?, ?)"


def statements(batch: Batch, begun: bool) -> list[Statement]:
    """What a batch writes, in one transaction, which may have begun."""
    rows = batch.rows
    moved, kept = [], []
    for key, hot in batch.touched.items():
        if key not in batch.moved:
            kept.append((hot.last, hot.row))
            continue
        job = hot.job
        # When the log learned of the end: a job that ended long ago, and is reported only now, is kept as long.
        finished = milliseconds(job.updated) if job.terminal else None
        moved.append((job.state, hot.last, finished, job.lease, int(hot.deleted), hot.row))
    labels = [
        (key, value, hot.first, hot.row)
        for hot in batch.relabelled.values()
        for key, value in (hot.job.labels or {}).items()
    ]
    pairs: Iterable[Statement] = (
        (_INSERT_JOB, rows.jobs),
        (_INSERT_IDENTITY, rows.identities),
        *_together(_INSERT_RECORDS, rows.records),
        (_MOVE_JOB, moved),
        *_together(_UPDATE_JOBS, kept),
        (_DELETE_LABELS, [(hot.row,) for hot in batch.relabelled.values()]),
        (_INSERT_LABEL, labels),
        (_INSERT_KEY, rows.keys),
    )
    begin = [] if begun else [("BEGIN IMMEDIATE", [()])]
    return [*begin, *((sql, values) for sql, values in pairs if values), ("COMMIT", [()])]


def _together(widths: dict[int, str], rows: Sequence[Sequence[Any]]) -> Iterator[Statement]:
    """The rows in as few statements as there are widths for."""
    begin = 0
    for width, sql in widths.items():
        wide = range(begin, len(rows) - width + 1, width)
        yield sql, [tuple(chain.from_iterable(rows[at : at + width])) for at in wide]
        begin += len(wide) * width


def milliseconds(text: str) -> int:
    """A stamp as milliseconds since 1970."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
