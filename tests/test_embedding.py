"""The gateway as a part of somebody else's app: under any path, with the outer app's lifespan, links and all."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from gateway.app import create_app
from gateway.settings import Settings
from tests.api import SSE, WAIT, client_of, create, document, frames_until, problem, report, served


async def hello(_: Request) -> Response:
    """The outer app's own page."""
    return PlainTextResponse("hello")


def outer(folder: Path, mount: str = "/status", middleware: list[Middleware] | None = None) -> Starlette:
    gateway_app = create_app(Settings(database=str(folder / "status.db")))
    app = Starlette(
        routes=[Route("/", hello), Mount(mount, gateway_app)],
        middleware=middleware,
        # Starlette types what it gives here wider than what it takes.
        lifespan=lambda _: gateway_app.router.lifespan_context(gateway_app),  # type: ignore[arg-type]
    )
    app.state.gateway = gateway_app.state.gateway
    return app


@asynccontextmanager
async def embedded(folder: Path, mount: str = "/status") -> AsyncIterator[httpx.AsyncClient]:
    app = outer(folder, mount)
    async with app.router.lifespan_context(app), client_of(app, f"http://localhost{mount}") as client:
        yield client


@pytest.mark.parametrize("mount", ["/status", "/a/b/c", "/with space/ä"])
async def test_under_any_mount_the_address_of_a_new_job_is_where_it_is(tmp_path: Path, mount: str) -> None:
    async with embedded(tmp_path, mount) as client:
        response = await client.post("/v1/jobs", json={"id": "a", "workspace": "w"})
        location = response.headers["location"]
        assert location.startswith("/")
        assert location.endswith("/v1/jobs/a?workspace=w")
        url = httpx.URL("http://localhost").copy_with(raw_path=location.encode("ascii"))
        assert (await client.get(url)).content == response.content
        assert document(await client.get("/openapi.json"))["servers"] == [
            {"url": location[: -len("/v1/jobs/a?workspace=w")]}
        ]


async def test_the_outer_app_keeps_its_own_addresses_and_answers(tmp_path: Path) -> None:
    async with embedded(tmp_path) as client:
        assert (await client.get("http://localhost/")).text == "hello"
        assert (await client.get("http://localhost/nowhere")).text == "Not Found"
        problem(await client.get("/nowhere"), 404, "not-found")
        problem(await client.put("/v1/jobs"), 405, "method-not-allowed")
        problem(await client.get("/v1/jobs", headers={"Host": "evil.example"}), 421, "misdirected-request")


async def test_the_page_is_at_the_mount_and_finds_its_files_from_there(tmp_path: Path) -> None:
    async with embedded(tmp_path) as client:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert (await client.get(page.url.join(path))).status_code == 200


async def test_behind_a_proxy_that_strips_a_prefix_links_carry_it(tmp_path: Path) -> None:
    app = create_app(Settings(database=str(tmp_path / "status.db")))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, root_path="/behind")
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/behind") as client:
            response = await client.post("/v1/jobs", json={"id": "a"})
            assert response.headers["location"] == "/behind/v1/jobs/a"


async def test_without_the_lifespan_every_answer_says_what_to_do(tmp_path: Path) -> None:
    app = Starlette(routes=[Mount("/status", create_app(Settings(database=str(tmp_path / "status.db"))))])
    async with app.router.lifespan_context(app), client_of(app, "http://localhost/status") as client:
        for method, path in (
            ("GET", "/v1/jobs"),
            ("POST", "/v1/jobs"),
            ("GET", "/healthz"),
            ("GET", "/"),
            ("GET", "/x"),
        ):
            found = problem(await client.request(method, path), 503, "unavailable")
            assert "lifespan=lambda _: gateway_app.router.lifespan_context(gateway_app)" in found["detail"]
    assert not (tmp_path / "status.db").exists()


async def test_after_the_lifespan_nothing_is_answered_any_more(tmp_path: Path) -> None:
    app = outer(tmp_path)
    async with client_of(app, "http://localhost/status") as client:
        async with app.router.lifespan_context(app):
            await create(client)
        problem(await client.get("/v1/jobs/a"), 503, "unavailable")


async def test_the_mount_itself_leads_to_the_page(tmp_path: Path) -> None:
    async with embedded(tmp_path) as client:
        response = await client.get("http://localhost/status", follow_redirects=True)
        assert str(response.url) == "http://localhost/status/"
        assert response.status_code == 200


async def test_two_gateways_in_one_app_know_nothing_of_each_other(tmp_path: Path) -> None:
    first, second = (create_app(Settings(database=str(tmp_path / f"{name}.db"))) for name in ("one", "two"))

    @asynccontextmanager
    async def both(_: Starlette) -> AsyncIterator[None]:
        async with first.router.lifespan_context(first), second.router.lifespan_context(second):
            yield

    app = Starlette(routes=[Mount("/one", first), Mount("/two", second)], lifespan=both)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.post("/one/v1/jobs", json={"id": "a"})).status_code == 201
        problem(await client.get("/two/v1/jobs/a"), 404, "job-not-found")


class Named(BaseHTTPMiddleware):
    """What many apps have: it stands between the stream and the server."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Mark the answer."""
        response = await call_next(request)
        response.headers["X-App"] = "outer"
        return response


@pytest.mark.parametrize("middleware", [[], [Middleware(Named)]], ids=["bare", "behind BaseHTTPMiddleware"])
async def test_a_stream_flows_through_the_outer_app(tmp_path: Path, middleware: list[Any]) -> None:
    async with served(tmp_path, app=outer(tmp_path, middleware=middleware)) as at:
        await at.client.post("/status/v1/jobs", json={"id": "a"})
        async with asyncio.timeout(WAIT), at.client.stream("GET", "/status/v1/jobs/a/events", headers=SSE) as response:
            assert response.headers.get("x-app") == ("outer" if middleware else None)
            reporting = asyncio.create_task(finish(at.client))
            frames = await frames_until(response, "end")
        assert frames[0].retry
        assert frames[-2].id == await reporting


async def finish(client: httpx.AsyncClient) -> str:
    """Run the job to its end; the position of that."""
    await client.post("/status/v1/jobs/a/events", json={"state": "running"})
    answer = await client.post("/status/v1/jobs/a/events", json={"state": "succeeded"})
    return str(document(answer)["position"])


async def test_websockets_are_turned_away(tmp_path: Path) -> None:
    app = create_app(Settings(database=str(tmp_path / "status.db")))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with app.router.lifespan_context(app):
        await app({"type": "websocket", "path": "/v1/events", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_an_app_can_be_started_again(tmp_path: Path) -> None:
    app = create_app(Settings(database=str(tmp_path / "status.db")))
    async with client_of(app) as client:
        async with app.router.lifespan_context(app):
            await create(client)
        async with app.router.lifespan_context(app):
            assert (await report(client, state="running")).status_code == 201
            assert (await client.get("/readyz")).status_code == 200


def test_making_an_app_opens_nothing_and_needs_no_settings(tmp_path: Path) -> None:
    script = "from gateway.app import create_app; create_app()"
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []
