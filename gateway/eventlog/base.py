"""The durable log as an interface: an append-only list of records, and the views of it that readers need.

Law: `append` acknowledges only what is on disk, in the order in which it will be read for ever; positions grow
densely by commit, so that a reader at an offset has missed nothing below it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import GatewayError
from gateway.job import Change, Job
from gateway.record import Filter, Position, Record
from gateway.report import Identity


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key: good for ever within its scope, for one request only, which `digest` tells apart."""

    scope: str
    key: str
    digest: bytes


@dataclass(slots=True)
class Entry:
    """What is to be appended: changes of one job, all or none of them.

    `identity` says with what a job that is not known is created; without it the job must be known. With `fresh` the
    job must be new, except that the same `digest` (a hash of the canonical create body) finds the job created before.
    `expect` is the position at which the job has to stand (If-Match). `by` is the principal who said it.
    """

    workspace: str
    id: str
    changes: tuple[Change, ...]
    by: str = "anonymous"
    identity: Identity | None = None
    fresh: bool = False
    digest: bytes | None = None
    key: Key | None = None
    expect: str | None = None


@dataclass(slots=True)
class Standing:
    """A job as it stands: its document, and where its records lie in the log (`first`, `last`, offsets).

    Records of the job at or before offset `floor` may have been compacted. `deleted` says that `last` is a tombstone.
    A value: nobody changes one. It is not frozen, and an entry and an outcome are not either, because these three are
    made for each record, and frozen they would take four times as long.
    """

    job: Job
    document: bytes
    first: int
    last: int
    floor: int = 0
    deleted: bool = False


@dataclass(slots=True)
class Outcome:
    """What an entry led to: the job after it, whether a record was made, whether this is an answer given before."""

    standing: Standing
    made: bool
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records in the order of the log. Everything up to offset `scanned` has been looked at."""

    records: Sequence[Record]
    scanned: int


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first, read at one moment: when `head` was the newest offset. `next` (a position) continues;
    `matched` counts the matches from here on, up to one more than were asked for."""

    standings: Sequence[Standing]
    next: str | None
    head: int
    matched: int = 0


class EventLog(Protocol):
    """A log. Methods raise errors.GatewayError; `append` may be called by many at once, and is cancelled harmlessly."""

    @property
    def head(self) -> int:
        """The newest committed offset; 0 for an empty log."""

    @property
    def floor(self) -> int:
        """Records at or before this offset may have been compacted."""

    def position(self, offset: int) -> str:
        """The position of an offset, with the epoch in which it was written."""

    def offset(self, position: Position) -> int:
        """The offset of a position of this log. Raises Unresumable for one of another log, or ahead of this one."""

    async def append(self, entries: Sequence[Entry]) -> list[Outcome | GatewayError]:
        """Write what is to be appended; one answer for each entry, given when all of them are on disk."""

    def submit(self, entries: Sequence[Entry]) -> asyncio.Future[list[Outcome | GatewayError]]:
        """As `append`, for who waits in no task."""

    async def lull(self) -> None:
        """Wait for a moment in which work on the loop holds up no large transaction: none is under way, or the disk is
        waited for."""

    def hot(self, workspace: str, job_id: str) -> Standing | None:
        """The job as it stands, if that is known without reading."""

    def glance(self, workspace: str, job_id: str) -> Standing | None:
        """The job of that id or alias as it stands, a tombstone too, if that is known or can be read at once; None says
        nothing: then `standing` has to be asked."""

    async def standing(self, workspace: str, job_id: str) -> tuple[Standing, int] | None:
        """The job of that id or alias as it stands, a tombstone too, and the head at the moment of the read."""

    async def floor_of(self, key: tuple[str, str]) -> int | None:
        """The floor of one job, read anew; None where it does not exist (any more)."""

    async def read(self, after: int, until: int, match: Filter, limit: int) -> RecordPage:
        """Records with after < offset <= until that match, at most `limit` of them."""

    async def at(self, key: tuple[str, str], moment: int | str) -> Record | None:
        """The job's newest record at or before an offset or a time stamp; None where there is none (any more)."""

    async def jobs(self, match: Filter, after: int | None, limit: int) -> JobPage:
        """Jobs that match, newest first; `after` is the offset of the last shown one's first record."""

    async def leased(self) -> Sequence[Job]:
        """Jobs at work that have a lease."""

    def follow(self, after: int) -> AsyncIterator[RecordPage]:
        """Contiguous pages of records after an offset, as they are committed; never ends. One a process."""


class Unresumable(Exception):
    """A cursor can't be resumed; `reason` is expired, foreign or ahead."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
