"""One real job, started with `status-gateway run`, is followed by every system's own client at the same time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.driven import driven
from tests.processes import Server, serving, start_cli
from tests.test_mcp_clients import agent_at
from tests.test_nemo_client import STATUS, Driver

ID = "0f8b5c1e-2a4d-4c1b-9e57-5d3c6a7b8c9d"
BOUND = 90.0  # seconds until all of them have seen what is so
# The command says where it is, and goes on when it is told to: so no client can miss a stage.
COMMAND = """
import pathlib, sys, time
folder, status = pathlib.Path(sys.argv[1]), int(sys.argv[2])
print("Processing step 1/4", flush=True)
for _ in range(30_000):
    if (folder / "go").exists():
        sys.exit(status)
    time.sleep(0.01)
"""
Ask = Callable[[], Awaitable[str]]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[tuple[Server, dict[str, Ask]]]:
    """A gateway, and what each client says of the job, in its own words."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "status.db"))
        julep = stack.enter_context(driven("julep", "julep_sdk.py"))
        praisonai = stack.enter_context(driven("praisonai", "praisonai_jobs.py"))
        weaver = stack.enter_context(driven("weaver", "weaver.py"))
        agent = stack.enter_context(agent_at(server.url))
        nemo = Driver(f"{server.url}/nemo")
        stack.callback(nemo.close)
        one_at_a_time = asyncio.Lock()

        async def of_julep() -> str:
            return str((await julep.ask("get", base=f"{server.url}/julep", job=ID))["status"]["state"])

        async def of_praisonai() -> str:
            answer = await praisonai.ask("handler", base=f"{server.url}/praisonai", method="status", job_id=ID)
            return str(answer["value"]["status"])

        async def of_owslib() -> str:
            return str((await weaver.ask("checked", location=f"{server.url}/weaver/jobs/{ID}?f=xml"))["status"])

        def of_mcp(client: str) -> Ask:
            async def ask() -> str:
                return str(await asyncio.to_thread(agent.status, client, ID))

            return ask

        def of_nemo(client: str) -> Ask:
            async def ask() -> str:
                async with one_at_a_time:
                    answer = await asyncio.to_thread(nemo.ask, client, STATUS, name=ID, workspace="default")
                return str(answer["status"])

            return ask

        yield (
            server,
            {
                "julep": of_julep,
                "praisonai": of_praisonai,
                "owslib": of_owslib,
                "mcp": of_mcp("mcp"),
                "fastmcp": of_mcp("fastmcp"),
                "nemo_platform": of_nemo("sdk"),
                "nemo_platform_plugin": of_nemo("plugin"),
            },
        )


async def all_say(clients: dict[str, Ask], words: dict[str, str]) -> None:
    """Wait until each client says its word; all of them ask side by side."""

    async def one(name: str) -> None:
        said = ""
        try:
            async with asyncio.timeout(BOUND):
                while said != words[name]:
                    said = await clients[name]()
        except TimeoutError:
            raise AssertionError(f"{name} says {said!r}, not {words[name]!r}") from None

    await asyncio.gather(*(one(name) for name in clients))


def words(julep: str, praisonai: str, owslib: str, mcp: str, nemo: str) -> dict[str, str]:
    both = {"mcp": mcp, "fastmcp": mcp, "nemo_platform": nemo, "nemo_platform_plugin": nemo}
    return {"julep": julep, "praisonai": praisonai, "owslib": owslib, **both}


QUEUED = words("pending", "queued", "ProcessAccepted", "running", "pending")
RUNNING = words("in_progress", "running", "ProcessStarted", "running", "active")
# OWSLib calls every end that was no success an exception.
ENDS = {
    "succeeded": words("succeeded", "succeeded", "ProcessSucceeded", "completed", "completed"),
    "failed": words("failed", "failed", "Exception", "failed", "error"),
    "cancelled": words("aborted", "cancelled", "Exception", "killed", "cancelled"),
}


@pytest.mark.parametrize("end", list(ENDS))
async def test_one_real_job_is_followed_from_queued_to_its_end_by_all_real_clients_at_once(
    scene: tuple[Server, dict[str, Ask]], tmp_path: Path, end: str
) -> None:
    server, clients = scene
    async with httpx.AsyncClient(base_url=server.url, timeout=BOUND) as client:
        await client.post("/v1/jobs", json={"id": ID, "process": "my-process"})
        await all_say(clients, QUEUED)
        status = 3 if end == "failed" else 0
        command = [sys.executable, "-c", COMMAND, str(tmp_path), str(status)]
        runner = start_cli(["run", "--id", ID, "--", *command], server.url)
        try:
            await all_say(clients, RUNNING)
            async with asyncio.timeout(BOUND):
                while (await client.get(f"/v1/jobs/{ID}")).json()["progress"] != 25.0:
                    await asyncio.sleep(0.02)
            if end == "cancelled":
                await client.post(f"/v1/jobs/{ID}/cancel")
            else:
                (tmp_path / "go").touch()
            await all_say(clients, ENDS[end])
            assert await asyncio.to_thread(runner.wait, BOUND) == {"succeeded": 0, "failed": 3, "cancelled": 143}[end]
        finally:
            runner.kill()
            await asyncio.to_thread(runner.communicate)
        document: dict[str, Any] = (await client.get(f"/v1/jobs/{ID}")).json()
    assert document["state"] == end
    assert document["progress"] == (100.0 if end == "succeeded" else 25.0)
