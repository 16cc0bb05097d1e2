"""A job as it stood, and the pages of its history."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import Compacted, InvalidCursor, InvalidReport, InvalidRequest, JobNotFound
from gateway.eventlog.base import EventLog, Standing, Unresumable
from gateway.job import stamp
from gateway.record import Filter, Position, Record
from gateway.values import parse_time
from gateway.wanted import EARLIEST


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


def page_offset(log: EventLog, after: str, floor: int) -> int:
    """The offset from which a list continues. Raises InvalidCursor, Compacted."""
    try:
        offset = log.offset(Position.parse(after))
    except Unresumable as error:
        detail = f"after can't be continued from ({error.reason}); start the list anew"
        raise Compacted(detail, oldest=log.position(floor or log.floor)) from error
    except InvalidCursor as error:
        raise InvalidCursor("after must be a position that the gateway gave", field="after") from error
    if offset < floor:
        raise Compacted("after has expired; start the list anew", oldest=log.position(floor))
    return offset


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
