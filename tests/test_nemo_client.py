"""NeMo Platform's real clients read a real job through a real gateway; only their base URL is ours.

They live in an environment of their own (`make test` makes it), so a process there does what the tests tell it.
"""

import json
import os
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.report import State
from tests.processes import Server, serving

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / ".clients" / "nemo" / "bin"
WAIT = 60.0  # seconds for one answer; a loaded machine starts the client in a few
BOTH = ("sdk", "plugin")

STATUS = {"sdk": "get_status", "lax": "get_status", "plugin": "get_job_status"}
JOB = {"sdk": "retrieve", "plugin": "get_job"}
LIST = {"sdk": "list", "plugin": "list_jobs"}
STEPS = {"sdk": "steps.list", "plugin": "list_steps"}
STEP = {"sdk": "steps.retrieve", "plugin": "get_job_step"}
TASKS = {"sdk": "tasks.list", "plugin": "list_job_step_tasks"}
TASK = {"sdk": "tasks.retrieve", "plugin": "get_job_step_task"}
LOGS = {"sdk": "get_logs", "plugin": "list_job_logs"}
CANCEL = {"sdk": "cancel", "plugin": "cancel_job"}
PAUSE = {"sdk": "pause", "plugin": "pause_job"}
RESUME = {"sdk": "resume", "plugin": "resume_job"}
DELETE = {"sdk": "delete", "plugin": "delete_job"}


class Driver:
    """The process in which the clients run."""

    def __init__(self, base: str) -> None:
        python = CLIENT / "python"
        assert python.exists(), "NeMo's clients are not installed: run `make test`, which does that"
        self.process = subprocess.Popen(
            [python, ROOT / "tests" / "clients" / "nemo.py", base],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},  # no configuration of whoever runs the tests
        )

    def send(self, client: str, method: str, **arguments: Any) -> None:
        """Let a client begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([client, method, arguments]).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """What came of it."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], WAIT)
        assert ready, "the client does not answer"
        return dict(json.loads(self.process.stdout.readline()))

    def ask(self, client: str, methods: dict[str, str], **arguments: Any) -> Any:
        """What a client's method gives, having sent one request."""
        self.send(client, methods[client], **arguments)
        answer = self.receive()
        assert "value" in answer, answer
        return answer["value"]

    def refusal(self, client: str, methods: dict[str, str], **arguments: Any) -> tuple[str, int, str]:
        """The class, status and text of what a client raises, and that it tried once."""
        self.send(client, methods[client], **arguments)
        answer = self.receive()
        assert "error" in answer, answer
        assert answer["requests"] == 1, "it was sent again and again"
        return answer["error"], answer["status"], answer["text"]

    def close(self) -> None:
        """End it."""
        self.process.communicate(timeout=WAIT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("nemo") / "status.db") as found:
        yield found


@pytest.fixture(scope="module")
def driver(server: Server) -> Iterator[Driver]:
    found = Driver(f"{server.url}/nemo")
    yield found
    found.close()


Say = Callable[..., None]


@pytest.fixture
def say(server: Server, request: pytest.FixtureRequest) -> Say:
    """Reports about the test's job, whose id is its test's name; the first one makes it."""
    job = request.node.name.replace("[", "-").replace("]", "")

    def said(**members: Any) -> None:
        line = {"job": job, "name": "data-import", "workspace": "default", **members}
        content = json.dumps(line).encode() + b"\n"
        headers = {"Content-Type": "application/x-ndjson"}
        answer = httpx.post(f"{server.url}/v1/events", content=content, headers=headers, timeout=WAIT)
        assert "position" in answer.json(), answer.text

    return said


