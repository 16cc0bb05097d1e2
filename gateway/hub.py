"""In-process fan-out: topic, form, subscriptions. Never waits for a reader.

Law: the follower alone feeds the hub, in the order of the log. What is being handed out counts as dispatched from its
first byte on, so that whoever joins in its midst reads it from `recent` first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

from gateway.eventlog.base import RecordPage
from gateway.frames import Form
from gateway.group import AT_ONCE, Group, Subscriber
from gateway.record import Filter, Record

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.002  # of fan-out before the loop gets a turn; producers and other readers wait no longer
LAG_BYTES = 64 * 1024  # of documents that some have been handed and others not; the rest waits for its commit's turn
RING_RECORDS = 2048  # dispatched lately and kept, so that a reader a little behind needs no read of the file
RING_BYTES = 8 * 2**20  # of their documents
WHEEL_SECONDS = 0.1  # how exact `min_interval` is
READS_AT_ONCE = 4  # of streams that catch up: whoever reads one job that is not in memory waits for no more of them


class Hub:
    """Subscriptions by what they match and the form they want, so that each batch is joined once for each such pair.
    `run` has to go on beside the follower."""

    def __init__(self, head: int) -> None:
        self.dispatched = head  # handed out, the batch under way included
        self.withheld: set[Subscriber] = set()
        self._any_withheld = asyncio.Event()
        self.admission = asyncio.Semaphore(READS_AT_ONCE)  # fair: who came first reads first
        self._topics: dict[Filter, dict[Form, Group]] = {}
        self._due: deque[Group] = deque()  # those who are behind, whoever has waited longest first
        self._any_due = asyncio.Event()
        self._served = asyncio.Event()
        self._taken = 0  # bytes of documents so far
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
        group = forms.get(subscriber.form)
        if group is None:
            group = forms[subscriber.form] = Group(subscriber.match, subscriber.form, self._fail)
        group.add(subscriber, self.dispatched)

    def remove(self, subscriber: Subscriber) -> int | None:
        """Hand it nothing more; up to where it has been handed everything, None if it was not there."""
        self.withheld.discard(subscriber)
        forms = self._topics.get(subscriber.match, {})
        group = forms.get(subscriber.form)
        handed = None if group is None else group.remove(subscriber, self.dispatched)
        if handed is not None and not group:
            del forms[subscriber.form]
            self._forget_topic(subscriber.match, forms)
        return handed

    def _forget_topic(self, topic: Filter, forms: dict[Form, Group]) -> None:
        if not forms:
            del self._topics[topic]
            self._wide.discard(topic)
            for key in topic.jobs:
                topics = self._by_job[key]
                topics.discard(topic)
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

    @property
    def completed(self) -> int:
        """Everybody has been handed everything up to there."""
        return min((group.behind[0].after for group in self._due if group.behind), default=self.dispatched)

    async def dispatch(self, page: RecordPage) -> None:
        """Hand out a batch, beside what is being handed out; returns when more may come."""
        idle = not self._due
        self._take(page)
        for record in page.records if self._waiting else ():
            for future in tuple(self._waiting.get(record.key, ())):
                if not future.done():
                    future.set_result(None)
        if idle:
            self._serve()  # a turn of the loop sooner than by `run`
        if self._due:
            self._any_due.set()
        await asyncio.sleep(0)  # so many commits may wait that their slices together would be too long a turn
        while self._due and self._taken - self._due[0].taken > LAG_BYTES:
            self._served.clear()
            await self._served.wait()

    async def run(self) -> None:
        """Hand out what is due, a slice in each turn of the loop; never ends."""
        while True:
            await self._any_due.wait()
            while self._due:
                self._serve()
                await asyncio.sleep(0)
            self._any_due.clear()

    def _take(self, page: RecordPage) -> None:
        before, taken = self.dispatched, self._taken
        size = sum([len(record.document) for record in page.records])
        self._keep(page, size)
        self.dispatched = page.scanned
        self._taken += size
        for topic, records in self._sorted(page.records):
            for group in self._topics[topic].values():
                due = bool(group.behind)
                if group.take(records, before, taken) and not due:
                    self._due.append(group)

    def _serve(self) -> None:
        pace = _Pace()
        while self._due:
            if self._due[0].step():
                group = self._due.popleft()
                if group.behind:
                    self._due.append(group)
            if pace.is_over():
                break
        self._served.set()

    async def beat(self) -> None:
        """Tell all caught-up readers where they are."""
        pace = _Pace()
        for group in [group for forms in self._topics.values() for group in forms.values()]:
            for few in _by_few(group):
                group.beat(few, self.dispatched)
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
        for record in records if self._topics else ():
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

    def _keep(self, page: RecordPage, size: int) -> None:
        self._ring.extend(page.records)
        self._ring_size += size
        while self._ring and (len(self._ring) > RING_RECORDS or self._ring_size > RING_BYTES):
            gone = self._ring.popleft()
            self._ring_size -= len(gone.document)
            self._ring_after = gone.offset

    def _forget(self, key: tuple[str, str], future: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(key, set())
        waiting.discard(future)
        if not waiting:
            self._waiting.pop(key, None)


def _by_few(group: Group) -> Iterator[Sequence[Subscriber]]:
    """Those who are in the group now, so many at a time as go between two looks at the clock."""
    everybody = tuple(group)
    for start in range(0, len(everybody), AT_ONCE):
        yield everybody[start : start + AT_ONCE]


class _Pace:
    def __init__(self) -> None:
        self._until = time.perf_counter() + SLICE_SECONDS

    def is_over(self) -> bool:
        """Whether the loop should get a turn now."""
        if time.perf_counter() < self._until:
            return False
        self._until = time.perf_counter() + SLICE_SECONDS
        return True
