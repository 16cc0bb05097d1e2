"""A job of many tasks, whose document is large: its records hold what changed, and are read as the very bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.eventlog import codec
from gateway.eventlog.base import Outcome
from tests.logs import Logbook, a_book, a_large_job, documents, entry


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Logbook]:
    """An SQLite log."""
    async with a_book(tmp_path) as book:
        yield book


async def tell_of_a_large_job(book: Logbook, tasks: int) -> list[bytes]:
    """A job whose tasks each change four times; the documents that were acknowledged."""
    said = [(await book.say(create=True, steps=a_large_job(tasks))).standing.document]
    for state in ("running", "paused", "running", "succeeded"):
        for step in a_large_job(tasks):
            changes = [[{"name": step["name"], "tasks": [task | {"state": state}]}] for task in step["tasks"]]
            answers = await book.append(*(entry(steps=change) for change in changes))
            said += [answer.standing.document for answer in answers if isinstance(answer, Outcome)]
    return said


async def test_a_job_of_many_tasks_stores_no_whole_document_for_each_change(book: Logbook) -> None:
    said = await tell_of_a_large_job(book, 300)
    stored, most = book.sql("SELECT sum(length(body)), max(length(body)) FROM records")[0]
    assert len(said) == 1 + 4 * 270
    assert most >= 20_000, "the document is a large one"
    assert stored < sum(map(len, said)) / 20
    for limit in (1000, 7):
        assert [record.document for record in await book.history(limit=limit)] == said
    for number in (0, 1, 99, 100, 101, 500, 1080):
        found = await book.log.at(("default", "a"), number + 1)
        assert found is not None
        assert found.document == said[number]


@pytest.mark.soak
async def test_a_job_of_a_thousand_tasks_stores_few_whole_documents(book: Logbook) -> None:
    said = await tell_of_a_large_job(book, 1000)
    ((stored, whole),) = book.sql("SELECT sum(length(body)), sum(base IS NULL) FROM records")
    assert len(said) == 1 + 4 * 900
    assert whole < len(said) / 50
    assert stored < sum(map(len, said)) / 30
    assert [record.document for record in await book.history()] == said
    await book.say(state="succeeded")
    book.clock.tick(10)
    await book.tend(progress=1)
    await book.crash()
    assert next(iter(await book.history())).document == said[0]
    assert book.sql("SELECT count(*) FROM records") == [(2,)]


async def test_a_large_job_is_the_same_after_a_restart_and_goes_on_folding(book: Logbook) -> None:
    said = await tell_of_a_large_job(book, 100)
    await book.crash()
    read = await book.log.standing("default", "a")
    assert read is not None
    assert read[0].document == said[-1]
    before = book.sql("SELECT count(*) FROM records WHERE base IS NULL")[0][0]
    for number in range(30):
        said.append((await book.say(message=str(number))).standing.document)
        if number % 3 == 0:
            book.log._hot.clear()  # as it happens to jobs that are seldom heard of
    assert [record.document for record in await book.history()] == said
    after = book.sql("SELECT count(*) FROM records WHERE base IS NULL")[0][0]
    assert after - before <= 1, "a job that was not in memory is not written whole each time"


async def test_no_record_is_far_from_a_whole_document(book: Logbook) -> None:
    await book.say(create=True, details={"pad": "x" * 50_000})
    said = await book.append(*(entry(message=str(number)) for number in range(250)))
    chains = book.sql("SELECT count(*) FROM records GROUP BY coalesce(base, offset)")
    assert sorted(length for (length,) in chains) == [49, 101, 101]
    assert 1 + codec.MAX_CHAIN == 101
    assert len(said) == 250
    assert all(base is None or len(body) < 1000 for body, base in book.sql("SELECT body, base FROM records"))


async def test_small_documents_stand_whole(book: Logbook) -> None:
    await book.say(create=True)
    for number in range(5):
        await book.say(progress=number)
    assert book.sql("SELECT body FROM records WHERE base IS NULL ORDER BY offset") == [
        (document,) for document in documents(await book.history()).values()
    ]
