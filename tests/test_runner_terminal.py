"""`status-gateway run` at a terminal: the command sees one and gets its keys, Ctrl-C and Ctrl-Z do what they should."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.client import SyncClient
from tests.processes import command, serving
from tests.screen import COLUMNS, ROWS, screen

BOUND = 60.0  # seconds


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("log") / "status.db") as server:
        yield server.url


def states(url: str, job: str) -> list[str]:
    with SyncClient(url) as client:
        return [entry["job"]["state"] for entry in client.history(job) if entry["event"] == "transition"]


def reached(url: str, job: str, state: str) -> None:
    with SyncClient(url) as client:
        assert any(document["state"] == state for document in client.watch_many(jobs=[job], patience=BOUND))


def test_the_command_sees_a_terminal_of_the_same_size_and_its_changes(url: str) -> None:
    script = (
        "import os, signal; print(os.isatty(1), os.isatty(2), *os.get_terminal_size(1));"
        "signal.sigwait([signal.SIGWINCH]); print(*os.get_terminal_size(1))"
    )
    block = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH]); {script}"
    with screen(command("run", "--id", "sized", "--", sys.executable, "-c", block), url) as person:
        assert person.until("job sized: ")
        assert person.until(f"{url}/v1/jobs/sized\r\n")
        assert person.until(f"True True {COLUMNS} {ROWS}\r\n")
        person.resize(20, 60)
        assert person.until("60 20\r\n")
        assert person.status() == 0


def test_a_command_that_asks_for_a_line_gets_it(url: str) -> None:
    job = uuid4().hex
    with screen(command("run", "--id", job, "--", "sh", "-c", "echo name?; read x; echo hello $x"), url) as person:
        person.until("name?\r\n")
        person.type("ada\n")
        person.until("hello ada\r\n")
        assert person.status() == 0
    assert states(url, job) == ["pending", "running", "succeeded"]


@pytest.mark.parametrize("script", ["", "input();"], ids=["silent", "reading"])
def test_ctrl_c_ends_the_command_and_whoever_waits_for_it(url: str, script: str) -> None:
    job = uuid4().hex
    program = f'import time; print("begun"); {script} print("waiting"); time.sleep(60)'
    run = " ".join(command("run", "--id", job, "--", sys.executable, "-u", "-c", f"'{program}'"))
    with screen(["sh", "-c", f"{run}; echo survived"], url) as person:
        person.until("begun\r\n")
        person.type("x\n" if script else "")
        person.until("waiting\r\n")
        person.type("\x03")
        assert person.status() != 0
    assert states(url, job) == ["pending", "running", "cancelled"]


@pytest.mark.parametrize(
    "script",
    ["echo go; until [ -e {} ]; do sleep 0.1; done; echo end", "echo go; read x; echo end"],
    ids=["silent", "reading"],
)
def test_ctrl_z_gives_the_shell_its_prompt_and_fg_goes_on(url: str, script: str, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    script = script.format(go_on)
    bash = shutil.which("bash")
    assert bash is not None, "these tests need bash, a shell with job control"
    job = uuid4().hex
    run = " ".join(command("run", "--id", job, "--quiet", "--", "sh", "-c", f"'{script}'"))
    with screen([bash, "--norc", "--noprofile", "-i"], url) as person:
        person.until("ready> ")
        person.type(f"{run}\n")
        person.until("go\r\n")
        reached(url, job, "running")
        person.type("\x1a")
        person.until("Stopped")
        person.until("ready> ")
        reached(url, job, "paused")
        person.type("fg\n")
        reached(url, job, "running")
        go_on.touch()
        person.type("\n" if "read" in script else "")
        person.until("end\r\n")
        person.until("ready> ")
        person.type("exit\n")
        assert person.status() == 0
    assert states(url, job) == ["pending", "running", "paused", "running", "succeeded"]


def test_in_the_background_a_command_that_wants_the_terminal_waits_for_the_foreground(url: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None, "these tests need bash, a shell with job control"
    job = uuid4().hex
    run = " ".join(command("run", "--id", job, "--quiet", "--", "sh", "-c", "'read x; echo got $x'"))
    with screen([bash, "--norc", "--noprofile", "-i"], url) as person:
        person.until("ready> ")
        person.type(f"{run} &\n")
        reached(url, job, "paused")
        person.until("Stopped", nudge="\n")  # bash tells of it before its next prompt
        person.type("fg\n")
        reached(url, job, "running")
        person.type("it\n")
        person.until("got it\r\n")
        person.type("exit\n")
        assert person.status() == 0
