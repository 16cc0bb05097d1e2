"""The dialect of mcp-background-job at `/mcp`: four tools that agents call over MCP's streamable HTTP.

Law: what HTTP itself can refuse is refused here, in the form of a JSON-RPC error; what an agent asked wrongly is an
error of the tool, whose text the agent reads. The protocol is the SDK's, and is loaded when it is first asked for.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import ClassVar, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.dialects.base import ANONYMOUS, JSON, Answer, Operation, Resource, error_headers
from gateway.dialects.body import require_media_type
from gateway.dialects.mcp_tools import MAX_SHOWN, TOOLS, WAIT, ToolError
from gateway.dialects.requests import negotiate
from gateway.dialects.translator import Translator, workspace_of
from gateway.errors import (
    GatewayError,
    Internal,
    InvalidReport,
    JobDeleted,
    JobFinished,
    JobNotFound,
    TooLarge,
    Unavailable,
)
from gateway.eventlog.base import Standing
from gateway.job import Job
from gateway.record import Filter, dumps
from gateway.report import Identity, Report, State
from gateway.service import Gateway
from gateway.values import MAX_NAME, Json, parse_id, parse_message, parse_time, read_json

SSE: Final = "text/event-stream"
MAX_MESSAGE: Final = 64 * 1024  # bytes of a message; a call here takes a few hundred, and the SDK parses on the loop
PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR = -32700, -32600, -32603  # JSON-RPC's codes
LISTED: Final = 100  # jobs that are listed; an agent reads every one of them
LISTED_BYTES: Final = 128 * 1024  # of these; they leave twice, with escapes, and a client takes 1 MiB an event
TOLD: Final = 4000  # characters of a message that are told; an agent reads them all
KILL_PATIENCE: Final = 5.0  # seconds a kill waits for the job's end, as the original does
MAX_WAITING: Final = 500  # calls of wait_for_job at a time; each costs 110 KiB in the SDK
NEGOTIATED: Final = ((b"accept", f"{JSON}, {SSE}".encode()), (b"content-type", JSON.encode()))

_log = logging.getLogger(__name__)
_Answer = tuple[Json, list[str]]


class Mcp(Translator):
    """mcp-background-job; needs the extra `mcp`, without which it says so."""

    name: ClassVar[str] = "mcp"
    prefix: ClassVar[str] = "/mcp"
    words: ClassVar[Mapping[State, str]] = {
        State.CREATED: "running",
        State.PENDING: "running",
        State.RUNNING: "running",
        State.PAUSING: "running",
        State.PAUSED: "running",
        State.RESUMING: "running",
        State.RETRYING: "running",
        State.CANCELLING: "running",
        State.SUCCEEDED: "completed",
        State.FAILED: "failed",
        State.CANCELLED: "killed",
        State.UNKNOWN: "running",
    }
    states: ClassVar[Mapping[str, State]] = {
        "running": State.RUNNING,
        "completed": State.SUCCEEDED,
        "failed": State.FAILED,
        "killed": State.CANCELLED,
    }

    def __init__(self) -> None:
        super().__init__()
        self._serve: ASGIApp | None = None
        self._waiting = 0
        self._tools: Mapping[str, Callable[[Gateway, str, Mapping[str, Json]], Awaitable[_Answer]]] = {
            "list_jobs": self._list_jobs,
            "get_job_status": self._get_job_status,
            "kill_job": self._kill_job,
            "wait_for_job": self._wait_for_job,
        }
        answer = Answer(200, "The answer to the message.", {})
        # Not in the contract: MCP describes itself (tools/list), and JSON-RPC is no resource.
        call = Operation("call_mcp", "POST", "", self._exchange, "One message of MCP", (answer,), documented=False)
        self.operations = (call,)

    # Both directions

    def status(self, job: Job) -> dict[str, Json]:
        """What `get_job_status` answers."""
        return {"status": self.word(job.state)}

    def summary(self, job: Job) -> dict[str, Json]:
        """The job as `list_jobs` shows it. What no one has named has its process, or its id, for a command."""
        command = job.name if job.name != job.id else job.process or job.name
        return {"job_id": job.id, **self.status(job), "command": command, "started": _started(job)}

    def news(self, job: Job) -> dict[str, Json]:
        """What `wait_for_job` tells of the job."""
        return {
            "position": job.position,
            **self.status(job),
            "state": job.state,
            "progress": job.progress,
            "step": job.step,
            "message": None if job.message is None else job.message[:TOLD],
            "error": None if job.error is None else job.error["message"][:TOLD],
        }

    def parse(self, body: Json) -> tuple[Identity, Report]:
        """The answer of `get_job_status`, or one of those that `list_jobs` lists, as a report. See Translator.

        `started` is the time of a report that says running only: of another one it would be the end's.
        """
        if not isinstance(body, dict):
            raise InvalidReport("the status must be a JSON object", field="")
        state = self.read_word(body.get("status"))
        started = parse_time(body["started"], "started") if "started" in body else None
        name = parse_message(body.get("command", ""), "command").replace("\0", "")[:MAX_NAME] or None
        job_id = parse_id(body["job_id"], "job_id") if "job_id" in body else None
        time = started if state is State.RUNNING else None
        return Identity(id=job_id, name=name), Report(state=state, time=time)

    # HTTP

    def problem(self, error: GatewayError, request: Request) -> Response:
        """A JSON-RPC error of no certain request; the problem is its data."""
        code = INTERNAL_ERROR if error.status >= 500 else INVALID_REQUEST
        if isinstance(error, InvalidReport):  # here only a body that is no JSON
            code = PARSE_ERROR
        body = {"code": code, "message": error.detail, "data": error.problem()}
        data = dumps({"jsonrpc": "2.0", "id": None, "error": body})
        return Response(data, error.status, error_headers(error), JSON)

    def mount(self, gateway: Gateway) -> BaseRoute:
        """The one address, with a slash at its end or without: clients are given both."""
        route = Route(self.prefix, Resource(self, gateway, self.operations), name=self.name)
        route.path_regex = re.compile(f"^{self.prefix}/?$")
        return route

    async def _exchange(self, gateway: Gateway, request: Request) -> Response:
        """`POST /mcp`: one message, answered by the SDK's server."""
        require_media_type(request, JSON)
        for media in (JSON, SSE):  # the SDK answers in the one or the other
            negotiate(request, media)
        body = await request.body()
        if len(body) > MAX_MESSAGE:
            raise TooLarge(f"the message has more than {MAX_MESSAGE} bytes; no call here needs so many")
        read_json(body)  # stricter than the SDK's parsers: what passes can be written again, say in an error's text
        if self._serve is None:
            self._serve = await asyncio.to_thread(_load, partial(self._call, gateway))
        return Exchange(self._serve, body)

    # Tools

    async def _call(self, gateway: Gateway, name: str, arguments: Mapping[str, Json], request: Request) -> _Answer:
        """What a tool answers, and the same as texts. Raises ToolError."""
        tool = TOOLS.get(name)
        if tool is None:
            raise ToolError(f"Unknown tool: {name[:MAX_SHOWN]!r}")
        tool.check(arguments)
        try:
            return await self._tools[name](gateway, workspace_of(request), arguments)
        except (JobNotFound, JobDeleted) as error:
            raise ToolError(f"Job {arguments['job_id'][:MAX_SHOWN]} not found") from error
        except GatewayError as error:
            raise ToolError(f"{tool.failure}: {error.detail}") from error
        except Exception as error:
            _log.exception("the tool %s failed", name)
            raise ToolError(f"{tool.failure}: {Internal().detail}") from error

    async def _list_jobs(self, gateway: Gateway, workspace: str, _: Mapping[str, Json]) -> _Answer:
        page = await gateway.jobs(Filter(workspaces=frozenset([workspace])), None, LISTED)
        left = LISTED_BYTES
        shown = []
        for standing in page.standings:
            data = self.rendered(standing.job, "summary", lambda job: dumps(self.summary(job)))
            left -= len(data)
            if left < 0:
                break
            shown.append((_started(standing.job), data))
        newest = sorted(shown, key=lambda item: item[0], reverse=True)
        answer, texts = _answer(b'{"jobs":[' + b",".join(data for _, data in newest) + b"]}")
        if page.next is not None or len(shown) < len(page.standings):
            texts.append(f"Only the newest {len(shown)} are listed; there are more.")
        return answer, texts

    async def _get_job_status(self, gateway: Gateway, workspace: str, arguments: Mapping[str, Json]) -> _Answer:
        standing = await _standing(gateway, workspace, arguments["job_id"])
        return _answer(self.rendered(standing.job, "status", lambda job: dumps(self.status(job))))

    async def _kill_job(self, gateway: Gateway, workspace: str, arguments: Mapping[str, Json]) -> _Answer:
        word = "already_terminated"
        try:
            standing = await _standing(gateway, workspace, arguments["job_id"])
            if not standing.job.terminal:
                outcome = await gateway.wish(*standing.job.key, "cancel", by=ANONYMOUS)
                standing = await _later(gateway, outcome.standing, KILL_PATIENCE)
                if not standing.job.terminal or standing.job.state is State.CANCELLED:
                    word = "killed"  # or will be: the wish stands
        except (JobNotFound, JobDeleted):
            word = "not_found"
        except JobFinished:  # between the look and the wish
            pass
        return _answer(dumps({"status": word}))

    async def _wait_for_job(self, gateway: Gateway, workspace: str, arguments: Mapping[str, Json]) -> _Answer:
        standing = await _standing(gateway, workspace, arguments["job_id"])
        after = arguments.get("after", standing.job.position)
        if self._waiting >= MAX_WAITING:
            raise Unavailable(f"{MAX_WAITING} calls wait already; wait a little, then call again")
        self._waiting += 1
        try:
            seconds, until = arguments.get("timeout_s", WAIT), arguments.get("until", "change")
            job = (await _later(gateway, standing, seconds, None if until == "end" else after)).job
        finally:
            self._waiting -= 1
        news = self.rendered(job, "news", lambda job: dumps(self.news(job)))
        changed = b"false" if job.position == after else b"true"
        return _answer(b'{"changed":' + changed + b"," + news[1:])


