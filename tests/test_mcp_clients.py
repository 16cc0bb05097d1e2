"""The real clients of MCP, unchanged, against the gateway as its users start it: whole lives of jobs, kills, waits."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import Server, serving, start_cli

ROOT = Path(__file__).parent.parent
CLIENTS = ("mcp", "mcp legacy", "session", "fastmcp", "fastmcp legacy")
BOUND = 60.0  # seconds; an answer takes milliseconds, and loading FastMCP a few seconds
each = pytest.mark.parametrize("name", CLIENTS)
Answer = dict[str, Any]


class Agent:
    """The program with the real clients in it; see tests/clients/mcp_agent.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._answers: dict[int, Future[Answer]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, client: str, *words: Any) -> Future[Answer]:
        """What a client is to do; its answer comes when it is there."""
        number = next(self._numbers)
        future: Future[Answer] = Future()
        self._answers[number] = future
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([number, client, *words]) + "\n")
        self._process.stdin.flush()
        return future

    def later(self, client: str, tool: str, **arguments: Any) -> Future[Answer]:
        """A call's answer, which takes its time."""
        return self.ask(client, "call", tool, arguments)

    def call(self, client: str, tool: str, **arguments: Any) -> Answer:
        """A call's answer."""
        return self.later(client, tool, **arguments).result(BOUND)

    def status(self, client: str, job: str) -> Any:
        """A job's status, as the client's own types hold it."""
        answer = self.call(client, "get_job_status", job_id=job)
        assert answer["typed"] in (None, answer["data"])
        return answer["data"]["status"]

    def end(self) -> None:
        """Let the program end, which it does when nobody asks any more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(BOUND)
        finally:
            self._process.kill()
            self._process.wait(BOUND)
            self._reader.join(BOUND)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                answer = json.loads(line)
                self._answers[answer["number"]].set_result(answer)


@contextmanager
def agent_at(url: str) -> Iterator[Agent]:
    """The clients, at work with the gateway at a URL."""
    command = [str(ROOT / ".clients/mcp/bin/python"), str(ROOT / "tests/clients/mcp_agent.py"), f"{url}/mcp"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    agent = Agent(process)
    try:
        yield agent
    finally:
        agent.end()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("mcp") / "status.db") as found:
        yield found


@pytest.fixture(scope="module")
def agent(server: Server) -> Iterator[Agent]:
    with agent_at(server.url) as found:
        yield found


class Producer:
    """Reports what happens to jobs of a test, and hears of wishes."""

    def __init__(self, http: httpx.Client, prefix: str) -> None:
        self._http, self._prefix = http, prefix

    def create(self, job: str = "job", **said: Any) -> str:
        """A new job's id."""
        answer = self._http.post("/v1/jobs", json={"id": f"{self._prefix}-{job}", **said})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def say(self, job: str, **said: Any) -> None:
        """A report."""
        assert self._http.post(f"/v1/jobs/{job}/events", json=said).status_code == 201

    def hears_of_a_cancel(self, job: str) -> None:
        """Returns when the job's wish is there."""
        state, etag = "running", "x"
        end = time.monotonic() + BOUND
        while state != "cancelling":
            assert time.monotonic() < end
            answer = self._http.get(f"/v1/jobs/{job}", headers={"If-None-Match": etag, "Prefer": "wait=10"})
            if answer.status_code == 200:
                state, etag = answer.json()["state"], answer.headers["etag"]


@contextmanager
def producing(url: str, prefix: str) -> Iterator[Producer]:
    """A producer whose jobs' ids begin with the prefix."""
    with httpx.Client(base_url=url, timeout=BOUND) as http:
        yield Producer(http, prefix)


@pytest.fixture
def producer(server: Server, request: pytest.FixtureRequest) -> Iterator[Producer]:
    with producing(server.url, "".join(filter(str.isalnum, request.node.name))[-60:]) as found:
        yield found


@each
def test_a_client_follows_a_whole_life(agent: Agent, producer: Producer, name: str) -> None:
    job = producer.create(name="tiles --year 2026")
    assert agent.status(name, job) == "running"
    producer.say(job, state="running", progress=10)
    assert agent.status(name, job) == "running"
    (listed,) = [each for each in agent.call(name, "list_jobs")["data"]["jobs"] if each["job_id"] == job]
    assert (listed["status"], listed["command"]) == ("running", "tiles --year 2026")
    wait = agent.later(name, "wait_for_job", job_id=job, until="end")
    producer.say(job, progress=90, message="nearly")
    producer.say(job, state="succeeded")
    found = wait.result(BOUND)["data"]
    assert (found["state"], found["progress"], found["message"]) == ("succeeded", 100.0, "nearly")
    assert agent.status(name, job) == "completed"


@each
def test_every_kind_of_line_break_reaches_a_client(agent: Agent, producer: Producer, name: str) -> None:
    job = producer.create(state="running", message="a\u2028b\x85c\r\n\n: d\U0001f600")
    answer = agent.call(name, "wait_for_job", job_id=job, timeout_s=0)
    assert answer["data"]["message"] == "a\u2028b\x85c\r\n\n: d\U0001f600"
    assert json.loads(answer["texts"][0]) == answer["data"]


