"""The use cases beside the streams: waiting, leases, readiness, what dies in the background."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import leases
from gateway.errors import Compacted, InvalidCursor, InvalidRequest, JobDeleted, JobNotFound, Unavailable
from gateway.eventlog.base import Outcome
from gateway.ids import new_id
from gateway.record import Filter
from gateway.report import Identity, parse_report
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.wanted import Wanted
from tests.streams import BOUND, Reader, one


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Gateway]:
    gateway = Gateway(Settings(database=str(folder / "status.db"), **settings))
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running(tmp_path) as gateway:
        yield gateway


async def made(gateway: Gateway, job: str, **report: Any) -> Outcome:
    return await gateway.create(Identity(id=job), parse_report(report), digest=b"d", key=None, by="t")


async def said(gateway: Gateway, job: str, **report: Any) -> Outcome:
    return await gateway.report("default", job, [parse_report(report)], by="t")


async def test_waiting_never_misses_the_change_that_it_waits_for(gateway: Gateway) -> None:
    await made(gateway, "a", state="running")
    chance = random.Random(1)
    for number in range(300):
        standing = await gateway.standing("default", "a")

        async def change(number: int = number) -> None:
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            await said(gateway, "a", message=str(number))

        async with asyncio.timeout(BOUND):
            moved, _ = await asyncio.gather(gateway.wait(standing, 60), change())
        assert moved.last > standing.last


async def test_waiting_ends_at_once_for_a_job_that_has_ended_and_in_time_for_one_that_is_silent(
    gateway: Gateway,
) -> None:
    ended = (await made(gateway, "a", state="succeeded")).standing
    assert await gateway.wait(ended, 60) is ended
    silent = (await made(gateway, "b")).standing
    assert (await gateway.wait(silent, 0.05)).last == silent.last


async def test_waiting_for_a_job_that_is_deleted_meanwhile_says_so(gateway: Gateway) -> None:
    await made(gateway, "a", state="running")
    standing = await gateway.standing("default", "a")
    waiting = asyncio.create_task(gateway.wait(standing, 60))
    await asyncio.sleep(0)
    moved = await said(gateway, "a", state="succeeded")
    assert (await waiting).last == moved.standing.last
    await gateway.delete("default", "a", by="t")
    with pytest.raises(JobDeleted):
        await gateway.wait(moved.standing, 60)


async def test_a_silent_job_is_stalled_by_the_gateway_and_the_next_report_clears_it(gateway: Gateway) -> None:
    await made(gateway, "a", state="running", lease=0.2)
    reader = Reader()
    stream = await gateway.subscribe(one("a"))
    assert stream is not None
    stream.open(reader)
    await reader.until(2)
    assert any(frame.offset == 2 and frame.data.get("stalled") for frame in reader.frames)
    (record,) = (await gateway.log.read(1, 2, Filter(), 10)).records
    assert record.by == "gateway"
    beat = await said(gateway, "a")  # an empty report is a heartbeat
    assert beat.made
    assert not beat.standing.job.stalled


class Time:
    """What `leases` takes for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


async def test_heartbeats_renew_the_lease_without_a_record_and_a_readers_wish_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()
    monkeypatch.setattr(leases, "time", time)
    async with running(tmp_path) as gateway, asyncio.timeout(BOUND):
        await made(gateway, "a", state="running", lease=60)
        for number in range(4):
            time.now += 40
            # Another silent job is marked with the same look: so the watch has looked.
            other = (await made(gateway, f"other-{number}", state="running", lease=0.001)).standing
            time.now += 1
            assert (await gateway.wait(other, 60)).job.stalled
            assert not (await said(gateway, "a")).made
        await gateway.wish("default", "a", "cancel", by="reader")
        standing = await gateway.standing("default", "a")
        time.now += 50
        for _ in range(3):
            await gateway.wish("default", "a", "cancel", by="reader")
        time.now += 10
        stalled = await gateway.wait(standing, 60)
    assert stalled.job.stalled
    assert stalled.job.state == "cancelling"


