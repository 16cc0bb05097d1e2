"""Any web page can reach a gateway on loopback: it answers to its own name, and changes for its own pages only."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import SSE, api, create, document, problem, served

EVIL = "http://evil.example"
FRIEND = "https://friend.example"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, allowed_origins=(FRIEND,)) as found:
        await create(found)
        yield found


def with_hosts(*hosts: bytes) -> httpx.Request:
    request = httpx.Request("GET", "http://localhost/v1/jobs")
    del request.headers["host"]
    fields = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
    request.headers = httpx.Headers([*fields, *((b"Host", host) for host in hosts)])
    return request


# ---- Host ----


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"LocalHost", b"localhost:8000", b"127.0.0.1", b"127.0.0.1:80", b"[::1]", b"[::1]:8000"],
)
async def test_the_names_of_this_machine_are_its_own(client: httpx.AsyncClient, host: bytes) -> None:
    assert (await client.send(with_hosts(host))).status_code == 200


FOREIGN_HOSTS = [
    b"evil.example",
    b"localhost.evil.example",
    b"evil.example:8000",
    b"127.0.0.1.evil.example",
    b"localhost@evil.example",
    b"evil.example@localhost",
    b"localhost:8000:8000",
    b"localhost:port",
    b"localhost/",
    b"[::1",
    b"::1",
    b"[::2]",
    b"0.0.0.0",
    b"127.1",
    b"localhost,evil.example",
    b"local host",
    b"",
    b"*",
    b"\xff",
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_another_name_is_421_and_says_how_to_allow_it(client: httpx.AsyncClient, host: bytes) -> None:
    found = problem(await client.send(with_hosts(host)), 421, "misdirected-request", "Host")
    assert "allowed_hosts" in found["detail"]


@pytest.mark.parametrize("hosts", [(), (b"localhost", b"localhost"), (b"localhost", b"evil.example")])
async def test_a_request_has_exactly_one_name(client: httpx.AsyncClient, hosts: tuple[bytes, ...]) -> None:
    problem(await client.send(with_hosts(*hosts)), 400, "invalid-request", "Host")


async def test_the_name_is_asked_for_everywhere(client: httpx.AsyncClient) -> None:
    headers = {"Host": "evil.example"}
    for method, path in (
        ("GET", "/"),
        ("GET", "/healthz"),
        ("GET", "/openapi.json"),
        ("GET", "/static/index.html"),
        ("GET", "/nowhere"),
        ("OPTIONS", "/v1/jobs"),
        ("POST", "/v1/events"),
        ("GET", "/v1/jobs/a/events"),
    ):
        problem(await client.request(method, path, headers=headers), 421, "misdirected-request")
    head = await client.head("/v1/jobs", headers=headers)
    assert (head.status_code, head.content) == (421, b"")


@pytest.mark.parametrize(
    "settings, host, status",
    [
        ({"allowed_hosts": ("status.example",)}, b"status.example", 200),
        ({"allowed_hosts": ("status.example",)}, b"status.example:8443", 200),
        ({"allowed_hosts": ("status.example",)}, b"Status.Example", 200),
        ({"allowed_hosts": ("status.example",)}, b"www.status.example", 421),
        ({"allowed_hosts": ("status.example:8443",)}, b"status.example:8443", 200),
        ({"allowed_hosts": ("status.example:8443",)}, b"status.example:8000", 421),
        ({"allowed_hosts": ("fe80::7",)}, b"[fe80::7]:80", 200),
        ({"allowed_hosts": ("[fe80::7]",)}, b"[fe80::7]", 200),
        ({"allowed_hosts": ("*",)}, b"anything.example", 200),
        ({"host": "192.0.2.7", "insecure_no_auth": True}, b"192.0.2.7:8000", 200),
        ({"host": "::1"}, b"[::1]:8000", 200),
    ],
)
async def test_the_operator_says_which_other_names_it_has(
    tmp_path: Path, settings: dict[str, Any], host: bytes, status: int
) -> None:
    async with api(tmp_path, **settings) as client:
        assert (await client.send(with_hosts(host))).status_code == status


# ---- Origin ----

UNSAFE = [
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/a/events"),
    ("POST", "/v1/events"),
    ("POST", "/v1/jobs/a/cancel"),
    ("DELETE", "/v1/jobs/a"),
    ("PUT", "/v1/jobs/a"),
    ("POST", "/nowhere"),
]


@pytest.mark.parametrize("method, path", UNSAFE)
async def test_a_foreign_page_changes_nothing(client: httpx.AsyncClient, method: str, path: str) -> None:
    before = (await client.get("/v1/jobs")).content
    for headers in (
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:1234"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost, http://evil.example"},
        {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
        {"Origin": EVIL, "Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        response = await client.request(method, path, headers=headers, content=b"{}")
        problem(response, 403, "foreign-origin", next(iter(headers)))
        assert "allowed_origins" in response.text
    assert (await client.get("/v1/jobs")).content == before


async def test_one_foreign_origin_among_two_is_enough(client: httpx.AsyncClient) -> None:
    headers = [("Origin", "http://localhost"), ("Origin", EVIL)]
    problem(await client.post("/v1/jobs", json={}, headers=headers), 403, "foreign-origin")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost:80"},
        {"Origin": "http://LOCALHOST"},
        {"Origin": FRIEND},
        {"Origin": FRIEND + ":443", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://localhost", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_our_own_pages_the_operators_friends_and_tools_may_write(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await client.post("/v1/jobs", json={}, headers=headers)).status_code == 201


async def test_the_port_belongs_to_the_origin(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        own = {"Origin": f"http://127.0.0.1:{at.port}"}
        other = {"Origin": f"http://localhost:{at.port}"}
        assert (await at.client.post("/v1/jobs", json={}, headers=own)).status_code == 201
        problem(await at.client.post("/v1/jobs", json={}, headers=other), 403, "foreign-origin")


async def test_reading_is_left_to_the_browser_which_hides_it_from_foreign_pages(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/jobs/a", headers={"Origin": EVIL, "Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


# ---- CORS ----


@pytest.mark.parametrize(
    "method, path, status",
    [("GET", "/v1/jobs/a", 200), ("GET", "/v1/jobs/nobody", 404), ("POST", "/v1/jobs", 415), ("GET", "/healthz", 200)],
)
async def test_pages_of_allowed_origins_can_read_answers_and_errors(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    for origin in (FRIEND, EVIL, "null"):
        response = await client.request(
            method, path, headers={"Origin": origin} if method == "GET" or origin == FRIEND else {}
        )
        assert response.status_code == status
        assert "Origin" in response.headers["vary"].split(", ")
        assert response.headers.get("access-control-allow-origin") == (FRIEND if origin == FRIEND else None)
        assert "access-control-allow-credentials" not in response.headers
    friendly = await client.get(path, headers={"Origin": FRIEND})
    assert {"ETag", "Location", "Retry-After"} <= set(friendly.headers["access-control-expose-headers"].split(", "))


async def test_without_allowed_origins_nothing_varies_by_origin(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        response = await client.get("/v1/jobs", headers={"Origin": FRIEND})
    assert response.headers["vary"] == "Accept"
    assert not any(name.startswith("access-control") for name in response.headers)


@pytest.mark.parametrize(
    "asked", ["last-event-id, authorization, cache-control, content-type", "idempotency-key, if-match, prefer"]
)
async def test_the_preflight_of_an_allowed_origin_passes(client: httpx.AsyncClient, asked: str) -> None:
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
    response = await client.options("/v1/jobs/a/events", headers={**headers, "Origin": FRIEND})
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == FRIEND
    assert {"POST", "DELETE"} <= set(response.headers["access-control-allow-methods"].split(", "))
    allowed = {name.lower() for name in response.headers["access-control-allow-headers"].split(", ")}
    assert set(asked.split(", ")) <= allowed
    refused = await client.options("/v1/jobs/a/events", headers={**headers, "Origin": EVIL})
    assert not any(name.startswith("access-control") for name in refused.headers)


async def test_a_stream_tells_its_origin_too(tmp_path: Path) -> None:
    async with served(tmp_path, allowed_origins=(FRIEND,)) as at:
        await create(at.client)
        async with at.client.stream("GET", "/v1/jobs/a/events", headers={**SSE, "Origin": FRIEND}) as response:
            assert response.headers["access-control-allow-origin"] == FRIEND
            assert response.headers["vary"] == "Accept, Origin"


# ---- the page ----


async def test_the_page_may_load_and_ask_nothing_but_its_own(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    again = await client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_what_the_page_needs_is_found_where_it_says(client: httpx.AsyncClient) -> None:
    page = await client.get("/static/index.html")
    assert page.content == (await client.get("/")).content
    needed = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
    assert len(needed) >= 3
    for path in needed:
        response = await client.get(f"/{path}")
        assert response.status_code == 200
        assert response.headers["content-type"].partition(";")[0] in ("text/javascript", "text/css", "image/svg+xml")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["etag"]


async def test_a_document_is_never_taken_for_a_page(client: httpx.AsyncClient) -> None:
    await client.post("/v1/jobs/a/events", json={"message": "<script>alert(1)</script>"})
    for path in ("/v1/jobs/a?omit=steps", "/v1/jobs", "/v1/jobs/%3Cscript%3E"):
        response = await client.get(path, headers={"Accept": "application/xhtml+xml, */*;q=0.1"})
        assert "json" in response.headers["content-type"]
        assert response.headers["x-content-type-options"] == "nosniff"
    assert document(await client.get("/v1/jobs/a"))["message"] == "<script>alert(1)</script>"
