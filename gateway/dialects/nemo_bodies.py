"""What a job is in NeMo's words: its status, the job itself, its steps and tasks, and the way back. Pure.

Law: what `read_status` made of a status, `status_body` shows as it was, but for what the gateway keeps itself: ids of
steps and tasks, and times. Nothing is null: an error that is not there is `{}`, a stack that is not there is empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from gateway.errors import InvalidReport
from gateway.job import Job
from gateway.record import alias_of, dumps, uuid_of
from gateway.report import CREATE_IDENTITY, Identity, Report, State, parse_identified
from gateway.values import MAX_NAME, Json, parse_object, parse_time

WORDS: Final[Mapping[State, str]] = {
    State.CREATED: "created",
    State.PENDING: "pending",
    State.RUNNING: "active",
    State.PAUSING: "pausing",
    State.PAUSED: "paused",
    State.RESUMING: "resuming",
    State.RETRYING: "active",
    State.CANCELLING: "cancelling",
    State.SUCCEEDED: "completed",
    State.FAILED: "error",
    State.CANCELLED: "cancelled",
    State.UNKNOWN: "pending",
}
STATES: Final[Mapping[str, State]] = {
    "created": State.CREATED,
    "pending": State.PENDING,
    "active": State.RUNNING,
    "pausing": State.PAUSING,
    "paused": State.PAUSED,
    "resuming": State.RESUMING,
    "cancelling": State.CANCELLING,
    "completed": State.SUCCEEDED,
    "error": State.FAILED,
    "cancelled": State.CANCELLED,
}
PROJECT: Final = "project"  # the label that is shown as the job's project
SUMMARY: Final = 200  # characters of an error that has no message of its own; the whole of it stands in its details
STEP_NAME: Final = re.compile(r"[a-z](?!.*--)[a-z0-9\-@.+_]{1,62}(?<!-)")  # as NeMo's own model of a step has it
PERCENT: Final = re.compile(r"\s*(\d{1,3}(?:\.\d{1,20})?)\s*%?\s*", re.ASCII)
SAID: Final = ("message", "error", "detail", "reason")  # where the servers behind NeMo say what went wrong

Body: TypeAlias = dict[str, Json]
ReadWord: TypeAlias = Callable[[Json, str], State]


def status_body(job: Job) -> Body:
    """`PlatformJobStatusResponse`, with all steps and their tasks."""
    steps = [_shown(step_id(job, step), step, {"tasks": _tasks(job, step)}) for step in job.steps]
    return _shown(job.id, _as_item(job), {"steps": steps})


def old_status_body(job: Job) -> Body:
    """The status as the platform's predecessor has it; its client takes no offence at members that it does not know."""
    return {"job_id": job.id, **status_body(job)}


def job_body(job: Job) -> Body:
    """`PlatformJobResponse`. What only the platform knows of a job, how its steps are run and where its files lie, is
    said as little as its clients' models permit: a step at least, an executor with a command, names of their form."""
    labels = job.labels or {}
    command = {"provider": "subprocess", "profile": "default", "command": [job.process or job.name]}
    steps = [{"name": _spec_name(job, step), "executor": command} for step in job.steps]
    return _shown(
        job.id,
        _as_item(job),
        {
            "attempt_id": attempt_id(job),
            "workspace": job.workspace,
            **({PROJECT: labels[PROJECT]} if PROJECT in labels else {}),
            "source": job.process or "",
            "spec": {},
            "platform_spec": {"steps": steps or [{"name": "job", "executor": command}]},
            "fileset": "",
            "custom_fields": dict(labels),
        },
    )


def step_in_list(job: Job, step: Mapping[str, Json]) -> Body:
    """`PlatformJobStepWithContext`."""
    more = {"job": job.name, "attempt_id": attempt_id(job), "fileset": "", "workspace": job.workspace}
    return _shown(step_id(job, step), step, more)


def step_body(job: Job, step: Mapping[str, Json]) -> Body:
    """`PlatformJobStepResponse`."""
    attempt = attempt_id(job)
    return _entity(job, _shown(step_id(job, step), step, {"attempt_id": attempt, "config": {}}), attempt)


def task_bodies(job: Job, step: Mapping[str, Json]) -> list[Body]:
    """`PlatformJobTaskResponse` of each task of a step."""
    parent = step_id(job, step)
    return [_entity(job, task | {"step_id": parent}, parent) for task in _tasks(job, step)]


def _entity(job: Job, body: Body, parent: str) -> Body:
    """What every entity has that stands below another; clients from 0.6 on refuse one without a `db_version`."""
    more = {"entity_id": body["id"], "parent": parent, "workspace": job.workspace, "db_version": job.version}
    return body | more


def log_line(job: Job) -> Body:
    """`PlatformJobLog`: a record of the job as a line of its log."""
    percent = None if job.progress is None else _percent(job.progress)
    words = [WORDS[job.state], percent, job.message or (job.error or {}).get("message")]
    return {
        "timestamp": job.updated,
        "job": job.name,
        "job_step": job.step or "",
        "job_task": "",
        "message": " ".join(word for word in words if word),
    }


def step_id(job: Job, step: Mapping[str, Json]) -> str:
    """The id under which a step is shown."""
    return uuid_of(job.workspace, job.id, step["name"])


def attempt_id(job: Job) -> str:
    """The id of the attempt that the job is in; a retry is another one."""
    return f"attempt-{job.attempt}-{alias_of(job.workspace, job.id)}"


def _tasks(job: Job, step: Mapping[str, Json]) -> list[Body]:
    return [
        _shown(
            uuid_of(job.workspace, job.id, step["name"], task["name"]),
            task,
            {"error_stack": (task["error"] or {}).get("stack", "")},
        )
        for task in step["tasks"]
    ]


