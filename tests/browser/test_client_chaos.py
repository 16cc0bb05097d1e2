"""The client of static/gateway.js under node, before a real gateway and through a network that breaks in every way.

What each watch was told is held against the log itself: every transition that it was owed came once and in order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.api import create, report
from tests.browser.between import Between, Relay
from tests.browser.pages import BOUND, needed, node_command, until
from tests.processes import Server

LIVE = Path(__file__).parent.parent / "js" / "live.mjs"
JOBS = ("a", "b", "c", "d")
NEXT = {  # a job's life in circles, so that a list of running jobs loses it and gets it back
    "pending": "running",
    "running": "paused",
    "paused": "running",
}
URLS = {
    **{f"job {job}": f"/v1/jobs/{job}" for job in JOBS},
    "slim a": "/v1/jobs/a?omit=details",
    "named": "/v1/events?job=a&job=b&job=c&job=d",
    "all": "/v1/events",
    "running": "/v1/events?state=running",
}
Entry = dict[str, Any]


class Live:
    """A process of node that watches."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def send(self, *command: str) -> None:
        """One command: watch NAME URL, close NAME, streams pass|block."""
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(command) + b"\n")

    async def log(self, name: str) -> list[Entry]:
        """What a watch was told so far."""
        assert self._process.stdout is not None
        self.send("tell", name)
        async with asyncio.timeout(BOUND):
            line = await self._process.stdout.readline()
        entries: list[Entry] = orjson.loads(line)
        return entries


@asynccontextmanager
async def living(url: str, seed: int) -> AsyncIterator[Live]:
    """Watches of the gateway at that address, ended afterwards."""
    needed("npm")
    pipe = asyncio.subprocess.PIPE
    command = node_command(LIVE, url, str(seed))
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**24)
    try:
        yield Live(process)
    finally:
        process.kill()
        await process.wait()


def offset(position: str) -> int:
    """What orders the positions of one log."""
    return int(position.rpartition("-")[2])


async def history(client: httpx.AsyncClient) -> dict[str, list[Entry]]:
    """All records by job: event, position, state, and the state before."""
    found: dict[str, list[Entry]] = {}
    for job in JOBS:
        answer = await client.get(f"/v1/jobs/{job}/events?limit=1000", headers={"Accept": "application/json"})
        records = [
            {"what": record["event"], "position": record["position"], "state": record["job"]["state"]}
            for record in answer.json()["records"]
        ]
        before = None
        for record in records:
            record["before"], before = before, record["state"]
        found[f"default/{job}"] = records
    return found


def faults(log: list[Entry], records: dict[str, list[Entry]], concerns: Callable[[Entry], bool]) -> list[str]:
    """What is wrong with what a watch was told: each job from its first document on, or from the first `sync`."""
    wrong = []
    begun = next((offset(entry["head"]) for entry in log if entry["what"] == "sync" and entry["head"]), 0)
    for key, owed in records.items():
        told = [entry for entry in log if entry.get("job") == key]
        if not told:
            missed = [record for record in owed if offset(record["position"]) > begun and concerns(record)]
            wrong += [f"{key}: nothing came, of {missed}"] if missed else []
            continue
        positions = [offset(entry["position"]) for entry in told]
        if positions != sorted(set(positions)):
            wrong.append(f"{key}: out of order or twice: {positions}")
        first = positions[0] if told[0]["what"] == "snapshot" else begun
        wanted = [
            offset(record["position"])
            for record in owed
            if record["what"] == "transition" and concerns(record) and offset(record["position"]) > first
        ]
        came = [offset(entry["position"]) for entry in told if entry["what"] == "transition"]
        if came != wanted:
            wrong.append(f"{key}: owed {wanted}, came {came}, from {first}")
    return wrong


def is_at_the_end(log: list[Entry], ends: dict[str, str], *, running: bool) -> bool:
    """Whether a watch was told of the ends (positions by job). Of `running` jobs only it is not told of those that had
    ended before it got through for the first time."""
    shown = {entry["job"]: entry["position"] for entry in log if "job" in entry}
    begun = next((offset(entry["head"]) for entry in log if entry["what"] == "sync" and entry["head"]), 0)
    return all(
        shown.get(key) == end or (running and key not in shown and offset(end) <= begun) for key, end in ends.items()
    )


