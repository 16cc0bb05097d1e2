"""A real log for tests: opened, written, crashed and opened again, on a clock that stands where the test says."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError
from gateway.eventlog.base import Entry, Key, Outcome, RecordPage
from gateway.eventlog.retention import Retention
from gateway.eventlog.sqlite import SqliteLog
from gateway.job import Change
from gateway.record import Filter, Record
from gateway.report import Identity, parse_report
from tests.jobs import START

BOUND = 60.0  # seconds that anything here may take
EVERYTHING = Filter()


class Clock:
    """The log's clock. It stands until it is told to move."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def tick(self, seconds: float = 1.0) -> None:
        """Move on, or back."""
        self.now += timedelta(seconds=seconds)


def key(name: str, digest: bytes = b"1", scope: str = "job") -> Key:
    """An idempotency key of a request that `digest` stands for."""
    return Key(scope, name, digest)


def entry(
    job: str = "a",
    *changes: Change,
    create: bool = False,
    workspace: str = "default",
    fresh: bool = False,
    digest: bytes | None = None,
    name: str | None = None,
    process: str | None = None,
    key: Key | None = None,
    expect: str | None = None,
    by: str = "anonymous",
    **said: Any,
) -> Entry:
    """What is to be appended about a job: a report of the members, or other changes. With `create` or `fresh` the job
    is created by it, in the first case only if it is not known."""
    identity = Identity(job, workspace, name, process) if create or fresh else None
    return Entry(
        workspace,
        job,
        changes or (parse_report(said),),
        by,
        identity=identity,
        fresh=fresh,
        digest=digest,
        key=key,
        expect=expect,
    )


class Logbook:
    """A log that is open and written."""

    log: SqliteLog

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, Clock()
        self.writing: asyncio.Task[None] | None = None

    async def open(self, new_epoch: bool = False) -> None:
        """Open the file and begin to write it."""
        self.log = await SqliteLog.open(str(self.path), new_epoch=new_epoch, clock=self.clock)
        self.writing = asyncio.create_task(self.log.run())

    async def close(self) -> None:
        """Write what waits, and close the file; harmless if it is closed."""
        if self.writing is not None:
            writing, self.writing = self.writing, None
            self.log.stop_writing()
            done, _ = await asyncio.wait([writing], timeout=BOUND)
            await self.log.close()
            assert done, "the log never came to the end of what waited"
            if not writing.cancelled():
                writing.result()

    async def reopen(self, new_epoch: bool = False) -> None:
        """Close in order, and open again."""
        await self.close()
        await self.open(new_epoch)

    async def crash(self) -> None:
        """Open what a killed process would leave: the files as they are now, and nothing that is in memory."""
        left = what_is_left(self.path, f"{self.path.stem}+{self.path.suffix}")
        await self.close()
        self.path = left
        await self.open()

    async def append(self, *entries: Entry) -> list[Outcome | GatewayError]:
        """Append entries together, within the bound."""
        async with asyncio.timeout(BOUND):
            return await self.log.append(entries)

    async def take(self, entry: Entry) -> Outcome:
        """Append one entry; a refusal is raised."""
        (answer,) = await self.append(entry)
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def say(self, job: str = "a", *changes: Change, **more: Any) -> Outcome:
        """As `entry`, appended alone; a refusal is raised."""
        return await self.take(entry(job, *changes, **more))

    async def history(self, match: Filter = EVERYTHING, limit: int = 1000, after: int = 0) -> list[Record]:
        """All records that match, in pages of `limit`."""
        found: list[Record] = []
        until = self.log.head
        while after < until:
            page = await self.log.read(after, until, match, limit)
            assert after < page.scanned <= until
            found += page.records
            after = page.scanned
        return found

    async def tend(self, progress: float = 0, age: float = 0, records: int = 0) -> int:
        """Compact by these rules until nothing is due; how many steps that took."""
        for steps in range(10_000):
            if not await self.log.tend(Retention(progress, age, records), self.clock.now):
                return steps
        raise AssertionError("compaction never ends")

    def is_troubled(self) -> bool:
        """Whether the last transaction failed."""
        return self.log.trouble is not None

    def wal_size(self) -> int:
        """Bytes of the write-ahead file."""
        return Path(f"{self.path}-wal").stat().st_size

    def sql(self, query: str, *parameters: Any) -> list[Any]:
        """What the file holds, as another program sees it."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(query, parameters).fetchall()


def what_is_left(database: Path, name: str) -> Path:
    """A copy of a log's files as they are now: the index of the WAL file is memory, and dies with its process."""
    left = database.with_name(name)
    for suffix in ("", "-wal"):
        shutil.copy(f"{database}{suffix}", f"{left}{suffix}")
    return left


@asynccontextmanager
async def opened(database: Path, new_epoch: bool = False) -> AsyncIterator[Logbook]:
    """A log in a file; closed at the end, since a connection that stays open would keep the process from ending."""
    book = Logbook(database)
    await book.open(new_epoch)
    try:
        yield book
    finally:
        await book.close()


def a_book(folder: Path) -> AbstractAsyncContextManager[Logbook]:
    """A log in a folder; closed at the end."""
    return opened(folder / "status.db")


async def pages(book: Logbook, after: int, until: int) -> list[RecordPage]:
    """What the follower gets from an offset on, until it has reached another."""
    found: list[RecordPage] = []
    async with asyncio.timeout(BOUND):
        async for page in book.log.follow(after):
            found.append(page)
            if page.scanned >= until:
                break
    return found


def documents(records: Sequence[Record]) -> dict[int, bytes]:
    """Their documents by offset."""
    return {record.offset: record.document for record in records}


def a_large_job(tasks: int = 100) -> list[dict[str, Any]]:
    """Steps of a job whose document is too large to stand whole in every record."""
    return [
        {
            "name": f"step-{number}",
            "state": "pending",
            "tasks": [{"name": f"task-{number}-{task}", "state": "pending"} for task in range(9)],
        }
        for number in range(tasks // 10)
    ]


BOOKS = {"sqlite": a_book}  # by implementation of `EventLog`; the contract's tests run over each
