"""`status-gateway watch`: a job to its end, as lines, documents or a bar, through restarts of the gateway."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import orjson
import pytest

from gateway.cli import main
from gateway.client import SyncClient
from tests.processes import command, run_cli, serving, start_cli
from tests.screen import screen

BOUND = 60.0  # seconds


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("log") / "status.db") as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[SyncClient]:
    with SyncClient(url) as client:
        yield client


@pytest.fixture
def job() -> str:
    return uuid4().hex


def line(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode()


@pytest.mark.parametrize("state,status", [("succeeded", 0), ("failed", 1), ("cancelled", 2)])
def test_the_exit_status_is_how_the_job_ended(
    client: SyncClient, url: str, job: str, state: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    client.create(id=job, state="running")
    client.report(job, state=state, message="the end")
    assert main(["watch", job, "--url", url]) == status
    assert f" {state} " in capsys.readouterr().out


def test_a_job_that_is_deleted_meanwhile_or_not_there_is_3(client: SyncClient, url: str, job: str) -> None:
    missing = run_cli("watch", "no-such-job", url=url)
    assert (missing.returncode, missing.stderr.count(b"\n")) == (3, 1)
    client.create(id=job)
    client.cancel(job)
    client.delete(job)
    gone = run_cli("watch", job, url=url)
    assert gone.returncode == 3
    assert b"410" in gone.stderr


def test_each_change_is_a_line_for_programs_a_document(client: SyncClient, url: str, job: str) -> None:
    client.create(id=job, state="running")
    lines = start_cli(["watch", job], url)
    documents = start_cli(["watch", job, "--json"], url)
    assert line(lines).endswith(" running\n")
    assert orjson.loads(line(documents))["version"] == 1
    client.report(job, progress=45, message="half\x1b[2J", step="merge")
    assert line(lines).endswith(" running 45 % merge half [2J\n")
    assert orjson.loads(line(documents))["message"] == "half\x1b[2J"
    client.report(job, details={"not": "shown"})
    client.report(job, state="failed", error="no disk")
    assert line(lines).endswith(" failed 45 % merge half [2J no disk\n")
    assert orjson.loads(line(documents))["version"] == 3
    assert orjson.loads(line(documents)) == client.status(job)
    for process in (lines, documents):
        with process:
            assert process.wait(BOUND) == 1


def test_a_watch_goes_on_through_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db") as server, SyncClient(server.url) as client:
        client.create(id="a", state="running")
        process = start_cli(["watch", "a"], server.url)
        assert line(process).endswith(" running\n")
        server.restart()
        client.report("a", message="back again")
        assert line(process).endswith(" running back again\n")
        client.report("a", state="succeeded")
        with process:
            assert process.wait(BOUND) == 0


def test_patience_bounds_the_wait_for_a_lost_gateway(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db") as server:
        with SyncClient(server.url) as client:
            client.create(id="a", state="running")
        process = start_cli(["watch", "a", "--patience", "0.1"], server.url)
        assert line(process).endswith(" running\n")
        server.kill()
        with process:
            assert process.wait(BOUND) == 3


def test_at_a_terminal_there_is_a_bar(client: SyncClient, url: str, job: str) -> None:
    client.create(id=job, state="running")
    with screen(command("watch", job), url) as person:
        person.until("running")
        client.report(job, progress=45, message="[bold]half")
        person.until("45 % [bold]half")
        client.report(job, state="succeeded")
        person.until("succeeded")
        assert person.status() == 0
    with screen(command("jobs"), url) as person:
        person.until(job[:8])
        assert person.status() == 0
    with screen(command("watch", job), url) as person:
        person.until("succeeded")
        assert person.status() == 0


def test_an_interrupt_ends_the_watch_and_nothing_else(client: SyncClient, url: str, job: str) -> None:
    client.create(id=job, state="running")
    with screen(command("watch", job), url) as person:
        person.until("running")
        person.type("\x03")
        assert person.status() == 130
    assert client.status(job)["state"] == "running"
