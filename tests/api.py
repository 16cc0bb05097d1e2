"""The HTTP contract's tests ask the real app over a real log: in this process, and for streams over a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from httpx_sse import EventSource, ServerSentEvent
from starlette.applications import Starlette

from gateway.app import DIALECTS, create_app
from gateway.dialects.base import Dialect
from gateway.settings import Settings
from tests.servers import SERVERS

WAIT = 45.0  # seconds; all takes milliseconds where nothing else runs. Less than the 60 that a reader may ask to wait
NDJSON = {"Content-Type": "application/x-ndjson"}
SSE = {"Accept": "text/event-stream"}
PROBLEM = "urn:status-gateway:problem:"


class Client(httpx.AsyncClient):
    """A client that knows the app that it asks."""

    app: Starlette


def client_of(app: Starlette, base: str = "http://localhost") -> Client:
    """A client that asks the app without a socket; not for streams, which it would read to their end first."""
    client = Client(transport=httpx.ASGITransport(app), base_url=base)
    client.app = app
    return client


def app_of(client: httpx.AsyncClient) -> Starlette:
    """The app behind a client of `api`."""
    assert isinstance(client, Client)
    return client.app


@asynccontextmanager
async def api(
    folder: Path, dialects: tuple[type[Dialect], ...] = DIALECTS, under: str | None = None, **settings: Any
) -> AsyncIterator[Client]:
    """A client of a gateway whose log lies in the folder: in this process, or under the server of that name."""
    if under is not None:
        async with served(folder, dialects, under=under, **settings) as found:
            yield found.client
        return
    app = create_app(Settings(database=str(folder / "status.db"), **settings), dialects)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway that listens on a port of this machine."""

    app: Starlette
    client: Client
    port: int

    async def raw(self, data: bytes) -> bytes:
        """What comes back on a connection of its own until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(WAIT):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def served(
    folder: Path,
    dialects: tuple[type[Dialect], ...] = DIALECTS,
    app: Starlette | None = None,
    under: str = "ours",
    **settings: Any,
) -> AsyncIterator[Served]:
    """A gateway on a free port, ended in order afterwards; or another app that has a gateway in its state."""
    chosen = Settings(**{"database": str(folder / "status.db"), "grace": 2.0, **settings})
    app = app or create_app(chosen, dialects)
    # The client outlives the server: what it asked for may be answered while the server ends.
    async with Client(timeout=WAIT, trust_env=False) as client, SERVERS[under](app, chosen) as port:
        client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        client.app = app
        yield Served(app, client, port)


async def frames_until(response: httpx.Response, event: str) -> list[ServerSentEvent]:
    """The frames of a stream up to the first of that kind."""
    found = []
    async with asyncio.timeout(WAIT):
        async for frame in EventSource(response).aiter_sse():
            found.append(frame)
            if frame.event == event:
                return found
    raise AssertionError(f"the stream ended without {event}: {found}")


async def create(client: httpx.AsyncClient, job: str = "a", **members: Any) -> dict[str, Any]:
    """A new job's document."""
    response = await client.post("/v1/jobs", json={"id": job, **members})
    assert response.status_code == 201, response.text
    return document(response)


async def report(client: httpx.AsyncClient, job: str = "a", **members: Any) -> httpx.Response:
    """The answer to a report."""
    return await client.post(f"/v1/jobs/{job}/events", json=members)


def document(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer."""
    assert response.headers["content-type"] == "application/json"
    value = orjson.loads(response.content)
    assert isinstance(value, dict)
    return value


def problem(response: httpx.Response, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """The problem document of an answer, which must be of this status and code, and name that field."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    value = orjson.loads(response.content)
    assert value["type"] == PROBLEM + code, value
    assert value["status"] == status
    assert value["title"]
    assert value["detail"]
    if field is not None:
        assert value["field"] == field, value
    return dict(value)
