"""What a log keeps in memory: jobs by id and alias within bounds, and which positions belong to it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.eventlog import hot
from gateway.eventlog.base import RecordPage, Unresumable
from gateway.eventlog.hot import Extent, Feed, HotJob, HotJobs
from gateway.record import Position, Record, alias_of, document
from tests.jobs import new

UUID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


def standing(job_id: str, row: int = 1, message: str = "", workspace: str = "w") -> HotJob:
    """A job as it stands."""
    job = new(id=job_id, message=message, workspace=workspace)
    return HotJob(job, document(job), row, row, row=row)


def put(jobs: HotJobs, found: HotJob) -> None:
    jobs.put({found.job.key: found})


def kept(jobs: HotJobs, *ids: str) -> list[str]:
    return [job_id for job_id in ids if jobs.get("w", job_id) is not None]


def test_a_job_is_found_by_id_and_by_alias_in_its_own_workspace() -> None:
    jobs = HotJobs()
    one, two = standing("a"), standing(UUID, 2)
    put(jobs, one)
    put(jobs, two)
    assert jobs.get("w", "a") is one
    assert jobs.get("w", alias_of("w", "a")) is one
    assert jobs.get("w", UUID) is two
    for workspace, job_id in (("other", "a"), ("other", alias_of("w", "a")), ("w", "b"), ("w", UUID.upper())):
        assert jobs.get(workspace, job_id) is None


def test_what_is_put_again_takes_the_place_of_what_was() -> None:
    jobs = HotJobs()
    put(jobs, standing("a", message="before"))
    after = standing("a", message="after")
    put(jobs, after)
    assert jobs.get("w", "a") is jobs.get("w", alias_of("w", "a")) is after


def test_what_is_forgotten_is_found_by_no_name() -> None:
    jobs = HotJobs()
    for job_id in ("a", "b"):
        put(jobs, standing(job_id))
    jobs.forget(("w", "a"))
    jobs.forget(("w", "never was"))
    assert kept(jobs, "a", alias_of("w", "a"), "b") == ["b"]
    jobs.clear()
    assert kept(jobs, "b", alias_of("w", "b")) == []


def test_nothing_of_what_is_gone_takes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "HOT_BYTES", 2 * len(standing("a").document))
    jobs = HotJobs()
    for _ in range(3):
        put(jobs, standing("a"))
        put(jobs, standing("b"))
        assert kept(jobs, "a", "b") == ["a", "b"]
        jobs.clear()
    for job_id in ("a", "b", "c"):
        put(jobs, standing(job_id))
        jobs.forget(("w", job_id))
    assert not jobs._aliases
    for job_id in ("d", "e"):
        put(jobs, standing(job_id))
    assert kept(jobs, "d", "e") == ["d", "e"]


def test_the_least_recently_used_job_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "HOT_JOBS", 2)
    jobs = HotJobs()
    for job_id in ("a", "b"):
        put(jobs, standing(job_id))
    assert jobs.get("w", "a") is not None
    put(jobs, standing("c"))
    assert kept(jobs, "a", "b", alias_of("w", "b"), "c") == ["a", "c"]
    put(jobs, standing("a", message="again"))
    put(jobs, standing("d"))
    assert kept(jobs, "a", "c", "d") == ["a", "d"]


def test_documents_are_kept_within_bytes_and_the_newest_always(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(standing("a", message="m" * 1000).document)
    monkeypatch.setattr(hot, "HOT_BYTES", 2 * size)
    jobs = HotJobs()
    for job_id in ("a", "b", "c"):
        put(jobs, standing(job_id, message="m" * 1000))
    assert kept(jobs, "a", "b", "c") == ["b", "c"]
    put(jobs, standing("c", message="m" * 1000))
    assert kept(jobs, "b", "c") == ["b", "c"]
    put(jobs, standing("d", message="m" * 3000))
    assert kept(jobs, "b", "c", "d") == ["d"]
    put(jobs, standing("e"))
    jobs.forget(("w", "d"))
    put(jobs, standing("f", message="m" * 1000))
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


# What was read may be old by the time it is kept


def test_what_was_read_is_kept_unless_it_may_be_old_by_now() -> None:
    jobs = HotJobs()
    losses = jobs.losses
    read, written = standing("a", message="read"), standing("a", message="written")
    jobs.put_read(read, losses)
    assert jobs.get("w", "a") is read
    put(jobs, written)
    jobs.put_read(read, losses)
    assert jobs.get("w", "a") is written
    jobs.forget(("w", "a"))
    jobs.put_read(read, losses)
    assert jobs.get("w", "a") is None
    jobs.put_read(read, jobs.losses)
    assert jobs.get("w", "a") is read
    losses = jobs.losses
    jobs.clear()
    jobs.put_read(standing("b"), losses)
    assert jobs.get("w", "b") is None


def test_what_made_room_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "HOT_JOBS", 1)
    jobs = HotJobs()
    losses = jobs.losses
    put(jobs, standing("a", message="written"))
    put(jobs, standing("b"))
    jobs.put_read(standing("a", message="read before that"), losses)
    assert kept(jobs, "a", "b") == ["b"]


# Commits that the follower has not seen yet


def page(first: int, last: int) -> RecordPage:
    """A commit's records."""
    records = [
        Record(offset, f"k7f3q2ab-{offset}", "progress", "me", ("w", "a"), b"{}") for offset in range(first, last + 1)
    ]
    return RecordPage(records, last)


