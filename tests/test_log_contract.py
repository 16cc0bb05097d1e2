"""The contract of `EventLog`: what is appended is read again, in order, whole, and nothing else is.

These tests ask the interface only, so that they run over every implementation of it.
"""

from __future__ import annotations

import asyncio

import orjson
import pytest

from gateway.errors import (
    IllegalTransition,
    Internal,
    InvalidReport,
    JobExists,
    JobFinished,
    JobNotFinished,
    JobNotFound,
    PreconditionFailed,
    TooLarge,
)
from gateway.eventlog.base import Outcome, Standing
from gateway.job import Delete, Stall, Wish
from gateway.record import TRANSITION, Filter, Position, alias_of
from gateway.report import Report
from tests.logs import BOUND, Logbook, entry

UUID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


def only(job: str, workspace: str = "default") -> Filter:
    return Filter(jobs=frozenset([(workspace, job)]))


# Writing and reading


async def test_positions_are_dense_and_versions_count_each_jobs_records(book: Logbook) -> None:
    assert (book.log.head, book.log.floor) == (0, 0)
    await book.append(*(entry(job, create=True) for job in "ab"))
    for number in range(1, 4):
        await book.append(*(entry(job, progress=number) for job in "ab"))
    records = await book.history()
    assert [record.offset for record in records] == list(range(1, 9)) == list(range(1, book.log.head + 1))
    assert [record.job.version for record in records if record.job.id == "a"] == [1, 2, 3, 4]
    for record in records:
        assert record.position == record.job.position == book.log.position(record.offset)
        assert book.log.offset(Position.parse(record.position)) == record.offset


async def test_what_was_acknowledged_is_read_again_as_the_same_bytes(book: Logbook) -> None:
    said = [
        await book.say(create=True, labels={"team": "geo"}, by="alice"),
        await book.say(state="running", details={"a": 1, "b": [1.0, True, "\u2028"]}, by="bob"),
        await book.say("a", Wish("cancel"), by="carol"),
    ]
    for _ in range(2):
        records = await book.history(only("a"))
        assert [record.document for record in records] == [outcome.standing.document for outcome in said]
        assert [(record.event, record.by) for record in records] == [
            (TRANSITION, "alice"),
            (TRANSITION, "bob"),
            (TRANSITION, "carol"),
        ]
        assert all(orjson.loads(record.document)["version"] == number for number, record in enumerate(records, 1))
        await book.reopen()


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_a_log_is_read_in_pages_of_any_size(book: Logbook, limit: int) -> None:
    await book.append(*(entry(job, create=True, process=job) for job in "abc"))
    await book.append(*(entry(job, state="running") for job in "acb"), entry("b", progress=5))
    everything = [record.offset for record in await book.history(limit=limit)]
    assert everything == [1, 2, 3, 4, 5, 6, 7]
    assert [record.offset for record in await book.history(only("b"), limit)] == [2, 6, 7]
    two = Filter(jobs=frozenset([("default", "a"), ("default", "b"), ("default", "nobody")]))
    assert [record.offset for record in await book.history(two, limit)] == [1, 2, 4, 6, 7]
    assert [record.offset for record in await book.history(Filter(processes=frozenset("c")), limit)] == [3, 5]
    assert await book.history(only("nobody"), limit) == []


async def test_a_page_keeps_to_its_bounds(book: Logbook) -> None:
    await book.append(*(entry(job, create=True) for job in "abcdef"))
    page = await book.log.read(1, 4, Filter(), 2)
    assert ([record.offset for record in page.records], page.scanned) == ([2, 3], 3)
    page = await book.log.read(3, 4, Filter(), 2)
    assert ([record.offset for record in page.records], page.scanned) == ([4], 4)
    assert (await book.log.read(4, 4, Filter(), 2)).scanned == 4


async def test_a_producer_reads_what_it_wrote(book: Logbook) -> None:
    await book.say(create=True)

    async def produce(job: str) -> None:
        await book.say(job, create=True)
        for number in range(1, 20):
            said = await book.say(job, progress=number)
            hot, (standing, head) = book.log.hot("default", job), await found(book, job)
            assert hot == standing == said.standing
            assert head >= said.standing.last
            assert (await book.history(only(job)))[-1].document == said.standing.document

    async with asyncio.timeout(BOUND):
        await asyncio.gather(*(produce(f"j{number}") for number in range(8)))


async def found(book: Logbook, job: str) -> tuple[Standing, int]:
    read = await book.log.standing("default", job)
    assert read is not None
    return read


async def test_a_job_is_the_same_whether_it_is_in_memory_or_not(book: Logbook) -> None:
    await book.say(create=True, labels={"k": "v"}, lease=60, name="n", process="p")
    said = await book.say(state="running", steps=[{"name": "s", "tasks": [{"name": "t"}]}], links=[])
    await book.reopen()
    assert book.log.hot("default", "a") is None
    assert await found(book, "a") == (said.standing, 2)
    assert book.log.hot("default", "a") == said.standing
    assert await book.log.standing("default", "b") is None
    assert list(await book.log.leased()) == [said.standing.job]


async def test_the_jobs_with_a_lease_are_those_that_have_one_now(book: Logbook) -> None:
    await book.append(*(entry(job, create=True, state="running", lease=5) for job in "abc"), entry("d", create=True))
    await book.append(entry("a", lease=None), entry("b", state="failed"), entry("d", lease=7))
    for _ in range(2):
        assert {job.id: job.lease for job in await book.log.leased()} == {"c": 5, "d": 7}
        await book.reopen()


# Entries


