"""Reading the log: pages of records, jobs as they stand, lists.

Law: what one call reads it reads at one moment, in one read transaction, and no such transaction outlives its call: a
reader that held one while its socket drained would keep the WAL file from being checkpointed. So all of a call's work
runs in the connection's thread, and compaction can never come between a record and what it is folded from.
"""

from __future__ import annotations

import asyncio
import heapq
import sqlite3
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from itertools import islice
from typing import Any, TypeVar

import aiosqlite
import orjson

from gateway.errors import Internal
from gateway.eventlog.base import JobPage, RecordPage, Standing
from gateway.eventlog.codec import patch, unfold
from gateway.eventlog.hot import Chain, Extent, HotJob
from gateway.eventlog.queries import BY_IDENTITIES, BY_IDENTITY, plans
from gateway.eventlog.schema import HEAD, call, settle
from gateway.job import Job
from gateway.record import Filter, Record, dumps, from_json
from gateway.values import Json

READERS = 2  # connections, a thread each: one long replay does not hold up the reads of a cold status
PAGE_BYTES = 1 * 2**20  # of documents in one page; bounds what one reader that catches up holds in memory

_ROW = "SELECT r.offset, r.event, r.by, r.job, r.base, r.was, r.body, j.workspace, j.id FROM records AS r "
_JOB = "CROSS JOIN jobs AS j ON j.job = r.job "
_KEPT = "(j.deleted = 0 OR r.event = 'deleted')"  # a deleted job's history is not shown
_READ = f"{_ROW}{_JOB} WHERE r.offset > ? AND r.offset <= ? AND {_KEPT} ORDER BY r.offset LIMIT ?"
_READ_JOB = (
    f"{_ROW} INDEXED BY records_by_job {_JOB} "
    f"WHERE r.job = ? AND r.offset > ? AND r.offset <= ? AND {_KEPT} ORDER BY r.offset LIMIT ?"
)
_READ_ONE = f"{_ROW}{_JOB} WHERE r.offset = ? AND {_KEPT}"
_OFFSETS = "SELECT offset FROM records WHERE job = ? AND offset > ? AND offset <= ? ORDER BY offset"
_NEWEST = f"{_ROW} INDEXED BY records_by_job {_JOB} WHERE r.job = ? AND {_KEPT}"
_AT_OFFSET = f"{_NEWEST} AND r.offset <= ? ORDER BY r.offset DESC LIMIT 1"
_AT_TIME = f"{_NEWEST} AND r.time <= ? ORDER BY r.offset DESC LIMIT 1"
_CHAIN = "SELECT offset, base, body FROM records WHERE job = ? AND offset BETWEEN ? AND ? ORDER BY offset"
_LEASED = (
    "SELECT j.job, r.offset, r.base, r.body FROM jobs AS j INDEXED BY jobs_with_lease "
    "CROSS JOIN records AS r ON r.offset = j.last WHERE j.lease IS NOT NULL AND j.finished IS NULL"
)
Row = Sequence[Any]
_Found = tuple[HotJob, int] | None
_Asked = tuple[str, str, asyncio.Future[_Found]]
Rows = sqlite3.Cursor | Generator[Row, None, None]
_T = TypeVar("_T")


