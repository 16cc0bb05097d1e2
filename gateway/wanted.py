"""What a reader asked for: which jobs, from where, in which form, over which wire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from gateway.errors import InvalidCursor, JobDeleted, JobNotFound
from gateway.eventlog.base import EventLog, Standing, Unresumable
from gateway.frames import Form
from gateway.group import Direct
from gateway.record import PROGRESS, Filter, Position, Record, is_end

EARLIEST = "earliest"

JobKey = tuple[str, str]


class Wire(Protocol):
    """A response body that is under way."""

    def socket(self) -> Direct | None:
        """The socket, where it may be written to past this, now."""

    def try_write(self, data: bytes) -> bool:
        """Write now: False where that would block, and then nothing was written. Raises OSError if the peer is gone."""

    async def drained(self) -> None:
        """Wait until it takes something, as far as that can be known before it is tried."""

    async def write(self, data: bytes) -> None:
        """Write, waiting for the socket."""

    async def end(self) -> None:
        """The body is complete."""

    def abort(self) -> None:
        """Drop the connection."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader asked for. `one` is the job of a stream of one job; `cursor` is the text of the position to go on
    from, None or empty for none; `header`: it came in the header, where a malformed one is not refused but reset.
    `min_interval`: seconds between progress frames, None for no wish, 0 to forbid all conflation."""

    match: Filter
    one: JobKey | None = None
    cursor: str | None = None
    header: bool = False
    min_interval: float | None = None
    form: Form = field(default_factory=Form)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream starts: after an offset, or with a snapshot, which a reset comes before if `reason` says why."""

    after: int | None = None
    reason: str | None = None


class Ends:
    """Which of the jobs that a stream names have ended; one that names none has no end. What the stream has not shown
    yet does not count, so `look` is asked once, where the stream has caught up, and `note` from the first record on."""

    __slots__ = ("_ended", "_keys", "known")

    def __init__(self, keys: frozenset[JobKey]) -> None:
        self._keys = keys
        self._ended: frozenset[JobKey] = frozenset()  # one for all streams, until the first end
        self.known = not keys  # whether the jobs that had ended before the stream began are among them

    @property
    def all(self) -> bool:
        """Whether nothing more will come of any of them."""
        return bool(self._keys) and self._ended >= self._keys

    def note(self, records: Iterable[Record]) -> None:
        """Records that have been shown."""
        if self._keys:
            self._ended |= {record.key for record in records if is_end(record)}

    async def look(self, log: EventLog, cursor: int) -> None:
        """Find the jobs that had ended by the cursor."""
        for key in self._keys:
            found = await log.standing(*key)
            if found is not None and found[0].last <= cursor and (found[0].deleted or found[0].job.terminal):
                self._ended |= {key}
        self.known = True


def conflated(records: Iterable[Record]) -> list[Record]:
    """Records in the order of the log, each run of one job's progress between two transitions cut to its newest."""
    kept: list[Record] = []
    pending: dict[JobKey, Record] = {}
    for record in records:
        if record.event == PROGRESS:
            pending.pop(record.key, None)
            pending[record.key] = record
        else:
            kept += [*pending.values(), record]
            pending.clear()
    return kept + list(pending.values())


def _locate(log: EventLog, cursor: str, header: bool) -> Start:
    """Where a stream with this cursor starts, as far as the log alone can tell. Raises InvalidCursor."""
    try:
        position = Position.parse(cursor)
    except InvalidCursor:
        if header:
            return Start(None, "foreign")
        raise
    try:
        return Start(log.offset(position))
    except Unresumable as error:
        return Start(None, error.reason)


async def begin(log: EventLog, wanted: Wanted) -> tuple[Wanted, Start | None]:
    """Where a stream begins; None where nothing will ever follow its cursor (204). A job's alias becomes its id.

    Raises JobNotFound, JobDeleted, InvalidCursor.
    """
    if wanted.one is None:
        return wanted, await _start_of_many(log, wanted)
    found = await log.standing(*wanted.one)
    if found is None:
        raise JobNotFound(f"there is no job {wanted.one[1]!r} in workspace {wanted.one[0]!r}", job=wanted.one[1])
    return begin_with(log, wanted, found[0])


def begin_with(log: EventLog, wanted: Wanted, standing: Standing) -> tuple[Wanted, Start | None]:
    """As `begin`, for a stream of one job whose standing is known."""
    key = standing.job.key
    if wanted.one != key:
        wanted = replace(wanted, one=key, match=Filter(jobs=frozenset([key])))
    if not wanted.cursor:
        if standing.deleted:
            raise JobDeleted
        return wanted, Start()
    if wanted.cursor == EARLIEST:
        return wanted, Start(standing.last - 1 if standing.deleted else standing.floor)
    start = _locate(log, wanted.cursor, wanted.header)
    if start.after is None:
        return wanted, start
    if start.after >= standing.last and (standing.deleted or standing.job.terminal):
        return wanted, None
    if start.after < standing.floor and not standing.deleted:
        return wanted, Start(None, "expired")
    return wanted, start


async def _start_of_many(log: EventLog, wanted: Wanted) -> Start | None:
    if not wanted.cursor:
        return Start()
    if wanted.cursor == EARLIEST:
        return Start(log.floor)
    start = _locate(log, wanted.cursor, wanted.header)
    if start.after is None:
        return start
    if wanted.match.jobs and await _all_ended(log, wanted.match.jobs, start.after):
        return None
    return Start(None, "expired") if start.after < log.floor else start


async def _all_ended(log: EventLog, keys: frozenset[JobKey], cursor: int) -> bool:
    for key in keys:
        found = await log.standing(*key)
        if found is None or found[0].last > cursor or not (found[0].deleted or found[0].job.terminal):
            return False
    return True
