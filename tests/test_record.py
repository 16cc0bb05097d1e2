"""Documents, the same bytes for the same job; positions and aliases."""

from __future__ import annotations

import uuid

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidCursor, TooLarge
from gateway.job import Job, stall, wish
from gateway.record import (
    MAX_DOCUMENT,
    MAX_OFFSET,
    NAMESPACE,
    PROGRESS,
    TRANSITION,
    Position,
    Record,
    alias_of,
    as_json,
    document,
    dumps,
    from_json,
    uuid_of,
)
from gateway.report import State
from gateway.values import Json
from tests.jobs import at, new, say
from tests.strategies import VALUES, relaxed

EXAMPLE = (
    b'{"id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","workspace":"default","name":"tiles-2026-06","process":"my-process",'
    b'"state":"running","previous":"pending","terminal":false,"stalled":false,"attempt":1,'
    b'"progress":45.0,"step":"validating","message":"Processing step 2 of 4","error":null,"details":{},'
    b'"labels":{"team":"geo"},'
    b'"steps":[{"name":"extract","state":"succeeded","details":{},"error":null,'
    b'"created":"2026-02-19T10:00:05.000Z","updated":"2026-02-19T10:00:09.000Z",'
    b'"tasks":[{"name":"extract-from-source","state":"succeeded","details":{},"error":null,'
    b'"created":"2026-02-19T10:00:05.000Z","updated":"2026-02-19T10:00:09.000Z"}]}],'
    b'"links":[],"result":null,'
    b'"created":"2026-02-19T10:00:00.000Z","started":"2026-02-19T10:00:05.000Z","finished":null,'
    b'"updated":"2026-02-19T10:00:09.120Z","reported":null,'
    b'"lease":null,"version":7,"position":"k7f3q2ab-1042"}'
)


def example() -> Job:
    """The job of the design's example, as its reports would have made it."""
    job = new(id="a1b2c3d4-e5f6-7890-abcd-ef1234567890", name="tiles-2026-06", process="my-process")
    job = say(job, 0, labels={"team": "geo"})
    tasks = [{"name": "extract-from-source"}]
    job = say(job, 5, state="running", progress=12, steps=[{"name": "extract", "state": "running", "tasks": tasks}])
    job = say(job, 6, progress=25)
    job = say(job, 7, progress=30)
    tasks[0]["state"] = "succeeded"
    job = say(job, 9, steps=[{"name": "extract", "state": "succeeded", "tasks": tasks}])
    job = say(job, 9.12, progress=45, step="validating", message="Processing step 2 of 4")
    return job._replace(position="k7f3q2ab-1042")


def test_the_document_is_the_designs_example() -> None:
    assert document(example()) == EXAMPLE


def test_a_new_document_has_every_member() -> None:
    said = {"id": "a", "workspace": "default", "name": "a", "process": None, "state": "pending", "previous": None}
    flags = {"terminal": False, "stalled": False, "attempt": 1, "progress": None, "step": None, "message": None}
    empty: Json = {"error": None, "details": {}, "labels": {}, "steps": [], "links": [], "result": None}
    times = {"created": at(0), "started": None, "finished": None, "updated": at(0), "reported": None}
    assert document(new()) == dumps({**said, **flags, **empty, **times, "lease": None, "version": 1, "position": ""})


def test_a_document_is_read_as_the_job_that_it_was_written_of() -> None:
    job = from_json(orjson.loads(EXAMPLE))
    assert document(job) == EXAMPLE
    assert job.state is State.RUNNING
    assert job.previous is State.PENDING
    assert not job.terminal
    assert from_json(as_json(job)) == job == example()
    assert document(say(job, 10, progress=50)) == document(say(example(), 10, progress=50))


def test_an_end_is_terminal_in_its_document() -> None:
    data = document(say(example(), 10, state="failed"))
    assert orjson.loads(data)["terminal"] is True
    assert from_json(orjson.loads(data)).terminal


# What some readers take for the end of a line


@relaxed
@given(VALUES)
def test_json_is_one_line_to_every_reader_and_says_the_same(value: Json) -> None:
    data = dumps(value)
    assert orjson.loads(data) == value
    assert len(data.decode().splitlines()) <= 1
    assert orjson.dumps(orjson.loads(data)) == orjson.dumps(value)


def test_only_the_line_ends_are_escaped() -> None:
    text = "ä\u2027\u2028\u2029\u202a\x84\x85\x86€\U0001f600\n\r\v\f\x1c\x7f\\u2028"
    written = dumps({text: text}).decode()
    for escape in (r"\u2028", r"\u2029", r"\u0085", r"\n", r"\r", r"\u000b", r"\f", r"\u001c"):
        assert escape in written
    assert "ä\u2027" in written
    assert "\u202a\x84" in written
    assert orjson.loads(written) == {text: text}


# The limit


