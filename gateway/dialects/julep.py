"""Julep's job status, under `/julep`: the shortest dialect, and the example of how to add another.

Law: what its OpenAPI page says is answered to the letter. A job is shown under its UUID, and found by that or its id.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects.base import JSON, Operation, error_headers
from gateway.dialects.translator import Translator, uuid_of_job, workspace_of
from gateway.errors import GatewayError, InvalidReport, JobDeleted, JobNotFound
from gateway.eventlog.base import Standing
from gateway.job import Job
from gateway.record import dumps
from gateway.report import Identity, Report, State
from gateway.service import Gateway
from gateway.values import Json, parse_id, parse_line, parse_progress, parse_text, parse_time

WORDS: Final[Mapping[State, str]] = {
    State.CREATED: "pending",
    State.PENDING: "pending",
    State.RUNNING: "in_progress",
    State.PAUSING: "in_progress",
    State.PAUSED: "in_progress",
    State.RESUMING: "in_progress",
    State.RETRYING: "retrying",
    State.CANCELLING: "in_progress",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "aborted",
    State.UNKNOWN: "unknown",
}
STATES: Final[Mapping[str, State]] = {
    "pending": State.PENDING,
    "in_progress": State.RUNNING,
    "retrying": State.RETRYING,
    "succeeded": State.SUCCEEDED,
    "failed": State.FAILED,
    "aborted": State.CANCELLED,
    "unknown": State.UNKNOWN,
}
HEADERS: Final = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


class Julep(Translator):
    """One route, both directions, and errors in Julep's form."""

    name: ClassVar[str] = "julep"
    prefix: ClassVar[str] = "/julep"
    words = WORDS
    states = STATES

    def __init__(self) -> None:
        super().__init__()
        self.operations = (
            Operation("julep_status", "GET", "/jobs/{job_id}", self.read, "A job's status", (), documented=False),
        )

    async def read(self, gateway: Gateway, request: Request) -> Response:
        """`GET /jobs/{job_id}`."""
        job = (await _find(gateway, request)).job
        data = self.rendered(job, "status", lambda job: dumps(self.status(job)))
        return Response(data, headers=HEADERS, media_type=JSON)

    def status(self, job: Job) -> Json:
        """See `Translator.status`."""
        error = job.error if job.state is State.FAILED else None
        status = {
            "id": uuid_of_job(job),
            "created_at": job.created,
            "updated_at": job.updated,
            "reason": error["message"] if error else job.message or "",
            "has_progress": job.progress is not None,
            "progress": job.progress or 0.0,
            "state": self.word(job.state),
        }
        return status | {"name": job.name} if _can_show(job.name) else status

    def parse(self, body: Json) -> tuple[Identity, Report]:
        """See `Translator.parse`. The report's time is that of the last change, or of the creation while pending."""
        if not isinstance(body, dict):
            raise InvalidReport("a job's status must be a JSON object", field="")
        state = self.read_word(body.get("state", "pending"), "state")
        reason = parse_text(body.get("reason"), "reason") or None
        moment = "created_at" if state is State.PENDING else "updated_at"
        name = parse_line(body["name"], "name") if body.get("name") else None
        report = Report(
            state=state,
            progress=parse_progress(body.get("progress"), "progress") if body.get("has_progress") else None,
            message=reason,
            error={"message": reason} if reason and state is State.FAILED else None,
            time=parse_time(body.get(moment), moment),
        )
        return Identity(parse_id(body.get("id")), name=name), report

    def problem(self, error: GatewayError, request: Request) -> Response:
        """Julep's error envelope, but for what is not valid, which has the form of its page."""
        answer: Json
        if isinstance(error, JobNotFound | JobDeleted):
            status, answer = 404, _envelope("job not found or invalid", "NOT_FOUND", "rpc_error")
        elif isinstance(error, InvalidReport):
            place, field = error.members.get("place", "query"), error.members.get("field", "")
            status, answer = 422, {"detail": [{"loc": [place, field], "msg": error.detail, "type": _kind(place)}]}
        else:
            status, answer = error.status, _envelope(error.detail, f"http_{error.status}", "http_error")
        return Response(dumps(answer), status, error_headers(error), JSON)


async def _find(gateway: Gateway, request: Request) -> Standing:
    """The job of that id or UUID, written in any way that UUIDs are. Raises JobNotFound, JobDeleted, InvalidReport."""
    workspace, text = workspace_of(request), request.path_params["job_id"]
    with suppress(JobNotFound):
        return gateway.glance(workspace, text) or await gateway.standing(workspace, text)
    try:
        job_id = str(uuid.UUID(text))
    except ValueError:
        raise InvalidReport("Input should be a valid UUID", field="job_id", place="path") from None
    return gateway.glance(workspace, job_id) or await gateway.standing(workspace, job_id)


def _envelope(message: str, code: str, kind: str) -> Json:
    return {"error": {"message": message, "code": code, "type": kind}}


def _kind(place: object) -> str:
    return "uuid_parsing" if place == "path" else "value_error"


# What the page's pattern allows in a name, which Python's `re` can't say: Pattern_Syntax and Pattern_White_Space, which
# Unicode never changes, and these categories. Of ID_Start the categories leave out four signs that stand among _OTHERS.
MAX_NAME: Final = 120
_SYNTAX: Final = re.compile(
    "[\t-\r \x85\u200e\u200f\u2028\u2029!-/:-@\\[-^`{-~\xa1-\xa7\xa9\xab\xac\xae\xb0\xb1\xb6\xbb\xbf\xd7\xf7"
    "\u2010-\u2027\u2030-\u203e\u2041-\u2053\u2055-\u205e\u2190-\u245f\u2500-\u2775\u2794-\u2bff\u2e00-\u2e7f"
    "\u3001-\u3003\u3008-\u3020\u3030\ufd3e\ufd3f\ufe45\ufe46]"
)
_FIRST: Final = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nl", "syntax"})
_OTHERS: Final = _FIRST | {"Mn", "Mc", "Nd", "Pc", "\u2118", "\u212e", "\u309b", "\u309c"}


def _can_show(name: str) -> bool:
    kinds = ["syntax" if _SYNTAX.match(sign) else unicodedata.category(sign) for sign in name]
    return (
        len(name) <= MAX_NAME
        and kinds[0] in _FIRST
        and all(kind in _OTHERS or sign in _OTHERS for kind, sign in zip(kinds, name, strict=True))
    )
