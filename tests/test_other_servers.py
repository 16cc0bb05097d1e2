"""The same streams under servers that offer no direct writer: plain ASGI, one task for each delivery."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import hypercorn
import hypercorn.asyncio
import pytest
import uvicorn
from starlette.applications import Starlette

from gateway.app import create_app
from gateway.settings import Settings
from tests.streams import BOUND, frames_in


@asynccontextmanager
async def served(folder: Path, name: str) -> AsyncIterator[str]:
    """The app under an unmodified server; its address."""
    app = create_app(Settings(database=str(folder / "status.db"), heartbeat=0.2))
    serving = under_hypercorn(app) if name == "hypercorn" else under_uvicorn(app, name)
    async with serving as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def under_uvicorn(app: Starlette, http: str) -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, http=http, log_level="warning", lifespan="on", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    async with asyncio.timeout(BOUND):
        while not server.started:
            await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, BOUND * 2)


@asynccontextmanager
async def under_hypercorn(app: Starlette) -> AsyncIterator[int]:
    """Its `send` writes before it waits, so a second try after one that would block would say everything twice."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = hypercorn.Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.graceful_timeout = 1
    config.errorlog = None
    ending = asyncio.Event()
    task = asyncio.create_task(hypercorn.asyncio.serve(cast(Any, app), config, shutdown_trigger=ending.wait))
    try:
        yield listener.getsockname()[1]
    finally:
        ending.set()
        await asyncio.wait_for(task, BOUND * 2)
        listener.detach()  # the server has closed it


SERVERS = ("h11", "httptools", "hypercorn")


@pytest.mark.parametrize("http", SERVERS)
async def test_a_stream_over_plain_asgi_shows_every_transition_and_ends(tmp_path: Path, http: str) -> None:
    async with served(tmp_path, http) as url, httpx.AsyncClient(base_url=url, timeout=BOUND) as client:
        await client.post("/v1/jobs", json={"id": "a", "state": "running"})
        body = b""
        async with client.stream("GET", "/v1/jobs/a/events") as response:
            async for chunk in response.aiter_raw():
                first = not body
                body += chunk
                if first:
                    for state in ("paused", "running", "succeeded"):
                        await client.post("/v1/jobs/a/events", json={"state": state})
        frames = frames_in(body)
        states = [frame.data["state"] for frame in frames if frame.event == "transition"]
        assert next(frame.event for frame in frames if frame.event != "sync") == "snapshot"
        assert states[-1] == "succeeded"
        assert frames[-1].event == "end"
        versions = [frame.data["version"] for frame in frames if frame.event in ("snapshot", "transition")]
        assert versions == list(range(versions[0], 5))


@pytest.mark.parametrize("http", SERVERS)
async def test_heartbeats_and_lost_readers_work_over_plain_asgi(tmp_path: Path, http: str) -> None:
    async with served(tmp_path, http) as url, httpx.AsyncClient(base_url=url, timeout=BOUND) as client:
        await client.post("/v1/jobs", json={"id": "a", "state": "running"})
        beats = 0
        async with client.stream("GET", "/v1/jobs/a/events") as response:
            async for chunk in response.aiter_raw():
                beats += chunk.count(b"event: sync")
                if beats >= 3:
                    break
        await client.post("/v1/jobs/a/events", json={"progress": 1})
        body = b""
        async with client.stream("GET", "/v1/jobs/a/events?after=earliest") as response:
            async for chunk in response.aiter_raw():
                body += chunk
                if b"event: sync" in body:
                    break
        assert [frame.event for frame in frames_in(body)][:2] == ["transition", "progress"]
