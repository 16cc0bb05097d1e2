"""Another dialect is one class: its routes, its errors everywhere under its prefix, and what it needs to run."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway.dialects.base import Answer, Dialect, Operation, error_headers
from gateway.dialects.body import MAX_BODY
from gateway.dialects.canonical import Canonical
from gateway.errors import GatewayError
from gateway.service import Gateway
from tests.api import api, create, problem

LIFE: list[str] = []


async def shout(gateway: Gateway, request: Request) -> Response:
    """The job's state in capitals."""
    standing = await gateway.standing("default", request.path_params["name"])
    return PlainTextResponse(standing.job.state.upper())


async def echo(_: Gateway, request: Request) -> Response:
    return Response(await request.body())


async def stumble(_: Gateway, __: Request) -> Response:
    raise ZeroDivisionError("of the inside")


class Loud(Dialect):
    """A toy: plain text, and errors of one line."""

    name = "loud"
    prefix = "/loud"
    operations = (
        Operation("shout", "GET", "/shout/{name}", shout, "Shout", (Answer(200, "The state."),)),
        Operation("echo", "POST", "/echo", echo, "Echo", (Answer(200, "The body."),)),
        Operation("stumble", "GET", "/stumble", stumble, "Stumble", ()),
    )

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


async def test_a_dialect_takes_query_parameters_that_it_does_not_know(client: httpx.AsyncClient) -> None:
    assert (await client.get("/loud/shout/a?colour=red")).status_code == 200


async def test_what_a_dialect_needs_runs_while_the_gateway_does(tmp_path: Path) -> None:
    LIFE.clear()
    async with api(tmp_path, (Canonical, Loud)):
        assert LIFE == ["begins, None"]
    assert LIFE == ["begins, None", "ends, None"]
