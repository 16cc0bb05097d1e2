"""`status-gateway run` against a real gateway: the job tells the command's life, and the command does not notice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.client import Document, SyncClient
from tests.processes import run_cli, serving, start_cli

BOUND = 60.0  # seconds: everything here takes a fraction of one where nothing else runs


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


def reached(client: SyncClient, job: str, state: str, **members: object) -> Document:
    """The job's document as soon as it is in the state; it may not even exist yet."""
    for document in client.watch_many(jobs=[job], min_interval=0, patience=BOUND):
        said = {name: document.get(name) for name in members}
        if document["state"] == state and said == members:
            return document
    raise AssertionError(f"job {job} has ended as {client.status(job)['state']}, not {state}")


def states(client: SyncClient, job: str) -> list[str]:
    return [entry["job"]["state"] for entry in client.history(job) if entry["event"] == "transition"]


def finish(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, bytes]:
    with process:
        out, err = process.communicate(timeout=BOUND)
    return process.returncode, out, err


def python(*lines: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-u", "-c", "\n".join(lines))


def test_a_command_is_a_job_with_progress_message_and_labels(client: SyncClient, url: str, job: str) -> None:
    script = "echo step 1/4; read x; echo step 2/4; echo step 3/4; echo step 4/4"
    named = ("--id", job, "--name", "tiles", "--process", "render", "--label", "team=geo", "--label", "x=")
    process = start_cli(["run", *named, "--", "sh", "-c", script], url, patient=True)
    reached(client, job, "running", message="step 1/4")
    assert process.stdin is not None
    process.stdin.write(b"\n")
    assert finish(process) == (0, b"step 1/4\nstep 2/4\nstep 3/4\nstep 4/4\n", b"")
    status = client.status(job)
    assert (status["name"], status["process"], status["labels"]) == ("tiles", "render", {"team": "geo", "x": ""})
    assert (status["progress"], status["message"], status["lease"]) == (100, "step 4/4", 60)
    assert states(client, job) == ["pending", "running", "succeeded"]
    assert 25 in [entry["job"]["progress"] for entry in client.history(job)]


def test_the_output_passes_byte_for_byte_and_stdin_is_the_commands(client: SyncClient, url: str, job: str) -> None:
    data = os.urandom(300_000) + b"\r 10%\r no end"
    script = ("import sys, shutil", "data = sys.stdin.buffer.read()", "sys.stdout.buffer.write(data)",
              "sys.stderr.buffer.write(data[::-1])")  # fmt: skip
    done = run_cli("run", "--id", job, *python(*script), url=url, stdin=data)
    assert done.returncode == 0
    assert done.stdout == data
    assert done.stderr == data[::-1]
    assert client.status(job)["state"] == "succeeded"


def test_the_output_comes_when_it_is_written(url: str) -> None:
    process = start_cli(["run", *python("print('no newline', end=''); input()")], url)
    assert process.stdout is not None
    assert process.stdout.read(10) == b"no newline"
    assert process.poll() is None
    assert finish(process)[0] == 1  # its stdin was closed: EOFError


def test_the_order_of_what_goes_to_one_place_stays(url: str, tmp_path: Path) -> None:
    lines = "".join(f"{number}\n" for number in range(200))
    script = "i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done"
    with (tmp_path / "log").open("wb") as log:
        arguments = [sys.executable, "-m", "gateway.cli", "run", "--url", url, "--", "sh", "-c", script]
        subprocess.run(arguments, stdout=log, stderr=log, timeout=BOUND, check=True)
    assert (tmp_path / "log").read_text() == lines


@pytest.mark.parametrize(
    "script,status,end",
    [
        ("echo working; echo no disk >&2; exit 3", 3, "failed: exit status 3: no disk"),
        ("echo only said here; exit 1", 1, "failed: exit status 1: only said here"),
        ("exit 255", 255, "failed: exit status 255"),
        ("kill -SEGV $$", 139, "failed: killed by SIGSEGV"),
        ("kill -TERM $$", 143, "cancelled: killed by SIGTERM"),
        ("kill -KILL $$", 137, "cancelled: killed by SIGKILL"),
    ],
)
def test_the_exit_status_is_the_commands_own(
    client: SyncClient, url: str, job: str, script: str, status: int, end: str
) -> None:
    assert run_cli("run", "--id", job, "--", "sh", "-c", script, url=url).returncode == status
    document = client.status(job)
    assert document["error"] is not None
    assert f"{document['state']}: {document['error']['message']}" == end
    assert document["error"]["code"] == str(status)


def test_a_failure_carries_the_last_lines_of_stderr(client: SyncClient, url: str, job: str) -> None:
    run_cli("run", "--id", job, *python("print('out')", "1 / 0"), url=url)
    error = client.status(job)["error"]
    assert error is not None
    assert error["message"] == "exit status 1: ZeroDivisionError: division by zero"
    assert error["stack"].startswith("Traceback (most recent call last):\n")
    assert error["details"] == {"exit_status": 1}


@pytest.mark.parametrize("command,status", [("no-such-command", 127), ("/etc/passwd", 126), ("/", 126)])
def test_a_command_that_cannot_begin_is_a_failed_job(
    client: SyncClient, url: str, job: str, command: str, status: int
) -> None:
    done = run_cli("run", "--id", job, "--", command, url=url)
    assert done.returncode == status
    assert command in done.stderr.decode()
    document = client.status(job)
    assert document["error"] is not None
    assert (document["state"], document["error"]["code"]) == ("failed", str(status))


def test_the_command_knows_its_job_and_may_say_more(client: SyncClient, url: str, job: str) -> None:
    script = f"{sys.executable} -m gateway.cli report --step extract --detail rows=3"
    done = run_cli("run", "--id", job, "--workspace", "geo", "--", "sh", "-c", script, url=url)
    assert done.returncode == 0, done.stderr
    with SyncClient(url, workspace="geo") as geo:
        assert (geo.status(job)["step"], geo.status(job)["details"]) == ("extract", {"rows": 3})


def test_what_the_gateway_refuses_does_not_begin(url: str, tmp_path: Path) -> None:
    mark = tmp_path / "begun"
    done = run_cli("run", "--id", "not/an/id", "--", "touch", str(mark), url=url, patient=True)
    assert done.returncode == 125
    assert b"the command is not started: id must be" in done.stderr
    assert not mark.exists()


def test_a_job_that_was_cancelled_before_does_not_begin(client: SyncClient, url: str, job: str, tmp_path: Path) -> None:
    client.create(id=job, name="planned")
    client.cancel(job)
    mark = tmp_path / "begun"
    done = run_cli("run", "--id", job, "--", "touch", str(mark), url=url, patient=True)
    assert done.returncode == 143
    assert b"cancelled before the command began" in done.stderr
    assert not mark.exists()
    assert states(client, job) == ["pending", "cancelled"]


def test_a_job_that_a_scheduler_made_is_run(client: SyncClient, url: str, job: str) -> None:
    client.create(id=job, name="planned")
    assert run_cli("run", "--id", job, "--name", "other", "--label", "a=b", "--", "true", url=url).returncode == 0
    status = client.status(job)
    assert (status["name"], status["labels"], status["state"]) == ("planned", {"a": "b"}, "succeeded")


def test_a_cancel_reaches_a_silent_command_long_before_its_next_heartbeat(
    client: SyncClient, url: str, job: str
) -> None:
    process = start_cli(["run", "--id", job, "--lease", "3600", "--", "sh", "-c", "sleep 3600"], url)
    reached(client, job, "running")
    client.cancel(job)
    assert finish(process)[0] == 143
    assert states(client, job) == ["pending", "running", "cancelling", "cancelled"]


def test_a_command_that_ignores_the_cancel_is_killed_after_the_grace(client: SyncClient, url: str, job: str) -> None:
    script = "trap '' TERM; echo ready; while true; do sleep 0.05; done"
    process = start_cli(["run", "--id", job, "--grace", "0.5", "--", "sh", "-c", script], url)
    reached(client, job, "running", message="ready")
    client.cancel(job)
    assert finish(process)[0] == 137
    assert states(client, job)[-2:] == ["cancelling", "cancelled"]


def test_a_command_that_ends_in_order_when_cancelled_was_cancelled_all_the_same(
    client: SyncClient, url: str, job: str
) -> None:
    script = (
        "import signal, sys",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('tidying')))",
        "print('ready')",
        "signal.pause()",
    )
    process = start_cli(["run", "--id", job, *python(*script)], url)
    reached(client, job, "running", message="ready")
    client.cancel(job)
    assert finish(process)[:2] == (0, b"ready\ntidying\n")
    document = client.status(job)
    assert (document["state"], document["message"]) == ("cancelled", "tidying")


