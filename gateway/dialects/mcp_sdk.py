"""The MCP SDK's own server around the dialect's tools. The only file that imports the SDK, and so needs the extra.

Law: nothing outlives its request. Each has a session manager of its own, which speaks both eras of the protocol and
whose tasks end with it, also when the client is gone; a request needs nothing of those before it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, cast

from mcp.server import Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, TextContent
from mcp.types import Tool as ListedTool
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import __version__
from gateway.dialects.mcp_tools import TOOLS, Tool, ToolError
from gateway.values import Json

NAME: Final = "mcp-background-job"  # as the original calls itself: clients may look for it
INSTRUCTIONS: Final = (
    "Status of jobs that run elsewhere. Wait for a job with wait_for_job: it returns when the job changes or ends, "
    "so do not ask for the status again and again."
)
Call: TypeAlias = Callable[[str, Mapping[str, Json], Request], Awaitable[tuple[Json, list[str]]]]


def make_server(call: Call) -> ASGIApp:
    """The endpoint as an ASGI app. `call` gives a tool's answer and its texts, or raises ToolError."""
    _quieten()

    async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=listed)

    async def call_tool(context: ServerRequestContext[Any], asked: CallToolRequestParams) -> CallToolResult:
        try:
            data, texts = await call(asked.name, asked.arguments or {}, cast(Request, context.request))
        except ToolError as error:
            return CallToolResult(content=[TextContent(text=str(error))], is_error=True)
        return CallToolResult(content=[TextContent(text=text) for text in texts], structured_content=data)

    listed = [_listed(tool) for tool in TOOLS.values()]
    schemas = {tool.name: tool.input for tool in TOOLS.values()}
    server = Server(
        NAME,
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=schemas.get,
    )
    # Guard has checked Host and Origin by the gateway's own settings; a second list could only disagree with it.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        manager = StreamableHTTPSessionManager(server, stateless=True, security_settings=security)
        async with manager.run():
            await manager.handle_request(scope, receive, send)

    return serve


def _listed(tool: Tool) -> ListedTool:
    return ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input,
        output_schema=dict(tool.output),
    )


def _quieten() -> None:
    """Let the SDK log what went wrong only: at `info` it says something of every call."""
    log = logging.getLogger("mcp.server")
    if log.getEffectiveLevel() == logging.INFO:
        log.setLevel(logging.WARNING)
