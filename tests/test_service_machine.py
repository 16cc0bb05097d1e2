"""The real service, driven by hypothesis against a small oracle: report, retry, crash and reopen, compact, connect,
drop, resume, slow read, in any order.

The oracle is what was acknowledged: for each job the list of its documents. Whatever happened in between, at the end a
reader of everything knows each job as it stands, has seen no document go back, and, where nothing was compacted away
under it, has seen every one.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.errors import GatewayError
from gateway.eventlog.base import Key, Outcome
from gateway.eventlog.retention import Retention
from gateway.record import Filter
from gateway.report import Identity, parse_report
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.stream import Subscription
from gateway.wanted import Wanted
from tests.streams import BOUND, Frame, Reader, one

JOBS = st.sampled_from(("a", "b", "c"))
STATES = st.sampled_from(("pending", "running", "paused", "retrying", "succeeded", "failed", "cancelled", "unknown"))
REPORTS = st.fixed_dictionaries(
    {},
    optional={
        "state": STATES,
        "progress": st.integers(0, 100),
        "message": st.text(max_size=5),
        "details": st.dictionaries(st.sampled_from("xyz"), st.none() | st.integers(0, 3), max_size=2),
        "labels": st.dictionaries(st.sampled_from("kl"), st.none() | st.sampled_from(("1", "2")), max_size=2),
    },
)


@dataclass
class Follower:
    """A reader over all its connections."""

    wanted: Wanted
    direct: bool
    cursor: str | None
    whole: bool  # it asked for everything, and nothing was taken away under it
    got: list[Frame] = field(default_factory=list)
    wire: Reader | None = None
    stream: Subscription | None = None
    ended: bool = False

    def collect(self) -> None:
        """Take over what came on the connection that is now over."""
        if self.wire is not None:
            self.got += self.wire.frames
            self.cursor = self.wire.last_id or self.cursor
            self.ended = self.ended or any(frame.event == "end" for frame in self.wire.frames)
            if any(frame.event == "reset" for frame in self.wire.frames):
                self.whole = False
        self.wire = self.stream = None


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.documents: dict[str, list[bytes]] = {}
        self.deleted: set[str] = set()
        self.keys: dict[tuple[str, str], tuple[dict[str, Any], bytes]] = {}
        self.followers: list[Follower] = []
        self.compacted = False
        self.gateway = self.do(self.started())

    def do(self, work: Any) -> Any:
        return self.runner.run(asyncio.wait_for(work, BOUND * 4))

    async def started(self) -> Gateway:
        gateway = Gateway(Settings(database=str(self.folder / "status.db"), heartbeat=0.01))
        await gateway.start()
        return gateway

    def took(self, job: str, outcome: Outcome) -> None:
        known = self.documents.setdefault(job, [])
        if outcome.made and not outcome.replayed:
            known.append(outcome.standing.document)
        if not outcome.replayed:
            assert known[-1] == outcome.standing.document

    @rule(job=JOBS, report=REPORTS)
    def create(self, job: str, report: dict[str, Any]) -> None:
        try:
            made = self.do(
                self.gateway.create(
                    Identity(id=job), parse_report(report), digest=orjson.dumps(report), key=None, by="t"
                )
            )
        except GatewayError:
            assert job in self.documents or job in self.deleted
        else:
            self.took(job, made)

    @rule(job=JOBS, report=REPORTS, key=st.none() | st.sampled_from("12"))
    def report(self, job: str, report: dict[str, Any], key: str | None) -> None:
        before = list(self.documents.get(job, []))
        sent = None if key is None else Key("job", key, orjson.dumps(report))
        try:
            outcome = self.do(self.gateway.report("default", job, [parse_report(report)], key=sent, by="t"))
        except GatewayError:
            self.same(job, before)
            return
        if key is not None and (job, key) in self.keys:
            first, answer = self.keys[job, key]
            assert outcome.replayed
            assert first == report
            assert self.compacted or outcome.standing.document == answer
            self.same(job, before)
            return
        assert not outcome.replayed
        self.took(job, outcome)
        if key is not None:
            self.keys[job, key] = report, outcome.standing.document

    def same(self, job: str, before: list[bytes]) -> None:
        if before and job not in self.deleted:
            assert self.do(self.gateway.standing("default", job)).document == before[-1]

    @rule(job=JOBS, kind=st.sampled_from(("cancel", "pause", "resume")))
    def wish(self, job: str, kind: str) -> None:
        before = list(self.documents.get(job, []))
        try:
            self.took(job, self.do(self.gateway.wish("default", job, kind, by="t")))
        except GatewayError:
            self.same(job, before)

    @rule(job=JOBS)
    def delete(self, job: str) -> None:
        try:
            self.do(self.gateway.delete("default", job, by="t"))
        except GatewayError:
            return
        self.documents.pop(job)
        self.deleted.add(job)

    @rule(
        job=st.none() | JOBS,
        interval=st.sampled_from((None, 0.0, 0.02)),
        direct=st.booleans(),
        earliest=st.booleans(),
    )
    @precondition(lambda self: len(self.followers) < 5)
    def connect(self, job: str | None, interval: float | None, direct: bool, earliest: bool) -> None:
        wanted = Wanted(Filter(), min_interval=interval) if job is None else one(job, min_interval=interval)
        if job is not None and job not in self.documents:
            return
        whole = earliest and not self.compacted and interval == 0.0
        follower = Follower(wanted, direct, "earliest" if earliest else None, whole)
        self.followers.append(follower)
        self.do(self.open(follower))

    async def open(self, follower: Follower, cut: int | None = None) -> None:
        wanted = Wanted(follower.wanted.match, follower.wanted.one, follower.cursor, True, follower.wanted.min_interval)
        try:
            stream = await self.gateway.subscribe(wanted)
        except GatewayError:
            follower.ended = True  # deleted before it had any position
            return
        if stream is None:
            follower.ended = True
            return
        follower.wire, follower.stream = Reader(follower.direct, cut), stream
        stream.open(follower.wire)
        await asyncio.sleep(0)

    @rule(number=st.integers(0, 4), cut=st.none() | st.integers(1, 3000))
    def drop_and_resume(self, number: int, cut: int | None) -> None:
        if number < len(self.followers) and not self.followers[number].ended:
            follower = self.followers[number]
            self.do(self.hang_up(follower))
            if not follower.ended:
                self.do(self.open(follower, cut))

    async def hang_up(self, follower: Follower) -> None:
        if follower.stream is not None:
            follower.stream.close()
        follower.collect()

    @rule(number=st.integers(0, 4), stop=st.booleans())
    def slow(self, number: int, stop: bool) -> None:
        if number < len(self.followers):
            wire = self.followers[number].wire
            if wire is not None:
                (wire.stop if stop else wire.go_on)()
                self.do(asyncio.sleep(0.001))

    @rule()
    def time_passes(self) -> None:
        self.do(asyncio.sleep(0.03))

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        old, source = self.gateway, self.folder
        for follower in self.followers:
            if follower.wire is not None:
                follower.wire.go_on()
            self.do(self.hang_up(follower))
        self.folder = Path(tempfile.mkdtemp())
        if clean:
            self.do(old.stop())
        # Copied while it is idle, unclosed: just what a kill -9 leaves.
        for file in source.glob("status.db*"):
            shutil.copy(file, self.folder)
        if not clean:
            self.do(old.stop())
        shutil.rmtree(source)
        self.gateway = self.do(self.started())
        for follower in self.followers:
            if not follower.ended:
                self.do(self.open(follower))

    @rule()
    def compact(self) -> None:
        self.compacted = True
        for follower in self.followers:
            follower.whole = False
        self.do(self.tend())

    async def tend(self) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        while await self.gateway.log.tend(Retention(progress=1.0, age=0.0), later):
            pass

    @invariant()
    def a_plain_get_answers_with_what_was_acknowledged(self) -> None:
        for job, documents in self.documents.items():
            assert self.do(self.gateway.standing("default", job)).document == documents[-1]

    def teardown(self) -> None:
        try:
            for follower in self.followers:
                self.do(self.finish(follower))
                self.check(follower)
        finally:
            self.do(self.gateway.stop())
            self.runner.close()
            shutil.rmtree(self.folder)

    async def finish(self, follower: Follower) -> None:
        for _ in range(50):
            if follower.wire is None and not follower.ended:
                await self.open(follower)
            if follower.ended or follower.wire is None:
                break
            follower.wire.go_on()
            await follower.wire.until(self.gateway.log.head)
            reached = (frame for frame in follower.wire.frames if frame.id is not None)
            over = follower.wire.ended.is_set() or any(frame.offset >= self.gateway.log.head for frame in reached)
            if follower.stream is not None:
                follower.stream.close()
            follower.collect()
            if over:
                break
        follower.collect()

    def check(self, follower: Follower) -> None:
        seen: dict[str, int] = {}
        last: dict[str, Frame] = {}
        for frame in follower.got:
            if frame.event in ("snapshot", "transition", "progress"):
                job, version = frame.data["id"], frame.data["version"]
                assert version > seen.get(job, 0) or frame.event == "snapshot", f"{job} went back to {version}"
                seen[job] = version
                last[job] = frame
            elif frame.event == "deleted":
                last.pop(frame.data["id"], None)
                assert frame.data["id"] in self.deleted
        names = set(self.documents) if follower.wanted.one is None else {follower.wanted.one[1]}
        for job in names & set(self.documents):
            assert last[job].data == orjson.loads(self.documents[job][-1]), f"{job} is known as it no longer is"
        if follower.whole:
            for job in names & set(self.documents):
                came = [f.data for f in follower.got if f.event in ("transition", "progress") and f.data["id"] == job]
                assert came == [orjson.loads(document) for document in self.documents[job]]


TestService = Machine.TestCase
TestService.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
