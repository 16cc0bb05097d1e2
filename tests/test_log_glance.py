"""A look at one job in the loop's own thread: it tells what the readers in their threads would tell, or nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import Unavailable
from gateway.eventlog import glance
from gateway.eventlog.glance import Glance
from gateway.eventlog.schema import open_reader_here
from gateway.eventlog.sqlite import SqliteLog
from gateway.job import Delete
from gateway.record import alias_of
from tests.logs import Logbook, a_book, a_large_job


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Logbook]:
    """An SQLite log."""
    async with a_book(tmp_path) as book:
        at_leisure(book.log)
        yield book


def at_leisure(log: SqliteLog) -> None:
    """Let no look of this log count as slow, however busy the machine is."""
    log._glance._clock, log._glance._owed_until = lambda: 0.0, 0.0


class Disk:
    """A clock in seconds that stands but while a job is read: that takes as long as `slowness` says. SQLite asks for
    the length of each body that it comes to, and this is who answers."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.now, self.slowness, self.reads = 1000.0, 0.0, 0
        db.create_function("length", 1, self._length)

    def __call__(self) -> float:
        return self.now

    def _length(self, body: bytes) -> int:
        self.reads += 1
        self.now += self.slowness
        return len(body)


@pytest.fixture
async def db(book: Logbook) -> AsyncIterator[sqlite3.Connection]:
    """A connection of this thread to a log that holds job `a`."""
    await book.say(create=True, message="m")
    with closing(open_reader_here(str(book.path))) as db:
        yield db


@pytest.fixture
def disk(db: sqlite3.Connection) -> Disk:
    """A disk and a clock that do what the test says."""
    return Disk(db)


async def cold(book: Logbook) -> None:
    """Open the log anew: no job is in memory."""
    await book.reopen()
    at_leisure(book.log)


# What it tells


async def test_it_tells_what_a_reader_in_its_thread_tells(book: Logbook) -> None:
    await book.say(create=True, labels={"k": "v"}, lease=60, name="n", process="p")
    await book.say(state="running", steps=[{"name": "s", "tasks": [{"name": "t"}]}])
    for name in ("a", alias_of("default", "a")):
        await cold(book)
        near = book.log.glance("default", name)
        assert near is not None
        kept = book.log._hot.get("default", "a")
        book.log._hot.clear()
        read = await book.log.standing("default", name)
        assert read is not None
        assert near == read[0]
        assert kept == book.log._hot.get("default", "a")


async def test_what_it_reads_is_kept_in_memory(book: Logbook) -> None:
    await book.say(create=True)
    await cold(book)
    assert book.log.hot("default", "a") is None
    near = book.log.glance("default", "a")
    assert near is not None
    assert book.log.hot("default", "a") is near
    assert book.log.glance("default", "a") is near


async def test_it_sees_what_was_written_since_and_keeps_no_transaction_open(book: Logbook) -> None:
    await book.say(create=True)
    for number in range(3):
        said = await book.say(message=str(number))
        book.log._hot.clear()
        assert book.log.glance("default", "a") == said.standing
    ((busy, _, _),) = await book.log._db.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not busy
    assert book.wal_size() == 0


async def test_it_tells_of_a_tombstone_that_it_is_one(book: Logbook) -> None:
    await book.say(create=True, state="failed")
    await book.say("a", Delete())
    await cold(book)
    near = book.log.glance("default", "a")
    assert near is not None
    assert near.deleted


# What it leaves to others


async def test_no_job_is_told_of_where_there_is_none(book: Logbook) -> None:
    await book.say(create=True)
    await cold(book)
    assert book.log.glance("default", "b") is None
    assert book.log.glance("other", "a") is None
    assert await book.log.standing("default", "b") is None


@pytest.mark.parametrize("folded", [False, True])
async def test_a_large_document_is_left_to_the_threads(book: Logbook, folded: bool) -> None:
    await book.say(create=True, state="running", steps=a_large_job(300))
    if folded:
        await book.say(message="m")
    await cold(book)
    assert book.sql("SELECT base IS NOT NULL FROM records ORDER BY offset DESC LIMIT 1") == [(folded,)]
    assert book.log.glance("default", "a") is None
    read = await book.log.standing("default", "a")
    assert read is not None
    assert len(read[0].document) > glance.MAX_BODY
    assert book.log.glance("default", "a") is read[0]


