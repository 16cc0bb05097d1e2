"""The half of a stream that waits: snapshot and history, read from the log with back-pressure until nothing is owed.

One task does this for one stream, and no other hand writes to the stream meanwhile. Its own memory is one page: where
the socket does not drain it stands at its cursor. What many streams want at once is read for a few at a time, in the
order in which they asked, so that a herd that comes back leaves the log to producers and single reads too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from gateway import frames
from gateway.eventlog.base import EventLog, RecordPage, Standing
from gateway.frames import Form
from gateway.hub import Hub
from gateway.record import Filter
from gateway.wanted import Ends, JobKey, Start, Wanted, Wire, conflated

PAGE_RECORDS = 256  # read at once while catching up
STUCK_SECONDS = 30.0  # a reader that takes nothing for so long is closed; its cursor lets it come back
SNAPSHOTS = 1000  # jobs shown at once; the newest


class CatchingUp:
    """Where a stream is, and how it gets from there to where the hub is. `cursor` is the offset up to which everything
    owed has been written."""

    __slots__ = (
        "_asked_until",
        "_beat_due",
        "_due",
        "_ends",
        "_hub",
        "_live",
        "_log",
        "_now",
        "_over",
        "_start",
        "_wanted",
        "_wire",
        "cursor",
    )

    def __init__(self, log: EventLog, hub: Hub, wanted: Wanted, start: Start, now: Callable[[], str]) -> None:
        self._log, self._hub, self._wanted, self._now, self._start = log, hub, wanted, now, start
        self._wire: Wire  # from `open` on
        self.cursor = start.after or 0
        self._asked_until = hub.dispatched if start.after is not None else 0  # history asked for is not conflated
        self._live = self._over = self._beat_due = False
        self._due = 0.0  # when the next progress may be written, where the reader asked for an interval
        self._ends = Ends(wanted.match.jobs)

    @property
    def match(self) -> Filter:
        """Which jobs it is about."""
        return self._wanted.match

    @property
    def form(self) -> Form:
        """How its frames look."""
        return self._wanted.form

    def close(self) -> None:
        """The connection is gone, or the response is over."""
        raise NotImplementedError

    def _first(self, standing: Standing) -> bytes | None:
        """What the stream of an unfinished job, as it stands, begins with, where memory holds all of it; None where
        that has to be read. With these bytes the stream has caught up, so that `_go_live` has to follow at once."""
        if self._start.reason is not None:
            return None
        if self._start.after is None:
            self.cursor = self._log.head
            told = frames.snapshot(self.form, standing.document, self._log.position(self.cursor))
        else:
            page = self._hub.recent(self.cursor, self.match, PAGE_RECORDS)
            if page is None or page.scanned < self._hub.dispatched:
                return None
            if sum(len(record.document) for record in page.records) > frames.CHUNK_BYTES:
                return None  # piece by piece, so that who takes nothing holds no more than a piece
            self.cursor = max(self.cursor, page.scanned)
            told = frames.of_records(page.records, self.form)
        self._asked_until, self._ends.known = 0, True  # what is unfinished has not ended by any cursor
        return frames.retry(self.form) + told + self.sync(self.cursor)

    def sync(self, offset: int) -> bytes:
        """What says that everything up to there has been written."""
        return frames.sync(self.form, self._log.position(offset), self._now())

    def _go_live(self) -> None:
        """From here on the hub writes."""
        raise NotImplementedError

    async def _open(self) -> None:
        await self._write(frames.retry(self.form))
        if self._start.after is None:
            await self._snapshot(self._start.reason)
        else:
            self._beat_due = True
        await self._catch_up()

    async def _catch_up(self) -> None:
        while not self._over:
            await self._drained()
            if self.cursor < self._hub.dispatched:
                await self._read_on()
            elif not self._ends.known:
                await self._ends.look(self._log, self.cursor)
            elif self._beat_due:
                self._beat_due = False
                await self._write(self.sync(self.cursor))
            else:
                self._go_live()  # no await since the look at `dispatched`: nothing can have come between
                return
            await self._end_if_all_ended()

    async def _read_on(self) -> None:
        asked = self.cursor < self._asked_until
        page = None if asked else self._hub.recent(self.cursor, self.match, PAGE_RECORDS)
        encode = frames.of_record
        if page is None:
            encode = frames.of_read
            until = min(self._hub.dispatched, self._asked_until) if asked else self._hub.dispatched
            page = await self._read(until)
            # Looked at after the read: what was taken away before it is under the floor by now.
            if self.cursor < self._log.floor and await self._is_expired():
                await self._snapshot("expired")
                return
        records = list(page.records)
        if not asked and self._wanted.min_interval != 0:
            records = conflated(records)
        form = self.form
        await self._write_all(encode(record, form) for record in records)
        self.cursor = page.scanned
        if not asked:
            self._due = time.monotonic() + (self._wanted.min_interval or 0)
        self._ends.note(page.records)

    async def _read(self, until: int) -> RecordPage:
        async with self._hub.admission:
            return await self._log.read(self.cursor, until, self.match, PAGE_RECORDS)

    async def _is_expired(self) -> bool:
        if self._wanted.one is None:
            return self.cursor < self._log.floor
        async with self._hub.admission:
            floor = await self._log.floor_of(self._wanted.one)
        return floor is None or self.cursor < floor

    async def _write_all(self, blocks: Iterable[bytes]) -> None:
        for chunk in frames.chunks(blocks):
            await self._write(chunk)
            await self._drained()  # before the next is put together: who waits here holds nothing of its own

    async def _drained(self) -> None:
        async with asyncio.timeout(STUCK_SECONDS):
            await self._wire.drained()

    async def _write(self, data: bytes) -> None:
        if data:
            async with asyncio.timeout(STUCK_SECONDS):
                await self._wire.write(data)

    async def _snapshot(self, reason: str | None) -> None:
        """Show what there is now, and go on from there."""
        if reason is not None:
            floor = self._log.floor
            if self._wanted.one is not None:
                floor = await self._log.floor_of(self._wanted.one) or 0
            oldest, head = self._log.position(floor), self._log.position(self._log.head)
            await self._write(frames.reset(self.form, reason, (self._wanted.cursor or "")[:100], oldest, head))
        if self._wanted.one is None:
            await self._snapshot_many()
        else:
            await self._snapshot_one(self._wanted.one)
        self._asked_until = 0

    async def _snapshot_one(self, key: JobKey) -> None:
        found = await self._log.standing(*key)
        if found is None or found[0].deleted:
            await self._end("deleted")
            return
        standing, head = found
        await self._write(frames.snapshot(self.form, standing.document, self._log.position(head)))
        self.cursor, self._ends.known = head, True
        if standing.job.terminal:
            await self._end("terminal")
        else:
            self._beat_due = True

    async def _snapshot_many(self) -> None:
        async with self._hub.admission:
            page = await self._log.jobs(self.match, None, SNAPSHOTS)
        await self._write_all(frames.snapshot(self.form, standing.document, None) for standing in page.standings)
        self.cursor = page.head
        shown = {"shown": len(page.standings), "matched": page.matched}
        await self._write(frames.sync(self.form, self._log.position(page.head), self._now(), shown))

    async def _end_if_all_ended(self) -> None:
        if not self._over and self._ends.all:
            found = None if self._wanted.one is None else await self._log.standing(*self._wanted.one)
            gone = self._wanted.one is not None and (found is None or found[0].deleted)
            await self._end("deleted" if gone else "terminal")

    async def _end(self, reason: str) -> None:
        await self._write(frames.end(self.form, reason))
        self.close()
