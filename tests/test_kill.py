"""The server is killed with kill -9 at random moments under load: what was acknowledged is there, no position is given
twice, and no reader has seen what is not there."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.processes import Server
from tests.streams import Frame, frames_in

PRODUCERS = 6
READERS = 4
BOUND = 240.0  # seconds for one run of a few kills, and its readers, on a machine that is busy with all else


class Load:
    """Producers that report until they are told to stop, and readers that come back with their last id."""

    def __init__(self, url: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, timeout=20.0)
        self.acknowledged: dict[str, bytes] = {}  # position: document
        self.seen: list[list[Frame]] = []
        self.stop = False
        self.reports = 0

    async def until_answered(self, ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """Ask again until there is an answer, as every producer does that means it."""
        async with asyncio.timeout(BOUND):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = await ask()
                    if answer.status_code < 500:
                        return answer
                await asyncio.sleep(0.01)

    async def say(self, path: str, key: str, body: dict[str, Any]) -> None:
        """One report under its key; the answer is kept."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": f'"{key}"'}
        content = orjson.dumps(body)
        answer = await self.until_answered(lambda: self.client.post(path, content=content, headers=headers))
        assert answer.status_code in (200, 201), answer.text
        position = answer.headers["etag"].strip('"')
        assert self.acknowledged.setdefault(position, answer.content) == answer.content, f"{position} was given twice"

    async def produce(self, job: str) -> None:
        """A job's life, with a report as soon as the one before is acknowledged."""
        await self.say("/v1/jobs", f"create-{job}", {"id": job, "state": "running"})
        number = 0
        while not self.stop:
            number += 1
            state = {"state": random.choice(("paused", "running"))} if number % 7 == 0 else {}
            await self.say(f"/v1/jobs/{job}/events", f"{job}-{number}", {"message": str(number), **state})
        await self.say(f"/v1/jobs/{job}/events", f"{job}-end", {"state": "succeeded"})
        self.reports += number

    async def read(self, path: str, jobs: set[str]) -> None:
        """Follow a stream to its end through every loss of the connection."""
        got: list[Frame] = []
        self.seen.append(got)
        headers: dict[str, str] = {}
        async with asyncio.timeout(BOUND):
            while not {f.data["id"] for f in got if f.event == "transition" and f.data["terminal"]} >= jobs:
                body = b""
                with contextlib.suppress(httpx.TransportError):
                    async with self.client.stream("GET", path, headers=headers) as response:
                        if response.status_code == 204:
                            break
                        async for chunk in response.aiter_raw():
                            body += chunk
                            if b'"terminal":true' in chunk and self.stop:
                                break
                got += frames_in(body)
                last = next((f.id for f in reversed(got) if f.id is not None), None)
                if last:
                    headers = {"Last-Event-ID": last}
                await asyncio.sleep(0.005)


async def run_with_kills(database: Path, kills: int, chance: random.Random) -> None:
    server = Server(database).start()
    load = Load(server.url)
    jobs = {f"job{number}" for number in range(PRODUCERS)}
    try:
        async with asyncio.TaskGroup() as group:
            for job in sorted(jobs):
                group.create_task(load.produce(job))
            for number in range(READERS):
                path = "/v1/events?after=earliest&min_interval=0"
                if number % 2:
                    path = f"/v1/jobs/job{number}/events?after=earliest&min_interval=0"
                while number % 2 and not any(b'"id":"job%d"' % number in d for d in load.acknowledged.values()):
                    await asyncio.sleep(0.01)
                group.create_task(load.read(path, {f"job{number}"} if number % 2 else jobs))
            for _ in range(kills):
                before = len(load.acknowledged)
                async with asyncio.timeout(BOUND):
                    while len(load.acknowledged) < before + 20:  # under load means that it is at work
                        await asyncio.sleep(0.01)
                await asyncio.sleep(chance.random() * 0.5)
                await asyncio.to_thread(server.restart)
            load.stop = True
        history = await the_whole_log(load, jobs)
    finally:
        await load.client.aclose()
        server.kill()
    for position, document in load.acknowledged.items():
        assert history[position] == orjson.loads(document), f"{position} was acknowledged"
    for got in load.seen:
        came = [frame for frame in got if frame.event in ("transition", "progress")]
        positions = [frame.id for frame in came]
        assert len(positions) == len(set(positions)), "a reader got a record twice"
        for frame in came:
            assert history[frame.id or ""] == frame.data, f"a reader saw {frame.id}, which is not there"
        wanted = {frame.data["id"] for frame in came}
        assert set(positions) >= {position for position, document in history.items() if document["id"] in wanted}
    assert load.reports > kills * 10


async def the_whole_log(load: Load, jobs: set[str]) -> dict[str, Any]:
    """Every record's document by its position."""
    found: dict[str, Any] = {}
    for job in jobs:
        after = ""
        versions = []
        while True:
            path = f"/v1/jobs/{job}/events?limit=1000&after={after}"
            page = orjson.loads((await load.client.get(path, headers={"Accept": "application/json"})).content)
            for record in page["records"]:
                assert record["position"] not in found
                found[record["position"]] = record["job"]
                versions.append(record["job"]["version"])
            after = page["next"]
            if after is None:
                break
        assert versions == list(range(1, len(versions) + 1)), "versions are dense"
    return found


async def test_kill_9_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    await run_with_kills(tmp_path / "status.db", kills=5, chance=random.Random(5))


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10))
async def test_fifty_kills_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    await run_with_kills(tmp_path / "status.db", kills=5, chance=random.Random(seed))
