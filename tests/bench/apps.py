"""The Python servers that stand beside the gateway; `uvicorn --factory tests.bench.apps:NAME` runs one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONSTANT = "STATUS_BENCH_CONSTANT"  # environment variable: the file that holds the constant's bytes
QUEUED = 1000  # events that may wait for one reader


def hand_written() -> Starlette:
    """What one writes with sse-starlette in an afternoon: a queue for each reader, nothing kept."""
    queues: set[asyncio.Queue[ServerSentEvent]] = set()
    published = 0

    async def stream(request: Request) -> Response:
        queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue(QUEUED)

        async def events() -> AsyncIterator[ServerSentEvent]:
            queues.add(queue)
            try:
                while True:
                    yield await queue.get()
            finally:
                queues.discard(queue)

        return EventSourceResponse(events())

    async def publish(request: Request) -> Response:
        nonlocal published
        published += 1
        data = (await request.body()).decode()
        for queue in queues:
            queue.put_nowait(ServerSentEvent(data, id=str(published), event="status"))
        return Response(status_code=202)

    return Starlette(routes=[Route("/stream", stream), Route("/publish", publish, methods=["POST"])])


def constant() -> Starlette:
    """A route that answers the same bytes for ever, GET and POST."""
    data = Path(os.environ[CONSTANT]).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(data, media_type="application/json")

    async def take(request: Request) -> Response:
        await request.body()
        return Response(data, media_type="application/json")

    return Starlette(routes=[Route("/constant", answer), Route("/constant", take, methods=["POST"])])
