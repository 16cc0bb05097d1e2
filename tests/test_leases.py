"""A job that promised to be heard of, and is not, is marked once; whatever is heard of it in time prevents that.

The watch runs on a clock that stands where the test says. That it has looked is seen by a sentinel: another job, silent
too, whose mark comes with the same look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import leases
from gateway.errors import GatewayError
from gateway.eventlog import schema
from gateway.eventlog.base import Outcome
from gateway.job import Job, Wish
from gateway.leases import Leases
from gateway.record import PROGRESS
from tests.logs import BOUND, Logbook, a_book, pages


class Time:
    """What `leases` takes for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Watch:
    """Leases of a real log, watched."""

    def __init__(self, book: Logbook, time: Time) -> None:
        self.book, self.time, self.leases = book, time, Leases(book.log)
        self._sentinels = 0

    async def say(self, job: str = "a", *changes: Any, **said: Any) -> Job:
        """A report that is heard of."""
        outcome = await self.book.say(job, *changes, **said)
        self.leases.renew(outcome.standing.job)
        return outcome.standing.job

    async def look(self, seconds: float) -> None:
        """Let so much time pass, and the watch look."""
        self._sentinels += 1
        name = f"sentinel-{self._sentinels}"
        await self.say(name, create=True, state="running", lease=0.001)
        self.time.now += seconds
        await self.until_stalled(name)

    async def until_stalled(self, job: str) -> None:
        """Wait for the mark."""
        async with asyncio.timeout(BOUND):
            while not await self.is_stalled(job):
                await pages(self.book, self.book.log.head, self.book.log.head + 1)

    async def is_stalled(self, job: str = "a") -> bool:
        found = await self.book.log.standing("default", job)
        assert found is not None
        return found[0].job.stalled

    async def marks(self) -> list[tuple[str, str, str]]:
        """Who was marked by whom, and how."""
        told = [record for record in await self.book.history() if record.job.stalled]
        return [(record.job.id, record.by, record.event) for record in told if "sentinel" not in record.job.id]


