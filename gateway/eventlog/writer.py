"""The one task that writes the log: whatever waits goes into the next transaction together (group commit).

Law: an answer is given after COMMIT, with synchronous=FULL, and the jobs as they stand in memory change after COMMIT
and before the answer, so that a producer reads what it wrote. A caller that goes away changes nothing for the others:
it only stops waiting.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import aiosqlite
import orjson

from gateway.errors import GatewayError, Internal, JobDeleted, Unavailable
from gateway.eventlog.base import Entry, Outcome, RecordPage, Standing
from gateway.eventlog.batch import Batch, JobKey, KnownKey, Replay
from gateway.eventlog.hot import Extent, HotJob, HotJobs
from gateway.eventlog.queries import BY_IDENTITIES, BY_ROW
from gateway.eventlog.reading import hot_job, whole
from gateway.eventlog.schema import TRANSACTION, one, write_error
from gateway.job import TERMINAL, stamp
from gateway.record import alias_of, from_json

logger = logging.getLogger(__name__)

BATCH_ENTRIES = 500  # in one transaction; more would let the first of them wait for the last
QUEUE_ENTRIES = 20_000  # that may wait; beyond it producers are told to come back (503)

_NEXT_ROW = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0) + 1"
_HEAD = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0)"
_KEYS = (
    "SELECT k.scope, k.key, k.digest, k.status, k.job, k.offset FROM json_each(?) AS e "
    "CROSS JOIN keys AS k ON k.scope = e.value ->> 0 AND k.key = e.value ->> 1"
)
_RECORD = "SELECT base, body FROM records WHERE job = ? AND offset = ?"
_TOUCH = "UPDATE meta SET value = value WHERE name = 'floor'"
_INSERT_RECORD = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_JOB = (
    "INSERT INTO jobs (job, workspace, id, name, process, state, first, last, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE_JOB = "UPDATE jobs SET last = ? WHERE job = ?"
_MOVE_JOB = "UPDATE jobs SET state = ?, last = ?, finished = ?, lease = ?, deleted = ? WHERE job = ?"
_INSERT_IDENTITY = "INSERT INTO identities VALUES (?, ?, ?)"
_INSERT_KEY = "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?)"
_DELETE_LABELS = "DELETE FROM labels WHERE job = ?"
_INSERT_LABEL = "INSERT INTO labels VALUES (?, ?, ?, ?)"

Answer = Outcome | GatewayError
Chore = Callable[[aiosqlite.Connection], Awaitable[Any]]


class Writer:
    """Owns the connection that writes. `published` is called with the records of each commit, in order."""

    def __init__(
        self,
        db: aiosqlite.Connection,
        extent: Extent,
        hot: HotJobs,
        published: Callable[[RecordPage], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db, self._extent, self._hot, self._published, self._clock = db, extent, hot, published, clock
        self._waiting: deque[tuple[Sequence[Entry], asyncio.Future[list[Answer]]]] = deque()
        self._chores: deque[tuple[Chore, asyncio.Future[Any]]] = deque()
        self._count = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._next_row = 1
        self.trouble: str | None = None  # why the last transaction failed, if it did

    async def append(self, entries: Sequence[Entry]) -> list[Answer]:
        """Write entries; the answers come when all of them are on disk. Raises Unavailable, LogFull."""
        if self._closing or self._count + len(entries) > QUEUE_ENTRIES:
            reason = "the log is closing" if self._closing else "too many reports wait to be written"
            raise Unavailable(f"{reason}; nothing was written", retry_after=1)
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, future))
        self._count += len(entries)
        self._wake.set()
        return await future

    async def chore(self, work: Chore) -> Any:
        """Run something on the connection between two transactions."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._chores.append((work, future))
        self._wake.set()
        return await future

    async def probe(self) -> None:
        """Write something that changes nothing, to see whether the trouble is over. Raises Unavailable, LogFull."""
        await self.chore(
            lambda db: db.executemany(TRANSACTION, [("BEGIN IMMEDIATE", [()]), (_TOUCH, [()]), ("COMMIT", [()])])
        )
        self.trouble = None

    def close(self) -> None:
        """Take no more entries; `run` returns when what waits is written."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Write until closed. The one task that owns all writes."""
        self._next_row = await one(self._db, _NEXT_ROW)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting or self._chores:
                if self._waiting:
                    await self._transaction(self._take())
                if self._chores:
                    await self._do(*self._chores.popleft())
            if self._closing:
                return

    def _take(self) -> list[tuple[Sequence[Entry], asyncio.Future[list[Answer]]]]:
        taken: list[tuple[Sequence[Entry], asyncio.Future[list[Answer]]]] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0][0]) <= BATCH_ENTRIES):
            taken.append(self._waiting.popleft())
            count += len(taken[-1][0])
        self._count -= count
        return taken

    async def _do(self, work: Chore, future: asyncio.Future[Any]) -> None:
        try:
            result = await work(self._db)
        except sqlite3.Error as error:
            await self._failed(error)
            settle(future, error=write_error(error))
        except Exception as error:
            settle(future, error=error)
        else:
            settle(future, result)

    async def _transaction(self, taken: list[tuple[Sequence[Entry], asyncio.Future[list[Answer]]]]) -> None:
        entries = [entry for group, _ in taken for entry in group]
        try:
            answers = await self._commit(entries)
        except sqlite3.Error as error:
            await self._failed(error)
            refusal: Exception = write_error(error)
            refusal.__cause__ = error
        except Exception as error:
            # A fault of ours may not end the one task that writes: these producers are told, the next are served.
            logger.exception("a batch of %d entries failed", len(entries))
            await self._roll_back()
            refusal = Internal()
            refusal.__cause__ = error
        else:
            for group, future in taken:
                settle(future, answers[: len(group)])
                answers = answers[len(group) :]
            return
        for _, future in taken:
            settle(future, error=refusal)

    async def _commit(self, entries: Sequence[Entry]) -> list[Answer]:
        jobs = await self._jobs(entries)
        keys = await self._keys(entries, jobs)
        now_ms = max(int(self._clock().timestamp() * 1000), self._extent.now)
        now = stamp(datetime.fromtimestamp(now_ms / 1000, UTC))
        batch = Batch(self._extent, self._next_row, now, now_ms, jobs, keys)
        results: list[Outcome | Replay | GatewayError] = []
        for entry in entries:
            try:
                results.append(batch.add(entry))
            except GatewayError as error:
                results.append(error)
        if batch.records or batch.rows.keys:
            await self._db.executemany(TRANSACTION, statements(batch, self._db.in_transaction))
            self._commit_seen(batch, now_ms)
        elif self._db.in_transaction:
            await self._roll_back()
        return [await self._replayed(result) if isinstance(result, Replay) else result for result in results]

    def _commit_seen(self, batch: Batch, now_ms: int) -> None:
        self.trouble = None
        self._next_row = batch.next_row
        for hot in batch.touched.values():
            self._hot.put(hot)
        if batch.records:
            self._extent.head, self._extent.now = batch.head, now_ms
            self._published(RecordPage(batch.records, batch.head))

    async def _jobs(self, entries: Sequence[Entry]) -> dict[JobKey, HotJob]:
        known: dict[JobKey, HotJob] = {}
        missing: dict[JobKey, None] = {}
        for entry in entries:
            names = [entry.id] if entry.identity is None else [entry.id, alias_of(entry.workspace, entry.id)]
            for name in names:
                hot = self._hot.get(entry.workspace, name)
                if hot is None:
                    missing[entry.workspace, name] = None
                else:
                    known[hot.standing.job.key] = hot
        if missing:
            await self._begin()
            for row in await self._db.execute_fetchall(BY_IDENTITIES, (orjson.dumps(list(missing)).decode(),)):
                hot = await hot_job(self._db, row)
                known.setdefault(hot.standing.job.key, hot)
        return known

    async def _keys(self, entries: Sequence[Entry], jobs: dict[JobKey, HotJob]) -> dict[tuple[str, str], KnownKey]:
        keyed = [entry for entry in entries if entry.key is not None]
        if not keyed:
            return {}
        await self._begin()
        probe = Batch(self._extent, 0, "", 0, jobs, {})
        wanted = [(probe.scope(entry), entry.key.key) for entry in keyed if entry.key is not None]
        rows = await self._db.execute_fetchall(_KEYS, (orjson.dumps(wanted).decode(),))
        return {(row[0], row[1]): KnownKey(*row[2:]) for row in rows}

    async def _replayed(self, replay: Replay) -> Answer:
        for row in await self._db.execute_fetchall(BY_ROW, (replay.row,)):
            hot = await hot_job(self._db, row)
            standing = hot.standing
            if standing.deleted:
                return JobDeleted()
            for base, body in await self._db.execute_fetchall(_RECORD, (replay.row, replay.offset)):
                data = await whole(self._db, replay.row, replay.offset, base, body)
                return Outcome(standing_at(hot, data, replay.offset), replay.made, replayed=True)
            return Outcome(standing, replay.made, replayed=True)
        return JobDeleted()

    async def _begin(self) -> None:
        if not self._db.in_transaction:
            await self._db.execute_fetchall("BEGIN IMMEDIATE")

    async def _roll_back(self) -> None:
        if self._db.in_transaction:
            await self._db.execute_fetchall("ROLLBACK")

    async def _failed(self, error: sqlite3.Error) -> None:
        self.trouble = f"the log can't be written: {error}"
        logger.error("%s", self.trouble)
        try:
            await self._roll_back()
            # Whether a commit that failed is on disk is for the file to say, not for us.
            self._hot.clear()
            self._extent.head = await one(self._db, _HEAD)
            self._next_row = await one(self._db, _NEXT_ROW)
        except sqlite3.Error as second:
            logger.error("the log can't be read either: %s", second)


