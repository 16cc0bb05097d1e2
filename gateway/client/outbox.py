"""The reports of one job on their way to the gateway: in order, each counted once, however long the gateway is away.

Law: a transition is never dropped and never merged. When reports pile up, those without a state are merged into the
one waiting before them, as the gateway would have merged them: memory is bounded by what the job says, not how often.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final, TypeAlias
from uuid import uuid4

import orjson

from gateway.client.base import MAX_DELAY, Document, ProblemError, Unreachable
from gateway.client.transport import Transport

PILE: Final = 16  # waiting reports from which on they are merged; below it each one is seen by readers
BEATS: Final = 3  # heartbeats in a lease, so that one or two may get lost

Report: TypeAlias = Mapping[str, Any]
Heard: TypeAlias = Callable[[Document], None]
Refused: TypeAlias = Callable[[ProblemError, Report], None]


@dataclass(slots=True)
class Parcel:
    """One request: from its first attempt on its body must stay as it is, since its key stands for that body."""

    path: str
    report: Report
    key: str = field(default_factory=lambda: uuid4().hex)
    attempted: bool = False


class Outbox:
    """Where a job's reports wait. `heard` gets the document of each answer, `refused` each problem with its report."""

    def __init__(self, transport: Transport, job: str, *, heard: Heard, refused: Refused) -> None:
        self._transport = transport
        self._events = transport.job_path(job, "events")
        self._heard = heard
        self._refused = refused
        self._waiting: deque[Parcel] = deque()
        self._more = asyncio.Event()
        self._moved = asyncio.Event()
        self.trouble: Exception | None = None  # why the gateway does not take reports now

    @property
    def undelivered(self) -> list[Report]:
        """The reports that the gateway has not acknowledged; heartbeats don't count."""
        return [parcel.report for parcel in self._waiting if parcel.report]

    def create(self, members: Report) -> None:
        """Creating the job goes before all its reports."""
        self._waiting.append(Parcel("/v1/jobs", _stamped(members)))
        self._more.set()

    def put(self, report: Report) -> None:
        """Take a report; never waits. One without `time` gets the present, so an outage falsifies no duration.

        Raises TypeError for what JSON can't carry.
        """
        new = _stamped(report) if report else {}
        tail = self._waiting[-1] if self._waiting else None
        both = None
        if len(self._waiting) >= PILE and tail is not None and not tail.attempted and tail.path == self._events:
            both = merged(tail.report, new)
        if both is not None and tail is not None:
            tail.report = both
        else:
            self._waiting.append(Parcel(self._events, new))
        self._more.set()

    async def deliver(self, lease: float | None) -> None:
        """Send what comes, until cancelled. With a lease (seconds) the gateway hears of the job well within it."""
        while True:
            if self._waiting:
                await self._send(self._waiting[0])
                continue
            self._more.clear()
            try:
                async with asyncio.timeout(lease / BEATS if lease else None):
                    await self._more.wait()
            except TimeoutError:
                self.put({})

    async def settled(self, patience: float) -> None:
        """Until all is delivered or the gateway turns out to be away, at most `patience` seconds."""
        await self._until(lambda: not self._waiting or self.trouble is not None, patience)

    async def drained(self, patience: float) -> bool:
        """Whether all is delivered after at most `patience` seconds."""
        return await self._until(lambda: not self._waiting, patience)

    async def _until(self, reached: Callable[[], bool], patience: float) -> bool:
        try:
            async with asyncio.timeout(patience):
                while not reached():
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    async def _send(self, parcel: Parcel) -> None:
        parcel.attempted = True
        try:
            response = await self._transport.call(
                "POST",
                parcel.path,
                params=self._transport.in_workspace() if parcel.path == self._events else (),
                body=parcel.report,
                headers={"Idempotency-Key": parcel.key},
                retry_for=math.inf,
                on_trouble=self._worry,
            )
            document = self._transport.document(response)
        except Unreachable as error:  # something answered that is no gateway: as good as none
            self._worry(error)
            await asyncio.sleep(MAX_DELAY)
            return
        except ProblemError as problem:
            self._refused(problem, parcel.report)
        else:
            self._heard(document)
        self._waiting.popleft()
        self._worry(None)

    def _worry(self, error: Exception | None) -> None:
        self.trouble = error
        self._moved.set()
        self._moved = asyncio.Event()


def _stamped(report: Report) -> Report:
    try:
        # A copy of its own: the caller may change his objects while the report waits, but not what its key stands for.
        copy = orjson.loads(orjson.dumps(report))
    except TypeError as error:
        raise TypeError(f"a report must be JSON: {error}") from error
    return {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **copy}


def describe(reports: Sequence[Report]) -> str:
    """What the reports say, in a few words: `creation, running, 3 × progress, succeeded`."""
    words = [str(report.get("state") or ("creation" if "id" in report else "progress")) for report in reports]
    counted = [(word, len(list(run))) for word, run in groupby(words)]
    return ", ".join(word if count == 1 else f"{count} × {word}" for word, count in counted)


class _Apart(Exception):
    """These two can't be said in one."""


def merged(earlier: Report, later: Report) -> Report | None:
    """One report that does what the two do one after the other, or None where only the two can."""
    if any(name in report for name in ("state", "replace") for report in (earlier, later)):
        return None
    both = {**earlier, **later}
    try:
        for name in ("details", "labels"):
            if name in earlier and name in later:
                both[name] = _patched(earlier[name], later[name])
        if "steps" in earlier and "steps" in later:
            both["steps"] = _by_name(earlier["steps"], later["steps"])
        if "progress" in earlier and "progress" in later:
            both["progress"] = _further(earlier["progress"], later["progress"])
    except _Apart:
        return None
    return both


def _further(earlier: Any, later: Any) -> Any:
    """The greater: within an attempt progress never falls, nor becomes unknown again."""
    known = [value for value in (earlier, later) if value is not None]
    if not all(isinstance(value, int | float) for value in known):
        raise _Apart
    return max(known, default=None)


def _patched(earlier: Any, later: Any) -> Any:
    """Two merge patches (RFC 7396) as one; null, which removes, stays."""
    if not isinstance(later, dict):
        return later
    if not isinstance(earlier, dict):
        raise _Apart  # first a value that is no object, or null, then members of one: the old members must go between
    new = {name: _patched(earlier[name], value) if name in earlier else value for name, value in later.items()}
    return {**earlier, **new}


def _by_name(earlier: Any, later: Any) -> list[dict[str, Any]]:
    items: dict[str, dict[str, Any]] = {}
    for item in (*_named(earlier), *_named(later)):
        known = items.get(item["name"], {})
        new = {**known, **item}
        if "details" in known and "details" in item:
            new["details"] = _patched(known["details"], item["details"])
        if "tasks" in known and "tasks" in item:
            new["tasks"] = _by_name(known["tasks"], item["tasks"])
        items[item["name"]] = new
    return list(items.values())


def _named(value: Any) -> list[dict[str, Any]]:
    """The steps or tasks of a report; what is malformed is left for the gateway to refuse."""
    if not isinstance(value, list):
        raise _Apart
    if not all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in value):
        raise _Apart
    return value
