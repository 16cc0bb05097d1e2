"""What was acknowledged is on disk: after kill -9, after a torn write, on a full disk, beside other programs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.errors import GatewayError, LogFull, Unavailable
from gateway.eventlog import schema
from gateway.eventlog.base import Outcome
from gateway.job import Delete
from gateway.record import Filter
from tests.log_writer import told
from tests.logs import BOUND, Logbook, a_book, entry, key, opened, what_is_left

PAD = "x" * 20_000  # so that a disk is full after a few reports


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Logbook]:
    """An SQLite log."""
    async with a_book(tmp_path) as book:
        yield book


async def test_the_file_is_written_as_durably_as_sqlite_can(book: Logbook) -> None:
    async def ask(name: str) -> object:
        ((value,),) = await book.log._db.execute_fetchall(f"PRAGMA {name}")
        return value

    assert await ask("journal_mode") == "wal"
    assert await ask("synchronous") == 2
    assert await ask("foreign_keys") == 0
    for reader in book.log._reading._connections:
        for statement in ("DELETE FROM records", "PRAGMA wal_checkpoint(TRUNCATE)"):
            with contextlib.suppress(sqlite3.OperationalError):
                await reader.execute_fetchall(statement)
    assert book.wal_size() > 0, "readers neither write nor checkpoint"


# kill -9


def write_and_be_killed(database: Path, number: int, seconds: float) -> list[str]:
    """Start a writer, kill it at some moment of its work, and give what it had said of its acknowledged records: of 25
    at least."""
    command = [sys.executable, "-m", "tests.log_writer", str(database), str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout is not None
        first = "".join(process.stdout.readline() for _ in range(25))
        time.sleep(seconds)  # the random moment of the kill, which no event could give
        process.kill()
        rest = process.stdout.read()
    return [line for line in (first + rest).splitlines(keepends=True) if line.endswith("\n")]


async def survive(folder: Path, rounds: int) -> None:
    """Every record that was acknowledged in any round is there, and no offset was given twice."""
    database = folder / "status.db"
    acknowledged: dict[str, str] = {}
    for number in range(rounds):
        lines = await asyncio.to_thread(write_and_be_killed, database, number, random.uniform(0, 0.3))
        for line in lines:
            offset, digest = line.split()
            assert acknowledged.setdefault(offset, digest) == digest, f"offset {offset} was given twice"
        async with a_book(folder) as book:
            records = await book.history()
            assert [record.offset for record in records] == list(range(1, book.log.head + 1))
            there = dict(told(record.offset, record.document).split() for record in records)
            assert acknowledged.items() <= there.items()
            newest = {record.job.id: record.job for record in records}
            for job in newest.values():  # acknowledged or not: its producer sends its last report again
                again = await book.say(job.id, create=True, message=job.message, key=key(f"k{job.message}"))
                assert again.replayed
                assert again.standing.job == job
    assert len(acknowledged) > 20 * rounds


async def test_no_acknowledged_report_is_lost_and_no_position_given_twice_by_kill_9(tmp_path: Path) -> None:
    await survive(tmp_path, 5)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_no_acknowledged_report_is_lost_by_many_kills(tmp_path: Path) -> None:
    await survive(tmp_path, 50)


def torn(database: Path, number: int, cut: int) -> Path:
    """What is left when the write-ahead file was written up to some byte, and its rest not or not rightly."""
    left = what_is_left(database, f"torn{number}.db")
    wal = Path(f"{left}-wal")
    data = wal.read_bytes()
    wal.write_bytes(data[:cut] + (b"" if number % 2 else os.urandom(len(data) - cut)))
    return left


async def test_a_torn_write_ahead_file_loses_its_end_and_nothing_else(book: Logbook) -> None:
    sizes, said = [], []
    for number in range(60):
        said.append((await book.say(f"j{number % 7}", create=True, message=str(number))).standing.document)
        sizes.append(book.wal_size())
    choose = random.Random(5)
    for number in range(8):
        cut = choose.randrange(sizes[10], sizes[-1])
        kept = max(count for count, size in enumerate(sizes, start=1) if size <= cut)
        async with opened(torn(book.path, number, cut)) as after:
            found = [record.document for record in await after.history()]
            assert found == said[: len(found)]
            assert len(found) == kept
            assert (await after.say("new", create=True)).standing.last == kept + 1


async def test_an_offset_is_not_given_again_after_the_newest_records_are_gone(book: Logbook) -> None:
    await book.say(create=True, state="failed")
    await book.say("a", Delete())
    book.clock.tick(100)
    await book.tend(age=50)
    assert book.sql("SELECT count(*) FROM records") == [(0,)]
    for _ in range(2):
        await book.reopen()
        assert (book.log.head, book.log.floor) == (2, 2)
    assert (await book.say("b", create=True)).standing.last == 3


# A full disk


class Room:
    """The room for a log: `fill` leaves little of it, `free` gives it back."""

    def __init__(self, book: Logbook, disk: Path | None) -> None:
        self.book, self._disk = book, disk

    async def fill(self) -> None:
        """Leave room for a few reports."""
        if self._disk is None:
            ((pages,),) = await self.book.log._db.execute_fetchall("PRAGMA page_count")
            await self._pages(pages + 50)
            return
        left = os.statvfs(self._disk)
        (self._disk / "ballast").write_bytes(b"x" * (left.f_bavail * left.f_bsize - 300_000))

    async def free(self) -> None:
        """Take away what was in the way."""
        if self._disk is None:
            await self._pages(1_000_000)
        else:
            (self._disk / "ballast").unlink()

    async def _pages(self, most: int) -> None:
        await self.book.log._db.execute_fetchall(f"PRAGMA max_page_count = {most}")


def mounted(folder: Path) -> bool:
    """A small file system of its own in a folder, if this process may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    with contextlib.suppress(OSError):
        return subprocess.run(mount, check=False, capture_output=True).returncode == 0
    return False


