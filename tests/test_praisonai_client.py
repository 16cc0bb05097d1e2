"""PraisonAI's own clients over real sockets: its jobs command, the handler behind it, its recipes' handle of a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.requests import Request

from gateway.dialects.base import Operation
from gateway.dialects.canonical import Canonical
from gateway.dialects.praisonai import PraisonAI
from gateway.values import Json
from tests.api import WAIT, Served, create, report, served
from tests.driven import Driven, driven

RUN = "run_abc123"
ENDS = [
    ({"state": "succeeded", "result": 'all "done"\nat last'}, "succeeded"),
    ({"state": "failed", "error": "Agent execution timeout"}, "failed"),
    ({"state": "cancelled"}, "cancelled"),
]


@pytest.fixture(scope="module")
def first() -> Iterator[Driven]:
    with driven("praisonai", "praisonai_jobs.py") as found:
        yield found


@pytest.fixture(scope="module")
def second() -> Iterator[Driven]:
    with driven("praisonai", "praisonai_jobs.py") as found:
        yield found


class Counted(PraisonAI):
    """Notes what it is asked."""

    asked: list[str]

    def __init__(self) -> None:
        super().__init__()
        type(self).asked = []

    def check(self, request: Request, operation: Operation) -> None:
        """Note the path."""
        self.asked.append(request.url.path)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, (Canonical, Counted)) as found:
        yield found


def base(at: Served) -> str:
    """The clients' base URL."""
    return f"http://127.0.0.1:{at.port}/praisonai"


async def command(at: Served, client: Driven, *arguments: str) -> Any:
    """What `praisonai run ARGUMENT…` prints, and its exit status."""
    return await client.ask("command", base=base(at), arguments=list(arguments))


async def status(at: Served, client: Driven) -> Json:
    """The status that the command prints as JSON, below what it prints for people."""
    answer = await command(at, client, "status", RUN, "--json")
    assert answer["exit"] == 0, answer
    return orjson.loads(answer["out"][answer["out"].index("\n{") :])


async def streams(at: Served, count: int) -> None:
    """Wait until so many streams are open."""
    async with asyncio.timeout(WAIT):
        while len(at.app.state.gateway.hub) < count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("end, word", ENDS)
async def test_the_command_follows_a_run_from_queued_to_each_end(
    at: Served, first: Driven, second: Driven, end: dict[str, Json], word: str
) -> None:
    await create(at.client, RUN)
    queued = await status(at, first)
    assert (queued["status"], queued["retry_after"]) == ("queued", 1)
    following = asyncio.create_task(command(at, second, "stream", RUN, "--json"))
    await streams(at, 1)
    await report(at.client, RUN, state="running", progress=50, step="Processing data")
    running = await status(at, first)
    assert running["status"] == "running"
    assert running["progress"] == {"percentage": 50.0, "current_step": "Processing data"}
    shown = (await command(at, first, "status", RUN))["out"]
    assert "Progress: 50%" in shown
    assert "Step: Processing data" in shown
    await report(at.client, RUN, **end)
    assert (await status(at, first))["status"] == word
    answer = await following
    assert answer["exit"] == 0
    told = [orjson.loads(line) for line in answer["out"].splitlines()]
    assert [data["status"] for data in told if "status" in data] == ["queued", "running", word]
    assert [data["percentage"] for data in told if "percentage" in data][:2] == [0.0, 50.0]
    last = {"result": 'all "done"\nat last'}, {"error": "Agent execution timeout"}, {"message": "Job was cancelled"}
    assert told[-1] == last[["succeeded", "failed", "cancelled"].index(word)]
    result = await command(at, first, "result", RUN, "--json")
    assert (result["exit"], word in result["out"]) == (0, True)


@pytest.mark.parametrize("end, word", ENDS)
async def test_the_loop_of_submit_and_wait_sees_each_end(
    at: Served, first: Driven, end: dict[str, Json], word: str
) -> None:
    await create(at.client, RUN, state="running")
    waiting = asyncio.create_task(
        first.ask("handler", base=base(at), method="_wait_for_completion", job_id=RUN, output_json=word != "failed")
    )
    async with asyncio.timeout(WAIT):
        while not Counted.asked:  # so that it sees the run at work once
            await asyncio.sleep(0.01)
    await report(at.client, RUN, **end)
    answer = await waiting
    assert "error" not in answer, answer
    assert answer["value"]["status"] == word
    assert Counted.asked[:2] == [f"/praisonai/api/v1/runs/{RUN}"] * 2
    assert len(Counted.asked) == 2 + (word == "succeeded"), "it waits as long as it is told, then gets the result"


