"""Weaver's dialect (OGC API - Processes): `/weaver`. A job's status, lists, dismissal, logs, exceptions and results.

Law: the published page wins for what it states: success is `succeeded`, as plain JSON, unless a profile is asked for.
A dismissal is a wish while the job is at work, and a deletion once it has succeeded or failed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar, Final
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects import weaver_forms as forms
from gateway.dialects.base import ANONYMOUS, JSON, Endpoint, Operation, error_headers
from gateway.dialects.translator import Translator, job_of, uuid_of_job, workspace_of
from gateway.dialects.weaver_body import (
    body_of,
    exceptions_of,
    links_of,
    live,
    log_line,
    percent_of,
    report_of,
    results_link,
)
from gateway.dialects.weaver_list import Page, match_of
from gateway.dialects.weaver_xml import execute_response
from gateway.errors import (
    GatewayError,
    Internal,
    InvalidCursor,
    InvalidReport,
    InvalidRequest,
    JobDeleted,
    JobFinished,
    JobNotFound,
    NotAcceptable,
    NotFound,
)
from gateway.eventlog.base import Standing
from gateway.job import Job
from gateway.record import dumps
from gateway.report import Identity, Report, State
from gateway.service import Gateway
from gateway.values import Json

LOG_PAGE, LOG_PAGES = 1000, 10  # records in one read, and reads for one answer; a longer log goes on at its `next` link
HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Vary": "Accept, Accept-Profile, Link, Prefer",
    "X-Content-Type-Options": "nosniff",
}
CONFORMANCE: Final = [
    f"http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/{name}" for name in ("json", "job-list", "dismiss")
]
DISMISSED: Final = "Job was dismissed and artifacts have been removed."
PROBLEMS: Final[Mapping[type[GatewayError], tuple[str, str]]] = {  # title and type; of others the title alone
    Internal: ("InternalServerError", "InternalServerError"),
    InvalidCursor: ("InvalidParameterValue", f"{forms.EXCEPTIONS}/invalid-parameter"),
    InvalidReport: ("InvalidParameterValue", f"{forms.EXCEPTIONS}/invalid-parameter"),
    InvalidRequest: ("InvalidParameterValue", f"{forms.EXCEPTIONS}/invalid-parameter"),
    JobDeleted: ("JobDismissed", f"{forms.EXCEPTIONS}/result-not-available"),
    JobNotFound: ("NoSuchJob", f"{forms.EXCEPTIONS}/no-such-job"),
}
URL_SAFE: Final = ":/%#?=@[]!$&'()*+,;"  # what stays as it is in the address of a link
ADDRESS: Final = re.compile(r"https?://(\[[0-9a-f:.]+]|[^]/?#@:\s[]+)(:[0-9]{1,5})?([/?#]|$)", re.IGNORECASE)
UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Weaver(Translator):
    """Weaver as its clients know it, as far as a job's status goes; it runs nothing, and keeps no results."""

    name: ClassVar[str] = "weaver"
    prefix: ClassVar[str] = "/weaver"
    words: ClassVar[Mapping[State, str]] = forms.WORDS[forms.PAGE]
    states: ClassVar[Mapping[str, State]] = {
        "created": State.CREATED,
        "accepted": State.PENDING,
        "queued": State.PENDING,
        "running": State.RUNNING,
        "started": State.RUNNING,
        "paused": State.PAUSED,
        "succeeded": State.SUCCEEDED,
        "successful": State.SUCCEEDED,
        "finished": State.SUCCEEDED,
        "failed": State.FAILED,
        "error": State.FAILED,
        "exception": State.FAILED,
        "dismissed": State.CANCELLED,
        "canceled": State.CANCELLED,
        "unknown": State.UNKNOWN,
    }

    def __init__(self) -> None:
        super().__init__()
        table: list[tuple[str, str, str, Endpoint]] = [
            ("landing", "GET", "/", self._landing),
            ("conformance", "GET", "/conformance", self._conformance),
        ]
        for within, of in (("", "job"), ("/processes/{process}", "process_job")):
            table += [
                (f"{of}s", "GET", f"{within}/jobs", self._list),
                (of, "GET", f"{within}/jobs/{{id}}", self._read),
                (f"{of}_dismiss", "DELETE", f"{within}/jobs/{{id}}", self._dismiss),
                (f"{of}_logs", "GET", f"{within}/jobs/{{id}}/logs", self._logs),
                (f"{of}_exceptions", "GET", f"{within}/jobs/{{id}}/exceptions", self._exceptions),
                (f"{of}_results", "GET", f"{within}/jobs/{{id}}/results", self._results),
            ]
        self.operations = tuple(
            Operation(f"weaver_{name}", method, path, endpoint, "As Weaver has it", (), documented=False)
            for name, method, path, endpoint in table
        )

    # Both directions

    def status(self, job: Job) -> Json:
        """The job's status as Weaver's page has it."""
        return body_of(job, forms.PAGE, self.prefix)

    def parse(self, body: Json) -> tuple[Identity, Report]:
        """Weaver's status body, in any profile, as a report at the time when the job came to be in that state."""
        if not isinstance(body, dict):
            raise InvalidReport("the status must be a JSON object", field="")
        word = body.get("status")
        state = self.read_word(word.lower().removeprefix("process") if isinstance(word, str) else word)
        return report_of(body, state)

    def problem(self, error: GatewayError, request: Request) -> Response:
        """An exception as OGC has it, with `code` and `description` for clients of its older form."""
        title, kind = PROBLEMS.get(type(error), (type(error).__name__,) * 2)
        members: dict[str, Json] = dict(error.members)
        title = members.pop("title", title)
        body: dict[str, Json] = {
            "title": title,
            "type": members.pop("type", kind),
            "status": error.status,
            "detail": error.detail,
            **{name: members[name] for name in ("cause", "error", "value", "links") if name in members},
            "code": title,
            "description": error.detail,
        }
        if "cause" not in body and "field" in members:
            body["cause"] = {"name": members["field"]}
        return Response(dumps(body), error.status, error_headers(error), JSON)

    def answer(self, standing: Standing, form: forms.Form, base: str, now: datetime, pace: int) -> bytes:
        """The status of a job in a form, complete."""
        job = standing.job
        if form.xml:
            return self.rendered(job, f"xml {base}", lambda job: execute_response(job, base))
        data = self.rendered(job, f"{form.profile} {base}", lambda job: dumps(body_of(job, form.profile, base)))
        return data[:-1] + b"," + dumps(live(job, form.profile, now, pace))[1:]

    # What can be asked for

    async def _landing(self, _: Gateway, request: Request) -> Response:
        base = forms.base_of(request)
        links = [
            forms.link("self", f"{base}/", "This page."),
            forms.link("conformance", f"{base}/conformance", "What this conforms to."),
            forms.link(f"{forms.RELATIONS}/job-list", f"{base}/jobs", "List of jobs."),
        ]
        about = "Jobs that run elsewhere, as Weaver would tell of them."
        return _json({"title": "Status gateway", "description": about, "links": links})

    async def _conformance(self, _: Gateway, __: Request) -> Response:
        return _json({"conformsTo": CONFORMANCE})

    async def _read(self, gateway: Gateway, request: Request) -> Response:
        form = forms.form_of(request)
        standing = await self._job(gateway, request)
        pace = gateway.pace(standing)
        data = self.answer(standing, form, forms.base_of(request), datetime.now(UTC), pace)
        hint = {} if standing.job.terminal else {"Retry-After": str(pace)}
        return Response(data, headers={**HEADERS, **form.headers, **hint})

    async def _list(self, gateway: Gateway, request: Request) -> Response:
        detail = request.query_params.get("detail", "").lower() in ("true", "1", "yes", "on")
        form = forms.form_of(request)
        if form.xml:
            raise NotAcceptable(f"this can be had as {JSON}")
        page = Page(request)
        await page.read(gateway, match_of(request, self.states))
        base, now = forms.base_of(request), datetime.now(UTC)
        jobs = [
            orjson.Fragment(self.answer(standing, form, base, now, gateway.pace(standing)))
            if detail
            else uuid_of_job(standing.job)
            for standing in page.standings
        ]
        links = page.links(request)
        counts = {"page": page.number, "limit": page.limit, "count": len(jobs), "total": page.total}
        response = _json({"jobs": jobs, **counts, "links": links})
        for item in links:
            response.headers.append("Link", f'<{item["href"]}>; rel="{item["rel"]}"; type="{item["type"]}"')
        return response

    async def _dismiss(self, gateway: Gateway, request: Request) -> Response:
        base, job = forms.base_of(request), (await self._job(gateway, request)).job
        try:
            await _end(gateway, job, base)
        except JobFinished:  # in the meantime
            job = (await gateway.standing(*job.key)).job
            await _end(gateway, job, base)
        members = {"jobID": uuid_of_job(job), "status": "dismissed", "message": "Job dismissed."}
        return _json({**members, "percentCompleted": percent_of(job)})

    async def _logs(self, gateway: Gateway, request: Request) -> Response:
        media = forms.media_of(request, JSON, "text/plain")
        job = (await self._job(gateway, request)).job
        after, lines = request.query_params.get("after") or None, list[str]()
        for _ in range(LOG_PAGES):
            records, after = await gateway.history(*job.key, after, LOG_PAGE)
            lines += [log_line(record) for record in records]
            if after is None:
                break
        response = _json(lines) if media == JSON else Response("\n".join(lines), headers=HEADERS, media_type=media)
        if after is not None:
            base, path = forms.base_of(request), f"/jobs/{uuid_of_job(job)}/logs"
            response.headers["Link"] = f'<{forms.address(base, path, job.workspace, after=after)}>; rel="next"'
        return response

    async def _exceptions(self, gateway: Gateway, request: Request) -> Response:
        job = (await self._job(gateway, request)).job
        if job.state is State.CANCELLED:
            raise _gone(job, forms.base_of(request))
        return _json(exceptions_of(job))

    async def _results(self, gateway: Gateway, request: Request) -> Response:
        job = (await self._job(gateway, request)).job
        found, cause = results_link(job), {"status": self.word(job.state)}
        if job.state is State.CANCELLED:
            raise _gone(job, forms.base_of(request))
        if job.state is State.FAILED:
            (first, *_) = exceptions_of(job)
            kind = f"{forms.EXCEPTIONS}/result-not-available"
            members = {"title": "JobResultsFailed", "type": kind, "error": first["Code"], "cause": first["Text"]}
            raise InvalidRequest("Job results not available because execution failed.", **members)
        if found is None or job.state is not State.SUCCEEDED:
            done = "its producer has reported no link to them" if job.terminal else "the job has not ended"
            kind = f"{forms.EXCEPTIONS}/result-not-ready"
            raise NotFound(f"Job results not ready: {done}.", title="JobResultsNotReady", type=kind, cause=cause)
        # The producer's link is passed on: followed where it leads to a document of results, told of where to a file.
        response = _json({"results": found})
        if ADDRESS.match(found["href"]) and "json" in found.get("type", JSON):
            response.status_code = 303
            response.headers["Location"] = quote(found["href"], safe=URL_SAFE)
        return response

    async def _job(self, gateway: Gateway, request: Request) -> Standing:
        """The job at this address, and of this process where one is named. Raises JobNotFound and its kin."""
        asked = request.path_params["id"]
        workspace_of(request)  # refused as itself, and not as the job's id
        try:
            standing = await job_of(gateway, request)
        except JobDeleted as error:
            raise JobDeleted(DISMISSED, cause={"status": "dismissed"}, value=asked) from error
        except (JobNotFound, InvalidReport) as error:
            if UUID.fullmatch(asked):
                raise JobNotFound("Could not find job with specified reference.", cause=asked) from error
            title, kind = PROBLEMS[JobNotFound]
            detail = "Invalid job reference is not a valid UUID."
            raise InvalidRequest(detail, title=title, type=kind, cause=asked) from error
        tag = request.path_params.get("process")
        if tag is not None and standing.job.process not in (tag, tag.partition(":")[0]):  # a version may follow
            detail = "Could not find job reference corresponding to specified process reference."
            raise JobNotFound(detail, title="NoSuchProcess", cause=tag)
        return standing


async def _end(gateway: Gateway, job: Job, base: str) -> None:
    """Wish that the job be cancelled, or delete it if it has ended. Raises JobDeleted, and JobFinished if it ended
    in the meantime."""
    if job.state in (State.CANCELLING, State.CANCELLED):
        raise _gone(job, base)
    if job.terminal:
        await gateway.delete(*job.key, by=ANONYMOUS)
    elif not (await gateway.wish(*job.key, "cancel", by=ANONYMOUS)).made:
        raise _gone(job, base)


def _gone(job: Job, base: str) -> JobDeleted:
    """What Weaver says of the parts of a dismissed job."""
    links = [item for item in links_of(job, base) if item["rel"] in ("status", "alternate", "collection", "up")]
    return JobDeleted(DISMISSED, cause={"status": "dismissed"}, value=uuid_of_job(job), links=links)


def _json(value: Json) -> Response:
    return Response(dumps(value), headers=HEADERS, media_type=JSON)
