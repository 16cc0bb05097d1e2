"""The rows of the log's reading: one job, lists, replays, and the start of a gateway with a big log."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

from tests.bench import databases, peers
from tests.bench.fanout import QUIET, Bench
from tests.bench.goals import Figures, Pair
from tests.bench.load import Crowd, LoadFailed, hit
from tests.bench.machine import resident_mib
from tests.bench.peers import Peer

CONNECTIONS: Final = 16
HOT: Final = 4  # the number of the job that is asked for again and again
WARM: Final = 50  # requests that are not measured
LIMIT: Final = 40  # jobs of a page; in the small log more than these match each filter, too
FILTERS: Final = {
    "list_state": "state=running",
    "list_workspace": "state=running&workspace=w1",
    "list_process": "state=running&process=process-1",
    "list_label": "label=team:geo",
}
POLL: Final = 0.002  # seconds
READ_BYTES: Final = 4 * 2**20

Work = Callable[[int], object]


def log_of(bench: Bench, jobs: int) -> AbstractContextManager[Peer]:
    """A gateway over a log of so many jobs."""
    return peers.gateway(bench.folder, *databases.keeping_for_good(), job="", database=databases.database(jobs))


def costs(works: dict[str, tuple[Peer, Work]], requests: int, turns: int) -> dict[str, float]:
    """CPU µs a request of each work, which is given the number of requests; all in turn, several times."""
    spent = dict.fromkeys(works, 0.0)
    for _, work in works.values():
        work(WARM)
    part = max(requests // turns, CONNECTIONS)
    for _ in range(turns):
        for name, (peer, work) in works.items():
            before = peer.cpu()
            work(part)
            spent[name] += peer.cpu() - before
    return {name: cpu * 1e6 / (part * turns) for name, cpu in spent.items()}


def get(bench: Bench) -> Figures:
    """A job's status: hot, not modified and cold, in a big log, beside a constant route and a small log.

    Cold is what the gateway does not have in its own memory. The kernel's page cache holds the file, as it does on a
    machine that has the memory for it: what a disk costs is neither ours nor the same from one run to the next.
    """
    sizes = bench.sizes
    path = f"/v1/jobs/{databases.job_id(HOT)}?workspace={databases.workspace(HOT)}"
    with ExitStack() as stack:
        many = stack.enter_context(log_of(bench, sizes.jobs))
        few = stack.enter_context(log_of(bench, sizes.few_jobs))
        read_through(databases.database(sizes.jobs))
        document = many.ask("GET", path)
        constant = stack.enter_context(peers.constant(bench.folder, document))
        position = document.rpartition(b'"position":"')[2].split(b'"')[0].decode()

        def getting(peer: Peer, path: str, status: int = 200, *headers: str) -> tuple[Peer, Work]:
            return peer, lambda count: hit(
                peer.port, "GET", path, connections=CONNECTIONS, requests=count, status=status, headers=headers
            )

        found = costs(
            {
                "hot": getting(many, path),
                "304": getting(many, path, 304, f'If-None-Match: "{position}"'),
                "few": getting(few, path),
                "cold": (many, lambda count: get_cold(bench, many, count)),
                "constant": getting(constant, "/constant"),
            },
            sizes.requests,
            sizes.turns,
        )
    rate = {name: 1e6 / cost for name, cost in found.items()}
    return {
        "get": Pair(rate["hot"], rate["constant"]),
        "get_304": Pair(found["304"], found["hot"]),
        "get_few": Pair(found["hot"], found["few"]),
        "get_cold": Pair(rate["cold"], rate["constant"]),
    }


def read_through(file: Path) -> None:
    """Read a file, so that the kernel has it in its page cache."""
    with file.open("rb", buffering=0) as data:
        while data.read(READ_BYTES):
            pass


def get_cold(bench: Bench, peer: Peer, count: int) -> None:
    """Ask for so many jobs of a big log at random, others each time."""
    numbers = random.choices(range(bench.sizes.jobs), k=count)
    paths = [f"/v1/jobs/{databases.job_id(number)}?workspace={databases.workspace(number)}" for number in numbers]
    file = bench.folder / "paths"
    file.write_text("\n".join(paths), encoding="ascii")
    hit(peer.port, "GET", f"@{file}", connections=CONNECTIONS, requests=count)


def lists(bench: Bench) -> Figures:
    """First pages, in a big log and in a small one."""
    sizes = bench.sizes
    figures: Figures = {}
    with log_of(bench, sizes.jobs) as many, log_of(bench, sizes.few_jobs) as few:
        for key, match in FILTERS.items():

            def listing(peer: Peer, path: str = f"/v1/jobs?{match}&limit={LIMIT}") -> tuple[Peer, Work]:
                return peer, lambda count: hit(peer.port, "GET", path, connections=4, requests=count)

            found = costs({"many": listing(many), "few": listing(few)}, sizes.requests // 20, sizes.turns)
            figures[key] = Pair(found["many"], found["few"])
    return figures


def replay(bench: Bench) -> Figures:
    """All records to one reader, small documents and large ones, beside a program that selects and sends."""
    sizes = bench.sizes
    large = bench.folder / "large.db"
    asyncio.run(databases.write(large, databases.folded(sizes.folded)))
    small = databases.database(sizes.replayed // databases.RECORDS)
    return {
        "replay": _replayed(bench, small, sizes.replayed),
        "replay_folded": _replayed(bench, large, sizes.folded - 1),  # its first record holds no stamp to count
    }


def _replayed(bench: Bench, file: Path, records: int) -> Pair:
    with peers.gateway(bench.folder, *databases.keeping_for_good(), job="", database=file) as ours:
        mine, detail = _read_all(ours, "/v1/events?after=earliest", records)
    with peers.bare_replay(bench.folder, file) as theirs:
        bare, wall = _read_all(theirs, "/", records)
    return Pair(records / mine, records / bare, {"seconds": detail, "seconds_bare": wall})


def _read_all(peer: Peer, path: str, records: int) -> tuple[float, float]:
    """CPU seconds and seconds until one reader has all records."""
    before, begin = peer.cpu(), time.perf_counter()
    with Crowd(peer.port, path, 1, records, timeout=100, quiet=QUIET * 3) as reader:
        seen = reader.figures()
        took = time.perf_counter() - begin
        cpu = peer.cpu() - before
    if seen["events"] < records:
        raise LoadFailed(f"{peer.name}: of {records} records {seen['events']} came")
    return cpu, took


def start(bench: Bench) -> Figures:
    """Seconds until a gateway is ready with a big log and with an empty one; and its memory at work on the big one."""
    sizes = bench.sizes
    databases.database(sizes.jobs)
    with peers.gateway(bench.folder, database=bench.folder / "empty.db", job=""):
        pass  # makes the file: both starts find one
    empty, full, resident = [], [], 0.0
    starts = (sizes.turns + 1) // 2
    for turn in range(starts):
        with peers.gateway(bench.folder, database=bench.folder / "empty.db", job="", ready=False) as peer:
            empty.append(until_ready(peer))
        keep = databases.keeping_for_good()
        file = databases.database(sizes.jobs)
        with peers.gateway(bench.folder, *keep, database=file, job="", ready=False) as peer:
            full.append(until_ready(peer))
            if turn == starts - 1:
                resident = _at_work(bench, peer)
    return {"start": Pair(statistics.median(full), statistics.median(empty)), "resident": Pair(resident)}


def until_ready(peer: Peer) -> float:
    """Seconds from the process's start until it says that it is ready."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < peers.STARTUP and peer.process.poll() is None:
        with contextlib.suppress(OSError):
            peer.ask("GET", "/readyz")
            return time.perf_counter() - peer.begun
        time.sleep(POLL)
    raise LoadFailed(f"the gateway did not become ready: {peer.said()[-2000:]}")


def _at_work(bench: Bench, peer: Peer) -> float:
    for match in FILTERS.values():
        hit(peer.port, "GET", f"/v1/jobs?{match}&limit={LIMIT}", connections=4, requests=40)
    get_cold(bench, peer, bench.sizes.requests)
    return resident_mib([peer.process.pid])
