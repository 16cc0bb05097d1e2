"""Jobs that are not hot: those who ask for them at the same time are served together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.errors import Unavailable
from gateway.eventlog import reading
from gateway.eventlog.base import Standing
from gateway.record import alias_of
from tests.logs import BOUND, Logbook, entry

JOBS = 60


async def ask(book: Logbook, *names: str) -> list[Standing | None]:
    """The jobs of these names, asked for at once."""
    async with asyncio.timeout(BOUND):
        found = await asyncio.gather(*(book.log.standing("default", name) for name in names))
    return [None if one is None else one[0] for one in found]


@pytest.fixture
async def cold(book: Logbook) -> Logbook:
    """A log of many jobs, none of them hot."""
    await book.append(*(entry(f"j{number}", create=True, message=str(number)) for number in range(JOBS)))
    await book.reopen()
    return book


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many were read together, time after time."""
    sizes: list[int] = []
    read = reading._standings

    def counted(db: sqlite3.Connection, asked: Sequence[Any]) -> Any:
        sizes.append(len(asked))
        return read(db, asked)

    monkeypatch.setattr(reading, "_standings", counted)
    return sizes


async def test_those_who_ask_at_once_are_served_together_and_each_with_its_own(
    cold: Logbook, batches: list[int]
) -> None:
    names = [f"j{number}" for number in range(JOBS)] + ["none", alias_of("default", "j7")]
    found = await ask(cold, *names)
    ids = [None if one is None else one.job.id for one in found]
    assert ids == [*names[:JOBS], None, "j7"]
    assert [one.job.message for one in found[:JOBS] if one] == [str(number) for number in range(JOBS)]
    assert sum(batches) == len(names)
    assert len(batches) < 10


async def test_who_goes_away_takes_no_answer_from_the_others(cold: Logbook, batches: list[int]) -> None:
    asking = [asyncio.create_task(cold.log.standing("default", f"j{number}")) for number in range(JOBS)]
    await asyncio.sleep(0)
    for task in asking[::3]:
        task.cancel()
    async with asyncio.timeout(BOUND):
        found = await asyncio.gather(*asking, return_exceptions=True)
    for number, one in enumerate(found):
        if number % 3 == 0:
            assert isinstance(one, asyncio.CancelledError)
        else:
            assert isinstance(one, tuple)
            assert one[0].job.id == f"j{number}"


async def test_a_job_that_cannot_be_read_harms_none_of_those_asked_for_with_it(
    cold: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reading.hot_job

    def unreadable(db: sqlite3.Connection, row: Sequence[Any]) -> Any:
        found = read(db, row)
        if found.job.id == "j7":
            raise sqlite3.DatabaseError("database disk image is malformed")
        return found

    monkeypatch.setattr(reading, "hot_job", unreadable)
    async with asyncio.timeout(BOUND):
        asked = (cold.log.standing("default", f"j{number}") for number in range(JOBS))
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert [number for number, one in enumerate(found) if isinstance(one, Exception)] == [7]


async def test_a_read_that_fails_is_told_to_who_asked_and_the_next_one_is_served(
    cold: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(reading, "BY_IDENTITY", "SELECT nothing FROM nowhere WHERE ? = ?")
        async with asyncio.timeout(BOUND):
            found = await asyncio.gather(
                *(cold.log.standing("default", f"j{number}") for number in range(5)), return_exceptions=True
            )
        assert all(isinstance(one, Unavailable) for one in found)
    (one,) = await ask(cold, "j1")
    assert one is not None
    assert one.job.id == "j1"
