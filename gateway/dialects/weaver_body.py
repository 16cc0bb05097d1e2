"""A job's status in Weaver's words, both ways: its body and links, its exceptions and log, and the report in a body.

Law: all here is pure; the members that depend on now stand apart, in `live`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from gateway.dialects.translator import uuid_of_job
from gateway.dialects.weaver_forms import OPENEO, PAGE, RELATIONS, SCHEMAS, TYPES, WORDS, WPS, XML, address, link
from gateway.job import Job, stamp
from gateway.record import Record
from gateway.report import MISSING, Identity, Maybe, Report, State
from gateway.values import Json, parse_href, parse_id, parse_line_or_null, parse_progress, parse_text, parse_time

MESSAGES: Final[Mapping[str, str]] = {  # where nobody has said anything yet, by the page's word
    "accepted": "Job task submitted for execution.",
    "running": "Job is running.",
    "succeeded": "Job successful.",
    "failed": "Job failed.",
    "dismissed": "Job dismissed.",
}
JOB_FAILED: Final = "JobFailed"  # of an error without a code
NULLS: Final = frozenset({"providerID", "started", "finished", "runningDuration"})  # which Weaver shows as null


def links_of(job: Job, base: str) -> list[Mapping[str, str]]:
    """The job's links: every one of ours leads somewhere. Those that the producer reported follow."""
    one = f"/jobs/{uuid_of_job(job)}"
    # A slash in the name of a process would not survive in a path.
    process = f"/processes/{quote(job.process)}" if job.process and "/" not in job.process else ""
    if process in ("/processes/.", "/processes/.."):
        process = ""

    def to(path: str, **query: str) -> str:
        return address(base, path, job.workspace, **query)

    itself = to(f"{process}{one}")
    found: list[Mapping[str, str]] = [
        link("status", itself, "Job status."),
        link("monitor", itself, "Job monitoring location."),
        link("alternate", to(one, f="json"), "Job status as JSON."),
        link("alternate", to(one, f="xml"), "Job status as WPS document.", XML),
        link(f"{RELATIONS}/job-list", to("/jobs"), "List of jobs."),
        link("collection", to("/jobs"), "List of jobs."),
    ]
    more = []
    if results_link(job) and job.state is State.SUCCEEDED:
        more.append(("results", "Job results."))
    if job.state is State.FAILED:
        more.append(("exceptions", "List of job exceptions."))
    more.append(("logs", "List of job logs."))
    for name, title in more:
        href, rel = to(f"{process}{one}/{name}"), "log" if name == "logs" else name
        found += [link(name, href, title)] * (name != "results") + [link(f"{RELATIONS}/{rel}", href, title)]
    found += [link("self", itself, "Job status."), link("up", to(f"{process}/jobs"), "Jobs of the same kind.")]
    ours, results = {item["rel"] for item in found}, results_link(job)
    return found + [item for item in job.links if item is not results and item["rel"] not in ours]


def results_link(job: Job) -> Mapping[str, str] | None:
    """The link to its results that the producer reported, if it did."""
    return next((item for item in job.links if is_results(item["rel"])), None)


def is_results(rel: Json) -> bool:
    """Whether a link leads to results: by the plain name, or by OGC's, in its old or new form."""
    return rel == "results" or rel in (f"{RELATIONS}/results", f"{RELATIONS}/results".replace("https", "http"))


def percent_of(job: Job) -> int | float:
    """How much of the job is done."""
    percent = job.progress if job.progress is not None else 100.0 * (job.state is State.SUCCEEDED)
    return int(percent) if percent.is_integer() else percent


def message_of(job: Job) -> str:
    """What was said of the job last; of a failed one of which nothing was said, its error."""
    if job.message is not None:
        return job.message
    if job.state is State.FAILED and job.error:
        return str(job.error["message"])
    return MESSAGES[WORDS[PAGE][job.state]]


def time_of(text: str | None) -> str | None:
    """A time of the document, with a fraction only where it has one."""
    return text and text.replace(".000Z", "Z")


def body_of(job: Job, profile: str, base: str) -> dict[str, Json]:
    """The status of a job in a profile, but for what depends on now."""
    uuid, percent = uuid_of_job(job), percent_of(job)
    members: dict[str, Json] = {
        "$schema": SCHEMAS.get(profile),
        "id": uuid,
        "jobID": uuid,
        "processID": job.process,
        "providerID": None,
        "processingEntityType": "ogc-api-processes",
        "type": TYPES.get(profile, "process"),
        "title": None if job.name == job.id else job.name,
        "status": WORDS[profile][job.state],
        "message": message_of(job),
        "created": time_of(job.created),
        "started": time_of(job.started),
        "finished": time_of(job.finished),
        "updated": time_of(job.updated),
        "percentCompleted": percent,
        "progress": int(percent),
    }
    if job.state is State.FAILED and job.error:
        title = job.error.get("code", JOB_FAILED)
        members["exception"] = {"type": JOB_FAILED, "title": title, "detail": job.error["message"]}
    if profile == OPENEO:
        members["process"] = {"id": job.process or job.name, "process_graph": {}}
    members["links"] = links_of(job, base)
    return without_nulls(members, profile)


