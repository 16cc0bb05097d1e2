"""The client without asyncio: the same behaviour, from plain code."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest

from gateway.client import JobCancelled, ProblemError, SyncClient
from tests.processes import environment, serving

INTERRUPTED = """
import sys
from gateway.client import SyncClient
with SyncClient(sys.argv[1]) as client, client.job(id=sys.argv[2]):
    print("begun", flush=True)
    for _ in client.watch(sys.argv[2]):
        pass
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("log") / "status.db") as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[SyncClient]:
    with SyncClient(url, workspace=f"w{uuid4().hex}") as client:
        yield client


def test_all_calls_work_without_asyncio(client: SyncClient) -> None:
    made = client.create(id="a", name="tiles", state="running")
    told = client.report("a", progress=45)
    assert client.status("a") == told
    assert client.status("a", since=told["position"]) is None
    assert client.status("a", at=made["position"]) == made
    client.reports("a", [{"progress": 50}, {"message": "half"}])
    assert [found["id"] for found in client.jobs(state="running")] == ["a"]
    assert [entry["job"]["version"] for entry in client.history("a")] == [1, 2, 3, 4]
    assert client.pause("a")["state"] == "pausing"
    client.report("a", state="paused")
    assert client.resume("a")["state"] == "resuming"
    assert client.cancel("a")["state"] == "cancelling"
    client.report("a", state="cancelled")
    client.delete("a")
    with pytest.raises(ProblemError, match="410"):
        client.status("a")


def test_a_block_is_a_job(client: SyncClient) -> None:
    with client.job(name="tiles") as job:
        job.progress(45, "half")
        job.step("extract", state="running")
        job.report(details={"rows": 3})
        assert job.flush()
        assert job.document is not None
        assert (job.document["progress"], job.undelivered, job.cancelling) == (45, [], False)
    assert client.status(job.id)["state"] == "succeeded"


def fail(client: SyncClient, id: str) -> None:
    with client.job(id=id):
        raise RuntimeError("no disk")


def test_an_exception_is_a_job_that_failed(client: SyncClient) -> None:
    with pytest.raises(RuntimeError, match="no disk"):
        fail(client, "a")
    assert client.status("a")["state"] == "failed"


def work_until_cancelled(client: SyncClient, id: str) -> None:
    with client.job(id=id) as job:
        client.cancel(id)
        job.report()
        job.flush()
        job.progress(1)


def test_a_wish_to_cancel_ends_the_block(client: SyncClient) -> None:
    with pytest.raises(JobCancelled):
        work_until_cancelled(client, "a")
    assert client.status("a")["state"] == "cancelled"


def test_heartbeats_go_on_while_the_code_computes(client: SyncClient) -> None:
    with client.job(id="a", lease=4):
        for document in client.watch_many(jobs=["a"], patience=60):
            if document["progress"] == 1:
                break
            beaten = threading.Event()
            threading.Timer(5.0, beaten.set).start()
            beaten.wait(60)  # busy for longer than the lease
            assert not client.status("a")["stalled"]
            client.report("a", progress=1)


def test_watching_ends_with_the_job_and_may_be_left_early(client: SyncClient) -> None:
    client.create(id="a", state="running")
    for document in client.watch("a"):
        assert document["state"] == "running"
        break
    client.report("a", state="failed", error="bad")
    assert [document["state"] for document in client.watch("a")] == ["failed"]
    assert [event.kind for event in client.events("a")] == ["snapshot"]


def test_an_interrupt_cancels_the_job(client: SyncClient, url: str) -> None:
    arguments = [sys.executable, "-c", INTERRUPTED, url, "interrupted"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert b"Task was destroyed" not in errors
    with SyncClient(url) as reader:
        assert reader.status("interrupted")["state"] == "cancelled"


def test_a_closed_client_says_so() -> None:
    client = SyncClient()
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="this SyncClient is closed"):
        client.status("a")


def forked(client: SyncClient) -> None:
    try:
        client.status("a")
    except RuntimeError as error:
        os._exit(7 if "made before a fork" in str(error) else 1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_client_that_was_forked_away_from_its_thread_says_so_instead_of_hanging(client: SyncClient) -> None:
    process = multiprocessing.get_context("fork").Process(target=forked, args=(client,))
    process.start()
    process.join(60)
    assert process.exitcode == 7