def unmount(folder: Path) -> None:
    """The end of `mounted`."""
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=["pages", "disk"])
async def room(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Room]:
    """A log that can fill its disk: a real one where this process may mount it, else SQLite's own limit of pages."""
    own = request.param == "disk" and mounted(tmp_path)
    try:
        async with a_book(tmp_path) as book:
            yield Room(book, tmp_path if own else None)
    finally:
        if own:
            unmount(tmp_path)


async def test_a_full_disk_refuses_producers_while_readers_go_on_until_there_is_room_again(room: Room) -> None:
    book = room.book
    said = [(await book.say(f"j{number}", create=True)).standing.document for number in range(3)]
    await room.fill()
    refused: GatewayError | None = None
    for number in range(100):
        group = [entry(f"j{number}-{part}", create=True, message=PAD) for part in range(3)]
        try:
            answers = await book.append(*group)
        except GatewayError as error:
            refused = error
            break
        said += [answer.standing.document for answer in answers if isinstance(answer, Outcome)]
    assert isinstance(refused, LogFull), "what does not fit is refused"
    assert refused.retry_after is not None
    assert book.is_troubled()
    assert [record.document for record in await book.history()] == said, "no part of what was refused is there"
    for _ in range(3):
        with pytest.raises(LogFull):
            await book.append(*(entry(f"more-{part}", create=True, message=PAD) for part in range(30)))
    assert len((await book.log.jobs(Filter(), None, 1000)).standings) == len(said)
    assert await book.log.standing("default", "more-1") is None
    await room.free()
    await book.log.probe()
    assert not book.is_troubled()
    said.append((await book.say("j1", message=PAD)).standing.document)
    assert [record.document for record in await book.history()] == said
    assert [record.offset for record in await book.history()] == list(range(1, len(said) + 1))
    await book.reopen()
    assert [record.document for record in await book.history()] == said


# Locked by others


@contextmanager
def another_program_writes(database: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the right to write; it lets go when its stdin is closed."""
    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "db.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read(); db.execute('ROLLBACK')"
    )
    command = [sys.executable, "-c", program, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()
        process.wait(BOUND)


async def test_a_report_waits_for_another_program_that_writes(book: Logbook) -> None:
    await book.say(create=True)
    with another_program_writes(book.path) as other:
        waiting = asyncio.create_task(book.say(message="m", key=key("k")))
        cold = asyncio.create_task(book.say("b", create=True))
        assert len(await book.history()) == 1
        assert not waiting.done()
        assert other.stdin is not None
        other.stdin.close()
        assert (await waiting).made
        assert (await cold).made
    assert not book.is_troubled()


async def test_a_report_is_refused_when_another_program_writes_for_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_MS", 100)
    async with a_book(tmp_path) as book:
        await book.say(create=True)
        await book.append(entry("done", create=True), entry("done", message="m"), entry("done", state="failed"))
        book.clock.tick(10)
        with another_program_writes(book.path):
            for refused in (entry(message="m"), entry(message="m", key=key("k")), entry("b", create=True)):
                with pytest.raises(Unavailable) as caught:
                    await book.take(refused)
                assert caught.value.retry_after is not None
            with pytest.raises(Unavailable):
                await book.log.probe()
            with pytest.raises(Unavailable):
                await book.tend(progress=1)
            assert book.is_troubled()
            assert len(await book.history()) == 4
        await book.log.probe()
        assert not book.is_troubled()
        assert (await book.say(message="m", key=key("k"))).standing.job.version == 2
        assert (await book.say("b", create=True)).made
        assert await book.tend(progress=1) == 1
