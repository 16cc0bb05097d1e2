"""A copy of a log is another log from the copy's end on: its cursors and the original's never mix."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Protocol

import pytest

from gateway.errors import LogUnusable
from gateway.eventlog.backup import backup
from gateway.eventlog.base import Unresumable
from gateway.record import Position
from tests.logs import BOUND, Logbook, a_book, entry, key, opened, what_is_left


class Opener(Protocol):
    def __call__(self, path: Path, new_epoch: bool = False) -> Awaitable[Logbook]: ...


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Logbook]:
    """An SQLite log with ten records."""
    async with a_book(tmp_path) as book:
        await book.append(*(entry(f"j{number}", create=True) for number in range(10)))
        yield book


@pytest.fixture
async def another() -> AsyncIterator[Opener]:
    """Opens further logs, which are closed at the end."""
    async with AsyncExitStack() as stack:
        yield lambda path, new_epoch=False: stack.enter_async_context(opened(path, new_epoch))


def epoch_at(book: Logbook, offset: int) -> str:
    return Position.parse(book.log.position(offset)).epoch


def where(book: Logbook, cursor: str) -> int | str:
    """The offset from which a cursor is resumed, or why it can't be."""
    try:
        return book.log.offset(Position.parse(cursor))
    except Unresumable as error:
        return error.reason


async def test_cursors_of_the_original_are_good_up_to_the_copys_end(
    book: Logbook, tmp_path: Path, another: Opener
) -> None:
    await asyncio.to_thread(backup, str(book.path), str(tmp_path / "copy.db"))
    originals = [(await book.say("j1", message=str(number))).standing.job.position for number in range(3)]
    copy = await another(tmp_path / "copy.db")
    assert copy.log.head == 10
    copies = [(await copy.say("j1", message=f"copy {number}")).standing.job.position for number in range(3)]
    assert set(originals).isdisjoint(copies)
    for offset in range(11):
        assert where(copy, book.log.position(offset)) == offset
        assert copy.log.position(offset) == book.log.position(offset)
    assert [where(copy, cursor) for cursor in originals] == ["ahead"] * 3
    assert [where(book, cursor) for cursor in copies] == ["foreign"] * 3
    assert [where(copy, cursor) for cursor in copies] == [11, 12, 13]
    before, after = await book.history(), await copy.history()
    assert [record.document for record in before[:10]] == [record.document for record in after[:10]]
    epoch = epoch_at(copy, 14)
    await copy.reopen()
    assert epoch_at(copy, 14) == epoch
    assert [where(copy, cursor) for cursor in copies] == [11, 12, 13], "only the first opening starts an epoch"


async def test_a_copy_of_a_copy_is_a_third_log(book: Logbook, tmp_path: Path, another: Opener) -> None:
    await asyncio.to_thread(backup, str(book.path), str(tmp_path / "one.db"))
    await asyncio.to_thread(backup, str(tmp_path / "one.db"), str(tmp_path / "unopened.db"))
    one = await another(tmp_path / "one.db")
    said = (await one.say("j1", message="one")).standing.job.position
    await asyncio.to_thread(backup, str(one.path), str(tmp_path / "two.db"))
    later = (await one.say("j1", message="later")).standing.job.position
    two, unopened = await another(tmp_path / "two.db"), await another(tmp_path / "unopened.db")
    assert (where(two, said), where(two, later)) == (11, "ahead")
    assert (where(unopened, said), where(unopened, book.log.position(10))) == ("foreign", 10)
    assert len({epoch_at(log, 10_000) for log in (book, one, two, unopened)}) == 4


async def test_a_plain_copy_gets_a_new_epoch_when_it_is_asked_for(book: Logbook, another: Opener) -> None:
    copy = await another(what_is_left(book.path, "plain.db"), new_epoch=True)
    beyond = (await book.say("j1", message="beyond")).standing.job.position
    assert where(copy, beyond) == "ahead"
    assert where(copy, book.log.position(10)) == 10
    assert (await copy.say("j1", message="x")).standing.job.position != beyond
    await copy.reopen()
    assert len({epoch_at(copy, 10), epoch_at(copy, 11)}) == 2