def _shown(identity: str, item: Mapping[str, Json], more: Body) -> Body:
    """A job, step or task. `more` are the members of its kind; a task says its error's stack apart."""
    return {
        "id": identity,
        "name": item["name"],
        "status": WORDS[State(item["state"])],
        "status_details": item["details"],
        "error_details": _error_details(item["error"], apart="error_stack" in more),
        **more,
        "created_at": item["created"],
        "updated_at": item["updated"],
    }


def _as_item(job: Job) -> Body:
    return {
        "name": job.name,
        "state": job.state,
        "details": _status_details(job),
        "error": job.error,
        "created": job.created,
        "updated": job.updated,
    }


def _status_details(job: Job) -> Body:
    """What NeMo has no members for stands in the details, where its own servers put it; reported details go first."""
    derived: Body = {
        "progress": None if job.progress is None else _percent(job.progress),
        "current_step": job.step,
        "message": job.message,
        "stalled": job.stalled or None,
    }
    return {name: value for name, value in derived.items() if value is not None} | dict(job.details or {})


def _percent(progress: float) -> str:
    """Two digits after the point at most; 100 % only when it is."""
    return f"{progress if progress == 100 else min(round(progress, 2), 99.99):g}%"


def _spec_name(job: Job, step: Mapping[str, Json]) -> str:
    return step["name"] if STEP_NAME.fullmatch(step["name"]) else f"step-{step_id(job, step)}"


def _error_details(error: Mapping[str, Json] | None, apart: bool) -> Body:
    if error is None:
        return {}
    details = error.get("details")
    if details is not None and error["message"] == _summary(details, error.get("stack", "")):
        return dict(details)  # the message was made of them, by `_error`
    own = {name: error[name] for name in _own(apart) if name in error}
    return own | {name: value for name, value in (details or {}).items() if name not in own}


def _own(apart: bool) -> tuple[str, ...]:
    return ("message", "code") if apart else ("message", "code", "stack")


def _summary(details: Mapping[str, Json], stack: str) -> str:
    """The one line to show of an error that says no message: what else it says, or where its stack ends."""
    for name in SAID:
        if isinstance(details.get(name), str):
            return str(details[name])
    lines = stack.strip().splitlines()
    return lines[-1] if lines and not details else dumps(dict(details)).decode()[:SUMMARY]


# The way back


def read_status(body: Json, read_word: ReadWord) -> tuple[Identity, Report]:
    """What a status, or a job of a list, says. Raises InvalidReport, which names the field."""
    said = _read_item(body, "", read_word, apart=False)
    details, step = said["details"], said["details"].get("current_step")
    said |= {
        "step": step if isinstance(step, str) and len(step) <= MAX_NAME and "\0" not in step else None,
        "message": details["message"] if isinstance(details.get("message"), str) else None,
        "replace": ["details"],
        **{name: body[name] for name in ("id", "workspace") if name in body},
    }
    progress = _read_percent(details.get("progress"))
    if progress is not None:
        said["progress"] = progress
    if "steps" in body:
        steps = _list(body["steps"], "steps")
        said["steps"] = [_read_step(step, f"steps[{i}]", read_word) for i, step in enumerate(steps)]
        said["replace"].append("steps")
    # One moment is all that a report can say: of a job that has not begun when it was made, else when it changed.
    moment = "created_at" if said["state"] in (State.CREATED, State.PENDING) else "updated_at"
    if body.get(moment) is not None:
        parse_time(body[moment], moment)
        said["time"] = body[moment]
    return parse_identified(said, CREATE_IDENTITY)


def _read_step(step: Json, field: str, read_word: ReadWord) -> Body:
    said = _read_item(step, f"{field}.", read_word, apart=False)
    tasks = [
        _read_item(task, f"{field}.tasks[{i}].", read_word, apart=True)
        for i, task in enumerate(_list(step.get("tasks", []), f"{field}.tasks"))
    ]
    return said | {"tasks": tasks}


def _read_item(item: Json, field: str, read_word: ReadWord, *, apart: bool) -> Body:
    """A job, a step, or a task, whose error's stack stands apart. `field` is where it stands, with the dot after it."""
    if not isinstance(item, dict):
        raise InvalidReport(f"{field.removesuffix('.') or 'the status'} must be a JSON object", field=field[:-1])
    stack = item.get("error_stack") if apart else None
    if not isinstance(stack, str | None):
        raise InvalidReport(f"{field}error_stack must be a string", field=f"{field}error_stack")
    return {
        "name": item.get("name"),
        "state": read_word(item.get("status"), f"{field}status"),
        "details": _object(item, "status_details", field),
        "error": _error(_object(item, "error_details", field), stack or "", apart),
    }


def _error(details: Body, stack: str, apart: bool) -> Body | None:
    """An error from its details: told apart into message, code and stack where it can be put together again."""
    if not details and not stack:
        return None
    own = {name: details[name] for name in _own(apart) if isinstance(details.get(name), str)}
    rest = {name: value for name, value in details.items() if name not in own}
    with_stack = {"stack": stack} if stack else {}
    told = {**own, **({"details": rest} if rest else {}), **with_stack}
    if "message" in own and _error_details(told, apart) == details:
        return told
    return {"message": _summary(details, stack), "details": details, **with_stack}


def _read_percent(value: Json) -> float | None:
    found = PERCENT.fullmatch(value) if isinstance(value, str) else None
    number = float(found[1]) if found else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 100:
        return None
    return float(number)


def _object(item: Body, name: str, field: str) -> Body:
    value = item.get(name)
    return {} if value is None else dict(parse_object(value, field + name))


def _list(value: Json, field: str) -> list[Json]:
    if not isinstance(value, list):
        raise InvalidReport(f"{field} must be a list", field=field)
    return value
