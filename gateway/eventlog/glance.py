"""A look at one job in the loop's own thread: what the page cache holds is read in less time than a thread is asked in.

Law: it holds nobody up. It waits for no lock, and reads that take long, as a slow disk makes them, cost the loop at
most a tenth of its time, however slow they are: more of them are left to the readers that have threads of their
own, and so is all that can't be told at once. A look is one statement, read to its end: one moment, and no transaction
outlives it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Final

from gateway.eventlog.hot import HotJob
from gateway.eventlog.queries import BY_IDENTITY_IF_SHORT
from gateway.eventlog.reading import hot_job

MAX_BODY: Final = 16 * 1024  # bytes; what is longer, or folded, takes several times as long to read and to parse
LONG: Final = 0.001  # seconds; what the page cache holds takes a twentieth of it, what a quick disk does a third
SHARE: Final = 10  # seconds that have to pass for each second of long reads
CREDIT: Final = 0.2  # seconds of these that may be owed: 20 ms of long reads in a row, as an odd one is no slow disk
MAX_DEBT: Final = 60.0  # seconds
TROUBLE: Final = 1.0  # seconds in which it does not look, after an error


class Glance:
    """Looks at jobs through a connection that belongs to the thread which calls it. `clock` is in seconds."""

    def __init__(self, db: sqlite3.Connection, clock: Callable[[], float] = time.perf_counter) -> None:
        self._db, self._clock = db, clock
        self._owed_until = 0.0  # by the clock: the time that has to pass for the long reads so far
        self("", "")  # reads the schema now, and has the statement made

    def __call__(self, workspace: str, name: str) -> HotJob | None:
        """The job of that id or alias as it stands, if that can be told at once; None also where there is none."""
        begin = self._clock()
        if begin + CREDIT < self._owed_until:
            return None
        found = None
        try:
            for row in self._db.execute(BY_IDENTITY_IF_SHORT, (workspace, name, MAX_BODY)).fetchall():
                found = hot_job(self._db, row)
        except Exception:  # whatever it is, the readers in their threads tell it to who asked
            self._owed_until = begin + CREDIT + TROUBLE
            return None
        end = self._clock()
        if end - begin > LONG:
            self._owed_until = min(max(self._owed_until, end) + SHARE * (end - begin), end + MAX_DEBT)
        return found

    def close(self) -> None:
        """Close the connection; from then on it tells nothing."""
        self._db.close()
