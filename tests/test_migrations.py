"""A file of any age becomes today's, in steps that are taken whole or not at all."""

from __future__ import annotations

import random
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import LogUnusable
from gateway.eventlog import schema
from gateway.eventlog.schema import migrations
from gateway.eventlog.sqlite import SqliteLog
from tests.logs import a_book, entry, opened

ROOT = Path(__file__).parent.parent
SLOW = """
CREATE TABLE extra (number INTEGER);
INSERT INTO extra WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) SELECT i FROM n;
CREATE INDEX extra_by_number ON extra (number);
"""
BROKEN = "CREATE TABLE extra (number INTEGER);\nINSERT INTO extra VALUES (1);\nINSERT INTO nowhere VALUES (1);"


def ask(database: Path, sql: str) -> Any:
    with closing(sqlite3.connect(database)) as db:
        return db.execute(sql).fetchall()


def tables(database: Path) -> set[str]:
    return {name for (name,) in ask(database, "SELECT name FROM sqlite_schema WHERE type = 'table'")}


async def make(folder: Path) -> Path:
    """A log of today's schema with two records."""
    async with a_book(folder) as book:
        await book.append(entry(create=True, labels={"k": "v"}), entry(message="m"))
        return book.path


async def read(database: Path) -> list[bytes]:
    """The documents of all records."""
    async with opened(database) as book:
        return [record.document for record in await book.history()]


async def test_the_schema_of_a_new_file_is_the_sum_of_the_numbered_scripts(tmp_path: Path) -> None:
    database = await make(tmp_path)
    by_hand = tmp_path / "by-hand.db"
    with closing(sqlite3.connect(by_hand)) as db:
        for script in migrations():
            db.executescript(script)
    schema_of = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
    assert ask(database, schema_of) == ask(by_hand, schema_of)
    assert ask(database, "PRAGMA user_version") == [(len(migrations()),)]
    assert ask(database, "PRAGMA application_id") == [(schema.APPLICATION_ID,)]


def test_the_scripts_are_numbered_without_a_hole_and_everything_in_them_is_strict() -> None:
    folder = ROOT / "gateway" / "eventlog" / "migrations"
    names = sorted(path.name for path in folder.iterdir() if path.suffix == ".sql")
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    assert all(re.fullmatch(r"\d{4}_[a-z_]+\.sql", name) for name in names)
    with closing(sqlite3.connect(":memory:")) as db:
        for script in migrations():
            db.executescript(script)
        made = db.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
        assert [name for name, strict in made if not strict and not name.startswith("sqlite_")] == []


async def test_a_later_script_runs_once_over_a_file_that_has_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await make(tmp_path)
    before = await read(database)
    later = [*migrations(), "CREATE TABLE extra (number INTEGER);", "INSERT INTO extra VALUES (7);"]
    monkeypatch.setattr(schema, "migrations", lambda: later)
    for _ in range(2):
        assert await read(database) == before
        assert ask(database, "SELECT number FROM extra") == [(7,)]
        assert ask(database, "PRAGMA user_version") == [(len(later),)]


async def test_a_script_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await make(tmp_path)
    before, known = await read(database), tables(database)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: [*migrations(), BROKEN])
        with pytest.raises(LogUnusable):
            await SqliteLog.open(str(database))
        assert tables(database) == known
        assert ask(database, "PRAGMA user_version") == [(len(migrations()),)]
    assert await read(database) == before


async def test_a_new_file_whose_first_script_fails_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "status.db"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: [migrations()[0] + BROKEN])
        with pytest.raises(LogUnusable):
            await SqliteLog.open(str(database))
    assert tables(database) == set()
    assert await read(database) == []


def migrate_and_be_killed(database: Path, seconds: float) -> None:
    """Start a slow migration and kill it in its midst."""
    program = (
        "import asyncio, sys\nfrom gateway.eventlog import schema\nfrom gateway.eventlog.sqlite import SqliteLog\n"
        "known = schema.migrations()\nschema.migrations = lambda: [*known, sys.argv[2]]\nprint('begins', flush=True)\n"
        "asyncio.run(SqliteLog.open(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(database), SLOW]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        time.sleep(seconds)  # the random moment of the kill, which no event could give
        process.kill()


async def test_a_migration_that_is_killed_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await make(tmp_path)
    before, old = await read(database), len(migrations())
    for _ in range(4):
        migrate_and_be_killed(database, random.uniform(0.02, 0.2))
        ((version,),) = ask(database, "PRAGMA user_version")
        assert ("extra" in tables(database)) == (version == old + 1)
        if version == old + 1:
            break
        assert await read(database) == before
    slow = [*migrations(), SLOW]
    monkeypatch.setattr(schema, "migrations", lambda: slow)
    assert await read(database) == before
    assert ask(database, "SELECT count(*), max(number) FROM extra") == [(400_000, 400_000)]
    assert ask(database, "PRAGMA integrity_check") == [("ok",)]
