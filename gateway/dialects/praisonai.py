"""PraisonAI's async jobs, under `/praisonai`: status, list, result, cancel, delete, and the stream, which here resumes.

Law: texts, statuses and forms of errors are those of its own server, since its users know them. Only taking new runs is
left out: that is the business of whoever runs them.
"""

from __future__ import annotations

from typing import ClassVar, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects.base import ANONYMOUS, JSON, Endpoint, Operation, error_headers
from gateway.dialects.pipe import TranslatedStream, translation
from gateway.dialects.praisonai_bodies import STATES, WORDS, heartbeat, read_status, result_body, status_body, tell
from gateway.dialects.requests import cursor
from gateway.dialects.translator import Translator, job_of, workspace_of
from gateway.errors import (
    GatewayError,
    InvalidCursor,
    InvalidReport,
    InvalidRequest,
    JobDeleted,
    JobFinished,
    JobNotFinished,
    JobNotFound,
    MethodNotAllowed,
    NotFound,
)
from gateway.eventlog.base import Standing
from gateway.eventlog.numbered import count, numbered
from gateway.frames import Form
from gateway.job import Job
from gateway.record import Filter, dumps
from gateway.report import Identity, Report, State
from gateway.service import Gateway
from gateway.values import MAX_INTEGER, Json
from gateway.wanted import Wanted

RUN: Final = "/api/v1/runs/{job_id}"
PAGE_SIZE: Final = 20
MAX_PAGE_SIZE: Final = 100
HEARTBEAT: Final = 5.0  # seconds without a change, as its server has it
STREAMED: Final = Form("sse", frozenset({"steps", "details"}))  # of which its stream says nothing
HEADERS: Final = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
TITLES: Final = {NotFound: "Not Found", MethodNotAllowed: "Method Not Allowed"}  # in the words of its framework