@pytest.mark.parametrize("client", ["sdk", "lax", "plugin"])
def test_the_client_follows_a_job_through_every_state_of_its_life(driver: Driver, say: Say, client: str) -> None:
    def status() -> dict[str, Any]:
        return dict(driver.ask(client, STATUS, name="data-import"))

    say(state="created", process="ingest")
    assert (status()["status"], status()["status_details"], status()["error_details"]) == ("created", {}, {})
    say(state="pending")
    assert status()["status"] == "pending"
    tasks = [{"name": "read", "state": "failed", "error": {"message": "slow", "stack": "at line 1"}}]
    say(state="running", progress=45, step="extract", message="half", steps=[{"name": "extract", "tasks": tasks}])
    found = status()
    assert found["status"] == "active"
    assert found["status_details"] == {"progress": "45%", "current_step": "extract", "message": "half"}
    (step,) = found["steps"]
    assert (step["name"], step["status"]) == ("extract", "pending")
    (task,) = step["tasks"]
    assert (task["status"], task["error_details"], task["error_stack"]) == ("error", {"message": "slow"}, "at line 1")
    for state, word in (
        ("retrying", "active"),
        ("paused", "paused"),
        ("unknown", "pending"),
        ("succeeded", "completed"),
    ):
        say(state=state)
        assert status()["status"] == word


@pytest.mark.parametrize("state, word", [("succeeded", "completed"), ("failed", "error"), ("cancelled", "cancelled")])
def test_the_clients_read_each_end(driver: Driver, say: Say, state: str, word: str) -> None:
    say(state="running")
    say(state=state, **({"error": {"message": "disk full", "code": "E"}} if state == "failed" else {}))
    for client in BOTH:
        found = driver.ask(client, STATUS, name="data-import")
        assert found["status"] == word
        assert found["error_details"] == ({"message": "disk full", "code": "E"} if state == "failed" else {})


@pytest.mark.parametrize("state", State)
def test_a_strict_client_accepts_the_job_and_all_below_it_in_every_state(driver: Driver, say: Say, state: str) -> None:
    steps = [
        {"name": "extract", "state": state, "tasks": [{"name": "t", "state": state, "error": "x"}]},
        {"name": "Ä ö"},
    ]
    say(state=state, steps=steps)
    for client in BOTH:
        job = driver.ask(client, JOB, name="data-import")
        assert (
            job["status"]
            == driver.ask(client, LIST)[0]["status"]
            == driver.ask(client, STATUS, name="data-import")["status"]
        )
        assert [step["name"] for step in driver.ask(client, STEPS, name="data-import")] == ["extract", "Ä ö"]
        step = driver.ask(client, STEP, job="data-import", name="extract")
        assert (step["status"], step["parent"]) == (job["status"], job["attempt_id"])
        (task,) = driver.ask(client, TASKS, job="data-import", name="extract")["data"]
        assert task["step_id"] == step["id"]
        assert driver.ask(client, TASK, job="data-import", step="extract", name="t") == task
        assert driver.ask(client, LOGS, name="data-import")[-1]["message"]


@pytest.mark.parametrize("client", BOTH)
def test_the_clients_wishes_reach_the_producer(driver: Driver, server: Server, say: Say, client: str) -> None:
    say(state="running")
    for methods, wish, done in (
        (PAUSE, "pausing", "paused"),
        (RESUME, "resuming", "running"),
        (CANCEL, "cancelling", "cancelled"),
    ):
        assert driver.ask(client, methods, name="data-import")["status"] == wish
        params = {"name": "data-import", "limit": "1"}
        job = httpx.get(f"{server.url}/v1/jobs", params=params, timeout=WAIT).json()["jobs"][0]
        assert job["state"] == wish
        say(state=done)


@pytest.mark.parametrize("client", BOTH)
def test_trap_cancelling_a_finished_job_is_sent_once_and_gives_the_job(driver: Driver, say: Say, client: str) -> None:
    say(state="failed", error="x")
    for methods in (CANCEL, PAUSE, RESUME):
        driver.send(client, methods[client], name="data-import")
        answer = driver.receive()
        assert (answer["value"]["status"], answer["requests"]) == ("error", 1)


