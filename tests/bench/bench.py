"""What this machine does: `make bench`. Each figure stands beside its peer's, measured in the same run.

- durable reports from 64 producers, beside POSTs of the same body to a route that reads it and stores nothing;
- bulk lines, beside a bare program that parses the same lines and writes them with sqlite3 in the same transactions;
- one event to many streams of one job, beside a hand-written sse-starlette server, as CPU time a delivery.

Wall-clock times on a shared machine do not hold; ratios within one run do. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import httpx
import orjson

from tests.processes import Server

PLAIN = """
import asyncio, orjson
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

queues, number = set(), 0

async def stream(request):
    queue = asyncio.Queue(1000)
    queues.add(queue)
    async def events():
        try:
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)
    return EventSourceResponse(events(), sep="\\n")

async def publish(request):
    global number
    number += 1
    data = (await request.body()).decode()
    for queue in queues:
        queue.put_nowait(ServerSentEvent(data, id=str(number), event="progress", sep="\\n"))
    return Response(status_code=201)

async def take(request):
    orjson.loads(await request.body())
    return Response(status_code=201)

app = Starlette(routes=[Route("/stream", stream), Route("/publish", publish, methods=["POST"]),
                        Route("/take", take, methods=["POST"])])
"""
LINES = 20_000
BODY = {"progress": 45, "message": "Processing step 2 of 4", "details": {"n": 0}}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Plain:
    """The hand-written peer, as a process."""

    def __init__(self, folder: Path) -> None:
        (folder / "plain.py").write_text(PLAIN, encoding="utf-8")
        options = ("--no-access-log", "--log-level", "warning", "--port", "0", "--app-dir", str(folder))
        command = [sys.executable, "-m", "uvicorn", "plain:app", *options]
        with closing(_free()) as sock:
            self.port = sock.getsockname()[1]
        command[command.index("0")] = str(self.port)
        self.process = subprocess.Popen(command)

    async def ready(self) -> None:
        """Wait until it answers."""
        async with asyncio.timeout(20), httpx.AsyncClient() as client:
            while True:
                try:
                    await client.post(f"http://127.0.0.1:{self.port}/take", json={})
                    return
                except httpx.TransportError:
                    await asyncio.sleep(0.05)


def _free() -> socket.socket:
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    return found


async def posts(port: int, path: str, count: int, producers: int, head: dict[str, object]) -> float:
    """Requests a second from so many producers, each on a connection of its own."""

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for step in range(count // producers):
            body = orjson.dumps(head | {"details": {"n": step * producers + number}})
            writer.write(
                b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (path.format(number).encode(), len(body), body)
            )
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 20"), answer
            length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(producers)))
    return count / (time.perf_counter() - begin)


async def durable(server: Server, plain: Plain) -> dict[str, float]:
    """Durable reports beside posts that store nothing."""
    async with httpx.AsyncClient(base_url=server.url) as client:
        for number in range(64):
            await client.post("/v1/jobs", json={"id": f"d{number}", "state": "running"})
    ours = await posts(server.port, "/v1/jobs/d{}/events", 6400, 64, BODY)
    theirs = await posts(plain.port, "/take", 6400, 64, BODY)
    return {"reports_per_s": ours, "plain_posts_per_s": theirs, "ratio": ours / theirs}


async def bulk(server: Server, folder: Path) -> dict[str, float]:
    """Bulk lines beside bare sqlite3."""
    lines = [
        orjson.dumps({"job": f"b{n % 500}", "state": "running", "progress": n % 100, "message": str(n)})
        for n in range(LINES)
    ]
    body = b"\n".join(lines)
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        begin = time.perf_counter()
        answer = await client.post("/v1/events", content=body, headers={"Content-Type": "application/x-ndjson"})
        ours = LINES / (time.perf_counter() - begin)
        assert answer.status_code == 200, answer.text
    theirs = await asyncio.to_thread(bare, folder / f"bare{time.monotonic_ns()}.db", lines)
    return {"lines_per_s": ours, "bare_lines_per_s": theirs, "ratio": ours / theirs}


def bare(file: Path, lines: list[bytes]) -> float:
    """Lines a second of a program that does no more than parse, look the job up and write."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE records (offset INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT, body BLOB)")
        db.execute("CREATE INDEX by_job ON records (job, offset)")
        db.execute("CREATE TABLE jobs (job TEXT PRIMARY KEY, last INTEGER, body BLOB) WITHOUT ROWID")
        begin = time.perf_counter()
        for start in range(0, len(lines), 500):
            db.execute("BEGIN IMMEDIATE")
            for line in lines[start : start + 500]:
                job = orjson.loads(line)["job"]
                db.execute("SELECT last FROM jobs WHERE job = ?", (job,)).fetchone()
                cursor = db.execute("INSERT INTO records (job, body) VALUES (?, ?)", (job, line))
                db.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", (job, cursor.lastrowid, line))
            db.execute("COMMIT")
        return len(lines) / (time.perf_counter() - begin)


