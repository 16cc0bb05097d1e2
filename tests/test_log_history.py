"""The contract of `EventLog`, continued: the past of a job, its end, and what of it is still told."""

from __future__ import annotations

import random

import pytest

from gateway.errors import JobDeleted, JobNotFinished
from gateway.eventlog.base import Unresumable
from gateway.job import Delete, stamp
from gateway.record import DELETED, PROGRESS, TRANSITION, Filter, Position, alias_of
from gateway.report import State
from tests.logs import Logbook, documents, entry

ONE = ("default", "a")


# Looking back


async def test_a_job_is_seen_as_it_stood_at_any_offset(book: Logbook) -> None:
    await book.append(entry(create=True), entry("b", create=True), entry(state="running"), entry("b", message="x"))
    await book.say(progress=50)
    known = documents(await book.history(Filter(jobs=frozenset([ONE]))))
    stood = {offset: max((at for at in known if at <= offset), default=None) for offset in range(7)}
    assert stood == {0: None, 1: 1, 2: 1, 3: 3, 4: 3, 5: 5, 6: 5}
    for offset, at in stood.items():
        found = await book.log.at(ONE, offset)
        assert (None if found is None else found.offset) == at
        assert found is None or found.document == known[found.offset]
    assert await book.log.at(("default", "nobody"), 3) is None


async def test_a_job_is_seen_as_it_stood_at_any_time(book: Logbook) -> None:
    start = book.clock.now
    milliseconds = sorted({0, 1, 2, 999, 1000, *random.Random(7).sample(range(100_000), 40)})
    for number, moment in enumerate(milliseconds):
        book.clock.now = start
        book.clock.tick(moment / 1000)
        await book.say(create=True, message=str(number))
    for number, moment in enumerate(milliseconds):
        book.clock.now = start
        book.clock.tick(moment / 1000)
        found = await book.log.at(ONE, stamp(book.clock.now))
        assert found is not None
        assert found.job.message == str(number)
        assert found.job.updated == stamp(book.clock.now)
    book.clock.now = start
    book.clock.tick(-0.001)
    assert await book.log.at(ONE, stamp(book.clock.now)) is None
    assert await book.log.at(ONE, "9999-12-31T23:59:59.999Z") is not None
    assert await book.log.at(ONE, "0001-01-01T00:00:00.000Z") is None


# Positions


@pytest.mark.parametrize("offset", [3, 2**63 - 1])
async def test_a_position_ahead_of_the_log_cannot_be_resumed_from(book: Logbook, offset: int) -> None:
    await book.append(entry(create=True), entry(message="x"))
    epoch = Position.parse(book.log.position(2)).epoch
    for reached in range(3):
        assert book.log.offset(Position(epoch, reached)) == reached
    with pytest.raises(Unresumable) as caught:
        book.log.offset(Position(epoch, offset))
    assert caught.value.reason == "ahead"


async def test_a_position_of_another_log_cannot_be_resumed_from(book: Logbook) -> None:
    await book.say(create=True)
    epoch = Position.parse(book.log.position(1)).epoch
    for other in {"aaaaaaaa", "bbbbbbbb"} - {epoch}:
        with pytest.raises(Unresumable) as caught:
            book.log.offset(Position(other, 1))
        assert caught.value.reason == "foreign"


async def test_positions_survive_the_log_being_closed(book: Logbook) -> None:
    said = [(await book.say(f"j{number}", create=True)).standing.job.position for number in range(3)]
    await book.reopen()
    assert [book.log.position(offset) for offset in (1, 2, 3)] == said
    assert (await book.say("j4", create=True)).standing.job.position.startswith(said[0].partition("-")[0])


# Deleting


async def test_only_a_finished_job_is_deleted(book: Logbook) -> None:
    await book.say(create=True, state="running")
    with pytest.raises(JobNotFinished):
        await book.say("a", Delete())
    await book.say(state="failed")
    gone = await book.say("a", Delete(), by="alice")
    assert (gone.made, gone.standing.deleted, gone.standing.last) == (True, True, 3)
    with pytest.raises(JobDeleted):
        await book.say("a", Delete())


async def test_a_deleted_job_takes_nothing_under_any_of_its_names(book: Logbook) -> None:
    await book.say(create=True, state="succeeded")
    await book.say("a", Delete())
    for _ in range(2):
        for name in ("a", alias_of("default", "a")):
            for again in (
                entry(name, progress=1),
                entry(name, create=True),
                entry(name, fresh=True, digest=b"d"),
                entry(name, Delete()),
            ):
                with pytest.raises(JobDeleted):
                    await book.take(again)
            read = await book.log.standing("default", name)
            assert read is not None
            assert read[0].deleted
        await book.reopen()
    assert book.log.head == 2


async def test_of_a_deleted_job_only_the_deletion_is_told(book: Logbook) -> None:
    await book.append(entry(create=True, state="running", labels={"team": "geo"}, process="p"), entry("b", create=True))
    await book.say(state="succeeded", message="secret")
    await book.say("a", Delete(), by="alice")
    await book.say("b", message="goes on")
    for _ in range(2):
        told = await book.history()
        assert [(record.offset, record.event, record.key[1]) for record in told] == [
            (2, TRANSITION, "b"),
            (4, DELETED, "a"),
            (5, PROGRESS, "b"),
        ]
        tombstone = told[1]
        assert (tombstone.by, tombstone.job.labels, tombstone.job.process) == ("alice", {"team": "geo"}, "p")
        assert b"secret" not in tombstone.document
        for match in (
            Filter(jobs=frozenset([ONE])),
            Filter(labels=frozenset([("team", "geo")])),
            Filter(states=frozenset([State.SUCCEEDED])),
            Filter(processes=frozenset("p")),
        ):
            assert [record.offset for record in await book.history(match)] == [4]
        assert [standing.job.id for standing in (await book.log.jobs(Filter(), None, 10)).standings] == ["b"]
        assert await book.log.at(ONE, 3) is None
        stood = await book.log.at(ONE, 4)
        assert stood is not None
        assert stood.event == DELETED
        await book.reopen()


async def test_a_job_did_not_have_its_first_labels_before(book: Logbook) -> None:
    await book.say(create=True)
    await book.say(state="running", labels={"team": "geo"})
    geo = frozenset([("team", "geo")])
    for _ in range(2):
        assert await book.history(Filter(states=frozenset([State.PENDING]), labels=geo)) == []
        assert [record.offset for record in await book.history(Filter(labels=geo))] == [2]
        await book.reopen()


async def test_a_filter_lets_a_job_go_when_it_no_longer_matches(book: Logbook) -> None:
    await book.say(create=True, state="running", labels={"team": "geo"})
    await book.say(labels={"team": "sea"})
    await book.say(progress=5)
    await book.say(state="paused")
    await book.say(progress=6)
    for _ in range(2):
        geo, sea = (Filter(labels=frozenset([("team", team)])) for team in ("geo", "sea"))
        assert [record.offset for record in await book.history(geo)] == [1, 2]
        assert [record.offset for record in await book.history(sea)] == [2, 3, 4, 5]
        running = Filter(states=frozenset([State.RUNNING]))
        assert [record.offset for record in await book.history(running)] == [1, 2, 3, 4]
        await book.reopen()
