"""Opening a database file: the lock, the pragmas, the migrations, the epochs.

Law: one process writes a file and checkpoints it. SQLite before 3.51.3 can corrupt a WAL file that two connections
write or checkpoint at the same moment; a flock beside the file keeps a second gateway out, and the kernel releases it
when the process dies, however it dies.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from gateway.errors import GatewayError, LogFull, LogUnusable, Unavailable

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x53476C67  # "SGlg": tells our files from those of other programs
EPOCH_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
BUSY_MS = 5000  # how long a write waits for a foreign lock before its producers get 503
CHECK_BELOW = 64 * 2**20  # bytes; a file up to this size is checked whole at the start, in well under a second
WAL_LIMIT = 16 * 2**20  # bytes of the WAL file from which it is cut back; SQLite by itself begins it anew at 4 MiB
LOOK_ROWS = 64  # written between two looks at its size, so that a report that comes alone seldom waits for one
CUT_MS = 100  # how long a cut may wait for readers, while producers wait for it
SAFE_VERSION = (3, 51, 3)

TRANSACTION, CALL = "transaction", "call"
_EPOCHS = "SELECT first, epoch FROM epochs ORDER BY first"
HEAD = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0)"
_ONLY_READS = ("query_only = ON", "wal_autocheckpoint = 0")
_COPIED = "SELECT count(*) FROM meta WHERE name = 'copied'"
_NEW_EPOCH = "INSERT OR REPLACE INTO epochs VALUES (?, ?)"
_NOT_COPIED = "DELETE FROM meta WHERE name = 'copied'"
Statement = tuple[str, Sequence[Any]]
_T = TypeVar("_T")


class BatchConnection(sqlite3.Connection):
    """A connection that does a whole piece of work in one call, since every call of aiosqlite costs a thread hop.

    `executemany(TRANSACTION, statements)` runs (sql, rows) pairs in order; if one fails, all are rolled back.
    `executemany(CALL, [work])` calls work(connection): see `call`.
    """

    _wal: str | None = None
    _cut_from = 0  # bytes
    _looked_at = 0  # what `total_changes` was when the WAL file was last looked at

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        if sql == CALL:
            for work in parameters:
                work(self)
            return self.cursor()
        if sql != TRANSACTION:
            return super().executemany(sql, parameters)
        try:
            for statement, rows in parameters:
                if statement == CALL:
                    self.executemany(CALL, rows)
                elif len(rows) == 1:
                    self.execute(statement, rows[0])
                else:
                    super().executemany(statement, rows)
        except BaseException:
            # SQLite has rolled back by itself after some errors (a full disk): then there is nothing to roll back.
            if self.in_transaction:
                self.execute("ROLLBACK")
            raise
        if self.total_changes - self._looked_at >= LOOK_ROWS:
            self._looked_at = self.total_changes
            self._cut()
        return self.cursor()

    def _cut(self) -> None:
        """Cut the WAL file back if it has grown. Readers that follow each other without a pause never let SQLite begin
        it anew by itself. What fails here undoes nothing: the transaction is on disk, and a later one tries again."""
        if self._wal is None:
            self._wal = f"{self.execute('PRAGMA database_list').fetchone()[2]}-wal"
        try:
            size = os.stat(self._wal).st_size  # noqa: PTH116 - producers wait for it: Path takes five times as long
        except FileNotFoundError:
            size = 0
        if size <= max(self._cut_from, WAL_LIMIT):
            return
        self.execute(f"PRAGMA busy_timeout = {CUT_MS}")
        try:
            busy = self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as error:
            busy = True
            logger.warning("the WAL file can't be cut back: %s", error)
        self.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        self._cut_from = 2 * size if busy else 0


async def call(db: aiosqlite.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    """What `work` makes of the connection, in the thread that owns it: any number of statements in one hop."""
    results: list[_T] = []
    works: Any = [lambda connection: results.append(work(connection))]
    await db.executemany(CALL, works)
    return results[0]


def settle(future: asyncio.Future[Any], result: Any = None, error: Exception | None = None) -> None:
    """Answer, unless whoever asked has gone."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class FileLock:
    """The right to write a database file, held by one process at a time."""

    def __init__(self, database: str) -> None:
        # Beside the file itself, whatever link leads to it: two names of one file are one log.
        path = f"{Path(database).resolve()}.lock"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as error:
            raise LogUnusable(f"{database}: its folder does not exist; make it, or name another file") from error
        except OSError as error:
            raise LogUnusable(f"{database}: its lock file can't be written ({error.strerror})") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise LogUnusable(f"{database} is in use by another gateway; stop that one or name another file") from error

    def release(self) -> None:
        """Let another process write the file."""
        os.close(self._file)


@contextmanager
def foreign_errors(database: str) -> Iterator[None]:
    """Map SQLite's errors at opening to LogUnusable, in words that tell the operator what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        words = {
            sqlite3.SQLITE_CORRUPT: "is corrupt; restore it from a backup",
            sqlite3.SQLITE_NOTADB: "is not an SQLite database, or is corrupt; restore it from a backup",
            sqlite3.SQLITE_READONLY: "can't be written; check its owner and permissions",
            sqlite3.SQLITE_CANTOPEN: "can't be opened; check that its folder exists and can be written",
            sqlite3.SQLITE_FULL: "can't be written: the disk is full",
            sqlite3.SQLITE_BUSY: "is locked by another program",
        }.get(code, f"can't be used ({error})")
        raise LogUnusable(f"{database} {words}") from error


def write_error(error: sqlite3.Error) -> GatewayError:
    """What a producer is told of a failed transaction."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return LogFull(retry_after=5)
    if code == sqlite3.SQLITE_BUSY:
        return Unavailable("the log is locked by another program; nothing was written", retry_after=1)
    return Unavailable("the log can't be written; nothing was written", retry_after=5)


