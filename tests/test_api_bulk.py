"""`POST /v1/events`: a report a line, an answer line for each; a bad line spoils no other."""

import asyncio
import random
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.dialects import bulk
from gateway.dialects.body import OFF_LOOP, read_bounded
from gateway.dialects.bulk import MAX_LINE, MAX_LINES, Answers, Lines
from tests.api import NDJSON, PROBLEM, api, app_of, create, document, problem, report


@pytest.fixture
async def client(tmp_path: Path, under: str) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, under=under) as found:
        yield found


def body_of(*lines: Any) -> bytes:
    return b"".join((line if isinstance(line, bytes) else orjson.dumps(line)) + b"\n" for line in lines)


async def post(client: httpx.AsyncClient, *lines: Any, query: str = "") -> list[dict[str, Any]]:
    response = await client.post(f"/v1/events{query}", content=body_of(*lines), headers=NDJSON)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return answers_of(response)


def answers_of(response: httpx.Response) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in response.content.splitlines()]


@pytest.mark.parametrize("state", ["created", "running", "cancelling", "unknown", "succeeded", "failed", "cancelled"])
async def test_a_job_not_known_is_created_in_any_state(client: httpx.AsyncClient, state: str) -> None:
    line = {"job": "a", "name": "n", "process": "p", "state": state}
    (answer,) = await post(client, line)
    job = document(await client.get("/v1/jobs/a"))
    assert answer == {"position": job["position"], "state": state}
    assert (job["name"], job["process"], job["state"]) == ("n", "p", state)


async def test_a_job_not_known_is_pending_where_no_state_is_said(client: httpx.AsyncClient) -> None:
    assert [answer["state"] for answer in await post(client, {"job": "a"})] == ["pending"]


async def test_name_and_process_of_a_known_job_are_ignored(client: httpx.AsyncClient) -> None:
    await create(client, name="first", process="p")
    await post(client, {"job": "a", "name": "second", "process": "q", "progress": 5})
    job = document(await client.get("/v1/jobs/a"))
    assert (job["name"], job["process"], job["progress"]) == ("first", "p", 5.0)


async def test_lines_are_taken_in_order_and_answered_in_order(client: httpx.AsyncClient) -> None:
    lines = [{"job": job, "progress": progress} for progress in (1, 2, 3) for job in ("a", "b")]
    answers = await post(client, *lines)
    offsets = [int(answer["position"].rpartition("-")[2]) for answer in answers]
    assert offsets == sorted(offsets)
    assert document(await client.get("/v1/jobs/b"))["version"] == 3


async def test_a_wish_is_seen_in_the_answer(client: httpx.AsyncClient) -> None:
    await create(client, state="running")
    await client.post("/v1/jobs/a/cancel")
    (answer,) = await post(client, {"job": "a", "state": "running", "progress": 50})
    assert answer["state"] == "cancelling"


BAD_LINES: list[tuple[Any, int, str, str | None]] = [
    (b"{", 400, "invalid-report", ""),
    (b"nonsense", 400, "invalid-report", ""),
    (b"[]", 400, "invalid-report", ""),
    (b"null", 400, "invalid-report", ""),
    (b'{"job": "a", "progress": NaN}', 400, "invalid-report", ""),
    (b'{"job": "a", "message": "\\ud800"}', 400, "invalid-report", ""),
    (b'{"job": "a", "message": "\xff"}', 400, "invalid-report", ""),
    (b'\xef\xbb\xbf{"job": "a"}', 400, "invalid-report", ""),
    (b'{"job": "a", "state": "running", "state": "failed"}', 400, "invalid-report", "state"),
    ({}, 400, "invalid-report", "job"),
    ({"job": "a/b"}, 400, "invalid-report", "job"),
    ({"job": 1}, 400, "invalid-report", "job"),
    ({"id": "a"}, 400, "invalid-report", "id"),
    ({"job": "a", "workspace": "NO"}, 400, "invalid-report", "workspace"),
    ({"job": "a", "progress": 101}, 400, "invalid-report", "progress"),
    ({"job": "a", "colour": "red"}, 400, "invalid-report", "colour"),
    ({"job": "a", "key": ""}, 400, "invalid-request", "key"),
    ({"job": "a", "key": 7}, 400, "invalid-request", "key"),
    ({"job": "a", "key": "x" * 256}, 400, "invalid-request", "key"),
    ({"job": "done", "state": "running"}, 409, "job-finished", None),
    ({"job": "known", "state": "resuming"}, 409, "illegal-transition", None),
    ({"job": "a", "result": "x" * 70_000}, 413, "too-large", "result"),
    (b'{"job": "a", "message": "' + b"x" * MAX_LINE + b'"}', 413, "too-large", None),
    (b'{"job": "a", "details": ' + b'{"x":' * 40 + b"1" + b"}" * 40 + b"}", 400, "invalid-report", None),
]


