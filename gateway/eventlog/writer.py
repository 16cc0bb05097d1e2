"""The one task that writes the log: whatever waits goes into the next transaction together (group commit).

Law: an answer is given after COMMIT, with synchronous=FULL, and the jobs as they stand in memory change after COMMIT
and before the answer, so that a producer reads what it wrote. A caller that goes away changes nothing for the others:
it only stops waiting.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiosqlite
import orjson

from gateway.errors import GatewayError, Internal, JobDeleted, Unavailable
from gateway.eventlog.base import Entry, Outcome, RecordPage
from gateway.eventlog.batch import Batch, KnownKey, Replay
from gateway.eventlog.hot import Extent, HotJobs
from gateway.eventlog.known import Known, known_of
from gateway.eventlog.queries import BY_IDENTITIES, BY_ROW
from gateway.eventlog.reading import hot_job, whole
from gateway.eventlog.schema import CALL, HEAD, TRANSACTION, call, one, settle, write_error
from gateway.eventlog.statements import statements
from gateway.job import stamp
from gateway.record import from_json

logger = logging.getLogger(__name__)

BATCH_ENTRIES = 500  # in one transaction; more would let the first of them wait for the last
QUEUE_ENTRIES = 20_000  # that may wait; beyond it producers are told to come back (503)
LARGE_ENTRIES = 64  # from which a transaction is long enough that others had better use its wait for the disk
LINGER_TURNS = 2  # of the loop before a transaction begins, among many producers: of 64 39 meet in it, where 28 did
SLICE_SECONDS = 0.005  # of working out a batch before the loop gets a turn: readers wait no longer

_NEXT_ROW = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0) + 1"
_KEYS = (
    "SELECT k.scope, k.key, k.digest, k.status, k.job, k.offset FROM json_each(?) AS e "
    "CROSS JOIN keys AS k ON k.scope = e.value ->> 0 AND k.key = e.value ->> 1"
)
_RECORD = "SELECT base, body FROM records WHERE job = ? AND offset = ?"
_TOUCH = "UPDATE meta SET value = value WHERE name = 'floor'"
Answer = Outcome | GatewayError
Group = tuple[Sequence[Entry], asyncio.Future[list[Answer]]]
Chore = Callable[[sqlite3.Connection], Any]
_T = TypeVar("_T")


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
        self._waiting: deque[Group] = deque()
        self._chores: deque[tuple[Chore, Callable[[Any], object], asyncio.Future[Any]]] = deque()
        self._count = 0
        self._asleep: asyncio.Future[None] | None = None  # the task that writes, until there is something to do
        self.lull = asyncio.Event()  # see `base.EventLog.lull`
        self.lull.set()
        self._closing = False
        self._next_row = 1
        self.trouble: str | None = None  # why the last transaction failed, if it did

    async def append(self, entries: Sequence[Entry]) -> list[Answer]:
        """Write entries; the answers come when all of them are on disk. Raises Unavailable, LogFull."""
        return await self.submit(entries)

    def submit(self, entries: Sequence[Entry]) -> asyncio.Future[list[Answer]]:
        """As `append`, for who waits in no task."""
        if self._closing or self._count + len(entries) > QUEUE_ENTRIES:
            reason = "the log is closing" if self._closing else "too many reports wait to be written"
            raise Unavailable(f"{reason}; nothing was written", retry_after=1)
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, future))
        self._count += len(entries)
        if len(entries) >= LARGE_ENTRIES:
            self.lull.clear()
        self._wake()
        return future

    async def chore(
        self, work: Callable[[sqlite3.Connection], _T], then: Callable[[_T], object] = lambda _: None
    ) -> _T:
        """Run something on the connection between two transactions, and `then` on the loop, before the next one."""
        if self._closing:
            raise Unavailable("the log is closing", retry_after=1)
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._chores.append((work, then, future))
        self._wake()
        return await future

    async def probe(self) -> None:
        """Write something that changes nothing, to see whether the trouble is over. Raises Unavailable, LogFull."""
        touch = [("BEGIN IMMEDIATE", [()]), (_TOUCH, [()]), ("COMMIT", [()])]
        await self.chore(lambda db: db.executemany(TRANSACTION, touch))
        self.trouble = None

    def close(self) -> None:
        """Take no more entries; `run` returns when what waits is written."""
        self._closing = True
        self._wake()

    def _wake(self) -> None:
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)

    async def run(self) -> None:
        """Write until closed. The one task that owns all writes; if it dies, whoever waits is told."""
        crowded = False  # several producers met in the last transaction: nobody who is alone has to wait for others
        try:
            self._next_row = await one(self._db, _NEXT_ROW)
            while not self._closing or self._waiting or self._chores:
                if self._waiting:
                    for _ in range(LINGER_TURNS if crowded else 0):
                        await asyncio.sleep(0)
                    groups = self._take()
                    crowded = len(groups) > 1
                    await self._transaction(groups)
                if self._chores:
                    await self._do(*self._chores.popleft())
                elif not self._waiting and not self._closing:
                    self._asleep = asyncio.get_running_loop().create_future()
                    await self._asleep
        finally:
            self._closing = True
            self.lull.set()
            futures: list[asyncio.Future[Any]] = [waiting[-1] for waiting in self._waiting]
            for future in futures + [waiting[-1] for waiting in self._chores]:
                settle(future, error=Unavailable("the log is closed; nothing was written", retry_after=5))

    def _take(self) -> list[Group]:
        taken: list[Group] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0][0]) <= BATCH_ENTRIES):
            taken.append(self._waiting.popleft())
            count += len(taken[-1][0])
        self._count -= count
        return taken

    async def _do(self, work: Chore, then: Callable[[Any], object], future: asyncio.Future[Any]) -> None:
        try:
            result = await call(self._db, work)
            then(result)
        except sqlite3.Error as error:
            await self._failed(error)
            settle(future, error=write_error(error))
        except Exception as error:
            await self._recover()
            settle(future, error=error)
        else:
            settle(future, result)

    async def _transaction(self, taken: Sequence[Group]) -> None:
        entries = [entry for group, _ in taken for entry in group]
        refusal: GatewayError = Internal()
        answers: list[Answer] | None = None
        try:
            answers = await self._commit(entries)
        except sqlite3.Error as error:
            refusal = write_error(error)
            refusal.__cause__ = error
            await self._failed(error)
        except Exception as error:
            # A fault of ours may not end the one task that writes: these producers are told, the next are served.
            logger.exception("a batch of %d entries failed", len(entries))
            refusal.__cause__ = error
            await self._recover()
        finally:
            self.lull.set()
            for group, future in taken:
                if answers is None:
                    settle(future, error=refusal)
                else:
                    settle(future, answers[: len(group)])
                    answers = answers[len(group) :]

    async def _commit(self, entries: Sequence[Entry]) -> list[Answer]:
        known, missing = known_of(self._hot, entries)
        if missing:
            await self._read(missing, known)
        keyed = [entry for entry in entries if entry.key is not None]
        keys = await self._keys(keyed, known) if keyed else {}
        now_ms = max(int(self._clock().timestamp() * 1000), self._extent.now)
        now = stamp(datetime.fromtimestamp(now_ms / 1000, UTC))
        batch = Batch(self._extent, self._next_row, now, now_ms, known, keys)
        results = await self._work_out(batch, entries)
        if batch.records or batch.rows.keys:
            steps = statements(batch, self._db.in_transaction)
            if len(entries) >= LARGE_ENTRIES:
                loop = asyncio.get_running_loop()
                steps.insert(-1, (CALL, [lambda _: loop.call_soon_threadsafe(self.lull.set)]))
            await self._db.executemany(TRANSACTION, steps)
            self._commit_seen(batch, now_ms)
        elif self._db.in_transaction:
            await self._roll_back()
        return [await self._replayed(result) if isinstance(result, Replay) else result for result in results]

    async def _work_out(self, batch: Batch, entries: Sequence[Entry]) -> list[Outcome | Replay | GatewayError]:
        results: list[Outcome | Replay | GatewayError] = []
        until = time.perf_counter() + SLICE_SECONDS
        for entry in entries:
            before = batch.head, len(batch.rows.keys)
            try:
                results.append(batch.add(entry))
            except GatewayError as error:
                results.append(error)
            except Exception:
                if before != (batch.head, len(batch.rows.keys)):
                    raise  # half of it is in the batch: none of the batch may be written
                logger.exception("an entry for %s/%s failed", entry.workspace, entry.id)
                results.append(Internal())
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + SLICE_SECONDS
        return results

    def _commit_seen(self, batch: Batch, now_ms: int) -> None:
        self.trouble = None
        self._next_row = batch.next_row
        self._hot.put(batch.touched)
        if batch.records:
            self._extent.head, self._extent.now = batch.head, now_ms
            self._published(RecordPage(batch.records, batch.head))

    async def _read(self, missing: Sequence[tuple[str, str]], known: Known) -> None:
        await self._begin()
        wanted = orjson.dumps(missing).decode()
        for hot in await call(
            self._db, lambda db: [hot_job(db, row) for row in db.execute(BY_IDENTITIES, (wanted,)).fetchall()]
        ):
            known.add_read(hot)

    async def _keys(self, keyed: Sequence[Entry], known: Known) -> dict[tuple[str, str], KnownKey]:
        await self._begin()
        probe = Batch(self._extent, 0, "", 0, known, {})
        wanted = [(probe.scope(entry), entry.key.key) for entry in keyed if entry.key is not None]
        rows = await self._db.execute_fetchall(_KEYS, (orjson.dumps(wanted).decode(),))
        return {(row[0], row[1]): KnownKey(*row[2:]) for row in rows}

    async def _replayed(self, replay: Replay) -> Answer:
        try:
            return await call(self._db, lambda db: replayed(db, replay))
        except GatewayError as error:
            return error
        except sqlite3.Error as error:
            # What the others reported is on disk by now: a failed read may not take that back.
            logger.exception("an answer that was given before can't be read")
            return write_error(error)

    async def _begin(self) -> None:
        if not self._db.in_transaction:
            await self._db.execute_fetchall("BEGIN IMMEDIATE")

    async def _roll_back(self) -> None:
        if self._db.in_transaction:
            await self._db.execute_fetchall("ROLLBACK")

    async def _failed(self, error: sqlite3.Error) -> None:
        self.trouble = f"the log can't be written: {error}"
        logger.error("%s", self.trouble)
        await self._recover()

    async def _recover(self) -> None:
        try:
            await self._roll_back()
            # Whether a commit that failed is on disk is for the file to say, not for us.
            self._hot.clear()
            self._extent.head = await one(self._db, HEAD)
            self._next_row = await one(self._db, _NEXT_ROW)
        except sqlite3.Error as second:
            logger.error("the log can't be read either: %s", second)


def replayed(db: sqlite3.Connection, replay: Replay) -> Answer:
    """The answer that was given before; where its record was compacted, the job as it stands."""
    for row in db.execute(BY_ROW, (replay.row,)).fetchall():
        standing = hot_job(db, row)
        if standing.deleted:
            return JobDeleted()
        for base, body in db.execute(_RECORD, (replay.row, replay.offset)).fetchall():
            data = whole(db, replay.row, replay.offset, base, body)
            job = from_json(orjson.loads(data))
            standing = replace(standing, job=job, document=data, last=replay.offset)
        return Outcome(standing, replay.made, replayed=True)
    return JobDeleted()
