"""`status-gateway run` while the gateway is slow, away or restarted: the command does not notice, nothing is lost."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.client import Document, SyncClient
from tests.faulty import Faulty, document, hang, posts, reply
from tests.processes import Server, reserved, serving, start_cli

BOUND = 60.0  # seconds
STEP_BY_STEP = "for i in 1 2 3 4 5; do read x; echo step $i/5; done"  # goes on when it is told to


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which nothing listens, and nobody but the test may."""
    with reserved() as held:
        yield held.getsockname()[1]


def step(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Let the command do its next step, and wait for it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    assert process.stdout.readline() == f"step {number}/5\n".encode()


def finish(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, bytes]:
    with process:
        out, err = process.communicate(timeout=BOUND)
    return process.returncode, out, err


def seen(server: Server, job: str, message: str) -> Document:
    with SyncClient(server.url) as client:
        for document in client.watch_many(jobs=[job], min_interval=0, patience=BOUND):
            if document["message"] == message:
                return document
    raise AssertionError(f"{message} was not seen")


def test_a_kill_and_restart_of_the_gateway_loses_nothing_of_the_job(tmp_path: Path) -> None:
    name = uuid4().hex
    with serving(tmp_path / "status.db") as server:
        process = start_cli(["run", "--id", name, "--", "sh", "-c", STEP_BY_STEP], server.url)
        step(process, 1)
        seen(server, name, "step 1/5")
        server.kill()
        step(process, 2)
        step(process, 3)
        server.start()
        seen(server, name, "step 3/5")
        server.kill()
        step(process, 4)
        server.start()
        step(process, 5)
        status, out, errors = finish(process)
        assert (status, out) == (0, b"")
        assert b"not delivered" not in errors
        with SyncClient(server.url) as client:
            entries = list(client.history(name))
        assert [entry["job"]["version"] for entry in entries] == list(range(1, len(entries) + 1))
        transitions = [entry["job"]["state"] for entry in entries if entry["event"] == "transition"]
        assert transitions == ["pending", "running", "succeeded"]
        assert (entries[-1]["job"]["progress"], entries[-1]["job"]["message"]) == (100, "step 5/5")


def test_a_gateway_that_is_down_at_the_start_gets_the_whole_story_later(tmp_path: Path, port: int) -> None:
    name = uuid4().hex
    process = start_cli(["run", "--id", name, "--", "sh", "-c", STEP_BY_STEP], f"http://127.0.0.1:{port}")
    for number in range(1, 5):
        step(process, number)
    began = time.monotonic()
    with serving(tmp_path / "status.db", port=port) as server:
        away = time.monotonic() - began
        seen(server, name, "step 4/5")
        step(process, 5)
        status, _, errors = finish(process)
        assert status == 0
        assert b"can't be reached" in errors
        assert b"the command runs, its reports wait" in errors
        with SyncClient(server.url) as client:
            done = client.status(name)
            states = [entry["job"]["state"] for entry in client.history(name) if entry["event"] == "transition"]
    assert states == ["pending", "running", "succeeded"]
    assert done["started"] is not None
    # It began before the gateway did, and says so.
    assert (datetime.fromisoformat(done["updated"]) - datetime.fromisoformat(done["started"])).total_seconds() > away


def test_a_gateway_that_comes_back_after_the_end_still_gets_the_end(tmp_path: Path, port: int) -> None:
    name = uuid4().hex
    arguments = ["run", "--id", name, "--deliver-for", "600", "--", "sh", "-c", "echo hi; exit 3"]
    process = start_cli(arguments, f"http://127.0.0.1:{port}")
    assert process.stderr is not None
    while b"delivering its last reports" not in process.stderr.readline():
        pass
    with serving(tmp_path / "status.db", port=port) as server:
        status, out, errors = finish(process)
        assert (status, out, errors) == (3, b"hi\n", b"")
        with SyncClient(server.url) as client:
            done = client.status(name)
    assert done["error"] is not None
    assert (done["state"], done["error"]["message"]) == ("failed", "exit status 3: hi")


@pytest.mark.parametrize("more", [(), ("--quiet",)])
def test_a_gateway_that_never_comes_costs_a_bounded_wait_and_one_honest_line(more: tuple[str, ...], port: int) -> None:
    command = ["run", *more, "--deliver-for", "0.3", "--", "sh", "-c", "echo 45%; exit 4"]
    status, out, errors = finish(start_cli(command, f"http://127.0.0.1:{port}"))
    assert (status, out) == (4, b"45%\n")
    last = errors.decode().splitlines()[-1] if errors else ""
    if more:
        assert not last
    else:
        assert "not delivered: creation, running, " in last
        assert "failed; the gateway at" in last


def test_whoever_waits_for_the_delivery_may_interrupt_it(port: int) -> None:
    process = start_cli(["run", "--deliver-for", "600", "--", "sh", "-c", "exit 4"], f"http://127.0.0.1:{port}")
    assert process.stderr is not None
    while b"delivering its last reports" not in process.stderr.readline():
        pass
    process.terminate()
    status, _, errors = finish(process)
    assert status == 4
    assert b"not delivered" in errors


async def run(faulty: Faulty, *arguments: str) -> tuple[int, bytes, bytes]:
    return await asyncio.to_thread(finish, start_cli(["run", "--deliver-for", "0.5", *arguments], faulty.url))


async def test_a_gateway_that_hangs_delays_the_command_by_its_patience_only() -> None:
    async with Faulty(hang) as faulty:
        process = start_cli(["run", "--deliver-for", "0.1", "--", "echo", "hi"], faulty.url)
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"hi\n"
        assert len(faulty.requests) == 1, "the first request was given up before the command began"
        assert (await asyncio.to_thread(finish, process))[0] == 0


async def test_a_refusal_of_the_reporter_does_not_stop_the_command() -> None:
    async with Faulty(reply(401, {"title": "Unauthorized", "detail": "no key"})) as faulty:
        status, out, errors = await run(faulty, "--", "echo", "hi")
    assert (status, out) == (0, b"hi\n")
    assert b"its reports are refused, the command runs without: no key (401 Unauthorized)" in errors


async def test_a_report_that_is_refused_later_is_told_at_the_end() -> None:
    deleted = reply(410, {"title": "Job deleted", "detail": "gone"})
    async with Faulty(posts(document(), document(), deleted)) as faulty:
        status, out, errors = await run(faulty, "--", "sh", "-c", "echo hi; exit 1")
    assert (status, out) == (1, b"hi\n")
    assert b"a report was refused: gone (410 Job deleted)" in errors


async def test_a_cancel_that_stands_only_in_the_answer_to_a_heartbeat_reaches_the_command() -> None:
    wish = document(state="cancelling", version=2)
    async with Faulty(posts(document(), document(), wish)) as faulty:
        status, _, _ = await run(faulty, "--lease", "0.6", "--", "sleep", "600")
        assert faulty.requests[-1].json["state"] == "cancelled"
    assert status == 143


async def test_a_job_that_is_cancelled_while_the_gateway_was_away_is_ended() -> None:
    ended = reply(409, {"title": "Job finished", "detail": "it is cancelled", "state": "cancelled"})
    async with Faulty(posts(reply(503), reply(503), document(), ended)) as faulty:
        status, _, errors = await run(faulty, "--", "sleep", "600")
    assert status == 143
    assert b"its reports wait" in errors


async def test_a_signal_before_the_command_has_begun_keeps_it_from_beginning(tmp_path: Path) -> None:
    mark = tmp_path / "begun"
    async with Faulty(posts(hang)) as faulty:
        process = start_cli(["run", "--deliver-for", "0.1", "--", "touch", str(mark)], faulty.url)
        await faulty.came(1)
        process.send_signal(signal.SIGTERM)
        status, _, _ = await asyncio.to_thread(finish, process)
    assert status == 143
    assert not mark.exists()
