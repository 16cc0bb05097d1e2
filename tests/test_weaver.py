"""Weaver's words for a job, both ways: held by vectors, by the schemas, and by arbitrary lives of jobs."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from starlette.requests import Request

from gateway.dialects import weaver
from gateway.dialects.weaver import Weaver
from gateway.dialects.weaver_body import body_of, log_line
from gateway.dialects.weaver_forms import OGC, OPENEO, PAGE, WORDS, WPS, XML_SCHEMA, Form, form_of
from gateway.errors import GatewayError, InvalidReport, InvalidRequest, NotAcceptable
from gateway.eventlog.base import Standing
from gateway.job import Job, apply, create
from gateway.record import Record, document, from_json
from gateway.report import MISSING, State
from gateway.values import DEFAULT_WORKSPACE, Json
from tests.jobs import START, at, new, say
from tests.strategies import JOBS, LINES, TEXTS, relaxed

VECTORS = sorted((Path(__file__).parent / "vectors" / "weaver").glob("*.json"))
ID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
BASE = "http://localhost/weaver"
NOW = START + timedelta(seconds=90)
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$"}
LINK = {
    "type": "object",
    "required": ["href"],
    "properties": {name: {"type": "string"} for name in ("href", "rel", "type", "hreflang", "title")},
}
# OGC API - Processes, part 1, version 1.0: statusInfo, statusCode and link; what it calls optional may be left out, and
# may not be null.
STATUS_INFO = {
    "type": "object",
    "required": ["jobID", "status", "type"],
    "properties": {
        "processID": {"type": "string"},
        "type": {"enum": ["process"]},
        "jobID": {"type": "string"},
        "status": {"enum": ["accepted", "running", "successful", "failed", "dismissed"]},
        "message": {"type": "string"},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "links": {"type": "array", "items": LINK},
        **dict.fromkeys(("created", "started", "finished", "updated"), TIME),
    },
}
# The example and the words of Weaver's page on a job's status. It shows a running job; one that waits has not started.
PUBLISHED = {
    "type": "object",
    "required": ["jobID", "status", "progress", "message", "created", "started"],
    "properties": {
        "jobID": {"type": "string"},
        "status": {"enum": ["accepted", "running", "succeeded", "failed", "dismissed"]},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "message": {"type": "string"},
        "created": TIME,
        "started": {"anyOf": [TIME, {"type": "null"}]},
        "processID": {"type": "string"},
    },
}
PAGE_EXAMPLE = {
    "jobID": ID,
    "status": "running",
    "progress": 45,
    "message": "Processing step 2 of 4",
    "created": "2026-02-19T10:00:00Z",
    "started": "2026-02-19T10:00:05Z",
    "processID": "my-process",
}

some = settings(relaxed, max_examples=40)  # lives of jobs take long to make up


def told(job: Job, form: Form, base: str = BASE, now: datetime = NOW, pace: int = 5) -> bytes:
    """The job's status in a form, by a dialect that has told nothing yet."""
    return Weaver().answer(Standing(job, b"", 1, 1), form, base, now, pace)


def status(job: Job, profile: str = PAGE) -> dict[str, Any]:
    """The same as JSON."""
    value: dict[str, Any] = orjson.loads(told(job, Form(profile)))
    return value


def valid(schema: Mapping[str, Any], value: Json) -> None:
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(value)