async def lead(client: httpx.AsyncClient, dice: random.Random, states: dict[str, str]) -> None:
    """One or two reports on a job, or its end where it is told to end."""
    job = dice.choice(JOBS)
    if dice.random() < 0.5:
        states[job] = NEXT[states[job]]
        await report(client, job, state=states[job], message=str(dice.random()))
    else:
        await report(client, job, message=str(dice.random()))


async def disturb(dice: random.Random, relay: Relay, gateway: Server, live: Live) -> None:
    """One thing that goes wrong, and is over in a moment."""
    what = dice.choice(("cut", "hold", "stop", "block", "pass", "kill"))
    if what == "cut":
        relay.cut()
    elif what == "hold":
        relay.hold()
        await asyncio.sleep(dice.uniform(0.1, 2.5))
        relay.go_on()
    elif what == "stop":
        await relay.stop()
        await asyncio.sleep(dice.uniform(0, 0.6))
        await relay.start()
    elif what == "kill" and dice.random() < 0.3:
        await asyncio.to_thread(gateway.restart)
    elif what in ("block", "pass"):
        live.send("streams", what)


async def ordeal(gateway: Server, between: Between, seed: int, turns: int) -> None:
    """Jobs live through `turns` disturbances while watches come and go; then what each was told is looked at."""
    dice = random.Random(seed)
    relay = await between.relay(gateway.url)
    async with (
        httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=BOUND) as client,
        living(relay.url, seed) as live,
    ):
        states = dict.fromkeys(JOBS, "pending")
        for job in JOBS:
            await create(client, job, details={"much": "x" * dice.choice((1, 3000))})
        urls = {**URLS, **{f"{name} by token": url for name, url in URLS.items()}}
        waiting = dice.sample(sorted(urls), len(urls))
        for _ in range(turns):
            for name in waiting[:3]:
                live.send("watch", name, urls[name], *(["t"] if name.endswith("token") else []))
            del waiting[:3]
            for _ in range(dice.randint(1, 6)):
                await lead(client, dice, states)
            await disturb(dice, relay, gateway, live)
        live.send("streams", "pass")
        names = [name for name in urls if name not in waiting]
        for job in JOBS:
            await report(client, job, state="running", message="last")
            await report(client, job, state="succeeded")
        records = await history(client)
        last = {key: owed[-1]["position"] for key, owed in records.items()}
        for name in names:

            async def has_seen_the_end(name: str = name) -> bool:
                keys = [f"default/{urls[name][9:].partition('?')[0]}"] if "/jobs/" in urls[name] else list(last)
                ends = {key: last[key] for key in keys}
                return is_at_the_end(await live.log(name), ends, running=name.startswith("running"))

            await until(has_seen_the_end, f"{name} sees the ends (seed {seed})", 2 * BOUND)
            log = await live.log(name)
            assert not any(entry["what"] == "reset" for entry in log), f"{name} was reset (seed {seed})"
            mine = dict(records)
            if "/jobs/" in urls[name]:
                key = f"default/{urls[name][9:].partition('?')[0]}"
                mine = {key: records[key]}
            running = name.startswith("running")

            def concerns(record: Entry, running: bool = running) -> bool:
                return not running or "running" in (record["before"], record["state"])

            wrong = faults(log, mine, concerns)
            assert not wrong, f"{name} (seed {seed}):\n" + "\n".join(wrong + [str(entry) for entry in log])


@pytest.mark.parametrize("seed", range(2))
async def test_every_transition_comes_once_and_in_order_through_a_bad_network(
    gateway: Server, between: Between, seed: int
) -> None:
    await ordeal(gateway, between, seed, 12)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
async def test_every_transition_comes_once_and_in_order_through_a_bad_network_for_long(
    gateway: Server, between: Between, seed: int
) -> None:
    await ordeal(gateway, between, seed, 60)
