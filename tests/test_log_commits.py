"""The contract of `EventLog`, continued: many producers at once, callers that go away, and the one who follows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.errors import GatewayError, Unavailable
from gateway.eventlog import hot, sqlite, writer
from gateway.eventlog.base import Outcome
from gateway.record import Filter
from tests.logs import BOUND, Logbook, entry, key, pages


async def test_producers_at_once_share_commits_and_each_gets_its_own_answer(book: Logbook) -> None:
    async with asyncio.timeout(BOUND):
        answers = await asyncio.gather(*(book.say(f"j{number}", create=True) for number in range(1000)))
    assert [answer.standing.job.id for answer in answers] == [f"j{number}" for number in range(1000)]
    assert sorted(answer.standing.last for answer in answers) == list(range(1, 1001))
    commits = await pages(book, 0, 1000)
    assert len(commits) < 20
    assert [record.offset for page in commits for record in page.records] == list(range(1, 1001))


async def test_entries_are_taken_in_the_order_in_which_they_came(book: Logbook) -> None:
    await book.say(create=True)
    async with asyncio.timeout(BOUND):
        answers = await asyncio.gather(*(book.say(message=str(number)) for number in range(50)))
    assert [answer.standing.last for answer in answers] == list(range(2, 52))
    assert [record.job.message for record in await book.history()][1:] == [str(number) for number in range(50)]


async def test_a_large_group_is_written_whole_and_answered_in_order(book: Logbook) -> None:
    wanted = [entry(f"j{number % 700}", create=True, message=str(number)) for number in range(1400)]
    answers = await book.append(*wanted)
    assert [answer.standing.job.message for answer in answers if isinstance(answer, Outcome)] == [
        str(number) for number in range(1400)
    ]


async def test_a_large_group_lets_other_work_in_when_it_waits_for_the_disk(book: Logbook) -> None:
    async def head_then() -> int:
        await book.log.lull()
        return book.log.head

    await book.append(entry(create=True))
    writing = asyncio.create_task(book.append(*(entry(f"j{number}", create=True) for number in range(100))))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(head_then())
    await asyncio.sleep(0)
    assert not waiting.done()
    async with asyncio.timeout(BOUND):
        assert await waiting == 1, "it is told before the commit is through"
        await writing
    assert book.log.head == 101


async def test_a_small_group_keeps_nobody_waiting_and_neither_does_a_large_one_that_is_refused(book: Logbook) -> None:
    small = asyncio.create_task(book.append(entry(create=True)))
    await asyncio.sleep(0)
    lull = asyncio.create_task(book.log.lull())
    await asyncio.sleep(0)
    assert lull.done()
    assert not small.done()
    refused = asyncio.create_task(book.append(*(entry(f"nobody{number}") for number in range(100))))
    async with asyncio.timeout(BOUND):
        await small
        await asyncio.sleep(0)
        await book.log.lull()
        assert all(isinstance(answer, GatewayError) for answer in await refused)


# Callers that go away


def more(turns: int) -> int:
    """The next number of turns to try: each of the first, then ever fewer, for a commit may take very many."""
    return turns + 1 + turns // 20


async def after_turns(task: asyncio.Task[Any], turns: int) -> bool:
    """Cancel a task after so many turns of the loop; False if it was done before."""
    for _ in range(turns):
        if task.done():
            return False
        await asyncio.sleep(0)
    return task.cancel()


async def test_a_caller_that_goes_away_at_any_moment_changes_nothing_for_the_others(book: Logbook) -> None:
    await book.append(*(entry(job, create=True) for job in ("a", "b", "gone")))
    number, turns, cancelled = 0, 0, True
    while cancelled:
        number, turns = number + 1, more(turns)
        leaver = asyncio.create_task(book.log.append([entry("gone", message=str(number), key=key(f"k{number}"))]))
        others = [asyncio.create_task(book.say(job, message=str(number))) for job in "ab"]
        cancelled = await after_turns(leaver, turns)
        async with asyncio.timeout(BOUND):
            outcomes = await asyncio.gather(*others)
            await asyncio.gather(leaver, return_exceptions=True)
        assert all(outcome.made and outcome.standing.job.message == str(number) for outcome in outcomes)
        again = await book.say("gone", message=str(number), key=key(f"k{number}"))
        assert (again.standing.job.message, again.replayed) == (str(number), True)
    assert number > 3
    records = await book.history()
    assert [record.offset for record in records] == list(range(1, 4 + 3 * number))
    assert [record.job.version for record in records if record.job.id == "gone"] == list(range(1, 2 + number))


async def test_a_reader_that_goes_away_at_any_moment_holds_nothing_up(book: Logbook) -> None:
    await book.append(*(entry(f"j{number}", create=True) for number in range(20)))
    reads: list[Callable[[], Awaitable[Any]]] = [
        lambda: book.log.read(0, 20, Filter(), 10),
        lambda: book.log.jobs(Filter(), None, 10),
        lambda: book.log.standing("default", "nobody"),
        lambda: book.log.at(("default", "j1"), 5),
        book.log.leased,
    ]
    for read in reads:
        turns, cancelled = 0, True
        while cancelled:
            turns = more(turns)
            cancelled = await after_turns(asyncio.ensure_future(read()), turns)
            assert len(await book.history(limit=7)) == 20
    assert (await book.say("j1", message="still here")).made


async def test_what_waits_when_the_log_closes_is_still_written(book: Logbook) -> None:
    waiting = [asyncio.create_task(book.say(f"j{number}", create=True)) for number in range(10)]
    await asyncio.sleep(0)
    await book.close()
    assert all(answer.made for answer in await asyncio.gather(*waiting))
    with pytest.raises(Unavailable) as caught:
        await book.say("late", create=True)
    assert caught.value.retry_after is not None
    await book.open()
    assert len(await book.history()) == 10


async def test_more_than_may_wait_is_refused_and_the_rest_is_written(
    book: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUEUE_ENTRIES", 200)
    groups = [[entry(f"j{number}-{part}", create=True) for part in range(25)] for number in range(9)]
    async with asyncio.timeout(BOUND):
        answers = await asyncio.gather(*(book.log.append(group) for group in groups), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(refused) == 1
    assert isinstance(refused[0], Unavailable)
    assert refused[0].retry_after is not None
    assert book.log.head == 8 * 25


# Following


async def test_a_follower_gets_every_record_once_in_contiguous_pages_as_it_is_committed(book: Logbook) -> None:
    await book.say(create=True)
    following = asyncio.create_task(pages(book, 0, 41))
    for number in range(10):
        await asyncio.gather(*(book.say(f"j{number}-{part}", create=True) for part in range(4)))
    got = await following
    assert [record.offset for page in got for record in page.records] == list(range(1, 42))
    assert [page.scanned for page in got] == [page.records[-1].offset for page in got]
    assert len(got) > 5, "each commit is handed on, not what a timer collects"


@pytest.mark.parametrize("bound", [{"FEED_RECORDS": 10}, {"FEED_BYTES": 5000}], ids=["records", "bytes"])
async def test_a_follower_far_behind_gets_the_same_from_the_file(
    book: Logbook, monkeypatch: pytest.MonkeyPatch, bound: dict[str, int]
) -> None:
    for name, value in bound.items():
        monkeypatch.setattr(hot, name, value)
    monkeypatch.setattr(sqlite, "FOLLOW_PAGE", 7)
    said = [(await book.say(f"j{number}", create=True)).standing.document for number in range(40)]
    got = await pages(book, 0, 40)
    assert [record.offset for page in got for record in page.records] == list(range(1, 41))
    assert [record.document for page in got for record in page.records] == said
    assert [record.offset for page in await pages(book, 33, 40) for record in page.records] == list(range(34, 41))


async def test_a_follower_that_starts_in_the_midst_of_a_commit_gets_the_rest(book: Logbook) -> None:
    await book.append(*(entry(f"j{number}", create=True) for number in range(10)))
    await book.say("late", create=True)
    got = await pages(book, 4, 11)
    assert [record.offset for page in got for record in page.records] == list(range(5, 12))


async def test_a_follower_hears_of_nothing_before_it_can_be_read(book: Logbook) -> None:
    async def produce(job: str) -> None:
        for number in range(20):
            said = await book.say(job, create=True, message=str(number))
            read = await book.log.read(said.standing.last - 1, said.standing.last, Filter(), 1)
            assert [record.document for record in read.records] == [said.standing.document]

    producers = [asyncio.create_task(produce(f"j{number}")) for number in range(5)]
    after = 0
    async with asyncio.timeout(BOUND):
        async for page in book.log.follow(0):
            read = await book.log.read(after, page.scanned, Filter(), 1000)
            assert [record.document for record in read.records] == [record.document for record in page.records]
            after = page.scanned
            if after == 100:
                break
        await asyncio.gather(*producers)


async def test_whoever_waits_is_told_when_the_writer_dies(book: Logbook) -> None:
    await book.say(create=True)
    waiting = asyncio.create_task(book.log.append([entry(message="x")]))
    await asyncio.sleep(0)
    assert book.writing is not None
    book.writing.cancel()
    async with asyncio.timeout(BOUND):
        (answer,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(answer, GatewayError)
    with pytest.raises(Unavailable):
        await book.log.append([entry(message="y")])