def test_a_pause_stops_the_command_and_a_resume_lets_it_go_on(client: SyncClient, url: str, job: str) -> None:
    script = "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo $i; read -t 1 x < /dev/null; sleep 0.01; done"
    process = start_cli(["run", "--id", job, "--", "sh", "-c", script], url)
    reached(client, job, "running")
    client.pause(job)
    position = reached(client, job, "paused")["position"]
    for _ in range(5):  # what was written just before the stop may still be reported; then nothing moves
        if (last := client.status(job, since=position, wait=1)) is None:
            break
        position = last["position"]
    else:
        raise AssertionError("it goes on while it is paused")
    client.resume(job)
    reached(client, job, "running")
    client.cancel(job)
    assert finish(process)[0] == 143
    assert states(client, job)[1:6] == ["running", "pausing", "paused", "resuming", "running"]


def test_a_paused_command_can_be_cancelled(client: SyncClient, url: str, job: str) -> None:
    process = start_cli(["run", "--id", job, "--", "sleep", "60"], url)
    reached(client, job, "running")
    client.pause(job)
    reached(client, job, "paused")
    client.cancel(job)
    assert finish(process)[0] == 143
    assert states(client, job)[-2:] == ["cancelling", "cancelled"]


def test_a_stop_from_elsewhere_is_seen_too(client: SyncClient, url: str, job: str) -> None:
    process = start_cli(["run", "--id", job, *python("import os", "print(os.getpid())", "input()")], url)
    assert process.stdout is not None
    command = int(process.stdout.readline())
    reached(client, job, "running")
    os.kill(command, signal.SIGSTOP)
    reached(client, job, "paused")
    os.kill(command, signal.SIGCONT)
    reached(client, job, "running")
    assert process.stdin is not None
    process.stdin.write(b"\n")
    assert finish(process)[0] == 0
    assert states(client, job) == ["pending", "running", "paused", "running", "succeeded"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_the_runner_reaches_the_command(
    client: SyncClient, url: str, job: str, number: signal.Signals
) -> None:
    script = (
        "import signal, sys",
        f"signal.signal({number}, lambda *_: sys.exit(7))",
        "print('ready')",
        "signal.pause()",
    )
    process = start_cli(["run", "--id", job, *python(*script)], url)
    reached(client, job, "running", message="ready")
    process.send_signal(number)
    assert finish(process)[0] == 7
    assert client.status(job)["state"] == "cancelled"


def test_a_signal_that_means_something_to_the_command_only_is_passed_on(client: SyncClient, url: str, job: str) -> None:
    script = (
        "import signal",
        "signal.signal(signal.SIGUSR1, lambda *_: print('noted'))",
        "print('ready')",
        "signal.pause()",
    )
    process = start_cli(["run", "--id", job, *python(*script)], url)
    reached(client, job, "running", message="ready")
    process.send_signal(signal.SIGUSR1)
    assert finish(process)[:2] == (0, b"ready\nnoted\n")
    assert client.status(job)["state"] == "succeeded"


def test_a_signal_that_was_ignored_stays_so(client: SyncClient, url: str, job: str) -> None:
    command = ["nohup", sys.executable, "-m", "gateway.cli", "run", "--url", url, "--id", job]
    script = ("import signal", "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN", "print('ready')", "input()")
    process = subprocess.Popen(
        [*command, *python(*script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    reached(client, job, "running", message="ready")
    process.send_signal(signal.SIGHUP)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    assert finish(process)[0] == 0


def test_a_reader_that_has_enough_ends_the_command_as_always(client: SyncClient, url: str, job: str) -> None:
    process = start_cli(["run", "--id", job, "--", "sh", "-c", "while true; do echo more; done"], url)
    assert process.stdout is not None
    assert process.stdout.read(5) == b"more\n"
    process.stdout.close()
    with process:
        assert process.wait(BOUND) == 141  # SIGPIPE, as in a pipeline
    assert client.status(job)["state"] == "failed"


def test_a_process_that_is_left_behind_does_not_hold_up_the_end(client: SyncClient, url: str, job: str) -> None:
    done = run_cli("run", "--id", job, "--", "sh", "-c", "echo main; sleep 600 & echo left $!", url=url)
    assert done.returncode == 0
    assert client.status(job)["state"] == "succeeded"
    os.kill(int(done.stdout.split()[-1]), signal.SIGKILL)


def test_a_silent_command_with_a_lease_does_not_look_stalled(client: SyncClient, url: str, job: str) -> None:
    done = run_cli("run", "--id", job, "--lease", "4", "--", "sleep", "6", url=url)
    assert done.returncode == 0
    assert not any(entry["job"]["stalled"] for entry in client.history(job))
