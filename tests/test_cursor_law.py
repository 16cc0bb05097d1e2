"""The cursor law, on every path: whoever resumes from any id ever received has all that was owed, in order.

Each run has producers of its own that work at the same time as readers who stall, are cut at random bytes and come
back with the last id that came complete; what they got, put together, is compared with the log.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway import catchup
from gateway import group as group_module
from gateway import hub as hub_module
from gateway.errors import GatewayError
from gateway.eventlog.retention import Retention
from gateway.frames import Form
from gateway.record import Filter, Record
from gateway.report import State
from gateway.wanted import Wanted
from tests.streams import BOUND, Frame, Reader, Scene, a_scene, frames_in, lacking, one

JOBS = ("a", "b", "c", "d")
ENDS = ("succeeded", "failed", "cancelled")
WANTED = {
    "one job": one("a"),
    "named jobs": Wanted(Filter(jobs=frozenset({("default", "a"), ("default", "c")}))),
    "all jobs": Wanted(Filter()),
    "a state": Wanted(Filter(states=frozenset({State.RUNNING}))),
    "a label": Wanted(Filter(labels=frozenset({("team", "geo")}))),
}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path) as scene:
        yield scene


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds so small that every reader is often behind, and that the loop turns between any two deliveries."""
    monkeypatch.setattr(hub_module, "RING_RECORDS", 3)
    monkeypatch.setattr(catchup, "PAGE_RECORDS", 5)
    monkeypatch.setattr(group_module, "AT_ONCE", 1)
    monkeypatch.setattr(hub_module, "SLICE_SECONDS", 0.0)


async def produce(scene: Scene, job: str, chance: random.Random, count: int) -> None:
    """A job's life: mostly progress, now and then a transition or a label, at last an end."""
    await scene.say(job, create=True, state="running", labels={"team": chance.choice(("geo", "sea"))})
    for number in range(count):
        with suppress(GatewayError):
            match chance.randrange(8):
                case 0:
                    await scene.say(job, state=chance.choice(("paused", "running", "retrying")))
                case 1:
                    await scene.say(job, labels={"team": chance.choice(("geo", "sea"))})
                case _:
                    await scene.say(job, message=f"{job} {number}")
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
    await scene.say(job, state=chance.choice(ENDS))


async def follow(scene: Scene, wanted: Wanted, chance: random.Random, direct: bool, end: int) -> list[Frame]:
    """Read until `end` has been reached, through cuts and stalls; each frame counts from where its stream began."""
    got: list[Frame] = []
    cursor = "earliest"
    for attempt in range(2000):
        cut = chance.randrange(1, 20_000) if attempt < 12 else None
        reader = Reader(direct, cut)
        stream = await scene.read(reader, replace(wanted, cursor=cursor))
        if stream is None:
            return got
        stalls = asyncio.create_task(stall(reader, chance))
        try:
            await until_gone_or(reader, end)
        finally:
            stalls.cancel()
            stream.close()
        assert not any(frame.event == "reset" for frame in reader.frames)
        ids = [frame.offset for frame in reader.frames if frame.id is not None]
        assert ids == sorted(ids), "ids on one connection never fall"
        # What came after the last complete id, and had none, comes again.
        got += reader.frames
        cursor = reader.last_id or cursor
        if reader.ended.is_set() or (ids and ids[-1] >= end):
            return got
    raise AssertionError("the reader never got to the end")


async def until_gone_or(reader: Reader, end: int) -> None:
    async with asyncio.timeout(BOUND):
        while not (reader.gone or reader.ended.is_set()):
            if any(frame.id is not None and frame.offset >= end for frame in reader.frames[-3:]):
                return
            await asyncio.sleep(0.002)


async def stall(reader: Reader, chance: random.Random) -> None:
    while True:
        if chance.random() < 0.3:
            reader.stop()
            await asyncio.sleep(chance.random() * 0.01)
            reader.go_on()
        await asyncio.sleep(chance.random() * 0.01)


@pytest.mark.parametrize("small", [False, True], ids=["from memory", "from the file"])
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "plain ASGI"])
@pytest.mark.parametrize("interval", [None, 0.0, 0.02], ids=["default", "unconflated", "interval"])
@pytest.mark.parametrize("path", list(WANTED))
async def test_a_late_reader_that_is_cut_again_and_again_gets_the_whole_history_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, path: str, interval: float | None, direct: bool, small: bool
) -> None:
    if small:
        make_small(monkeypatch)
    chance = random.Random(f"{path} {interval} {direct} {small}")
    wanted = replace(WANTED[path], min_interval=interval)
    await asyncio.gather(*(produce(scene, job, random.Random(chance.random()), 40) for job in JOBS))
    await scene.settle()
    beats = asyncio.create_task(beat(scene))
    late = await follow(scene, wanted, chance, direct, scene.log.head)
    beats.cancel()
    history = await scene.history(wanted.match)
    assert not list(lacking(history, late, conflated=False))  # it asked for history, which is not conflated


async def beat(scene: Scene) -> None:
    while True:
        await asyncio.sleep(0.003)
        await scene.hub.beat()


