"""Records of the log: a job's document as bytes, the position where it stands, and how filters see it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from gateway.errors import InvalidCursor, TooLarge
from gateway.job import TERMINAL, Job
from gateway.report import State
from gateway.values import Json

MAX_DOCUMENT = 256 * 1024  # bytes; a document stands whole in every frame, so this bounds each reader's buffer
HEADROOM = 512  # bytes of it for what the gateway itself writes; a job at the limit can still be cancelled, and end
# As `uuid.UUID` writes it; to read and write it by that takes six times as long.
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:status-gateway")


def document(job: Job) -> bytes:
    """The job's document: the very bytes that GET answers and that a frame carries. Raises TooLarge."""
    data = dumps(as_json(job))
    limit = MAX_DOCUMENT - HEADROOM
    if len(data) > limit and len(data) - _own_size(job) > limit:
        raise TooLarge(f"the job's document would have {len(data)} bytes; {limit} are the limit", field="")
    return data


def _own_size(job: Job) -> int:
    times = (job.created, job.started, job.finished, job.updated, job.reported)
    rest = (job.state in TERMINAL, job.stalled, job.attempt, job.progress, job.version, job.position)
    return len(orjson.dumps((job.state, job.previous, *times, *rest)))


def as_json(job: Job) -> dict[str, Json]:
    """The members of the document, in its order."""
    return {
        "id": job.id,
        "workspace": job.workspace,
        "name": job.name,
        "process": job.process,
        "state": job.state,
        "previous": job.previous,
        "terminal": job.state in TERMINAL,
        "stalled": job.stalled,
        "attempt": job.attempt,
        "progress": job.progress,
        "step": job.step,
        "message": job.message,
        "error": job.error,
        "details": job.details,
        "labels": job.labels,
        "steps": job.steps,
        "links": job.links,
        "result": job.result,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "updated": job.updated,
        "reported": job.reported,
        "lease": job.lease,
        "version": job.version,
        "position": job.position,
    }


def from_json(data: Mapping[str, Json]) -> Job:
    """A job from the members of its document, as `as_json` gave them."""
    members = {name: value for name, value in data.items() if name != "terminal"}
    members["state"] = State(data["state"])
    members["previous"] = None if data["previous"] is None else State(data["previous"])
    members["steps"] = tuple(data["steps"])
    members["links"] = tuple(data["links"])
    return Job(**members)


def dumps(value: Json) -> bytes:
    """JSON without raw U+2028, U+2029 and U+0085: some clients of event streams break lines there."""
    data = orjson.dumps(value)
    if data.isascii():
        return data
    if b"\xe2\x80" in data:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    if b"\xc2\x85" in data:
        data = data.replace(b"\xc2\x85", b"\\u0085")
    return data


def uuid_of(*names: str) -> str:
    """The UUIDv5 of (workspace, id), and of a step and a task where they are named too."""
    return str(uuid.uuid5(NAMESPACE, orjson.dumps(names).decode()))


def alias_of(workspace: str, job_id: str) -> str:
    """The UUID under which dialects show a job: its id where that is a lower-case hyphenated UUID, else a UUIDv5."""
    return job_id if _UUID.fullmatch(job_id) else uuid_of(workspace, job_id)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log. The epoch names the log itself, so that a cursor of another log is recognised as foreign
    instead of being read as a place in this one; the offset counts its records from 1."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """A position from its text. Raises InvalidCursor."""
        found = POSITION.fullmatch(text)
        if not found or int(found[2]) > MAX_OFFSET:
            raise InvalidCursor("a cursor is a position that the gateway gave, such as k7f3q2ab-1042")
        return cls(found[1], int(found[2]))


POSITION: Final = re.compile(r"([a-z2-7]{8})-(0|[1-9][0-9]{0,18})", re.ASCII)
MAX_OFFSET = 2**63 - 1  # SQLite's largest integer
TRANSITION, PROGRESS, DELETED = "transition", "progress", "deleted"


class Record:
    """One accepted report in the log. `document` holds the job's document after it, as bytes; `job` is read from them
    when it is first asked for, since replaying bytes to a reader needs no job. `was` holds the labels before the record
    where it changed them. A `deleted` record's job holds what filters need, and no more."""

    __slots__ = ("_job", "by", "document", "event", "frames", "key", "offset", "position", "was")

    def __init__(
        self,
        offset: int,
        position: str,
        event: str,
        by: str,
        key: tuple[str, str],
        document: bytes,
        *,
        was: Mapping[str, str] | None = None,
        job: Job | None = None,
    ) -> None:
        self.offset, self.position, self.event, self.by = offset, position, event, by
        self.key, self.document, self.was, self._job = key, document, was, job
        self.frames: dict[object, bytes] = {}  # by form: each is encoded once, however many readers there are

    @property
    def job(self) -> Job:
        """The job as it stood after this record."""
        if self._job is None:
            self._job = from_json(orjson.loads(self.document))
        return self._job

    def __repr__(self) -> str:
        return f"<Record {self.position} {self.event} of {self.key[0]}/{self.key[1]}>"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs are meant. Values of one member mean or, members mean and; labels (key, value) all have to match.
    `jobs` are keys (workspace, id); an empty member asks for nothing."""

    jobs: frozenset[tuple[str, str]] = frozenset()
    workspaces: frozenset[str] = frozenset()
    states: frozenset[State] = frozenset()
    processes: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    labels: frozenset[tuple[str, str]] = frozenset()

    def matches_job(self, job: Job) -> bool:
        """Whether the job as it stands is meant."""
        return self._matches(job, job.state, job.labels or {})

    def matches(self, record: Record) -> bool:
        """Whether the job's document before or after the record is meant, so that a list can also let a job go."""
        if self.jobs and record.key not in self.jobs:
            return False
        if not (self.workspaces or self.states or self.processes or self.names or self.labels):
            return True
        job = record.job
        if self._matches(job, job.state, job.labels or {}):
            return True
        before = job.previous if record.event == TRANSITION else job.state
        was = record.was if record.was is not None else job.labels
        return before is not None and self._matches(job, before, was or {})

    def _matches(self, job: Job, state: State, labels: Mapping[str, str]) -> bool:
        return (
            (not self.jobs or job.key in self.jobs)
            and (not self.workspaces or job.workspace in self.workspaces)
            and (not self.states or state in self.states)
            and (not self.processes or job.process in self.processes)
            and (not self.names or job.name in self.names)
            and all(labels.get(key) == value for key, value in self.labels)
        )


def is_end(record: Record) -> bool:
    """Whether nothing of the record's job follows it, but its deletion."""
    return record.event == DELETED or (record.event == TRANSITION and record.job.terminal)