async def test_a_log_that_is_only_closed_and_opened_keeps_its_epoch(book: Logbook) -> None:
    epoch = epoch_at(book, 11)
    await book.reopen()
    assert epoch_at(book, 11) == epoch
    await book.crash()
    assert epoch_at(book, 11) == epoch


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_epochs_without_a_record_leave_no_trace_in_the_old_ones(book: Logbook, times: int) -> None:
    cursors = {offset: book.log.position(offset) for offset in range(11)}
    for _ in range(times):
        await book.reopen(new_epoch=True)
        assert {offset: where(book, cursor) for offset, cursor in cursors.items()} == {n: n for n in range(11)}
    said = await book.say("j1", message="x")
    assert said.standing.job.position.partition("-")[0] != epoch_at(book, 10)
    assert where(book, said.standing.job.position) == 11


# Copies


async def test_a_copy_made_while_reports_are_written_is_whole(book: Logbook, tmp_path: Path, another: Opener) -> None:
    done = False
    said: list[bytes] = [record.document for record in await book.history()]

    async def produce() -> None:
        number = 0
        while not done:
            number += 1
            answers = await book.append(*(entry(f"j{job}", message=f"{number} {'x' * 500}") for job in range(10)))
            assert len(answers) == 10
        said.extend(record.document for record in await book.history(after=10))

    producing = asyncio.create_task(produce())
    async with asyncio.timeout(BOUND):
        for number in range(5):
            ahead = book.log.head
            while book.log.head < ahead + 100:
                await asyncio.sleep(0)
            await asyncio.to_thread(backup, str(book.path), str(tmp_path / f"copy{number}.db"))
    done = True
    await producing
    ends = []
    for number in range(5):
        with closing(sqlite3.connect(tmp_path / f"copy{number}.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        copy = await another(tmp_path / f"copy{number}.db")
        ends.append(copy.log.head)
        assert [record.document for record in await copy.history()] == said[: copy.log.head]
        assert (await copy.say("j1", message="goes on")).made
    assert ends == sorted(set(ends))
    assert ends[-1] <= book.log.head


async def test_a_copy_of_a_log_that_nobody_writes_is_whole(book: Logbook, tmp_path: Path, another: Opener) -> None:
    await book.say("j1", message="m", key=key("k"))
    killed = what_is_left(book.path, "killed.db")
    await book.close()
    for number, path in enumerate((book.path, killed)):
        backup(str(path), str(tmp_path / f"copy{number}.db"))
        copy = await another(tmp_path / f"copy{number}.db")
        assert (await copy.say("j1", message="m", key=key("k"))).replayed
        assert copy.log.head == 11
    await book.open()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_copy_is_never_made_over_something_or_left_half(book: Logbook, tmp_path: Path) -> None:
    there = tmp_path / "there.db"
    there.write_text("mine")
    with pytest.raises(LogUnusable, match="exists already"):
        backup(str(book.path), str(there))
    assert there.read_text() == "mine"
    with pytest.raises(LogUnusable, match="does not exist"):
        backup(str(tmp_path / "nothing.db"), str(tmp_path / "copy.db"))
    with pytest.raises(LogUnusable, match="nowhere"):
        backup(str(book.path), str(tmp_path / "nowhere" / "copy.db"))
    assert names(tmp_path) <= {"status.db", "status.db-wal", "status.db-shm", "status.db.lock", "there.db"}


async def test_what_is_no_log_or_is_corrupt_is_not_copied(book: Logbook, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db:
        db.executescript("CREATE TABLE contacts (name TEXT)")
    with pytest.raises(LogUnusable, match=r"other\.db is not a log"):
        backup(str(other), str(target))
    other.write_text("no database " * 1000)
    with pytest.raises(LogUnusable, match=r"other\.db is not an SQLite database"):
        backup(str(other), str(target))
    await book.close()
    data = bytearray(book.path.read_bytes())
    data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    other.write_bytes(data)
    with pytest.raises(LogUnusable, match=r"other\.db is corrupt"):
        backup(str(other), str(target))
    assert not [name for name in names(tmp_path) if name.startswith("copy")]
    await book.open()


async def test_what_an_earlier_copy_left_behind_is_no_hindrance(book: Logbook, tmp_path: Path, another: Opener) -> None:
    part = tmp_path / "copy.db.part"
    part.write_text("left by a copy that was killed")
    await asyncio.to_thread(backup, str(book.path), str(tmp_path / "copy.db"))
    assert not part.exists()
    shutil.copy(tmp_path / "copy.db", tmp_path / "again.db")
    copy = await another(tmp_path / "again.db")
    assert copy.log.head == 10
