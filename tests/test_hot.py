"""What a log keeps in memory: jobs by id and alias within bounds, and which positions belong to it."""

from __future__ import annotations

import pytest

from gateway.eventlog import hot
from gateway.eventlog.base import Standing, Unresumable
from gateway.eventlog.hot import Extent, HotJob, HotJobs
from gateway.record import Position, alias_of, document
from tests.jobs import new

UUID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


def standing(job_id: str, row: int = 1, message: str = "", workspace: str = "w") -> HotJob:
    """A job as it stands."""
    job = new(id=job_id, message=message, workspace=workspace)
    return HotJob(Standing(job, document(job), row, row), row)


def kept(jobs: HotJobs, *ids: str) -> list[str]:
    return [job_id for job_id in ids if jobs.get("w", job_id) is not None]


def test_a_job_is_found_by_id_and_by_alias_in_its_own_workspace() -> None:
    jobs = HotJobs()
    one, two = standing("a"), standing(UUID, 2)
    jobs.put(one)
    jobs.put(two)
    assert jobs.get("w", "a") is one
    assert jobs.get("w", alias_of("w", "a")) is one
    assert jobs.get("w", UUID) is two
    for workspace, job_id in (("other", "a"), ("other", alias_of("w", "a")), ("w", "b"), ("w", UUID.upper())):
        assert jobs.get(workspace, job_id) is None


def test_what_is_put_again_takes_the_place_of_what_was() -> None:
    jobs = HotJobs()
    jobs.put(standing("a", message="before"))
    after = standing("a", message="after")
    jobs.put(after)
    assert jobs.get("w", "a") is jobs.get("w", alias_of("w", "a")) is after


def test_what_is_forgotten_is_found_by_no_name() -> None:
    jobs = HotJobs()
    for job_id in ("a", "b"):
        jobs.put(standing(job_id))
    jobs.forget(("w", "a"))
    jobs.forget(("w", "never was"))
    assert kept(jobs, "a", alias_of("w", "a"), "b") == ["b"]
    jobs.clear()
    assert kept(jobs, "b", alias_of("w", "b")) == []


def test_the_least_recently_used_job_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "HOT_JOBS", 2)
    jobs = HotJobs()
    for job_id in ("a", "b"):
        jobs.put(standing(job_id))
    assert jobs.get("w", "a") is not None
    jobs.put(standing("c"))
    assert kept(jobs, "a", "b", alias_of("w", "b"), "c") == ["a", "c"]
    jobs.put(standing("a", message="again"))
    jobs.put(standing("d"))
    assert kept(jobs, "a", "c", "d") == ["a", "d"]


def test_documents_are_kept_within_bytes_and_the_newest_always(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(standing("a", message="m" * 1000).standing.document)
    monkeypatch.setattr(hot, "HOT_BYTES", 2 * size)
    jobs = HotJobs()
    for job_id in ("a", "b", "c"):
        jobs.put(standing(job_id, message="m" * 1000))
    assert kept(jobs, "a", "b", "c") == ["b", "c"]
    jobs.put(standing("c", message="m" * 1000))
    assert kept(jobs, "b", "c") == ["b", "c"]
    jobs.put(standing("d", message="m" * 3000))
    assert kept(jobs, "b", "c", "d") == ["d"]
    jobs.put(standing("e"))
    jobs.forget(("w", "d"))
    jobs.put(standing("f", message="m" * 1000))
    assert kept(jobs, "d", "e", "f") == ["e", "f"]


# Epochs: a log of which two copies went on


EXTENT = Extent([(1, "aaaaaaaa"), (11, "bbbbbbbb"), (11, "cccccccc"), (16, "dddddddd")], head=20, floor=0, now=0)


@pytest.mark.parametrize(
    "offset,position",
    [
        (0, "aaaaaaaa-0"),
        (1, "aaaaaaaa-1"),
        (10, "aaaaaaaa-10"),
        (11, "cccccccc-11"),
        (15, "cccccccc-15"),
        (16, "dddddddd-16"),
        (20, "dddddddd-20"),
    ],
)
def test_records_keep_their_epoch(offset: int, position: str) -> None:
    assert EXTENT.position(offset) == position
    assert EXTENT.offset(Position.parse(position)) == offset


@pytest.mark.parametrize(
    "position,reason",
    [
        ("zzzzzzzz-1", "foreign"),
        ("aaaaaaaa-11", "ahead"),
        ("bbbbbbbb-11", "ahead"),
        ("cccccccc-16", "ahead"),
        ("dddddddd-21", "ahead"),
        ("dddddddd-9223372036854775807", "ahead"),
    ],
)
def test_a_position_of_another_history_is_recognised(position: str, reason: str) -> None:
    with pytest.raises(Unresumable) as caught:
        EXTENT.offset(Position.parse(position))
    assert caught.value.reason == reason


def test_the_head_moves_the_end_of_the_last_epoch() -> None:
    extent = Extent([(1, "aaaaaaaa")], head=0, floor=0, now=0)
    with pytest.raises(Unresumable):
        extent.offset(Position("aaaaaaaa", 1))
    extent.head = 1
    assert extent.offset(Position("aaaaaaaa", 1)) == 1