@pytest.mark.parametrize("interval", [None, 0.0, 0.02], ids=["default", "unconflated", "interval"])
@pytest.mark.parametrize("path", list(WANTED))
async def test_readers_beside_the_producers_get_the_same_as_the_log_holds(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, path: str, interval: float | None
) -> None:
    make_small(monkeypatch)
    chance = random.Random(f"{path} {interval}")
    wanted = replace(WANTED[path], min_interval=interval)
    for job in JOBS:
        await scene.say(job, create=True, labels={"team": "geo"})
    total: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def until_all() -> None:
        await asyncio.gather(*(go_on(scene, job, random.Random(chance.random())) for job in JOBS))
        total.set_result(scene.log.head)

    async def read_all(direct: bool, seed: float) -> list[Frame]:
        own = random.Random(seed)
        got: list[Frame] = []
        cursor = "earliest"
        while not total.done() or not got or max(frame.offset for frame in got) < total.result():
            reader = Reader(direct, own.randrange(200, 30_000))
            stream = await scene.read(reader, replace(wanted, cursor=cursor))
            if stream is None:
                return got
            stalls = asyncio.create_task(stall(reader, own))
            async with asyncio.timeout(BOUND):
                while not (reader.gone or reader.ended.is_set()):
                    if total.done() and reader.frames and reader.frames[-1].offset >= total.result():
                        break
                    await asyncio.sleep(0.002)
            stalls.cancel()
            stream.close()
            got += reader.frames
            cursor = reader.last_id or cursor
            if reader.ended.is_set():
                return got
        return got

    beats = asyncio.create_task(beat(scene))
    results = await asyncio.gather(*(read_all(number % 2 == 0, chance.random()) for number in range(6)), until_all())
    beats.cancel()
    history = await scene.history(wanted.match)
    for got in results[:-1]:
        assert got is not None
        assert not list(lacking(history, got, conflated=interval != 0))


async def go_on(scene: Scene, job: str, chance: random.Random) -> None:
    await scene.say(job, state="running")
    for number in range(60):
        with suppress(GatewayError):
            if chance.random() < 0.15:
                await scene.say(job, state=chance.choice(("paused", "running", "retrying")))
            elif chance.random() < 0.1:
                await scene.say(job, labels={"team": chance.choice(("geo", "sea"))})
            else:
                await scene.say(job, message=f"{job} {number}")
        if chance.random() < 0.3:
            await asyncio.sleep(0.001)
    await scene.say(job, state="succeeded")


@pytest.mark.parametrize("form", [Form(), Form(omit=frozenset({"details"}))], ids=["whole", "omit"])
async def test_a_stream_cut_after_any_byte_goes_on_with_exactly_the_missing_rest(scene: Scene, form: Form) -> None:
    await scene.say("a", create=True, state="running")
    for number in range(12):
        await scene.say("a", progress=number, state="paused" if number % 5 == 4 else "running")
    await scene.say("b", create=True)
    await scene.say("a", state="failed", error="boom")
    await scene.settle()
    wanted = one("a", form=form, min_interval=0.0)
    whole = Reader()
    await scene.read(whole, replace(wanted, cursor="earliest"))
    await whole.until_end()
    rests: dict[str | None, list[Frame]] = {}
    for cut in range(len(whole.body) + 1):
        begun = frames_in(whole.body[:cut])
        last = next((frame.id for frame in reversed(begun) if frame.id is not None), None)
        if last not in rests:
            rest = Reader()
            if await scene.read(rest, replace(wanted, cursor=last or "earliest")) is not None:
                await rest.until_end()
            rests[last] = [frame for frame in rest.frames if frame.event != "sync"]
        seen = [frame for frame in begun if frame.event != "sync"]
        expected = [frame for frame in whole.frames if frame.event != "sync"]
        if seen and seen[-1].event == "end":
            assert rests[last] == []  # 204: it stays away
        else:
            assert seen + rests[last] == expected or (seen + rests[last] == expected[:-1] and not rests[last])


async def test_compaction_never_takes_away_what_a_reader_is_owed_in_silence(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    for number in range(20):
        await scene.say("a", message=str(number))
    await scene.say("b", create=True, state="running")
    await scene.say("a", state="succeeded")
    rules = Retention(progress=1.0, age=0.0)
    later = datetime.now(UTC) + timedelta(hours=1)
    while await scene.log.tend(rules, later):
        pass
    for wanted in (one("a"), Wanted(Filter())):
        reader = Reader()
        await scene.read(reader, replace(wanted, cursor=scene.log.position(5)))
        await reader.until(23)
        assert [frame.event for frame in reader.frames][:2] == ["reset", "snapshot"]
        assert reader.frames[0].data["reason"] == "expired"
        assert reader.frames[0].data["oldest"] == scene.log.position(21)
    kept: list[Record] = await scene.history(one("a").match)
    assert [record.offset for record in kept] == [1, 23]
    beyond = Reader()
    await scene.read(beyond, one("a", cursor=scene.log.position(21)))
    await beyond.until_end()
    assert [frame.offset for frame in beyond.frames if frame.event == "transition"] == [23]
    b = Reader()
    await scene.read(b, one("b", cursor=scene.log.position(5)))  # its own records are all there
    await b.until_caught_up()
    assert [frame.event for frame in b.frames] == ["transition", "sync"]


async def test_a_reader_that_compaction_overtakes_is_reset_in_mid_stream(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "RING_RECORDS", 1)
    monkeypatch.setattr(catchup, "PAGE_RECORDS", 3)
    await scene.say("a", create=True, state="running")
    reader = Reader()
    await scene.read(reader, Wanted(Filter(), min_interval=0.0))
    await reader.until_caught_up()
    reader.stop()
    for number in range(30):
        await scene.say("a", message=str(number))
    await scene.say("a", state="succeeded")
    await scene.settle()
    later = datetime.now(UTC) + timedelta(hours=1)
    while await scene.log.tend(Retention(progress=1.0, age=0.0), later):
        pass
    reader.go_on()
    await reader.until(32)
    events = [frame.event for frame in reader.frames]
    assert "reset" in events
    assert events[events.index("reset") + 1] == "snapshot"
    snapshot = reader.frames[events.index("reset") + 1]
    assert snapshot.data["state"] == "succeeded"
