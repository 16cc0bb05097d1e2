"""Real clients of Weaver's dialect over real sockets: OWSLib, and the requests that WeaverClient makes."""

import asyncio
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.client import SyncClient
from tests.api import Served, create, report, served
from tests.processes import environment, serving, start_cli

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".clients" / "weaver" / "bin" / "python"
ID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
OTHER = "b1b2c3d4-e5f6-7890-abcd-ef1234567890"
ANSWER = 60.0  # seconds for an answer of the clients; they are on this machine
JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


class Clients:
    """The clients in a process of their own environment, asked line by line."""

    def __init__(self) -> None:
        script = Path(__file__).parent / "clients" / "weaver.py"
        assert PYTHON.exists(), "the clients' environment is missing: make .clients/weaver.stamp"
        self._process = subprocess.Popen(
            [str(PYTHON), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(NO_PROXY="127.0.0.1"),
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """What the clients make of it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        late = threading.Timer(ANSWER, self._process.kill)
        late.start()
        try:
            return json.loads(self._process.stdout.readline())
        finally:
            late.cancel()

    def close(self) -> None:
        """End them."""
        self._process.communicate(timeout=ANSWER)


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    found = Clients()
    yield found
    found.close()


class Asked:
    """A gateway with a job, and the clients that ask for it while the test goes on reporting."""

    def __init__(self, gateway: Served, clients: Clients) -> None:
        self.gateway, self.client, self._clients = gateway, gateway.client, clients
        self.base = f"http://127.0.0.1:{gateway.port}/weaver"

    async def ask(self, do: str, **arguments: Any) -> Any:
        """What a client makes of an answer; the gateway answers in the meantime."""
        if do != "checked":
            arguments["base"] = self.base
        return await asyncio.to_thread(self._clients.ask, do, **arguments)

    async def checked(self, job: str = ID, **arguments: Any) -> Any:
        """What OWSLib's WPSExecution makes of the job's document."""
        return await self.ask("checked", location=f"{self.base}/jobs/{job}?f=xml", **arguments)

    async def status(self, job: str = ID) -> Any:
        """What OWSLib's client of OGC API - Processes makes of the job's status."""
        return (await self.ask("asked", path=f"jobs/{job}"))["body"]


@pytest.fixture
async def asked(tmp_path: Path, clients: Clients) -> AsyncIterator[Asked]:
    async with served(tmp_path) as gateway:
        yield Asked(gateway, clients)


# OWSLib


@pytest.mark.parametrize(
    "end, element, percent, word",
    [
        ({"state": "succeeded", "message": "Job successful."}, "ProcessSucceeded", 100, "succeeded"),
        ({"state": "failed", "error": {"message": "disk full", "code": "NoSpace"}}, "Exception", 45, "failed"),
        ({"state": "cancelled"}, "Exception", 45, "dismissed"),
    ],
)
async def test_owslib_follows_a_job_from_queued_to_each_end(
    asked: Asked, end: dict[str, Any], element: str, percent: int, word: str
) -> None:
    await create(asked.client, ID, process="my-process")
    found = await asked.checked()
    assert (found["status"], found["complete"]) == ("ProcessAccepted", False)
    assert found["message"] == "Job task submitted for execution."
    assert (await asked.status())["status"] == "accepted"

    await report(asked.client, ID, state="running", progress=45, message="Processing step 2 of 4")
    found = await asked.checked()
    assert (found["status"], found["percent"], found["complete"]) == ("ProcessStarted", 45, False)
    assert (found["message"], found["process"]) == ("Processing step 2 of 4", "my-process")
    assert found["location"] == f"{asked.base}/jobs/{ID}?f=xml"
    answer = await asked.status()
    assert (answer["status"], answer["progress"], answer["message"]) == ("running", 45, "Processing step 2 of 4")

    await asked.client.post(f"/v1/jobs/{ID}/pause")
    await report(asked.client, ID, state="paused")
    found = await asked.checked()
    assert (found["status"], found["percent"], found["complete"]) == ("ProcessPaused", 45, False)
    assert (await asked.status())["status"] == "running"

    await report(asked.client, ID, **end)
    found = await asked.checked()
    assert (found["status"], found["complete"]) == (element, True)
    assert found["succeeded"] == (word == "succeeded")
    expected = {"failed": [["NoSpace", None, "disk full"]], "dismissed": [["JobDismissed", None, "Job dismissed."]]}
    assert found["errors"] == expected.get(word, [])
    answer = await asked.status()
    assert (answer["status"], answer["progress"]) == (word, percent)


async def test_owslib_follows_the_documents_own_location_and_takes_xml_by_accept(asked: Asked) -> None:
    await create(asked.client, ID)
    await report(asked.client, ID, state="running", progress=45)
    found = await asked.checked(again=True)
    assert (found["status"], found["percent"]) == ("ProcessStarted", 45)
    accept = {"Accept": "text/xml"}
    found = await asked.ask("checked", location=f"{asked.base}/jobs/{ID}", headers=accept)
    assert found["status"] == "ProcessStarted"


async def test_owslib_reads_whatever_a_producer_said(asked: Asked) -> None:
    text = "\0<&\x1b]]> \u2028\U0001f600"
    await create(asked.client, "tiles", process="a/b & c", workspace="geo")
    await asked.client.post("/v1/jobs/tiles/events?workspace=geo", json={"state": "failed", "error": text})
    found = await asked.ask("checked", location=f"{asked.base}/jobs/tiles?f=xml&workspace=geo", again=True)
    assert found["errors"] == [["NoApplicableCode", None, "\ufffd<&\ufffd]]> \u2028\U0001f600"]]
    assert (found["process"], found["complete"]) == ("a/b & c", True)


async def test_owslib_is_told_in_ogcs_words_of_a_job_that_is_not_there(asked: Asked) -> None:
    for job, status in ((OTHER, 404), ("nope", 400)):
        told = json.loads((await asked.ask("asked", path=f"jobs/{job}"))["error"])
        assert (told["status"], told["title"]) == (status, "NoSuchJob")
        assert (await asked.checked(job))["status"] is None  # as before it asked


async def test_owslib_finds_json_at_the_root_and_what_this_conforms_to(asked: Asked) -> None:
    found = await asked.ask("conforms")
    assert any(link["rel"].endswith("/job-list") for link in found["links"])
    assert found["conformance"]["conformsTo"]
    await create(asked.client, ID)
    assert (await asked.ask("asked", path="jobs?limit=5"))["body"]["jobs"] == [ID]


# WeaverClient


@pytest.mark.parametrize("end, word, success", [("succeeded", "succeeded", True), ("failed", "failed", False),
                                                ("cancelled", "dismissed", False)])  # fmt: skip
async def test_weavers_monitor_ends_when_the_job_does_and_tells_success_from_the_rest(
    asked: Asked, end: str, word: str, success: bool
) -> None:
    await create(asked.client, ID, state="created")
    waiting = asyncio.create_task(asked.ask("monitor", reference=ID))
    for said in ({"state": "pending"}, {"state": "running", "progress": 10}, {"progress": 50}, {"state": end}):
        await report(asked.client, ID, **said)
    found = await waiting
    assert (found["success"], found["code"], found["body"]["status"]) == (success, 200, word)


async def test_weavers_status_succeeds_for_a_failed_job_too_and_its_message_is_the_jobs(asked: Asked) -> None:
    await create(asked.client, ID)
    await report(asked.client, ID, state="failed", message="Job failed.", error="disk full")
    found = await asked.ask("get", reference=ID)
    assert (found["success"], found["code"], found["message"]) == (True, 200, "Job failed.")
    assert found["body"]["exception"]["detail"] == "disk full"
    (text,) = [item["Text"] for item in (await asked.ask("get", reference=ID, part="/exceptions"))["body"]]
    assert text == "disk full"
    assert len((await asked.ask("get", reference=ID, part="/logs"))["body"]) == 2
    found = await asked.ask("get", reference=ID, part="/results")
    assert (found["success"], found["code"], found["body"]["cause"]) == (False, 400, "disk full")


async def test_weaver_takes_every_link_of_a_status_for_a_job_as_it_stands(asked: Asked) -> None:
    await create(asked.client, ID, process="my-process")
    links = (await asked.ask("get", reference=ID))["body"]["links"]
    followed = [link["href"] for link in links if link["rel"] in ("status", "monitor", "self")]
    assert len(followed) == 3
    for href in followed:
        assert (await asked.ask("get", reference=href))["body"]["jobID"] == ID


async def test_weaver_is_told_why_it_is_refused_and_its_monitor_ends_at_once(asked: Asked) -> None:
    found = await asked.ask("get", reference=OTHER)
    assert (found["success"], found["code"]) == (False, 404)
    assert found["message"] == "Could not find job with specified reference."
    found = await asked.ask("get", reference="nope")
    assert (found["code"], found["message"]) == (400, "Invalid job reference is not a valid UUID.")
    found = await asked.ask("monitor", reference=OTHER)
    assert (found["success"], found["message"]) == (False, "Could not find job with specified reference.")


async def test_weavers_dismissal_is_a_wish_that_the_producer_fulfils_and_a_second_one_is_refused(asked: Asked) -> None:
    await create(asked.client, ID)
    await report(asked.client, ID, state="running", progress=30)
    found = await asked.ask("dismiss", reference=ID)
    assert (found["success"], found["message"], found["body"]["percentCompleted"]) == (True, "Job dismissed.", 30)
    found = await asked.ask("dismiss", reference=ID)
    assert (found["success"], found["code"]) == (False, 410)
    monitoring = asyncio.create_task(asked.ask("monitor", reference=ID))
    answer = await report(asked.client, ID, progress=31)
    assert answer.json()["state"] == "cancelling"
    await report(asked.client, ID, state="cancelled", message="Job dismissed.")
    found = await monitoring
    assert (found["success"], found["body"]["status"], found["message"]) == (False, "dismissed", "Job dismissed.")


async def test_weaver_gets_the_results_that_the_producers_link_leads_to(asked: Asked) -> None:
    await create(asked.client, OTHER)
    await create(asked.client, ID)
    results = {"rel": "results", "href": f"{asked.base}/jobs/{OTHER}"}  # any document will do
    await report(asked.client, ID, state="succeeded", links=[results])
    found = await asked.ask("get", reference=ID, part="/results")
    assert (found["success"], found["body"]["jobID"]) == (True, OTHER)
    found = await asked.ask("get", reference=OTHER, part="/results")
    assert (found["success"], found["code"]) == (False, 404)


async def test_weaver_lists_jobs_with_the_filters_that_it_sends(asked: Asked) -> None:
    await create(asked.client, ID, process="my-process")
    await create(asked.client, OTHER)
    await report(asked.client, OTHER, state="failed")
    assert (await asked.ask("jobs"))["body"]["jobs"] == [OTHER, ID]
    assert (await asked.ask("jobs", status="FAILED", page=0, limit=5))["body"]["jobs"] == [OTHER]
    assert (await asked.ask("jobs", process="my-process", detail=True))["body"]["jobs"][0]["status"] == "accepted"
    found = await asked.ask("jobs", page=1)
    assert (found["success"], found["message"]) == (False, "Page index 1 is out of range from [0,0].")


async def test_trap_weaver_sends_a_content_type_without_a_body(asked: Asked) -> None:
    await create(asked.client, ID)
    for method, path in (("GET", ""), ("GET", "/logs"), ("DELETE", "")):
        answer = await asked.client.request(method, f"/weaver/jobs/{ID}{path}", headers=JSON_HEADERS)
        assert answer.status_code == 200


async def test_trap_only_200_keeps_weavers_monitor_going(asked: Asked) -> None:
    await create(asked.client, ID, state="created")
    answers = []
    for state in ("created", "pending", "running", "paused", "retrying", "unknown", "succeeded"):
        await report(asked.client, ID, state=state)
        answers.append((await asked.client.get(f"/weaver/jobs/{ID}", headers=JSON_HEADERS)).status_code)
    assert answers == [200] * 7


def test_trap_the_prefix_holds_nothing_at_which_weaver_cuts_its_base_url() -> None:
    for word in ("processes", "jobs", "providers"):
        assert f"/{word}" not in "http://127.0.0.1:8000/weaver"


# A job that really runs


def test_a_command_that_runs_as_a_job_is_monitored_to_its_end_by_weaver_and_owslib(
    tmp_path: Path, clients: Clients
) -> None:
    with serving(tmp_path / "status.db") as server:
        base = f"{server.url}/weaver"
        arguments = ["run", "--id", ID, "--process", "my-process", "--", "cat"]
        with start_cli(arguments, server.url) as command, SyncClient(server.url) as watcher:
            for document in watcher.watch_many(jobs=[ID], patience=ANSWER):
                if document["state"] == "running":
                    break
            found = clients.ask("get", base=base, reference=ID)
            assert (found["body"]["status"], found["body"]["processID"]) == ("running", "my-process")
            assert clients.ask("checked", location=f"{base}/jobs/{ID}?f=xml")["status"] == "ProcessStarted"
            command.communicate(b"", timeout=ANSWER)  # the end of its input, and so of the command
        assert clients.ask("monitor", base=base, reference=ID)["success"]
        assert clients.ask("checked", location=f"{base}/jobs/{ID}?f=xml")["succeeded"]
        lines = clients.ask("get", base=base, reference=ID, part="/logs")["body"]
        assert " running " in lines[-2]
        assert " succeeded " in lines[-1]
