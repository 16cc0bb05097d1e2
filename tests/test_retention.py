"""What is taken away, in which order, and that nobody who reads is ever left with less than it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import JobDeleted, JobNotFound
from gateway.eventlog import retention
from gateway.eventlog.base import Outcome
from gateway.eventlog.retention import Retention
from gateway.job import Delete, Stall, stamp
from gateway.record import DELETED, TRANSITION, Filter, alias_of
from tests.logs import BOUND, Logbook, a_book, a_large_job, documents, entry, key

PROGRESS_KEPT, JOB_KEPT = 100, 1000  # seconds


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Logbook]:
    """An SQLite log."""
    async with a_book(tmp_path) as book:
        yield book


async def live(book: Logbook, job: str = "a", end: str | None = "succeeded", **more: Any) -> list[bytes]:
    """A job's life: transitions with progress between them; what was acknowledged."""
    said = [entry(job, create=True, **more), entry(job, progress=10), entry(job, state="running")]
    said += [entry(job, progress=number) for number in (20, 30, 40)]
    said += [entry(job, state="paused"), entry(job, message="waits"), entry(job, message="still")]
    said += [entry(job, state=end)] if end else []
    answers = await book.append(*said)
    return [answer.standing.document for answer in answers if isinstance(answer, Outcome)]


async def tend(book: Logbook, records: int = 0) -> int:
    return await book.tend(PROGRESS_KEPT, JOB_KEPT, records)


async def kinds(book: Logbook, job: str = "a") -> list[tuple[int, str]]:
    return [(r.offset, r.event) for r in await book.history(Filter(jobs=frozenset([("default", job)])))]


# Progress of finished jobs


async def test_progress_of_a_finished_job_goes_and_its_transitions_stay(book: Logbook) -> None:
    said = await live(book)
    book.clock.tick(PROGRESS_KEPT - 1)
    assert await tend(book) == 0
    book.clock.tick(1)
    assert await tend(book) > 0
    assert await kinds(book) == [(offset, TRANSITION) for offset in (1, 3, 7, 10)]
    for _ in range(2):
        assert [said[offset - 1] for offset in (1, 3, 7, 10)] == list(documents(await book.history()).values())
        assert (book.log.floor, await book.log.floor_of(("default", "a"))) == (9, 9)
        assert book.sql("SELECT value FROM meta WHERE name = 'floor'") == [(9,)]
        stood = await book.log.at(("default", "a"), 7)
        assert stood is not None
        assert stood.document == said[6]
        read = await book.log.standing("default", "a")
        assert read is not None
        assert (read[0].document, read[0].floor) == (said[-1], 9)
        await book.reopen()
    assert await tend(book) == 0


async def test_progress_of_a_job_that_goes_on_stays(book: Logbook) -> None:
    said = await live(book, end=None)
    book.clock.tick(10 * JOB_KEPT)
    assert await tend(book) == 0
    assert [record.document for record in await book.history()] == said
    assert book.log.floor == 0


async def test_rules_that_say_nothing_keep_everything(book: Logbook) -> None:
    said = await live(book)
    book.clock.tick(10**9)
    assert await book.tend() == 0
    assert [record.document for record in await book.history()] == said


async def test_a_job_is_kept_from_when_the_log_heard_of_its_end(book: Logbook) -> None:
    book.clock.tick(10 * JOB_KEPT)
    long_ago = book.clock.now.replace(year=book.clock.now.year - 1)
    await book.append(entry(create=True, time=stamp(long_ago)), entry(progress=1), entry(progress=2))
    said = await book.say(state="succeeded", time=stamp(long_ago))
    assert said.standing.job.finished == stamp(long_ago)
    assert await tend(book) == 0


async def test_the_gateways_own_observations_go_with_the_progress(book: Logbook) -> None:
    await book.append(
        entry(create=True, state="running", lease=5), entry("a", Stall(1)), entry(), entry(state="failed")
    )
    book.clock.tick(PROGRESS_KEPT)
    await tend(book)
    assert await kinds(book) == [(1, TRANSITION), (4, TRANSITION)]


