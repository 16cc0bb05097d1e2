"""Two thousand readers live through a restart: none misses or repeats anything, and they do not all return at once."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.processes import serving
from tests.streams import frames_in

READERS = 2000
BOUND = 60.0  # seconds; the readers wait up to 10 s before they return


class Reader:
    """Reads a job's stream to its end, coming back when and where it was told to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.body = b""
        self.opened = asyncio.Event()
        self.returns: list[float] = []

    async def read(self) -> None:
        """Until the job has ended."""
        while b"event: end" not in self.body:
            last = re.findall(rb"event: \w+\ndata: .*\nid: (\S+)\n\n", self.body)
            cursor = b"Last-Event-ID: %s\r\n" % last[-1] if last else b""
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:  # it is not back yet; an EventSource tries again too
                await asyncio.sleep(self.wait())
                continue
            head = b"GET /v1/jobs/a/events?min_interval=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n"
            writer.write(head % (cursor + b"Accept: text/event-stream\r\n"))
            self.returns.append(time.monotonic())
            await reader.readuntil(b"\r\n\r\n")
            while size := int(await reader.readline() or b"0", 16):
                self.body += await reader.readexactly(size)
                await reader.readline()
                if b"event: sync" in self.body:
                    self.opened.set()
            writer.close()
            if b"event: end" not in self.body:
                await asyncio.sleep(self.wait())

    def wait(self) -> float:
        """How long it was told to wait before it returns, in seconds."""
        return int(re.findall(rb"retry: (\d+)\n\n", self.body)[-1]) / 1000


@pytest.mark.soak
async def test_two_thousand_readers_live_through_a_restart_and_return_spread_over_seconds(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db") as server:
        async with asyncio.timeout(BOUND), httpx.AsyncClient(base_url=server.url, timeout=BOUND) as client:
            await client.post("/v1/jobs", json={"id": "a", "state": "running"})
            readers = [Reader(server.port) for _ in range(READERS)]
            reading = [asyncio.create_task(reader.read()) for reader in readers]
            await asyncio.gather(*(reader.opened.wait() for reader in readers))
            for number in range(5):
                await client.post("/v1/jobs/a/events", json={"message": f"before {number}"})
            assert await asyncio.to_thread(server.terminate) == 0
            await asyncio.to_thread(server.start)
            for number in range(20):
                await client.post("/v1/jobs/a/events", json={"message": f"after {number}"})
                await asyncio.sleep(0.1)
            await client.post("/v1/jobs/a/events", json={"state": "succeeded"})
            await asyncio.gather(*reading)
    for reader in readers:
        seen = [f.data["version"] for f in frames_in(reader.body) if f.event in ("snapshot", "progress", "transition")]
        assert seen == list(range(1, 28)), seen
    returned = [reader.returns[1] for reader in readers]
    buckets = Counter(int((moment - min(returned)) * 10) for moment in returned)
    assert max(buckets.values()) <= READERS / 10, "a tenth of the readers at most returns within 100 ms"
