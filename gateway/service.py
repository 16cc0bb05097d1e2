"""The use cases, one class: create, report, status, jobs, history, wish, delete, subscribe."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from gateway import past
from gateway.errors import GatewayError, JobDeleted, JobNotFound, Unavailable
from gateway.eventlog.base import Entry, JobPage, Key, Outcome, Standing
from gateway.eventlog.retention import Retention
from gateway.eventlog.sqlite import SqliteLog
from gateway.hub import Hub
from gateway.ids import new_id
from gateway.job import Delete, Wish, stamp
from gateway.leases import Leases
from gateway.record import Filter, Record
from gateway.report import Identity, Report
from gateway.settings import Settings
from gateway.stream import Subscription
from gateway.values import DEFAULT_WORKSPACE
from gateway.wanted import Start, Wanted, begin, begin_with

logger = logging.getLogger(__name__)

RECOVERY_SECONDS = 2.0  # between two tries to write after a transaction failed, so that readiness returns by itself
TEND_SECONDS = 10.0  # between two looks for what is due to be compacted
TEND_PAUSE = 0.005  # after each step of compaction; leaves the writer to the producers
SHORT_PATIENCE = 0.1  # seconds at least for a reader to take its farewell
MAX_PACE = 30  # seconds; the longest polling hint: a job may always end sooner than it used to move


class Gateway:
    """The gateway behind every dialect. `start` before the first call, `stop` after the last."""

    log: SqliteLog
    hub: Hub
    _leases: Leases

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.streams: set[Subscription] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: asyncio.Task[None] | None = None
        self._why_not: str | None = "the gateway has not started"

    # Life

    async def start(self) -> None:
        """Open the log and begin to follow it. Raises LogUnusable."""
        self.log = await SqliteLog.open(self.settings.database, new_epoch=self.settings.new_epoch)
        self.hub = Hub(self.log.head)
        self._leases = Leases(self.log)
        self._writing = self._watch("the writer", self.log.run())
        self._watch("the follower", self._follow())
        self._watch("the fan-out", self.hub.run())
        self._watch("the heartbeat", self._beat())
        self._watch("the wheel", self.hub.turn())
        self._watch("the lease watch", self._leases.watch(await self.log.leased()))
        self._watch("compaction", self._tend())
        self._why_not = None

    async def stop(self) -> None:
        """Write what waits, and close the log."""
        if self._writing is None:
            return
        self.drain()
        await self.farewell(0)
        self.log.stop_writing()
        await asyncio.wait([self._writing])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.log.close()
        self._writing = None

    def drain(self) -> None:
        """Be no longer ready, take no more writes, and answer those who wait for a change."""
        self._why_not = self._why_not or "the gateway is shutting down"
        self.hub.wake()

    async def farewell(self, spread: float) -> None:
        """End all streams, spread over so many seconds, each with a time after which to come back."""
        streams = list(self.streams)
        patience = max(spread / 2, SHORT_PATIENCE)
        begin = time.monotonic()
        leaving: set[asyncio.Task[None]] = set()
        for number, stream in enumerate(streams):
            leaving.add(asyncio.create_task(stream.farewell(patience)))
            ahead = begin + spread * number / len(streams) - time.monotonic()
            if ahead > 0.01 or number % 64 == 63:
                await asyncio.sleep(max(ahead, 0))
        if leaving:
            await asyncio.wait(leaving)

    def readiness(self) -> str | None:
        """Why the gateway is not ready; None when it is."""
        return self._why_not or (self.log.trouble if self._writing is not None else None)

    # Writing

    async def create(self, identity: Identity, report: Report, *, digest: bytes, key: Key | None, by: str) -> Outcome:
        """A new job, or the one that the same body created before. Raises JobExists, JobDeleted, KeyReused."""
        workspace = identity.workspace or DEFAULT_WORKSPACE
        job_id = identity.id or new_id()
        named = None if identity.id is None else digest
        entry = Entry(workspace, job_id, (report,), by, identity._replace(id=job_id), fresh=True, digest=named, key=key)
        return await self._append(entry)

    async def report(
        self,
        workspace: str,
        job_id: str,
        reports: Sequence[Report],
        *,
        key: Key | None = None,
        expect: str | None = None,
        by: str,
    ) -> Outcome:
        """Reports of a job, all or none. Raises JobNotFound, JobDeleted, IllegalTransition, JobFinished,
        PreconditionFailed, KeyReused, TooLarge, LogFull, Unavailable."""
        return await self._append(Entry(workspace, job_id, tuple(reports), by, key=key, expect=expect))

    async def bulk(self, entries: Sequence[Entry]) -> list[Outcome | GatewayError]:
        """Reports of many jobs, each by itself; a job not known is created."""
        self._check_writable()
        answers = await self.log.append(entries)
        for answer in answers:
            if isinstance(answer, Outcome) and not answer.replayed:
                self._leases.renew(answer.standing.job)
        return answers

    async def wish(self, workspace: str, job_id: str, kind: str, *, key: Key | None = None, by: str) -> Outcome:
        """A reader's wish: cancel, pause or resume. Raises JobNotFound, JobDeleted, IllegalTransition, JobFinished."""
        outcome = await self._append(Entry(workspace, job_id, (Wish(kind),), by, key=key), renew=False)
        self._leases.track(outcome.standing.job)
        return outcome

    async def delete(self, workspace: str, job_id: str, *, by: str) -> None:
        """Delete a finished job. Raises JobNotFound, JobDeleted, JobNotFinished."""
        await self._append(Entry(workspace, job_id, (Delete(),), by), renew=False)

    def submit(self, entry: Entry) -> asyncio.Future[list[Outcome | GatewayError]]:
        """A report as of `report`, for who waits in no task; its answer goes to `heard`. Raises Unavailable."""
        self._check_writable()
        return self.log.submit([entry])

    def heard(self, answers: Sequence[Outcome | GatewayError], renew: bool = True) -> Outcome:
        """What the log said of one entry, whose job was heard of by it. Raises what it was refused with."""
        (answer,) = answers
        if isinstance(answer, GatewayError):
            raise answer
        if renew and not answer.replayed:
            self._leases.renew(answer.standing.job)
        return answer

    async def _append(self, entry: Entry, renew: bool = True) -> Outcome:
        return self.heard(await self.submit(entry), renew)

    def _check_writable(self) -> None:
        if self._why_not is not None:
            raise Unavailable(f"{self._why_not}; nothing was written", retry_after=2)

    # Reading

    def glance(self, workspace: str, job_id: str) -> Standing | None:
        """The job as it stands, if that can be told without waiting; tombstones are left to `standing`."""
        found = self.log.glance(workspace, job_id)
        return None if found is None or found.deleted else found

    async def standing(self, workspace: str, job_id: str) -> Standing:
        """The job of that id or alias as it stands. Raises JobNotFound, JobDeleted."""
        found = await self.log.standing(workspace, job_id)
        if found is None:
            raise JobNotFound(f"there is no job {job_id!r} in workspace {workspace!r}", job=job_id)
        if found[0].deleted:
            raise JobDeleted
        return found[0]

    async def wait(self, standing: Standing, seconds: float) -> Standing:
        """The job once it has moved on from `standing`, or as it still is after so many seconds."""
        job = standing.job
        change = self.hub.change(job.key)  # before the look, so that no change falls between the two
        try:
            now = await self.standing(*job.key)
            if now.last == standing.last and not job.terminal and self._why_not is None:
                await asyncio.wait([change], timeout=seconds)
                now = await self.standing(*job.key)
            return now
        finally:
            change.cancel()

    async def at(self, workspace: str, job_id: str, moment: str) -> Record:
        """The job's record that stood at a position or a time. Raises InvalidRequest, Compacted, JobNotFound."""
        return await past.at(self.log, await self.standing(workspace, job_id), moment)

    async def jobs(self, match: Filter, after: str | None, limit: int) -> JobPage:
        """Jobs that match, newest first. Raises InvalidCursor, Compacted for a foreign `after`."""
        return await self.log.jobs(match, None if after is None else past.page_offset(self.log, after, 0), limit)

    async def history(
        self, workspace: str, job_id: str, after: str | None, limit: int
    ) -> tuple[Sequence[Record], str | None]:
        """Records of a job in the order of the log, and the position after which the next page begins, if any does.

        Raises JobNotFound, JobDeleted, InvalidCursor, Compacted.
        """
        return await past.history(self.log, await self.standing(workspace, job_id), after, limit)

    def pace(self, standing: Standing) -> int:
        """After how many seconds a look at the job is worth while: its own mean time between two records."""
        job = standing.job
        begin, end = datetime.fromisoformat(job.created), datetime.fromisoformat(job.updated)
        return max(1, min(MAX_PACE, round((end - begin).total_seconds() / max(job.version - 1, 1))))

    # Streams

    async def subscribe(self, wanted: Wanted) -> Subscription | None:
        """A stream, not yet open; None where nothing will ever follow (204).

        Raises JobNotFound, JobDeleted, InvalidCursor.
        """
        wanted, start = await begin(self.log, wanted)
        return None if start is None else self._stream(wanted, start, self._is_busy())

    def subscribe_now(self, wanted: Wanted) -> Subscription | None:
        """As `subscribe`, of one job whose standing is known without reading; None where that has to be asked."""
        standing = None if wanted.one is None or self._is_busy() else self.log.hot(*wanted.one)
        if standing is None or standing.deleted:
            return None
        wanted, start = begin_with(self.log, wanted, standing)
        return None if start is None else self._stream(wanted, start, False)

    def _is_busy(self) -> bool:
        return len(self.streams) >= self.settings.max_streams or self._why_not is not None

    def _stream(self, wanted: Wanted, start: Start, busy: bool) -> Subscription:
        stream = Subscription(self.log, self.hub, wanted, start, _now, busy, another=self.subscribe_now)
        self.streams.add(stream)
        stream.closed = partial(self.streams.discard, stream)
        return stream

    # What runs in the background; nothing of it may die unseen

    def _watch(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._died)
        return task

    def _died(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._why_not = f"{task.get_name()} died: {error!r}"
            logger.critical("%s", self._why_not, exc_info=error)

    async def _follow(self) -> None:
        async for page in self.log.follow(self.hub.dispatched):
            await self.hub.dispatch(page)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.settings.heartbeat)
            await self.hub.beat()

    async def _tend(self) -> None:
        settings = self.settings
        rules = Retention(settings.progress_retention, settings.retention_age, settings.retention_records)
        while True:
            try:
                if self.log.trouble is not None:
                    await self.log.probe()
                while await self.log.tend(rules, datetime.now(UTC)):  # noqa: ASYNC110 - works, and does not wait
                    await asyncio.sleep(TEND_PAUSE)
            except GatewayError as error:
                logger.warning("compaction waits: %s", error)
            await asyncio.sleep(RECOVERY_SECONDS if self.log.trouble else TEND_SECONDS)


def _now() -> str:
    return stamp(datetime.now(UTC))
