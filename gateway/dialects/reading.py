"""Reading in our own dialect: a job now or then, lists, the history, and streams.

Law: a document leaves as the very bytes that its record holds; lists are put together around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects.base import JSON
from gateway.dialects.body import while_there
from gateway.dialects.requests import (
    MAX_VALUES,
    checked,
    cursor,
    etag,
    job_of,
    negotiate,
    none_match,
    omitted,
    preferred_wait,
    whole_number,
)
from gateway.dialects.sse import SubscriptionResponse
from gateway.errors import InvalidReport, InvalidRequest
from gateway.eventlog.base import Standing
from gateway.frames import Form, data_of, without
from gateway.job import Job
from gateway.past import news
from gateway.record import Filter, Record
from gateway.report import State
from gateway.service import Gateway
from gateway.values import DEFAULT_WORKSPACE, Json, parse_id, parse_line, parse_workspace
from gateway.wanted import EARLIEST, Wanted

SSE: Final = "text/event-stream"
NDJSON: Final = "application/x-ndjson"
PLAIN: Final = "text/plain"
HTML: Final = "text/html"
PAGE: Final = 100  # jobs or records of a page, unless asked otherwise
MAX_PAGE: Final = 1000  # their documents may be large
MAX_INTERVAL: Final = 3_600_000  # ms; who wants less than one progress an hour wants none
KINDS: Final[Mapping[str, Literal["sse", "ndjson", "text"]]] = {SSE: "sse", NDJSON: "ndjson", PLAIN: "text"}
Resumption: TypeAlias = tuple[str | None, bool, float | None]
NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}


async def read_job(gateway: Gateway, request: Request) -> Response:
    """`GET /jobs/{id}`: the job as it stands or stood, after a wait if the client prefers one, its stream, or
    for a browser its page."""
    media = negotiate(request, JSON, SSE, *([HTML] if _may_want_page(request) else []))
    workspace, job_id = job_of(request)
    if media == HTML:
        return _to_page(workspace, job_id)
    omit, resume = omitted(request), _resumption(request)
    if media == SSE:
        if "at" in request.query_params:
            raise InvalidRequest("at is for application/json; a stream takes after=<position>", field="at")
        return await _stream_of_one(gateway, (workspace, job_id), resume, Form("sse", omit))
    if moment := request.query_params.get("at"):
        record = await gateway.at(workspace, job_id, moment.replace(" ", "+"))  # a bare + in a query means a space
        return _answer(request, job_headers(record.job, omit) | {"Vary": "Accept"}, record.document, omit)
    standing = gateway.glance(workspace, job_id) or await gateway.standing(workspace, job_id)
    seconds = preferred_wait(request) if "if-none-match" in request.headers else None
    headers = {}
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds}"
        if none_match(request, etag(standing.job.position, omit)) and not standing.job.terminal:
            standing = await while_there(request, gateway.wait(standing, float(seconds)))
    return _answer(request, document_headers(gateway, standing, omit) | headers, standing.document, omit)


def _may_want_page(request: Request) -> bool:
    """Whether text/html is meant where it is named. Java's own client names it first in every request and takes
    anything (`text/html, image/gif, …, */*; q=.2`); browsers name XHTML too."""
    named = request.headers.get("accept", "")
    return "application/xhtml+xml" in named or "*/*" not in named


def _to_page(workspace: str, job_id: str) -> Response:
    """To the job's page. The address is relative, so it holds wherever the app is mounted and whatever a proxy adds."""
    page = f"../../?job={quote(workspace, safe='')}/{quote(job_id, safe='')}"
    return Response(status_code=303, headers={"Location": page, "Vary": "Accept", "Cache-Control": "no-cache"})


def job_headers(job: Job, omit: frozenset[str] = frozenset()) -> dict[str, str]:
    """The headers that go with a job's document."""
    changed = _http_date(job.updated)
    return {"ETag": etag(job.position, omit), "Last-Modified": changed, "Cache-Control": "no-cache", **NOSNIFF}


def document_headers(gateway: Gateway, standing: Standing, omit: frozenset[str] = frozenset()) -> dict[str, str]:
    """The headers of a job's document where it is read as it stands."""
    headers = {**job_headers(standing.job, omit), "Vary": "Accept"}
    if not standing.job.terminal:
        headers["Retry-After"] = str(gateway.pace(standing))
    return headers


@lru_cache(maxsize=256)  # jobs that move in one transaction have the time of it in common
def _http_date(stamp: str) -> str:
    return format_datetime(datetime.fromisoformat(stamp), usegmt=True)


