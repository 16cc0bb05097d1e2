"""SIGTERM with many open streams: all end cleanly, within the grace period, and the process says nothing of it."""

from __future__ import annotations

import asyncio
import re
import resource
import time
from pathlib import Path

import httpx

from tests.processes import serving

STREAMS = 1000
BOUND = 150.0  # seconds; a thousand streams are opened
GRACE = 30.0  # seconds; three times the default, for a machine that is busy with all else


async def test_sigterm_with_a_thousand_streams_ends_all_of_them_with_a_farewell(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with serving(tmp_path / "status.db", "--grace", str(GRACE)) as server:
            async with httpx.AsyncClient(base_url=server.url, timeout=BOUND) as client:
                await client.post("/v1/jobs", json={"id": "a", "state": "running"})
                readers = [asyncio.create_task(read(server.port)) for _ in range(STREAMS)]
                async with asyncio.timeout(BOUND):
                    while not await all_open(client):
                        await asyncio.sleep(0.05)
                    begin = time.monotonic()
                    status = await asyncio.to_thread(server.terminate)
                    took = time.monotonic() - begin
                    bodies = await asyncio.gather(*readers)
            assert status == 0
            assert took < GRACE
            assert "Traceback" not in server.log
            assert "without completing" not in server.log
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    waits = []
    for body in bodies:
        assert body.endswith(b"\r\n0\r\n\r\n"), body[-200:]
        last = re.findall(rb"retry: (\d+)\n\n", body)[-1]
        waits.append(int(last))
    assert min(waits) >= 1000
    assert max(waits) <= 10_000
    assert len({wait // 100 for wait in waits}) > 50, "the readers' returns are spread"


async def all_open(client: httpx.AsyncClient) -> bool:
    """Whether every reader has what it was to get first: a report reaches all of them."""
    await client.post("/v1/jobs/a/events", json={"message": str(time.monotonic_ns())})
    return len(_CAUGHT_UP) == STREAMS


_CAUGHT_UP: set[int] = set()


async def read(port: int) -> bytes:
    """One stream to its end, as bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/jobs/a/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
    body = b""
    while chunk := await reader.read(65536):
        body += chunk
        if b"event: sync" in body:
            _CAUGHT_UP.add(id(writer))
    writer.close()
    return body