def offsets(found: RecordPage | None) -> list[int] | None:
    """Those of a page's records, of which the last has to be what was looked at."""
    assert found is None or found.scanned == found.records[-1].offset
    return None if found is None else [record.offset for record in found.records]


def test_a_feed_gives_all_that_was_committed_right_after_an_offset_at_once() -> None:
    feed = Feed()
    for one in (page(1, 2), page(3, 3), page(4, 6)):
        feed.put(one)
    assert offsets(feed.after(0)) == [1, 2, 3, 4, 5, 6]
    assert feed.after(6) is None


def test_a_feed_gives_no_more_at_once_than_its_bound_and_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "TOGETHER_BYTES", 3)
    feed = Feed()
    for one in (page(1, 1), page(2, 2), page(3, 5), page(6, 6)):
        feed.put(one)
    assert offsets(feed.after(0)) == [1, 2]
    assert offsets(feed.after(2)) == [3, 4, 5]
    assert offsets(feed.after(5)) == [6]


def test_a_feed_drops_what_was_read_elsewhere_and_gives_nothing_that_leaves_a_gap() -> None:
    feed, pages = Feed(), [page(1, 2), page(3, 4), page(5, 6)]
    for one in pages:
        feed.put(one)
    assert feed.after(3) is None
    assert offsets(feed.after(4)) == [5, 6]
    assert feed.after(4) is None
    feed.put(page(9, 9))
    assert feed.after(6) is None
    assert feed.after(8) is not None


def test_a_feed_keeps_the_newest_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "FEED_RECORDS", 4)
    feed = Feed()
    for one in (page(1, 2), page(3, 4), page(5, 5)):
        feed.put(one)
    assert feed.after(0) is None
    assert feed.after(2) is not None
    feed.put(page(6, 20))
    assert feed.after(4) is None
    assert feed.after(5) is not None
    feed.put(page(21, 24))
    feed.put(page(25, 25))
    assert feed.after(20) is None
    assert feed.after(24) is not None


async def test_a_feed_tells_of_each_commit_since_the_last_look() -> None:
    feed = Feed()
    waiting = asyncio.ensure_future(feed.news())
    assert await asyncio.wait([waiting], timeout=0.01) == (set(), {waiting})
    feed.put(page(1, 1))
    feed.put(page(2, 2))
    await asyncio.wait_for(waiting, 60)
    later = asyncio.ensure_future(feed.news())
    assert await asyncio.wait([later], timeout=0.01) == (set(), {later})
    feed.put(page(3, 3))
    await asyncio.wait_for(later, 60)
