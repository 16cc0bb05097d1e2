"""The rows of the log's writing: durable reports, bulk, and how soon a reader has what was reported."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import orjson

from tests.bench import peers
from tests.bench.fanout import Bench
from tests.bench.goals import Figures, Pair
from tests.bench.load import PATIENCE, Crowd, LoadFailed, hit
from tests.bench.machine import SERVER_CPU, pinned
from tests.bench.peers import REPORT, ROOT, Peer

PRODUCERS: Final = 64
BULK_JOBS: Final = 2000
IDLE_GAP: Final = 0.02  # seconds; long enough for the machine to come to rest between two reports


def durable(bench: Bench) -> Figures:
    """Reports from many producers at once, beside the same server when it checks them and stores nothing."""
    turns = bench.sizes.turns
    requests = max(bench.sizes.reports // turns, PRODUCERS)
    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}
    with peers.gateway(bench.folder) as ours, peers.measured_gateway(bench.folder, "unstored") as theirs:
        both = {"ours": ours, "theirs": theirs}
        for peer in both.values():
            for number in range(PRODUCERS):
                peer.ask("POST", "/v1/jobs", {"id": f"d{number}", "state": "running"})
            _reports(peer, PRODUCERS * 4)
        for _ in range(turns):
            for name, peer in both.items():
                before = peer.cpu()
                seconds[name] = seconds.get(name, 0.0) + _reports(peer, requests)
                cpu[name] = cpu.get(name, 0.0) + (peer.cpu() - before)
    count = requests * turns
    detail = {f"cpu_us_{name}": spent * 1e6 / count for name, spent in cpu.items()}
    return {"durable": Pair(count / seconds["ours"], count / seconds["theirs"], detail)}


def _reports(peer: Peer, requests: int) -> float:
    done = hit(peer.port, "POST", "/v1/jobs/d{c}/events", REPORT, connections=PRODUCERS, requests=requests)
    return done["seconds"]


def bulk(bench: Bench) -> Figures:
    """Lines of many jobs in one request, beside a program that does no more than it must."""
    count, turns = bench.sizes.lines, bench.sizes.turns
    seconds = [0.0, 0.0]
    cpu = [0.0, 0.0]
    with peers.gateway(bench.folder) as ours:
        ours.ask("POST", "/v1/events", _lines(BULK_JOBS, 0), {"Content-Type": "application/x-ndjson"})
        for turn in range(1, turns + 1):
            lines = _lines(count, turn)
            before, begin = ours.cpu(), time.perf_counter()
            said = ours.ask("POST", "/v1/events", lines, {"Content-Type": "application/x-ndjson"})
            seconds[0] += time.perf_counter() - begin
            cpu[0] += ours.cpu() - before
            if said.count(b'"position"') != count:
                raise LoadFailed(f"of {count} bulk lines {said.count(b'position')} were taken: {said[:300]!r}")
            took, spent = _bare(bench.folder, lines)
            seconds[1] += took
            cpu[1] += spent
    ours_us, theirs_us = (spent * 1e6 / (count * turns) for spent in cpu)
    detail = {"cpu_us_ours": ours_us, "cpu_us_theirs": theirs_us}
    return {"bulk": Pair(count * turns / seconds[0], count * turns / seconds[1], detail)}


def _lines(count: int, turn: int) -> bytes:
    said = [
        {
            "job": f"b{n % BULK_JOBS}",
            "state": "running",
            "progress": 10 * turn,
            "message": f"tile {n}",
            "details": {"n": n},
        }
        for n in range(count)
    ]
    return b"\n".join(orjson.dumps(line) for line in said)


def _bare(folder: Path, lines: bytes) -> tuple[float, float]:
    (folder / "lines").write_bytes(lines)
    seconds, cpu = bare("bulk", str(folder / "bare.db"), str(folder / "lines")).split()
    return float(seconds), float(cpu)


def bare(*arguments: str) -> str:
    """What the bare program prints."""
    command = pinned(SERVER_CPU, [sys.executable, "-m", "tests.bench.bare", *arguments])
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=ROOT)
    if done.returncode:
        raise LoadFailed(f"the bare program failed: {done.stderr}")
    return done.stdout


def latency(bench: Bench) -> Figures:
    """From a report's departure to its arrival at the one reader, beside a commit and a round trip."""
    turns = bench.sizes.turns
    requests = max(bench.sizes.latencies // turns, 5)
    ours, commits, trips = [], [], []
    with peers.gateway(bench.folder) as peer, peers.constant(bench.folder, _document(peer)) as constant:
        for turn in range(turns):
            with Crowd(peer.port, peer.stream, 1, requests, quiet=5) as reader:
                hit(peer.port, "POST", peer.publish, peer.body, requests=requests, gap=IDLE_GAP)
                ours.append(reader.figures()["p50_ms"])
            peer.ask("POST", peer.publish, {"details": {"t": None}})  # the next reader's snapshot shall hold no time
            commits.append(float(bare("commit", str(bench.folder / f"c{turn}.db"), str(requests), str(IDLE_GAP))))
            done = hit(constant.port, "POST", "/constant", peers.REPORT, requests=requests, gap=IDLE_GAP)
            trips.append(done["p50_ms"])
    commit, trip = statistics.median(commits), statistics.median(trips)
    return {"latency": Pair(statistics.median(ours), commit + trip, {"commit_ms": commit, "round_trip_ms": trip})}


def _document(peer: Peer) -> bytes:
    return peer.ask("GET", f"/v1/jobs/{peers.JOB}")