def request(query: str = "", **headers: str) -> Request:
    """A request with that query and those headers, whose underscores stand for hyphens."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": raw})


# Vectors


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_vector_comes_out_as_it_stands(path: Path) -> None:
    vector = orjson.loads(path.read_bytes())
    job, base, pace = from_json(vector["document"]), vector["base"], vector["pace"]
    now = datetime.fromisoformat(vector["now"])
    page = orjson.loads(told(job, Form(), base, now, pace))
    assert page == vector["page"]
    for profile, differs in vector["profiles"].items():
        expected = {name: value for name, value in page.items() if name not in differs["left_out"]} | differs["set"]
        assert orjson.loads(told(job, Form(profile), base, now, pace)) == expected
    assert told(job, Form(WPS, xml=True), base, now, pace).decode().split("\n", 1) == vector["xml"]


def test_there_is_a_vector_for_every_state() -> None:
    documents = [orjson.loads(path.read_bytes())["document"] for path in VECTORS]
    assert {path.stem for path in VECTORS} == {each["state"] for each in documents} == set(State)


def test_each_member_of_the_pages_example_is_in_the_answer_as_it_stands_there() -> None:
    job = say(new(id=ID, process="my-process"), 5, state="running")
    job = say(job, 30, progress=45, message="Processing step 2 of 4")
    answer = status(job)
    assert {name: answer[name] for name in PAGE_EXAMPLE} == PAGE_EXAMPLE


# Schemas


@some
@given(JOBS)
def test_every_answer_satisfies_the_published_page_and_ogcs_schema_where_that_is_asked_for(job: Job) -> None:
    valid(PUBLISHED, status(job))
    valid(STATUS_INFO, status(job, OGC))
    assert status(job)["status"] == Weaver.words[job.state]
    assert Weaver().status(job)["status"] == Weaver.words[job.state]
    for profile in (OGC, OPENEO):
        assert None not in status(job, profile).values()


@some
@given(JOBS)
def test_whatever_was_said_of_a_job_its_wps_document_can_be_read_and_its_log_has_a_line(job: Job) -> None:
    root = ElementTree.fromstring(told(job, Form(WPS, xml=True)))
    (state,) = root.findall("{http://www.opengis.net/wps/1.0.0}Status/*")
    assert state.tag == f"{{http://www.opengis.net/wps/1.0.0}}Process{WORDS[WPS][job.state].capitalize()}"
    line = log_line(Record(1, job.position, "progress", "anonymous", job.key, b"", job=job))
    assert line.splitlines() == [line]
    assert re.match(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d] (INFO {4}|WARNING |ERROR {3}) \[[a-z.-]+] \d+:\d\d:\d\d ", line)


# Reading


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Json]:
    """A status as Weaver's page and server have it."""
    word = draw(st.sampled_from(sorted(set(Weaver.words.values()))))
    percent = 100 if word == "succeeded" else draw(st.integers(0, 100))
    times = [time.replace(".000Z", "Z") for time in sorted(at(draw(st.integers(0, 80_000)) / 1000) for _ in range(3))]
    begun = word not in ("accepted", "dismissed") or draw(st.booleans())
    ended = word in ("succeeded", "failed", "dismissed")
    return {
        "jobID": str(draw(st.uuids())),
        "status": word,
        "progress": percent,
        "percentCompleted": percent,
        "message": draw(TEXTS),
        "created": times[0],
        "started": times[1] if begun and word != "accepted" else None,
        "finished": times[2] if ended else None,
        **draw(st.fixed_dictionaries({}, optional={"processID": LINES, "title": LINES})),
    }


@some
@given(bodies(), st.booleans())
def test_what_is_read_is_shown_again_as_it_was(body: dict[str, Json], known: bool) -> None:
    identity, report = Weaver().parse(body)
    if known:
        before = create(identity, report._replace(state=State.CREATED, progress=MISSING), at(0), DEFAULT_WORKSPACE)
        job = apply(before, report, at(90))
    else:
        job = create(identity, report, at(90), DEFAULT_WORKSPACE)
    shown = Weaver().status(job)
    for member in ("jobID", "status", "progress", "percentCompleted", "message", "processID"):
        assert shown.get(member) == body.get(member), member
    if body.get("title") != body["jobID"]:
        assert shown.get("title") == body.get("title")
    came = {"accepted": "created", "running": "started"}.get(body["status"], "finished")
    if came != "created" or not known:  # a job that is known keeps the time at which it was created
        assert shown[came] == body[came]


@some
@given(JOBS, st.sampled_from([PAGE, OGC, OPENEO, WPS]))
def test_what_any_profile_shows_is_read_as_a_state_that_it_shows_so(job: Job, profile: str) -> None:
    body = status(job, profile)
    identity, report = Weaver().parse(body)
    assert isinstance(report.state, State)
    assert WORDS[profile][report.state] == body["status"]
    assert identity.id == body["jobID"]
    assert report.message == body["message"]