@pytest.mark.parametrize("line, status, code, field", BAD_LINES, ids=[str(line[0])[:40] for line in BAD_LINES])
async def test_a_bad_line_gets_its_problem_and_spoils_no_other(
    client: httpx.AsyncClient, line: Any, status: int, code: str, field: str | None
) -> None:
    await create(client, "known")
    await create(client, "done")
    await report(client, "done", state="succeeded")
    before, answer, after = await post(client, {"job": "x"}, line, {"job": "y", "state": "running"})
    assert (before["state"], after["state"]) == ("pending", "running")
    assert (answer["status"], answer["type"], answer["line"]) == (status, PROBLEM + code, 2)
    assert field is None or answer["field"] == field


async def test_all_bad_lines_together_spoil_no_good_one(client: httpx.AsyncClient) -> None:
    await create(client, "known")
    await create(client, "done")
    await report(client, "done", state="succeeded")
    lines: list[Any] = []
    for number, (line, *_) in enumerate(BAD_LINES):
        lines += [line, {"job": f"good-{number}"}]
    answers = await post(client, *lines)
    assert [answer["status"] for answer in answers[::2]] == [status for _, status, *_ in BAD_LINES]
    assert {answer["state"] for answer in answers[1::2]} == {"pending"}


async def test_a_deleted_job_is_410_in_its_line(client: httpx.AsyncClient) -> None:
    await create(client)
    await report(client, state="failed")
    await client.delete("/v1/jobs/a")
    (answer,) = await post(client, {"job": "a", "state": "running"})
    assert answer["status"] == 410


# ---- keys and workspaces ----


async def test_a_line_with_a_key_counts_once(client: httpx.AsyncClient) -> None:
    line = {"job": "a", "state": "running", "key": "k"}
    first = await post(client, line)
    await post(client, {"job": "a", "progress": 10})
    again, other = await post(client, dict(reversed(line.items())), {**line, "state": "failed"})
    assert [again] == first
    assert (other["status"], other["type"]) == (422, PROBLEM + "idempotency-key-reused")


async def test_a_key_twice_in_one_body_counts_once(client: httpx.AsyncClient) -> None:
    line = {"job": "a", "message": "m", "key": "k"}
    first, again = await post(client, line, line)
    assert first == again
    assert document(await client.get("/v1/jobs/a"))["version"] == 1


async def test_a_line_may_say_its_workspace_and_the_query_says_it_for_the_rest(client: httpx.AsyncClient) -> None:
    await post(client, {"job": "a"}, {"job": "a", "workspace": "v"}, query="?workspace=w")
    assert (await client.get("/v1/jobs/a?workspace=w")).status_code == 200
    assert (await client.get("/v1/jobs/a?workspace=v")).status_code == 200
    assert (await client.get("/v1/jobs/a")).status_code == 404


# ---- the body ----