async def test_a_small_document_that_is_folded_is_left_to_the_threads(
    book: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.eventlog.batch.SMALL", 100)
    await book.say(create=True, state="running")
    await book.say(message="m")
    await cold(book)
    assert book.sql("SELECT base FROM records ORDER BY offset") == [(None,), (1,)]
    assert book.log.glance("default", "a") is None
    read = await book.log.standing("default", "a")
    assert read is not None
    assert read[0].job.message == "m"


async def test_it_can_neither_write_nor_checkpoint(book: Logbook, db: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        db.execute("DELETE FROM records")
    size = book.wal_size()
    with pytest.raises(sqlite3.OperationalError):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert book.wal_size() == size > 0


# A slow disk


async def test_an_odd_slow_read_changes_nothing(disk: Disk, db: sqlite3.Connection) -> None:
    look = Glance(db, disk)
    disk.slowness = glance.CREDIT / glance.SHARE
    assert look("default", "a") is not None
    disk.slowness = 0
    assert look("default", "a") is not None


async def test_slow_reads_take_no_more_than_their_share_of_the_time(disk: Disk, db: sqlite3.Connection) -> None:
    look = Glance(db, disk)
    for disk.slowness in (0.0015, 0.01, 0.2):
        begin, told = disk.now, 0
        for _ in range(100_000):
            told += look("default", "a") is not None
            disk.now += 0.0001
        passed = disk.now - begin
        assert 0 < told * disk.slowness <= (passed + glance.CREDIT) / glance.SHARE + disk.slowness
        assert told < 10_000


async def test_reads_that_are_not_long_are_never_refused(disk: Disk, db: sqlite3.Connection) -> None:
    look = Glance(db, disk)
    disk.slowness = glance.LONG * 0.9
    assert all(look("default", "a") for _ in range(1000))


async def test_a_disk_that_stood_still_is_asked_again_after_a_while(disk: Disk, db: sqlite3.Connection) -> None:
    look = Glance(db, disk)
    disk.slowness = 3600.0
    assert look("default", "a") is not None
    disk.slowness = 0
    reads = disk.reads
    disk.now += glance.MAX_DEBT - glance.CREDIT - 0.01
    assert look("default", "a") is None
    assert disk.reads == reads
    disk.now += 0.02
    assert look("default", "a") is not None


# Trouble


async def test_a_lock_is_not_waited_for(book: Logbook, db: sqlite3.Connection) -> None:
    assert db.execute("PRAGMA busy_timeout").fetchone() == (0,)


async def test_after_an_error_it_does_not_look_for_a_while(disk: Disk, db: sqlite3.Connection) -> None:
    look = Glance(db, disk)
    disk.slowness = 0
    broken = sqlite3.OperationalError("disk I/O error")

    def fail(body: bytes) -> int:
        raise broken

    db.create_function("length", 1, fail)
    assert look("default", "a") is None
    db.create_function("length", 1, disk._length)
    assert look("default", "a") is None
    disk.now += glance.TROUBLE - 0.01
    assert look("default", "a") is None
    assert disk.reads == 0
    disk.now += 0.02
    assert look("default", "a") is not None
    assert not db.in_transaction


async def test_a_job_that_cannot_be_read_is_told_of_by_the_threads(book: Logbook) -> None:
    await book.say(create=True)
    await cold(book)
    await book.log._db.execute_fetchall("UPDATE records SET body = CAST('{' AS BLOB)")
    assert book.log.glance("default", "a") is None
    with pytest.raises(ValueError, match="unexpected end"):
        await book.log.standing("default", "a")


async def test_a_log_that_is_closed_tells_nothing(book: Logbook) -> None:
    await book.say(create=True)
    await cold(book)
    log = book.log
    await book.close()
    assert log.glance("default", "a") is None
    with pytest.raises((Unavailable, ValueError)):
        await log.standing("default", "a")


def delete(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink()


async def test_a_file_that_was_deleted_is_read_on(book: Logbook) -> None:
    said = await book.say(create=True)
    await cold(book)
    await asyncio.to_thread(delete, book.path)
    assert book.log.glance("default", "a") == said.standing
