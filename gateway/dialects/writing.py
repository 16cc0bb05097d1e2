"""Writing in our own dialect: create a job, report on it, wish something of it, delete it.

Law: a producer learns of every wish: an answer that leaves the document out is never given while one stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.dialects.base import ANONYMOUS, JSON, problem
from gateway.dialects.body import OFF_LOOP, parse_body, read_bounded, refuse_body
from gateway.dialects.reading import job_headers
from gateway.dialects.requests import digest, expected, job_of, key_of, preferences, workspace_of
from gateway.dialects.sse import EXTENSION, Connection, Taker
from gateway.errors import GatewayError, Internal, InvalidReport
from gateway.eventlog.base import Entry, Outcome
from gateway.job import WISHES, Job
from gateway.report import CREATE_IDENTITY, MISSING, Identity, Report, State, parse_identified, parse_report
from gateway.service import Gateway
from gateway.values import DEFAULT_WORKSPACE, Json, parse_id

MAX_REPORTS: Final = 1000  # in one list: they are applied in one piece, while other producers wait
FIRST_STATES: Final = (State.CREATED, State.PENDING, State.RUNNING)
SPEAKING: Final = ("idempotency-key", "if-match", "prefer", "expect", "upgrade")  # fields by which more is asked for
WISHED: Final = frozenset({*WISHES.values(), State.CANCELLED})  # states that a reader may have brought about

_log = logging.getLogger(__name__)


async def create_job(gateway: Gateway, request: Request) -> Response:
    """`POST /jobs`: a new job, or the one that was created with the same content before."""
    workspace = workspace_of(request)
    data, (identity, report) = await parse_body(request, _parse_creation)
    identity = identity._replace(workspace=identity.workspace or workspace)
    data = data | {"workspace": identity.workspace}
    outcome = await gateway.create(
        identity, report, digest=digest("", data), key=key_of(request, "workspace", data), by=ANONYMOUS
    )
    job = outcome.standing.job
    return _answer(outcome, 201 if outcome.made else 200, {"Location": location(request, job)})


def _parse_creation(data: Json) -> tuple[Identity, Report]:
    identity, report = parse_identified(data, CREATE_IDENTITY)
    if report.state is not MISSING and report.state not in FIRST_STATES:
        raise InvalidReport(
            f"a job begins as one of {', '.join(FIRST_STATES)}; report what follows to /v1/jobs/{{id}}/events",
            field="state",
        )
    return identity, report


async def report_events(gateway: Gateway, request: Request) -> Response:
    """`POST /jobs/{id}/events`: one report, or a list of which all or none count."""
    workspace, job_id = job_of(request)
    permitted = expected(request)
    data, reports = await parse_body(request, _parse_reports)
    key = key_of(request, "job", data)
    expect = None
    if permitted is not None:
        expect = permitted[0]
        if len(permitted) > 1:
            standing = await gateway.standing(workspace, job_id)
            if standing.job.position in permitted:
                expect = standing.job.position
    outcome = await gateway.report(workspace, job_id, reports, key=key, expect=expect, by=ANONYMOUS)
    job = outcome.standing.job
    if preferences(request).get("return") == "minimal" and job.state not in WISHED:
        headers = {**job_headers(job), "Preference-Applied": "return=minimal", **_replayed(outcome)}
        return Response(status_code=204, headers=headers)
    answer = _answer(outcome, 201 if outcome.made else 200, {})
    said_more = any(name in request.headers for name in SPEAKING)
    return answer if said_more else _Learnt(answer, job_id, partial(_take, gateway, workspace))


class _Learnt(Response):
    """An answer, which lets the connection learn by what other reports with the same head can be taken."""

    def __init__(self, answer: Response, job_id: str, taker: Taker) -> None:
        vars(self).update(vars(answer))
        self._job_id, self._taker = job_id, taker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = list(self.raw_headers)
        await super().__call__(scope, receive, send)
        connection: Connection | None = scope.get("extensions", {}).get(EXTENSION)
        if connection is not None:
            connection.learn_reports(self._job_id, self.status_code, fields, self._taker)


def _take(gateway: Gateway, workspace: str, job_id: str, body: bytes, answer: Callable[[Response], None]) -> bool:
    """See `sse.Taker`. What is not in order is left to `report_events`, which says why."""
    if len(body) > OFF_LOOP:
        return False
    try:
        reports = _parse_reports(read_bounded(body))
        waiting = gateway.submit(Entry(workspace, parse_id(job_id, "id"), tuple(reports), ANONYMOUS))
    except Exception:
        return False
    waiting.add_done_callback(lambda done: answer(_told(gateway, done)))
    return True


def _told(gateway: Gateway, done: asyncio.Future[list[Outcome | GatewayError]]) -> Response:
    try:
        outcome = gateway.heard(done.result())
        return _answer(outcome, 201 if outcome.made else 200, {})
    except GatewayError as error:
        return problem(error)
    except Exception:
        _log.exception("a report was written, and can't be answered")
        return problem(Internal())


def _parse_reports(data: Json) -> list[Report]:
    if not isinstance(data, list):
        return [parse_report(data)]
    if not 1 <= len(data) <= MAX_REPORTS:
        raise InvalidReport(f"a list holds 1 to {MAX_REPORTS} reports; this one has {len(data)}", field="")
    return [parse_report(item, f"[{i}]") for i, item in enumerate(data)]


def wisher(kind: str) -> Callable[[Gateway, Request], Awaitable[Response]]:
    """The endpoint of `POST /jobs/{id}/cancel` and its kin."""

    async def wish(gateway: Gateway, request: Request) -> Response:
        workspace, job_id = job_of(request)
        await refuse_body(request)
        outcome = await gateway.wish(workspace, job_id, kind, key=key_of(request, "job", {}), by=ANONYMOUS)
        return _answer(outcome, 202, {})

    return wish


async def delete_job(gateway: Gateway, request: Request) -> Response:
    """`DELETE /jobs/{id}`: a finished job's record goes; a tombstone stays for a while."""
    workspace, job_id = job_of(request)
    await refuse_body(request)
    await gateway.delete(workspace, job_id, by=ANONYMOUS)
    return Response(status_code=204)


def location(request: Request, job: Job) -> str:
    """The job's address below wherever the app is mounted; the workspace is said where it is not the default one."""
    query = "" if job.workspace == DEFAULT_WORKSPACE else "?" + urlencode({"workspace": job.workspace})
    return f"{quote(request.scope.get('root_path', ''))}/jobs/{quote(job.id, safe='~:')}{query}"


def _answer(outcome: Outcome, status: int, headers: dict[str, str]) -> Response:
    standing = outcome.standing
    headers = {**job_headers(standing.job), **headers, **_replayed(outcome)}
    return Response(standing.document, status, headers, JSON)


def _replayed(outcome: Outcome) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if outcome.replayed else {}
