"""Python's readers of event streams, used as their documentation does: `sse.py READER URL`.

None of these comes back by itself after a connection that broke, so each is opened again with the last id that it gave.
Whatever it reads is told as a line of JSON, until the stream's `end`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from typing import Any

import httpx
from httpx_sse import SSEError, connect_sse

# These are in the readers' environment only, where no type checker looks.
aiohttp: Any = importlib.import_module("aiohttp")
aiohttp_sse: Any = importlib.import_module("aiohttp_sse_client2.client")
requests: Any = importlib.import_module("requests")
sseclient: Any = importlib.import_module("sseclient")

AGAIN = 0.5  # seconds before it is opened again
TRIES = 500


def tell(event: str, last_id: str = "", data: str = "") -> None:
    """One line for the test."""
    print(json.dumps({"event": event, "id": last_id, "data": data}), flush=True)


def by_httpx_sse(url: str, last_id: str) -> str:
    """As the README of httpx-sse shows it; gives the last id, or "end"."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    try:
        with httpx.Client(timeout=60) as client, connect_sse(client, "GET", url, headers=headers) as source:
            for sse in source.iter_sse():
                tell(sse.event, sse.id, sse.data)
                last_id = sse.id or last_id
                if sse.event == "end":
                    return "end"
    except (httpx.TransportError, SSEError):
        tell("broken")
    return last_id


def by_sseclient(url: str, last_id: str) -> str:
    """As the README of sseclient-py shows it; gives the last id, or "end"."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
    try:
        with requests.get(url, stream=True, headers=headers, timeout=60) as response:
            for event in sseclient.SSEClient(response).events():
                tell(event.event, event.id or "", event.data)
                last_id = event.id or last_id
                if event.event == "end":
                    return "end"
    except requests.RequestException:
        tell("broken")
    return last_id


def by_aiohttp_sse_client2(url: str, last_id: str) -> str:
    """As the README of aiohttp-sse-client2 shows it; gives the last id, or "end"."""

    async def read() -> str:
        last = last_id
        headers = {"Last-Event-ID": last} if last else {}
        try:
            async with aiohttp_sse.EventSource(url, headers=headers) as source:
                async for event in source:
                    tell(event.type, event.last_event_id, event.data)
                    last = event.last_event_id or last
                    if event.type == "end":
                        return "end"
        except (aiohttp.ClientError, ConnectionError):
            tell("broken")
        return last

    return asyncio.run(read())


READERS = {"httpx-sse": by_httpx_sse, "sseclient-py": by_sseclient, "aiohttp-sse-client2": by_aiohttp_sse_client2}


def main() -> None:
    """Read to the end."""
    read, url, last_id = READERS[sys.argv[1]], sys.argv[2], ""
    for _ in range(TRIES):
        last_id = read(url, last_id)
        if last_id == "end":
            tell("closed")
            return
        time.sleep(AGAIN)


main()
