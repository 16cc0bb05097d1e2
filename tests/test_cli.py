"""The command line: what it prints where, and with which status it exits."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import orjson
import pytest

from gateway.cli import ACTIONS, main
from gateway.client import SyncClient
from tests.processes import command, environment, run_cli, serving

NOBODY = "http://127.0.0.1:1"  # a port on which nothing listens


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("log") / "status.db") as server:
        yield server.url


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("JOB", "WORKSPACE"):
        monkeypatch.delenv(f"STATUS_GATEWAY_{name}", raising=False)
    monkeypatch.setenv("STATUS_GATEWAY_URL", url)


@pytest.fixture
def client(url: str) -> Iterator[SyncClient]:
    with SyncClient(url) as client:
        yield client


@pytest.fixture
def job() -> str:
    return uuid4().hex


Captured = pytest.CaptureFixture[str]


def refusal(arguments: list[str], capsys: Captured) -> str:
    """What a wrong command line is told."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_every_command_explains_itself_and_its_exit_status(capsys: Captured) -> None:
    for name in ACTIONS:
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        assert "exit status: " in capsys.readouterr().out


def test_the_version_is_told(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("status-gateway ")


def test_a_report_says_what_the_flags_say(client: SyncClient, job: str, capsys: Captured) -> None:
    client.create(id=job, state="running")
    said = ["--progress", "45.5", "--message", "half", "--step", "merge", "--lease", "30", "--label", "team=a=b"]
    assert main(["report", job, *said, "--detail", 'rows={"n": 3}', "--result", "null"]) == 0
    assert capsys.readouterr() == ("", "")
    status = client.status(job)
    assert (status["progress"], status["message"], status["step"], status["lease"]) == (45.5, "half", "merge", 30)
    assert (status["labels"], status["details"], status["result"]) == ({"team": "a=b"}, {"rows": {"n": 3}}, None)
    assert main(["report", job, "--state", "failed", "--error", "no disk", "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out) == client.status(job)


def test_a_report_on_an_unknown_job_creates_it(client: SyncClient, job: str) -> None:
    assert main(["report", job, "--state", "succeeded", "--result", '{"rows": 3}']) == 0
    assert (client.status(job)["state"], client.status(job)["result"]) == ("succeeded", {"rows": 3})


def test_a_report_counts_once_for_its_key(client: SyncClient, job: str) -> None:
    for _ in range(2):
        assert main(["report", job, "--progress", "5", "--idempotency-key", "k1"]) == 0
    assert client.status(job)["version"] == 2


def test_within_a_run_the_job_need_not_be_named(url: str, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS_GATEWAY_JOB", job)
    monkeypatch.setenv("STATUS_GATEWAY_WORKSPACE", "geo")
    assert main(["report", "--message", "by itself"]) == 0
    with SyncClient(url, workspace="geo") as geo:
        assert geo.status(job)["message"] == "by itself"


def test_a_producer_that_reports_learns_of_a_wish(client: SyncClient, job: str, capsys: Captured) -> None:
    client.create(id=job, state="running")
    client.cancel(job)
    assert main(["report", job, "--progress", "50"]) == 0
    assert capsys.readouterr().err == f"status-gateway: job {job} is cancelling: somebody wishes so\n"


def test_text_that_is_no_unicode_is_reported_as_well_as_it_can_be(client: SyncClient, job: str) -> None:
    assert main(["report", job, "--message", "caf\udce9"]) == 0
    assert client.status(job)["message"] == "caf?"


def test_a_status_is_shown_to_people_and_as_it_is(client: SyncClient, job: str, capsys: Captured) -> None:
    made = client.create(
        id=job, state="running", labels={"team": "geo"}, steps=[{"name": "extract", "state": "running"}]
    )
    client.report(job, progress=45, message="bad \x1b[2J \u202e[red]", error="broken")
    assert main(["status", job]) == 0
    shown = capsys.readouterr().out
    for text in (job, "running", "45 %", "bad [2J [red]", "broken", '{"team":"geo"}', "extract: running"):
        assert text in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert main(["status", job, "--at", made["position"], "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out) == made


def test_jobs_are_listed_as_lines_of_fields_or_documents(client: SyncClient, job: str, capsys: Captured) -> None:
    client.create(id=job, name="tiles", process=job, state="running", message="two\nlines\tand tabs")
    client.create(id=f"{job}-2", process=job, labels={"team": "geo"})
    assert main(["jobs", "--process", job]) == 0
    assert capsys.readouterr().out == f"{job}-2\tpending\t\t{job}-2\t\n{job}\trunning\t\ttiles\ttwo lines and tabs\n"
    assert main(["jobs", "--process", job, "--state", "running", "--name", "tiles", "--json"]) == 0
    assert [orjson.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [job]
    assert main(["jobs", "--process", job, "--label", "team=geo", "--limit", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{job}-2\t")


def test_wishes_are_told_and_a_finished_job_can_be_deleted(client: SyncClient, job: str, capsys: Captured) -> None:
    client.create(id=job, state="running")
    for wish, state, observed in (("pause", "pausing", "paused"), ("resume", "resuming", "running")):
        assert main([wish, job]) == 0
        assert capsys.readouterr() == ("", f"status-gateway: job {job} is {state}\n")
        client.report(job, state=observed)
    assert main(["cancel", job, "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["state"] == "cancelling"
    assert main(["delete", job]) == 1
    assert "cancel it first" in capsys.readouterr().err
    client.report(job, state="cancelled")
    assert main(["delete", job, "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out) == {"id": job, "deleted": True}
    assert main(["delete", job]) == 1
    assert "410" in capsys.readouterr().err


def test_a_refusal_is_one_line_that_says_why(capsys: Captured) -> None:
    assert main(["status", "no-such-job"]) == 1
    assert capsys.readouterr().err == (
        "status-gateway: there is no job 'no-such-job' in workspace 'default' (404 Job not found)\n"
    )


@pytest.mark.parametrize("action", ["report", "status", "jobs", "watch", "cancel", "pause", "resume", "delete"])
def test_without_a_gateway_one_line_says_so_and_how_to_start_it(action: str, capsys: Captured) -> None:
    arguments = [action, *([] if action == "jobs" else ["j"]), "--url", NOBODY, "--retry-for", "0"]
    assert main(arguments) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"the gateway at {NOBODY} can't be reached" in err
    assert "status-gateway serve" in err


@pytest.mark.parametrize(
    "arguments,text",
    [
        (["run"], "say what to run"),
        (["run", "--id", "a", "--"], "say what to run"),
    ],
)
def test_a_run_without_a_command_is_told_how(arguments: list[str], text: str, capsys: Captured) -> None:
    assert main(arguments) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments,text",
    [
        ([], "COMMAND"),
        (["report", "--progress", "1"], "JOB"),
        (["report", "j", "--progress", "101"], "'101' must be a number from 0 to 100"),
        (["report", "j", "--progress", "nan"], "'nan' must be a number from 0 to 100"),
        (["report", "j", "--label", "team"], "'team' must be K=V"),
        (["report", "j", "--detail", "a=b"], "'b' is not JSON (a string stands in double quotes)"),
        (["report", "j", "--result", "{"], "'{' is not JSON"),
        (["run", "--lease", "soon", "--", "ls"], "'soon' must be a number of seconds"),
        (["run", "--grace", "inf", "--", "ls"], "'inf' must be a number of seconds"),
        (["jobs", "--limit", "0"], "'0' must be a number from 1 on"),
        (["jobs", "--url", "localhost:8000"], "must look like http://127.0.0.1:8000"),
        (["status", ""], "the job's id must not be empty"),
        (["serve", "--no-such-flag"], "--no-such-flag"),
    ],
)
def test_wrong_usage_names_the_argument_and_the_remedy(arguments: list[str], text: str, capsys: Captured) -> None:
    assert text in refusal(arguments, capsys)


def test_a_reader_that_has_enough_is_no_error(client: SyncClient, job: str, url: str) -> None:
    for number in range(30):
        client.create(id=f"{job}-{number}", process=job, message="x" * 10_000)
    run = " ".join(command("jobs", "--process", job, "--json"))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {run} | head -c 10"],
        capture_output=True,
        timeout=120,
        check=False,
        env=environment(STATUS_GATEWAY_URL=url),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b'{"id":"' + job[:3].encode(), b"")


@pytest.mark.parametrize("action", ["run", "report"])
def test_what_is_started_often_loads_nothing_of_the_server(action: str) -> None:
    program = (
        "import importlib, sys; from gateway.cli import ACTIONS;"
        f"importlib.import_module(ACTIONS[{action!r}].partition(':')[0]);"
        "print({'uvicorn', 'starlette', 'aiosqlite', 'sse_starlette'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"


def test_serve_ends_with_0_on_sigterm_and_with_one_line_where_it_cannot_begin(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db") as server:
        locked = run_cli("serve", "--port", "0", "--database", str(tmp_path / "status.db"))
        taken = run_cli("serve", "--port", str(server.port), "--database", str(tmp_path / "other.db"))
        assert server.terminate() == 0
    (tmp_path / "corrupt.db").write_bytes(b"no database" * 1000)
    corrupt = run_cli("serve", "--port", "0", "--database", str(tmp_path / "corrupt.db"))
    for done in (locked, taken, corrupt):
        assert done.returncode == 1
        assert b"Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith(b"status-gateway: ")


def test_serve_refuses_settings_that_are_wrong(tmp_path: Path) -> None:
    for arguments, text in ((("--host", "0.0.0.0"), b"--insecure-no-auth"), (("--port", "x"), b"port (flag --port)")):
        done = run_cli("serve", *arguments, "--database", str(tmp_path / "status.db"))
        assert done.returncode == 2
        assert text in done.stderr
        assert done.stderr.count(b"\n") == 1


def test_a_backup_of_a_running_gateway_can_be_served(tmp_path: Path) -> None:
    database, copy = str(tmp_path / "status.db"), tmp_path / "copy.db"
    with serving(tmp_path / "status.db") as server, SyncClient(server.url) as client:
        client.create(id="a", message="kept")
        done = run_cli("backup", str(copy), "--database", database, "--json")
        assert done.returncode == 0
        assert orjson.loads(done.stdout) == {"file": str(copy), "bytes": copy.stat().st_size}
        again = run_cli("backup", str(copy), "--database", database)
        assert (again.returncode, again.stderr.count(b"\n")) == (1, 1)
        other = run_cli("backup", str(tmp_path / "second.db"), "--database", database)
        assert (other.returncode, other.stdout) == (0, b"")
        assert b"was copied to" in other.stderr
    with serving(copy) as server, SyncClient(server.url) as client:
        assert client.status("a")["message"] == "kept"