def _answer(request: Request, headers: dict[str, str], data: bytes, omit: frozenset[str]) -> Response:
    if none_match(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(without(data, omit), headers=headers, media_type=JSON)


async def list_jobs(gateway: Gateway, request: Request) -> Response:
    """`GET /jobs`: jobs that match, newest first, and the position from which a stream misses nothing."""
    negotiate(request, JSON)
    omit = omitted(request)
    limit = whole_number(request, "limit", PAGE, 1, MAX_PAGE)
    page = await gateway.jobs(filter_of(request), request.query_params.get("after") or None, limit)
    jobs = [orjson.Fragment(without(standing.document, omit)) for standing in page.standings]
    return _json({"jobs": jobs, "next": page.next, "head": gateway.log.position(page.head)})


async def read_events(gateway: Gateway, request: Request) -> Response:
    """`GET /jobs/{id}/events`: the job's stream, or a page of its history."""
    media = negotiate(request, SSE, JSON, NDJSON, PLAIN)
    workspace, job_id = job_of(request)
    omit, resume = omitted(request), _resumption(request)
    limit = whole_number(request, "limit", PAGE, 1, MAX_PAGE)
    if media != JSON:
        return await _stream_of_one(gateway, (workspace, job_id), resume, Form(KINDS[media], omit))
    after = request.query_params.get("after")
    records, more = await gateway.history(workspace, job_id, None if after in ("", EARLIEST) else after, limit)
    return _json({"records": _items(records, omit), "next": more})


async def stream_events(gateway: Gateway, request: Request) -> Response:
    """`GET /events`: one stream over many jobs, or a page of what happened to them."""
    media = negotiate(request, SSE, JSON, NDJSON, PLAIN)
    match, omit, resume = filter_of(request), omitted(request), _resumption(request)
    limit = whole_number(request, "limit", PAGE, 1, MAX_PAGE)
    if media != JSON:
        return await _stream(gateway, Wanted(match, None, *resume, Form(KINDS[media], omit)))
    after = request.query_params.get("after")
    after = None if after in ("", EARLIEST) else after
    seconds = preferred_wait(request)
    patience = seconds if seconds and gateway.readiness() is None else 0
    looking = news(gateway.log, gateway.hub, match, after, limit, patience)
    page = await (while_there(request, looking) if patience else looking)
    answer = _json({"records": _items(page.records, omit), "next": page.next, "head": page.head})
    if seconds is not None:
        answer.headers["Preference-Applied"] = f"wait={seconds}"
    return answer


def _items(records: Iterable[Record], omit: frozenset[str]) -> list[Json]:
    return [
        {
            "event": record.event,
            "position": record.position,
            "by": record.by,
            "job": orjson.Fragment(data_of(record, omit)),
        }
        for record in records
    ]


async def _stream_of_one(gateway: Gateway, job: tuple[str, str], resume: Resumption, form: Form) -> Response:
    return await _stream(gateway, Wanted(Filter(jobs=frozenset({job})), job, *resume, form))


async def _stream(gateway: Gateway, wanted: Wanted) -> Response:
    subscription = await gateway.subscribe(wanted)
    if subscription is None:
        return Response(status_code=204, headers={"Cache-Control": "no-store", "Vary": "Accept"})
    return SubscriptionResponse(subscription)


def _resumption(request: Request) -> Resumption:
    """Cursor, whether it came as the header, seconds between progress frames; checked also where nobody streams."""
    interval: float | None = None
    if "min_interval" in request.query_params:
        interval = whole_number(request, "min_interval", 0, 0, MAX_INTERVAL) / 1000
    return *cursor(request), interval


def filter_of(request: Request) -> Filter:
    """Which jobs the query means. Raises InvalidRequest."""
    query = request.query_params
    workspaces = [checked(parse_workspace, value, "workspace") for value in query.getlist("workspace")]
    jobs = {job for value in query.getlist("job") for job in _jobs(value, workspaces or [DEFAULT_WORKSPACE])}
    if len(jobs) > MAX_VALUES:
        raise InvalidRequest(f"job, in all the workspaces, names {len(jobs)} jobs; {MAX_VALUES} at most", field="job")
    return Filter(
        jobs=frozenset(jobs),
        workspaces=frozenset(workspaces),
        states=frozenset(checked(_state, value, "state") for value in query.getlist("state")),
        processes=frozenset(checked(parse_line, value, "process") for value in query.getlist("process")),
        names=frozenset(checked(parse_line, value, "name") for value in query.getlist("name")),
        labels=frozenset(_label(value) for value in query.getlist("label")),
    )


def _jobs(value: str, workspaces: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The jobs of `id` or `workspace/id`: an id alone means the job of each workspace that is named."""
    workspace, slash, job_id = value.rpartition("/")
    for place in [workspace] if slash else workspaces:
        yield checked(parse_workspace, place, "job"), checked(parse_id, job_id, "job")


def _state(value: Json, field: str) -> State:
    try:
        return State(value)
    except ValueError:
        raise InvalidReport(f"{field} must be one of {', '.join(State)}", field=field) from None


def _label(value: str) -> tuple[str, str]:
    key, colon, label = value.partition(":")
    if not colon or not key or "\0" in value:
        raise InvalidRequest("label must be key:value", field="label")
    return key, label


def _json(value: Json) -> Response:
    headers = {"Cache-Control": "no-cache", "Vary": "Accept", **NOSNIFF}
    return Response(orjson.dumps(value), headers=headers, media_type=JSON)
