"""The real MCP clients, unchanged, told what to do over stdin: a JSON list a line in, a JSON object a line out.

Run as `.clients/mcp/bin/python tests/clients/mcp_agent.py URL`, the URL of the endpoint itself. A line is
`[number, client, method, …]` with a client of CLIENTS and the method `call`, a tool and its arguments, or `tools`. Its
answer has the same number, and comes when it is there: calls run side by side, each client in one session for all of
them. The answer holds what the client's result does, or `error`, the class of what it raised, and `text`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import fastmcp  # type: ignore[import-not-found]  # it is in this program's environment only
import mcp
from mcp.client.streamable_http import streamable_http_client


@asynccontextmanager
async def session(url: str) -> AsyncIterator[mcp.ClientSession]:
    """The SDK's session as programs of 2025 use it: the handshake of that era, and no probe before."""
    async with streamable_http_client(url) as (reading, writing), mcp.ClientSession(reading, writing) as client:
        await client.initialize()
        yield client


CLIENTS: dict[str, Callable[[str], Any]] = {
    "mcp": mcp.Client,
    "mcp legacy": lambda url: mcp.Client(url, mode="legacy"),
    "session": session,
    "fastmcp": fastmcp.Client,
    "fastmcp legacy": lambda url: fastmcp.Client(url, mode="legacy"),
}


def failure(error: BaseException) -> dict[str, str]:
    """What a client raised; of a group the first, which is what went wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return {"error": type(error).__name__, "text": str(error)}


async def answer(client: Any, method: str, *words: Any) -> dict[str, Any]:
    """What a client says to a call."""
    try:
        if method == "tools":
            listed = await client.list_tools()
            tools = listed if isinstance(listed, list) else listed.tools
            return {"tools": [tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]}
        result = await client.call_tool(*words)
        typed = getattr(result, "data", None)
        return {
            "data": result.structured_content,
            "texts": [block.text for block in result.content],
            "is_error": result.is_error,
            "typed": None if typed is None else vars(typed),
        }
    except Exception as error:
        return failure(error)


async def main(url: str) -> None:
    """Do as told until stdin ends."""
    clients: dict[str, Any] = {}
    calls = set()

    async def call(number: int, client: Any, *words: Any) -> None:
        told = {"number": number, **await answer(client, *words)}
        print(json.dumps(told, default=str), flush=True)

    async with AsyncExitStack() as stack:
        while line := await asyncio.to_thread(sys.stdin.readline):
            number, name, *words = json.loads(line)
            try:
                if name not in clients:
                    clients[name] = await stack.enter_async_context(CLIENTS[name](url))
            except Exception as error:
                print(json.dumps({"number": number, **failure(error)}), flush=True)
                continue
            task = asyncio.create_task(call(number, clients[name], *words))
            calls.add(task)
            task.add_done_callback(calls.discard)
        await asyncio.gather(*calls)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