async def test_leases_start_anew_with_the_gateway(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        await made(first, "a", state="running", lease=0.3)
    async with running(tmp_path) as second:
        standing = await second.standing("default", "a")
        async with asyncio.timeout(BOUND):
            while not standing.job.stalled:
                standing = await second.wait(standing, 60)


async def test_too_many_streams_are_told_to_come_back_later(tmp_path: Path) -> None:
    async with running(tmp_path, max_streams=1) as gateway:
        await made(gateway, "a")
        first = await gateway.subscribe(one("a"))
        second = await gateway.subscribe(one("a"))
        assert first is not None
        assert second is not None
        reader = Reader()
        second.open(reader)
        await reader.until_end()
        assert [frame.event for frame in reader.frames] == ["busy"]
        first.close()
        assert not gateway.streams
        third = await gateway.subscribe(Wanted(Filter()))
        assert third is not None
        again = Reader()
        third.open(again)
        await again.until_caught_up()


async def test_a_gateway_that_shuts_down_takes_no_writes_and_says_why_it_is_not_ready(gateway: Gateway) -> None:
    await made(gateway, "a")
    assert gateway.readiness() is None
    gateway.drain()
    assert gateway.readiness() == "the gateway is shutting down"
    with pytest.raises(Unavailable) as refused:
        await said(gateway, "a", progress=1)
    assert refused.value.retry_after
    assert (await gateway.standing("default", "a")).job.id == "a"  # reading goes on


async def test_a_gateway_that_shuts_down_answers_those_who_wait(gateway: Gateway) -> None:
    standing = (await made(gateway, "a", state="running")).standing
    waiting = [asyncio.create_task(gateway.wait(standing, 60)) for _ in range(3)]
    await asyncio.sleep(0.05)
    gateway.drain()
    async with asyncio.timeout(BOUND):
        assert [found.last for found in await asyncio.gather(*waiting)] == [standing.last] * 3


async def test_a_follower_that_dies_ends_readiness_and_says_why(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(page: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(gateway.hub, "dispatch", broken)
    await made(gateway, "a")
    async with asyncio.timeout(BOUND):
        while gateway.readiness() is None:
            await asyncio.sleep(0.01)
    assert "the follower died" in (gateway.readiness() or "")
    assert "a fault of ours" in caplog.text
    with pytest.raises(Unavailable):
        await said(gateway, "a", progress=1)


async def test_a_writer_that_dies_leaves_nobody_waiting(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(gateway, "a")

    def broken() -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(gateway.log._writer, "_take", broken)
    async with asyncio.timeout(BOUND):
        with pytest.raises(Unavailable):
            await said(gateway, "a", progress=1)
        while gateway.readiness() is None:
            await asyncio.sleep(0.01)
    assert "the writer died" in (gateway.readiness() or "")


async def test_a_job_is_shown_as_it_stood_at_a_position_and_at_a_time(gateway: Gateway) -> None:
    first = await made(gateway, "a", state="running")
    await asyncio.sleep(0.002)
    await made(gateway, "b")
    second = await said(gateway, "a", progress=50)
    for outcome in (first, second):
        job = outcome.standing.job
        assert (await gateway.at("default", "a", job.position)).document == outcome.standing.document
        assert (await gateway.at("default", "a", job.updated)).document == outcome.standing.document
    assert (await gateway.at("default", "a", gateway.log.position(2))).document == first.standing.document
    assert (await gateway.at("default", "a", "2999-01-01T00:00:00Z")).document == second.standing.document
    for moment in ("2001-01-01T00:00:00Z", gateway.log.position(0)):
        with pytest.raises(JobNotFound):
            await gateway.at("default", "a", moment)
    for moment in ("zzzzzzzz-1", gateway.log.position(99), "yesterday"):
        with pytest.raises(InvalidRequest) as refused:
            await gateway.at("default", "a", moment)
        assert refused.value.members["field"] == "at"


async def test_the_history_is_paged_and_its_cursor_checked(gateway: Gateway) -> None:
    await made(gateway, "a", state="running")
    for number in range(6):
        await said(gateway, "a", progress=number + 1)
    seen = []
    after = None
    for _ in range(10):
        records, after = await gateway.history("default", "a", after, 3)
        seen += [record.job.version for record in records]
        if after is None:
            break
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(Compacted) as expired:
        await gateway.history("default", "a", "zzzzzzzz-1", 3)
    assert expired.value.members["oldest"] == gateway.log.position(0)
    with pytest.raises(InvalidCursor):
        await gateway.history("default", "a", "abc", 3)
    with pytest.raises(JobNotFound):
        await gateway.history("default", "nobody", None, 3)


async def test_the_polling_hint_follows_the_jobs_own_pace(gateway: Gateway) -> None:
    fresh = (await made(gateway, "a", state="running")).standing
    assert gateway.pace(fresh) == 1


def test_made_ids_are_uuids_of_version_7_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(5)]
    assert all(made[14] == "7" and made[19] in "89ab" for made in ids)
    assert [made[:13] for made in ids] == sorted(made[:13] for made in ids)
