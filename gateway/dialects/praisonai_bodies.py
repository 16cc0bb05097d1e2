"""What PraisonAI says of a run: its words, its bodies both ways, and the events of its stream.

Law: nulls are left out, since its command line fails on some of them. What its server keeps of a run and a job here has
no member for goes where a reader of any dialect finds it: the counts of steps to `details`, the rest to `labels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from gateway.dialects.pipe import Event
from gateway.errors import InvalidReport
from gateway.job import Job
from gateway.record import DELETED, PROGRESS, TRANSITION, dumps
from gateway.report import MISSING, Identity, Report, State
from gateway.values import Json, parse_id, parse_line, parse_progress, parse_step_now, parse_text, parse_time

WORDS: Final[Mapping[State, str]] = {
    State.CREATED: "queued",
    State.PENDING: "queued",
    State.RUNNING: "running",
    State.PAUSING: "running",
    State.PAUSED: "running",
    State.RESUMING: "running",
    State.RETRYING: "running",
    State.CANCELLING: "running",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
    State.UNKNOWN: "running",
}
STATES: Final[Mapping[str, State]] = {
    "queued": State.PENDING,
    "running": State.RUNNING,
    "succeeded": State.SUCCEEDED,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
}
MOMENTS: Final[Mapping[State, str]] = {
    State.PENDING: "created_at",
    State.RUNNING: "started_at",
    State.SUCCEEDED: "completed_at",
    State.FAILED: "completed_at",
    State.CANCELLED: "completed_at",
}
COUNTS: Final = ("steps_completed", "steps_total")  # of the steps, among the details
MARKS: Final = ("agent_id", "run_id", "session_id")  # among the labels
MAX_STREAMED_RESULT: Final = 1000  # characters, as its server has it
RESULT_LINKS: Final = ("result", "results")


def status_body(job: Job) -> Json:
    """A run's status, but for `retry_after`, which depends on now."""
    word, labels = WORDS[job.state], job.labels or {}
    return _said(
        job_id=job.id,
        status=word,
        progress=_progress(job) if word == "running" else None,
        **_times(job),
        **{mark: labels.get(mark) for mark in MARKS},
        error=_error(job),
    )


def read_status(body: Json, state: State) -> tuple[Identity, Report]:
    """What a status body says of a run in this state. Raises InvalidReport.

    The report's time is that of the creation, the start or the end, whatever the state has come about by.
    """
    moment = MOMENTS[state]
    error = parse_text(body.get("error"), "error") if state is State.FAILED else None
    progress = body.get("progress")
    if not isinstance(progress, dict | None):
        raise InvalidReport("progress must be a JSON object", field="progress")
    report = Report(
        state=state,
        progress=MISSING if progress is None else parse_progress(progress.get("percentage"), "progress.percentage"),
        step=MISSING if progress is None else parse_step_now(progress.get("current_step"), "progress.current_step"),
        details=MISSING if progress is None else {name: _count(progress, name) for name in COUNTS},
        labels={mark: parse_line(body[mark], mark) if body.get(mark) else None for mark in MARKS},
        error=None if error is None else {"message": error},
        time=None if body.get(moment) is None else parse_time(body[moment], moment),
    )
    return Identity(parse_id(body.get("job_id"), "job_id")), report


def result_body(job: Job) -> Json:
    """What came of a run that has ended."""
    took = None
    if job.started is not None and job.finished is not None:
        took = (datetime.fromisoformat(job.finished) - datetime.fromisoformat(job.started)).total_seconds()
    body = _said(
        job_id=job.id,
        status=WORDS[job.state],
        result=job.result,
        result_url=next((link["href"] for link in job.links if link["rel"] in RESULT_LINKS), None),
        **_times(job),
        duration_seconds=took,
        error=_error(job),
    )
    # Of a run that has succeeded it is always there: users read it without asking whether it is.
    return {"result": None, **body} if job.state is State.SUCCEEDED else body


def tell(event: str, data: Json) -> Sequence[Event]:
    """The stream's events for one of the canonical stream: the status where its word is new, the progress, the end."""
    if event == DELETED:
        return [("error", {"error": "Job not found"})]
    if event not in ("snapshot", TRANSITION, PROGRESS):
        return ()
    state, before = State(data["state"]), data["previous"]
    is_new = event == TRANSITION and (before is None or WORDS[State(before)] != WORDS[state])
    told: list[Event] = []
    if is_new or event == "snapshot":
        told.append(("status", {"status": WORDS[state], "job_id": data["id"]}))
    step = data["message"] if data["step"] is None else data["step"]
    told.append(("progress", {"percentage": data["progress"] or 0.0, "step": step or ""}))
    match state:
        case State.SUCCEEDED:
            told.append(("result", {"result": _text(data["result"])[:MAX_STREAMED_RESULT]}))
        case State.FAILED:
            told.append(("error", {"error": (data["error"] or {}).get("message") or "Unknown error"}))
        case State.CANCELLED:
            told.append(("cancelled", {"message": "Job was cancelled"}))
    return told


def heartbeat() -> Event:
    """What the stream says when nothing has changed for a while."""
    return "heartbeat", {"timestamp": datetime.now(UTC).isoformat()}


def _said(**members: Json) -> dict[str, Json]:
    return {name: value for name, value in members.items() if value is not None}


def _times(job: Job) -> Mapping[str, Json]:
    return {"created_at": job.created, "started_at": job.started, "completed_at": job.finished}


def _error(job: Job) -> str | None:
    message: str | None = job.error["message"] if job.error is not None and job.state is State.FAILED else None
    return message


def _progress(job: Job) -> Json:
    counts = {name: (job.details or {}).get(name) for name in COUNTS}
    if job.steps:
        done = sum(step["state"] == State.SUCCEEDED for step in job.steps)
        counts = {"steps_completed": done, "steps_total": len(job.steps)}
    counts = {
        name: value if type(value) is int else None for name, value in counts.items()
    }  # details may hold anything
    step = job.message if job.step is None else job.step
    return _said(percentage=job.progress or 0.0, current_step=step, **counts)


def _count(progress: Mapping[str, Json], name: str) -> int | None:
    value = progress.get(name)
    if value is not None and type(value) is not int:
        raise InvalidReport(f"progress.{name} must be a whole number", field=f"progress.{name}")
    return value


def _text(value: Json) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value).decode()
