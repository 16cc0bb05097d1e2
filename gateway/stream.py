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
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any

from gateway import catchup, frames
from gateway.catchup import CatchingUp
from gateway.eventlog.base import EventLog
from gateway.group import Batch, Direct
from gateway.hub import Hub
from gateway.record import PROGRESS, Filter, Record
from gateway.wanted import JobKey, Start, Wanted, Wire

logger = logging.getLogger(__name__)


def _nobody() -> None:
    """Nobody has to be told."""


def _never(_: Wanted) -> None:
    """No second stream of this kind can be had at once."""


class Subscription(CatchingUp):
    """One open stream. `open` begins it over a wire; `closed` is called once when it is over. `another` gives a stream
    of what else is wanted, if that can be had at once."""

    __slots__ = ("_another", "_busy", "_opened", "_pending", "_plain", "_task", "closed", "seat")

    def __init__(
        self,
        log: EventLog,
        hub: Hub,
        wanted: Wanted,
        start: Start,
        now: Callable[[], str],
        busy: bool = False,
        *,
        another: Callable[[Wanted], Subscription | None] = _never,
    ) -> None:
        super().__init__(log, hub, wanted, start, now)
        self._busy, self._another = busy, another
        self._task: asyncio.Task[None] | None = None
        self._opened = False
        self._plain = False  # live, and whatever comes is written at once
        self.seat = -1  # see `group.Subscriber`
        self._pending: dict[JobKey, Record] = {}
        self.closed: Callable[[], None] = _nobody

    # Opening and closing

    def again(self) -> Callable[[str, str | None], Subscription | None] | None:
        """What opens a stream like this one, of a job that is named, from another cursor of the header, or none of its
        own; None where the stream can't be had at once. There is no such thing for a stream of many jobs."""
        wanted, another = self._wanted, self._another
        if wanted.one is None or another is _never:
            return None
        workspace, own = wanted.one
        plain = replace(wanted, cursor=None, header=False) if wanted.header else wanted

        def open_again(job: str, cursor: str | None) -> Subscription | None:
            asked = plain if cursor is None else replace(plain, cursor=cursor, header=True)
            if job != own:
                key = workspace, job
                asked = replace(asked, one=key, match=Filter(jobs=frozenset([key])))
            return another(asked)

        return open_again

    def ready(self) -> bytes | None:
        """What it begins with, if memory holds all of that; `live` has to follow at once. None: it has to be opened."""
        standing = None if self._busy or self._wanted.one is None else self._log.hot(*self._wanted.one)
        if standing is None or standing.deleted or standing.job.terminal:
            return None
        return self._first(standing)

    def live(self, wire: Wire) -> None:
        """What `ready` gave has been written."""
        self._wire, self._opened = wire, True
        self._go_live()

    def open(self, wire: Wire) -> None:
        """Begin to write; the response's head has been sent."""
        self._wire, self._opened = wire, True
        first = self.ready()
        try:
            if first is None:
                self._spawn(self._open)
            elif wire.try_write(first):
                self._go_live()
            else:
                self._spawn(lambda: self._open_with(first))
        except OSError:
            self._drop()

    async def _open_with(self, first: bytes) -> None:
        await self._write(first)
        await self._catch_up()

    def close(self) -> None:
        """The connection is gone, or the response is over."""
        if self._over:
            return
        self._over = True
        self._live = self._plain = False
        self._hub.remove(self)
        self._pending.clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        closed, self.closed = self.closed, _nobody  # which holds this stream: without it nothing waits for a collector
        closed()

    async def farewell(self, patience: float = 1.0) -> None:
        """End the stream so that its reader comes back, later than others of its kind; it has so many seconds to take
        that, and as many for the end."""
        if self._over or not self._opened:
            return
        wire, task = self._wire, self._task
        self.close()
        if task is not None:
            await asyncio.wait([task])
        data = frames.farewell(self.form)
        try:
            if task is not None or not wire.try_write(data):
                await asyncio.wait_for(wire.write(data), patience)
            await asyncio.wait_for(wire.end(), patience)
        except (OSError, TimeoutError):
            wire.abort()

    def _go_live(self) -> None:
        self._live, self._plain = True, not self._wanted.min_interval
        self._hub.add(self)

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._task = asyncio.get_running_loop().create_task(self._guard(work))

    async def _guard(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
            if self._over:
                async with asyncio.timeout(catchup.STUCK_SECONDS):
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
        else:
            await super()._open()

    # Live: called by the hub, which never waits

    def socket(self) -> Direct | None:
        """See `group.Subscriber`."""
        return self._wire.socket() if self._plain else None

    def push(self, batch: Batch) -> None:
        """Take a batch, if it is new here."""
        if not self._live or batch.last <= self.cursor:
            return
        records, data = batch.records, batch.data
        if batch.first <= self.cursor:
            records = [record for record in records if record.offset > self.cursor]
            data = frames.of_records(records, self.form)
        if self._wanted.min_interval:
            self._withhold(records, batch.after)
        elif self._put(data):
            self.cursor = batch.last
        if batch.final and self._live:
            self._ends.note(records)
            if self._ends.all:
                self._hand_over()  # to a task, which writes the last frame and ends the body

    def beat(self, offset: int) -> None:
        """Say how far the reader has everything."""
        if self.flush(now=True):
            self._beat_due = not self._put(self.sync(max(self.cursor, offset)))

    def flush(self, now: bool = False) -> bool:
        """Send what `min_interval` has withheld, if its time has come; False if the hub has no business here (now)."""
        if self._live and self._pending and (now or time.monotonic() >= self._due):
            self._send(list(self._pending.values()))
        return self._live

    def fail(self) -> None:
        """See `hub.Subscriber`."""
        self._drop()

    def _withhold(self, records: Iterable[Record], after: int) -> None:
        if not self._pending:
            self.cursor = max(self.cursor, after)  # from here on only what is written counts
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
            self._hub.withhold(self)

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
        self._live = self._plain = False
        handed = self._hub.remove(self)
        if handed is not None and not pinned:
            self.cursor = max(self.cursor, handed)
        self._pending.clear()
        self._spawn(self._go_on)

    async def _go_on(self) -> None:
        await self._end_if_all_ended()
        await self._catch_up()
