"""Single values at the border: what is accepted can be written again, what is refused names its field."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidReport, TooLarge
from gateway.values import (
    MAX_DEPTH,
    MAX_HREF,
    MAX_INTEGER,
    MAX_LABELS,
    MAX_LEASE,
    MAX_LINKS,
    MAX_NAME,
    MAX_RESULT,
    MAX_STEPS,
    Json,
    Parser,
    check_json,
    parse_href,
    parse_id,
    parse_lease,
    parse_line,
    parse_line_or_null,
    parse_message,
    parse_object,
    parse_progress,
    parse_result,
    parse_step_now,
    parse_text,
    parse_time,
    parse_workspace,
    read_counted,
    read_json,
)
from tests.strategies import VALUES, WILD, relaxed


def refusal(call: Callable[[], object]) -> InvalidReport:
    """The error that a call must raise."""
    with pytest.raises(InvalidReport) as caught:
        call()
    return caught.value


def assert_refused_or_writable(body: bytes) -> None:
    try:
        value = read_json(body)
        again = orjson.loads(orjson.dumps(value))
    except InvalidReport as error:
        value, again = error.members, {"field": ""}
    assert again == value


@relaxed
@given(st.lists(VALUES, max_size=3))
def test_the_members_of_all_objects_are_counted(values: list[Json]) -> None:
    counted: list[int] = []
    body = orjson.dumps(values)
    json.loads(body, object_pairs_hook=lambda pairs: counted.append(len(pairs)))
    assert read_counted(body)[1] == sum(counted)


def nested(levels: int) -> Json:
    return orjson.loads(b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1))


def test_the_limits_are_the_designs() -> None:
    assert (MAX_STEPS, MAX_DEPTH, MAX_LABELS, MAX_INTEGER, MAX_RESULT) == (1000, 32, 64, 2**53, 65_536)
    assert (MAX_NAME, MAX_LINKS, MAX_HREF, MAX_LEASE) == (1000, 100, 8000, 604_800)


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"{'a':1}",
        b"[1,]",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\ud834":1}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"a\nb"',
        b'"a\x00b"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 2_000,
        b"9007199254740993",
        b"-9007199254740993",
        b"18446744073709551615",
        b"18446744073709551616",
        b"[123456789012345678901234567890]",
        b"[[[9007199254740993]]]",
        b"[" * 100 + b"]" * 100,
    ],
)
def test_a_body_that_is_no_json_or_could_not_be_written_again_is_refused(body: bytes) -> None:
    error = refusal(lambda: read_json(body))
    assert error.members == {"field": ""}
    assert error.detail.startswith("the body ")


@pytest.mark.parametrize("number", [MAX_INTEGER, -MAX_INTEGER, 0, -0.0, 5e-324, 0.1, 1e15])
def test_numbers_within_2_to_the_53_are_kept_exactly(number: float) -> None:
    assert repr(read_json(orjson.dumps([number]))) == repr([number])


@relaxed
@given(st.binary(max_size=40) | VALUES.map(orjson.dumps) | WILD.map(orjson.dumps))
def test_whatever_body_is_read_can_be_written_and_read_again(body: bytes) -> None:
    assert_refused_or_writable(body)


@relaxed
@given(VALUES.map(orjson.dumps), st.integers(0, 200), st.integers(0, 255))
def test_a_body_with_a_wrong_byte_is_refused_or_read(body: bytes, place: int, byte: int) -> None:
    place %= len(body)
    assert_refused_or_writable(body[:place] + bytes([byte]) + body[place + 1 :])


def test_the_deepest_member_of_the_deepest_report_passes_the_body_and_nothing_deeper() -> None:
    for levels, passes in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False)):
        task = {"name": "t", "error": {"message": "m", "details": nested(levels)}}
        body = orjson.dumps([{"steps": [{"name": "s", "tasks": [task]}]}])
        if passes:
            assert read_json(body) == orjson.loads(body)
        else:
            assert refusal(lambda body=body: read_json(body)).members == {"field": ""}  # type: ignore[misc]


# Depth and numbers of a member


def test_a_member_may_be_32_levels_deep_and_no_deeper() -> None:
    assert parse_object(nested(MAX_DEPTH), "details") == nested(MAX_DEPTH)
    error = refusal(lambda: parse_object(nested(MAX_DEPTH + 1), "details"))
    assert error.members == {"field": "details"}
    assert "32 levels" in error.detail


@pytest.mark.parametrize("value", [MAX_INTEGER + 1, -MAX_INTEGER - 1, float("nan"), float("inf"), 1e300])
def test_numbers_that_lose_digits_or_are_none_are_refused_wherever_they_stand(value: float) -> None:
    for data in (value, [value], {"a": value}, {"a": [{"b": value}]}):
        error = refusal(lambda data=data: check_json(data, "details"))  # type: ignore[misc]
        assert error.members == {"field": "details"}


# Identity


@pytest.mark.parametrize("text", ["a", "A-Z.a_z~0:9", "-", "...", "a" * 200])
def test_an_id_of_the_alphabet_is_kept(text: str) -> None:
    assert parse_id(text) == text


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a" * 201, "a/b", "a b", "ä", "a\n", "%41", "a\0", "*", ">", None, 1, [], {}, True]
)
def test_another_id_is_refused(text: Json) -> None:
    assert refusal(lambda: parse_id(text)).members == {"field": "id"}


@pytest.mark.parametrize("text", ["a", "default", "a.b_c-9", "a" * 64])
def test_a_workspace_of_the_alphabet_is_kept(text: str) -> None:
    assert parse_workspace(text) == text


@pytest.mark.parametrize("text", ["", "A", "a" * 65, "a/b", "a:b", "~", "a\n", "ä", None, 1, []])
def test_another_workspace_is_refused(text: Json) -> None:
    assert refusal(lambda: parse_workspace(text)).members == {"field": "workspace"}


# Times


@pytest.mark.parametrize(
    "text,seconds",
    [
        ("2026-02-19T10:00:00Z", 0),
        ("2026-02-19t10:00:00z", 0),
        ("2026-02-19T10:00:00.5Z", 0.5),
        ("2026-02-19T10:00:00.123456789012Z", 0.123456),
        ("2026-02-19T12:30:00+02:30", 0),
        ("2026-02-19T09:00:00-01:00", 0),
        ("2026-02-19T10:00:00-00:00", 0),
        ("2026-02-19T10:59:60Z", 3599),
    ],
)
def test_a_time_of_rfc_3339_is_read_as_utc(text: str, seconds: float) -> None:
    moment = parse_time(text)
    assert moment == datetime(2026, 2, 19, 10, tzinfo=UTC) + timedelta(seconds=seconds)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-19T10:00:00",
        "2026-02-19 10:00:00Z",
        "2026-02-19",
        "2026-02-30T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-02-19T24:00:00Z",
        "2026-02-19T10:60:00Z",
        "2026-02-19T10:00:61Z",
        "2026-02-19T10:00:00+24:00",
        "2026-02-19T10:00:00.Z",
        "2026-02-19T10:00:00Z\n",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "20260219T100000Z",
        "٢٠٢٦-02-19T10:00:00Z",
        "",
        1771495200,
        None,
        ["2026-02-19T10:00:00Z"],
    ],
)
def test_another_time_is_refused(text: Json) -> None:
    assert refusal(lambda: parse_time(text)).members == {"field": "time"}


# Members


ACCEPTED: list[tuple[Parser, Json, object]] = [
    (parse_progress, 0, 0.0),
    (parse_progress, -0.0, 0.0),
    (parse_progress, 100, 100.0),
    (parse_progress, 33.3, 33.3),
    (parse_progress, None, None),
    (parse_text, None, None),
    (parse_text, "", ""),
    (parse_message, "", ""),
    (parse_line, "a" * MAX_NAME, "a" * MAX_NAME),
    (parse_line_or_null, None, None),
    (parse_line_or_null, "p", "p"),
    (parse_step_now, "", ""),
    (parse_step_now, None, None),
    (parse_step_now, "s", "s"),
    (parse_object, {}, {}),
    (parse_result, None, None),
    (parse_result, "a" * (MAX_RESULT - 2), "a" * (MAX_RESULT - 2)),
    (parse_lease, None, None),
    (parse_lease, 30, 30.0),
    (parse_lease, MAX_LEASE, float(MAX_LEASE)),
    (parse_href, "/results/1", "/results/1"),
    (parse_href, "a" * MAX_HREF, "a" * MAX_HREF),
]
NO_TEXT: list[Json] = [1, False, [], {}]
NO_LINE: list[Json] = [*NO_TEXT, "", "a\0b", "a" * (MAX_NAME + 1)]
REFUSED: dict[Parser, list[Json]] = {
    parse_progress: [-0.1, 100.1, -1, 101, 2**70, float("nan"), True, "50", [], {}],
    parse_text: NO_TEXT,
    parse_message: [*NO_TEXT, None],
    parse_line: [*NO_LINE, None],
    parse_line_or_null: NO_LINE,
    parse_step_now: [value for value in NO_LINE if value != ""],
    parse_object: [None, 1, "a", [], True],
    parse_lease: [0, -1, MAX_LEASE + 1, float("nan"), True, "30", []],
    parse_href: [None, "", "a" * (MAX_HREF + 1), 1, []],
    parse_result: [nested(MAX_DEPTH + 1), [MAX_INTEGER + 1]],
}


@pytest.mark.parametrize("parse,value,kept", ACCEPTED)
def test_a_good_value_is_kept(parse: Parser, value: Json, kept: object) -> None:
    assert repr(parse(value, "here")) == repr(kept)


@pytest.mark.parametrize("parse,value", [(parse, value) for parse in REFUSED for value in REFUSED[parse]])
def test_a_bad_value_is_refused_with_its_field_and_the_remedy(parse: Parser, value: Json) -> None:
    error = refusal(lambda: parse(value, "here"))
    assert error.members == {"field": "here"}
    assert error.detail.startswith("here ")


@pytest.mark.parametrize("value", ["a" * (MAX_RESULT - 1), ["a" * (MAX_RESULT - 3)], {"a": "ä" * (MAX_RESULT // 2)}])
def test_a_result_above_64_kib_is_too_large(value: Json) -> None:
    with pytest.raises(TooLarge) as caught:
        parse_result(value, "result")
    assert caught.value.members == {"field": "result"}
    assert "link" in caught.value.detail
