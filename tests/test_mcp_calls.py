"""`/mcp` over HTTP, in both eras of the protocol: the four tools, the refusals, and what is left when agents leave."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import mcp
from gateway.dialects.body import MAX_BODY
from gateway.dialects.canonical import Canonical
from gateway.dialects.mcp import Mcp
from gateway.service import Gateway
from tests.api import NDJSON, WAIT, Served, api, app_of, create, report, served
from tests.mcp_calls import ACCEPT, ERAS, Said, call, error, reply, request, said, tool
from tests.strategies import WILD, relaxed

SPOKEN = (Canonical, Mcp)
VECTORS = Path(__file__).parent / "vectors" / "mcp"
RECORDED = orjson.loads((VECTORS / "original" / "recorded.json").read_bytes())
both = pytest.mark.parametrize("era", ERAS)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, SPOKEN) as found:
        yield found


def gateway_of(client: httpx.AsyncClient) -> Gateway:
    gateway: Gateway = app_of(client).state.gateway
    return gateway


# The protocol


async def test_trap_the_older_era_begins_with_initialize_and_needs_no_session(client: httpx.AsyncClient) -> None:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "0"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    response = await client.post("/mcp", json=message, headers=ACCEPT)
    result = reply(response)["result"]
    assert result["protocolVersion"] == "2025-06-18"
    assert result["serverInfo"]["name"] == "mcp-background-job"
    assert "wait_for_job" in result["instructions"]
    assert "mcp-session-id" not in response.headers
    message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    response = await client.post("/mcp", json=message, headers=ACCEPT)
    assert response.status_code == 202
    assert response.content == b""


async def test_trap_the_newer_era_begins_with_discover(client: httpx.AsyncClient) -> None:
    result = reply(await client.post(**request(ERAS[1], "server/discover")))["result"]
    assert result["supportedVersions"] == [ERAS[1]]
    assert result["resultType"] == "complete"
    assert result["capabilities"]["tools"] == {"listChanged": False}


@both
async def test_the_tools_are_listed(client: httpx.AsyncClient, era: str) -> None:
    listed = reply(await client.post(**request(era, "tools/list")))["result"]["tools"]
    assert listed[:-1] == RECORDED["tools"]
    assert listed[-1]["name"] == "wait_for_job"


@both
async def test_an_unknown_method_is_told_so(client: httpx.AsyncClient, era: str) -> None:
    assert reply(await client.post(**request(era, "resources/list")))["error"]["code"] == -32601


@both
@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_the_address_answers_with_a_slash_at_its_end_and_without(
    client: httpx.AsyncClient, era: str, path: str
) -> None:
    assert not said(await client.post(**call(era, "list_jobs", {}) | {"url": path})).is_error


async def test_a_message_without_headers_of_its_era_is_of_the_older_one(client: httpx.AsyncClient) -> None:
    params = {"name": "get_job_status", "arguments": {"job_id": "nope"}}
    body = orjson.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params})
    response = await client.post("/mcp", content=body, headers={"Content-Type": "application/json", "Accept": "*"})
    assert said(response).texts == ["Job nope not found"]


# The tools


@both
@pytest.mark.parametrize("recorded", RECORDED["calls"], ids=lambda each: f"{each['tool']} {each['arguments']}")
async def test_a_recorded_call_gets_the_originals_answer(
    client: httpx.AsyncClient, era: str, recorded: dict[str, Any]
) -> None:
    found = await tool(client, recorded["tool"], era, **recorded["arguments"])
    result = recorded["result"]
    assert found.is_error == result["isError"]
    assert found.data == result.get("structuredContent")
    if "validation error" not in found.texts[0]:  # whose words stand in test_mcp
        assert found.texts == [result["content"][0]["text"]]


@both
async def test_a_status_is_shown_in_the_originals_words(client: httpx.AsyncClient, era: str) -> None:
    await create(client)
    for state, word in (("running", "running"), ("succeeded", "completed")):
        await report(client, state=state)
        assert await tool(client, "get_job_status", era, job_id="a") == Said(
            {"status": word}, [f'{{"status":"{word}"}}'], False
        )


async def test_jobs_are_listed_newest_start_first_with_the_text_saying_the_same(client: httpx.AsyncClient) -> None:
    for job in ("a", "b", "c"):
        await create(client, job, name=f"command {job}")
    assert (await report(client, "a", state="running")).status_code == 201
    found = await tool(client, "list_jobs")
    started = [job["started"] for job in found.data["jobs"]]
    assert started == sorted(started, reverse=True)
    assert {job["job_id"]: job["command"] for job in found.data["jobs"]} == {
        job: f"command {job}" for job in ("a", "b", "c")
    }
    assert [orjson.loads(text) for text in found.texts] == [found.data]


async def test_a_long_list_holds_the_newest_and_says_that_there_are_more(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "LISTED", 2)
    for job in ("a", "b", "c"):
        await create(client, job)
    found = await tool(client, "list_jobs")
    assert {job["job_id"] for job in found.data["jobs"]} == {"b", "c"}
    assert found.texts[1] == "Only the newest 2 are listed; there are more."
    monkeypatch.setattr(mcp, "LISTED_BYTES", 120)
    found = await tool(client, "list_jobs")
    assert [job["job_id"] for job in found.data["jobs"]] == ["c"]
    assert found.texts[1] == "Only the newest 1 are listed; there are more."


@both
@pytest.mark.parametrize("letter", ["x", "\1", '"', "é", "\U0001f600"], ids=ascii)
async def test_trap_no_list_is_too_large_for_the_clients_event(
    client: httpx.AsyncClient, era: str, letter: str
) -> None:
    lines = [orjson.dumps({"job": str(number), "name": letter * 1000}) for number in range(mcp.LISTED + 1)]
    assert (await client.post("/v1/events", content=b"\n".join(lines), headers=NDJSON)).status_code == 200
    response = await client.post(**call(era, "list_jobs", {}))
    assert len(response.content) < 2**20
    assert len(said(response).data["jobs"]) > 20
    assert "there are more" in said(response).texts[1]


@both
async def test_a_job_is_looked_for_in_the_workspace_that_the_address_names(client: httpx.AsyncClient, era: str) -> None:
    await create(client, workspace="team")
    asked = call(era, "get_job_status", {"job_id": "a"})
    assert said(await client.post(**asked)).texts == ["Job a not found"]
    assert said(await client.post(**asked | {"url": "/mcp?workspace=team"})).data == {"status": "running"}
    found = said(await client.post(**call(era, "list_jobs", {}) | {"url": "/mcp?workspace=team"}))
    assert [job["job_id"] for job in found.data["jobs"]] == ["a"]
    found = said(await client.post(**asked | {"url": "/mcp?workspace=No!"}))
    assert found.is_error
    assert found.texts[0].startswith("Failed to get job status: workspace must be")


@pytest.mark.parametrize("job_id", ["a b", "..", "é", "\0", "x" * 5000])
async def test_trap_what_can_be_no_id_is_a_job_that_is_not_found(client: httpx.AsyncClient, job_id: str) -> None:
    for name in ("get_job_status", "wait_for_job"):
        found = await tool(client, name, job_id=job_id)
        assert found == Said(None, [f"Job {job_id[:200]} not found"], True)
    assert (await tool(client, "kill_job", job_id=job_id)).data == {"status": "not_found"}


async def test_a_deleted_job_is_not_found(client: httpx.AsyncClient) -> None:
    await create(client, state="running")
    await report(client, state="failed")
    assert (await client.delete("/v1/jobs/a")).status_code == 204
    assert (await tool(client, "get_job_status", job_id="a")).texts == ["Job a not found"]
    assert (await tool(client, "kill_job", job_id="a")).data == {"status": "not_found"}


# Killing


@both
async def test_a_kill_is_a_wish_and_returns_when_the_producer_has_obeyed(
    client: httpx.AsyncClient, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "KILL_PATIENCE", WAIT)
    await create(client, state="running")
    job = (await client.get("/v1/jobs/a")).headers["etag"]
    kill = asyncio.create_task(tool(client, "kill_job", era, job_id="a"))
    wish = await client.get("/v1/jobs/a", headers={"If-None-Match": job, "Prefer": "wait=60"})
    assert wish.json()["state"] == "cancelling"
    assert (await tool(client, "get_job_status", era, job_id="a")).data == {"status": "running"}
    assert not kill.done()
    await report(client, state="cancelled")
    assert (await kill).data == {"status": "killed"}
    assert (await tool(client, "get_job_status", era, job_id="a")).data == {"status": "killed"}
    assert (await tool(client, "kill_job", era, job_id="a")).data == {"status": "already_terminated"}


async def test_a_job_that_never_began_is_killed_at_once(client: httpx.AsyncClient) -> None:
    await create(client)
    assert (await tool(client, "kill_job", job_id="a")).data == {"status": "killed"}
    assert (await client.get("/v1/jobs/a")).json()["state"] == "cancelled"


async def test_a_kill_that_the_producer_leaves_unanswered_stands(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "KILL_PATIENCE", 0.05)
    await create(client, state="running")
    assert (await tool(client, "kill_job", job_id="a")).data == {"status": "killed"}
    assert (await tool(client, "kill_job", job_id="a")).data == {"status": "killed"}
    assert (await client.get("/v1/jobs/a")).json()["state"] == "cancelling"


async def test_a_job_that_ended_by_itself_was_not_killed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "KILL_PATIENCE", WAIT)
    await create(client, state="running")
    kill = asyncio.create_task(tool(client, "kill_job", job_id="a"))
    async with asyncio.timeout(WAIT):
        while (await client.get("/v1/jobs/a")).json()["state"] != "cancelling":
            await asyncio.sleep(0.01)
    await report(client, state="succeeded")
    assert (await kill).data == {"status": "already_terminated"}


async def test_a_job_that_ends_while_it_is_killed_had_terminated(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(client, state="running")
    gateway = gateway_of(client)
    look = gateway.glance

    def look_too_early(workspace: str, job_id: str) -> Any:
        standing = look(workspace, job_id)
        monkeypatch.setattr(gateway, "glance", lambda *_: standing)
        return standing

    look_too_early("default", "a")
    await report(client, state="succeeded")
    assert (await tool(client, "kill_job", job_id="a")).data == {"status": "already_terminated"}


async def test_nothing_is_killed_while_the_gateway_shuts_down(client: httpx.AsyncClient) -> None:
    await create(client, state="running")
    gateway_of(client).drain()
    found = await tool(client, "kill_job", job_id="a")
    assert found.texts == ["Failed to kill job: the gateway is shutting down; nothing was written"]
    assert found.is_error


# Waiting


def waiting(client: httpx.AsyncClient) -> int:
    return sum(map(len, gateway_of(client).hub._waiting.values()))


async def until_waiting(client: httpx.AsyncClient, count: int) -> None:
    async with asyncio.timeout(WAIT):
        while waiting(client) != count:
            await asyncio.sleep(0.01)


@both
async def test_a_wait_returns_at_the_next_change(client: httpx.AsyncClient, era: str) -> None:
    await create(client, state="running")
    wait = asyncio.create_task(tool(client, "wait_for_job", era, job_id="a", timeout_s=3600))
    await until_waiting(client, 1)
    await report(client, progress=45, step="validating", message="2 of 4")
    position = (await client.get("/v1/jobs/a")).json()["position"]
    assert (await asyncio.wait_for(wait, WAIT)).data == {
        "changed": True, "position": position, "status": "running", "state": "running", "progress": 45.0,
        "step": "validating", "message": "2 of 4", "error": None,
    }  # fmt: skip


async def test_no_change_between_two_waits_is_missed(client: httpx.AsyncClient) -> None:
    await create(client)
    first = (await tool(client, "wait_for_job", job_id="a", timeout_s=0)).data
    await report(client, state="running")
    second = (await tool(client, "wait_for_job", job_id="a", after=first["position"])).data
    assert (second["changed"], second["state"]) == (True, "running")
    wait = asyncio.create_task(tool(client, "wait_for_job", job_id="a", after=second["position"]))
    await until_waiting(client, 1)
    await report(client, state="succeeded")
    assert (await wait).data["state"] == "succeeded"
    assert (await tool(client, "wait_for_job", job_id="a", after="of another life")).data["changed"]


@both
async def test_a_wait_until_the_end_sleeps_through_all_other_changes(client: httpx.AsyncClient, era: str) -> None:
    await create(client, state="running")
    wait = asyncio.create_task(tool(client, "wait_for_job", era, job_id="a", until="end"))
    for progress in (10, 20):
        await until_waiting(client, 1)
        await report(client, progress=progress)
    assert not wait.done()
    await report(client, state="failed", error="out of memory")
    found = (await asyncio.wait_for(wait, WAIT)).data
    assert (found["changed"], found["status"], found["error"]) == (True, "failed", "out of memory")


async def test_a_wait_for_a_job_that_has_ended_returns_at_once(client: httpx.AsyncClient) -> None:
    await create(client)
    await report(client, state="succeeded")
    found = await asyncio.wait_for(tool(client, "wait_for_job", job_id="a", timeout_s=3600), WAIT)
    assert (found.data["changed"], found.data["status"]) == (False, "completed")


async def test_a_wait_in_vain_says_that_nothing_changed(client: httpx.AsyncClient) -> None:
    await create(client)
    for seconds in (0, 0.05):
        found = await tool(client, "wait_for_job", job_id="a", timeout_s=seconds)
        assert (found.data["changed"], found.data["status"], found.data["state"]) == (False, "running", "pending")


async def test_a_job_that_is_deleted_during_the_wait_is_not_found(client: httpx.AsyncClient) -> None:
    await create(client, state="running")
    wait = asyncio.create_task(tool(client, "wait_for_job", job_id="a"))
    await until_waiting(client, 1)
    gateway = gateway_of(client)
    async with asyncio.TaskGroup() as both_at_once:
        both_at_once.create_task(report(client, state="failed"))
        both_at_once.create_task(gateway.delete("default", "a", by="x"))
    assert (await wait).texts == ["Job a not found"]


async def test_no_more_agents_wait_than_there_is_room_for(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "MAX_WAITING", 1)
    await create(client, state="running")
    wait = asyncio.create_task(tool(client, "wait_for_job", job_id="a"))
    await until_waiting(client, 1)
    found = await tool(client, "wait_for_job", job_id="a")
    assert found.texts == ["Failed to wait for job: 1 calls wait already; wait a little, then call again"]
    await report(client, state="failed")
    assert not (await wait).is_error
    assert not (await tool(client, "wait_for_job", job_id="a")).is_error


# Refusals


@pytest.mark.parametrize(
    "method, path, headers, body, expected",
    [
        ("GET", "/mcp", ACCEPT, b"", (405, -32600)),
        ("DELETE", "/mcp", ACCEPT, b"", (405, -32600)),
        ("PUT", "/mcp/", ACCEPT, b"", (405, -32600)),
        ("POST", "/mcp/sse", ACCEPT, b"{}", (404, -32600)),
        ("POST", "/mcp", ACCEPT, b"{}", (415, -32600)),
        ("POST", "/mcp", {"Content-Type": "text/plain"}, b"{}", (415, -32600)),
        ("POST", "/mcp", {"Content-Type": "application/json", "Accept": "application/json"}, b"{}", (406, -32600)),
        ("POST", "/mcp", {"Content-Type": "application/json", "Accept": "text/event-stream"}, b"{}", (406, -32600)),
        ("POST", "/mcp", {"Content-Type": "application/json"}, b"", (400, -32700)),
        ("POST", "/mcp", {"Content-Type": "application/json"}, b'{"id": NaN}', (400, -32700)),
        ("POST", "/mcp", {"Content-Type": "application/json"}, b'{"method": "\\ud800"}', (400, -32700)),
        ("POST", "/mcp", {"Content-Type": "application/json"}, b"[" * 100 + b"]" * 100, (400, -32700)),
        ("POST", "/mcp", {"Content-Type": "application/json"}, b'"' + b"x" * mcp.MAX_MESSAGE + b'"', (413, -32600)),
        ("POST", "/mcp", {"Content-Length": str(MAX_BODY + 1)}, b"", (413, -32600)),
        ("POST", "/mcp", {"Host": "evil.example"}, b"", (421, -32600)),
        ("POST", "/mcp", {"Origin": "https://evil.example"}, b"", (403, -32600)),
    ],
)
async def test_what_http_refuses_is_a_json_rpc_error(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], body: bytes, expected: tuple[int, int]
) -> None:
    response = await client.request(method, path, headers=headers, content=body)
    assert error(response, *expected)
    if response.status_code == 405:
        assert response.headers["allow"] == "POST, OPTIONS"


async def test_a_body_that_only_ends_in_json_is_taken_as_json(client: httpx.AsyncClient) -> None:
    asked = call(ERAS[0], "list_jobs", {})
    asked["headers"]["Content-Type"] = "application/vnd.x+json"
    assert not said(await client.post(**asked)).is_error


async def test_what_breaks_in_a_tool_is_told_without_details_and_logged_with_them(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("of the inside")

    monkeypatch.setattr(gateway_of(client), "jobs", broken)
    found = await tool(client, "list_jobs")
    assert found.is_error
    assert found.texts[0].startswith("Failed to list jobs: The gateway failed")
    assert "inside" not in found.texts[0]
    assert "ZeroDivisionError: of the inside" in caplog.text


# Without the extra


async def test_without_the_extra_the_endpoint_says_what_to_install_and_all_else_works(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "gateway.dialects.mcp_sdk", raising=False)
    monkeypatch.setitem(sys.modules, "mcp.server", None)  # Python's own mark of a module that can't be imported
    for era in ERAS:
        text = error(await client.post(**call(era, "list_jobs", {})), 503, -32603)
        assert text.startswith("MCP needs an extra that is not installed: pip install 'status-gateway[mcp]'")
    assert (await create(client))["state"] == "pending"


def test_the_sdk_is_not_loaded_before_somebody_asks_for_it() -> None:
    program = "import sys, gateway.app; print('mcp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"


# Garbage, and those who leave

MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | WILD,
        "id": st.integers(0, 9) | WILD,
        "method": st.sampled_from(["tools/call", "tools/list", "initialize", "server/discover", "ping"]) | WILD,
        "params": WILD
        | st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["get_job_status", "list_jobs", "kill_job"]) | WILD,
                "arguments": WILD | st.dictionaries(st.sampled_from(["job_id", "x"]), WILD),
                "_meta": WILD | st.just(request(ERAS[1], "ping")["json"]["params"]["_meta"]),
            },
        ),
    },
)


@st.composite
def posts(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    """A body, mostly almost a message, and headers."""
    body = draw(st.binary(max_size=40) | (MESSAGES | WILD | st.lists(MESSAGES, max_size=2)).map(orjson.dumps))
    headers = {"Content-Type": "application/json"}
    version = draw(st.sampled_from(["", *ERAS, "2024-11-05", "nonsense"]))
    if version:
        headers["MCP-Protocol-Version"] = version
    for name in ("Mcp-Method", "Mcp-Name", "Mcp-Session-Id"):
        if value := draw(st.sampled_from(["", "tools/call", "tools/list", "get_job_status"])):
            headers[name] = value
    return body, headers


async def test_no_message_breaks_anything(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()

    @settings(relaxed, max_examples=200)
    @given(posts())
    def send(post: tuple[bytes, dict[str, str]]) -> None:
        body, headers = post
        asking = client.post("/mcp", content=body, headers=headers)
        response = asyncio.run_coroutine_threadsafe(asking, loop).result(WAIT)
        assert response.status_code < 500, response.text
        if response.status_code != 202:
            message = reply(response)
            assert ("result" in message) != ("error" in message)

    with caplog.at_level(logging.ERROR):
        await asyncio.to_thread(send)
    assert not caplog.records
    assert (await tool(client, "list_jobs")).data == {"jobs": []}


async def leave(gateway: Served, era: str) -> None:
    """Call for a wait, and hang up as soon as it is under way."""
    asked = call(era, "wait_for_job", {"job_id": "a"})
    body = orjson.dumps(asked["json"])
    headers = asked["headers"] | {"Host": "localhost", "Content-Type": "application/json"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"POST /mcp HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    hub = gateway.app.state.gateway.hub
    async with asyncio.timeout(WAIT):
        while not hub._waiting:
            await asyncio.sleep(0.01)
        writer.close()
        while hub._waiting:
            await asyncio.sleep(0.01)


async def test_neither_many_calls_nor_agents_who_leave_leave_anything_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with served(tmp_path, SPOKEN) as gateway:
        await create(gateway.client, state="running")
        for era in ERAS:  # the first call of each: the connection, and sse-starlette's one watcher of the process
            await tool(gateway.client, "get_job_status", era, job_id="a")
        before = len(asyncio.all_tasks())
        for _ in range(50):
            for era in ERAS:
                assert not (await tool(gateway.client, "get_job_status", era, job_id="a")).is_error
        for era in ERAS:
            await leave(gateway, era)
        async with asyncio.timeout(WAIT):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.01)
    assert not caplog.records


@both
async def test_a_wait_is_answered_when_the_server_shuts_down(
    tmp_path: Path, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path, SPOKEN, grace=30.0) as gateway:
        await create(gateway.client, state="running")
        wait = asyncio.create_task(tool(gateway.client, "wait_for_job", era, job_id="a", until="end"))
        hub = gateway.app.state.gateway.hub
        async with asyncio.timeout(WAIT):
            while not hub._waiting:
                await asyncio.sleep(0.01)
    found = await wait
    assert (found.is_error, found.data["changed"], found.data["status"]) == (False, False, "running")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
