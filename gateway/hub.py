"""In-process fan-out: topic, form, subscriptions. Never waits for a reader.

Law: the follower alone feeds the hub, in the order of the log. What one subscription has been given is its cursor, or
`completed` where that is greater; a batch that is being handed out counts as dispatched from its first byte on, so that
whoever joins in its midst reads it from `recent` first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gateway import frames
from gateway.eventlog.base import RecordPage
from gateway.frames import Form
from gateway.record import Filter, Record, is_end

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.002  # of fan-out before the loop gets a turn; producers and other readers wait no longer
SLICE_STREAMS = 32  # between two looks at the clock
RING_RECORDS = 2048  # dispatched lately and kept, so that a reader a little behind needs no read of the file
RING_BYTES = 8 * 2**20  # of their documents
WHEEL_SECONDS = 0.1  # how exact `min_interval` is
READS_AT_ONCE = 4  # of streams that catch up: whoever reads one job that is not in memory waits for no more of them


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that match, in order, the offsets of the first and the last, and their frames together; `final`: a job
    among them has ended."""

    records: Sequence[Record]
    first: int
    last: int
    data: bytes
    final: bool


class Subscriber(Protocol):
    """What the hub hands records to. Nothing here may wait."""

    @property
    def match(self) -> Filter:
        """Which jobs it is about."""

    @property
    def form(self) -> Form:
        """How its frames look."""

    def push(self, batch: Batch) -> None:
        """Take it, if it is new here."""

    def beat(self) -> None:
        """It is time to say where the reader is."""

    def flush(self) -> bool:
        """Time has passed: send what `min_interval` has withheld, if it is due. False if it left the hub."""

    def fail(self) -> None:
        """One of these has failed: drop the reader, who comes back."""


