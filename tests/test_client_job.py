"""A job as a `with` block: how the block ends is how the job ends, and reporting never harms the work."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.client import Client, JobCancelled, JobScope, ProblemError
from tests.faulty import Faulty, Request, cut, document, hang, reply
from tests.processes import environment, serving

DELETED = {"type": "urn:status-gateway:problem:job-deleted", "title": "Job deleted", "detail": "gone"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("log") / "status.db") as server:
        yield server.url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with Client(url, workspace=f"w{uuid4().hex}") as client:
        yield client


async def states(client: Client, job: str) -> list[str]:
    return [entry["job"]["state"] async for entry in client.history(job) if entry["event"] == "transition"]


async def test_a_block_that_ends_is_a_job_that_succeeded(client: Client) -> None:
    async with client.job(name="tiles", labels={"team": "geo"}, process="render") as job:
        await job.progress(45, "step 2 of 4", step="validate")
        await job.step("extract", state="running", tasks=[{"name": "read", "state": "succeeded"}])
        await job.report(details={"rows": 3}, result={"href": "x"})
        assert await job.flush()
        assert job.document is not None
        assert (job.document["progress"], job.document["step"]) == (45, "extract")
    status = await client.status(job.id)
    assert await states(client, job.id) == ["pending", "running", "succeeded"]
    assert (status["name"], status["process"], status["labels"]) == ("tiles", "render", {"team": "geo"})
    assert (status["progress"], status["result"], status["lease"]) == (100, {"href": "x"}, 60)
    assert status["steps"][0]["tasks"][0]["name"] == "read"


async def test_an_exception_is_a_job_that_failed_and_goes_on(client: Client) -> None:
    job = client.job()
    with pytest.raises(RuntimeError, match="disk"):
        async with job:
            raise RuntimeError("no \udcff disk")
    status = await client.status(job.id)
    assert (status["state"], status["error"] and status["error"]["message"]) == ("failed", "no ? disk")
    assert status["error"] is not None
    assert status["error"]["code"] == "RuntimeError"
    assert status["error"]["stack"].startswith("Traceback")


@pytest.mark.parametrize(
    "error,state",
    [(asyncio.CancelledError(), "cancelled"), (KeyboardInterrupt(), "cancelled"), (SystemExit(0), "succeeded"),
     (SystemExit(3), "failed"), (JobCancelled("enough"), "cancelled"), (AssertionError(), "failed")],
    ids=repr,
)  # fmt: skip
async def test_the_way_a_block_is_left_is_the_state(client: Client, error: BaseException, state: str) -> None:
    job = client.job()
    with pytest.raises(type(error)):
        await leave(job, error)
    assert (await client.status(job.id))["state"] == state


async def leave(job: JobScope, error: BaseException) -> None:
    async with job:
        raise error


async def test_a_cancelled_task_reports_it(client: Client) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with client.job(id="sleeper"):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.wait_for(entered.wait(), 60)
    task.cancel()
    await asyncio.wait([task], timeout=60)
    assert task.cancelled()
    assert (await client.status("sleeper"))["state"] == "cancelled"


async def test_the_block_itself_may_say_how_the_job_ends(client: Client) -> None:
    async with client.job() as job:
        await job.report(state="failed", error="the data is bad")
    assert (await client.status(job.id))["state"] == "failed"


async def test_a_wish_to_cancel_ends_the_block_at_its_next_word(client: Client) -> None:
    async def work(job: JobScope) -> None:
        async with job:
            await client.cancel(job.id)
            await job.progress(40)
            assert await job.flush()
            assert job.cancelling
            await job.progress(50)

    job = client.job()
    with pytest.raises(JobCancelled):
        await work(job)
    assert (await client.status(job.id))["progress"] == 40
    assert await states(client, job.id) == ["pending", "running", "cancelling", "cancelled"]


async def test_who_ignores_wishes_may_still_look(client: Client) -> None:
    async with client.job(on_cancel="ignore") as job:
        await client.cancel(job.id)
        await job.progress(50)
        await job.flush()
        assert job.cancelling
        await job.progress(60)
    assert (await client.status(job.id))["state"] == "succeeded"


async def test_a_job_that_a_scheduler_made_is_taken_over(client: Client) -> None:
    await client.create(id="planned", name="by the scheduler")
    async with client.job(id="planned", name="by the worker", labels={"host": "a"}):
        pass
    status = await client.status("planned")
    assert (status["name"], status["labels"], status["state"]) == ("by the scheduler", {"host": "a"}, "succeeded")


async def test_a_job_that_was_cancelled_before_does_not_begin(client: Client) -> None:
    await client.create(id="planned")
    await client.cancel("planned")
    began = False
    with pytest.raises(JobCancelled, match="before it began"):
        async with client.job(id="planned"):
            began = True
    assert not began
    assert await states(client, "planned") == ["pending", "cancelled"]


async def test_a_job_that_has_ended_does_not_begin_again(client: Client) -> None:
    await client.create(id="old", state="running")
    await client.report("old", state="succeeded")
    with pytest.raises(ProblemError, match="final"):
        await leave(client.job(id="old"), AssertionError("it began"))


async def test_a_refusal_is_raised_by_the_next_word_or_the_end(client: Client) -> None:
    async def work(job: JobScope, flush: bool) -> None:
        async with job:
            await job.report(lease=-1)
            if flush:
                await job.flush()
                raise AssertionError("the flush said nothing")

    job = client.job()
    with pytest.raises(ProblemError, match="lease"):
        await work(job, flush=True)
    assert (await client.status(job.id))["state"] == "failed"
    job = client.job()
    with pytest.raises(ProblemError, match="lease"):
        await work(job, flush=False)
    assert (await client.status(job.id))["state"] == "succeeded"


async def test_a_refusal_does_not_hide_the_error_of_the_work(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with client.job() as job:
            await job.report(lease=-1)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await work()
    assert "a report was refused: lease" in caplog.text


async def test_progress_is_cut_to_its_range_and_nan_is_refused() -> None:
    async with Faulty(document()) as faulty, Client(faulty.url) as client:
        async with client.job() as job:
            await job.progress(100.0001)
            await job.progress(-1)
            await job.progress(None, "who knows")
            with pytest.raises(ValueError, match="NaN"):
                await job.progress(float("nan"))
        assert [request.json.get("progress", "-") for request in faulty.requests] == ["-", "-", 100, 0, None, "-"]


async def test_work_goes_on_while_the_gateway_is_away_and_is_reported_later() -> None:
    back = asyncio.Event()

    async def away_until_then(request: Request, writer: asyncio.StreamWriter) -> None:
        await (document() if back.is_set() else cut)(request, writer)

    async with Faulty(away_until_then) as faulty, Client(faulty.url) as client:
        async with asyncio.timeout(60):
            async with client.job() as job:
                for percent in range(101):
                    await job.progress(percent)
                assert job.document is None
                assert len(job.undelivered) < 101
                back.set()
        said = [request.json for request in faulty.requests]
        assert [one.get("state") for one in said if "state" in one] == ["running", "succeeded"]
        assert max(one.get("progress", 0) for one in said) == 100


async def test_a_gateway_that_stays_away_costs_a_bounded_wait(caplog: pytest.LogCaptureFixture) -> None:
    async with Faulty(hang) as faulty, Client(faulty.url, timeout=0.1) as client:
        async with asyncio.timeout(60):
            async with client.job(deliver_for=0.2) as job:
                await job.progress(10)
    with caplog.at_level(logging.WARNING):
        assert "not delivered: creation, running, progress, succeeded" in caplog.text


async def test_a_deleted_job_is_a_refusal() -> None:
    async with Faulty(document(), document(), reply(410, DELETED)) as faulty, Client(faulty.url) as client:
        with pytest.raises(ProblemError, match="gone"):
            async with client.job():
                pass


def test_the_client_loads_nothing_of_the_server(tmp_path: Path) -> None:
    check = (
        "import sys, gateway.client; print({'uvicorn', 'starlette', 'aiosqlite', 'gateway.service'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.strip() == "set()"
