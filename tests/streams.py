"""A reader of subscriptions whose socket can be stopped, opened and cut at any byte; the rest is the real thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.errors import GatewayError
from gateway.eventlog.base import Entry, Outcome
from gateway.eventlog.sqlite import SqliteLog
from gateway.hub import Hub
from gateway.job import Change
from gateway.record import Filter, Record
from gateway.report import Identity, parse_report
from gateway.stream import Subscription
from gateway.wanted import Wanted, begin

BOUND = 60.0  # seconds that anything here may take; it takes milliseconds where nothing else runs


@dataclass(frozen=True)
class Frame:
    """A frame as it came, complete."""

    event: str
    id: str | None
    data: Any

    @property
    def offset(self) -> int:
        """The offset in its id."""
        return int((self.id or "-0").rpartition("-")[2])


def frames_in(body: bytes) -> list[Frame]:
    """The complete frames of a body; what a cut left of one is no frame."""
    frames = []
    for block in body.split(b"\n\n")[:-1]:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
        if b"event" in fields:
            position = fields[b"id"].decode() if b"id" in fields else None
            frames.append(Frame(fields[b"event"].decode(), position, orjson.loads(fields[b"data"])))
    return frames


class Reader:
    """A wire. While `stopped` nothing can be written; with `direct` false every write needs a task, as over plain ASGI.

    After `cut` bytes the connection is gone in the midst of whatever was written.
    """

    def __init__(self, direct: bool = True, cut: int | None = None) -> None:
        self.body = b""
        self.ended = asyncio.Event()
        self.gone = False
        self.writes = 0
        self._direct, self._cut = direct, cut
        self._news = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    def stop(self) -> None:
        """Read nothing for now."""
        self._open.clear()

    def go_on(self) -> None:
        """Read again."""
        self._open.set()

    def socket(self) -> None:
        """See `wanted.Wire`."""

    def try_write(self, data: bytes) -> bool:
        """See `wanted.Wire`."""
        if self.gone:
            raise ConnectionResetError
        if not self._direct or not self._open.is_set():
            return False
        self._take(data)
        return True

    async def drained(self) -> None:
        """See `wanted.Wire`."""
        await self._open.wait()

    async def write(self, data: bytes) -> None:
        """See `wanted.Wire`."""
        await self._open.wait()
        if self.gone:
            raise ConnectionResetError
        self._take(data)
        await asyncio.sleep(0)

    async def end(self) -> None:
        """See `wanted.Wire`."""
        self.ended.set()
        self._news.set()

    def abort(self) -> None:
        """See `wanted.Wire`."""
        self.gone = True
        self._news.set()

    @property
    def frames(self) -> list[Frame]:
        """What has come so far."""
        return frames_in(self.body)

    @property
    def last_id(self) -> str | None:
        """The last id that came complete."""
        return next((frame.id for frame in reversed(self.frames) if frame.id is not None), None)

    async def until(self, reached: int) -> None:
        """Wait until a frame with an id at or after that offset has come, or the stream is over."""
        async with asyncio.timeout(BOUND):
            while not self.gone and not self.ended.is_set():
                if any(frame.id is not None and frame.offset >= reached for frame in self.frames):
                    return
                self._news.clear()
                await self._news.wait()

    async def until_caught_up(self) -> None:
        """Wait for the first `sync`."""
        async with asyncio.timeout(BOUND):
            while not any(frame.event == "sync" for frame in self.frames):
                self._news.clear()
                await self._news.wait()

    async def until_end(self) -> None:
        """Wait until the stream is over."""
        async with asyncio.timeout(BOUND):
            await self.ended.wait()

    def _take(self, data: bytes) -> None:
        self.writes += 1
        self.body += data
        if self._cut is not None and len(self.body) >= self._cut:
            self.body = self.body[: self._cut]
            self.gone = True
        self._news.set()


class Scene:
    """A real log with its hub and follower, and what was acknowledged."""

    def __init__(self, log: SqliteLog) -> None:
        self.log, self.hub = log, Hub(log.head)
        self.open: list[Subscription] = []

    async def say(self, job: str, create: bool = False, **report: Any) -> Outcome:
        """One report, which is accepted."""
        return await self.change(job, parse_report(report), create=create)

    async def change(self, job: str, change: Change, create: bool = False) -> Outcome:
        """Any change, which is accepted."""
        identity = Identity(id=job) if create else None
        (answer,) = await self.log.append([Entry("default", job, (change,), identity=identity)])
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def read(self, wire: Reader, wanted: Wanted) -> Subscription | None:
        """Open a stream; None where the answer is 204."""
        wanted, start = await begin(self.log, wanted)
        if start is None:
            return None
        stream = Subscription(self.log, self.hub, wanted, start, lambda: "2026-01-01T00:00:00.000Z")
        self.open.append(stream)
        stream.open(wire)
        return stream

    async def history(self, match: Filter) -> list[Record]:
        """All records that match, in order."""
        found: list[Record] = []
        after = 0
        while after < self.log.head:
            page = await self.log.read(after, self.log.head, match, 1000)
            found += page.records
            after = page.scanned
        return found

    async def settle(self) -> None:
        """Wait until everything committed has been handed out."""
        async with asyncio.timeout(BOUND):
            while self.hub.completed < self.log.head:
                await asyncio.sleep(0)


@asynccontextmanager
async def a_scene(folder: Path) -> AsyncIterator[Scene]:
    """A scene on a database in a folder; everything is closed at the end."""
    log = await SqliteLog.open(str(folder / "status.db"))
    writing = asyncio.create_task(log.run())
    scene = Scene(log)
    tasks = [asyncio.create_task(work) for work in (_follow(scene), scene.hub.run(), scene.hub.turn())]
    try:
        yield scene
    finally:
        for stream in scene.open:
            stream.close()
        log.stop_writing()
        await asyncio.wait_for(writing, BOUND)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await log.close()


async def _follow(scene: Scene) -> None:
    async for page in scene.log.follow(scene.hub.dispatched):
        await scene.hub.dispatch(page)


def one(job: str, **more: Any) -> Wanted:
    """A stream of one job."""
    key = ("default", job)
    return Wanted(Filter(jobs=frozenset([key])), key, **more)


def lacking(history: Sequence[Record], got: Sequence[Frame], conflated: bool) -> Iterator[str]:
    """What is wrong with frames that are to be exactly the history, or, conflated, every transition and the newest
    progress before each and at the end. Snapshots, syncs and the like are not looked at."""
    came = [frame for frame in got if frame.event in ("transition", "progress", "deleted")]
    offsets = [frame.offset for frame in came]
    if offsets != sorted(set(offsets)):
        yield f"out of order or twice: {offsets}"
    known = {record.offset: record for record in history}
    for frame in came:
        record = known.get(frame.offset)
        if record is None:
            yield f"{frame.offset} is not owed"
        elif frame.event != "deleted" and frame.data != orjson.loads(record.document):
            yield f"{frame.offset} has other data"
    for record in owed(history, conflated):
        if record.offset not in offsets:
            yield f"{record.event} {record.offset} is missing"


def owed(history: Sequence[Record], conflated: bool) -> list[Record]:
    """The history, or every transition of it and the newest progress before each and at the end."""
    newest: dict[tuple[str, str], Record] = {}
    records = []
    for record in history:
        if record.event == "progress" and conflated:
            newest[record.key] = record
        else:
            records += [newest.pop(record.key, record), record]
    return [*records, *newest.values()]
