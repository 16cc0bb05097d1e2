"""Retention and compaction, in small steps beside the traffic.

Law: what a reader may still be owed is never taken away in silence. Before progress records go, the floor of their job
and of the log is raised over them in the same transaction, so that a cursor below is answered with a reset; a record
that was folded from what goes is written whole first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from gateway.eventlog.base import Entry, Outcome
from gateway.eventlog.codec import patch
from gateway.eventlog.hot import Extent, HotJobs
from gateway.eventlog.reading import Row, whole
from gateway.eventlog.schema import TRANSACTION, Statement
from gateway.eventlog.writer import Writer
from gateway.job import Delete
from gateway.record import PROGRESS, dumps
from gateway.values import Json

STEP = 500  # records a step looks at, and the rest of a chain; it holds the one writer for a few milliseconds
STEP_BYTES = 4 * 2**20  # of their bodies
EXPIRE = 100  # jobs deleted in one transaction
GATEWAY = "gateway"  # who wrote the records that no principal asked for

_UNTENDED = (
    "SELECT job, workspace, id, last, tended, finished FROM jobs INDEXED BY jobs_untended "
    "WHERE finished IS NOT NULL AND deleted = 0 AND tended < last AND finished <= ? ORDER BY finished LIMIT 1"
)
_LIVE = (
    "SELECT j.job, j.workspace, j.id, j.last, j.tended, NULL FROM jobs AS j INDEXED BY jobs_unfinished "
    "WHERE j.finished IS NULL AND j.first < ? AND EXISTS (SELECT 1 FROM records AS r "
    "WHERE r.job = j.job AND r.offset > j.tended AND r.offset < j.last AND r.event = 'progress') "
    "ORDER BY j.first LIMIT 1"
)
_EXPIRED = (
    "SELECT workspace, id FROM jobs INDEXED BY jobs_finished "
    "WHERE finished IS NOT NULL AND deleted = 0 AND finished <= ? ORDER BY finished LIMIT ?"
)
_UNSWEPT = (
    "SELECT job, workspace, id, last FROM jobs INDEXED BY jobs_unswept "
    "WHERE deleted = 1 AND tended < last ORDER BY last LIMIT 1"
)
_SWEEPABLE = "SELECT offset FROM records WHERE job = ? AND offset < ? ORDER BY offset LIMIT ?"
_BURIABLE = (
    "SELECT j.job, j.workspace, j.id, j.last, r.time FROM jobs AS j INDEXED BY jobs_deleted "
    "CROSS JOIN records AS r ON r.offset = j.last WHERE j.deleted = 1 AND j.tended >= j.last ORDER BY j.last LIMIT 1"
)
_RECORDS = "SELECT offset, event, base, body FROM records WHERE job = ? AND offset > ? AND offset <= ? ORDER BY offset"
_WRITE_WHOLE = "UPDATE records SET base = NULL, body = ? WHERE offset = ?"
_DELETE_RECORD = "DELETE FROM records WHERE offset = ?"
_TENDED = "UPDATE jobs SET tended = ?, floor = max(floor, ?) WHERE job = ?"
_RAISE_FLOOR = "UPDATE meta SET value = max(value, ?) WHERE name = 'floor'"
_DELETE_LABELS = "DELETE FROM labels WHERE job = ?"
_DELETE_IDENTITIES = "DELETE FROM identities WHERE job = ?"
_DELETE_KEYS = "DELETE FROM keys WHERE job = ?"
_DELETE_JOB = "DELETE FROM jobs WHERE job = ?"
_COUNT = "SELECT count(*) FROM records"
_FOREVER = 2**62  # later than any job's end, and after any job's first record
JobKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept: seconds for progress records of finished jobs and for finished jobs, and the most records
    in the log; 0 keeps for good."""

    progress: float = 86_400.0
    age: float = 30 * 86_400.0
    records: int = 0