def largest(**said: Json) -> Job:
    """A job at work with the longest message that is accepted."""
    job = say(new(), 1, state="running", **said)._replace(position="k7f3q2ab-2")
    low, high = 0, MAX_DOCUMENT
    while high - low > 1:
        middle = (low + high) // 2
        try:
            document(job._replace(message="m" * middle))
            low = middle
        except TooLarge:
            high = middle
    return job._replace(message="m" * low)


def test_a_larger_document_is_refused_and_the_limit_named() -> None:
    job = largest()
    assert MAX_DOCUMENT == 262_144
    assert MAX_DOCUMENT - 1024 < len(document(job)) <= MAX_DOCUMENT
    with pytest.raises(TooLarge, match="bytes") as caught:
        document(job._replace(message=f"{job.message}m"))
    assert caught.value.members == {"field": ""}


def test_a_job_at_the_limit_can_still_move_end_and_be_cancelled() -> None:
    job = largest(lease=30, progress=1)
    for after in (
        wish(job, "cancel", at(3)),
        wish(job, "pause", at(3)),
        stall(job, job.version, at(40)),
        say(job, 3, state="succeeded", time=at(3)),
        say(say(job, 3, progress=100 / 3), 4, state="retrying"),
        say(wish(job, "cancel", at(3)), 4, state="failed", time=at(4)),
    ):
        moved = after._replace(position=f"k7f3q2ab-{MAX_OFFSET}", version=2**53, attempt=2**53)
        assert len(document(moved)) <= MAX_DOCUMENT


def test_line_ends_count_as_they_are_written() -> None:
    assert len(document(new(message="\u2028" * 40_000))) > 6 * 40_000
    with pytest.raises(TooLarge):
        document(new(message="\u2028" * 45_000))


# Positions


@pytest.mark.parametrize("text", ["k7f3q2ab-1042", "aaaaaaaa-0", "22222222-1", "zzzz7777-9223372036854775807"])
def test_a_position_is_read_as_it_is_written(text: str) -> None:
    position = Position.parse(text)
    assert (f"{position}", position.epoch, position.offset) == (text, text[:8], int(text[9:]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "earliest",
        "1042",
        "-1",
        "k7f3q2ab",
        "k7f3q2ab-",
        "k7f3q2ab--1",
        "k7f3q2ab-+1",
        "k7f3q2ab-01",
        "k7f3q2ab-1.0",
        "k7f3q2ab-1 ",
        " k7f3q2ab-1",
        "k7f3q2ab-1\n",
        "k7f3q2ab-1042~steps",
        '"k7f3q2ab-1042"',
        "k7f3q2a-1",
        "k7f3q2abc-1",
        "K7F3Q2AB-1",
        "k7f3q2a1-1",
        "k7f3q2ab-٣",
        "k7f3q2äb-1",
        "\xff\xfe",
        "k7f3q2ab-1\0",
        f"k7f3q2ab-{2**63}",
        f"k7f3q2ab-{2**64}",
        "k7f3q2ab-" + "9" * 10_000,
    ],
)
def test_another_text_is_no_position(text: str) -> None:
    with pytest.raises(InvalidCursor, match="k7f3q2ab-1042"):
        Position.parse(text)


@relaxed
@given(st.text() | st.from_regex(r"[a-z2-7]{8}-[0-9]{1,20}"))
def test_any_text_is_a_position_or_refused(text: str) -> None:
    try:
        written = str(Position.parse(text))
    except InvalidCursor:
        written = None
    assert written in (None, text)


# UUIDs


def test_aliases_are_made_of_workspace_and_id_in_compact_json() -> None:
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, "urn:status-gateway")
    assert namespace == NAMESPACE
    assert alias_of("default", "a") == str(uuid.uuid5(namespace, '["default","a"]'))
    assert uuid_of("w", "a", "Schritt ä") == str(uuid.uuid5(namespace, '["w","a","Schritt ä"]'))
    assert uuid_of("w", "a", "s", "t") == str(uuid.uuid5(namespace, '["w","a","s","t"]'))
    assert len({alias_of("w", "a"), alias_of("a", "w"), alias_of("w", "b"), uuid_of("w", "a", "s")}) == 4


def test_a_lower_case_uuid_with_hyphens_is_its_own_alias_and_nothing_else_is() -> None:
    plain = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
    assert alias_of("w", plain) == plain
    for other in (plain.upper(), plain.replace("-", ""), f"urn:uuid:{plain}", f"{{{plain}}}", plain[:-1], "a"):
        assert alias_of("w", other) != other
        assert uuid.UUID(alias_of("w", other)).version == 5


# Records


def test_a_record_reads_its_job_from_its_document_when_it_is_asked_for() -> None:
    record = Record(1042, "k7f3q2ab-1042", PROGRESS, "me", ("default", "a"), EXAMPLE)
    assert record.job == from_json(orjson.loads(EXAMPLE))
    assert record.job is record.job
    assert record.job.version == 7
    first = Record(1, "k7f3q2ab-1", TRANSITION, "me", ("default", "a"), document(new()))
    assert first.job == new()
    assert repr(record) == "<Record k7f3q2ab-1042 progress of default/a>"
