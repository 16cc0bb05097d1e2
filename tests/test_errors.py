"""The table of errors: each stands in it once, says what happened, and is written as RFC 9457 has it."""

from __future__ import annotations

import re

import pytest

from gateway.errors import ERRORS, PROBLEM_TYPE, GatewayError, InvalidReport, LogUnusable, Unavailable


def test_every_error_stands_in_the_table_once() -> None:
    assert set(ERRORS) == set(GatewayError.__subclasses__())
    assert len({error.code for error in ERRORS}) == len(ERRORS)
    assert not issubclass(LogUnusable, GatewayError)


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_names_itself_and_says_what_happened_without_being_told(error: type[GatewayError]) -> None:
    assert re.fullmatch(r"[a-z-]+", error.code)
    assert 400 <= error.status <= 599
    assert error().problem() == {
        "type": PROBLEM_TYPE + error.code,
        "title": error.title,
        "status": error.status,
        "detail": (error.__doc__ or "").strip(),
    }
    assert str(error()).endswith(".")


def test_what_helps_stands_beside_the_detail() -> None:
    problem = InvalidReport("progress must be a number", field="progress", allowed=[1]).problem()
    assert list(problem) == ["type", "title", "status", "detail", "field", "allowed"]
    assert problem["detail"] == "progress must be a number"
    assert (problem["field"], problem["allowed"]) == ("progress", [1])


def test_when_to_come_back_is_a_header_and_no_member() -> None:
    error = Unavailable("not now", retry_after=2)
    assert error.retry_after == 2
    assert "retry_after" not in error.problem()
    assert Unavailable().retry_after is None


@pytest.mark.parametrize(
    "status,codes",
    [
        (400, {"invalid-request", "invalid-report", "invalid-cursor"}),
        (403, {"foreign-origin"}),
        (404, {"not-found", "job-not-found"}),
        (405, {"method-not-allowed"}),
        (406, {"not-acceptable"}),
        (408, {"request-timeout"}),
        (409, {"job-exists", "illegal-transition", "job-finished", "job-not-finished"}),
        (410, {"job-deleted", "compacted"}),
        (412, {"precondition-failed"}),
        (413, {"too-large"}),
        (415, {"unsupported-media-type"}),
        (421, {"misdirected-request"}),
        (422, {"idempotency-key-reused"}),
        (500, {"internal"}),
        (503, {"unavailable"}),
        (507, {"log-full"}),
    ],
)
def test_the_status_is_the_contracts(status: int, codes: set[str]) -> None:
    assert {error.code for error in ERRORS if error.status == status} == codes
