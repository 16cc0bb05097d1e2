"""Numbered pages: put together they are the list itself, for every filter, and counted exactly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.eventlog.base import Entry
from gateway.eventlog.numbered import count, numbered
from gateway.job import Delete
from gateway.record import Filter
from gateway.report import Identity, State, parse_report
from tests.streams import Scene, a_scene

STATES = ("pending", "running", "failed", "succeeded")
GEO = ("team", "geo")
FILTERS = {
    "all": Filter(),
    "workspace": Filter(workspaces=frozenset(["v"])),
    "workspaces": Filter(workspaces=frozenset(["v", "w"])),
    "states": Filter(states=frozenset([State.PENDING, State.FAILED])),
    "workspace and states": Filter(workspaces=frozenset(["w"]), states=frozenset([State.PENDING, State.FAILED])),
    "process": Filter(processes=frozenset(["p0", "p1"])),
    "process and state": Filter(processes=frozenset(["p0"]), states=frozenset([State.RUNNING])),
    "names": Filter(names=frozenset(["n0", "n2"])),
    "label": Filter(labels=frozenset([GEO])),
    "label and state": Filter(labels=frozenset([GEO]), states=frozenset([State.SUCCEEDED])),
    "nothing": Filter(workspaces=frozenset(["none"])),
}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Sixty jobs in two workspaces, of which some are deleted."""
    async with a_scene(tmp_path) as scene:
        for number in range(60):
            said = parse_report({"state": STATES[number % 4], "labels": {"team": ("geo", "sea")[number % 3 % 2]}})
            identity = Identity(name=f"n{number % 5}", process=f"p{number % 3}")
            key = ("v", "w")[number % 7 % 2], f"j{number}"
            await scene.log.append([Entry(*key, (said,), identity=identity)])
            if number % 12 == 2:
                await scene.log.append([Entry(*key, (Delete(),))])
        yield scene


@pytest.mark.parametrize("name", list(FILTERS))
async def test_pages_put_together_are_the_list_and_each_says_how_many_there_are(scene: Scene, name: str) -> None:
    match = FILTERS[name]
    whole = [standing.job.id for standing in (await scene.log.jobs(match, None, 1000)).standings]
    assert (len(whole) > 0) is (name != "nothing")
    assert await count(scene.log, match) == len(whole)
    for size in (1, 4, 7, 100):
        found: list[str] = []
        for page in range(1, len(whole) // size + 3):
            standings, total = await numbered(scene.log, match, page, size)
            assert total == len(whole)
            assert len(standings) <= size
            found += [standing.job.id for standing in standings]
        assert found == whole
