"""Bad input of every kind gets a problem document that names the field and the remedy, and never a 500."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway import values
from gateway.dialects import body as bodies
from gateway.dialects.body import MAX_BODY, MAX_CONTAINERS
from gateway.service import Gateway
from tests.api import WAIT, Served, api, app_of, create, document, problem, served

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client(tmp_path: Path, under: str) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, under=under) as found:
        await create(found)
        yield found


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


# ---- bodies ----

NOT_JSON: list[bytes] = [
    b"",
    b" ",
    b"{",
    b"}",
    b"{]",
    b"{'state': 'running'}",
    b'{"state": "running",}',
    b'{"state": "running"} trailing',
    b'{"progress": NaN}',
    b'{"progress": Infinity}',
    b'{"progress": -Infinity}',
    b'{"progress": 1e999}',
    b'{"progress": 01}',
    b'{"progress": +1}',
    b'{"progress": .5}',
    b'{"message": "\xff\xfe"}',
    b'{"message": "\xed\xa0\x80"}',
    b'{"message": "\\ud800"}',
    b'{"message": "\\udc00\\ud800"}',
    b'{"message": "line\nbreak"}',
    b'{"message": "\\x41"}',
    b'\xef\xbb\xbf{"state": "running"}',
    '{"state": "running"}'.encode("utf-16"),
    b"\x00",
    b"state=running",
    nested(100_000),
    nested(1025, b'{"x":', b"}"),
]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/a/events"])
@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:30]))
async def test_what_is_no_json_is_400(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    response = await client.post(path, content=body, headers=JSON)
    if body.startswith(b"[" * 1000):
        problem(response, 413, "too-large")
    else:
        problem(response, 400, "invalid-report", "")


WRONG: list[tuple[bytes, str]] = [
    (b"null", ""),
    (b"7", ""),
    (b'"text"', ""),
    (b"true", ""),
    (b'{"state": null}', "state"),
    (b'{"state": "Running"}', "state"),
    (b'{"state": ["running"]}', "state"),
    (b'{"state": {}}', "state"),
    (b'{"progress": "45"}', "progress"),
    (b'{"progress": true}', "progress"),
    (b'{"progress": -0.1}', "progress"),
    (b'{"progress": 100.1}', "progress"),
    (b'{"progress": [1]}', "progress"),
    (b'{"progress": 9007199254740993}', ""),
    (b'{"message": 7}', "message"),
    (b'{"message": ["a"]}', "message"),
    (b'{"step": 1}', "step"),
    (b'{"step": "' + b"x" * 1001 + b'"}', "step"),
    (b'{"error": 7}', "error"),
    (b'{"error": {}}', "error.message"),
    (b'{"error": {"message": null}}', "error.message"),
    (b'{"error": {"message": "m", "extra": 1}}', "error.extra"),
    (b'{"details": []}', "details"),
    (b'{"details": null}', "details"),
    (b'{"details": {"x": 18446744073709551616}}', ""),
    (b'{"details": {"x": 1e300}}', ""),
    (b'{"details": {"x": ' + nested(33) + b"}}", "details"),
    (b'{"labels": {"k": 1}}', "labels.k"),
    (b'{"labels": {"a:b": "v"}}', "labels"),
    (b'{"labels": {"": "v"}}', "labels"),
    (b'{"labels": ["k"]}', "labels"),
    (b'{"labels": {"k": "a\\u0000"}}', "labels.k"),
    (b'{"steps": {}}', "steps"),
    (b'{"steps": [7]}', "steps[0]"),
    (b'{"steps": [{}]}', "steps[0].name"),
    (b'{"steps": [{"name": "s"}, {"name": "s"}]}', "steps[1].name"),
    (b'{"steps": [{"name": "s", "state": "done"}]}', "steps[0].state"),
    (b'{"steps": [{"name": "s", "tasks": [{"name": ""}]}]}', "steps[0].tasks[0].name"),
    (b'{"steps": [{"name": "s", "tasks": [{"name": "t", "tasks": []}]}]}', "steps[0].tasks[0].tasks"),
    (b'{"lease": 0}', "lease"),
    (b'{"lease": -1}', "lease"),
    (b'{"lease": "60"}', "lease"),
    (b'{"lease": 604801}', "lease"),
    (b'{"links": [{"rel": "self"}]}', "links[0].href"),
    (b'{"links": [{"rel": "self", "href": "x", "title": "t"}]}', "links[0].title"),
    (b'{"links": {"rel": "self"}}', "links"),
    (b'{"time": "now"}', "time"),
    (b'{"time": 1760000000}', "time"),
    (b'{"time": "2026-02-19 10:00:00Z"}', "time"),
    (b'{"time": "2026-02-19T10:00:00"}', "time"),
    (b'{"time": "0000-01-01T00:00:00Z"}', "time"),
    (b'{"replace": "details"}', "replace"),
    (b'{"replace": ["state"]}', "replace"),
    (b'{"replace": ["details"]}', "replace"),
    (b'{"replace": [["details"]]}', "replace"),
    (b'{"replace": [{}]}', "replace"),
    (b'{"stat": "running"}', "stat"),
    (b'{"key": "k"}', "key"),
    (b'{"": 1}', ""),
]


@pytest.mark.parametrize("body, field", WRONG, ids=[repr(body[:40]) for body, _ in WRONG])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/a/events"])
async def test_a_report_that_is_wrong_is_400_and_names_the_field(
    client: httpx.AsyncClient, path: str, body: bytes, field: str
) -> None:
    before = (await client.get("/v1/jobs")).content
    found = problem(await client.post(path, content=body, headers=JSON), 400, "invalid-report")
    assert found["field"] == field or not field
    assert (await client.get("/v1/jobs")).content == before


TWICE = [
    (b'{"state":"running","state":"failed"}', "state"),
    (b'{"state" :"running","state":"failed"}', "state"),
    (b'{"state"\n:"running","state"\t:"failed","message":"\\":"}', "state"),
    (b'{"details":{"x":1,"y":2,"x":1}}', "x"),
    (b'{"details":{"x":[{"y":{},"\\u0079":{}}]}}', "y"),
    (b'{"message":"\\":","details":{"a":1,"a":2}}', "a"),
    (b'[{}, {"message":null,"message":"m"}]', "message"),
]


@pytest.mark.parametrize("body, double", TWICE)
async def test_a_member_that_stands_twice_is_400(client: httpx.AsyncClient, body: bytes, double: str) -> None:
    problem(await client.post("/v1/jobs/a/events", content=body, headers=JSON), 400, "invalid-report", double)


@pytest.mark.parametrize("body", [b'{"message":"a\\":\\":b : \\"c\\" : d"}', b'{ "details" : { "a" : { "a" : 1 } } }'])
async def test_what_only_looks_like_a_member_twice_is_taken(client: httpx.AsyncClient, body: bytes) -> None:
    assert (await client.post("/v1/jobs/a/events", content=body, headers=JSON)).status_code == 201


@pytest.mark.parametrize(
    "job", ["", ".", "..", "a/b", "a b", "ä", "a\x00", "x" * 201, 7, None, [], {}, "a\n", "*", ">"]
)
async def test_an_id_that_is_none_is_400(client: httpx.AsyncClient, job: Any) -> None:
    problem(await client.post("/v1/jobs", json={"id": job}), 400, "invalid-report", "id")


@pytest.mark.parametrize("job", ["a.b~c_d:e-f", "x" * 200, "...", "0", "~"])
async def test_an_id_that_is_one_is_found_at_the_address_that_was_told(client: httpx.AsyncClient, job: str) -> None:
    response = await client.post("/v1/jobs", json={"id": job})
    assert response.status_code == 201
    assert document(await client.get(response.headers["location"]))["id"] == job


BAD_IDS = ("a%20b", "%2a", "%3e", "%00", "%ff", "x" * 9000, "a'--", "%F0%9F%98%80", "a%0d", "%E2%80%A8")


@pytest.mark.parametrize("job", BAD_IDS, ids=lambda job: job[:12])
@pytest.mark.parametrize(
    "method, more", [("GET", ""), ("GET", "/events"), ("POST", "/events"), ("POST", "/cancel"), ("DELETE", "")]
)
async def test_an_address_with_an_id_that_is_none_is_400(
    client: httpx.AsyncClient, job: str, method: str, more: str
) -> None:
    content = b"{}" if method == "POST" else b""
    response = await client.request(method, f"/v1/jobs/{job}{more}", content=content, headers=JSON)
    problem(response, 400, "invalid-request", "id")


NOWHERE = [
    *("/v1/jobs/a%2fb", "/v1/jobs/%2e%2e%2f%2e%2e", "/v1/jobs/", "/v1/jobs/a/", "/v1//jobs", "/V1/jobs", "/v1", "/v1/"),
    *("/v1/jobs/a/events/b", "/v1/jobs/a%0d%0aSet-Cookie:x", "/..%2fetc", "//", "/%00", "/%ff", "/static"),
]
NO_FILES = ("/static/%2e%2e/main.py", "/static/..%2fpyproject.toml", "/static//etc/passwd", "/static/", "/static/no")


@pytest.mark.parametrize("path", NOWHERE)
async def test_an_address_that_does_not_exist_is_404_for_every_method(client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PUT", "OPTIONS"):
        url = client.base_url.copy_with(raw_path=path.encode())
        problem(await client.request(method, url), 404, "not-found")


@pytest.mark.parametrize("path", NO_FILES)
async def test_no_path_leads_out_of_the_folder_of_the_page(client: httpx.AsyncClient, path: str) -> None:
    url = client.base_url.copy_with(raw_path=path.encode())
    problem(await client.get(url), 404, "not-found")
    problem(await client.post(url), 405, "method-not-allowed")


async def test_a_job_that_nobody_knows_is_404_everywhere(client: httpx.AsyncClient) -> None:
    for method, path in (
        ("GET", "/v1/jobs/nobody"),
        ("GET", "/v1/jobs/nobody?at=2026-01-01T00:00:00Z"),
        ("GET", "/v1/jobs/nobody/events"),
        ("POST", "/v1/jobs/nobody/events"),
        ("POST", "/v1/jobs/nobody/cancel"),
        ("DELETE", "/v1/jobs/nobody"),
    ):
        content = b"{}" if path.endswith("events") and method == "POST" else b""
        found = problem(await client.request(method, path, content=content, headers=JSON), 404, "job-not-found")
        assert "nobody" in found["detail"]


# ---- methods ----

ADDRESSES = {
    "/v1/jobs": {"GET", "POST"},
    "/v1/jobs/a": {"GET", "DELETE"},
    "/v1/jobs/a/events": {"GET", "POST"},
    "/v1/jobs/a/cancel": {"POST"},
    "/v1/jobs/a/pause": {"POST"},
    "/v1/jobs/a/resume": {"POST"},
    "/v1/events": {"GET", "POST"},
    "/healthz": {"GET"},
    "/readyz": {"GET"},
    "/openapi.json": {"GET"},
    "/": {"GET"},
    "/static/index.html": {"GET"},
}


@pytest.mark.parametrize("path", ADDRESSES)
async def test_a_method_that_an_address_does_not_take_is_405_with_all_it_takes(
    client: httpx.AsyncClient, path: str
) -> None:
    allowed = ADDRESSES[path] | {"OPTIONS"} | ({"HEAD"} if "GET" in ADDRESSES[path] else set())
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"} - allowed:
        response = await client.send(client.build_request(method, path))
        assert set(response.headers["allow"].split(", ")) == allowed
        if response.request.method != "HEAD":
            assert set(problem(response, 405, "method-not-allowed")["allowed"]) == allowed
    options = await client.options(path)
    assert (options.status_code, options.content) == (204, b"")
    assert set(options.headers["allow"].split(", ")) == allowed


# ---- media types ----


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/a/events"])
@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                   "text/json", "application/x-ndjson", "json", "application/json; charset=latin-1",
                                   "application/jsonp", "", None])  # fmt: skip
async def test_a_body_of_another_media_type_is_415(client: httpx.AsyncClient, path: str, media: str | None) -> None:
    headers = {} if media is None else {"Content-Type": media}
    response = await client.post(path, content=b"{}", headers=headers)
    assert problem(response, 415, "unsupported-media-type")["accepted"] == ["application/json"]


JSON_NAMES = ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']


@pytest.mark.parametrize("media", [*JSON_NAMES, "application/merge-patch+json", "application/json; profile=x"])
async def test_json_is_taken_under_its_names(client: httpx.AsyncClient, media: str) -> None:
    response = await client.post("/v1/jobs/a/events", content=b"{}", headers={"Content-Type": media})
    assert response.status_code == 200


# ---- sizes ----


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/a/events", "/v1/jobs/a/cancel"])
async def test_a_body_that_says_it_is_too_large_is_413_before_it_is_read(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LINGER", 0.01)
    async with api(tmp_path) as client:
        await create(client)
        for length in (str(MAX_BODY + 1), "9" * 30):
            request = client.build_request("POST", path, content=never(), headers=JSON)
            del request.headers["transfer-encoding"]
            request.headers["content-length"] = length
            problem(await client.send(request), 413, "too-large")


async def never() -> AsyncIterator[bytes]:
    if MAX_BODY < 0:
        yield b""
    await asyncio.Event().wait()


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/a/events", "/v1/jobs/a/cancel"])
async def test_a_body_that_grows_too_large_is_413_without_being_kept(tmp_path: Path, path: str) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 64 * 1024
            yield b" " * 64 * 1024

    async with api(tmp_path) as client:
        await create(client)
        problem(await client.post(path, content=pieces(), headers=JSON), 413, "too-large")
    assert sent <= bodies.LINGER_BYTES + 64 * 1024  # a part of the rest is read away, so that the answer arrives


async def test_the_largest_body_is_read_but_what_it_makes_is_bounded(client: httpx.AsyncClient) -> None:
    body = b'{"message":"' + b"x" * (MAX_BODY - 14) + b'"}'
    assert len(body) == MAX_BODY
    found = problem(await client.post("/v1/jobs/a/events", content=body, headers=JSON), 413, "too-large")
    assert "are the limit" in found["detail"]
    assert (await client.post("/v1/jobs/a/events", content=b" " * MAX_BODY, headers=JSON)).status_code == 400


async def test_a_document_grows_to_its_bound_and_stays_there(client: httpx.AsyncClient) -> None:
    big = {"x": "y" * 200_000}
    assert (await client.post("/v1/jobs/a/events", json={"details": {"one": big}})).status_code == 201
    before = (await client.get("/v1/jobs/a")).content
    problem(await client.post("/v1/jobs/a/events", json={"details": {"two": big}}), 413, "too-large")
    assert (await client.get("/v1/jobs/a")).content == before


@pytest.mark.parametrize(
    "body, status",
    [
        (b'{"result":"' + b"x" * (values.MAX_RESULT - 2) + b'"}', 201),
        (b'{"result":"' + b"x" * (values.MAX_RESULT - 1) + b'"}', 413),
        (orjson.dumps({"labels": {f"k{i}": "v" for i in range(64)}}), 201),
        (orjson.dumps({"labels": {f"k{i}": "v" for i in range(65)}}), 400),
        (orjson.dumps({"steps": [{"name": f"s{i}"} for i in range(1000)]}), 201),
        (orjson.dumps({"steps": [{"name": f"s{i}"} for i in range(1001)]}), 400),
        (orjson.dumps({"steps": [{"name": "s", "tasks": [{"name": f"t{i}"} for i in range(1000)]}]}), 400),
        (orjson.dumps({"details": {"x": orjson.loads(nested(31))}}), 201),
        (orjson.dumps({"details": {"x": orjson.loads(nested(32))}}), 400),
        (b'{"details":{"x":9007199254740992,"y":-9007199254740992}}', 201),
        (b'{"details":{"x":9007199254740993}}', 400),
        (b'{"details":{"x":"\\u0000\\u2028\\ud83d\\ude00"}}', 201),
        (b"[" + b"{}," * 999 + b"{}]", 200),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else str(value),
)
async def test_the_limits_are_where_they_are_said_to_be(client: httpx.AsyncClient, body: bytes, status: int) -> None:
    assert (await client.post("/v1/jobs/a/events", content=body, headers=JSON)).status_code == status


BOMBS = [
    b"[" + b"[]," * 340_000 + b"[]]",
    b'{"details":{"x":[' + b"{}," * 340_000 + b"1]}}",
    b'{"details":{"x":[' + b"1," * 500_000 + b"1]}}",
    b'{"message":"' + b"[" * 60_000 + b'"}',
]


@pytest.mark.parametrize("bomb", BOMBS, ids=["lists", "objects", "numbers", "brackets"])
@pytest.mark.soak  # it is timed, and other tests run beside it in make test
async def test_a_body_made_to_be_slow_does_not_hold_the_loop(client: httpx.AsyncClient, bomb: bytes) -> None:
    assert len(bomb) <= MAX_BODY
    late = [0.0]

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.001
            await asyncio.sleep(0.001)
            late.append(loop.time() - due)

    ticking = asyncio.create_task(tick())
    answers = [await client.post("/v1/jobs/a/events", content=bomb, headers=JSON) for _ in range(3)]
    ticking.cancel()
    assert {answer.status_code for answer in answers} == {413}
    assert sorted(late)[len(late) // 2] < 0.02  # seconds; the machine that runs the tests is shared, so not the worst
    assert bomb.count(b"[") + bomb.count(b"{") > MAX_CONTAINERS or b"1," in bomb


# ---- time ----


async def test_a_body_that_trickles_is_408_and_the_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as at:
        await create(at.client)
        monkeypatch.setattr(bodies, "BODY_TIMEOUT", 0.3)
        monkeypatch.setattr(bodies, "LINGER", 0.1)
        head = b"POST /v1/jobs/a/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        answer = await trickle(at, head + b"Content-Length: 1000\r\n\r\n{")
        head = head.replace(b"jobs/a/", b"").replace(b"/json", b"/x-ndjson")
        bulk = await at.raw(head + b"Content-Length: 1000\r\n\r\n{")
    for response in (answer, bulk):
        assert response.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close\r\n" in response.lower()
        assert b"urn:status-gateway:problem:request-timeout" in response


async def trickle(at: Served, data: bytes) -> bytes:
    """What the server says to somebody who sends this, and then a byte now and then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
    writer.write(data)

    async def all_of_it() -> bytes:
        said = b""
        with suppress(ConnectionError):  # a byte that comes in the moment of the end has the connection reset
            while piece := await reader.read(65_536):
                said += piece
        return said

    answer = asyncio.create_task(all_of_it())
    async with asyncio.timeout(WAIT):
        while not answer.done():
            if not writer.is_closing():
                writer.write(b" ")
            await asyncio.wait([answer], timeout=0.05)
    writer.close()
    return answer.result()