@pytest.mark.parametrize("client", BOTH)
def test_trap_deleting_a_job_at_work_is_sent_once(driver: Driver, say: Say, client: str) -> None:
    say(state="running")
    error, status, text = driver.refusal(client, DELETE, name="data-import")
    assert (error, status) == ("UnprocessableEntityError", 422)
    assert "cancel it first" in text
    say(state="cancelled")
    assert driver.ask(client, DELETE, name="data-import") is None


@pytest.mark.parametrize("client", BOTH)
def test_an_unknown_job_and_a_bad_workspace_are_the_clients_own_errors(driver: Driver, client: str) -> None:
    for methods in (STATUS, JOB, CANCEL, LOGS):
        error, status, text = driver.refusal(client, methods, name="nope")
        assert (error, status) == ("NotFoundError", 404)
        assert "Job 'nope' not found in workspace 'default'." in text
    error, status, text = driver.refusal(client, STATUS, name="x", workspace="No Workspace")
    assert (error, status) == ("UnprocessableEntityError", 422)
    assert "workspace must be" in text
    error, status, _ = driver.refusal("plugin", LOGS, name="nope")
    assert (error, status) == ("NotFoundError", 404)


def test_trap_a_foreign_cursor_of_the_log_is_the_error_that_watch_understands(driver: Driver, say: Say) -> None:
    say(state="running")
    refused = driver.refusal("plugin", LOGS, name="data-import", query_params={"page_cursor": "?"})
    assert refused == ("UnprocessableEntityError", 422, "HTTP 422: Invalid page cursor")


def test_the_clients_turn_the_pages_of_a_list_and_filter_it(driver: Driver, server: Server) -> None:
    for i in range(5):
        state = "running" if i % 2 else "created"
        job = {"id": f"{i}", "workspace": "paged", "process": f"p{i}", "state": state, "name": f"import-{i}"}
        httpx.post(f"{server.url}/v1/jobs", json=job, timeout=WAIT).raise_for_status()

    def ids(client: str, **query: Any) -> str:
        asked = {"query_params": query} if client == "plugin" else query
        return "".join(job["id"] for job in driver.ask(client, LIST, workspace="paged", **asked))

    for client in BOTH:
        assert ids(client, page_size=2) == "43210"
        assert ids(client, page_size=2, sort="source") == "01234"
    assert ids("sdk", filter={"status": ["active"], "name": {"$like": "IMPORT"}}) == "31"
    assert ids("sdk", filter={"source": "p2", "created_at": {"$gte": "2020-01-01T00:00:00Z"}}) == "2"
    assert ids("plugin", filter='{"$or":[{"status":"active"},{"name":"import-0"}]}') == "310"


def test_the_waiting_loop_of_the_command_line_waits_to_the_end(driver: Driver, say: Say) -> None:
    say(state="running")
    driver.send("wait", "", name="data-import")
    say(progress=50)
    say(state="succeeded")
    assert driver.receive()["value"] is True
    driver.send("wait", "", name="nope")
    assert driver.receive()["value"] is False


def test_the_client_of_the_platforms_predecessor_reads_the_status_by_id(driver: Driver, say: Say) -> None:
    say(state="running", progress=45, steps=[{"name": "extract", "tasks": [{"name": "t", "error": "x"}]}])
    job = "test_the_client_of_the_platforms_predecessor_reads_the_status_by_id"
    found = driver.ask("old", {"old": "get_status"}, job_id=job)
    assert (found["job_id"], found["status"], found["status_details"]) == (job, "active", {"progress": "45%"})
    assert found["steps"][0]["tasks"][0]["error_details"] == {"message": "x"}


def test_the_command_line_prints_the_status(server: Server, say: Say, tmp_path: Path) -> None:
    say(state="running", progress=12.5)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NMP_BASE_URL": f"{server.url}/nemo"}
    command = [str(CLIENT / "nemo"), "jobs", "get-status", "data-import", "--workspace", "default"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=WAIT, check=True)
    printed = json.loads(done.stdout)
    assert (printed["status"], printed["status_details"]) == ("active", {"progress": "12.5%"})