@pytest.mark.parametrize(
    "word, state",
    [
        ("accepted", State.PENDING),
        ("created", State.CREATED),
        ("queued", State.PENDING),
        ("running", State.RUNNING),
        ("started", State.RUNNING),
        ("ProcessStarted", State.RUNNING),
        ("paused", State.PAUSED),
        ("succeeded", State.SUCCEEDED),
        ("successful", State.SUCCEEDED),
        ("Successful", State.SUCCEEDED),
        ("finished", State.SUCCEEDED),
        ("failed", State.FAILED),
        ("error", State.FAILED),
        ("exception", State.FAILED),
        ("dismissed", State.CANCELLED),
        ("canceled", State.CANCELLED),
        ("unknown", State.UNKNOWN),
    ],
)
def test_every_word_of_weavers_vocabularies_is_read(word: str, state: State) -> None:
    assert Weaver().parse({"jobID": ID, "status": word})[1].state is state


def test_what_weaver_itself_sends_is_read_with_its_nulls_and_offsets() -> None:
    identity, report = Weaver().parse(
        {
            "$schema": "https://schemas.opengis.net/…/statusInfo.yaml",
            "id": ID,
            "jobID": ID,
            "processID": "my-process",
            "providerID": None,
            "type": "process",
            "status": "running",
            "message": None,
            "created": "2026-02-19T10:00:00.147000+00:00",
            "started": "2026-02-19T10:00:05+00:00",
            "finished": None,
            "runningDuration": None,
            "percentCompleted": 45.5,
            "progress": 45,
            "links": [{"href": "http://x/jobs/1", "rel": "status"}],
        }
    )
    assert (identity.id, identity.process) == (ID, "my-process")
    assert (report.state, report.progress, report.message) == (State.RUNNING, 45.5, MISSING)
    assert report.time == START + timedelta(seconds=5)
    assert (report.error, report.links) == (MISSING, MISSING)


def test_a_failure_is_read_with_its_reason_and_success_with_the_way_to_its_results() -> None:
    def read(**body: Json) -> Any:
        return Weaver().parse({"id": ID, **body})[1]

    assert read(status="failed", message="disk full").error == {"message": "disk full"}
    assert read(status="failed").error == {"message": "Job failed."}
    told = {"type": "x", "title": "NoSpace", "detail": "disk full"}
    assert read(status="failed", message="Job failed.", exception=told).error == {
        "message": "disk full",
        "code": "NoSpace",
    }
    for rel in ("results", *(f"{scheme}://www.opengis.net/def/rel/ogc/1.0/results" for scheme in ("http", "https"))):
        links = ["?", {"rel": "self", "href": "http://x"}, {"rel": rel, "href": "http://x/results"}]
        assert read(status="succeeded", links=links).links == ({"rel": "results", "href": "http://x/results"},)


@pytest.mark.parametrize(
    "body, field",
    [
        (None, ""),
        ([], ""),
        ({"jobID": ID}, "status"),
        ({"jobID": ID, "status": "bogus"}, "status"),
        ({"jobID": ID, "status": 1}, "status"),
        ({"status": "running"}, "jobID"),
        ({"jobID": "a b", "status": "running"}, "jobID"),
        ({"jobID": ID, "status": "running", "progress": 101}, "progress"),
        ({"jobID": ID, "status": "running", "percentCompleted": "45"}, "percentCompleted"),
        ({"jobID": ID, "status": "running", "message": {}}, "message"),
        ({"jobID": ID, "status": "running", "created": "yesterday"}, "created"),
        ({"jobID": ID, "status": "running", "processID": ""}, "processID"),
        ({"jobID": ID, "status": "failed", "exception": {"detail": 1}}, "exception.detail"),
        ({"jobID": ID, "status": "running", "links": [{"rel": "results", "href": ""}]}, "links"),
    ],
)
def test_what_is_no_status_is_refused_with_the_name_of_the_field(body: Json, field: str) -> None:
    with pytest.raises(InvalidReport) as caught:
        Weaver().parse(body)
    assert caught.value.members["field"] == field


# What depends on now


def test_a_record_is_rendered_once_and_what_depends_on_now_is_filled_in_for_each_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    def counted(job: Job, profile: str, base: str) -> dict[str, Json]:
        made.append(profile)
        return body_of(job, profile, base)

    monkeypatch.setattr(weaver, "body_of", counted)
    dialect, job = Weaver(), say(new(id=ID), 5, state="running")
    standing = Standing(job._replace(position="k7f3q2ab-2"), b"", 1, 2)
    answers = [
        orjson.loads(dialect.answer(standing, Form(), BASE, START + timedelta(seconds=seconds), pace))
        for seconds, pace in ((5.25, 1), (65, 2), (5 + 3600 * 30, 30))
    ]
    assert made == [PAGE]
    assert [answer["duration"] for answer in answers] == ["00:00:00", "00:01:00", "30:00:00"]
    assert [answer["runningDuration"] for answer in answers] == ["PT00S", "PT01M00S", "PT30H00M00S"]
    assert [answer["runningSeconds"] for answer in answers] == [0.25, 60.0, 108000.0]
    assert answers[0]["nextPoll"] == "2026-02-19T10:00:06.250Z"
    dialect.answer(standing, Form(OGC), BASE, NOW, 1)
    dialect.answer(standing, Form(), "http://elsewhere/weaver", NOW, 1)
    assert made == [PAGE, OGC, PAGE]


