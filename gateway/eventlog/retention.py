"""Retention and compaction, in small steps beside the traffic.

Law: what a reader may still be owed is never taken away in silence. Before progress records go, the floor of their job
and of the log is raised over them in the same transaction, so that a cursor below is answered with a reset; a record
that was folded from what goes is written whole first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiosqlite
import orjson

from gateway.eventlog.base import Entry
from gateway.eventlog.codec import patch
from gateway.eventlog.hot import Extent, HotJobs
from gateway.eventlog.reading import whole
from gateway.eventlog.schema import TRANSACTION, Statement, one
from gateway.eventlog.writer import Writer
from gateway.job import Delete
from gateway.record import PROGRESS, dumps

STEP = 500  # records a step looks at; it holds the one writer for a few milliseconds
EXPIRE = 100  # jobs deleted in one transaction
GATEWAY = "gateway"  # who wrote the records that no principal asked for

_UNTENDED = (
    "SELECT job, workspace, id, last, tended FROM jobs INDEXED BY jobs_untended "
    "WHERE finished IS NOT NULL AND deleted = 0 AND tended < last AND finished <= ? ORDER BY finished LIMIT 1"
)
_LIVE = (
    "SELECT j.job, j.workspace, j.id, j.last, j.tended FROM jobs AS j INDEXED BY jobs_by_first "
    "WHERE j.deleted = 0 AND j.finished IS NULL AND j.tended < j.last AND EXISTS (SELECT 1 FROM records AS r "
    "WHERE r.job = j.job AND r.offset > j.tended AND r.offset < j.last AND r.event = 'progress') "
    "ORDER BY j.first LIMIT 1"
)
_EXPIRED = (
    "SELECT workspace, id FROM jobs INDEXED BY jobs_finished "
    "WHERE finished IS NOT NULL AND deleted = 0 AND finished <= ? ORDER BY finished LIMIT ?"
)
_UNSWEPT = (
    "SELECT job, last FROM jobs INDEXED BY jobs_unswept WHERE deleted = 1 AND tended < last ORDER BY last LIMIT 1"
)
_SWEEPABLE = "SELECT offset FROM records WHERE job = ? AND offset < ? ORDER BY offset LIMIT ?"
_BURIABLE = (
    "SELECT j.job, j.workspace, j.id, j.last, r.time FROM jobs AS j INDEXED BY jobs_deleted "
    "CROSS JOIN records AS r ON r.offset = j.last WHERE j.deleted = 1 AND j.tended >= j.last ORDER BY j.last LIMIT 1"
)
_RECORDS = (
    "SELECT offset, event, base, body FROM records WHERE job = ? AND offset > ? AND offset <= ? ORDER BY offset LIMIT ?"
)
_WRITE_WHOLE = "UPDATE records SET base = NULL, body = ? WHERE offset = ?"
_DELETE_RECORD = "DELETE FROM records WHERE offset = ?"
_TENDED = "UPDATE jobs SET tended = ?, floor = max(floor, ?) WHERE job = ?"
_RAISE_FLOOR = "UPDATE meta SET value = max(value, ?) WHERE name = 'floor'"
_DELETE_LABELS = "DELETE FROM labels WHERE job = ?"
_DELETE_IDENTITIES = "DELETE FROM identities WHERE job = ?"
_DELETE_KEYS = "DELETE FROM keys WHERE job = ?"
_DELETE_JOB = "DELETE FROM jobs WHERE job = ?"
_COUNT = "SELECT count(*) FROM records"
_FOREVER = 2**62  # ms; later than any job's end


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
        rules = self._rules
        crowded = rules.records > 0 and await self._writer.chore(lambda db: one(db, _COUNT)) > rules.records
        thin_before = _FOREVER if crowded else before(now_ms, rules.progress)
        return (
            await self._run(self._sweep)
            or await self._run(lambda db: self._thin(db, _UNTENDED, (thin_before,)))
            or await self._expire(before(now_ms, rules.age), EXPIRE)
            or await self._run(lambda db: self._bury(db, _FOREVER if crowded else before(now_ms, rules.age)))
            or (crowded and await self._expire(_FOREVER, 1))
            or (crowded and await self._run(lambda db: self._thin(db, _LIVE, ())))
        )

    async def _run(self, work: Callable[[aiosqlite.Connection], Any]) -> bool:
        return bool(await self._writer.chore(work))

    async def _expire(self, cutoff: int, limit: int) -> bool:
        rows = await self._writer.chore(lambda db: db.execute_fetchall(_EXPIRED, (cutoff, limit)))
        entries = [Entry(workspace, job_id, (Delete(),), GATEWAY) for workspace, job_id in rows]
        if entries:
            await self._writer.append(entries)
        return bool(entries)

    async def _thin(self, db: aiosqlite.Connection, which: str, parameters: Sequence[Any]) -> bool:
        for job, workspace, job_id, last, tended in await db.execute_fetchall(which, parameters):
            rows = list(await db.execute_fetchall(_RECORDS, (job, tended, last, STEP + 1)))
            if not rows:
                await self._write(db, [(_TENDED, [(last, 0, job)])])
                return True
            finished = len(rows) <= STEP
            gone, rewritten = await self._sort(db, job, rows, last)
            floor = max((offset for (offset,) in gone), default=0)
            done = last if finished else rows[-2][0]
            # Raised before the commit: a page read just after it must not be taken for whole.
            self._extent.floor = max(self._extent.floor, floor)
            raised: list[Statement] = [(_TENDED, [(done, floor, job)]), (_RAISE_FLOOR, [(floor,)])]
            await self._write(db, [(_WRITE_WHOLE, rewritten), (_DELETE_RECORD, gone), *raised])
            self._hot.forget((workspace, job_id))
            return True
        return False

    async def _sort(
        self, db: aiosqlite.Connection, job: int, rows: Sequence[Any], last: int
    ) -> tuple[list[Any], list[Any]]:
        """What goes, and what has to be written whole since it was folded from it. The row beyond the step is kept, for
        the next step starts from it, and so is the job's newest, which is its document."""
        gone, rewritten = [], []
        document: Any = None
        for number, (offset, event, base, body) in enumerate(rows):
            if base is None:
                document = orjson.loads(body)
            elif document is None:
                document = orjson.loads(await whole(db, job, offset, base, body))
            else:
                document = patch(document, orjson.loads(body))
            if event == PROGRESS and number < STEP and offset != last:
                gone.append((offset,))
            elif base is not None:
                rewritten.append((dumps(document), offset))
        return gone, rewritten

    async def _sweep(self, db: aiosqlite.Connection) -> bool:
        for job, last in await db.execute_fetchall(_UNSWEPT):
            offsets = [tuple(row) for row in await db.execute_fetchall(_SWEEPABLE, (job, last, STEP))]
            done: list[Statement] = [(_TENDED, [(last, 0, job)]), (_DELETE_LABELS, [(job,)])]
            if len(offsets) == STEP:
                done = []
            await self._write(db, [(_DELETE_RECORD, offsets), *done])
            return True
        return False

    async def _bury(self, db: aiosqlite.Connection, cutoff: int) -> bool:
        for job, workspace, job_id, last, time in await db.execute_fetchall(_BURIABLE):
            if time > cutoff:
                return False
            tables: list[Statement] = [
                (sql, [(job,)]) for sql in (_DELETE_KEYS, _DELETE_LABELS, _DELETE_IDENTITIES, _DELETE_JOB)
            ]
            self._extent.floor = max(self._extent.floor, last)
            await self._write(db, [(_DELETE_RECORD, [(last,)]), *tables, (_RAISE_FLOOR, [(last,)])])
            self._hot.forget((workspace, job_id))
            return True
        return False

    @staticmethod
    async def _write(db: aiosqlite.Connection, statements: Sequence[Statement]) -> None:
        writes = [statement for statement in statements if statement[1]]
        await db.executemany(TRANSACTION, [("BEGIN IMMEDIATE", [()]), *writes, ("COMMIT", [()])])


def before(now_ms: int, seconds: float) -> int:
    """The moment `seconds` before now, in ms; long before any log for 0, which keeps for good."""
    return now_ms - int(seconds * 1000) if seconds > 0 else -_FOREVER
