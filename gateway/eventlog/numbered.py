"""Numbered pages of jobs, as the lists of other systems have them: the third page of 20 each, and how many there are.

Law: only what is shown is read as documents; whatever comes before it, or is only counted, costs index entries.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from gateway.eventlog import queries
from gateway.eventlog.base import Standing
from gateway.eventlog.queries import plans
from gateway.eventlog.sqlite import SqliteLog
from gateway.record import MAX_OFFSET, Filter

_LISTS: Final = (
    *(queries.ALL, queries.BY_STATE, queries.BY_NAME, queries.BY_LABEL),
    *(queries.BY_WORKSPACE, queries.BY_WORKSPACE_STATE, queries.BY_PROCESS, queries.BY_PROCESS_STATE),
)
_FIRSTS: Final = {sql: queries.firsts(sql) for sql in _LISTS}
_COUNTS: Final = {sql: f"SELECT count(*) FROM ({first})" for sql, first in _FIRSTS.items()}  # noqa: S608 - constants
_NO_LIMIT: Final = -1  # as SQLite's LIMIT has it


async def count(log: SqliteLog, match: Filter) -> int:
    """How many jobs match; `match.jobs` is not looked at."""
    return await log.look(lambda db: _count(db, match))


async def numbered(log: SqliteLog, match: Filter, page: int, size: int) -> tuple[Sequence[Standing], int]:
    """The jobs of a page, newest first, and how many match; pages of `size` jobs, numbered from 1.

    `match.jobs` is not looked at. A page beyond the last one is empty.
    """

    def place(db: sqlite3.Connection) -> tuple[int, int | None]:
        total = _count(db, match)
        return total, _before(db, match, skip) if 0 < skip < total else None

    skip = (page - 1) * size
    total, before = await log.look(place)
    if skip >= total:
        return (), total
    return (await log.jobs(match, before, size)).standings, total


def _count(db: sqlite3.Connection, match: Filter) -> int:
    found = (db.execute(_COUNTS[sql], values).fetchone()[0] for sql, values in plans(match, MAX_OFFSET, _NO_LIMIT))
    return sum(found)


def _before(db: sqlite3.Connection, match: Filter, skip: int) -> int:
    """The offset before which the first records of all jobs but the newest `skip` lie."""
    firsts: list[int] = []
    for sql, values in plans(match, MAX_OFFSET, skip):
        firsts += (row[0] for row in db.execute(_FIRSTS[sql], values).fetchall())
    return sorted(firsts, reverse=True)[skip - 1]
