"""One reader's stream: snapshot or replay, then live, without gap or duplicate.

The cursor law: a frame's id promises that everything owed to this subscription up to that position has been written to
it. So history comes before live, what can't be resumed from has no id, and what is withheld goes out, in the order of
the log, before any frame with a higher id.

A subscription is in one of three hands. While it catches up a task reads the log from its cursor, with back-pressure.
Caught up, it has no task: the hub writes to it directly, and at the first write that would block it falls back to a
task; so a slow reader costs a position, not a queue. In the end it is nobody's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from gateway import frames
from gateway.eventlog.base import EventLog
from gateway.hub import Hub
from gateway.record import PROGRESS, Record
from gateway.wanted import Ends, JobKey, Start, Wanted, Wire, conflated

logger = logging.getLogger(__name__)

PAGE_RECORDS = 256  # read at once while catching up
STUCK_SECONDS = 30.0  # a reader that takes nothing for so long is closed; its cursor lets it come back
SNAPSHOTS = 1000  # jobs shown at once; the newest


class Subscription:
    """One open stream. `run` opens it over a wire; `closed` is called once when it is over."""

    def __init__(
        self, log: EventLog, hub: Hub, wanted: Wanted, start: Start, now: Callable[[], str], busy: bool = False
    ) -> None:
        self._log, self._hub, self._wanted, self._now = log, hub, wanted, now
        self.match, self.form = wanted.match, wanted.form
        self._start, self._busy = start, busy
        self._wire: Wire  # from `open` on
        self._task: asyncio.Task[None] | None = None
        self.cursor = start.after or 0
        self._asked_until = hub.dispatched if start.after is not None else 0  # history asked for is not conflated
        self._opened = self._live = self._over = self._beat_due = False
        self._pending: dict[JobKey, Record] = {}
        self._due = 0.0
        self._ends = Ends(wanted.match.jobs)
        self.closed: Callable[[], None] = lambda: None

    # Opening and closing

    def open(self, wire: Wire) -> None:
        """Begin to write; the response's head has been sent."""
        self._wire, self._opened = wire, True
        self._spawn(self._open)

    def close(self) -> None:
        """The connection is gone, or the response is over."""
        if self._over:
            return
        self._over, self._live = True, False
        self._hub.remove(self)
        self._pending.clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self.closed()

    async def farewell(self) -> None:
        """End the stream so that its reader comes back, later than others of its kind."""
        if self._over or not self._opened:
            return
        wire, task = self._wire, self._task
        self.close()
        if task is not None:
            await asyncio.wait([task])
        data = frames.retry(self.form, frames.FAREWELL_MS)
        try:
            if task is not None or not wire.try_write(data):
                await asyncio.wait_for(wire.write(data), 1.0)
            await asyncio.wait_for(wire.end(), 1.0)
        except (OSError, TimeoutError):
            wire.abort()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._task = asyncio.get_running_loop().create_task(self._guard(work))

    async def _guard(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
            if self._over:
                await self._wire.end()
        except (OSError, TimeoutError):
            self._drop()
        except Exception as fault:
            self._drop(fault)  # its reader comes back with its cursor, and finds nothing missing
        finally:
            self._task = None

    def _drop(self, fault: Exception | None = None) -> None:
        if fault is not None:
            logger.error("a stream failed at offset %d", self.cursor, exc_info=fault)
        self.close()
        self._wire.abort()

    async def _open(self) -> None:
        if self._busy:
            await self._write(frames.busy(self.form))
            self.close()
            return
        await self._write(frames.retry(self.form))
        if self._start.after is None:
            await self._snapshot(self._start.reason)
        else:
            self._beat_due = True
        await self._catch_up()

    # Catching up

    async def _catch_up(self) -> None:
        while not self._over:
            if self.cursor < self._hub.dispatched:
                await self._read_on()
            elif not self._ends.known:
                await self._ends.look(self._log, self.cursor)
            elif self._beat_due:
                self._beat_due = False
                await self._write(frames.sync(self.form, self._log.position(self.cursor), self._now()))
            else:
                self._hub.add(self)  # no await since the look at `dispatched`: nothing can have come between
                self._live = True
                return
            await self._end_if_all_ended()

    async def _read_on(self) -> None:
        asked = self.cursor < self._asked_until
        page = None if asked else self._hub.recent(self.cursor, self.match, PAGE_RECORDS)
        if page is None:
            until = min(self._hub.dispatched, self._asked_until) if asked else self._hub.dispatched
            page = await self._log.read(self.cursor, until, self.match, PAGE_RECORDS)
            # Looked at after the read: what was taken away before it is under the floor by now.
            if self.cursor < self._log.floor and await self._is_expired():
                await self._snapshot("expired")
                return
        records = list(page.records)
        if not asked and self._wanted.min_interval != 0:
            records = conflated(records)
        await self._write_all(frames.of_record(record, self.form) for record in records)
        self.cursor = page.scanned
        self._ends.note(page.records)

    async def _is_expired(self) -> bool:
        if self._wanted.one is None:
            return self.cursor < self._log.floor
        floor = await self._log.floor_of(self._wanted.one)
        return floor is None or self.cursor < floor

    async def _write_all(self, blocks: Iterable[bytes]) -> None:
        for chunk in frames.chunks(blocks):
            await self._write(chunk)

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

    # Live: called by the hub, which never waits

    def push(self, records: Sequence[Record], data: bytes, final: bool) -> None:
        """Records that match, in order, and their frames together."""
        last = records[-1].offset
        if not self._live or last <= self.cursor:
            return
        if records[0].offset <= self.cursor:
            records = [record for record in records if record.offset > self.cursor]
            data = frames.of_records(records, self.form)
        if self._wanted.min_interval:
            self._withhold(records)
        elif self._put(data):
            self.cursor = last
        if final and self._live:
            self._ends.note(records)
            if self._ends.all:
                self._hand_over()  # to a task, which writes the last frame and ends the body

    def beat(self) -> None:
        """Say how far the reader has everything."""
        if self.flush(now=True):
            position = self._log.position(max(self.cursor, self._hub.completed))
            self._beat_due = not self._put(frames.sync(self.form, position, self._now()))

    def flush(self, now: bool = False) -> bool:
        """Send what `min_interval` has withheld, if its time has come; False if the hub has no business here (now)."""
        if self._live and self._pending and (now or time.monotonic() >= self._due):
            self._send(list(self._pending.values()))
        return self._live

    def _withhold(self, records: Iterable[Record]) -> None:
        if not self._pending:
            self.cursor = max(self.cursor, self._hub.completed)  # from here on only what is written counts
        out: list[Record] = []
        for record in records:
            if record.event == PROGRESS:
                self._pending.pop(record.key, None)
                self._pending[record.key] = record
            else:
                out += [*self._pending.values(), record]
                self._pending.clear()
        kept, self._pending = self._pending, {}
        if out:
            self._send(out)
        if self._live:
            self._pending = kept
            self.flush()
        if self._live and self._pending:
            self._hub.withheld.add(self)

    def _send(self, records: list[Record]) -> None:
        if self._put(frames.of_records(records, self.form), pinned=True):
            self.cursor = records[-1].offset
            self._pending.clear()
            self._hub.withheld.discard(self)
            self._due = time.monotonic() + (self._wanted.min_interval or 0)

    def _put(self, data: bytes, pinned: bool = False) -> bool:
        try:
            if self._wire.try_write(data):
                return True
        except OSError:
            self._drop()
            return False
        except Exception as fault:
            self._drop(fault)  # it may not end the follower, which all streams live on
            return False
        self._hand_over(pinned)
        return False

    def _hand_over(self, pinned: bool = False) -> None:
        """The socket does not drain, or the stream is to end: a task goes on from the cursor. `pinned`: what had been
        withheld is not written, so that the cursor stands and may not follow the hub."""
        self._live = False
        self._hub.remove(self)
        if not pinned:
            self.cursor = max(self.cursor, self._hub.completed)
        self._pending.clear()
        self._spawn(self._go_on)

    async def _go_on(self) -> None:
        await self._end_if_all_ended()
        await self._catch_up()
