"""The contract of `EventLog`, continued: lists of jobs and filtered records, against what brute force finds.

The oracle knows what was acknowledged, each job's documents, and uses neither the log's queries nor `Filter`'s code.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.eventlog.base import JobPage, Outcome
from gateway.job import Delete
from gateway.record import Filter, Position
from gateway.report import State
from tests.logs import BOOKS, BOUND, Logbook, entry
from tests.strategies import relaxed

WORKSPACES, PROCESSES, NAMES = ("default", "geo", "sea"), ("tile", "warp", None), ("x", "y", None)
LABELS = (("team", "geo"), ("team", "sea"), ("env", "prod"), ("env", "test"))
STATES = tuple(str(state) for state in State)
JOBS = 120


def matches(match: Filter, document: dict[str, Any]) -> bool:
    """Whether a document is meant."""
    return (
        (not match.jobs or (document["workspace"], document["id"]) in match.jobs)
        and (not match.workspaces or document["workspace"] in match.workspaces)
        and (not match.states or document["state"] in {str(state) for state in match.states})
        and (not match.processes or document["process"] in match.processes)
        and (not match.names or document["name"] in match.names)
        and all(document["labels"].get(name) == value for name, value in match.labels)
    )


@dataclass
class Crowd:
    """A log with many jobs, and the documents that were acknowledged: by offset, and by job."""

    runner: asyncio.Runner
    book: Logbook
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    lives: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    deleted: set[tuple[str, str]] = field(default_factory=set)

    def took(self, outcome: Outcome) -> None:
        standing = outcome.standing
        if outcome.made:
            self.records[standing.last] = orjson.loads(standing.document)
            self.lives.setdefault(standing.job.key, []).append(standing.last)
        if standing.deleted:
            self.deleted.add(standing.job.key)

    def listed(self, match: Filter) -> list[dict[str, Any]]:
        """The jobs that match, as they stand, newest first."""
        lives = sorted(self.lives.items(), key=lambda life: life[1][0], reverse=True)
        stand = [self.records[life[-1]] for key, life in lives if key not in self.deleted]
        return [document for document in stand if matches(match, document)]

    def owed(self, match: Filter) -> list[int]:
        """The offsets of the records that match before or after; of a deleted job only its deletion is told."""
        found = []
        for key, life in self.lives.items():
            for before, offset in zip([None, *life], life, strict=False):
                if key in self.deleted and offset != life[-1]:
                    continue
                documents = [self.records[at] for at in (before, offset) if at is not None]
                found += [offset] if any(matches(match, document) for document in documents) else []
        return sorted(found)


async def fill(crowd: Crowd) -> None:
    """Lives of many jobs, all over each other."""
    choose = random.Random(35)
    for number in range(JOBS):
        birth = entry(
            f"j{number % 90}",
            create=True,
            workspace=WORKSPACES[number % 2 if number < 90 else 2],
            name=choose.choice(NAMES),
            process=choose.choice(PROCESSES),
            state=choose.choice(STATES),
            labels=dict(choose.sample(LABELS, choose.randint(0, 3))),
        )
        crowd.took(await crowd.book.take(birth))
    for _ in range(600):
        workspace, job = choose.choice(list(crowd.lives))
        labels = {name: choose.choice((value, None)) for name, value in choose.sample(LABELS, 2)}
        said: list[dict[str, Any]] = [
            {"state": choose.choice(STATES)},
            {"labels": labels},
            {"labels": {key: value for key, value in labels.items() if value}, "replace": ["labels"]},
            {"progress": choose.randint(0, 100)},
        ]
        what = [entry(job, workspace=workspace, **choose.choice(said))]
        if choose.random() < 0.1:
            what = [entry(job, Delete(), workspace=workspace)]
        for answer in await crowd.book.append(*what):
            if not isinstance(answer, GatewayError):
                crowd.took(answer)


@pytest.fixture(scope="module", params=sorted(BOOKS))
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """One log for all examples: they only read it."""
    with asyncio.Runner() as runner:
        folder: Path = tmp_path_factory.mktemp("crowd")
        opening = BOOKS[request.param](folder)
        crowd = Crowd(runner, runner.run(opening.__aenter__()))
        try:
            runner.run(fill(crowd))
            assert len(crowd.deleted) > 5
            yield crowd
        finally:
            runner.run(opening.__aexit__(None, None, None))


def some(values: Any) -> st.SearchStrategy[frozenset[Any]]:
    return st.frozensets(st.sampled_from(values), max_size=2)


FILTERS = st.builds(
    Filter,
    jobs=st.just(frozenset())
    | st.frozensets(
        st.tuples(st.sampled_from((*WORKSPACES, "none")), st.integers(0, 95).map("j{}".format)), max_size=40
    ),
    workspaces=some((*WORKSPACES, "none")),
    states=st.frozensets(st.sampled_from(list(State)), max_size=6),
    processes=some(("tile", "warp", "none")),
    names=some(("x", "y", "j3", "j40", "none")),
    labels=some((*LABELS, ("team", "none"))),
)


def page(crowd: Crowd, match: Filter, after: str | None, limit: int) -> JobPage:
    offset = None if after is None else crowd.book.log.offset(Position.parse(after))
    return crowd.runner.run(crowd.book.log.jobs(match, offset, limit))


@relaxed
@given(match=FILTERS, limit=st.sampled_from([1, 2, 7, 50, 1000]))
def test_a_list_shows_what_matches_newest_first_page_by_page(crowd: Crowd, match: Filter, limit: int) -> None:
    expected = crowd.listed(match)
    after, shown = None, list[dict[str, Any]]()
    while True:
        found = page(crowd, match, after, limit)
        left = len(expected) - len(shown)
        assert found.matched == min(left, limit + 1)
        assert found.head == crowd.book.log.head
        assert len(found.standings) == min(left, limit)
        shown += [orjson.loads(standing.document) for standing in found.standings]
        after = found.next
        if after is None:
            break
    assert shown == expected


@relaxed
@given(match=FILTERS, limit=st.sampled_from([5, 64, 10_000]))
def test_records_match_by_the_document_before_or_after_them(crowd: Crowd, match: Filter, limit: int) -> None:
    assert [record.offset for record in crowd.runner.run(crowd.book.history(match, limit))] == crowd.owed(match)


def test_the_labels_that_are_indexed_are_those_of_the_documents(crowd: Crowd) -> None:
    indexed = crowd.book.sql(
        "SELECT j.workspace, j.id, l.key, l.value, l.first = j.first FROM labels AS l JOIN jobs AS j ON j.job = l.job "
        "WHERE j.deleted = 0"
    )
    expected = [
        (document["workspace"], document["id"], name, value, 1)
        for document in crowd.listed(Filter())
        for name, value in document["labels"].items()
    ]
    assert sorted(indexed) == sorted(expected)


async def test_a_list_and_its_head_are_of_one_moment(book: Logbook) -> None:
    """While a job moves between two states, a list of both shows it exactly once, as it stood at the list's head."""
    await book.append(*(entry(f"j{number}", create=True, state="running") for number in range(30)))
    known = [record.document for record in await book.history()]
    done = False

    async def move() -> None:
        while not done:
            for job in range(30):
                said = await book.say(f"j{job}", state=random.choice(["paused", "running"]))
                known.extend([said.standing.document] if said.made else [])

    moving = asyncio.create_task(move())
    match = Filter(states=frozenset([State.PAUSED, State.RUNNING]))
    lists: list[JobPage] = []
    async with asyncio.timeout(BOUND):
        while len({found.head for found in lists}) < 20:
            lists.append(await book.log.jobs(match, None, 100))
    done = True
    await moving
    for found in lists:
        assert len(found.standings) == 30
        stand = {orjson.loads(document)["id"]: document for document in known[: found.head]}
        assert {standing.job.id: standing.document for standing in found.standings} == stand


async def test_of_named_jobs_those_that_match_are_found_however_many_do_not(book: Logbook) -> None:
    await book.append(*(entry(job, create=True, state="running" if job in "ac" else "pending") for job in "abcdefg"))
    match = Filter(jobs=frozenset(("default", job) for job in "abcdefg"), states=frozenset([State.RUNNING]))
    first = await book.log.jobs(match, None, 1)
    assert ([standing.job.id for standing in first.standings], first.matched) == (["c"], 2)
    second = await book.log.jobs(match, book.log.offset(Position.parse(first.next or "")), 1)
    assert ([standing.job.id for standing in second.standings], second.next) == (["a"], None)


async def test_an_empty_log_lists_nothing(book: Logbook) -> None:
    found = await book.log.jobs(Filter(), None, 10)
    assert (found.standings, found.next, found.head, found.matched) == ([], None, 0, 0)
    assert (await book.log.read(0, 0, Filter(), 10)).records == []