class Exchange(Response):
    """The SDK's answer to a message: JSON, or an event stream that ends with the answer."""

    def __init__(self, serve: ASGIApp, body: bytes) -> None:
        super().__init__()
        self._serve, self._message = serve, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand it on with what was read, and with headers that say what was negotiated, for the SDK is pickier."""
        pending: list[Message] = [{"type": "http.request", "body": self._message, "more_body": False}]

        async def receive_again() -> Message:
            return pending.pop() if pending else await receive()

        names = {name for name, _ in NEGOTIATED}
        headers = [*(pair for pair in scope["headers"] if pair[0] not in names), *NEGOTIATED]
        await self._serve({**scope, "headers": headers}, receive_again, send)


def _load(call: Callable[[str, Mapping[str, Json], Request], Awaitable[_Answer]]) -> ASGIApp:
    """The SDK's server; takes half a second and 35 MiB the first time, which only those pay who use it."""
    try:
        from gateway.dialects.mcp_sdk import make_server  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        detail = f"MCP needs an extra that is not installed: pip install 'status-gateway[mcp]' ({error})"
        raise Unavailable(detail) from error
    return make_server(call)


async def _standing(gateway: Gateway, workspace: str, job_id: str) -> Standing:
    """The job of an id that an agent gave; what can't be an id is no job's. Raises JobNotFound, JobDeleted."""
    try:
        parse_id(job_id)
    except InvalidReport as error:
        raise JobNotFound from error
    return gateway.glance(workspace, job_id) or await gateway.standing(workspace, job_id)


async def _later(gateway: Gateway, standing: Standing, seconds: float, after: str | None = None) -> Standing:
    """The job once it has ended, or is past the position `after` where one is given; as it still is after so many
    seconds, or when the gateway shuts down."""
    end = asyncio.get_running_loop().time() + seconds
    while not standing.job.terminal and after in (None, standing.job.position):
        left = end - asyncio.get_running_loop().time()
        if left <= 0:
            break
        standing = await gateway.wait(standing, left)
        if gateway.readiness() is not None:  # then a wait may return at once, again and again
            break
    return standing


def _answer(data: bytes) -> _Answer:
    return orjson.loads(data), [data.decode()]


def _started(job: Job) -> str:
    return job.started or job.created
