"""How the log uses its SQLite file: every statement by an index, one commit for many, a bounded write-ahead file."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Unavailable
from gateway.eventlog import schema, writer
from gateway.eventlog.base import Outcome
from gateway.eventlog.schema import TRANSACTION
from gateway.job import Delete
from gateway.record import Filter
from gateway.report import State
from tests.logs import BOUND, Logbook, a_book, entry, key, pages

# Statements may scan these: they hold only what is looked for, or a request's own values.
FINE = re.compile(
    r"USING INDEX jobs_(with_lease|unswept|deleted|unfinished)|VIRTUAL TABLE|sqlite_sequence|CONSTANT ROW|SCAN v$"
)
COUNT = "SELECT count(*) FROM records"  # of a log that is bounded by it; an index entry a record
TABLES = re.compile(r"(FROM|JOIN|UPDATE|INTO) (jobs|records|labels|keys|identities)\b")


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Logbook]:
    """An SQLite log."""
    async with a_book(tmp_path) as book:
        yield book


@asynccontextmanager
async def watching(book: Logbook) -> AsyncIterator[list[str]]:
    """The statements that run on all connections of the log meanwhile, with their values."""
    seen: list[str] = []
    connections = [book.log._db, *book.log._reading._connections]
    for connection in connections:
        await connection.set_trace_callback(seen.append)
    try:
        yield seen
    finally:
        for connection in connections:
            await connection.set_trace_callback(lambda _: None)


async def read_in_every_way(book: Logbook) -> None:
    """Every list and every read."""
    values: dict[str, Any] = {"workspaces": "default", "states": State.RUNNING, "processes": "p", "names": "n"}
    for chosen, labels in product(product((True, False), repeat=4), ([], [("k", "v")])):
        members = {
            name: frozenset([value]) for (name, value), wanted in zip(values.items(), chosen, strict=True) if wanted
        }
        match = Filter(labels=frozenset(labels), **members)
        assert len((await book.log.jobs(match, 15, 5)).standings) == 5
        assert len((await book.log.read(3, 18, match, 5)).records) == 5
    for jobs in (["j1"], ["j1", "j2"]):
        match = Filter(jobs=frozenset(("default", job) for job in jobs))
        assert len((await book.log.jobs(match, None, 5)).standings) == len(jobs)
        assert len(await book.history(match)) == len(jobs)
    assert await book.log.at(("default", "j1"), 5) is not None
    assert await book.log.at(("default", "j1"), "2999-01-01T00:00:00.000Z") is not None
    assert await book.log.floor_of(("default", "j1")) == 0
    assert await book.log.standing("default", "j9") is not None
    assert len(await book.log.leased()) == 20


async def write_in_every_way(book: Logbook) -> None:
    """Every kind of report, and all that compaction does."""
    for number in range(20):
        for _ in range(2):
            await book.say(f"j{number}", progress=1, labels={"k": "w"}, key=key("k"))
        await book.say(f"j{number}", **({"state": "failed"} if number < 15 else {"progress": number}))
        await book.say(f"j{number}", message="m") if number >= 15 else None
    await book.append(*(entry(f"j{number}", message="together") for number in range(15, 20)))
    await book.say("j0", Delete())
    book.clock.tick(100)
    assert await book.tend(progress=50) > 0
    assert await book.tend(records=3) > 0
    await book.log.probe()


async def test_every_statement_is_led_by_an_index(book: Logbook) -> None:
    await book.append(
        *(
            entry(f"j{number}", create=True, name="n", process="p", state="running", labels={"k": "v"}, lease=9)
            for number in range(20)
        )
    )
    await book.reopen()
    async with watching(book) as seen:
        await read_in_every_way(book)
        await write_in_every_way(book)
    asked = {statement for statement in seen if TABLES.search(statement)} - {COUNT}
    kinds = {re.sub(r"('[^']*'|[0-9]+)", "?", statement) for statement in asked}
    assert len(kinds) > 30, kinds
    for statement in asked:
        for *_, step in book.sql(f"EXPLAIN QUERY PLAN {statement}"):
            assert not step.startswith("SCAN") or FINE.search(step), (step, statement)
            assert "TEMP B-TREE" not in step, (step, statement)


async def test_a_thousand_reports_at_once_take_few_commits(book: Logbook) -> None:
    await book.append(*(entry(f"j{number}", create=True) for number in range(100)))
    async with watching(book) as seen, asyncio.timeout(BOUND):
        await asyncio.gather(*(book.say(f"j{number % 100}", message=str(number)) for number in range(1000)))
    assert 1 <= seen.count("COMMIT") < 20
    assert not [statement for statement in seen if statement.startswith("SELECT")], "all of it is in memory"


async def test_a_read_leaves_no_transaction_open(book: Logbook) -> None:
    await book.append(*(entry(f"j{number}", create=True, state="running", lease=9) for number in range(20)))
    await book.reopen()
    await read_in_every_way_without_lists(book)
    await book.say("j1", message="x" * 1000)
    ((busy, log, checkpointed),) = await book.log._db.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (busy, log, checkpointed) == (0, 0, 0), "a reader would have held the WAL file"


async def read_in_every_way_without_lists(book: Logbook) -> None:
    """Reads that stop before the end of what they could read, several at once."""
    several = Filter(jobs=frozenset(("default", f"j{number}") for number in range(5)))
    await asyncio.gather(
        *(book.log.read(0, 20, match, limit) for match in (Filter(), several) for limit in (1, 3)),
        *(book.log.jobs(Filter(), None, 2) for _ in range(4)),
        book.log.at(("default", "j3"), 20),
    )


async def test_readers_without_a_pause_do_not_let_the_write_ahead_file_grow(
    book: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "WAL_LIMIT", 2 * 2**20)
    monkeypatch.setattr(schema, "CUT_MS", 10_000)  # a busy machine gives each of them longer
    await book.append(*(entry(f"j{number}", create=True) for number in range(50)))
    done = False

    async def replay() -> None:
        while not done:
            await book.history(limit=100)

    readers = [asyncio.create_task(replay()) for _ in range(4)]
    sizes = []
    for number in range(40):
        await book.append(*(entry(f"j{job}", message=f"{number}{'x' * 8000}") for job in range(50)))
        sizes.append(book.wal_size())
    done = True
    await asyncio.gather(*readers)
    assert sum(sizes) > 15e6
    assert max(sizes) < 6e6


async def test_a_reader_that_stays_holds_no_producer_up(book: Logbook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a copy that is being made by another process: the file grows meanwhile, and no more after it."""
    monkeypatch.setattr(schema, "WAL_LIMIT", 100_000)
    await book.say(create=True)
    with closing(sqlite3.connect(book.path, isolation_level=None)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM records").fetchall() == [(1,)]
        async with asyncio.timeout(BOUND):
            for number in range(100):
                assert (await book.say(message=f"{number}{'x' * 20_000}")).made
        assert not book.is_troubled()
        grown = book.wal_size()
        assert grown > 2_000_000
    for number in range(300):
        await book.say(message=f"{number}{'y' * 20_000}")
    assert book.wal_size() < 2 * grown


async def test_an_sqlite_with_the_wal_defect_is_named_in_the_log(
    book: Logbook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for safe, told in (((99, 0, 0), True), ((3, 0, 0), False)):
        monkeypatch.setattr(schema, "SAFE_VERSION", safe)
        caplog.clear()
        with caplog.at_level("INFO"):
            await book.reopen()
        assert ("only this process may write or checkpoint" in caplog.text) == told


# Faults


async def fail(book: Logbook, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """Send a report whose transaction fails, before or after SQLite has done it: the one who asked can't tell which."""
    write = book.log._db.executemany

    async def executemany(sql: str, parameters: Any) -> Any:
        done = await write(sql, parameters) if after or sql != TRANSACTION else None
        if sql == TRANSACTION:
            raise sqlite3.OperationalError("disk I/O error")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(book.log._db, "executemany", executemany)
        with pytest.raises(Unavailable):
            await book.say(message="m", key=key("k"))
    assert book.is_troubled()


@pytest.mark.parametrize("after", [False, True], ids=["not written", "written"])
async def test_whether_a_failed_commit_is_on_disk_is_for_the_file_to_say(
    book: Logbook, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    await book.append(entry(create=True), entry("b", create=True))
    await fail(book, monkeypatch, after=after)
    assert book.log.head == (3 if after else 2)
    again = await book.say(message="m", key=key("k"))
    assert (again.replayed, again.standing.last) == (after, 3)
    assert (await book.say("c", create=True)).standing.last == 4
    assert (await book.say(message="n")).standing.job.version == 3
    assert not book.is_troubled()
    followed = [record.offset for page in await pages(book, 0, 5) for record in page.records]
    assert followed == [record.offset for record in await book.history()] == [1, 2, 3, 4, 5]


async def test_a_transaction_of_which_one_statement_fails_is_undone_at_once(book: Logbook) -> None:
    insert = ("INSERT INTO meta VALUES (?, 1)", [("x",), ("y",), ("x",)])
    with pytest.raises(sqlite3.IntegrityError):
        await book.log._db.executemany(TRANSACTION, [("BEGIN IMMEDIATE", [()]), insert, ("COMMIT", [()])])
    assert not book.log._db.in_transaction
    assert book.sql("SELECT name FROM meta") == [("floor",)]


async def test_an_answer_that_cannot_be_read_again_takes_nothing_back_from_the_others(
    book: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    await book.append(entry(create=True, key=key("k")), entry("b", create=True))

    def unreadable(*_: object) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "replayed", unreadable)
        answers = await book.append(entry("b", message="m"), entry(create=True, key=key("k")))
    assert [type(answer) for answer in answers] == [Outcome, Unavailable]
    assert (await book.say(create=True, key=key("k"))).replayed
    assert [record.job.message for record in await book.history()] == [None, None, "m"]


# What is kept in memory


class SlowRead:
    """What is read cold is read at once, but comes only when `go_on` is set."""

    def __init__(self, book: Logbook, monkeypatch: pytest.MonkeyPatch) -> None:
        self.was_read, self.go_on = asyncio.Event(), asyncio.Event()
        self._read = book.log._reading.standing
        monkeypatch.setattr(book.log._reading, "standing", self.standing)

    async def standing(self, workspace: str, job_id: str) -> Any:
        found = await self._read(workspace, job_id)
        self.was_read.set()
        await self.go_on.wait()
        return found


@pytest.mark.parametrize("lost", [False, True], ids=["in memory", "thrown out"])
async def test_what_was_read_never_takes_the_place_of_what_was_written_since(
    book: Logbook, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    old = await book.say(create=True)
    await book.reopen()
    slow = SlowRead(book, monkeypatch)
    reading = asyncio.create_task(book.log.standing("default", "a"))
    await slow.was_read.wait()
    new = await book.say(message="newer")
    if lost:
        book.log._hot.forget(("default", "a"))
    slow.go_on.set()
    assert await reading == (old.standing, 1)
    assert book.log.hot("default", "a") == (None if lost else new.standing)
    assert (await book.say(message="newest")).standing.job.version == 3


async def test_a_job_that_was_buried_while_it_was_read_is_forgotten(
    book: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    await book.say(create=True, state="failed")
    await book.say("a", Delete())
    await book.tend()
    book.clock.tick(10)
    book.log._hot.clear()
    slow = SlowRead(book, monkeypatch)
    reading = asyncio.create_task(book.log.standing("default", "a"))
    await slow.was_read.wait()
    await book.tend(age=5)
    slow.go_on.set()
    assert await reading is not None
    assert book.log.hot("default", "a") is None
    assert (await book.say(create=True)).made
