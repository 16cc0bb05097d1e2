"""A file that can't be used is refused at the start, in one line that names it and says what to do."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.errors import LogUnusable
from gateway.eventlog import schema
from gateway.eventlog.sqlite import SqliteLog
from tests.logs import BOUND, a_book, entry, opened
from tests.processes import run_cli

PAGE = 4096  # bytes, SQLite's default
NOBODY = 65534  # a user who owns nothing


async def opened_and_closed(database: Path | str) -> int:
    """The head of a log that can be opened."""
    log = await SqliteLog.open(str(database))
    await log.close()
    return log.head


def refused(database: Path | str) -> str:
    """The one line in which the file is refused. Nothing stays open."""
    before = set(threading.enumerate())
    with pytest.raises(LogUnusable) as caught:
        asyncio.run(opened_and_closed(database))
    for thread in set(threading.enumerate()) - before:
        thread.join(BOUND)
        assert not thread.is_alive()
    line = str(caught.value)
    assert str(database) in line
    assert "\n" not in line
    return line


async def fill(folder: Path) -> Path:
    async with a_book(folder) as book:
        await book.append(*(entry(f"j{number}", create=True, message="x" * 900) for number in range(200)))
        await book.append(*(entry(f"j{number}", message=str(number)) for number in range(200)))
        return book.path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a log with some records."""
    return asyncio.run(fill(tmp_path_factory.mktemp("filled"))).read_bytes()


@pytest.fixture
def database(tmp_path: Path, filled: bytes) -> Path:
    """A log with some records, closed."""
    (tmp_path / "status.db").write_bytes(filled)
    return tmp_path / "status.db"


def change(database: Path, at: int, data: bytes) -> None:
    """Overwrite a part of the file."""
    with database.open("r+b") as file:
        file.seek(at)
        file.write(data)


def run_sql(database: Path, script: str) -> None:
    """What another program does to the file."""
    with closing(sqlite3.connect(database)) as db:
        db.executescript(script)


@pytest.mark.parametrize(
    "harm,words",
    [
        (lambda path: change(path, 0, b"\0" * 100), "not an SQLite database"),
        (lambda path: change(path, 0, b"SQLite format 4"), "not an SQLite database"),
        (lambda path: path.write_text("once upon a time " * 100), "not an SQLite database"),
        (lambda path: os.truncate(path, 40_000), "corrupt"),
        (lambda path: run_sql(path, "PRAGMA user_version = 99"), "newer than this program"),
        (lambda path: run_sql(path, "PRAGMA application_id = 1"), "another program"),
    ],
    ids=["no header", "another format", "text", "cut off", "newer", "foreign"],
)
def test_a_file_that_cannot_be_used_is_refused(database: Path, harm: Callable[[Path], object], words: str) -> None:
    harm(database)
    before = database.read_bytes()
    assert words in refused(database)
    assert database.read_bytes() == before, "it is left as it was"


def test_a_page_that_is_no_page_is_found_wherever_it_is(database: Path, filled: bytes) -> None:
    pages = range(1, len(filled) // PAGE, 7)
    assert len(pages) > 10
    for page in pages:
        database.write_bytes(filled)
        change(database, page * PAGE, os.urandom(PAGE))
        assert "corrupt" in refused(database)
    database.write_bytes(filled)
    assert asyncio.run(opened_and_closed(database)) == 400


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    run_sql(other, "CREATE TABLE contacts (name TEXT); INSERT INTO contacts VALUES ('Ada');")
    before = other.read_bytes()
    assert "another program" in refused(other)
    assert other.read_bytes() == before


def test_an_empty_file_becomes_a_log(tmp_path: Path) -> None:
    database = tmp_path / "status.db"
    database.touch()
    assert asyncio.run(opened_and_closed(database)) == 0
    assert database.stat().st_size > 0


@pytest.mark.parametrize("name", ["a b.db", "ä?x=1.db", "100%.db", "#1.db", "file:x.db"])
async def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / name) as book:
        said = await book.say(create=True)
        await book.reopen()
        read = await book.log.standing("default", "a")
        assert read is not None
        assert read[0] == said.standing
    assert name in {path.name for path in book.path.parent.iterdir()}


def test_what_is_no_place_for_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "folder does not exist" in refused(tmp_path / "nowhere" / "status.db")
    (tmp_path / "folder.db").mkdir()
    assert "can't be opened" in refused(tmp_path / "folder.db")
    assert "local file system" in refused(":memory:")


def test_what_cannot_be_opened_at_all_starts_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could outlive the event loop, and would then end with a traceback behind the one line."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def started_too(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", started_too)
    assert "can't be opened" in refused(tmp_path)
    assert started == []


# One process writes


async def test_a_second_gateway_is_refused_under_any_name_of_the_file(tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    async with a_book(tmp_path) as book:
        link.symlink_to(book.path)
        for name in (book.path, link, tmp_path / "." / "status.db"):
            assert "in use by another gateway" in await asyncio.to_thread(refused, name)
        assert (await book.say(create=True)).made
    assert await opened_and_closed(link) == 1


def test_a_program_that_locks_the_file_is_named_as_the_reason(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_MS", 50)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked by another program" in refused(database)
    assert asyncio.run(opened_and_closed(database)) == 400


# Without the right to write


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everything, so a test that runs as root does this as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody can reach and write, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


def test_a_file_that_may_not_be_written_is_refused(place: Path, filled: bytes) -> None:
    database = place / "status.db"
    database.write_bytes(filled)
    database.chmod(0o444)
    with as_nobody():
        assert "can't be written; check its owner and permissions" in refused(database)


def test_a_folder_that_may_not_be_written_is_refused(place: Path, filled: bytes) -> None:
    (place / "status.db").write_bytes(filled)
    place.chmod(0o555)
    with as_nobody():
        assert "lock file can't be written" in refused(place / "status.db")
        assert "lock file can't be written" in refused(place / "new.db")


# The whole program


def test_the_program_says_so_in_one_line_and_ends(tmp_path: Path) -> None:
    database = tmp_path / "status.db"
    run_sql(database, f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 99;")
    done = run_cli("serve", "--port", "0", "--database", str(database))
    assert done.returncode != 0
    lines = [line for line in done.stderr.decode().splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert "newer than this program" in lines[0]
