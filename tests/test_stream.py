"""What one reader's stream shows, path by path; the law over all of them stands in test_cursor_law.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import frames as frames_module
from gateway import group as group_module
from gateway import hub as hub_module
from gateway.errors import InvalidCursor, JobDeleted, JobNotFound
from gateway.eventlog.base import RecordPage
from gateway.frames import Form
from gateway.job import Delete
from gateway.record import Filter
from gateway.report import State
from gateway.wanted import Wanted
from tests.streams import Reader, Scene, a_scene, frames_in, lacking, one


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path) as scene:
        yield scene


def names(reader: Reader) -> list[str]:
    return [frame.event for frame in reader.frames]


async def test_a_fresh_reader_of_one_job_gets_its_snapshot_and_then_every_change(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    reader = Reader()
    await scene.read(reader, one("a"))
    await reader.until_caught_up()
    await scene.say("a", progress=10)
    last = await scene.say("a", state="succeeded")
    await reader.until_end()
    assert names(reader) == ["snapshot", "sync", "progress", "transition", "end"]
    assert reader.body.startswith(b"retry: ")
    assert reader.frames[3].data == scene_document(last.standing.document)
    assert reader.frames[-1].data == {"reason": "terminal"}


def scene_document(document: bytes) -> object:
    return frames_in(b"event: x\ndata: " + document + b"\n\n")[0].data


async def test_a_frame_and_the_document_at_its_position_are_the_same_bytes(scene: Scene) -> None:
    outcome = await scene.say("a", create=True, state="running", message="line\u2028sep\u0085", details={"ü": [1, 1.0]})
    reader = Reader()
    await scene.read(reader, one("a", cursor="earliest"))
    await reader.until_caught_up()
    assert b"data: " + outcome.standing.document + b"\n" in reader.body


async def test_a_finished_job_answers_a_fresh_reader_with_its_snapshot_and_the_end(scene: Scene) -> None:
    await scene.say("a", create=True, state="succeeded")
    reader = Reader()
    await scene.read(reader, one("a"))
    await reader.until_end()
    assert names(reader) == ["snapshot", "end"]
    assert reader.frames[0].id is not None


async def test_a_reader_at_or_after_the_end_is_told_to_stay_away(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    last = (await scene.say("a", state="failed")).standing.job.position
    await scene.say("b", create=True, state="running")
    assert await scene.read(Reader(), one("a", cursor=last)) is None
    assert await scene.read(Reader(), one("a", cursor=scene.log.position(scene.log.head))) is None
    reader = Reader()
    await scene.read(reader, one("a", cursor=scene.log.position(1)))
    await reader.until_end()
    assert names(reader) == ["transition", "end"]


async def test_named_jobs_end_when_all_of_them_have_and_answer_204_afterwards(scene: Scene) -> None:
    both = Wanted(Filter(jobs=frozenset({("default", "a"), ("default", "b")})))
    reader = Reader()
    await scene.read(reader, both)  # neither exists yet
    await reader.until_caught_up()
    await scene.say("a", create=True, state="running")
    await scene.say("b", create=True, state="running")
    await scene.say("a", state="succeeded")
    await reader.until(3)
    assert not reader.ended.is_set()
    await scene.say("b", state="cancelled")
    await reader.until_end()
    assert names(reader) == ["sync", "transition", "transition", "transition", "transition", "end"]
    late = Wanted(both.match, cursor=scene.log.position(4))
    assert await scene.read(Reader(), late) is None
    again = Reader()
    await scene.read(again, Wanted(both.match, cursor=scene.log.position(3)))
    await again.until_end()
    assert names(again) == ["transition", "end"]
    fresh = Reader()
    await scene.read(fresh, both)
    await fresh.until_end()
    assert names(fresh) == ["snapshot", "snapshot", "sync", "end"]


async def test_a_deletion_reaches_who_came_before_it_and_nobody_after_it(scene: Scene) -> None:
    first = (await scene.say("a", create=True, state="running")).standing.job.position
    await scene.say("a", state="succeeded")
    many = Reader()
    await scene.read(many, Wanted(Filter()))
    await many.until_caught_up()
    await scene.change("a", Delete())
    await many.until(3)
    assert many.frames[-1].event == "deleted"
    assert many.frames[-1].data == {"id": "a", "workspace": "default", "position": scene.log.position(3)}
    before = Reader()
    await scene.read(before, one("a", cursor=first))
    await before.until_end()
    assert [(frame.event, frame.data.get("reason")) for frame in before.frames] == [
        ("deleted", None),
        ("end", "deleted"),
    ]
    assert await scene.read(Reader(), one("a", cursor=scene.log.position(3))) is None
    with pytest.raises(JobDeleted):
        await scene.read(Reader(), one("a"))
    with pytest.raises(JobNotFound):
        await scene.read(Reader(), one("nobody"))


@pytest.mark.parametrize(
    ("cursor,reason"),
    [("zzzzzzzz-1", "foreign"), ("{epoch}-99", "ahead"), ("\xff\xfe", "foreign"), ("-1", "foreign")],
)
@pytest.mark.parametrize("many", [False, True])
async def test_a_cursor_that_cant_be_resumed_is_answered_with_a_reset_and_snapshots(
    scene: Scene, cursor: str, reason: str, many: bool
) -> None:
    await scene.say("a", create=True, state="running")
    cursor = cursor.format(epoch=scene.log.position(1)[:8])
    reader = Reader()
    wanted = Wanted(Filter(), cursor=cursor, header=True) if many else one("a", cursor=cursor, header=True)
    await scene.read(reader, wanted)
    await reader.until_caught_up()
    assert names(reader)[:2] == ["reset", "snapshot"]
    assert reader.frames[0].id is None
    head = scene.log.position(1)
    oldest = scene.log.position(0)
    assert reader.frames[0].data == {"reason": reason, "requested": cursor, "oldest": oldest, "head": head}
    await scene.say("a", state="failed")
    await reader.until(2)
    assert [frame.offset for frame in reader.frames if frame.event == "transition"] == [2]


async def test_a_malformed_cursor_in_the_query_is_refused(scene: Scene) -> None:
    await scene.say("a", create=True)
    with pytest.raises(InvalidCursor):
        await scene.read(Reader(), one("a", cursor="abc"))


async def test_many_snapshots_are_closed_by_a_sync_that_counts_them(scene: Scene) -> None:
    for number in range(5):
        await scene.say(f"j{number}", create=True, state="running" if number % 2 else "pending")
    reader = Reader()
    await scene.read(reader, Wanted(Filter(states=frozenset({State.RUNNING}))))
    await reader.until_caught_up()
    assert [frame.data["id"] for frame in reader.frames[:-1]] == ["j3", "j1"]
    assert all(frame.id is None for frame in reader.frames[:-1])
    sync = reader.frames[-1]
    assert (sync.event, sync.data["shown"], sync.data["matched"]) == ("sync", 2, 2)
    assert sync.id == sync.data["head"] == scene.log.position(5)


async def test_a_filter_lets_a_job_go_and_sees_it_come(scene: Scene) -> None:
    await scene.say("a", create=True, state="running", labels={"team": "geo"})
    reader = Reader()
    await scene.read(reader, Wanted(Filter(labels=frozenset({("team", "geo")}))))
    await reader.until_caught_up()
    await scene.say("a", labels={"team": "sea"})
    await scene.say("a", progress=5)  # neither before nor after
    await scene.say("a", labels={"team": "geo"})
    await reader.until(4)
    assert [frame.offset for frame in reader.frames if frame.event == "progress"] == [2, 4]


async def test_a_slow_reader_costs_a_position_and_gets_every_transition(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    reader = Reader()
    await scene.read(reader, one("a"))
    await reader.until_caught_up()
    reader.stop()
    for number in range(1, 50):
        await scene.say("a", progress=number)
    await scene.say("a", state="paused")
    await scene.say("a", message="m")
    await scene.say("a", state="resuming")
    await scene.settle()
    reader.go_on()
    await reader.until(53)
    history = [record for record in await scene.history(one("a").match) if record.offset > 1]
    assert not list(lacking(history, reader.frames, conflated=True))
    came = [frame.offset for frame in reader.frames]
    assert came == [1, 1, 50, 51, 52, 53]


async def test_min_interval_zero_forbids_all_conflation(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    reader = Reader()
    await scene.read(reader, one("a", min_interval=0.0))
    await reader.until_caught_up()
    reader.stop()
    for number in range(1, 40):
        await scene.say("a", progress=number)
    await scene.settle()
    reader.go_on()
    await reader.until(40)
    assert [frame.offset for frame in reader.frames if frame.event == "progress"] == list(range(2, 41))


async def test_history_that_was_asked_for_is_not_conflated(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    for number in range(1, 40):
        await scene.say("a", progress=number)
    await scene.settle()
    reader = Reader()
    await scene.read(reader, one("a", cursor=scene.log.position(1), min_interval=30.0))
    await reader.until_caught_up()
    assert [frame.offset for frame in reader.frames if frame.event == "progress"] == list(range(2, 41))
    assert reader.frames[-1].event == "sync" or reader.frames[-1].offset == 40


async def test_min_interval_withholds_progress_until_its_time_or_the_next_transition(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    reader = Reader()
    await scene.read(reader, one("a", min_interval=3600.0))
    await reader.until_caught_up()
    await scene.say("a", progress=1)
    await reader.until(2)  # the first of an interval goes out at once
    for number in range(2, 20):
        await scene.say("a", progress=number)
    await scene.settle()
    assert [frame.offset for frame in reader.frames if frame.event == "progress"] == [2]
    await scene.say("a", state="paused")
    await reader.until(21)
    assert [frame.offset for frame in reader.frames if frame.event != "sync"] == [1, 2, 20, 21]
    await scene.say("a", message="and on")
    await scene.settle()
    await scene.hub.beat()
    assert [(frame.event, frame.offset) for frame in reader.frames[-2:]] == [("progress", 22), ("sync", 22)]


async def test_min_interval_is_flushed_by_the_wheel(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    reader = Reader()
    await scene.read(reader, one("a", min_interval=0.15))
    await reader.until_caught_up()
    await scene.say("a", progress=1)
    await scene.say("a", progress=2)
    await scene.say("a", progress=3)
    await reader.until(4)
    assert [frame.offset for frame in reader.frames if frame.event == "progress"][-1] == 4


async def test_a_heartbeat_moves_the_cursor_of_an_idle_reader(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    reader = Reader()
    await scene.read(reader, one("a"))
    await reader.until_caught_up()
    await scene.say("b", create=True)
    await scene.say("b", progress=1)
    await scene.settle()
    await scene.hub.beat()
    assert (reader.frames[-1].event, reader.frames[-1].offset) == ("sync", 3)


async def test_a_heartbeat_that_would_block_is_made_up_for(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    reader = Reader()
    await scene.read(reader, one("a"))
    await reader.until_caught_up()
    await scene.say("b", create=True)
    await scene.settle()
    reader.stop()
    await scene.hub.beat()
    reader.go_on()
    await reader.until(2)
    assert (reader.frames[-1].event, reader.frames[-1].offset) == ("sync", 2)


async def test_records_that_arrive_together_leave_in_one_write(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    readers = [Reader() for _ in range(20)]
    for reader in readers:
        await scene.read(reader, one("a"))
        await reader.until_caught_up()
    before = [reader.writes for reader in readers]
    await asyncio.gather(*(scene.say("a", details={str(number): number}) for number in range(30)))
    for reader in readers:
        await reader.until(31)
    assert all(reader.writes - count <= 3 for reader, count in zip(readers, before, strict=True))


async def test_a_record_is_encoded_once_for_a_thousand_readers(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.say("a", create=True, state="running")
    readers = [Reader() for _ in range(1000)]
    for reader in readers:
        await scene.read(reader, one("a"))
    await asyncio.gather(*(reader.until_caught_up() for reader in readers))
    encoded = []
    real: Callable[..., bytes] = frames_module.frame

    def counting(form: Form, event: str, position: str | None, data: bytes) -> bytes:
        encoded.append(position)
        return real(form, event, position, data)

    monkeypatch.setattr(frames_module, "frame", counting)
    await scene.say("a", progress=1)
    await asyncio.gather(*(reader.until(2) for reader in readers))
    assert encoded == [scene.log.position(2)]


async def test_those_who_fell_behind_share_what_was_encoded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.say("a", create=True, state="running")
    readers = [Reader() for _ in range(3)]
    for reader in readers:
        await scene.read(reader, one("a", min_interval=0))
        await reader.until_caught_up()
        reader.stop()
    encoded = []
    real: Callable[..., bytes] = frames_module.frame

    def counting(form: Form, event: str, position: str | None, data: bytes) -> bytes:
        if event != "sync":
            encoded.append(position)
        return real(form, event, position, data)

    monkeypatch.setattr(frames_module, "frame", counting)
    for number in range(20):
        await scene.say("a", progress=number)
    for reader in readers:
        reader.go_on()
        await reader.until(21)
    assert encoded == [scene.log.position(offset) for offset in range(2, 22)]


async def test_what_is_reported_while_many_readers_are_served_leaves_together(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_module, "AT_ONCE", 1)
    await scene.say("a", create=True, state="running")

    class Slow(Reader):
        def try_write(self, data: bytes) -> bool:
            time.sleep(0.02)  # as if it stood for two thousand, so that one round takes longer than many commits
            return super().try_write(data)

    readers = [Slow() for _ in range(8)]
    for reader in readers:
        await scene.read(reader, one("a"))
        await reader.until_caught_up()
    before = readers[0].writes

    async def produce(name: str) -> None:
        for number in range(8):  # one after the other: each waits for its own commit
            await scene.say("a", details={f"{name}{number}": number})

    await asyncio.gather(*(produce(name) for name in "abcdefgh"))
    await asyncio.gather(*(reader.until(65) for reader in readers))
    assert readers[0].writes - before <= 16, "eight producers' reports leave together"
    assert [frame.offset for frame in readers[0].frames if frame.event == "progress"] == list(range(2, 66))


async def test_a_herd_that_comes_back_reads_the_log_a_few_at_a_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "RING_RECORDS", 2)
    await scene.say("a", create=True, state="running")
    for number in range(10):
        await scene.say("a", message=str(number))
    await scene.settle()
    at_once, most = 0, 0
    real = scene.log.read

    async def counting(*arguments: Any) -> RecordPage:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await real(*arguments)
        finally:
            at_once -= 1

    monkeypatch.setattr(scene.log, "read", counting)
    readers = [Reader() for _ in range(50)]
    for reader in readers:
        await scene.read(reader, one("a", cursor=scene.log.position(1)))
    await asyncio.gather(*(reader.until(11) for reader in readers))
    assert most == hub_module.READS_AT_ONCE
    assert all(len([f for f in reader.frames if f.event == "progress"]) == 10 for reader in readers)


async def test_a_reader_that_is_gone_harms_no_other(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    gone, there = Reader(), Reader()
    for reader in (gone, there):
        await scene.read(reader, one("a"))
        await reader.until_caught_up()
    gone.gone = True
    await scene.say("a", progress=1)
    await there.until(2)
    assert len(scene.hub) == 1


async def test_omitted_members_are_left_out_of_every_frame(scene: Scene) -> None:
    await scene.say("a", create=True, state="running", details={"x": 1}, steps=[{"name": "s"}], result=[1])
    form = Form(omit=frozenset({"steps", "details", "result"}))
    reader = Reader()
    await scene.read(reader, one("a", form=form))
    await reader.until_caught_up()
    await scene.say("a", details={"x": 2})
    await reader.until(2)
    for frame in reader.frames:
        if frame.event != "sync":
            assert not {"steps", "details", "result"} & set(frame.data)


async def test_the_farewell_ends_a_stream_with_a_time_to_come_back(scene: Scene) -> None:
    await scene.say("a", create=True, state="running")
    live, slow = Reader(), Reader()
    streams = [await scene.read(reader, one("a")) for reader in (live, slow)]
    await live.until_caught_up()
    await slow.until_caught_up()
    slow.stop()
    await scene.say("a", progress=1)
    await live.until(2)
    slow.go_on()
    for stream in streams:
        assert stream is not None
        await stream.farewell()
    for reader in (live, slow):
        await reader.until_end()
        assert 1000 <= int(reader.body.rsplit(b"retry: ", 1)[1]) <= 10000
    assert len(scene.hub) == 0