async def test_the_recipes_handle_waits_for_a_run_and_cancels_it(at: Served, first: Driven, second: Driven) -> None:
    await create(at.client, RUN, state="running")
    found = await first.ask("handle", base=base(at), job=RUN, method="get_status")
    assert found["value"]["status"] == "running"
    waiting = asyncio.create_task(second.ask("handle", base=base(at), job=RUN, method="wait", poll_interval=0.05))
    assert (await first.ask("handle", base=base(at), job=RUN, method="cancel"))["value"] is True
    assert (await at.client.get(f"/v1/jobs/{RUN}")).json()["state"] == "cancelling"
    await report(at.client, RUN, state="cancelled")
    assert (await waiting)["value"]["status"] == "cancelled"
    assert (await first.ask("handle", base=base(at), job=RUN, method="cancel"))["value"] is False


async def test_the_command_lists_cancels_and_is_told_what_is_too_late(at: Served, first: Driven) -> None:
    for number in range(3):
        await create(at.client, f"run_{number}", state="running")
    listed = await command(at, first, "list", "--page-size", "2")
    assert "Jobs (Page 1/2)" in listed["out"]
    assert "run_2" in listed["out"]
    assert "run_0" not in listed["out"]
    assert "Total: 3 jobs" in listed["out"]
    cancelled = await command(at, first, "cancel", "run_0", "--json")
    assert (cancelled["exit"], '"status": "running"' in cancelled["out"]) == (0, True)
    assert (await at.client.get("/v1/jobs/run_0")).json()["state"] == "cancelling"
    await report(at.client, "run_0", state="cancelled")
    again = await command(at, first, "cancel", "run_0")
    assert again["exit"] == 1
    assert "409" in again["out"]
    assert "run_0" in (await command(at, first, "list", "--status", "cancelled"))["out"]
    assert "No jobs found" in (await command(at, first, "list", "--status", "failed"))["out"]
    assert (await command(at, first, "list", "--status", "bogus"))["exit"] == 1


@pytest.mark.parametrize("job", ["nope", "no id at all"])
@pytest.mark.parametrize("what", ["status", "result", "cancel", "stream"])
async def test_a_run_that_is_not_known_ends_the_command_with_an_error(
    at: Served, first: Driven, what: str, job: str
) -> None:
    answer = await command(at, first, what, job)
    assert answer["exit"] == 1
    assert "404" in answer["out"]


# Traps


@pytest.mark.parametrize("end, word", ENDS)
async def test_trap_the_command_does_not_fail_on_a_run_without_progress(
    at: Served, first: Driven, end: dict[str, Json], word: str
) -> None:
    await create(at.client, RUN)
    await report(at.client, RUN, state="running")
    await report(at.client, RUN, **end)
    for arguments in (("status", RUN), ("list",), ("result", RUN)):
        answer = await command(at, first, *arguments)
        assert answer["exit"] == 0, answer


async def test_trap_the_stream_command_reads_no_event_names_and_shows_nothing_as_with_its_own_server(
    at: Served, first: Driven
) -> None:
    await create(at.client, RUN, state="running")
    await report(at.client, RUN, state="succeeded")
    answer = await command(at, first, "stream", RUN)
    assert (answer["exit"], answer["out"]) == (0, "")


async def test_trap_the_loop_of_the_page_sleeps_as_long_as_it_is_told(at: Served) -> None:
    await create(at.client, RUN, state="running")

    async def wait_for_completion() -> tuple[list[float], str]:
        slept: list[float] = []
        async with httpx.AsyncClient(base_url=base(at), timeout=WAIT, trust_env=False) as client:
            while True:
                found = (await client.get(f"/api/v1/runs/{RUN}")).json()
                if found["status"] in ("succeeded", "failed", "cancelled"):
                    return slept, found["status"]
                slept.append(found.get("retry_after", 2))  # a null here would be slept
                if len(slept) == 1:
                    await report(at.client, RUN, state="failed")
                else:
                    await asyncio.sleep(slept[-1])

    async with asyncio.timeout(WAIT):
        assert await wait_for_completion() == ([1], "failed")


async def test_trap_a_new_run_is_refused_in_a_form_that_the_command_tells(at: Served, first: Driven) -> None:
    answer = await command(at, first, "submit", "Analyze this", "--wait")
    assert answer["exit"] == 1
    assert "Failed to submit job" in answer["out"]
    assert "405" in answer["out"]
