"""The log in one SQLite file, through aiosqlite: the embedded implementation of `EventLog`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import aiosqlite

from gateway.errors import GatewayError, Unavailable
from gateway.eventlog.base import Entry, JobPage, Outcome, RecordPage, Standing
from gateway.eventlog.glance import Glance
from gateway.eventlog.hot import Extent, Feed, HotJobs
from gateway.eventlog.reading import READERS, Reading
from gateway.eventlog.retention import Retention, Tending
from gateway.eventlog.schema import (
    HEAD,
    FileLock,
    foreign_errors,
    one,
    open_epochs,
    open_reader,
    open_reader_here,
    open_writer,
)
from gateway.eventlog.statements import milliseconds
from gateway.eventlog.writer import Writer
from gateway.job import Job
from gateway.record import MAX_OFFSET, Filter, Position, Record

FOLLOW_PAGE = 512  # records

_FLOOR = "SELECT value FROM meta WHERE name = 'floor'"
_NEWEST = "SELECT coalesce((SELECT time FROM records ORDER BY offset DESC LIMIT 1), 0)"

_T = TypeVar("_T")


class SqliteLog:
    """See `base.EventLog`. Made by `open`; `run` writes and has to be running for `append` to answer."""

    def __init__(
        self,
        *,
        lock: FileLock,
        db: aiosqlite.Connection,
        reading: Reading,
        glance: Glance,
        extent: Extent,
        writer: Writer,
        hot: HotJobs,
        feed: Feed,
    ) -> None:
        self._lock, self._db, self._reading, self._glance = lock, db, reading, glance
        self._extent, self._writer, self._hot, self._feed = extent, writer, hot, feed

    @classmethod
    async def open(
        cls, database: str, *, new_epoch: bool = False, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> SqliteLog:
        """Open a database file, made where it is missing. Raises LogUnusable."""
        lock = FileLock(database)
        opened: list[aiosqlite.Connection] = []
        try:
            db = await open_writer(database)
            opened.append(db)
            with foreign_errors(database):
                epochs = await open_epochs(db, new_epoch)
                extent = Extent(epochs, await one(db, HEAD), await one(db, _FLOOR), await one(db, _NEWEST))
                opened += [await open_reader(database) for _ in range(READERS)]
                glance = Glance(open_reader_here(database))
        except BaseException:
            for connection in opened:
                await connection.close()
            lock.release()
            raise
        hot, feed = HotJobs(), Feed()
        writer = Writer(db, extent, hot, feed.put, clock)
        reading = Reading(opened[1:], extent)
        return cls(lock=lock, db=db, reading=reading, glance=glance, extent=extent, writer=writer, hot=hot, feed=feed)

    async def run(self) -> None:
        """Write until closed."""
        await self._writer.run()

    async def close(self) -> None:
        """Close the file; `run` has returned."""
        self._glance.close()
        await self._reading.close()
        await self._db.close()
        self._lock.release()

    def stop_writing(self) -> None:
        """Take no more entries; `run` returns when what waits is written."""
        self._writer.close()

    @property
    def head(self) -> int:
        """The newest committed offset."""
        return self._extent.head

    @property
    def floor(self) -> int:
        """Records at or before this offset may have been compacted."""
        return self._extent.floor

    @property
    def trouble(self) -> str | None:
        """Why the last transaction failed, if it did."""
        return self._writer.trouble

    def position(self, offset: int) -> str:
        """The position of an offset."""
        return self._extent.position(offset)

    def offset(self, position: Position) -> int:
        """The offset of a position of this log. Raises Unresumable."""
        return self._extent.offset(position)

    async def append(self, entries: Sequence[Entry]) -> list[Outcome | GatewayError]:
        """See `base.EventLog.append`."""
        return await self._writer.append(entries)

    def submit(self, entries: Sequence[Entry]) -> asyncio.Future[list[Outcome | GatewayError]]:
        """See `base.EventLog.submit`."""
        return self._writer.submit(entries)

    async def lull(self) -> None:
        """See `base.EventLog.lull`."""
        await self._writer.lull.wait()

    def hot(self, workspace: str, job_id: str) -> Standing | None:
        """The job as it stands, if it was written or read lately."""
        return self._hot.get(workspace, job_id)

    def glance(self, workspace: str, job_id: str) -> Standing | None:
        """See `base.EventLog.glance`."""
        found = self._hot.get(workspace, job_id)
        if found is None:
            found = self._glance(workspace, job_id)
            if found is None:
                return None
            self._hot.put_read(found, self._hot.losses)
        return found

    async def standing(self, workspace: str, job_id: str) -> tuple[Standing, int] | None:
        """The job as it stands, and the head of that read."""
        found = self._hot.get(workspace, job_id)
        if found is not None:
            return found, self._extent.head
        losses = self._hot.losses
        with reading_errors():
            read = await self._reading.standing(workspace, job_id)
        if read is None:
            return None
        self._hot.put_read(read[0], losses)
        return read

    async def floor_of(self, key: tuple[str, str]) -> int | None:
        """See `base.EventLog.floor_of`."""
        with reading_errors():
            read = await self._reading.standing(*key)
        return None if read is None else read[0].floor

    async def read(self, after: int, until: int, match: Filter, limit: int) -> RecordPage:
        """See `base.EventLog.read`."""
        with reading_errors():
            rows = None
            if match.jobs:
                rows = await self._rows(match.jobs)
                if not rows:
                    return RecordPage((), until)
            return await self._reading.records(rows, after, until, match, limit)

    async def at(self, key: tuple[str, str], moment: int | str) -> Record | None:
        """See `base.EventLog.at`."""
        with reading_errors():
            for row in await self._rows([key]):
                if isinstance(moment, int):
                    return await self._reading.at(row, moment, by_time=False)
                return await self._reading.at(row, milliseconds(moment), by_time=True)
        return None

    async def jobs(self, match: Filter, after: int | None, limit: int) -> JobPage:
        """See `base.EventLog.jobs`."""
        with reading_errors():
            return await self._reading.jobs(match, MAX_OFFSET if after is None else after, limit)

    async def look(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What `work` finds in the file at one moment; it reads, and takes little time."""
        with reading_errors():
            return await self._reading.read(work)

    async def leased(self) -> Sequence[Job]:
        """Unfinished jobs that have a lease."""
        with reading_errors():
            return await self._reading.leased()

    async def follow(self, after: int) -> AsyncIterator[RecordPage]:
        """Contiguous pages of records after an offset, as they are committed."""
        while True:
            page = self._feed.after(after)
            if page is None and self._extent.head > after:
                page = await self.read(after, self._extent.head, Filter(), FOLLOW_PAGE)
            if page is None:
                await self._feed.news()
            else:
                after = page.scanned
                yield page

    async def probe(self) -> None:
        """Try whether the file can be written again. Raises Unavailable, LogFull."""
        await self._writer.probe()

    async def tend(self, rules: Retention, now: datetime) -> bool:
        """Do one small piece of the compaction that is due; False when nothing is."""
        return await Tending(self._writer, self._extent, self._hot, rules).step(now)

    async def _rows(self, keys: Sequence[tuple[str, str]] | frozenset[tuple[str, str]]) -> list[int]:
        hot = [self._hot.get(*key) for key in keys]
        if all(hot):
            return [found.row for found in hot if found]
        return await self._reading.rows(keys)


class reading_errors:  # noqa: N801 - reads as the statement it is
    """Map SQLite's errors at reading to Unavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise Unavailable(f"the log can't be read ({error})", retry_after=5) from error