class Tending:
    """Compaction of one log: `step` does one small piece of what is due."""

    def __init__(self, writer: Writer, extent: Extent, hot: HotJobs, rules: Retention) -> None:
        self._writer, self._extent, self._hot, self._rules = writer, extent, hot, rules

    async def step(self, now: datetime) -> bool:
        """Do one piece of what is due at `now`; False when nothing is."""
        now_ms = int(now.timestamp() * 1000)
        progress, age = before(now_ms, self._rules.progress), before(now_ms, self._rules.age)
        return (
            await self._do(self._sweep)
            or await self._do(lambda db: self._thin(db, _UNTENDED, progress))
            or await self._expire(age, EXPIRE)
            or await self._do(lambda db: self._bury(db, age))
            or (await self._is_crowded() and await self._make_room())
        )

    async def _is_crowded(self) -> bool:
        limit = self._rules.records
        return limit > 0 and await self._writer.chore(lambda db: _first(db, _COUNT)) > limit

    async def _make_room(self) -> bool:
        """What goes first is missed the least: progress, of finished jobs before others, then whole finished jobs."""
        return (
            await self._do(lambda db: self._thin(db, _UNTENDED, _FOREVER))
            or await self._do(lambda db: self._thin(db, _LIVE, _FOREVER))
            or await self._do(lambda db: self._bury(db, _FOREVER))
            or await self._expire(_FOREVER, 1)
        )

    async def _do(self, work: Callable[[sqlite3.Connection], JobKey | None]) -> bool:
        """Do something to one job; None when there is nothing to do. It is forgotten before the next transaction, which
        would otherwise fold its next record from one that has gone."""
        return await self._writer.chore(work, self._forget) is not None

    def _forget(self, key: JobKey | None) -> None:
        if key is not None:
            self._hot.forget(key)

    async def _expire(self, cutoff: int, limit: int) -> bool:
        rows = await self._writer.chore(lambda db: db.execute(_EXPIRED, (cutoff, limit)).fetchall())
        if not rows:
            return False
        answers = await self._writer.append(
            [Entry(workspace, job_id, (Delete(),), GATEWAY) for workspace, job_id in rows]
        )
        return any(isinstance(answer, Outcome) for answer in answers)

    def _thin(self, db: sqlite3.Connection, which: str, cutoff: int) -> JobKey | None:
        for job, workspace, job_id, last, tended, finished in db.execute(which, (cutoff,)).fetchall():
            rows, everything = _chains(db, job, tended, last)
            gone, rewritten = _sort(db, job, rows, last)
            floor = max((offset for (offset,) in gone), default=0)
            # A live job's newest record is looked at again once it is no longer that.
            done = rows[-1][0] if not everything else last if finished is not None else last - 1
            # Raised before the commit: a page read just after it must not be taken for whole.
            self._extent.floor = max(self._extent.floor, floor)
            raised: list[Statement] = [(_TENDED, [(done, floor, job)]), (_RAISE_FLOOR, [(floor,)])]
            _write(db, [(_WRITE_WHOLE, rewritten), (_DELETE_RECORD, gone), *raised])
            return workspace, job_id
        return None

    def _sweep(self, db: sqlite3.Connection) -> JobKey | None:
        for job, workspace, job_id, last in db.execute(_UNSWEPT).fetchall():
            offsets = db.execute(_SWEEPABLE, (job, last, STEP)).fetchall()
            done: list[Statement] = [(_TENDED, [(last, 0, job)]), (_DELETE_LABELS, [(job,)])]
            _write(db, [(_DELETE_RECORD, offsets), *(done if len(offsets) < STEP else [])])
            return workspace, job_id
        return None

    def _bury(self, db: sqlite3.Connection, cutoff: int) -> JobKey | None:
        for job, workspace, job_id, last, time in db.execute(_BURIABLE).fetchall():
            if time > cutoff:
                return None
            tables: list[Statement] = [
                (sql, [(job,)]) for sql in (_DELETE_KEYS, _DELETE_LABELS, _DELETE_IDENTITIES, _DELETE_JOB)
            ]
            self._extent.floor = max(self._extent.floor, last)
            _write(db, [(_DELETE_RECORD, [(last,)]), *tables, (_RAISE_FLOOR, [(last,)])])
            return workspace, job_id
        return None


def _chains(db: sqlite3.Connection, job: int, after: int, last: int) -> tuple[list[Row], bool]:
    """Records of a job for one step, and whether they are all. They end where the next one stands whole: a chain that
    was cut in its midst could not be folded until the next step, nor after a crash in between."""
    rows: list[Row] = []
    size = 0
    with closing(db.execute(_RECORDS, (job, after, last))) as found:
        for row in found:
            if row[2] is None and (len(rows) >= STEP or size >= STEP_BYTES):
                return rows, False
            rows.append(row)
            size += len(row[3])
    return rows, True


def _sort(db: sqlite3.Connection, job: int, rows: Sequence[Row], last: int) -> tuple[list[Row], list[Row]]:
    """What goes, and what has to be written whole since it was folded from it. The job's newest record is its document,
    and stays."""
    gone: list[Row] = []
    rewritten: list[Row] = []
    document: Json = None
    broken = False  # what the next ones are folded from goes
    for offset, event, base, body in rows:
        if base is None or document is None:
            document = orjson.loads(whole(db, job, offset, base, body))
        else:
            document = patch(document, orjson.loads(body))
        goes = event == PROGRESS and offset != last
        broken = goes or (broken and base is not None)
        if goes:
            gone.append((offset,))
        elif broken:
            rewritten.append((dumps(document), offset))
    return gone, rewritten


def _write(db: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    writes = [statement for statement in statements if statement[1]]
    db.executemany(TRANSACTION, [("BEGIN IMMEDIATE", [()]), *writes, ("COMMIT", [()])])


def _first(db: sqlite3.Connection, sql: str) -> Any:
    return db.execute(sql).fetchone()[0]


def before(now_ms: int, seconds: float) -> int:
    """The moment `seconds` before now, in ms; long before any log for 0, which keeps for good."""
    return now_ms - int(seconds * 1000) if seconds > 0 else -_FOREVER