def without_nulls(members: Mapping[str, Json], profile: str) -> dict[str, Json]:
    """The members that are shown: Weaver shows some as null, which the schemas of OGC and openEO do not permit."""
    shown = NULLS if profile in (PAGE, WPS) else frozenset()
    return {name: value for name, value in members.items() if value is not None or name in shown}


def live(job: Job, profile: str, now: datetime, pace: int) -> dict[str, Json]:
    """The members that depend on now; `pace` is after how many seconds another look is worth while."""
    seconds = seconds_of(job, now)
    hours, rest = divmod(int(seconds or 0), 3600)
    minutes, rest = divmod(rest, 60)
    parts = f"{hours:02}H{minutes:02}M" if hours else f"{minutes:02}M" if minutes else ""
    members = {
        "duration": f"{hours:02}:{minutes:02}:{rest:02}",
        "runningDuration": None if seconds is None else f"PT{parts}{rest:02}S",
        "runningSeconds": seconds,
        "nextPoll": None if job.terminal else time_of(stamp(now + timedelta(seconds=pace))),
    }
    return without_nulls(members, profile)


def seconds_of(job: Job, now: datetime) -> float | None:
    """How many seconds the job ran or has been running; None before it has begun."""
    if job.started is None:
        return None
    end = now if job.finished is None else datetime.fromisoformat(job.finished)
    return max(0.0, round((end - datetime.fromisoformat(job.started)).total_seconds(), 3))


def exceptions_of(job: Job) -> list[dict[str, str]]:
    """The errors of the job, its steps and their tasks, as Weaver lists them."""
    errors = [(job.step or "", job.error)]
    for step in job.steps:
        errors.append((step["name"], step["error"]))
        errors += [(f"{step['name']}/{task['name']}", task["error"]) for task in step["tasks"]]
    found = [
        {
            "Code": error.get("code", "NoApplicableCode"),
            "Locator": where,
            "Text": "\n".join(text for text in (error["message"], error.get("stack")) if text),
        }
        for where, error in errors
        if error
    ]
    if not found and job.state is State.FAILED:
        found = [{"Code": "NoApplicableCode", "Locator": "", "Text": message_of(job)}]
    return found


def log_line(record: Record) -> str:
    """A record as a line of Weaver's log."""
    job = record.job
    level = "ERROR" if job.state is State.FAILED else "WARNING" if job.stalled else "INFO"
    took = timedelta(seconds=int(seconds_of(job, datetime.fromisoformat(job.updated)) or 0))
    when, text = job.updated[:19].replace("T", " "), " ".join(message_of(job).splitlines())
    word = WORDS[PAGE][job.state]
    return f"[{when}] {level:<8} [status-gateway.job] {took} {int(percent_of(job)):>3}% {word:<10} {text}"


def report_of(body: Json, state: State) -> tuple[Identity, Report]:
    """What a status body in any profile says of a job in `state`, with the time when the job came to be so.

    Raises InvalidReport, which names the field.
    """
    identity = Identity(
        id=parse_id(body.get("jobID") or body.get("id"), "jobID"),
        name=parse_line_or_null(body.get("title"), "title"),
        process=parse_line_or_null(body.get("processID"), "processID"),
    )
    message = parse_text(body.get("message"), "message")
    percent = "percentCompleted" if body.get("percentCompleted") is not None else "progress"
    times = {
        name: parse_time(body[name], name)
        for name in ("created", "started", "finished", "updated")
        if body.get(name) is not None
    }
    order = {"accepted": ("created",), "running": ("started", "updated")}.get(WORDS[PAGE][state])
    return identity, Report(
        state=state,
        progress=parse_progress(body[percent], percent) if percent in body else MISSING,
        message=MISSING if message is None else message,
        error=_error(body, message) if state is State.FAILED else MISSING,
        links=_results(body.get("links")),
        time=next((times[name] for name in order or ("finished", "updated") if name in times), None),
    )


def _error(body: Mapping[str, Json], message: str | None) -> dict[str, Json]:
    """The error of a failed job: the `exception` of newer servers, or else the message."""
    told = body.get("exception")
    told = told if isinstance(told, dict) else {}
    text = parse_text(told.get("detail", told.get("title")), "exception.detail")
    title = parse_text(told.get("title"), "exception.title")
    error: dict[str, Json] = {"message": text or message or MESSAGES["failed"]}
    return error if title in (None, JOB_FAILED) else error | {"code": title}


def _results(links: Json) -> Maybe[tuple[Mapping[str, str], ...]]:
    """The link to the results, where there is one."""
    for item in links if isinstance(links, list) else ():
        if isinstance(item, dict) and is_results(item.get("rel")):
            return ({"rel": "results", "href": parse_href(item.get("href"), "links")},)
    return MISSING