@asynccontextmanager
async def watching(book: Logbook, time: Time, known: list[Job]) -> AsyncIterator[Watch]:
    watch = Watch(book, time)
    task = asyncio.create_task(watch.leases.watch(known))
    try:
        yield watch
        assert not task.done(), "the watch never ends"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(leases, "time", time)
    monkeypatch.setattr(leases, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(schema, "BUSY_MS", 50)
    return time


@pytest.fixture
async def watch(tmp_path: Path, time: Time) -> AsyncIterator[Watch]:
    async with a_book(tmp_path) as book, watching(book, time, []) as watch:
        yield watch


async def test_a_silent_job_is_marked_once_when_its_lease_is_over(watch: Watch) -> None:
    await watch.say(create=True, state="running", lease=60)
    await watch.look(59)
    assert not await watch.is_stalled()
    await watch.look(1)
    await watch.until_stalled("a")
    await watch.look(1000)
    assert await watch.marks() == [("a", "gateway", PROGRESS)]


async def test_the_next_report_clears_the_mark_and_begins_a_new_lease(watch: Watch) -> None:
    await watch.say(create=True, state="running", lease=60)
    await watch.look(60)
    await watch.until_stalled("a")
    assert not (await watch.say()).stalled
    await watch.look(59)
    assert not await watch.is_stalled()
    await watch.look(1)
    await watch.until_stalled("a")
    assert len(await watch.marks()) == 2


async def test_a_heartbeat_renews_the_lease_without_a_record(watch: Watch) -> None:
    await watch.say(create=True, state="running", lease=60)
    for _ in range(5):
        await watch.look(59)
        assert (await watch.say()).version == 1
    assert await watch.marks() == []
    await watch.look(60)
    await watch.until_stalled("a")


@pytest.mark.parametrize("state", ["created", "pending", "paused", "succeeded", "failed", "cancelled"])
async def test_a_job_that_need_not_be_at_work_is_not_marked(watch: Watch, state: str) -> None:
    await watch.say(create=True, state="running", lease=60)
    await watch.say("b", create=True, state=state, lease=60)
    if state not in ("created", "pending"):
        await watch.say(state=state)
        await watch.look(1000)
        assert not await watch.is_stalled()
    await watch.look(1000)
    assert not await watch.is_stalled("b")


async def test_a_lease_that_is_given_up_marks_nobody(watch: Watch) -> None:
    await watch.say(create=True, state="running", lease=60)
    await watch.say(lease=None)
    await watch.look(1000)
    assert await watch.marks() == []


async def test_a_lease_that_was_made_shorter_ends_at_its_new_time(watch: Watch) -> None:
    await watch.say(create=True, state="running", lease=3600)
    await watch.say(lease=10)
    await watch.look(9)
    assert not await watch.is_stalled()
    await watch.look(1)
    await watch.until_stalled("a")
    await watch.say(lease=3600)
    await watch.look(3599)
    assert not await watch.is_stalled()


async def test_a_readers_wish_neither_renews_the_lease_nor_ends_it(watch: Watch) -> None:
    await watch.say(create=True, state="running", lease=60)
    await watch.look(50)
    wished = await watch.book.say("a", Wish("cancel"))
    watch.leases.track(wished.standing.job)
    await watch.look(10)
    await watch.until_stalled("a")


async def test_a_wish_that_sets_a_job_to_work_begins_its_lease(watch: Watch) -> None:
    await watch.say(create=True, state="paused", lease=60)
    resumed = await watch.book.say("a", Wish("resume"))
    watch.leases.track(resumed.standing.job)
    await watch.look(60)
    await watch.until_stalled("a")


async def test_a_job_that_moved_on_unheard_is_watched_all_the_same(watch: Watch) -> None:
    """As when the request that moved it was cancelled before its answer."""
    await watch.say(create=True, state="running", lease=60)
    await watch.book.say(progress=5)
    await watch.look(60)
    assert not await watch.is_stalled(), "it was heard of since, so it has its time again"
    await watch.look(60)
    await watch.until_stalled("a")


async def test_leases_start_anew_with_the_watch(tmp_path: Path, time: Time) -> None:
    async with a_book(tmp_path) as book:
        await book.say(create=True, state="running", lease=60)
        await book.say("rests", create=True, lease=60)
        await book.say("none", create=True, state="running")
        await book.reopen()
        async with watching(book, time, list(await book.log.leased())) as watch:
            await asyncio.sleep(0)  # the watch takes over what it was given
            await watch.look(59)
            assert await watch.marks() == []
            await watch.look(1)
            await watch.until_stalled("a")
            assert [job for job, *_ in await watch.marks()] == ["a"]


async def test_what_was_heard_before_the_watch_began_counts(tmp_path: Path, time: Time) -> None:
    async with a_book(tmp_path) as book:
        before = (await book.say(create=True, state="running", lease=60)).standing.job
        watch = Watch(book, time)
        await watch.say(progress=7)
        task = asyncio.create_task(watch.leases.watch([before]))
        await watch.look(60)
        await watch.until_stalled("a")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_marks_that_could_not_be_written_come_later_unless_the_job_is_heard_of(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in "ab":
        await watch.say(job, create=True, state="running", lease=60)
    refused, heard = asyncio.Event(), asyncio.Event()
    append = watch.book.log.append

    async def append_slowly(entries: Any) -> list[Outcome | GatewayError]:
        try:
            return await append(entries)
        except GatewayError:
            refused.set()
            await heard.wait()
            raise

    with monkeypatch.context() as patch:
        patch.setattr(watch.book.log, "append", append_slowly)
        await watch.book.log._db.execute_fetchall("PRAGMA query_only = ON")
        watch.time.now += 60
        await asyncio.wait_for(refused.wait(), BOUND)
        await watch.book.log._db.execute_fetchall("PRAGMA query_only = OFF")
        assert await watch.marks() == []
        await watch.say("b", progress=1)
        heard.set()
    await watch.look(leases.AGAIN_SECONDS)
    await watch.until_stalled("a")
    assert not await watch.is_stalled("b")
    await watch.look(60 - leases.AGAIN_SECONDS)
    await watch.until_stalled("b")