async def fan_out(
    port: int, pid: int, path: str, publish: Callable[[int], Awaitable[None]], streams: int, events: int
) -> float:
    """CPU time of the server a delivery, in microseconds."""
    counts = [0] * streams
    done = asyncio.Event()

    async def read(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n" % path.encode())
        await reader.readuntil(b"\r\n\r\n")
        opened.append(number)
        rest = b""
        while counts[number] < events:
            chunk = rest + await reader.read(65536)
            counts[number] += chunk.count(b"event: progress")
            rest = chunk[-14:] if not chunk.endswith(b"progress") else b""
        if min(counts) >= events:
            done.set()
        writer.close()

    opened: list[int] = []
    readers = [asyncio.create_task(read(number)) for number in range(streams)]
    async with asyncio.timeout(60):
        while len(opened) < streams:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        before = cpu_seconds(pid)
        for number in range(events):
            await publish(number)
            await asyncio.sleep(0.05)
        await asyncio.gather(*readers)
    return (cpu_seconds(pid) - before) * 1e6 / (streams * events)


async def streams(server: Server, plain: Plain, count: int, events: int) -> dict[str, float]:
    """One event to many streams, beside the hand-written server."""
    async with httpx.AsyncClient() as client:
        await client.post(f"{server.url}/v1/jobs", json={"id": "fan", "state": "running"})

        async def ours(number: int) -> None:
            await client.post(f"{server.url}/v1/jobs/fan/events", json={"message": str(time.monotonic_ns())})

        async def theirs(number: int) -> None:
            document = (await client.get(f"{server.url}/v1/jobs/fan")).content
            await client.post(f"http://127.0.0.1:{plain.port}/publish", content=document)

        a = await fan_out(server.port, server.process.pid, "/v1/jobs/fan/events", ours, count, events)
        b = await fan_out(plain.port, plain.process.pid, "/stream", theirs, count, events)
    return {"cpu_us_a_delivery": a, "hand_written_cpu_us_a_delivery": b, "ratio": a / b}


async def one_round(server: Server, plain: Plain, folder: Path, count: int, events: int) -> dict[str, dict[str, float]]:
    """Each figure once, ours and the peer's in turn."""
    return {
        "durable": await durable(server, plain),
        "bulk": await bulk(server, folder),
        "streams": await streams(server, plain, count, events),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--events", type=int, default=20)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, plain = Server(folder / "status.db").start(), Plain(folder)
        try:
            await plain.ready()
            while len(rounds) < options.rounds:
                rounds += [await one_round(server, plain, folder, options.streams, options.events)]
        finally:
            plain.process.terminate()
            plain.process.wait(10)
            server.kill()
    result = {
        row: {key: statistics.median(one[row][key] for one in rounds) for key in rounds[0][row]} for row in rounds[0]
    }
    for row, figures in result.items():
        print(row)
        for key, value in figures.items():
            print(f"  {key:<32}{value:>12.2f}")
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
