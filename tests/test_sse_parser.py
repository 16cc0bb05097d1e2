"""The reference parser is the standard's: its examples, its corners, and no difference by how bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sse_parser import Event, EventStreamParser
from tests.strategies import relaxed


def parsed(*pieces: bytes) -> tuple[list[Event], str, int | None]:
    """Events, last event id and reconnection time after these pieces."""
    parser = EventStreamParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events, parser.last_event_id, parser.retry


@pytest.mark.parametrize(
    "stream,events",
    [
        # the examples of section 9.2.6
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("message", "YHOO\n+2\n10", "")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [
                Event("message", "first event", "1"),
                Event("message", "second event", ""),
                Event("message", " third event", ""),
            ],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [Event("message", "", ""), Event("message", "\n", "")]),
        (b"data:test\n\ndata: test\n\n", [Event("message", "test", "")] * 2),
        (
            b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
            [Event("add", "73857293", ""), Event("remove", "2153", ""), Event("add", "113411", "")],
        ),
        # an event without data is none, and its type does not linger
        (b"event: a\n\ndata: b\n\n", [Event("message", "b", "")]),
        (b"event: a\nevent:\ndata: b\n\n", [Event("message", "b", "")]),
        # an id stays until another one comes, also over a block without data
        (b"id: 1\ndata: a\n\ndata: b\n\nid: 2\n\ndata: c\n\n", [Event("message", d, i) for d, i in ("a1", "b1", "c2")]),
        # line ends
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [Event("message", d, "") for d in "abc"]),
        (b"data: a\r\ndata: b\rdata: c\n\r\n", [Event("message", "a\nb\nc", "")]),
        ("data: a\u2028b\u2029c\x85d\ve\f\n\n".encode(), [Event("message", "a\u2028b\u2029c\x85d\ve\f", "")]),
        # a byte order mark at the very beginning is dropped, once
        (b"\xef\xbb\xbfdata: a\n\n", [Event("message", "a", "")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Event("message", "a", "")]),
        # names are exact, colons and spaces belong to the value after the first
        (b"Data: a\n data: b\ndata : c\nfoo: d\ndata:e: f\n\n", [Event("message", "e: f", "")]),
        (b"data: \xff\xc3\n\n", [Event("message", "\ufffd\ufffd", "")]),
        # a block that does not end is no event
        (b"data: a\n\nid: 9\ndata: b\n", [Event("message", "a", "")]),
    ],
)
def test_a_stream_is_read_as_the_standard_says_however_it_is_cut(stream: bytes, events: list[Event]) -> None:
    assert parsed(stream)[0] == events
    assert parsed(*(stream[i : i + 1] for i in range(len(stream)))) == parsed(stream)
    for cut in range(len(stream)):
        assert parsed(stream[:cut], b"", stream[cut:]) == parsed(stream)


def test_an_id_with_nul_is_ignored_and_an_unfinished_block_moves_no_cursor() -> None:
    assert parsed(b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n")[1] == "1"
    assert parsed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")[1] == "1"
    assert parsed(b"id: 1\n\n")[:2] == ([], "1")


@pytest.mark.parametrize(
    "line,retry",
    [(b"2000", 2000), (b"007", 7), (b"-5", None), (b"1.5", None), (b"True", None), (b"", None), (b"1 ", None)],
)
def test_a_reconnection_time_is_digits_only(line: bytes, retry: int | None) -> None:
    assert parsed(b"retry: " + line + b"\n\n") == ([], "", retry)


def test_a_parser_goes_on_from_an_id() -> None:
    parser = EventStreamParser("k7f3q2ab-1")
    assert parser.feed(b"data: a\n\n") == [Event("message", "a", "k7f3q2ab-1")]


PIECES = st.sampled_from(
    [
        b"data",
        b"id",
        b"event",
        b"retry",
        b":",
        b" ",
        b"\r",
        b"\n",
        b"\r\n",
        b"\0",
        b"1",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
    ]
)


@relaxed
@given(st.lists(PIECES | st.binary(max_size=3), max_size=30).map(b"".join), st.lists(st.integers(0, 60), max_size=6))
def test_any_bytes_mean_the_same_however_they_are_cut(stream: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert parsed(*(stream[start:end] for start, end in pairwise(places))) == parsed(stream)