class Reading:
    """The readers of a database file and what they are asked for."""

    def __init__(self, connections: Sequence[aiosqlite.Connection], extent: Extent) -> None:
        self._extent = extent
        self._connections = tuple(connections)
        self._idle: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        for connection in connections:
            self._idle.put_nowait(connection)
        self._asked: list[_Asked] = []
        self._serving: asyncio.Task[None] | None = None  # for those who ask now

    async def close(self) -> None:
        """Close the connections; reads under way are finished first."""
        for connection in self._connections:
            await connection.close()

    async def records(
        self, rows: Sequence[int] | None, after: int, until: int, match: Filter, limit: int
    ) -> RecordPage:
        """A page of records of the jobs in `rows` (all jobs where that is None) that match."""

        def page(db: sqlite3.Connection) -> RecordPage:
            if rows is None:
                return self._page(db, db.execute(_READ, (after, until, limit)), until, match, limit)
            if len(rows) == 1:
                return self._page(db, db.execute(_READ_JOB, (rows[0], after, until, limit)), until, match, limit)
            return self._page(db, _of_jobs(db, rows, after, until), until, match, limit)

        return await self.read(page)

    async def at(self, row: int, moment: int, by_time: bool) -> Record | None:
        """The newest record of a job at or before an offset, or a time in ms."""

        def newest(db: sqlite3.Connection) -> Record | None:
            for found in db.execute(_AT_TIME if by_time else _AT_OFFSET, (row, moment)).fetchall():
                return self._record(found, whole(db, found[3], found[0], found[4], found[6]))
            return None

        return await self.read(newest)

    async def standing(self, workspace: str, job_id: str) -> tuple[HotJob, int] | None:
        """A job by id or alias, and the head of that read.

        Those who ask while no connection is free are served together: the way to its thread and back takes longer than
        the read.
        """
        answer: asyncio.Future[_Found] = asyncio.get_running_loop().create_future()
        self._asked.append((workspace, job_id, answer))
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        return await answer

    async def _serve(self) -> None:
        """Answer all who have asked by the time that a connection is free. What fails is told to each of them."""
        async with self._connection() as connection:
            asked, self._asked, self._serving = self._asked, [], None
            try:
                found = await call(connection, lambda db: _at_one_moment(db, lambda db: _standings(db, asked)))
            except Exception as error:
                for _, _, answer in asked:
                    settle(answer, error=error)
            else:
                for (_, _, answer), one in zip(asked, found, strict=True):
                    if isinstance(one, Exception):
                        settle(answer, error=one)
                    else:
                        settle(answer, one)

    async def rows(self, keys: Iterable[tuple[str, str]]) -> list[int]:
        """The rows of the jobs that exist, each once."""
        wanted = orjson.dumps(list(keys)).decode()
        return await self.read(lambda db: sorted({row[0] for row in db.execute(BY_IDENTITIES, (wanted,))}))

    async def jobs(self, match: Filter, before: int, limit: int) -> JobPage:
        """The newest jobs that match and whose first record lies before an offset; looks for one more than `limit`."""

        def listed(db: sqlite3.Connection) -> tuple[list[Standing], int]:
            return _listed(db, match, before, limit + 1), db.execute(HEAD).fetchone()[0]

        standings, head = await self.read(listed)
        shown = standings[:limit]
        more = self._extent.position(shown[-1].first) if len(standings) > limit else None
        return JobPage(shown, more, head, len(standings))

    async def leased(self) -> list[Job]:
        """Unfinished jobs that have a lease."""
        return await self.read(lambda db: [_job(whole(db, *row)) for row in db.execute(_LEASED).fetchall()])

    async def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What `work` finds at one moment, in the thread of a connection."""
        async with self._connection() as connection:
            return await call(connection, lambda db: _at_one_moment(db, work))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        connection = await self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put_nowait(connection)

    def _page(self, db: sqlite3.Connection, rows: Rows, until: int, match: Filter, limit: int) -> RecordPage:
        with closing(rows):  # a statement that is not read to its end would keep the transaction open
            return self._matching(db, rows, until, match, limit)

    def _matching(self, db: sqlite3.Connection, rows: Rows, until: int, match: Filter, limit: int) -> RecordPage:
        records: list[Record] = []
        folded: dict[int, Json] = {}  # the document of a job's last record in this page: bytes or, once folded, parsed
        size, all_match = 0, match == Filter()
        for count, row in enumerate(rows, start=1):
            offset, job, base, body = row[0], row[3], row[4], row[6]
            if base is None:
                folded[job] = document = body
            elif job in folded:
                before = folded[job]
                folded[job] = patch(orjson.loads(before) if isinstance(before, bytes) else before, orjson.loads(body))
                document = dumps(folded[job])
            else:
                folded[job] = document = whole(db, job, offset, base, body)
            record = self._record(row, document)
            if all_match or match.matches(record):
                records.append(record)
                size += len(document)
            if size > PAGE_BYTES or count == limit:
                return RecordPage(records, offset)
        return RecordPage(records, until)

    def _record(self, row: Row, document: bytes) -> Record:
        was = None if row[5] is None else orjson.loads(row[5])
        return Record(row[0], self._extent.position(row[0]), row[1], row[2], (row[7], row[8]), document, was=was)


def _at_one_moment(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    db.execute("BEGIN")
    try:
        return work(db)
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _of_jobs(db: sqlite3.Connection, jobs: Sequence[int], after: int, until: int) -> Generator[Row, None, None]:
    """Records of several jobs in order; the index of each is read no further than the page reaches."""
    with ExitStack() as stack:
        each = [stack.enter_context(closing(db.execute(_OFFSETS, (job, after, until)))) for job in jobs]
        for (offset,) in heapq.merge(*each):
            yield from db.execute(_READ_ONE, (offset,)).fetchall()


def _standings(db: sqlite3.Connection, asked: Sequence[_Asked]) -> list[_Found | Exception]:
    return [_standing(db, workspace, name) for workspace, name, _ in asked]


def _standing(db: sqlite3.Connection, workspace: str, name: str) -> _Found | Exception:
    """A job, or what went wrong with it: those who ask at the same time have no part in that."""
    try:
        row = db.execute(BY_IDENTITY, (workspace, name)).fetchone()
        return None if row is None else (hot_job(db, row), row[9])
    except Exception as error:
        return error


def _listed(db: sqlite3.Connection, match: Filter, before: int, limit: int) -> list[Standing]:
    found: list[Row] = []
    if match.jobs:
        named = {row[0]: row for row in db.execute(BY_IDENTITIES, (orjson.dumps(sorted(match.jobs)).decode(),))}
        found += [row for row in named.values() if not row[6] and row[3] < before]
    else:
        for sql, parameters in plans(match, before, limit):
            found += db.execute(sql, parameters)
    found.sort(key=lambda row: row[3], reverse=True)
    if not match.jobs:
        return [hot_job(db, row) for row in found[:limit]]
    standings = (hot_job(db, row) for row in found)
    return list(islice((standing for standing in standings if match.matches_job(standing.job)), limit))


def hot_job(db: sqlite3.Connection, row: Row) -> HotJob:
    """A job as it stands from a row of one of `queries`' statements."""
    job, last, base = row[0], row[4], row[7]
    bodies = _bodies(db, job, last, base, row[8])
    document = unfold(bodies)
    # Known from here on, so that a large job which is seldom heard of is not written whole each time.
    chain = Chain(last if base is None else base, len(bodies) - 1, sum(map(len, bodies[1:])))
    deleted = bool(row[6])
    return HotJob(_job(document), document, row[3], last, row[5], deleted, row=job, chain=chain, digest=row[10])


def whole(db: sqlite3.Connection, job: int, offset: int, base: int | None, body: bytes) -> bytes:
    """The document at a record, folded where its body is a change."""
    return unfold(_bodies(db, job, offset, base, body))


def _bodies(db: sqlite3.Connection, job: int, offset: int, base: int | None, body: bytes) -> list[bytes]:
    """A whole body and the changes that follow it, up to a record."""
    if base is None:
        return [body]
    chain = db.execute(_CHAIN, (job, base, offset)).fetchall()
    ends = [(chain[0][0], chain[-1][0])] if chain else []
    if ends != [(base, offset)] or [row[1] for row in chain] != [None] + [base] * (len(chain) - 1):
        raise Internal(f"the record at offset {offset} can't be folded")
    return [row[2] for row in chain]


def _job(document: bytes) -> Job:
    return from_json(orjson.loads(document))