@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b'{"job":"a"}', b'{"job":"a"}\r\n', b'\n \n{"job":"a"}\n\n', b'\r\n{"job":"a"}\n \t\n']
)
async def test_empty_lines_mean_nothing_and_the_last_one_needs_no_end(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/v1/events", content=body, headers=NDJSON)
    assert response.status_code == 200
    assert [answer["state"] for answer in answers_of(response)] == (["pending"] if b"job" in body else [])


@pytest.mark.parametrize("media", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
async def test_another_media_type_is_415(client: httpx.AsyncClient, media: str | None) -> None:
    headers = {} if media is None else {"Content-Type": media}
    response = await client.post("/v1/events", content=b'{"job":"a"}\n', headers=headers)
    assert problem(response, 415, "unsupported-media-type")["accepted"] == ["application/x-ndjson"]
    assert (await client.get("/v1/jobs/a")).status_code == 404


async def test_a_body_far_larger_than_one_megabyte_is_taken_piece_by_piece(client: httpx.AsyncClient) -> None:
    message = "x" * 10_000

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(400):
            yield body_of({"job": f"j{number % 7}", "message": f"{number} {message}"})

    response = await client.post("/v1/events", content=pieces(), headers=NDJSON)
    assert len(answers_of(response)) == 400
    assert document(await client.get("/v1/jobs/j0"))["version"] == 58


async def test_more_lines_than_a_transaction_holds_are_all_answered(client: httpx.AsyncClient) -> None:
    answers = await post(client, *({"job": f"j{number % 10}", "progress": number / 20} for number in range(1300)))
    assert len({answer["position"] for answer in answers}) == 1300


async def test_too_many_lines_are_413_and_those_before_were_taken(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_LINES", 1000)
    lines = [{"job": f"j{number}"} for number in range(1001)]
    response = await client.post("/v1/events", content=body_of(*lines), headers=NDJSON)
    assert problem(response, 413, "too-large")["taken"] == 1000
    assert (await client.get("/v1/jobs/j999")).status_code == 200
    assert (await client.get("/v1/jobs/j1000")).status_code == 404
    assert MAX_LINES == 100_000


async def test_a_gateway_that_takes_nothing_is_503_as_a_whole(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        app_of(client).state.gateway.drain()
        response = await client.post("/v1/events", content=body_of({"job": "a"}), headers=NDJSON)
        problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1


async def test_a_gateway_that_stops_midway_says_so_line_by_line(tmp_path: Path) -> None:
    async with api(tmp_path) as client:

        async def pieces() -> AsyncIterator[bytes]:
            yield body_of(*({"job": f"j{number}"} for number in range(600)))
            app_of(client).state.gateway.drain()
            yield body_of({"job": "late"})

        response = await client.post("/v1/events", content=pieces(), headers=NDJSON)
        answers = answers_of(response)
    assert response.status_code == 200
    assert len(answers) == 601
    assert [answer.get("status") for answer in (answers[0], answers[600])] == [None, 503]


async def test_a_body_that_breaks_off_leaves_what_was_read(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        sent.put_nowait(
            {"type": "http.request", "body": body_of(*({"job": f"j{i}"} for i in range(500))), "more_body": True}
        )
        sent.put_nowait({"type": "http.disconnect"})
        answered: list[Any] = []

        async def send(message: Any) -> None:
            answered.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/events", "raw_path": b"/v1/events", "root_path": "",
                 "query_string": b"", "http_version": "1.1", "scheme": "http",
                 "headers": [(b"host", b"localhost"), (b"content-type", b"application/x-ndjson")]}  # fmt: skip
        await app_of(client)(scope, sent.get, send)
        assert answered == []
        assert (await client.get("/v1/jobs/j499")).status_code == 200


async def test_other_work_has_its_turns_while_lines_are_parsed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SLICE_SECONDS", 0)
    turns: list[int] = []

    def read_and_let_others_ask(line: bytes) -> Any:
        turns.append(0)
        asyncio.get_running_loop().call_soon(turns.append, 1)
        return read_bounded(line)

    monkeypatch.setattr(bulk, "read_bounded", read_and_let_others_ask)
    await post(client, *({"job": f"j{number}"} for number in range(20)))
    assert turns == [0, 1] * 20


async def test_a_long_line_is_parsed_off_the_loop_and_answered_in_its_place(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def read_and_say_where(line: bytes) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return read_bounded(line)

    monkeypatch.setattr(bulk, "read_bounded", read_and_say_where)
    lines = [{"job": "a"}, {"job": "b", "message": "x" * OFF_LOOP, "state": "running"}, {"job": "c"}]
    assert [answer["state"] for answer in await post(client, *lines)] == ["pending", "running", "pending"]
    assert threads == [True, False, True]


# ---- the pieces ----


def cut(body: bytes, rng: random.Random) -> Iterator[bytes]:
    while body:
        size = rng.choice((1, 2, 7, 100, 5000))
        yield body[:size]
        body = body[size:]


@pytest.mark.parametrize("seed", range(20))
def test_lines_come_out_the_same_however_the_body_is_cut(seed: int) -> None:
    rng = random.Random(seed)
    wanted: list[bytes | None] = []
    body = b""
    for _ in range(30):
        kind = rng.randrange(5)
        line = b"" if kind == 0 else bytes(rng.choices(b'{}":,abc', k=rng.choice((1, 20, 3000))))
        if kind == 4:
            line = b"x" * (MAX_LINE + rng.choice((0, 1, 100_000)))
        body += line + rng.choice((b"\n", b"\r\n"))
        if line:
            wanted.append(None if len(line) > MAX_LINE else line)
    found: list[bytes | None] = []
    lines = Lines()
    for piece in cut(body, rng):
        found += lines.feed(piece)
    found += lines.end()
    # A CR counts towards the bound: a line of exactly that length may go either way with it.
    assert len(found) == len(wanted)
    assert all(one == two for one, two in zip(found, wanted, strict=True) if two is None or len(two) < MAX_LINE)


def test_a_line_without_end_is_not_kept() -> None:
    lines = Lines()
    tracemalloc.start()
    for _ in range(200):
        assert list(lines.feed(b"x" * 64 * 1024)) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * MAX_LINE
    assert list(lines.feed(b'\n{"job":"a"}\n')) == [None, b'{"job":"a"}']


async def test_a_hundred_thousand_refusals_take_little_memory() -> None:
    answers = Answers()
    refusal = {"type": PROBLEM + "invalid-report", "detail": "x" * 300}
    tracemalloc.start()
    for number in range(MAX_LINES):
        answers.add([{**refusal, "line": number}])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024
    rest, count = b"", 0
    async for piece in answers.pieces():
        *ended, rest = (rest + piece).split(b"\n")
        for line in ended:
            assert orjson.loads(line)["line"] == count
            count += 1
    assert (count, rest) == (MAX_LINES, b"")
