"""The same streams under every server: with a direct writer, and over plain ASGI with a task for each delivery."""

from __future__ import annotations

from pathlib import Path

from tests.api import served
from tests.streams import frames_in


async def test_a_stream_shows_every_transition_and_ends_under_every_server(tmp_path: Path, under: str) -> None:
    async with served(tmp_path, under=under, heartbeat=0.2) as at:
        client = at.client
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


async def test_heartbeats_and_lost_readers_work_under_every_server(tmp_path: Path, under: str) -> None:
    async with served(tmp_path, under=under, heartbeat=0.2) as at:
        client = at.client
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