async def test_a_bad_entry_fails_alone(book: Logbook) -> None:
    await book.say("done", create=True, state="succeeded")
    answers = await book.append(
        entry("a", create=True),
        entry("nobody", state="running"),
        entry("a", state="created"),
        entry("done", state="running"),
        entry("a", Report(message="\ud800")),  # can't be written; it never passes the border, but who knows
        entry("a", Report(details={"deep": _nested(2000)})),
        entry("a", message="x" * 300_000),
        entry("a", Delete()),
        entry("a", fresh=True),
        entry("b", Wish("cancel"), create=True),
        entry("a", state="running", expect="aaaaaaaa-1"),
        entry("a", state="running"),
    )
    kinds = [type(answer) for answer in answers]
    refused = [JobNotFound, IllegalTransition, JobFinished, Internal, Internal, TooLarge, JobNotFinished]
    assert kinds == [Outcome, *refused, JobExists, JobNotFound, PreconditionFailed, Outcome]
    assert [record.job.state for record in await book.history(only("a"))] == ["pending", "running"]
    assert book.log.head == 3


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


async def test_an_entry_is_all_or_nothing(book: Logbook) -> None:
    before = (await book.say(create=True)).standing
    running, impossible = entry(state="running").changes[0], entry(state="created").changes[0]
    with pytest.raises(IllegalTransition):
        await book.say("a", running, Wish("pause"), impossible)
    assert await found(book, "a") == (before, 1)
    whole = await book.say("a", running, running, Wish("pause"), Wish("cancel"))
    assert (whole.made, whole.standing.job.state, whole.standing.last, book.log.head) == (True, "cancelling", 4, 4)
    assert [record.job.previous for record in await book.history()] == [None, "pending", "running", "pausing"]


async def test_what_changes_nothing_makes_no_record(book: Logbook) -> None:
    first = await book.say(create=True, state="running", message="m", lease=5)
    same = [entry(), entry(message="m"), entry(state="running"), entry("a", Wish("resume"), create=True)]
    answers = await book.append(*same[:3])
    assert [answer for answer in answers if isinstance(answer, Outcome) and answer.made] == []
    assert all(isinstance(answer, Outcome) and answer.standing == first.standing for answer in answers)
    with pytest.raises(IllegalTransition):
        await book.take(same[3])
    assert book.log.head == 1


async def test_a_stall_is_void_once_the_job_has_moved_on(book: Logbook) -> None:
    version = (await book.say(create=True, state="running", lease=5)).standing.job.version
    moved = await book.say(progress=1)
    assert not (await book.say("a", Stall(version))).made
    stalled = await book.say("a", Stall(moved.standing.job.version), by="gateway")
    assert stalled.standing.job.stalled
    assert not (await book.say()).standing.job.stalled


async def test_if_match_holds_a_report_to_the_position_it_was_made_for(book: Logbook) -> None:
    first = await book.say(create=True)
    second = await book.say(state="running", expect=first.standing.job.position)
    with pytest.raises(PreconditionFailed) as caught:
        await book.say(progress=1, expect=first.standing.job.position)
    assert caught.value.members["position"] == second.standing.job.position
    answers = await book.append(
        entry(progress=2, expect=second.standing.job.position), entry(progress=3, expect=second.standing.job.position)
    )
    assert [type(answer) for answer in answers] == [Outcome, PreconditionFailed]


async def test_times_never_decrease_along_the_log(book: Logbook) -> None:
    await book.say(create=True)
    for seconds in (5, -60, 1, 120, -3600):
        book.clock.tick(seconds)
        await book.say(message=str(seconds))
    await book.reopen()
    await book.say(message="after the clock was set back")
    times = [record.job.updated for record in await book.history()]
    assert times == sorted(times)


# Identity


async def test_a_job_is_found_by_its_alias_and_no_other_takes_it(book: Logbook) -> None:
    await book.append(entry("a", create=True), entry(UUID, create=True))
    alias = alias_of("default", "a")
    for _ in range(2):
        for name, job in ((alias, "a"), (UUID, UUID)):
            read = await book.log.standing("default", name)
            assert read is not None
            assert read[0].job.id == job
        assert (await book.say(alias)).standing.job.id == "a"
        for taken in (entry(alias, fresh=True), entry("a", fresh=True), entry(UUID, fresh=True)):
            with pytest.raises(JobExists):
                await book.take(taken)
        assert await book.log.standing("other", alias) is None
        await book.reopen()


async def test_a_job_whose_alias_is_another_jobs_id_is_refused(book: Logbook) -> None:
    alias = alias_of("default", "a")
    await book.say(alias, create=True)
    for create in (entry("a", fresh=True), entry("a", create=True)):
        with pytest.raises(JobExists):
            await book.take(create)
    together = await book.append(entry("b", create=True), entry(alias_of("default", "b"), fresh=True))
    assert [type(answer) for answer in together] == [Outcome, JobExists]
    assert (await book.say("a", create=True, workspace="other")).made


async def test_one_id_names_different_jobs_in_different_workspaces(book: Logbook) -> None:
    await book.say("a", create=True)
    await book.say("a", create=True, workspace="other", state="running")
    assert [record.key for record in await book.history()] == [("default", "a"), ("other", "a")]
    assert (await book.say("a", workspace="other", progress=1)).standing.job.state == "running"
    assert len(await book.history(only("a"))) == 1


async def test_a_job_is_created_by_one_report(book: Logbook) -> None:
    running = entry(state="running").changes[0]
    with pytest.raises(InvalidReport):
        await book.say("a", running, running, create=True)
    assert book.log.head == 0
    assert await book.log.standing("default", "a") is None
