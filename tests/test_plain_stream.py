"""A stream for people: one readable line a change, from `curl -N -H 'Accept: text/plain'`, to the end of the job."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import frames, plain
from gateway.frames import Form
from gateway.job import Job
from gateway.record import PROGRESS, TRANSITION, Record, as_json, document
from tests.api import WAIT, Served, api, create, report, served
from tests.processes import Server, serving
from tests.strategies import NEW_JOBS, TEXTS, relaxed

PLAIN = {"Accept": "text/plain"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
EVENTS = "/v1/jobs/a/events"
HOSTILE = "\x1b[2J\x1b]0;title\x07 a\nb\r\nc\x9b31m\u202ed\u2066e\u2028f\x00g\u200eh"


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        yield found


@asynccontextmanager
async def lines(at: Served, path: str = EVENTS, **headers: str) -> AsyncIterator[AsyncIterator[str]]:
    """What a terminal shows, a line at a time."""
    async with asyncio.timeout(WAIT), at.client.stream("GET", path, headers={**PLAIN, **headers}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.headers["x-accel-buffering"] == "no"

        async def shown() -> AsyncIterator[str]:
            buffer = ""
            async for text in response.aiter_text():
                *whole, buffer = (buffer + text).split("\n")
                for line in whole:
                    yield line.lstrip("\r")
            assert buffer.strip("\r") == "", f"a line without its end: {buffer!r}"

        yield shown()


async def test_each_change_is_a_line_with_its_time_and_the_last_line_is_the_end(at: Served) -> None:
    await create(at.client, name="tiles")
    async with lines(at) as shown:
        assert re.fullmatch(rf"{TIME} default/a pending", await anext(shown))
        await report(at.client, state="running")
        assert re.fullmatch(rf"{TIME} default/a running", await anext(shown))
        await report(at.client, progress=45.5, step="validating", message="step 2 of 4")
        assert re.fullmatch(rf"{TIME} default/a running    45\.5 % validating: step 2 of 4", await anext(shown))
        await report(at.client, state="retrying")
        assert re.fullmatch(
            rf"{TIME} default/a retrying          attempt 2 validating: step 2 of 4", await anext(shown)
        )
        await report(at.client, state="failed", error="no space left")
        assert (await anext(shown)).endswith(" attempt 2 validating: step 2 of 4 error: no space left")
        assert [line async for line in shown] == []


async def test_a_finished_job_is_one_line(at: Served) -> None:
    await create(at.client)
    await report(at.client, state="succeeded")
    async with lines(at) as shown:
        (line,) = [line async for line in shown]
    assert re.fullmatch(rf"{TIME} default/a succeeded", line)


@pytest.mark.parametrize("way", ["header", "query"])
async def test_a_cursor_goes_on_where_it_says(at: Served, way: str) -> None:
    await create(at.client)
    position = (await report(at.client, state="running")).json()["position"]
    await report(at.client, message="one")
    await report(at.client, state="succeeded")
    path, headers = (f"{EVENTS}?after={position}", {}) if way == "query" else (EVENTS, {"Last-Event-ID": position})
    async with lines(at, path, **headers) as shown:
        found = [line async for line in shown]
    assert [line.split()[2:] for line in found] == [["running", "one"], ["succeeded", "one"]]
    end = (await at.client.get("/v1/jobs/a")).json()["position"]
    assert (await at.client.get(f"{EVENTS}?after={end}", headers=PLAIN)).status_code == 204


async def test_a_cursor_that_means_nothing_is_told_of(at: Served) -> None:
    await create(at.client)
    await report(at.client, state="cancelled")
    async with lines(at, **{"Last-Event-ID": "aaaaaaaa-1"}) as shown:
        note, line = [line async for line in shown]
    assert note == "# the cursor can't be resumed from (foreign); what stands now follows"
    assert line.endswith("default/a cancelled")


async def test_many_jobs_stand_in_one_stream(at: Served) -> None:
    async with lines(at, "/v1/events?workspace=geo") as shown:
        assert await anext(shown) == "# no job matches yet; it will be shown when one does"
        await create(at.client, "b", workspace="geo", state="running")
        assert (await anext(shown)).endswith("geo/b running")
        await at.client.post("/v1/jobs/b/events?workspace=geo", json={"state": "succeeded"})
        assert (await anext(shown)).endswith("geo/b succeeded")
        await at.client.delete("/v1/jobs/b?workspace=geo")
        assert re.fullmatch("- +geo/b deleted", await anext(shown))


async def test_a_heartbeat_shows_nothing_but_keeps_the_connection(at: Served) -> None:
    await create(at.client)
    async with asyncio.timeout(WAIT), at.client.stream("GET", EVENTS, headers=PLAIN) as response:
        pieces = response.aiter_bytes()
        seen = await anext(pieces)
        while not seen.endswith(plain.QUIET):
            seen += await anext(pieces)
        await at.app.state.gateway.hub.beat()
        assert await anext(pieces) == plain.QUIET == b"\r"


async def test_what_a_job_says_moves_no_cursor_and_makes_no_line(at: Served) -> None:
    await create(at.client, state="running", message=HOSTILE, step=HOSTILE.replace("\0", ""))
    await report(at.client, state="failed", error=HOSTILE)
    async with lines(at) as shown:
        (line,) = [line async for line in shown]
    assert line.isprintable()
    assert "[2J ]0;title a b c 31m d e f g h" in line


@relaxed
@given(NEW_JOBS, st.sampled_from([TRANSITION, PROGRESS]))
def test_whatever_a_job_says_it_is_one_line_of_bounded_length(job: Job, event: str) -> None:
    written = frames.of_record(Record(7, "k7f3q2ab-7", event, "me", job.key, document(job)), Form("text")).decode()
    assert written.endswith("\n")
    assert len(written.splitlines()) == 1
    assert len(written) < 3 * plain.MAX_TEXT + 400
    assert written.startswith(f"{job.updated} {job.workspace}/{job.id} {job.state}")


@relaxed
@given(TEXTS)
def test_a_line_of_text_holds_no_control_characters(text: str) -> None:
    line = plain.one_line(text)
    assert not plain.CONTROL.search(line.replace(" ", ""))
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    "event, data, expected",
    [
        ("busy", {"retry": 12345}, b"# too many readers; come back in 12 s\n"),
        ("end", {"reason": "unauthorized"}, b"# ended: unauthorized\n"),
        ("end", {"reason": "terminal"}, b""),
        ("end", {"reason": "deleted"}, b""),
        ("sync", {"head": "p", "time": "t"}, b"\r"),
        ("sync", {"shown": 3, "matched": 3}, b"\r"),
        ("sync", {"shown": 1000, "matched": 1001}, b"# the 1000 newest jobs that match are shown; there are more\n"),
    ],
)
def test_what_is_no_job_is_a_note_or_nothing(event: str, data: dict[str, Any], expected: bytes) -> None:
    assert plain.line(event, data) == expected
    assert frames.frame(Form("text"), event, "k7f3q2ab-7", orjson.dumps(data)) == expected


@relaxed
@given(NEW_JOBS)
def test_a_stalled_job_says_so(job: Job) -> None:
    line = plain.line("progress", as_json(job._replace(stalled=True)))
    assert b" (stalled)" in line


@pytest.mark.parametrize(
    "accept", ["application/json, text/plain, */*", "text/event-stream, text/plain", "text/*", "*/*"]
)
async def test_who_takes_text_but_likes_another_form_as_well_gets_that(at: Served, accept: str) -> None:
    await create(at.client)
    await report(at.client, state="succeeded")
    response = await at.client.get(EVENTS, headers={"Accept": accept})
    assert response.headers["content-type"].partition(";")[0] in ("application/json", "text/event-stream")


async def test_a_job_itself_is_not_to_be_had_as_text(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        await create(client)
        refused = await client.get("/v1/jobs/a", headers=PLAIN)
    assert refused.status_code == 406


async def test_curl_shows_a_job_to_its_end_and_then_ends_itself(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=WAIT) as client:
            await create(client)
            process = await curl(server)
            assert process.stdout is not None
            async with asyncio.timeout(WAIT):
                first = await process.stdout.readline()
                await report(client, state="running", progress=5)
                second = await process.stdout.readline()
                await report(client, state="succeeded")
                rest, _ = await process.communicate()
    shown = [line.strip().split()[2:] for line in (first + second + rest).decode().splitlines() if line.strip()]
    assert shown == [["pending"], ["running", "5", "%"], ["succeeded", "100", "%"]]
    assert process.returncode == 0


async def test_the_end_of_the_gateway_is_not_taken_for_the_end_of_the_job(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=WAIT) as client:
            await create(client)
        process = await curl(server)
        assert process.stdout is not None
        async with asyncio.timeout(2 * WAIT):
            await process.stdout.readline()
            await asyncio.to_thread(server.terminate)
            rest, _ = await process.communicate()
    assert rest.decode().lstrip("\r") == "# the gateway is stopping; the job goes on\n"


async def curl(server: Server) -> asyncio.subprocess.Process:
    """`curl -N -H 'Accept: text/plain'` of the job's stream."""
    command = ["curl", "-sN", "-H", "Accept: text/plain", f"{server.url}{EVENTS}"]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
