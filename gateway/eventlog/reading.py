"""Reading the log: pages of records, jobs as they stand, lists. Each statement is a read transaction of its own.

Law: no read transaction outlives its call; a reader that held one while its socket drained would keep the WAL file
from being checkpointed. Rows are fetched in bounded pages, whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
import orjson

from gateway.errors import Compacted, Internal
from gateway.eventlog.base import JobPage, RecordPage, Standing
from gateway.eventlog.codec import patch, unfold
from gateway.eventlog.hot import Extent, HotJob
from gateway.eventlog.queries import BY_IDENTITIES, BY_IDENTITY, plans
from gateway.job import Job
from gateway.record import Filter, Record, dumps, from_json
from gateway.values import Json

READERS = 2  # connections, a thread each: one long replay does not hold up the reads of a cold status
PAGE_BYTES = 1 * 2**20  # of documents in one page; bounds what one reader that catches up holds in memory
TRIES = 3  # compaction may rewrite a record between two statements; it does so once

_ROW = "SELECT r.offset, r.event, r.by, r.job, r.base, r.was, r.body, j.workspace, j.id FROM records AS r "
_JOB = "CROSS JOIN jobs AS j ON j.job = r.job "
_KEPT = "AND (j.deleted = 0 OR r.event = 'deleted') ORDER BY r.offset LIMIT ?"  # a deleted job's history is not shown
_READ = f"{_ROW}{_JOB} WHERE r.offset > ? AND r.offset <= ? {_KEPT}"
_READ_JOBS = f"{_ROW}{_JOB} WHERE r.job IN (SELECT value FROM json_each(?)) AND r.offset > ? AND r.offset <= ? {_KEPT}"
_READ_JOB = f"{_ROW} INDEXED BY records_by_job {_JOB} WHERE r.job = ? AND r.offset > ? AND r.offset <= ? {_KEPT}"
_AT_OFFSET = f"{_ROW} INDEXED BY records_by_job {_JOB} WHERE r.job = ? AND r.offset <= ? ORDER BY r.offset DESC LIMIT 1"
_AT_TIME = f"{_ROW} INDEXED BY records_by_job {_JOB} WHERE r.job = ? AND r.time <= ? ORDER BY r.offset DESC LIMIT 1"
_AGAIN = "SELECT base, body FROM records WHERE offset = ?"
_CHAIN = "SELECT offset, base, body FROM records WHERE job = ? AND offset BETWEEN ? AND ? ORDER BY offset"
_LEASED = (
    "SELECT j.job, r.offset, r.base, r.body FROM jobs AS j INDEXED BY jobs_with_lease "
    "CROSS JOIN records AS r ON r.offset = j.last WHERE j.lease IS NOT NULL AND j.finished IS NULL"
)
Rows = Sequence[Any]


class Reading:
    """The readers of a database file and what they are asked for."""

    def __init__(self, connections: Sequence[aiosqlite.Connection], extent: Extent) -> None:
        self._extent = extent
        self._connections = tuple(connections)
        self._idle: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        for connection in connections:
            self._idle.put_nowait(connection)

    async def close(self) -> None:
        """Close the connections; reads under way are finished first."""
        for connection in self._connections:
            await connection.close()

    async def records(
        self, rows: Sequence[int] | None, after: int, until: int, match: Filter, limit: int
    ) -> RecordPage:
        """A page of records of the jobs in `rows` (all jobs where that is None) that match."""
        async with self._connection() as db:
            if rows is None:
                found = await db.execute_fetchall(_READ, (after, until, limit))
            elif len(rows) == 1:
                found = await db.execute_fetchall(_READ_JOB, (rows[0], after, until, limit))
            else:
                found = await db.execute_fetchall(_READ_JOBS, (orjson.dumps(rows).decode(), after, until, limit))
            return await self._page(db, list(found), until, match, limit)

    async def at(self, row: int, moment: int, by_time: bool) -> Record | None:
        """The newest record of a job at or before an offset, or a time in ms."""
        async with self._connection() as db:
            for found in await db.execute_fetchall(_AT_TIME if by_time else _AT_OFFSET, (row, moment)):
                return self._record(found, await whole(db, found[3], found[0], found[4], found[6]))
        return None

    async def standing(self, workspace: str, job_id: str) -> tuple[HotJob, int] | None:
        """A job by id or alias, and the head of that read."""
        async with self._connection() as db:
            for row in await db.execute_fetchall(BY_IDENTITY, (workspace, job_id)):
                return await hot_job(db, row), row[9]
        return None

    async def rows(self, keys: Iterable[tuple[str, str]]) -> list[int]:
        """The rows of the jobs that exist."""
        async with self._connection() as db:
            return [row[0] for row in await db.execute_fetchall(BY_IDENTITIES, (orjson.dumps(list(keys)).decode(),))]

    async def jobs(self, match: Filter, before: int, limit: int) -> JobPage:
        """The newest jobs that match and whose first record lies before an offset; looks for one more than `limit`."""
        head = self._extent.head
        async with self._connection() as db:
            rows = await self._listed(db, match, before, limit + 1)
            for _ in range(TRIES):
                heads = {row[9] for row in rows} or {head}
                if len(heads) == 1:
                    break
                rows = await self._listed(db, match, before, limit + 1)  # a commit came in between: not one moment
            rows.sort(key=lambda row: row[3], reverse=True)
            head = min((row[9] for row in rows), default=head)
            standings = [(await hot_job(db, row)).standing for row in rows[: limit + 1]]
        if match.jobs:
            standings = [standing for standing in standings if match.matches_job(standing.job)]
        shown = standings[:limit]
        more = self._extent.position(shown[-1].first) if len(standings) > limit else None
        return JobPage(shown, more, head, len(standings))

    async def _listed(self, db: aiosqlite.Connection, match: Filter, before: int, limit: int) -> list[Rows]:
        if match.jobs:
            found = await db.execute_fetchall(BY_IDENTITIES, (orjson.dumps(sorted(match.jobs)).decode(),))
            return [row for row in found if not row[6] and row[3] < before]
        rows: list[Rows] = []
        for sql, parameters in plans(match, before, limit):
            rows += await db.execute_fetchall(sql, parameters)
        return rows

    async def leased(self) -> list[Job]:
        """Unfinished jobs that have a lease."""
        async with self._connection() as db:
            rows = await db.execute_fetchall(_LEASED)
            return [from_json(orjson.loads(await whole(db, *row))) for row in rows]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        connection = await self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put_nowait(connection)

    async def _page(
        self, db: aiosqlite.Connection, rows: list[Rows], until: int, match: Filter, limit: int
    ) -> RecordPage:
        records: list[Record] = []
        folded: dict[
            int, Json
        ] = {}  # the document of a job's last record in this page, as bytes or, once folded, parsed
        size = 0
        for row in rows:
            offset, job, base, body = row[0], row[3], row[4], row[6]
            if base is None:
                folded[job] = document = body
            elif job in folded:
                before = folded[job]
                folded[job] = patch(orjson.loads(before) if isinstance(before, bytes) else before, orjson.loads(body))
                document = dumps(folded[job])
            else:
                folded[job] = document = await whole(db, job, offset, base, body)
            record = self._record(row, document)
            if match.matches(record):
                records.append(record)
                size += len(document)
            if size > PAGE_BYTES:
                return RecordPage(records, offset)
        return RecordPage(records, rows[-1][0] if len(rows) == limit else until)

    def _record(self, row: Rows, document: bytes) -> Record:
        was = None if row[5] is None else orjson.loads(row[5])
        return Record(row[0], self._extent.position(row[0]), row[1], row[2], (row[7], row[8]), document, was=was)


async def hot_job(db: aiosqlite.Connection, row: Rows) -> HotJob:
    """A job as it stands from a row of one of `queries`' statements."""
    document = await whole(db, row[0], row[4], row[7], row[8])
    job = from_json(orjson.loads(document))
    return HotJob(Standing(job, document, row[3], row[4], row[5], bool(row[6])), row[0], None, row[10])


async def whole(db: aiosqlite.Connection, job: int, offset: int, base: int | None, body: bytes) -> bytes:
    """The document at a record, folded where its body is a change. Raises Compacted if it has gone in the meantime."""
    for _ in range(TRIES):
        if base is None:
            return body
        chain = list(await db.execute_fetchall(_CHAIN, (job, base, offset)))
        if chain and chain[0][0] == base and chain[0][1] is None and chain[-1][0] == offset:
            return unfold(row[2] for row in chain)
        again = list(await db.execute_fetchall(_AGAIN, (offset,)))
        if not again:
            raise Compacted
        base, body = again[0]
    raise Internal(f"the record at offset {offset} can't be folded")