def test_a_clock_behind_the_producers_gives_no_negative_duration() -> None:
    assert orjson.loads(told(say(new(id=ID), 5, state="running"), Form(), now=START))["runningSeconds"] == 0.0


def test_a_job_that_was_dismissed_before_it_began_never_ran() -> None:
    answer = status(say(new(id=ID), 5, state="cancelled"))
    assert (answer["duration"], answer["runningDuration"]) == ("00:00:00", None)
    assert "runningSeconds" not in answer
    assert "nextPoll" not in answer


# Links and exceptions


def test_a_process_whose_name_would_break_a_path_is_left_out_of_the_links() -> None:
    for name, part in (("a b?#ä", "/processes/a%20b%3F%23%C3%A4"), ("a/b", ""), ("..", ""), (".", "")):
        (own,) = [link["href"] for link in status(new(id=ID, process=name))["links"] if link["rel"] == "self"]
        assert own == f"{BASE}{part}/jobs/{ID}"


def test_links_that_the_producer_reported_follow_ours_and_replace_none() -> None:
    links = [
        {"rel": "dashboard", "href": "https://example.org/d", "type": "text/html"},
        {"rel": "self", "href": "https://example.org/evil"},
        {"rel": "results", "href": "https://example.org/r"},
    ]
    running = say(new(id=ID), 5, state="running", links=links)
    assert status(running)["links"][-1] == links[0]
    assert "example.org/evil" not in str(status(running))
    assert "results" not in str(status(running))
    done = status(say(running, 9, state="succeeded"))["links"]
    assert [link["href"] for link in done if link["rel"].endswith("/results")] == [f"{BASE}/jobs/{ID}/results"]


# What is asked for

URI = "https://www.opengis.net/def/profile/OGC/0/job-description"