def standing_at(hot: HotJob, data: bytes, offset: int) -> Standing:
    """The job as it stood at one of its records."""
    standing = hot.standing
    return Standing(from_json(orjson.loads(data)), data, standing.first, offset, standing.floor)


def statements(batch: Batch, begun: bool) -> list[tuple[str, Sequence[Any]]]:
    """What a batch writes, in one transaction, which may have begun."""
    rows = batch.rows
    moved, kept = [], []
    for key, hot in batch.touched.items():
        job = hot.standing.job
        if key not in batch.moved:
            kept.append((hot.standing.last, hot.row))
            continue
        finished = milliseconds(job.finished) if job.state in TERMINAL and job.finished else None
        moved.append((job.state, hot.standing.last, finished, job.lease, int(hot.standing.deleted), hot.row))
    labels = [
        (key, value, hot.standing.first, hot.row)
        for hot in batch.relabelled.values()
        for key, value in (hot.standing.job.labels or {}).items()
    ]
    pairs: Iterable[tuple[str, Sequence[Any]]] = (
        (_INSERT_JOB, rows.jobs),
        (_INSERT_IDENTITY, rows.identities),
        (_INSERT_RECORD, rows.records),
        (_MOVE_JOB, moved),
        (_UPDATE_JOB, kept),
        (_DELETE_LABELS, [(hot.row,) for hot in batch.relabelled.values()]),
        (_INSERT_LABEL, labels),
        (_INSERT_KEY, rows.keys),
    )
    begin = [] if begun else [("BEGIN IMMEDIATE", [()])]
    return [*begin, *((sql, values) for sql, values in pairs if values), ("COMMIT", [()])]


def milliseconds(text: str) -> int:
    """A stamp as milliseconds since 1970."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def settle(future: asyncio.Future[Any], result: Any = None, error: Exception | None = None) -> None:
    """Answer, unless whoever asked has gone."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
