"""One transaction's worth of entries: what they make of the jobs, and the rows to be written for it. No I/O.

Law: an entry is all or nothing, and a bad one fails alone. It is worked out against the jobs as they stand after the
entries before it; only when its last change has passed does anything of it join the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import (
    InvalidReport,
    JobDeleted,
    JobExists,
    JobNotFinished,
    JobNotFound,
    KeyReused,
    PreconditionFailed,
)
from gateway.eventlog.base import Entry, Key, Outcome
from gateway.eventlog.codec import CODEC, MAX_CHAIN, SMALL, fold
from gateway.eventlog.hot import Chain, Extent, HotJob
from gateway.eventlog.known import JobKey, Known
from gateway.job import Change, Delete, Job, Stall, Wish, apply, create, evolve, remains, stall, wish
from gateway.record import DELETED, PROGRESS, TRANSITION, Record, alias_of, as_json, document
from gateway.report import Report


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An idempotency key's row: of which request it is, what was answered, and where."""

    digest: bytes
    status: int
    row: int
    offset: int


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer to an entry whose key is known: the job of `row` as it stood at `offset`."""

    row: int
    offset: int
    made: bool


@dataclass(slots=True)
class Rows:
    """Rows to be written, by table."""

    records: list[tuple[Any, ...]] = field(default_factory=list)
    jobs: list[tuple[Any, ...]] = field(default_factory=list)
    identities: list[tuple[Any, ...]] = field(default_factory=list)
    keys: list[tuple[Any, ...]] = field(default_factory=list)


class Batch:
    """Entries worked out one after the other. `known` holds the jobs they are about as far as these exist, `keys` the
    idempotency keys that are known; both are brought up to date as entries pass."""

    def __init__(
        self,
        extent: Extent,
        next_row: int,
        now: str,
        now_ms: int,
        known: Known,
        keys: dict[tuple[str, str], KnownKey],
    ) -> None:
        self._now, self._now_ms = now, now_ms
        self._epoch = extent.position(extent.head + 1).partition("-")[0]  # of all that is new
        self.known, self.keys = known, keys
        self.head, self.next_row = extent.head, next_row
        self.rows = Rows()
        self.records: list[Record] = []
        self.touched: dict[JobKey, HotJob] = {}
        self.relabelled: dict[JobKey, HotJob] = {}
        self.moved: set[JobKey] = set()  # more than their last offset changes in their row

    def add(self, entry: Entry) -> Outcome | Replay:
        """Work out an entry. Raises what it is refused with; the batch is then as it was."""
        hot = self.known.find(entry.workspace, entry.id)
        if entry.key is not None:
            return self._add_keyed(entry, entry.key, hot)
        if hot is not None and hot.deleted:
            raise JobDeleted
        return self._change(entry, hot)

    def _add_keyed(self, entry: Entry, key: Key, hot: HotJob | None) -> Outcome | Replay:
        scope = self.scope(entry)
        known = self.keys.get((scope, key.key))
        if known is not None:
            if known.digest != key.digest:
                raise KeyReused(field="Idempotency-Key")
            return Replay(known.row, known.offset, known.status == 201)
        if hot is not None and hot.deleted:
            raise JobDeleted
        outcome = self._change(entry, hot)
        standing = outcome.standing
        row = self.known.jobs[standing.job.key].row
        known = KnownKey(key.digest, 201 if outcome.made else 200, row, standing.last)
        self.keys[scope, key.key] = known
        self.rows.keys.append((scope, key.key, known.digest, known.status, known.row, known.offset))
        return outcome

    def scope(self, entry: Entry) -> str:
        """The scope of an entry's key: the workspace, or the job under its own id, whichever name it is called by."""
        if entry.key is not None and entry.key.scope == "workspace":
            return entry.workspace
        hot = self.known.find(entry.workspace, entry.id)
        return f"{entry.workspace}/{hot.job.id if hot else entry.id}"

    def _change(self, entry: Entry, hot: HotJob | None) -> Outcome:
        if hot is None:
            return self._create(entry)
        if entry.fresh:
            if entry.digest is None or entry.digest != hot.digest:
                raise JobExists(
                    f"job {entry.id!r} exists with other content; report to it, or take another id", field="id"
                )
            return Outcome(hot, made=False)
        before = hot.job
        if entry.expect is not None and entry.expect != before.position:
            raise PreconditionFailed(f"the job stands at {before.position}", position=before.position)
        if len(entry.changes) == 1:  # as almost always
            (change,) = entry.changes
            after = _changed(before, change, self._now, f"{self._epoch}-{self.head + 1}")
            if after is before:
                return Outcome(hot, made=False)
            return Outcome(
                self._record(entry, hot, _event(change, before, after), before, after, document(after)), True
            )
        steps: list[tuple[str, Job, Job, bytes]] = []
        for change in entry.changes:
            after = _changed(before, change, self._now, f"{self._epoch}-{self.head + len(steps) + 1}")
            if after is not before:
                steps.append((_event(change, before, after), before, after, document(after)))
                before = after
        for event, before, after, data in steps:
            hot = self._record(entry, hot, event, before, after, data)
        return Outcome(hot, bool(steps))

    def _create(self, entry: Entry) -> Outcome:
        if entry.identity is None:
            raise JobNotFound(f"there is no job {entry.id!r} in workspace {entry.workspace!r}", job=entry.id)
        first, *others = entry.changes
        if not isinstance(first, Report):
            raise JobNotFound
        alias = alias_of(entry.workspace, entry.id)
        if alias != entry.id and self.known.find(entry.workspace, alias) is not None:
            raise JobExists(f"another job has the id {alias!r}, under which dialects would show this one", field="id")
        row, offset = self.next_row, self.head + 1
        job = create(entry.identity._replace(id=entry.id), first, self._now, entry.workspace, f"{self._epoch}-{offset}")
        data = document(job)
        if others:
            raise InvalidReport("a job is created by one report", field="")
        hot = HotJob(job, data, offset, offset, row=row, digest=entry.digest)
        self.next_row += 1
        self.rows.jobs.append(
            (row, job.workspace, job.id, job.name, job.process, job.state, offset, offset, entry.digest)
        )
        self.rows.identities += [(job.workspace, name, row) for name in {job.id, alias}]
        self.known.names[job.workspace, alias] = job.key
        return Outcome(self._record(entry, hot, TRANSITION, None, job, data), made=True)

    def _record(self, entry: Entry, hot: HotJob, event: str, before: Job | None, after: Job, data: bytes) -> HotJob:
        self.head = offset = self.head + 1
        key = after.workspace, after.id
        base, body, chain, was, row = None, data, None, None, hot.row
        deleted = event == DELETED
        if len(data) > SMALL:
            base, body, chain = _folded(hot, None if deleted else before, after, data, offset)
        new = HotJob(after, data, hot.first, offset, hot.floor, deleted, row=row, chain=chain, digest=hot.digest)
        self.touched[key] = self.known.jobs[key] = new
        labels = None if before is None else before.labels
        if labels is not after.labels and (labels or {}) != (after.labels or {}):
            was = labels
            self.relabelled[key] = new
        if before is None or event != PROGRESS or before.lease != after.lease:
            self.moved.add(key)
        was_json = None if was is None else orjson.dumps(was)
        self.rows.records.append((offset, row, event, entry.by, self._now_ms, base, CODEC, was_json, body))
        self.records.append(Record(offset, after.position, event, entry.by, key, data, was=was, job=after))
        return new


def _changed(job: Job, change: Change, now: str, position: str) -> Job:
    if isinstance(change, Report):
        return apply(job, change, now, position)
    if isinstance(change, Wish):
        after = wish(job, change.kind, now)
    elif isinstance(change, Stall):
        after = stall(job, change.version, now)
    elif job.terminal:
        after = remains(job, now)
    else:
        raise JobNotFinished(f"the job is {job.state}; cancel it first, then delete it", state=job.state)
    return job if after is job else evolve(after, {"position": position})


def _event(change: Change, before: Job, after: Job) -> str:
    if isinstance(change, Delete):
        return DELETED
    return TRANSITION if before.state is not after.state else PROGRESS


def _folded(
    hot: HotJob, before: Job | None, after: Job, data: bytes, offset: int
) -> tuple[int | None, bytes, Chain | None]:
    chain = hot.chain
    if before is not None and chain is not None and chain.changes < MAX_CHAIN:
        change = fold(as_json(before), as_json(after))
        if change is not None and chain.size + len(change) <= len(data):
            return chain.base, change, Chain(chain.base, chain.changes + 1, chain.size + len(change))
    return None, data, Chain(offset)