@pytest.mark.parametrize(
    "query, headers, form, parameter",
    [
        ("", {}, Form(), ""),
        ("", {"accept": "application/json"}, Form(), ""),
        ("", {"accept": "*/*"}, Form(), ""),
        ("f=json", {"accept": "application/xml"}, Form(), ""),
        ("", {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, Form(), ""),
        ("", {"accept": "application/xml"}, Form(WPS, True), "; profile=wps"),
        ("", {"accept": "text/xml"}, Form(WPS, True), "; profile=wps"),
        ("f=xml", {}, Form(WPS, True), "; profile=wps"),
        ("format=XML", {"accept": "application/json"}, Form(WPS, True), "; profile=wps"),
        ("profile=ogc", {}, Form(OGC), "; profile=ogc"),
        ("", {"accept": "application/json; profile=ogc"}, Form(OGC), "; profile=ogc"),
        ("", {"accept_profile": f"<{URI}>"}, Form(OGC, by_uri=True), f'; profile="{URI}"'),
        ("", {"accept": f'application/json;profile="{URI}"'}, Form(OGC, by_uri=True), f'; profile="{URI}"'),
        ("", {"link": f'<{URI}>; rel="profile"'}, Form(OGC, by_uri=True), f'; profile="{URI}"'),
        ("profile=openeo", {}, Form(OPENEO), "; profile=openeo"),
        ("schema=openeo", {}, Form(OPENEO), "; profile=openeo"),
        ("", {"prefer": "profile=openeo"}, Form(OPENEO), "; profile=openeo"),
        ("", {"accept_profile": "openeo"}, Form(OPENEO), "; profile=openeo"),
        ("profile=ogc", {"accept_profile": "openeo"}, Form(OGC), "; profile=ogc"),
        ("", {"accept_profile": "openeo", "accept": "application/json;profile=ogc"}, Form(OPENEO), "; profile=openeo"),
        ("profile=wps", {}, Form(WPS, True), "; profile=wps"),
        ("profile=wps", {"accept": "*/*"}, Form(WPS, True), "; profile=wps"),
        ("profile=wps", {"accept": "application/json"}, Form(WPS), "; profile=wps"),
        ("profile=wps&f=json", {}, Form(WPS), "; profile=wps"),
        ("profile=wps&f=xml", {"accept": "application/json"}, Form(WPS, True), "; profile=wps"),
        ("profile=bogus", {}, Form(OGC), "; profile=ogc"),
        ("schema=bogus", {}, Form(), ""),
    ],
)  # fmt: skip
def test_the_form_follows_query_and_headers_in_weavers_order(
    query: str, headers: dict[str, str], form: Form, parameter: str
) -> None:
    found = form_of(request(query, **headers))
    assert found == form
    assert found.headers["Content-Type"] == f"application/{'xml' if form.xml else 'json'}{parameter}"


@pytest.mark.parametrize(
    "query, headers, error",
    [
        ("", {"accept": "text/html"}, NotAcceptable),
        ("f=html", {}, NotAcceptable),
        ("", {"accept": "image/png"}, NotAcceptable),
        ("f=yaml", {}, InvalidRequest),
        ("profile=openeo&f=xml", {}, InvalidRequest),
        ("profile=ogc", {"accept": "application/xml"}, InvalidRequest),
    ],
)
def test_a_form_that_there_is_not_is_refused(query: str, headers: dict[str, str], error: type[GatewayError]) -> None:
    with pytest.raises(error):
        form_of(request(query, **headers))


def test_the_headers_name_the_schema_that_holds_and_no_other() -> None:
    assert Form().headers == {"Content-Type": "application/json"}
    assert Form(WPS).headers == {"Content-Type": "application/json; profile=wps"}
    assert Form(WPS, xml=True).headers["Content-Schema"] == XML_SCHEMA
    ogc = Form(OGC).headers
    assert ogc["Content-Schema"] == status(new(id=ID), OGC)["$schema"]
    assert ogc["Content-Profile"] == URI
    assert ogc["Link"] == f'<{URI}>; rel="profile"'
    assert Form(OPENEO).headers["Content-Schema"] == status(new(id=ID), OPENEO)["$schema"]
    assert "$schema" not in status(new(id=ID))
    assert "$schema" not in status(new(id=ID), WPS)


# Traps of Weaver's clients that a word or a body springs


def test_trap_a_word_that_monitor_does_not_know_makes_it_poll_until_its_time_is_over() -> None:
    known = {"accepted", "running", "succeeded", "successful", "failed", "dismissed"}
    assert {*WORDS[PAGE].values(), *WORDS[OGC].values()} == known


def test_trap_success_has_two_words_and_both_are_read() -> None:
    done = say(new(id=ID), 5, state="succeeded")
    assert (status(done)["status"], status(done, OGC)["status"]) == ("succeeded", "successful")
    assert {Weaver().parse(status(done, profile))[1].state for profile in WORDS} == {State.SUCCEEDED}


def test_trap_openeo_calls_a_created_job_queued() -> None:
    assert status(new(id=ID, state="created"), OPENEO)["status"] == "queued"


def test_trap_times_end_in_z_and_have_a_fraction_only_where_there_is_one() -> None:
    job = say(new(0.147, id=ID), 5, state="running")
    assert (status(job)["created"], status(job)["started"]) == ("2026-02-19T10:00:00.147Z", "2026-02-19T10:00:05Z")


def test_trap_a_failed_job_that_says_nothing_has_a_message_all_the_same() -> None:
    assert status(say(new(id=ID), 5, state="failed"))["message"] == "Job failed."
    assert status(say(new(id=ID), 5, state="failed", error="disk full"))["message"] == "disk full"


def test_no_document_is_rendered_that_the_log_could_not_hold() -> None:
    text = "\0\x01\ufffe\u2028<&>]]>\U0001f600"
    job = say(new(id=ID, process="p<>&", name="n\x02"), 5, state="failed", message=text, error=text, step="s\x1b")
    assert document(job)
    data = told(job, Form(WPS, xml=True))
    texts = [element.text for element in ElementTree.fromstring(data).iter() if element.text]
    assert "p<>&" in texts
    assert "\ufffd\ufffd\ufffd\u2028<&>]]>\U0001f600" in texts
