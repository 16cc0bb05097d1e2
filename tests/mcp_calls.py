"""MCP messages as its clients send them, in both eras of the protocol, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

ERAS = ("2025-11-25", "2026-07-28")
ACCEPT = {"Accept": "application/json, text/event-stream"}
_PREFIX = "io.modelcontextprotocol/"
_ENVELOPE = {
    f"{_PREFIX}protocolVersion": ERAS[1],
    f"{_PREFIX}clientInfo": {"name": "tests", "version": "0"},
    f"{_PREFIX}clientCapabilities": {},
}


@dataclass(frozen=True, slots=True)
class Said:
    """A tool's answer: its structured content, its texts, and whether it is an error."""

    data: Any
    texts: list[str]
    is_error: bool


def request(era: str, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The arguments of `client.post` or `client.stream` for a message in an era."""
    asked = dict(params or {})
    headers = {**ACCEPT, "MCP-Protocol-Version": era}
    if era == ERAS[1]:
        asked["_meta"] = _ENVELOPE
        headers["Mcp-Method"] = method
        if "name" in asked:
            headers["Mcp-Name"] = asked["name"]
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": asked, **more}
    return {"url": "/mcp", "json": message, "headers": headers}


def call(era: str, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a call of a tool."""
    return request(era, "tools/call", {"name": tool, "arguments": arguments})


def reply(response: httpx.Response) -> Any:
    """The one JSON-RPC message of an answer, as JSON or as an event stream."""
    if response.headers["content-type"].startswith("text/event-stream"):
        blocks = [block for block in response.text.split("\r\n\r\n") if block and not block.startswith(":")]
        assert len(blocks) == 1, response.text
        event, data = blocks[0].split("\r\n")
        assert event == "event: message"
        return orjson.loads(data.removeprefix("data: "))
    assert response.headers["content-type"] == "application/json", response.text
    return orjson.loads(response.content)


def said(response: httpx.Response) -> Said:
    """What a tool said."""
    assert response.status_code == 200, response.text
    message = reply(response)
    assert message["id"] == 7
    result = message["result"]
    assert all(block["type"] == "text" for block in result["content"])
    texts = [block["text"] for block in result["content"]]
    return Said(result.get("structuredContent"), texts, result["isError"])


async def tool(client: httpx.AsyncClient, name: str, era: str = ERAS[1], /, **arguments: Any) -> Said:
    """Call a tool, and what it said."""
    return said(await client.post(**call(era, name, arguments)))


def error(response: httpx.Response, status: int, code: int) -> str:
    """The text of a JSON-RPC error of no certain request."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    message = orjson.loads(response.content)
    assert message["jsonrpc"] == "2.0"
    assert message["id"] is None
    assert message["error"]["code"] == code
    assert message["error"]["data"]["status"] == status
    return str(message["error"]["message"])
