"""A copy of a log while a gateway writes it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.errors import LogUnusable
from gateway.eventlog.schema import APPLICATION_ID, foreign_errors, read_only

_MARK = "INSERT OR REPLACE INTO meta VALUES ('copied', 1)"


def backup(database: str, target: str) -> None:
    """Copy the log in `database` to the new file `target`, as it stands at one moment; the gateway may go on writing.

    The first gateway that opens the copy starts a new epoch, so that cursors of the original that lie beyond the copy
    are answered with a reset. Raises LogUnusable; then there is no target.
    """
    if not Path(database).exists():
        raise LogUnusable(f"{database} does not exist")
    if Path(target).exists():
        raise LogUnusable(f"{target} exists already; name a new file")
    part = Path(f"{target}.part")
    try:
        part.unlink(missing_ok=True)  # left by a copy that was killed
        with foreign_errors(database), closing(sqlite3.connect(read_only(database), uri=True)) as source:
            if source.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise LogUnusable(f"{database} is not a log of the status gateway")
            with foreign_errors(target), closing(sqlite3.connect(part)) as copy:
                _copy(source, copy, database)
        _sync(part)
        part.rename(target)
        _sync(Path(target).absolute().parent)
    except OSError as error:
        raise LogUnusable(f"{target} can't be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


def _copy(source: sqlite3.Connection, copy: sqlite3.Connection, database: str) -> None:
    source.backup(copy)
    copy.execute("PRAGMA journal_mode = DELETE")
    copy.execute(_MARK)
    copy.commit()
    if copy.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
        raise LogUnusable(f"{database} is corrupt: its copy fails the integrity check")


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