@each
def test_a_client_sees_every_end(agent: Agent, producer: Producer, name: str) -> None:
    for state, word in (("succeeded", "completed"), ("failed", "failed"), ("cancelled", "killed")):
        job = producer.create(state, state="running")
        producer.say(job, state=state)
        assert agent.status(name, job) == word
        assert agent.call(name, "kill_job", job_id=job)["data"] == {"status": "already_terminated"}


@each
def test_a_kill_reaches_the_producer_as_a_wish(agent: Agent, producer: Producer, name: str) -> None:
    job = producer.create(state="running")
    kill = agent.later(name, "kill_job", job_id=job)
    producer.hears_of_a_cancel(job)
    producer.say(job, state="cancelled")
    assert kill.result(BOUND)["data"] == {"status": "killed"}
    assert agent.status(name, job) == "killed"


def text_of(answer: Answer) -> str:
    """The text of a tool's error, which FastMCP raises and the SDK returns."""
    if "error" in answer:
        assert answer["error"] == "ToolError"
        return str(answer["text"])
    assert answer["is_error"]
    assert answer["data"] is None
    return "\n".join(answer["texts"])


@each
def test_a_client_is_told_of_an_unknown_job_and_of_bad_arguments(agent: Agent, name: str) -> None:
    assert text_of(agent.call(name, "get_job_status", job_id="nope")) == "Job nope not found"
    assert text_of(agent.call(name, "get_job_status", job_id="no id!")) == "Job no id! not found"
    assert text_of(agent.call(name, "wait_for_job", job_id="nope")) == "Job nope not found"
    assert agent.call(name, "kill_job", job_id="nope")["data"] == {"status": "not_found"}
    missing = "1 validation error for call[get_job_status]\njob_id\n  Missing required argument"
    assert text_of(agent.call(name, "get_job_status")) == missing
    assert text_of(agent.call(name, "no_such_tool")) == "Unknown tool: 'no_such_tool'"


@each
def test_a_client_lists_the_tools_with_their_schemas(agent: Agent, name: str) -> None:
    tools = {tool["name"]: tool for tool in agent.ask(name, "tools").result(BOUND)["tools"]}
    assert set(tools) == {"list_jobs", "get_job_status", "kill_job", "wait_for_job"}
    assert tools["get_job_status"]["title"] == "Get Job Status"
    assert tools["get_job_status"]["outputSchema"]["required"] == ["status"]


def test_an_agent_kills_a_command_that_really_runs(server: Server, agent: Agent) -> None:
    process = start_cli(["run", "--id", "sleeper", "--", "sleep", "60"], server.url)
    try:
        end = time.monotonic() + BOUND
        while (answer := agent.call("fastmcp", "wait_for_job", job_id="sleeper", timeout_s=0)).get("error"):
            assert time.monotonic() < end, answer
        while (found := answer["data"])["state"] != "running":
            answer = agent.call("fastmcp", "wait_for_job", job_id="sleeper", after=found["position"])
            assert time.monotonic() < end, answer
        assert agent.call("fastmcp", "kill_job", job_id="sleeper")["data"] == {"status": "killed"}
        end_of_it = agent.call("fastmcp", "wait_for_job", job_id="sleeper", until="end", timeout_s=BOUND - 2)
        assert end_of_it["data"]["status"] == agent.status("fastmcp", "sleeper") == "killed"
        assert process.wait(BOUND) != 0
    finally:
        process.kill()
        process.communicate()


def test_sessions_go_on_after_a_restart_and_open_waits_do_not_hold_up_the_end(tmp_path: Path) -> None:
    database = tmp_path / "status.db"
    with (
        serving(database, "--grace", "20") as server,
        agent_at(server.url) as agent,
        producing(server.url, "x") as producer,
    ):
        job = producer.create(state="running")
        waits = [agent.later(name, "wait_for_job", job_id=job, until="end", timeout_s=600) for name in CLIENTS]
        # What each client asked after it has been answered; so what it asked before is under way.
        changes = [agent.later(name, "wait_for_job", job_id=job) for name in CLIENTS]
        begin = time.monotonic()
        while not_yet := concurrent.futures.wait(changes, timeout=0.05).not_done:
            producer.say(job, message=f"{len(not_yet)} have not heard of a change at {time.monotonic()}")
            assert time.monotonic() - begin < BOUND
        begin = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - begin < 20
        for wait in waits:
            answer = wait.result(BOUND)
            assert (answer["is_error"], answer["data"]["status"]) == (False, "running")
        assert "Traceback" not in server.log
        assert " mcp" not in server.log
        server.start()
        for name in CLIENTS:
            assert agent.status(name, job) == "running"


def test_without_the_extra_a_client_is_told_what_to_install(tmp_path: Path) -> None:
    # The same command line in a Python that can't import the SDK, as if it were not installed.
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text("import sys\nsys.modules['mcp'] = None\n")
    with (
        serving(tmp_path / "status.db", variables={"PYTHONPATH": str(tmp_path)}) as server,
        agent_at(server.url) as agent,
    ):
        for name in CLIENTS:
            answer = agent.call(name, "list_jobs")
            assert "pip install 'status-gateway[mcp]'" in answer["text"], answer
        assert httpx.get(f"{server.url}/v1/jobs", timeout=BOUND).status_code == 200