async def test_who_sends_too_much_reads_the_answer_before_the_connection_is_closed(
    tmp_path: Path, under: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LINGER", WAIT)  # a slow machine needs longer to send all of it
    async with served(tmp_path, under=under) as at:
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        answer = await at.raw(head + b"Content-Length: 4000000\r\n\r\n" + b" " * 4_000_000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"}")


# ---- the gateway's own trouble ----


async def test_what_nobody_foresaw_is_500_without_details_and_logged_with_them(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(Gateway, "jobs", broken)
    with caplog.at_level(logging.ERROR):
        response = await client.get("/v1/jobs?name=secret-of-the-query")
    found = problem(response, 500, "internal")
    assert "secret" not in response.text
    assert set(found) == {"type", "title", "status", "detail"}
    assert "secret of the inside" in caplog.text
    assert "secret-of-the-query" not in caplog.text


async def test_while_it_shuts_down_it_takes_no_writes_but_reads_go_on(client: httpx.AsyncClient) -> None:
    app_of(client).state.gateway.drain()
    for method, path, body in (
        ("POST", "/v1/jobs", b"{}"),
        ("POST", "/v1/jobs/a/events", b"{}"),
        ("POST", "/v1/jobs/a/cancel", b""),
        ("DELETE", "/v1/jobs/a", b""),
    ):
        response = await client.request(method, path, content=body, headers=JSON)
        problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1
    assert (await client.get("/v1/jobs/a")).status_code == 200
    assert (await client.get("/v1/jobs")).status_code == 200
    assert (await client.get("/healthz")).status_code == 200
    not_ready = await client.get("/readyz")
    assert "shutting down" in problem(not_ready, 503, "unavailable")["detail"]
    assert int(not_ready.headers["retry-after"]) >= 1


async def test_health_and_readiness_are_json(client: httpx.AsyncClient) -> None:
    assert document(await client.get("/healthz")) == {"status": "ok"}
    assert document(await client.get("/readyz")) == {"status": "ready"}


async def test_nobody_may_keep_an_error(client: httpx.AsyncClient) -> None:
    for response in (await client.get("/nowhere"), await client.get("/v1/jobs/nobody"), await client.put("/v1/jobs")):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