@pytest.mark.parametrize("step", [1, 3, 7, 500])
async def test_a_large_job_is_whole_after_every_single_step(
    book: Logbook, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """What is left is read as it was said after each step: a step that cut a chain in its midst would leave records
    that can't be folded until the next one, or for good if the process dies in between."""
    monkeypatch.setattr(retention, "STEP", step)
    said = [(await book.say(create=True, steps=a_large_job(80))).standing.document]
    for number in range(250):
        state = {"state": ("running", "paused")[number // 20 % 2]} if number % 20 == 0 else {}
        said.append((await book.say(message=str(number), **state)).standing.document)
    said.append((await book.say(state="succeeded")).standing.document)
    book.clock.tick(PROGRESS_KEPT)
    rules = Retention(PROGRESS_KEPT)
    while await book.log.tend(rules, book.clock.now):
        records = await book.history()
        assert [record.document for record in records] == [said[record.offset - 1] for record in records]
        read = await book.log.standing("default", "a")
        assert read is not None
        assert read[0].document == said[-1]
        gone = set(range(1, len(said) + 1)) - {record.offset for record in records}
        assert max(gone, default=0) <= min(book.log.floor, await book.log.floor_of(("default", "a")) or 0)
    assert {event for _, event in await kinds(book)} == {TRANSITION}
    await book.crash()
    records = await book.history()
    assert [record.document for record in records] == [said[record.offset - 1] for record in records]
    assert len(records) == 2 + 13


async def test_the_floor_is_raised_before_a_reader_could_miss_anything(
    book: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds a record missing finds the floor at or above it, however the read and the compaction interleave."""
    monkeypatch.setattr(retention, "STEP", 3)  # so that there are many steps to read between
    for number in range(20):
        await live(book, f"j{number}")
    whole = set(range(1, 201))
    book.clock.tick(PROGRESS_KEPT)
    reads = 0

    async def compact() -> None:
        rules = Retention(PROGRESS_KEPT, JOB_KEPT, 0)
        while await book.log.tend(rules, book.clock.now):
            seen = reads
            while reads == seen:  # it would be over before the reader got far
                await asyncio.sleep(0)

    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        compacting = group.create_task(compact())
        while not compacting.done():
            missing = whole - {record.offset for record in await book.history(limit=1000)}
            assert max(missing, default=0) <= book.log.floor
            key = ("default", f"j{reads % 20}")
            mine = {record.offset for record in await book.history(Filter(jobs=frozenset([key])))}
            floor = await book.log.floor_of(key) or 0
            start = 1 + 10 * (reads % 20)
            assert max(set(range(start, start + 10)) - mine, default=0) <= floor
            reads += 1
    assert reads > 3
    assert len(await book.history()) == 80


async def test_the_idempotency_keys_of_what_went_answer_with_the_present_document(book: Logbook) -> None:
    await book.say(create=True)
    kept = await book.say(state="running", key=key("kept"))
    gone = entry(progress=5, key=key("gone"))
    first = await book.take(gone)
    last = await book.say(state="succeeded")
    book.clock.tick(PROGRESS_KEPT)
    await tend(book)
    for _ in range(2):
        again = await book.take(gone)
        assert (again.replayed, again.made) == (True, first.made)
        assert again.standing.document == last.standing.document
        assert (await book.say(state="running", key=key("kept"))).standing.document == kept.standing.document
        await book.reopen()


# Finished jobs


async def test_an_old_job_becomes_a_tombstone_and_then_nothing(book: Logbook) -> None:
    body = entry(create=False, fresh=True, digest=b"body", key=key("k", scope="workspace"), labels={"team": "geo"})
    await book.take(body)
    await book.say(state="failed", key=key("end"))
    book.clock.tick(JOB_KEPT)
    assert await tend(book) > 0
    for _ in range(2):
        assert await kinds(book) == [(3, DELETED)]
        (tombstone,) = await book.history()
        assert (tombstone.by, tombstone.job.labels) == ("gateway", {"team": "geo"})
        for again in (body, entry(state="running"), entry(create=True), entry(alias_of("default", "a"))):
            with pytest.raises(JobDeleted):
                await book.take(again)
        await book.reopen()
    assert book.sql("SELECT count(*) FROM records") == [(1,)]
    book.clock.tick(JOB_KEPT - 1)
    assert await tend(book) == 0
    book.clock.tick(1)
    assert await tend(book) > 0
    assert book.log.floor == 3, "a cursor from before the tombstone went is answered with a reset"
    for table in ("records", "jobs", "identities", "labels", "keys"):
        assert book.sql(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert await book.log.standing("default", "a") is None
    with pytest.raises(JobNotFound):
        await book.say(state="running")
    anew = await book.take(body)
    assert (anew.made, anew.replayed, anew.standing.last, anew.standing.job.version) == (True, False, 4, 1)


async def test_a_job_that_was_deleted_by_hand_is_swept_at_once_and_buried_in_time(book: Logbook) -> None:
    await live(book)
    await book.say("a", Delete())
    await tend(book)
    assert book.sql("SELECT offset, event FROM records") == [(11, DELETED)]
    assert book.log.floor == 0, "nobody was owed what a deleted job had been"
    book.clock.tick(JOB_KEPT)
    await tend(book)
    assert book.sql("SELECT count(*) FROM records") == [(0,)]


@pytest.mark.parametrize("step", [2, 500])
async def test_many_jobs_expire_beside_the_traffic(book: Logbook, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(retention, "STEP", step)
    monkeypatch.setattr(retention, "EXPIRE", step)
    for number in range(30):
        await live(book, f"old{number}")
    book.clock.tick(JOB_KEPT)
    compacting = asyncio.create_task(tend(book))
    said: list[bytes] = []
    async with asyncio.timeout(BOUND):
        while not compacting.done() or len(said) < 50:
            said.append((await book.say("new", create=True, message=str(len(said)))).standing.document)
    assert compacting.result() > 30
    new = await book.history(Filter(jobs=frozenset([("default", "new")])))
    assert [record.document for record in new] == said
    assert {record.event for record in await book.history() if record.key != ("default", "new")} == {DELETED}


# A log that may hold only so many records


async def test_a_crowded_log_gives_up_first_what_is_missed_least(book: Logbook) -> None:
    for job, end in (("first", "failed"), ("second", "succeeded"), ("works", None)):
        await live(book, job, end)
    stands = await book.log.standing("default", "works")
    assert stands is not None

    async def left(most: int) -> dict[str, str]:
        """By job the first letters of what is told of it."""
        await tend(book, records=most)
        told: dict[str, str] = {}
        for record in await book.history():
            told[record.key[1]] = told.get(record.key[1], "") + record.event[0]
        works = await book.log.standing("default", "works")
        assert works is not None
        assert works[0].document == stands[0].document
        return told

    assert await left(29) == {"first": "tptppptppt", "second": "tptppptppt", "works": "tptppptpp"}
    assert await left(28) == {"first": "tttt", "second": "tptppptppt", "works": "tptppptpp"}
    assert await left(22) == {"first": "tttt", "second": "tttt", "works": "tptppptpp"}
    assert await left(16) == {"first": "tttt", "second": "tttt", "works": "tttp"}
    assert await left(11) == {"first": "d", "second": "tttt", "works": "tttp"}
    assert await left(8) == {"second": "tttt", "works": "tttp"}
    assert await left(7) == {"second": "d", "works": "tttp"}
    assert await left(4) == {"works": "tttp"}
    assert await left(1) == {"works": "tttp"}, "of a job that goes on, its life and how it stands is not given up"


async def test_a_job_that_goes_on_still_knows_what_it_lost(book: Logbook) -> None:
    await book.say(create=True)
    await book.append(*(entry(message=str(number)) for number in range(10)))
    await tend(book, records=3)
    floor = await book.log.floor_of(("default", "a"))
    assert floor
    told = (await book.say(message="after")).standing
    hot = await book.log.standing("default", "a")
    await book.reopen()
    cold = await book.log.standing("default", "a")
    assert hot
    assert cold
    assert told.floor == hot[0].floor == cold[0].floor == floor


async def test_a_large_tombstone_needs_nothing_of_what_is_swept(book: Logbook) -> None:
    await book.say(create=True, labels={f"k{number}": "v" * 900 for number in range(20)})
    await book.say(state="succeeded")
    await book.say("a", Delete())
    assert await tend(book) > 0
    assert await kinds(book) == [(3, DELETED)]
    await book.crash()
    found = await book.log.standing("default", "a")
    assert found
    assert found[0].deleted


async def test_a_job_that_goes_on_for_ever_does_not_fill_a_crowded_log(book: Logbook) -> None:
    """Its newest record is looked at again once it is no longer that."""
    said = [(await book.say(create=True, steps=a_large_job(60))).standing.document]
    for number in range(300):
        said.append((await book.say(message=str(number))).standing.document)
        if number % 7 == 0:
            await tend(book, records=10)
    await tend(book, records=10)
    records = await book.history()
    assert len(records) <= 10
    assert [record.document for record in records] == [said[record.offset - 1] for record in records]
    await book.say(state="failed")
    book.clock.tick(PROGRESS_KEPT)
    await tend(book)
    assert [event for _, event in await kinds(book)] == [TRANSITION, TRANSITION]
    await book.crash()
    assert [orjson.loads(record.document)["state"] for record in await book.history()] == ["pending", "failed"]
