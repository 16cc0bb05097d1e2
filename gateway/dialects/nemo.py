"""NVIDIA NeMo Platform's jobs, under `/nemo`: addressed by workspace and name, of which the newest job is meant.

Law: no answer is a 409, because NeMo's generated client sends whatever got one twice more; what can't be done to a job
any more is answered with the job as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import ClassVar, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects.base import ANONYMOUS, JSON, Answer, Endpoint, Operation, error_headers
from gateway.dialects.nemo_bodies import (
    STATES,
    WORDS,
    job_body,
    log_line,
    old_status_body,
    read_status,
    status_body,
    step_body,
    step_in_list,
    task_bodies,
)
from gateway.dialects.nemo_lists import (
    JOB_FIELDS,
    JOB_SORTS,
    STEP_FIELDS,
    STEP_SORTS,
    found_jobs,
    listing_of,
    refused,
    steps_found,
    whole_number,
)
from gateway.dialects.reading import job_headers
from gateway.dialects.requests import none_match
from gateway.dialects.translator import Translator, job_of, newest_of_name
from gateway.errors import (
    Compacted,
    GatewayError,
    IllegalTransition,
    InvalidCursor,
    InvalidReport,
    InvalidRequest,
    JobDeleted,
    JobFinished,
    JobNotFound,
    NotFound,
)
from gateway.eventlog.base import Standing
from gateway.job import Job
from gateway.record import dumps
from gateway.report import Identity, Report, State
from gateway.service import Gateway
from gateway.values import Json, parse_id, parse_line, parse_workspace

JOBS: Final = "/apis/jobs/v2/workspaces/{workspace}/jobs"
JOB: Final = f"{JOBS}/{{name}}"
STEP: Final = f"{JOB}/steps/{{step}}"
JOBS_PAGE: Final = 10  # of a page, unless asked otherwise, as NeMo's own server has it
STEPS_PAGE: Final = 25
LOGS_PAGE: Final = 100
MAX_LOGS: Final = 1000  # each line is read from a whole record
BAD_CURSOR: Final = "Invalid page cursor"  # the words at which `nemo jobs watch` begins anew instead of giving up


class Nemo(Translator):
    """NeMo's dialect. Its errors are FastAPI's: `{"detail": …}`."""

    name: ClassVar[str] = "nemo"
    prefix: ClassVar[str] = "/nemo"
    words: ClassVar[Mapping[State, str]] = WORDS
    states: ClassVar[Mapping[str, State]] = STATES

    def __init__(self) -> None:
        super().__init__()
        self.operations = tuple(self._table())

    def _table(self) -> Iterator[Operation]:
        yield _operation("list_jobs", "GET", JOBS, self._list_jobs)
        yield _operation("read_job", "GET", JOB, self._reader("job", job_body, _standing))
        yield _operation("delete_job", "DELETE", JOB, _delete, 204)
        yield _operation("read_status", "GET", f"{JOB}/status", self._reader("status", self.status, _standing))
        for kind in ("cancel", "pause", "resume"):
            yield _operation(f"{kind}_job", "POST", f"{JOB}/{kind}", self._wisher(kind))
        yield _operation("read_logs", "GET", f"{JOB}/logs", _read_logs)
        yield _operation("list_steps", "GET", f"{JOB}/steps", self._list_steps)
        yield _operation("read_step", "GET", STEP, self._read_step)
        yield _operation("list_tasks", "GET", f"{STEP}/tasks", self._list_tasks)
        yield _operation("read_task", "GET", f"{STEP}/tasks/{{task}}", self._read_task)
        # The platform's predecessor, NeMo Microservices, asks by id; its client reads the same members and `job_id`.
        yield _operation("read_old_status", "GET", "/v1/jobs/{id}/status", self._reader("old", old_status_body, job_of))

    def status(self, job: Job) -> Json:
        """`PlatformJobStatusResponse`: the job's status with its steps and their tasks."""
        return status_body(job)

    def parse(self, body: Json) -> tuple[Identity, Report]:
        """What such a status says; a job as lists have it, without steps, is read too. Raises InvalidReport."""
        return read_status(body, self.read_word)

    def problem(self, error: GatewayError, request: Request) -> Response:
        """FastAPI's form: a text, or for a refused parameter a list that says which."""
        members, status = error.members, error.status
        if isinstance(error, JobDeleted):
            status = 404  # NeMo knows no 410: what was deleted is not there
        elif status == 409 or "unprocessable" in members:
            status = 422
        detail: Json = error.detail
        if "loc" in members:
            detail = [{"type": members["kind"], "loc": members["loc"], "msg": detail, "input": members["input"]}]
        return Response(dumps({"detail": detail}), status, error_headers(error), JSON)

    def _reader(
        self, form: str, body: Callable[[Job], Json], find: Callable[[Gateway, Request], Awaitable[Standing]]
    ) -> Endpoint:
        async def read(gateway: Gateway, request: Request) -> Response:
            standing = await find(gateway, request)
            headers = {} if standing.job.terminal else {"Retry-After": str(gateway.pace(standing))}
            return self._answer(request, standing, form, body, headers)

        return read

    def _wisher(self, kind: str) -> Endpoint:
        async def wish(gateway: Gateway, request: Request) -> Response:
            standing = await _standing(gateway, request)
            try:
                standing = (await gateway.wish(*standing.job.key, kind, by=ANONYMOUS)).standing
            except (IllegalTransition, JobFinished):
                standing = await gateway.standing(*standing.job.key)  # as it is by now
            return Response(self._bytes(standing.job, "job", job_body), media_type=JSON)

        return wish

    async def _list_jobs(self, gateway: Gateway, request: Request) -> Response:
        workspace = _workspace(request)
        listing = listing_of(request, JOBS_PAGE, JOB_SORTS, "-created_at", JOB_FIELDS)
        standings, total = await found_jobs(gateway, workspace, listing)
        jobs = [orjson.Fragment(self._bytes(standing.job, "job", job_body)) for standing in standings]
        return Response(dumps(listing.envelope(jobs, total)), media_type=JSON)

    async def _list_steps(self, gateway: Gateway, request: Request) -> Response:
        listing = listing_of(request, STEPS_PAGE, STEP_SORTS, "created_at", STEP_FIELDS)
        try:
            standing = await _standing(gateway, request)
        except JobNotFound:  # NeMo's server looks for steps of that job, and finds none
            return Response(dumps(listing.envelope([], 0)), media_type=JSON)

        def steps(job: Job) -> Json:
            found = steps_found(job, listing)
            return listing.envelope([step_in_list(job, step) for step in listing.of_page(found)], len(found))

        return self._answer(request, standing, listing.form, steps)

    async def _read_step(self, gateway: Gateway, request: Request) -> Response:
        standing = await _standing(gateway, request)
        step = _step(standing.job, request)
        return self._answer(request, standing, f"step {step['name']}", lambda job: step_body(job, step))

    async def _list_tasks(self, gateway: Gateway, request: Request) -> Response:
        standing = await _standing(gateway, request)
        step = _step(standing.job, request)
        return self._answer(request, standing, f"tasks {step['name']}", lambda job: {"data": task_bodies(job, step)})

    async def _read_task(self, gateway: Gateway, request: Request) -> Response:
        standing = await _standing(gateway, request)
        name = request.path_params["task"]
        for task in task_bodies(standing.job, _step(standing.job, request)):
            if task["name"] == name:
                return Response(dumps(task), media_type=JSON)
        raise _missing("Task", "task", request)

    def _answer(
        self,
        request: Request,
        standing: Standing,
        form: str | None,
        body: Callable[[Job], Json],
        more: Mapping[str, str] | None = None,
    ) -> Response:
        headers = {**job_headers(standing.job), **(more or {})}
        if none_match(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        data = dumps(body(standing.job)) if form is None else self._bytes(standing.job, form, body)
        return Response(data, headers=headers, media_type=JSON)

    def _bytes(self, job: Job, form: str, body: Callable[[Job], Json]) -> bytes:
        return self.rendered(job, form, lambda job: dumps(body(job)))


def _operation(name: str, method: str, path: str, endpoint: Endpoint, status: int = 200) -> Operation:
    answer = Answer(status, "As NeMo's own documentation has it.")
    return Operation(f"nemo_{name}", method, path, endpoint, name, (answer,), documented=False)


async def _delete(gateway: Gateway, request: Request) -> Response:
    standing = await _standing(gateway, request)
    await gateway.delete(*standing.job.key, by=ANONYMOUS)
    return Response(status_code=204)


async def _read_logs(gateway: Gateway, request: Request) -> Response:
    """A line for each record that is kept, oldest first; a job's real output is not the gateway's."""
    standing = await _standing(gateway, request)
    limit = min(whole_number(request, "limit", LOGS_PAGE), MAX_LOGS)
    asked = request.query_params
    try:
        records, after = await gateway.history(*standing.job.key, asked.get("page_cursor") or None, limit)
    except (InvalidCursor, Compacted) as error:
        raise InvalidRequest(BAD_CURSOR, unprocessable=True) from error
    attempt = whole_number(request, "attempt_id", 1) if "attempt_id" in asked else None
    lines = [log_line(record.job) for record in records if attempt in (None, record.job.attempt)]
    for member, name in (("job_step", "step_id"), ("job_task", "task_id")):
        lines = [line for line in lines if asked.get(name) in (None, line[member])]
    page = {"data": lines, "total": standing.job.version, "next_page": after, "prev_page": None}
    return Response(dumps(page), media_type=JSON)


async def _standing(gateway: Gateway, request: Request) -> Standing:
    """The newest job of the name in the path, or the one whose id it is. Raises JobNotFound, InvalidRequest."""
    workspace, name = _workspace(request), request.path_params["name"]
    try:
        parse_line(name, "name")
    except InvalidReport as error:
        raise refused(("path", "name"), "value_error", error.detail, name) from error
    try:
        return await newest_of_name(gateway, workspace, name)
    except JobNotFound:
        pass
    try:
        job_id = parse_id(name)
        return gateway.glance(workspace, job_id) or await gateway.standing(workspace, job_id)
    except (InvalidReport, JobDeleted, JobNotFound):
        raise JobNotFound(f"Job '{name}' not found in workspace '{workspace}'.") from None


def _workspace(request: Request) -> str:
    value = request.path_params["workspace"]
    try:
        return parse_workspace(value)
    except InvalidReport as error:
        raise refused(("path", "workspace"), "value_error", error.detail, value) from error


def _step(job: Job, request: Request) -> Mapping[str, Json]:
    for step in job.steps:
        if step["name"] == request.path_params["step"]:
            return step
    raise _missing("Step", "step", request)


def _missing(kind: str, parameter: str, request: Request) -> NotFound:
    names = request.path_params
    return NotFound(
        f"{kind} '{names[parameter]}' for job '{names['name']}' not found in workspace '{names['workspace']}'."
    )