class PraisonAI(Translator):
    """What PraisonAI's jobs server answers."""

    name: ClassVar[str] = "praisonai"
    prefix: ClassVar[str] = "/praisonai"
    words = WORDS
    states = STATES

    def __init__(self) -> None:
        super().__init__()
        self._translation = translation(tell)
        table: tuple[tuple[str, str, str, Endpoint, str], ...] = (
            ("list", "GET", "/api/v1/runs", self.runs, "Runs, newest first"),
            ("status", "GET", RUN, self.read, "A run's status"),
            ("delete", "DELETE", RUN, self.delete, "Delete a run that has ended"),
            ("result", "GET", f"{RUN}/result", self.result, "What came of a run that has ended"),
            ("cancel", "POST", f"{RUN}/cancel", self.cancel, "Wish that a run be cancelled"),
            ("stream", "GET", f"{RUN}/stream", self.stream, "What happens to a run"),
            ("health", "GET", "/health", self.health, "Whether the server answers"),
            ("stats", "GET", "/stats", self.stats, "How many runs there are"),
        )
        self.operations = tuple(
            Operation(f"praisonai_{name}", method, path, endpoint, text, (), documented=False)
            for name, method, path, endpoint, text in table
        )

    def status(self, job: Job) -> Json:
        """See `Translator.status`."""
        return status_body(job)

    def parse(self, body: Json) -> tuple[Identity, Report]:
        """See `Translator.parse`."""
        if not isinstance(body, dict):
            raise InvalidReport("a run's status must be a JSON object", field="")
        return read_status(body, self.read_word(body.get("status")))

    def problem(self, error: GatewayError, request: Request) -> Response:
        """`{"detail": …}`: a text, or the list that its framework makes for a parameter that is not valid."""
        status, members = error.status, error.members
        detail: Json = TITLES.get(type(error), error.detail)
        if isinstance(error, JobNotFound | JobDeleted) or members.get("field") == "job_id":
            status, detail = 404, f"Job not found: {request.path_params['job_id']}"
        elif isinstance(error, JobFinished):
            detail = f"Job is already complete. Status: {self.word(State(str(members['state'])))}"
        elif isinstance(error, InvalidReport | InvalidCursor) or "input" in members:
            more = {name: members[name] for name in ("type", "input", "ctx") if name in members}
            wrong = {"type": "value_error", "loc": ["query", members.get("field")], "msg": error.detail}
            status, detail = 422, [wrong | more]
        return Response(dumps({"detail": detail}), status, error_headers(error), JSON)

    async def runs(self, gateway: Gateway, request: Request) -> Response:
        """`GET /api/v1/runs`: a page of runs, of one status or session if wanted."""
        page = _number(request, "page", 1, MAX_INTEGER)
        size = _number(request, "page_size", PAGE_SIZE, MAX_PAGE_SIZE)
        word, session = request.query_params.get("status"), request.query_params.get("session_id")
        if word and word not in STATES:
            raise InvalidRequest(f"Invalid status: {word}. Valid values: {[*STATES]}")
        match = Filter(
            workspaces=frozenset([workspace_of(request)]),
            states=_states(word),
            labels=frozenset([("session_id", session)] if session else []),
        )
        standings, total = await numbered(gateway.log, match, page, size)
        runs = [orjson.Fragment(self._body(gateway, standing)) for standing in standings]
        return _json(dumps({"jobs": runs, "total": total, "page": page, "page_size": size}))

    async def read(self, gateway: Gateway, request: Request) -> Response:
        """`GET /api/v1/runs/{job_id}`: the status, with a hint when to ask again."""
        return _json(self._body(gateway, await job_of(gateway, request, "job_id")))

    async def result(self, gateway: Gateway, request: Request) -> Response:
        """`GET /api/v1/runs/{job_id}/result`."""
        job = (await job_of(gateway, request, "job_id")).job
        if not job.terminal:
            raise JobNotFinished(f"Job is not complete. Current status: {self.word(job.state)}")
        return _json(self.rendered(job, "result", lambda job: dumps(result_body(job))))

    async def cancel(self, gateway: Gateway, request: Request) -> Response:
        """`POST /api/v1/runs/{job_id}/cancel`: the wish; a run at work stays so until its producer ends it."""
        job = (await job_of(gateway, request, "job_id")).job
        outcome = await gateway.wish(*job.key, "cancel", by=ANONYMOUS)
        return _json(self._body(gateway, outcome.standing))

    async def delete(self, gateway: Gateway, request: Request) -> Response:
        """`DELETE /api/v1/runs/{job_id}`."""
        job = (await job_of(gateway, request, "job_id")).job
        if not job.terminal:
            raise JobNotFinished("Cannot delete a running job. Cancel it first.")
        await gateway.delete(*job.key, by=ANONYMOUS)
        return Response(status_code=204)

    async def stream(self, gateway: Gateway, request: Request) -> Response:
        """`GET /api/v1/runs/{job_id}/stream`: the run as it is and what follows, or what follows the cursor."""
        key = (await job_of(gateway, request, "job_id")).job.key
        position, from_header = cursor(request)
        wanted = Wanted(Filter(jobs=frozenset([key])), key, position, from_header, form=STREAMED)
        subscription = await gateway.subscribe(wanted)
        if subscription is None:
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        return TranslatedStream(subscription, self._translation, heartbeat, HEARTBEAT)

    async def health(self, gateway: Gateway, request: Request) -> Response:
        """`GET /health`."""
        stats = await self._executor(gateway, request)
        return _json(dumps({"status": "healthy", "store": type(gateway.log).__name__, "executor_stats": stats}))

    async def stats(self, gateway: Gateway, request: Request) -> Response:
        """`GET /stats`."""
        counts = {word: await _count(gateway, request, word) for word in STATES}
        store = {"total_jobs": sum(counts.values()), "status_counts": {word: n for word, n in counts.items() if n}}
        return _json(dumps({"executor": await self._executor(gateway, request), "store": store}))

    async def _executor(self, gateway: Gateway, request: Request) -> Json:
        running = await _count(gateway, request, "running")
        return {"running_jobs": running, "shutdown": gateway.readiness() is not None}

    def _body(self, gateway: Gateway, standing: Standing) -> bytes:
        data = self.rendered(standing.job, "status", lambda job: dumps(self.status(job)))
        return data if standing.job.terminal else data[:-1] + b',"retry_after":%d}' % gateway.pace(standing)


async def _count(gateway: Gateway, request: Request, word: str) -> int:
    return await count(gateway.log, Filter(workspaces=frozenset([workspace_of(request)]), states=_states(word)))


def _states(word: str | None) -> frozenset[State]:
    """The states that have this word; none where there is no word."""
    return frozenset(state for state, name in WORDS.items() if name == word)


def _number(request: Request, name: str, default: int, high: int) -> int:
    """A whole number of the query, from 1 to `high`. Raises InvalidRequest in the words of its framework."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        detail = "Input should be a valid integer, unable to parse string as an integer"
        raise InvalidRequest(detail, field=name, input=text, type="int_parsing") from None
    if value < 1:
        detail = "Input should be greater than or equal to 1"
        raise InvalidRequest(detail, field=name, input=text, type="greater_than_equal", ctx={"ge": 1})
    if value > high:
        detail = f"Input should be less than or equal to {high}"
        raise InvalidRequest(detail, field=name, input=text, type="less_than_equal", ctx={"le": high})
    return value


def _json(data: bytes) -> Response:
    return Response(data, headers=HEADERS, media_type=JSON)
