"""The bytes of a stream: what sse-starlette would write, one line of data to every reader, each record encoded once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sse_starlette import ServerSentEvent

from gateway import frames
from gateway.frames import OMITTABLE, Form
from gateway.job import Job
from gateway.record import DELETED, PROGRESS, TRANSITION, Record, document, dumps
from gateway.values import Json
from tests.jobs import at, new
from tests.sse_parser import Event, EventStreamParser
from tests.strategies import NEW_JOBS, TEXTS, VALUES, relaxed

SSE, LINES = Form(), Form("ndjson")
KINDS: tuple[Literal["sse", "ndjson"], ...] = ("sse", "ndjson")
AWKWARD = "a\nb\rc\r\nd\u2028e\u2029f\x85g\vh\fi\x1cj\x1dk\x1el\x00m\ufeffn: \n\ndata: o"


def record(job: Job, event: str = TRANSITION) -> Record:
    """A record of the job as it stands, read from the log."""
    return Record(1042, "k7f3q2ab-1042", event, "me", job.key, document(job))


def as_starlette(event: str | None, data: bytes | None, position: str | None = None, retry: int | None = None) -> bytes:
    """The frame that sse-starlette would send, but for its id, which comes last: see `frames.frame`."""
    text = None if data is None else data.decode()
    frame = ServerSentEvent(text, event=event, retry=retry, sep="\n").encode()
    return frame if position is None else frame[:-1] + b"id: %s\n\n" % position.encode()


def by_lines(body: bytes) -> list[Event]:
    """The frames as clients read them that split lines wherever Python does, such as those built on str.splitlines."""
    events, fields, last = [], dict[str, str](), ""
    for line in body.decode().splitlines():
        if line:
            name, _, value = line.partition(": ")
            assert name not in fields, "one line of data became two"
            fields[name] = value
            last = fields.get("id", last)
        elif fields:
            events.append(Event(fields.get("event", "message"), fields["data"], last))
            fields = {}
    return events


# A record's frame


@relaxed
@given(NEW_JOBS, st.sampled_from([TRANSITION, PROGRESS]))
def test_a_frame_is_what_sse_starlette_would_write(job: Job, event: str) -> None:
    written = frames.of_record(record(job, event), SSE)
    assert written == as_starlette(event, document(job), "k7f3q2ab-1042")


@relaxed
@given(NEW_JOBS, st.integers(1, 99))
def test_every_reader_finds_the_very_document_in_the_frame(job: Job, size: int) -> None:
    body = frames.of_records([record(job), record(job, PROGRESS)], SSE)
    data = document(job).decode()
    expected = [Event(event, data, "k7f3q2ab-1042") for event in (TRANSITION, PROGRESS)]
    parser = EventStreamParser()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert [event for piece in pieces for event in parser.feed(piece)] == expected
    assert by_lines(body) == expected


def test_no_character_of_a_payload_makes_a_line() -> None:
    said: dict[str, Json] = {
        "message": AWKWARD,
        "details": {AWKWARD: AWKWARD},
        "labels": {"l": AWKWARD.replace("\0", "")},
    }
    job = new(**said, name=AWKWARD.replace("\0", ""), steps=[{"name": "s", "error": AWKWARD}], result=[AWKWARD])
    written = frames.of_record(record(job), SSE)
    assert written.count(b"\n") == 4
    assert len(written.decode().splitlines()) == 4
    assert not re.search(rb"[\r\v\f\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9]", written)
    (event,) = EventStreamParser().feed(written)
    assert orjson.loads(event.data)["details"] == {AWKWARD: AWKWARD}


def test_a_deleted_record_tells_who_is_gone_and_no_more() -> None:
    written = frames.of_record(record(new(labels={"secret": "x"}), DELETED), SSE)
    data = b'{"id":"a","workspace":"default","position":"k7f3q2ab-1042"}'
    assert written == as_starlette(DELETED, data, "k7f3q2ab-1042")


@pytest.mark.parametrize("event", [TRANSITION, PROGRESS, DELETED])
def test_a_record_is_encoded_once_for_each_form_and_every_reader_gets_the_same_bytes(event: str) -> None:
    one = record(new(steps=[{"name": "s"}]), event)
    forms = [Form(), Form("ndjson"), Form(omit=frozenset({"steps"})), Form("ndjson", frozenset({"steps"}))]
    first = [frames.of_record(one, form) for form in forms]
    for _ in range(3):
        again = [frames.of_record(one, Form(form.kind, form.omit)) for form in forms]
        assert all(a is b for a, b in zip(first, again, strict=True))
    assert len(one.frames) == len(forms)


# Forms


def test_no_number_of_forms_fills_the_memory_and_each_is_right() -> None:
    one = record(new())
    forms = [Form(kind, frozenset(omit)) for kind in KINDS for omit in ((), *([name] for name in OMITTABLE))]
    first = [frames.of_record(one, form) for form in forms]
    assert len(one.frames) == frames.MAX_KEPT < len(forms)
    assert [frames.of_record(one, form) for form in forms] == first
    assert len(set(first)) == len(forms)


def test_members_are_left_out_and_the_rest_keeps_its_order() -> None:
    job = new(steps=[{"name": "s"}], details={"a": 1}, result=[1], message="\u2028")
    data = document(job)
    assert frames.without(data, frozenset()) is data
    members = orjson.loads(data)
    for omit in ({"steps"}, {"details", "result"}, set(OMITTABLE)):
        expected = dumps({name: value for name, value in members.items() if name not in omit})
        assert frames.without(data, frozenset(omit)) == expected
        written = frames.of_record(record(job), Form(omit=frozenset(omit)))
        assert written == as_starlette(TRANSITION, expected, "k7f3q2ab-1042")
    assert set(OMITTABLE) == {"steps", "details", "result"}


@relaxed
@given(NEW_JOBS)
def test_as_lines_of_json_each_frame_is_one_line(job: Job) -> None:
    body = frames.of_records([record(job), record(job, PROGRESS)], LINES) + frames.end(LINES, "terminal")
    *lines, last = body.decode().splitlines(keepends=True)
    for event, line in zip((TRANSITION, PROGRESS), lines, strict=True):
        expected = b'{"event":"%s","id":"k7f3q2ab-1042","data":%s}\n' % (event.encode(), document(job))
        assert line.encode() == expected
    assert last == '{"event":"end","data":{"reason":"terminal"}}\n'


# The other frames


@pytest.mark.parametrize(
    "made,event,position,data",
    [
        (lambda form: frames.snapshot(form, b'{"id":"a"}', "k7f3q2ab-7"), "snapshot", "k7f3q2ab-7", {"id": "a"}),
        (lambda form: frames.snapshot(form, b'{"id":"a"}', None), "snapshot", None, {"id": "a"}),
        (
            lambda form: frames.sync(form, "k7f3q2ab-7", at(1)),
            *("sync", "k7f3q2ab-7", {"head": "k7f3q2ab-7", "time": at(1)}),
        ),
        (
            lambda form: frames.sync(form, "k7f3q2ab-7", at(1), {"shown": 2, "matched": 3}),
            *("sync", "k7f3q2ab-7", {"head": "k7f3q2ab-7", "time": at(1), "shown": 2, "matched": 3}),
        ),
        (
            lambda form: frames.reset(form, "foreign", AWKWARD, "k7f3q2ab-1", "k7f3q2ab-7"),
            *("reset", None),
            {"reason": "foreign", "requested": AWKWARD, "oldest": "k7f3q2ab-1", "head": "k7f3q2ab-7"},
        ),
        (lambda form: frames.end(form, "deleted"), "end", None, {"reason": "deleted"}),
    ],
)
def test_each_other_frame_has_its_members_in_both_forms(
    made: Callable[[Form], bytes], event: str, position: str | None, data: Json
) -> None:
    assert made(SSE) == as_starlette(event, dumps(data), position)
    fields = {"event": event, "id": position, "data": data}
    assert made(LINES) == dumps({name: value for name, value in fields.items() if value is not None}) + b"\n"
    assert len(made(SSE).decode().splitlines()) == 3 + (position is not None)


def test_what_has_no_id_leaves_the_cursor_where_it_is() -> None:
    parser = EventStreamParser("k7f3q2ab-5")
    parser.feed(frames.snapshot(SSE, b"{}", None) + frames.reset(SSE, "ahead", "x", "a", "b") + frames.busy(SSE))
    assert parser.last_event_id == "k7f3q2ab-5"
    parser.feed(frames.sync(SSE, "k7f3q2ab-9", at(1)))
    assert parser.last_event_id == "k7f3q2ab-9"


def test_a_snapshot_leaves_members_out_too() -> None:
    omit = frozenset({"result"})
    written = frames.snapshot(Form(omit=omit), b'{"id":"a","result":1}', None)
    assert written == as_starlette("snapshot", b'{"id":"a"}')


@pytest.mark.parametrize("between", [frames.RETRY_MS, frames.FAREWELL_MS])
def test_readers_are_told_different_times_to_come_back_and_nothing_else(between: tuple[int, int]) -> None:
    low, high = between
    told = set()
    for _ in range(100):
        written = frames.retry(SSE, between)
        parser = EventStreamParser()
        assert parser.feed(written) == []
        assert parser.retry is not None
        assert written == as_starlette(None, None, retry=parser.retry)
        told.add(parser.retry)
    assert len(told) > 50
    assert low <= min(told) < low + (high - low) / 4
    assert high - (high - low) / 4 < max(told) <= high
    assert frames.retry(LINES, between) == b""


def test_the_first_and_the_farewell_times_are_the_designs() -> None:
    assert frames.RETRY_MS == (2_000, 5_000)
    assert frames.FAREWELL_MS == (1_000, 10_000)


def test_a_busy_frame_says_the_same_time_twice() -> None:
    parser = EventStreamParser()
    (event,) = parser.feed(frames.busy(SSE))
    assert (event.event, orjson.loads(event.data)) == ("busy", {"retry": parser.retry})
    told = orjson.loads(frames.busy(LINES))
    assert told["event"] == "busy"
    assert frames.BUSY_MS[0] <= told["data"]["retry"] <= frames.BUSY_MS[1]


@relaxed
@given(st.sampled_from(["sync", "reset", "transition"]), TEXTS, VALUES)
def test_any_data_is_one_event(event: str, key: str, value: Json) -> None:
    written = frames.frame(SSE, event, "k7f3q2ab-1", dumps({key: value}))
    assert EventStreamParser().feed(written) == by_lines(written)
    assert written == as_starlette(event, dumps({key: value}), "k7f3q2ab-1")
    assert re.fullmatch(rb"id: [a-z2-7]{8}-[0-9]+", written.split(b"\n")[2])


# What leaves together


@relaxed
@given(st.lists(st.integers(0, 3 * frames.CHUNK_BYTES), max_size=8))
def test_blocks_are_joined_to_pieces_that_are_written_at_once(sizes: list[int]) -> None:
    blocks = [b"%d" % (number % 10) * size for number, size in enumerate(sizes)]
    chunks = list(frames.chunks(blocks))
    assert b"".join(chunks) == b"".join(blocks)
    assert all(len(chunk) >= frames.CHUNK_BYTES for chunk in chunks[:-1])
    assert all(len(chunk) < frames.CHUNK_BYTES + max(sizes) for chunk in chunks)
