"""A job as it stood, and pages of what happened: to one job, or to all that match a filter."""

from __future__ import annotations

import asyncio
import time
from asyncio import Semaphore
from collections.abc import Sequence
from typing import NamedTuple

from gateway.errors import Compacted, InvalidCursor, InvalidReport, InvalidRequest, JobNotFound
from gateway.eventlog.base import EventLog, Standing, Unresumable
from gateway.frames import Form
from gateway.hub import Hub
from gateway.job import stamp
from gateway.record import Filter, Position, Record
from gateway.values import parse_time
from gateway.wanted import EARLIEST

READ_RECORDS = 256  # looked at by one read of a page over many jobs, so that others read in between
PAGE_BYTES = 1 * 2**20  # of documents in such a page; the next goes on behind them
PAGE_SECONDS = 0.25  # spent on such a page; where few records match, the next goes on from where this one stopped
NOBODY = ("", "")  # no job's key: who waits for its change hears only that none may come any more


class Happened(NamedTuple):
    """Records of many jobs in the order of the log. `next`: the position after which more are known already, None where
    these are all up to `head`; whoever goes on from there, then from `head`, misses nothing."""

    records: Sequence[Record]
    next: str | None
    head: str


async def at(log: EventLog, standing: Standing, moment: str) -> Record:
    """The record at which the job stood at a position or a time. Raises InvalidRequest, Compacted, JobNotFound."""
    job = standing.job
    found = await log.at(job.key, _moment(log, moment))
    floor = await log.floor_of(job.key) or 0
    if found is None and floor == 0:
        raise JobNotFound(f"there was no job {job.id!r} yet at {moment}", job=job.id)
    if found is None or found.offset < floor:
        detail = "the job's document of that moment is no longer kept; `oldest` is the oldest position that is"
        raise Compacted(detail, oldest=log.position(floor))
    return found


async def history(
    log: EventLog, standing: Standing, after: str | None, limit: int
) -> tuple[Sequence[Record], str | None]:
    """A page of the job's records, and the position after which the next begins. Raises InvalidCursor, Compacted."""
    cursor = 0 if after in (None, EARLIEST) else page_offset(log, after, standing.floor)
    page = await log.read(cursor, standing.last, Filter(jobs=frozenset([standing.job.key])), limit)
    more = page.scanned < standing.last and bool(page.records)
    return page.records, log.position(page.scanned) if more else None


async def happened(log: EventLog, admission: Semaphore, match: Filter, after: str | None, limit: int) -> Happened:
    """A page of the records that concern a filter, after a position or from the earliest that the log has whole.

    It takes a bounded time however few match, and each of its reads waits its turn among the large ones. Raises
    InvalidCursor, Compacted.
    """
    begin = log.floor if after is None else page_offset(log, after, log.floor)
    cursor, until, found, size, full = begin, log.head, list[Record](), 0, False
    enough = time.monotonic() + PAGE_SECONDS
    while cursor < until and not full:
        async with admission:
            page = await log.read(cursor, until, match, READ_RECORDS)
        cursor, full = page.scanned, time.monotonic() > enough
        for record in page.records:
            found.append(record)
            size += len(record.document)
            if len(found) == limit or size >= PAGE_BYTES:
                cursor, full = record.offset, True
                break
    # Looked at after the reads: what was taken away before them is under the floor by now.
    if begin < log.floor:
        if after is not None:
            raise _expired(log, log.floor)
        found, cursor = [record for record in found if record.offset > log.floor], max(cursor, log.floor)
    return Happened(found, log.position(cursor) if cursor < until else None, log.position(until))


class _Bell:
    """A reader of the hub that takes no frames: it rings as soon as there is something for it. See `Subscriber`."""

    cursor = 0
    seat = -1

    def __init__(self, match: Filter) -> None:
        self.match, self.form = match, Form()
        self.hang()

    def hang(self) -> None:
        """Be silent until there is something more."""
        self.rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def socket(self) -> None:
        """It has none."""

    def push(self, batch: object) -> None:
        """There is something."""
        self.fail()

    def sync(self, offset: int) -> bytes:
        """It is told nothing of that."""
        return b""

    def beat(self, offset: int = 0) -> None:
        """Nor of that."""

    def flush(self) -> bool:
        """It has never withheld anything."""
        return False

    def fail(self) -> None:
        """Then who waits looks by itself."""
        if not self.rung.done():
            self.rung.set_result(None)


async def news(log: EventLog, hub: Hub, match: Filter, after: str | None, limit: int, patience: float) -> Happened:
    """As `happened`, but where that is nothing yet, what happens within so many seconds."""
    until = time.monotonic() + patience
    over = hub.change(NOBODY)  # before the first look, as is the bell before the second: so nothing falls between
    bell: _Bell | None = None
    try:
        while True:
            page = await happened(log, hub.admission, match, after, limit)
            left = until - time.monotonic()
            if page.records or page.next is not None or over.done() or left <= 0:
                return page
            after = page.head
            if bell is None:
                bell = _Bell(match)
                hub.add(bell)
            else:
                await asyncio.wait([bell.rung, over], timeout=left, return_when=asyncio.FIRST_COMPLETED)
                bell.hang()
    finally:
        over.cancel()
        if bell is not None:
            hub.remove(bell)


def page_offset(log: EventLog, after: str, floor: int) -> int:
    """The offset from which a list continues. Raises InvalidCursor, Compacted."""
    try:
        offset = log.offset(Position.parse(after))
    except Unresumable as error:
        detail = f"after can't be continued from ({error.reason}); start the list anew"
        raise Compacted(detail, oldest=log.position(floor or log.floor), reason=error.reason) from error
    except InvalidCursor as error:
        raise InvalidCursor("after must be a position that the gateway gave", field="after") from error
    if offset < floor:
        raise _expired(log, floor)
    return offset


def _expired(log: EventLog, floor: int) -> Compacted:
    return Compacted("after has expired; start the list anew", oldest=log.position(floor), reason="expired")


def _moment(log: EventLog, moment: str) -> int | str:
    try:
        return log.offset(Position.parse(moment))
    except Unresumable as error:
        detail = f"at is a position that this log does not know ({error.reason})"
        raise InvalidRequest(detail, field="at") from error
    except InvalidCursor:
        pass  # then it is a time
    try:
        return stamp(parse_time(moment))
    except InvalidReport:
        detail = "at must be a position or a time as RFC 3339 writes it, such as 2026-02-19T10:00:00Z"
        raise InvalidRequest(detail, field="at") from None