async def open_writer(database: str) -> aiosqlite.Connection:
    """The connection that writes, on a file that is brought to the newest schema."""
    with foreign_errors(database):
        # What can't be opened at all has to fail here: a connection of aiosqlite that fails leaves a thread which may
        # outlive the event loop, and would end with a traceback after the one line that says why.
        sqlite3.connect(database).close()
        db = await aiosqlite.connect(database, factory=BatchConnection, isolation_level=None)
    try:
        with foreign_errors(database):
            await _prepare(db, database)
    except BaseException:
        await db.close()
        raise
    return db


async def open_reader(database: str) -> aiosqlite.Connection:
    """A connection that reads, and can neither write nor checkpoint."""
    db = await aiosqlite.connect(read_only(database), uri=True, factory=BatchConnection, isolation_level=None)
    try:
        for pragma in (*_ONLY_READS, f"busy_timeout = {BUSY_MS}"):
            await db.execute_fetchall(f"PRAGMA {pragma}")
    except BaseException:
        await db.close()
        raise
    return db


def open_reader_here(database: str) -> sqlite3.Connection:
    """A connection as `open_reader`'s, for the thread that calls this, which waits for no lock."""
    db = sqlite3.connect(read_only(database), uri=True, isolation_level=None, timeout=0)
    try:
        for pragma in _ONLY_READS:
            db.execute(f"PRAGMA {pragma}")
    except BaseException:
        db.close()
        raise
    return db


def read_only(database: str) -> str:
    """The address by which SQLite opens a file that it may not write."""
    return f"{Path(database).absolute().as_uri()}?mode=ro"


async def one(db: aiosqlite.Connection, sql: str, parameters: Sequence[Any] = ()) -> Any:
    """The first column of the first row."""
    return next(iter(await db.execute_fetchall(sql, parameters)))[0]


async def open_epochs(db: aiosqlite.Connection, new: bool) -> list[tuple[int, str]]:
    """The epochs as (first offset, name), after starting a new one where it is asked for or the file is a copy."""
    epochs = list(await db.execute_fetchall(_EPOCHS))
    if new or not epochs or await one(db, _COPIED):
        first = await one(db, HEAD) + 1
        name = "".join(secrets.choice(EPOCH_ALPHABET) for _ in range(8))
        statements = [("BEGIN IMMEDIATE", [()]), (_NEW_EPOCH, [(first, name)]), (_NOT_COPIED, [()]), ("COMMIT", [()])]
        await db.executemany(TRANSACTION, statements)
        logger.info("the log starts epoch %s at offset %d", name, first)
        epochs = list(await db.execute_fetchall(_EPOCHS))
    return [(first, name) for first, name in epochs]


async def _prepare(db: aiosqlite.Connection, database: str) -> None:
    await db.execute_fetchall(f"PRAGMA busy_timeout = {BUSY_MS}")
    application, version = await one(db, "PRAGMA application_id"), await one(db, "PRAGMA user_version")
    tables = await one(db, "SELECT count(*) FROM sqlite_schema")
    if application != APPLICATION_ID and (tables or application or version):
        raise LogUnusable(f"{database} is a database of another program; name another file")
    steps = migrations()
    if version > len(steps):
        raise LogUnusable(
            f"{database} has schema {version}, newer than this program knows ({len(steps)}); install the newer program"
        )
    if tables and _size(database) <= CHECK_BELOW:
        found = await one(db, "PRAGMA quick_check(1)")
        if found != "ok":
            found = found.splitlines()[-1]  # what it found comes after a line with the schema's name
            raise LogUnusable(f"{database} is corrupt ({found}); restore it from a backup")
    await _set_pragmas(db, database)
    for number, step in enumerate(steps[version:], start=version + 1):
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};"
        await db.executescript(f"BEGIN IMMEDIATE;\n{step}\n{marks}\nCOMMIT;")
    # SQLite opens a file that it may not write without a word, to read it; only a change tells.
    await db.executescript("BEGIN IMMEDIATE; UPDATE meta SET value = value; ROLLBACK;")
    if sqlite3.sqlite_version_info < SAFE_VERSION:
        logger.info("SQLite %s: only this process may write or checkpoint %s", sqlite3.sqlite_version, database)


def _size(database: str) -> int:
    return Path(database).stat().st_size


async def _set_pragmas(db: aiosqlite.Connection, database: str) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 0}
    for name, value in wanted.items():
        await db.execute_fetchall(f"PRAGMA {name} = {value}")
        if await one(db, f"PRAGMA {name}") != value:
            raise LogUnusable(f"{database}: SQLite refused {name} = {value}; use a local file system")
    await db.execute_fetchall(f"PRAGMA journal_size_limit = {WAL_LIMIT}")


def migrations() -> list[str]:
    """The scripts that bring an empty database to today's schema, in their order."""
    folder = files("gateway.eventlog") / "migrations"
    scripts = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    return [script.read_text("utf-8") for script in scripts]