class Hub:
    """Subscriptions by what they match and the form they want, so that each batch is joined once for each such pair."""

    def __init__(self, head: int) -> None:
        self.dispatched = head  # handed out, the batch under way included
        self.completed = head  # handed out to everybody
        self.withheld: set[Subscriber] = set()
        self._any_withheld = asyncio.Event()
        self.admission = asyncio.Semaphore(READS_AT_ONCE)  # fair: who came first reads first
        self._topics: dict[Filter, dict[Form, dict[Subscriber, None]]] = {}
        self._by_job: dict[tuple[str, str], set[Filter]] = {}
        self._wide: set[Filter] = set()
        self._waiting: dict[tuple[str, str], set[asyncio.Future[None]]] = {}
        self._ring: deque[Record] = deque()
        self._ring_size = 0
        self._ring_after = head  # the ring holds every record after this offset

    def add(self, subscriber: Subscriber) -> None:
        """Hand it what comes after `dispatched`; no await may lie between the look at that and this call."""
        forms = self._topics.get(subscriber.match)
        if forms is None:
            forms = self._topics[subscriber.match] = {}
            if subscriber.match.jobs:
                for key in subscriber.match.jobs:
                    self._by_job.setdefault(key, set()).add(subscriber.match)
            else:
                self._wide.add(subscriber.match)
        forms.setdefault(subscriber.form, {})[subscriber] = None

    def remove(self, subscriber: Subscriber) -> None:
        """Hand it nothing more; harmless if it was not there."""
        self.withheld.discard(subscriber)
        forms = self._topics.get(subscriber.match, {})
        group = forms.get(subscriber.form, {})
        if group.pop(subscriber, 0) == 0:
            return
        if not group:
            del forms[subscriber.form]
        if not forms:
            del self._topics[subscriber.match]
            self._wide.discard(subscriber.match)
            for key in subscriber.match.jobs:
                topics = self._by_job[key]
                topics.discard(subscriber.match)
                if not topics:
                    del self._by_job[key]

    def __len__(self) -> int:
        return sum(len(group) for forms in self._topics.values() for group in forms.values())

    def change(self, key: tuple[str, str]) -> asyncio.Future[None]:
        """A future that is done when the job has its next record; cancel it to stop waiting."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(future)
        future.add_done_callback(lambda done: self._forget(key, done))
        return future

    def wake(self) -> None:
        """Let everybody who waits for a change look again: none may come any more."""
        for waiting in list(self._waiting.values()):
            for future in tuple(waiting):
                if not future.done():
                    future.set_result(None)

    def recent(self, after: int, match: Filter, limit: int) -> RecordPage | None:
        """Records dispatched after an offset, from memory; None where that does not reach back so far."""
        if after < self._ring_after:
            return None
        found: list[Record] = []
        for record in self._since(after):
            if match.matches(record):
                found.append(record)
                if len(found) == limit:
                    return RecordPage(found, record.offset)
        return RecordPage(found, self.dispatched)

    async def dispatch(self, page: RecordPage) -> None:
        """Hand out a batch; returns when everybody has it, or has been told to fetch it."""
        self._keep(page)
        self.dispatched = page.scanned
        for record in page.records:
            for future in tuple(self._waiting.get(record.key, ())):
                if not future.done():
                    future.set_result(None)
        pace = _Pace()
        for topic, records in self._sorted(page.records):
            final = any(is_end(record) for record in records)
            for form, group in list(self._topics.get(topic, {}).items()):
                data = frames.of_records(records, form)
                batch = Batch(records, records[0].offset, records[-1].offset, data, final)
                for few in _by_few(group):
                    for subscriber in few:
                        try:
                            subscriber.push(batch)
                        except Exception as fault:
                            self._fail(subscriber, fault)
                    if pace.is_over():
                        await asyncio.sleep(0)
        self.completed = page.scanned

    async def beat(self) -> None:
        """Tell all caught-up readers where they are."""
        pace = _Pace()
        for forms in list(self._topics.values()):
            for group in list(forms.values()):
                for few in _by_few(group):
                    for subscriber in few:
                        try:
                            subscriber.beat()
                        except Exception as fault:
                            self._fail(subscriber, fault)
                    if pace.is_over():
                        await asyncio.sleep(0)

    async def turn(self) -> None:
        """Run the wheel that flushes what `min_interval` withholds, while there is any; never ends."""
        while True:
            await self._any_withheld.wait()
            await asyncio.sleep(WHEEL_SECONDS)
            for subscriber in tuple(self.withheld):
                try:
                    subscriber.flush()
                except Exception as fault:
                    self._fail(subscriber, fault)
            if not self.withheld:
                self._any_withheld.clear()

    def withhold(self, subscriber: Subscriber) -> None:
        """Let the wheel ask it from now on, until it has nothing withheld."""
        self.withheld.add(subscriber)
        self._any_withheld.set()

    def _fail(self, subscriber: Subscriber, fault: Exception) -> None:
        """It has a defect, which may not end the follower, the heartbeat or the wheel: all streams live on these."""
        logger.error("a stream failed", exc_info=fault)
        self.remove(subscriber)
        with suppress(Exception):
            subscriber.fail()

    def _sorted(self, records: Sequence[Record]) -> list[tuple[Filter, list[Record]]]:
        found: dict[Filter, list[Record]] = {}
        for record in records:
            for topic in (*self._by_job.get(record.key, ()), *self._wide):
                if topic.matches(record):
                    found.setdefault(topic, []).append(record)
        return list(found.items())

    def _since(self, after: int) -> Iterator[Record]:
        newer = []
        for record in reversed(self._ring):
            if record.offset <= after:
                break
            newer.append(record)
        return reversed(newer)

    def _keep(self, page: RecordPage) -> None:
        for record in page.records:
            self._ring.append(record)
            self._ring_size += len(record.document)
        while self._ring and (len(self._ring) > RING_RECORDS or self._ring_size > RING_BYTES):
            gone = self._ring.popleft()
            self._ring_size -= len(gone.document)
            self._ring_after = gone.offset

    def _forget(self, key: tuple[str, str], future: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(key, set())
        waiting.discard(future)
        if not waiting:
            self._waiting.pop(key, None)


def _by_few(group: Iterable[Subscriber]) -> Iterator[tuple[Subscriber, ...]]:
    """Those who are in the group now, so many at a time as go between two looks at the clock."""
    everybody = tuple(group)
    for start in range(0, len(everybody), SLICE_STREAMS):
        yield everybody[start : start + SLICE_STREAMS]


class _Pace:
    def __init__(self) -> None:
        self._until = time.perf_counter() + SLICE_SECONDS

    def is_over(self) -> bool:
        """Whether the loop should get a turn now."""
        if time.perf_counter() < self._until:
            return False
        self._until = time.perf_counter() + SLICE_SECONDS
        return True
