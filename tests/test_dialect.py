"""Another dialect is one class: its routes, its errors everywhere under its prefix, and what it needs to run."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway.dialects.base import Answer, Dialect, Operation, error_headers
from gateway.dialects.body import MAX_BODY, BoundedBody, linger
from gateway.dialects.canonical import Canonical
from gateway.errors import GatewayError
from gateway.service import Gateway
from tests.api import api, app_of, create, problem

LIFE: list[str] = []


async def shout(gateway: Gateway, request: Request) -> Response:
    """The job's state in capitals."""
    standing = await gateway.standing("default", request.path_params["name"])
    return PlainTextResponse(standing.job.state.upper())


async def echo(_: Gateway, request: Request) -> Response:
    return Response(await request.body())


async def stumble(_: Gateway, __: Request) -> Response:
    raise ZeroDivisionError("of the inside")


async def drip(_: Gateway, __: Request) -> Response:
    async def drops() -> AsyncIterator[str]:
        for _ in range(3):
            yield "drop "

    return StreamingResponse(drops())


class Collapse:
    """An ASGI app of its own, as some systems' servers are, with a fault."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("before any answer")


class Loud(Dialect):
    """A toy: plain text, and errors of one line."""

    name = "loud"
    prefix = "/loud"
    operations = (
        Operation("shout", "GET", "/shout/{name}", shout, "Shout", (Answer(200, "The state."),)),
        Operation("echo", "POST", "/echo", echo, "Echo", (Answer(200, "The body."),)),
        Operation("drip", "GET", "/drip", drip, "Drip", (Answer(200, "Drops."),)),
        Operation("stumble", "GET", "/stumble", stumble, "Stumble", ()),
    )

    def routes(self, gateway: Gateway) -> list[BaseRoute]:
        """Those of the table, and a foreign app."""
        return [*super().routes(gateway), Route("/collapse", Collapse())]

    def problem(self, error: GatewayError, request: Request) -> Response:
        """One line in capitals."""
        text = f"{request.method} {error.status} {error.title.upper()}!"
        return PlainTextResponse(text, error.status, error_headers(error))

    @asynccontextmanager
    async def running(self, gateway: Gateway) -> AsyncIterator[None]:
        """Note when it runs."""
        LIFE.append(f"begins, {gateway.readiness()}")
        yield
        LIFE.append(f"ends, {gateway.readiness()}")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    LIFE.clear()
    async with api(tmp_path, (Canonical, Loud)) as found:
        await create(found)
        yield found


async def test_one_job_is_read_in_both_dialects(client: httpx.AsyncClient) -> None:
    assert (await client.get("/loud/shout/a")).text == "PENDING"
    assert (await client.get("/v1/jobs/a")).status_code == 200


@pytest.mark.parametrize(
    "method, path, headers, answer",
    [
        ("GET", "/loud/shout/nobody", {}, "GET 404 JOB NOT FOUND!"),
        ("GET", "/loud/nowhere", {}, "GET 404 NOT FOUND!"),
        ("GET", "/loud", {}, "GET 404 NOT FOUND!"),
        ("PUT", "/loud/echo", {}, "PUT 405 METHOD NOT ALLOWED!"),
        ("GET", "/loud/shout/a", {"Host": "evil.example"}, "GET 421 MISDIRECTED REQUEST!"),
        ("POST", "/loud/echo", {"Origin": "null"}, "POST 403 FOREIGN ORIGIN!"),
        ("POST", "/loud/echo", {"Content-Length": str(MAX_BODY + 1)}, "POST 413 TOO LARGE!"),
        ("GET", "/loud/stumble", {}, "GET 500 THE GATEWAY FAILED!"),
    ],
)
async def test_every_refusal_under_its_prefix_is_in_its_own_form(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], answer: str
) -> None:
    response = await client.request(method, path, headers=headers)
    assert response.text == answer
    assert response.status_code == int(answer.split()[1])


async def test_a_refusal_elsewhere_is_not_in_its_form(client: httpx.AsyncClient) -> None:
    problem(await client.get("/louder"), 404, "not-found")
    problem(await client.get("/v1/loud"), 404, "not-found")


async def test_what_breaks_in_a_dialect_is_logged_with_where_and_why(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        await client.get("/loud/stumble")
    assert "ZeroDivisionError: of the inside" in caplog.text
    assert "'/loud/stumble' failed" in caplog.text


async def test_what_breaks_outside_of_every_endpoint_is_answered_in_its_form_too(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    transport = httpx.ASGITransport(app_of(client), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as tolerant:
        response = await tolerant.get("/loud/collapse")
    assert response.text == "GET 500 THE GATEWAY FAILED!"
    assert "before any answer" in caplog.text


async def test_head_of_an_answer_in_pieces_has_no_body(client: httpx.AsyncClient) -> None:
    assert (await client.get("/loud/drip")).text == "drop drop drop "
    head = await client.head("/loud/drip")
    assert (head.status_code, head.content) == (200, b"")


async def test_a_dialect_takes_query_parameters_that_it_does_not_know(client: httpx.AsyncClient) -> None:
    assert (await client.get("/loud/shout/a?colour=red")).status_code == 200


async def test_what_a_dialect_needs_runs_while_the_gateway_does(tmp_path: Path) -> None:
    LIFE.clear()
    async with api(tmp_path, (Canonical, Loud)):
        assert LIFE == ["begins, None"]
    assert LIFE == ["begins, None", "ends, None"]


# ---- bodies ----


def receiving(*messages: dict[str, Any]) -> Receive:
    waiting = list(messages)

    async def receive() -> Any:
        return waiting.pop(0)

    return receive


async def test_after_the_body_a_bounded_one_tells_of_the_end_of_the_connection() -> None:
    scope = {"type": "http", "headers": []}
    body = BoundedBody(scope, receiving({"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}))
    assert [(await body())["type"], (await body())["type"]] == ["http.request", "http.disconnect"]
    assert body.complete


@pytest.mark.parametrize("version, said", [("1.1", "close"), ("2", None)])
async def test_only_a_connection_of_http_1_is_told_that_it_closes(version: str, said: str | None) -> None:
    scope = {"type": "http", "headers": [], "http_version": version}
    body = BoundedBody(
        scope, receiving({"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"})
    )
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await linger(PlainTextResponse("too large", 413), scope, body, send)
    assert Headers(raw=sent[0]["headers"]).get("connection") == said
    assert [message.get("body") for message in sent] == [None, b"too large", b""]
