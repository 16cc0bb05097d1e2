"""What a log keeps in memory: its epochs and head, and the jobs as they stand that were written or read lately."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.eventlog.base import RecordPage, Standing, Unresumable
from gateway.record import Position, alias_of

HOT_BYTES = 12 * 2**20  # of documents; parsed each takes six times as much, and the process is to stay below 150 MiB
FEED_RECORDS = 4096  # that wait for the follower in memory; it is there within milliseconds
TOGETHER_BYTES = 64 * 1024  # of documents; about what a reader's socket takes at once
FEED_BYTES = 16 * 2**20  # of their documents
HOT_JOBS = 20_000  # each costs about 1 KiB beside its document


class Chain(NamedTuple):
    """Where a job's newest record is folded from: the whole body's offset, the number of changes since, their size."""

    base: int
    changes: int = 0
    size: int = 0


@dataclass(slots=True, eq=False)
class HotJob(Standing):
    """A job as it stands, its row in the database, its chain where that is known, the digest of its create body.

    Two are equal where they stand alike, whatever the rest is.
    """

    row: int = field(kw_only=True)
    chain: Chain | None = field(default=None, kw_only=True)
    digest: bytes | None = field(default=None, kw_only=True)


class HotJobs:
    """Jobs as they stand, the least recently used thrown out first. Only what is committed enters."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[tuple[str, str], HotJob] = OrderedDict()
        self._aliases: dict[tuple[str, str], str] = {}
        self._size = 0
        self.losses = 0  # how often something that was kept here, or could be, was given up

    def get(self, workspace: str, job_id: str) -> HotJob | None:
        """The job of that id or alias, if it is kept here; it is used now."""
        key = workspace, job_id
        found = self._jobs.get(key)
        if found is None:
            found = self.look(workspace, job_id)
            if found is None:
                return None
            key = found.job.key
        self._jobs.move_to_end(key)
        return found

    def look(self, workspace: str, job_id: str) -> HotJob | None:
        """The same for who will put it here anew, which counts as a use."""
        key = workspace, job_id
        found = self._jobs.get(key)
        if found is None and key in self._aliases:
            found = self._jobs.get((workspace, self._aliases[key]))
        return found

    def put(self, found: Mapping[tuple[str, str], HotJob]) -> None:
        """Keep jobs, by their keys, as they stand now."""
        jobs = self._jobs
        for key, hot in found.items():
            old = jobs.get(key)
            self._size += len(hot.document)
            if old is None:
                self._aliases[key[0], alias_of(*key)] = key[1]  # dear: not to be made anew for each report
            else:
                self._size -= len(old.document)
                jobs.move_to_end(key)
            jobs[key] = hot
        while len(jobs) > HOT_JOBS or (self._size > HOT_BYTES and len(jobs) > 1):
            self.forget(next(iter(jobs)))

    def put_read(self, hot: HotJob, losses: int) -> None:
        """Keep a job that was read from the file since `losses` was that number, unless that may be old by now: what a
        commit has put here meanwhile is newer, and what was given up meanwhile may have been newer."""
        key = hot.job.key
        if self.losses == losses and key not in self._jobs:
            self.put({key: hot})

    def forget(self, key: tuple[str, str]) -> None:
        """Keep it no longer."""
        self.losses += 1
        self._drop(key)

    def clear(self) -> None:
        """Keep nothing."""
        self.losses += 1
        self._jobs.clear()
        self._aliases.clear()
        self._size = 0

    def _drop(self, key: tuple[str, str]) -> None:
        old = self._jobs.pop(key, None)
        if old is not None:
            self._size -= len(old.document)
            self._aliases.pop((key[0], alias_of(*key)), None)


class Extent:
    """How far a log reaches: its epochs, its head, and the floor below which records may be gone."""

    def __init__(self, epochs: list[tuple[int, str]], head: int, floor: int, now: int) -> None:
        self._firsts = [first for first, _ in epochs]
        self._names = [name for _, name in epochs]
        self.head, self.floor = head, floor
        self.now = now  # the newest record's time in ms: `updated` never decreases along the log

    def position(self, offset: int) -> str:
        """The position of an offset, with the epoch in which it was written."""
        if offset >= self._firsts[-1]:
            return f"{self._names[-1]}-{offset}"
        return f"{self._names[max(bisect_right(self._firsts, offset) - 1, 0)]}-{offset}"

    def offset(self, position: Position) -> int:
        """The offset of a position of this log. Raises Unresumable."""
        if position.epoch not in self._names:
            raise Unresumable("foreign")
        number = self._names.index(position.epoch)
        last = self._firsts[number + 1] - 1 if number + 1 < len(self._names) else self.head
        if position.offset > last:
            raise Unresumable("ahead")
        return position.offset


class Feed:
    """Pages that were committed and not yet followed, in the order of the log. A follower that falls far behind finds
    the oldest gone and reads them from the file."""

    def __init__(self) -> None:
        self._pages: deque[RecordPage] = deque()
        self._records = self._bytes = 0
        self._fed = asyncio.Event()

    def put(self, page: RecordPage) -> None:
        """A commit's records."""
        self._pages.append(page)
        self._records += len(page.records)
        self._bytes += _bytes(page)
        while (self._records > FEED_RECORDS or self._bytes > FEED_BYTES) and len(self._pages) > 1:
            self._drop()
        self._fed.set()

    def after(self, offset: int) -> RecordPage | None:
        """What follows right after an offset, if it is here: all that was committed since, so that it leaves together,
        but no more than TOGETHER_BYTES and one commit. It ends at a gap, which a commit that failed can leave."""
        while self._pages and self._pages[0].scanned <= offset:
            self._drop()
        if not self._pages or self._pages[0].records[0].offset != offset + 1:
            return None
        page = self._drop()
        records, size = list(page.records), _bytes(page)
        while self._pages and size < TOGETHER_BYTES and self._pages[0].records[0].offset == page.scanned + 1:
            page = self._drop()
            records += page.records
            size += _bytes(page)
        return RecordPage(records, page.scanned)

    async def news(self) -> None:
        """Wait for the next commit; what was put since the last look counts."""
        await self._fed.wait()
        self._fed.clear()

    def _drop(self) -> RecordPage:
        page = self._pages.popleft()
        self._records -= len(page.records)
        self._bytes -= _bytes(page)
        return page


def _bytes(page: RecordPage) -> int:
    return sum(len(record.document) for record in page.records)
