"""The client's calls: what they say to a real gateway, and when they are tried again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import UUID, uuid4

import pytest

from gateway.client import Client, ProblemError, Unreachable
from gateway.client.base import Backoff, clean, new_id, retry_after
from tests.faulty import Faulty, cut, document, hang, job, reply
from tests.processes import serving

PROBLEM = {"type": "urn:status-gateway:problem:unavailable", "title": "Unavailable", "detail": "later"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("log") / "status.db") as server:
        yield server.url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    """A client of a real gateway, in a workspace that nobody else uses."""
    async with Client(url, workspace=f"w{uuid4().hex}") as client:
        yield client


async def test_a_job_is_created_reported_read_and_listed(client: Client) -> None:
    made = await client.create(name="tiles", process="render", labels={"team": "geo"})
    assert (made["state"], made["name"], made["process"]) == ("pending", "tiles", "render")
    moment = datetime.now(UTC).replace(microsecond=0)
    told = await client.report(made["id"], state="running", progress=45, message="step 2", time=moment)
    assert (told["progress"], told["version"]) == (45, 2)
    assert datetime.fromisoformat(str(told["reported"])) == moment
    assert await client.status(made["id"]) == told
    assert [found["id"] async for found in client.jobs(state="running", label={"team": "geo"})] == [made["id"]]
    assert [found async for found in client.jobs(state=["failed"], label=["team:geo"])] == []


async def test_a_list_of_reports_counts_as_a_whole_or_not_at_all(client: Client) -> None:
    await client.create(id="a")
    with pytest.raises(ProblemError) as caught:
        await client.reports("a", [{"progress": 10}, {"state": "created"}])
    assert caught.value.status == 409
    assert (await client.status("a"))["version"] == 1
    assert (await client.reports("a", [{"state": "running"}, {"progress": 10}]))["version"] == 3


async def test_a_refusal_tells_status_kind_detail_and_what_helps(client: Client) -> None:
    await client.create(id="a")
    with pytest.raises(ProblemError, match="lease") as caught:
        await client.report("a", lease=-1)
    problem = caught.value
    assert (problem.status, problem.code, problem.title) == (400, "invalid-report", "Invalid report")
    assert problem.members["field"] == "lease"
    assert str(problem) == f"{problem.detail} (400 Invalid report)"


async def test_the_same_idempotency_key_counts_once(client: Client) -> None:
    first = await client.create(id="a", idempotency_key="k1")
    assert await client.create(id="a", idempotency_key="k1") == first
    told = await client.report("a", idempotency_key="k2", progress=1)
    await client.report("a", progress=2)
    assert await client.report("a", idempotency_key="k2", progress=1) == told


async def test_an_unchanged_job_is_none_and_a_wait_ends_with_the_change(client: Client) -> None:
    position = (await client.create(id="a"))["position"]
    assert await client.status("a", since=position) is None
    waiting = asyncio.create_task(client.status("a", since=position, wait=60))
    await asyncio.sleep(0)
    told = await client.report("a", progress=5)
    assert await asyncio.wait_for(waiting, 45) == told
    assert (await client.status("a", at=position))["version"] == 1


async def test_lists_and_history_go_over_page_after_page(client: Client) -> None:
    await client.create(id="a", state="running")
    for percent in range(1, 131):
        await client.report("a", progress=percent / 2)
    assert [entry["job"]["version"] async for entry in client.history("a")] == list(range(1, 132))
    assert [entry["event"] async for entry in client.history("a", limit=2)] == ["transition", "progress"]
    for number in range(120):
        await client.create(id=f"b{number}")
    newest = [f"b{number}" for number in reversed(range(120))]
    assert [found["id"] async for found in client.jobs()] == [*newest, "a"]
    assert [found["id"] async for found in client.jobs(limit=105)] == newest[:105]


async def test_wishes_and_deletion(client: Client) -> None:
    await client.create(id="a", state="running")
    assert (await client.pause("a"))["state"] == "pausing"
    assert (await client.report("a", state="paused"))["state"] == "paused"
    assert (await client.resume("a"))["state"] == "resuming"
    assert (await client.cancel("a"))["state"] == "cancelling"
    with pytest.raises(ProblemError, match="409"):
        await client.delete("a")
    await client.report("a", state="cancelled")
    await client.delete("a")
    with pytest.raises(ProblemError) as caught:
        await client.status("a")
    assert caught.value.status == 410


async def test_a_client_with_a_workspace_sees_its_own_jobs_only(url: str) -> None:
    async with Client(url, workspace="geo") as client, Client(url) as other:
        await client.create(id="a")
        await other.create(id="a", name="another")
        await client.report("a", message="mine")
        assert (await client.status("a"))["workspace"] == "geo"
        assert (await other.status("a"))["message"] is None
        assert [found["name"] async for found in client.jobs()] == ["a"]


async def test_one_report_has_one_key_however_often_it_is_sent() -> None:
    async with (
        Faulty(reply(503, PROBLEM), cut, reply(429), document(version=2)) as faulty,
        Client(faulty.url) as client,
    ):
        assert (await client.report("j", progress=1))["version"] == 2
        keys = {request.headers["idempotency-key"] for request in faulty.requests}
        assert len(faulty.requests) == 4
        assert len(keys) == 1


async def test_retry_after_is_waited_for() -> None:
    async with Faulty(reply(503, PROBLEM, Retry_After="1"), document()) as faulty, Client(faulty.url) as client:
        began = asyncio.get_running_loop().time()
        await client.status("j")
        assert asyncio.get_running_loop().time() - began >= 1


async def test_an_attempt_that_hangs_is_given_up_and_made_again() -> None:
    async with Faulty(hang, document()) as faulty, Client(faulty.url, timeout=0.2) as client:
        assert (await client.status("j"))["id"] == "j"


@pytest.mark.parametrize("status", [400, 404, 409, 500, 501])
async def test_a_no_is_not_asked_again(status: int) -> None:
    async with Faulty(reply(status)) as faulty, Client(faulty.url) as client:
        with pytest.raises(ProblemError) as caught:
            await client.report("j")
        assert (caught.value.status, caught.value.title, len(faulty.requests)) == (status, "Said", 1)


async def test_after_its_time_the_last_failure_is_raised() -> None:
    async with Faulty(reply(503, PROBLEM)) as faulty, Client(faulty.url, retry_for=0.3) as client:
        with pytest.raises(ProblemError, match="later"):
            await client.status("j")
    async with Client(faulty.url, retry_for=0.3) as client:
        with pytest.raises(Unreachable, match=r"the gateway at http://127\.0\.0\.1:\d+ can't be reached"):
            await client.status("j")


@pytest.mark.parametrize("body", [b"<html>", {"hello": "world"}, [1]])
async def test_what_is_no_gateway_is_said_to_be_none(body: object) -> None:
    async with Faulty(reply(200, body)) as faulty, Client(faulty.url, retry_for=0) as client:
        with pytest.raises(Unreachable, match="not as a status gateway"):
            await client.status("j")


async def test_a_deletion_whose_answer_got_lost_is_done() -> None:
    gone = reply(410, {"title": "Job deleted", "detail": "gone"})
    async with Faulty(cut, gone) as faulty, Client(faulty.url) as client:
        await client.delete("j")
    async with Faulty(gone) as faulty, Client(faulty.url) as client:
        with pytest.raises(ProblemError, match="gone"):
            await client.delete("j")


async def test_a_wish_whose_answer_got_lost_is_made_with_the_same_key() -> None:
    async with Faulty(cut, document(state="cancelled")) as faulty, Client(faulty.url) as client:
        await client.cancel("j")
        assert len({request.headers["idempotency-key"] for request in faulty.requests}) == 1


async def test_the_key_and_odd_ids_arrive_as_they_are() -> None:
    async with Faulty(reply(200, job())) as faulty, Client(faulty.url + "/mounted/", key="secret") as client:
        await client.status("a:b~c/../d")
        assert faulty.requests[0].target == "/mounted/v1/jobs/a:b~c%2F..%2Fd"
        assert faulty.requests[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://host/?q=1", "http://[::1"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Client(url)


async def test_an_empty_id_is_refused_before_it_becomes_the_list() -> None:
    client = Client()
    with pytest.raises(ValueError, match="id must not be empty"):
        await client.status("")
    await client.close()


def test_waits_grow_up_to_a_bound_and_start_again_after_a_success() -> None:
    backoff = Backoff(first=1, longest=4)
    assert all(backoff.next() <= ceiling for ceiling in (1, 2, 4, 4, 4))
    backoff.reset()
    assert 3 <= backoff.next(at_least=3) <= 4


def test_retry_after_is_a_number_or_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=900), usegmt=True)
    assert retry_after("7") == 7
    assert 800 <= retry_after(later) <= 900
    assert retry_after(later.replace("GMT", "-0000")) > 800
    assert [retry_after(value) for value in (None, "", "soon", "Mon, 01 Jan 2001 00:00:00 GMT")] == [0, 0, 0, 0]


def test_new_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    ids = [UUID(new_id()) for _ in range(100)]
    assert {one.version for one in ids} == {7}
    assert len(set(ids)) == 100
    assert abs((ids[0].int >> 80) / 1000 - datetime.now(UTC).timestamp()) < 60


def test_clean_text_can_be_written_as_json() -> None:
    assert clean("a\udcffb\ud800 ü") == "a?b? ü"
