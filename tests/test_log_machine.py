"""The real SQLite log, driven by hypothesis against a small oracle: reports valid and not, retries, wishes, deletions,
compaction, crashes and reopening, in any order.

The oracle folds what was acknowledged through `gateway.job`, which knows no log, and remembers the bytes. The log may
give up only what its rules allow, has to say so by its floor, and may never change a byte of what it keeps.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.errors import GatewayError, JobDeleted, JobExists, JobNotFinished, JobNotFound, KeyReused
from gateway.eventlog import batch, retention
from gateway.eventlog.base import Entry, Outcome
from gateway.job import TERMINAL, Change, Delete, Job, Stall, Wish, apply, create, remains, stall, stamp, wish
from gateway.record import DELETED, PROGRESS, TRANSITION, Filter, alias_of, document
from gateway.report import Identity, Report, State, parse_report
from tests.logs import BOUND, Logbook, documents, entry, key
from tests.strategies import reports

NAMES = ("a", "b", "c")
JOBS = st.sampled_from((*NAMES, alias_of("default", "a")))
STATES = st.sampled_from(("running", "paused", "retrying", "succeeded", "failed", "unknown", "created"))
REPORTS = (
    reports() | st.fixed_dictionaries({"state": STATES}) | st.fixed_dictionaries({"progress": st.integers(0, 100)})
)
WISHES = st.sampled_from(("cancel", "pause", "resume")).map(Wish)
CHANGES = REPORTS.map(parse_report) | WISHES | st.integers(1, 9).map(Stall)
KEYS = st.none() | st.tuples(st.sampled_from("xy"), st.sampled_from((b"1", b"2")))
_T = TypeVar("_T")


@dataclass
class Life:
    """A job as the oracle knows it."""

    job: Job
    body: bytes | None
    told: dict[int, bytes] = field(default_factory=dict)
    events: dict[int, str] = field(default_factory=dict)
    deleted: bool = False


def after(job: Job, change: Change, now: str) -> Job:
    """The job after a change."""
    if isinstance(change, Report):
        return apply(job, change, now)
    if isinstance(change, Wish):
        return wish(job, change.kind, now)
    if isinstance(change, Stall):
        return stall(job, change.version, now)
    if job.state not in TERMINAL:
        raise JobNotFinished
    return remains(job, now)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.book = Logbook(self.folder / "status.db")
        self.do(self.book.open())
        self.lives: dict[str, Life] = {}
        self.keys: dict[tuple[str, str], tuple[bytes, bool, int]] = {}
        self.head = 0
        self.bounded = False  # whether room was made, so that live jobs may have lost progress too

    def do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(asyncio.wait_for(work, BOUND))

    # The oracle

    def expect(self, entry: Entry) -> tuple[bytes, int] | None:
        """What the log has to answer: (document, records made); None where it is a replay. Raises what is refused."""
        name = "a" if entry.id == alias_of("default", "a") and "a" in self.lives else entry.id
        life = self.lives.get(name)
        if entry.key is not None and (name, entry.key.key) in self.keys:
            if self.keys[name, entry.key.key][0] != entry.key.digest:
                raise KeyReused
            if life is not None and life.deleted:
                raise JobDeleted
            return None
        if life is not None and life.deleted:
            raise JobDeleted
        now = stamp(self.book.clock.now)
        if life is None or entry.fresh:
            made = self._expect_birth(entry, life, now)
        else:
            made = self._expect_changes(entry, life, now)
        life = self.lives[name]
        if entry.key is not None:
            self.keys[name, entry.key.key] = (entry.key.digest, made > 0, max(life.told))
        return life.told[max(life.told)], made

    def _expect_birth(self, entry: Entry, life: Life | None, now: str) -> int:
        if life is not None:
            if life.body != entry.digest:
                raise JobExists
            return 0
        change = entry.changes[0]
        if entry.identity is None or not isinstance(change, Report):
            raise JobNotFound
        job = create(Identity(entry.id), change, now, "default")
        self.lives[entry.id] = Life(job, entry.digest)
        self._told(self.lives[entry.id], job, TRANSITION)
        return 1

    def _expect_changes(self, entry: Entry, life: Life, now: str) -> int:
        job, steps = life.job, list[tuple[Job, str]]()
        for change in entry.changes:
            before, job = job, after(job, change, now)
            if job is not before:
                event = DELETED if isinstance(change, Delete) else TRANSITION if job.state != before.state else PROGRESS
                steps.append((job, event))
        for job, event in steps:
            self._told(life, job, event)
        return len(steps)

    def _told(self, life: Life, job: Job, event: str) -> None:
        self.head += 1
        life.job = job._replace(position=self.book.log.position(self.head))
        life.told[self.head], life.events[self.head] = document(life.job), event
        life.deleted = event == DELETED

    # What happens

    def send(self, *entries: Entry) -> None:
        answers = self.do(self.book.append(*entries))
        replays: list[tuple[Entry, Outcome]] = []
        for sent, answer in zip(entries, answers, strict=True):
            expected: tuple[bytes, int] | GatewayError | None
            try:
                expected = self.expect(sent)
            except GatewayError as refusal:
                expected = refusal
            if isinstance(expected, GatewayError):
                assert type(answer) is type(expected)
                continue
            assert isinstance(answer, Outcome), answer
            assert answer.replayed == (expected is None)
            if isinstance(expected, tuple):
                assert (answer.standing.document, answer.made) == (expected[0], expected[1] > 0)
            else:
                replays.append((sent, answer))
        assert self.book.log.head == self.head
        for sent, answer in replays:  # the present document is the one after all of them
            self.check_replay(sent, answer)

    def check_replay(self, sent: Entry, answer: Outcome) -> None:
        life = self.lives[answer.standing.job.id]
        assert sent.key is not None
        _, made, offset = self.keys[answer.standing.job.id, sent.key.key]
        assert answer.made == made
        assert answer.standing.document in (life.told[offset], life.told[max(life.told)])
        assert answer.standing.document == life.told[offset] or offset <= self.book.log.floor

    @rule(sent=st.lists(st.tuples(JOBS, st.lists(CHANGES, min_size=1, max_size=3), KEYS), min_size=1, max_size=4))
    def report(self, sent: list[tuple[str, list[Change], tuple[str, bytes] | None]]) -> None:
        self.send(*(entry(job, *changes, key=known and key(*known)) for job, changes, known in sent))

    @rule(job=st.sampled_from(NAMES), said=REPORTS, known=KEYS)
    def report_or_create(self, job: str, said: dict[str, Any], known: tuple[str, bytes] | None) -> None:
        self.send(entry(job, create=True, key=known and key(*known), **said))

    @rule(job=st.sampled_from(NAMES), said=REPORTS, body=st.sampled_from((b"1", b"2")))
    def create(self, job: str, said: dict[str, Any], body: bytes) -> None:
        self.send(entry(job, fresh=True, digest=body, **said))

    @rule(job=JOBS, known=KEYS)
    def delete(self, job: str, known: tuple[str, bytes] | None) -> None:
        self.send(entry(job, Delete(), key=known and key(*known)))

    @rule(seconds=st.sampled_from((0.001, 1, 60, 400)))
    def time_passes(self, seconds: float) -> None:
        self.book.clock.tick(seconds)

    @rule(how=st.sampled_from(("close", "crash", "new epoch", "forget")))
    def reopen(self, how: str) -> None:
        if how == "crash":
            self.do(self.book.crash())
        elif how == "forget":
            self.book.log._hot.clear()
        else:
            self.do(self.book.reopen(new_epoch=how == "new epoch"))

    @rule(progress=st.sampled_from((0, 1, 100)), age=st.sampled_from((0, 300)), records=st.sampled_from((0, 0, 0, 6)))
    def compact(self, progress: float, age: float, records: int) -> None:
        self.bounded = self.bounded or records > 0
        self.do(self.book.tend(progress, age, records))
        self.head = self.book.log.head
        for name, life in list(self.lives.items()):
            found = self.do(self.book.log.standing("default", name))
            if found is None:
                assert life.job.state in TERMINAL
                del self.lives[name]
                self.keys = {known: value for known, value in self.keys.items() if known[0] != name}
            elif found[0].deleted and not life.deleted:
                assert age > 0 or records > 0
                assert life.job.state in TERMINAL
                life.told[found[0].last], life.deleted = found[0].document, True
                life.events[found[0].last] = DELETED

    # What has to hold

    @invariant()
    def every_job_stands_as_was_acknowledged(self) -> None:
        for name, life in self.lives.items():
            for called in (name, alias_of("default", name)):
                found = self.do(self.book.log.standing("default", called))
                assert found is not None
                assert found[0].document == life.told[max(life.told)]
                assert (found[0].last, found[0].deleted) == (max(life.told), life.deleted)

    @invariant()
    def what_is_kept_is_what_was_acknowledged_and_what_is_not_lies_under_the_floor(self) -> None:
        kept = documents(self.do(self.book.history(limit=7)))
        told = {offset: data for life in self.lives.values() for offset, data in life.told.items() if not life.deleted}
        assert {offset: data for offset, data in kept.items() if offset in told}.items() <= told.items()
        assert max(told.keys() - kept.keys(), default=0) <= self.book.log.floor
        for life in self.lives.values():
            owed = {at for at, event in life.events.items() if event != PROGRESS} | {max(life.told)}
            owed = {max(life.told)} if life.deleted else owed
            assert owed <= kept.keys()
            if life.job.state not in TERMINAL and not self.bounded:
                assert life.told.keys() <= kept.keys()

    @invariant()
    def lists_show_the_jobs_by_their_states_and_labels(self) -> None:
        stand = {name: life.job for name, life in self.lives.items() if not life.deleted}
        for state in {job.state for job in stand.values()} | {State.RUNNING}:
            found = self.do(self.book.log.jobs(Filter(states=frozenset([state])), None, 10)).standings
            assert {standing.job.id for standing in found} == {n for n, job in stand.items() if job.state is state}
        for name, job in stand.items():
            for label in (job.labels or {}).items():
                found = self.do(self.book.log.jobs(Filter(labels=frozenset([label])), None, 10)).standings
                assert name in {standing.job.id for standing in found}

    def teardown(self) -> None:
        self.do(self.book.close())
        self.runner.close()
        shutil.rmtree(self.folder)


def drive(monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    """Let so many lives of a log pass."""
    monkeypatch.setattr(batch, "SMALL", 700)  # so that most documents are folded, in short chains
    monkeypatch.setattr(batch, "MAX_CHAIN", 5)
    monkeypatch.setattr(retention, "STEP", 4)
    relaxed = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Machine, settings=relaxed)


def test_the_log_does_what_the_oracle_says(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, 20)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_log_does_what_the_oracle_says_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, 1000)
