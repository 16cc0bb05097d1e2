"""Who has been handed what: readers over real sockets, whose turns come one by one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from gateway import frames, group
from gateway.eventlog.base import RecordPage
from gateway.frames import Form
from gateway.group import Batch, Group
from gateway.hub import Hub
from gateway.record import PROGRESS, TRANSITION, Filter, Record, document
from tests.jobs import new
from tests.streams import BOUND

KEY = ("w", "a")
TOPIC = Filter(jobs=frozenset([KEY]))


class Chunked:
    """A reader's socket with the smallest of buffers, as a stream whose own writes are told apart."""

    def __init__(self, cursor: int = 0, seated: bool = True) -> None:
        self.match, self.form, self.cursor, self.seat = TOPIC, Form(), cursor, -1
        self.ours, self.theirs = socket.socketpair()
        for sock in (self.ours, self.theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
            sock.setblocking(False)
        self.fd, self.seated, self.failed = self.ours.fileno(), seated, 0
        self.left = b""
        self.pushed: list[Batch] = []
        self.told: list[int] = []
        self.on_push: Callable[[], None] = lambda: None

    def socket(self) -> Chunked | None:
        return self if self.seated and not self.left else None

    def rest(self, data: bytes) -> None:
        self.left += data

    def push(self, batch: Batch) -> None:
        self.pushed.append(batch)
        self.on_push()

    def sync(self, offset: int) -> bytes:
        return b"sync %d\n\n" % offset

    def beat(self, offset: int) -> None:
        self.told.append(offset)

    def flush(self) -> bool:
        return False

    def fail(self) -> None:
        self.failed += 1

    def chunks(self) -> list[list[str]]:
        """What was written at once, each time: the ids, and what syncs said."""
        try:
            data = self.theirs.recv(1 << 20)
        except BlockingIOError:
            data = b""
        found = []
        while data:
            size, _, data = data.partition(b"\r\n")
            chunk, data = data[: int(size, 16)], data[int(size, 16) + 2 :]
            lines = chunk.decode().splitlines()
            found.append([line.removeprefix("id: e-") for line in lines if line.startswith(("id: ", "sync "))])
        return found


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Chunked]]:
    """Makes readers; each has a turn of its own."""
    monkeypatch.setattr(group, "AT_ONCE", 1)
    made: list[Chunked] = []

    def make(cursor: int = 0, seated: bool = True) -> Chunked:
        made.append(Chunked(cursor, seated))
        return made[-1]

    yield make
    for reader in made:
        reader.ours.close()
        reader.theirs.close()


def record(offset: int, filling: int = 0, event: str = PROGRESS, state: str = "running") -> Record:
    job = new(id="a", workspace="w", state=state, message="x" * filling)
    return Record(offset, f"e-{offset}", event, "me", KEY, document(job))


def none_fails(_: object, fault: Exception) -> None:
    raise fault


def of(*readers: Chunked, dispatched: int = 0) -> Group:
    found = Group(TOPIC, Form(), none_fails)
    for reader in readers:
        found.add(reader, dispatched)
    return found


def finish(those: Group) -> None:
    for _ in range(1000):
        if not those.behind:
            return
        those.step()
    raise AssertionError("they never got to the end")


def test_whose_turn_comes_gets_all_that_has_been_dispatched_by_then_in_one_write(
    readers: Callable[..., Chunked],
) -> None:
    three = [readers() for _ in range(3)]
    those = of(*three)
    those.take([record(1)], 0, 0)
    those.step()
    those.take([record(2)], 1, 0)
    those.step()
    those.take([record(3)], 2, 0)
    finish(those)
    assert sorted(reader.chunks() for reader in three) == [[["1"], ["2", "3"]], [["1", "2"], ["3"]], [["1", "2", "3"]]]
    assert not those.step() or not those.behind


def test_who_has_waited_longest_is_served_first(readers: Callable[..., Chunked]) -> None:
    early, late = readers(), readers()
    those = of(early, late)
    those.take([record(1)], 0, 0)
    those.step()
    first, second = (early, late) if early.chunks() else (late, early)
    first.chunks()
    those.take([record(2)], 1, 0)
    those.step()
    assert (first.chunks(), second.chunks()) == ([], [["1", "2"]])
    finish(those)
    assert (first.chunks(), second.chunks()) == ([["2"]], [])


def test_more_than_a_socket_takes_at_once_goes_out_in_pieces_in_order(
    readers: Callable[..., Chunked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "CHUNK_BYTES", 1000)
    two = readers(), readers()
    those = of(*two)
    those.take([record(offset) for offset in range(1, 6)], 0, 0)
    those.step()
    those.take([record(6)], 5, 0)
    finish(those)
    for reader in two:
        chunks = reader.chunks()
        assert [number for chunk in chunks for number in chunk] == list("123456")
        assert 2 < len(chunks) < 6


def test_what_a_socket_does_not_take_is_left_to_the_reader_who_is_then_asked_each_time(
    readers: Callable[..., Chunked],
) -> None:
    slow, quick = readers(), readers()
    those = of(slow, quick)
    those.take([record(1, 200_000)], 0, 0)
    finish(those)
    assert slow.left
    assert slow.seat < 0
    assert slow.cursor == 1
    those.take([record(2)], 1, 0)
    finish(those)
    assert [batch.last for batch in slow.pushed] == [2]
    written = b""
    while True:
        try:
            written += slow.theirs.recv(1 << 20)
        except BlockingIOError:
            break
    data = frames.of_record(record(1, 200_000), Form())
    assert written + slow.left == b"%x\r\n%b\r\n" % (len(data), data)
    slow.left = b""
    those.take([record(3)], 2, 0)
    finish(those)
    assert slow.seat == slow.fd, "it takes whatever comes again"
    those.take([record(4)], 3, 0)
    finish(those)
    assert slow.chunks() == [["4"]]


def test_a_socket_to_which_somebody_else_has_written_is_given_up(readers: Callable[..., Chunked]) -> None:
    reader = readers()
    those = of(reader)
    reader.left = b"of somebody else"
    those.take([record(1, 200_000)], 0, 0)
    finish(those)
    assert reader.failed == 1
    assert reader.left == b"of somebody else"


def test_a_reader_who_is_gone_is_dropped_and_nobody_else_misses_anything(readers: Callable[..., Chunked]) -> None:
    gone, other = readers(), readers()
    those = of(gone, other)
    gone.theirs.close()
    those.take([record(1)], 0, 0)
    finish(those)
    assert gone.failed == 1
    assert other.chunks() == [["1"]]


def test_a_reader_who_fails_at_its_end_is_told_of_and_nobody_else_misses_anything(
    readers: Callable[..., Chunked], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, other = readers(), readers()
    told: list[object] = []
    those = Group(TOPIC, Form(), lambda subscriber, _: told.append(subscriber))
    those.add(gone, 0)
    those.add(other, 0)
    gone.theirs.close()

    def fail() -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(gone, "fail", fail)
    monkeypatch.setattr(group, "AT_ONCE", 2)
    those.take([record(1)], 0, 0)
    finish(those)
    assert told == [gone]
    assert other.chunks() == [["1"]]


def test_who_leaves_is_told_how_far_it_was_handed_everything(readers: Callable[..., Chunked]) -> None:
    two = [readers(), readers()]
    asked = readers(seated=False)
    those = of(*two, asked, dispatched=7)
    early = readers(12)
    those.add(early, 7)
    those.take([record(10)], 9, 0)
    those.step()
    served = next(reader for reader in two if reader.chunks())
    (waiting,) = [reader for reader in two if reader is not served]
    assert those.remove(served, 11) == 11
    assert those.remove(waiting, 11) == 9
    assert those.remove(asked, 11) == 9
    assert those.remove(early, 11) == 12
    assert those.remove(early, 11) is None
    assert len(those) == 0
    finish(those)


def test_who_takes_the_descriptor_of_one_who_left_gets_nothing_of_before(readers: Callable[..., Chunked]) -> None:
    two = readers(), readers()
    those = of(*two)
    those.take([record(1)], 0, 0)
    those.step()
    (waiting,) = [reader for reader in two if not reader.chunks()]
    those.remove(waiting, 1)
    waiting.cursor = 1
    those.add(waiting, 1)
    those.take([record(2)], 1, 0)
    finish(those)
    assert waiting.chunks() == [["2"]]


def test_who_begins_at_a_commit_that_is_not_dispatched_yet_is_handed_only_what_follows(
    readers: Callable[..., Chunked],
) -> None:
    ahead, last, far = readers(2), readers(3), readers(9)
    those = of(ahead, last, far)
    those.take([record(1), record(2), record(3)], 0, 0)
    finish(those)
    assert (ahead.chunks(), last.chunks(), far.chunks()) == ([["3"]], [], [])
    old = readers()
    those.add(old, 3)
    those.take([record(10)], 9, 0)
    finish(those)
    assert [reader.chunks() for reader in (old, ahead, last, far)] == [[["10"]]] * 4


def test_who_does_not_take_the_beat_is_told_it_once(readers: Callable[..., Chunked]) -> None:
    reader = readers()
    those = of(reader)
    with suppress(BlockingIOError):
        while True:
            reader.ours.send(b"x" * 10_000)
    those.beat([reader], 5)
    assert (reader.left, reader.told, reader.cursor) == (b"8\r\nsync 5\n\n\r\n", [], 5)
    those.beat([reader], 6)
    assert reader.told == [6]


def test_in_a_round_each_is_told_where_it_is_itself(readers: Callable[..., Chunked]) -> None:
    two = [readers(), readers()]
    asked, early = readers(seated=False), readers(20)
    those = of(*two, asked, early)
    those.take([record(8)], 7, 0)
    those.step()
    served = next(reader for reader in two if reader.chunks())
    (waiting,) = [reader for reader in two if reader is not served]
    those.beat([*those], 9)
    assert (served.chunks(), waiting.chunks(), early.chunks()) == ([["sync 9"]], [["sync 7"]], [["sync 20"]])
    assert asked.told == [7]
    those.remove(served, 9)
    those.beat([served, waiting], 9)
    assert (served.chunks(), waiting.chunks()) == ([], [["sync 7"]])


def test_where_a_job_has_ended_each_decides_for_itself_and_may_leave(readers: Callable[..., Chunked]) -> None:
    leaving, staying = readers(3), readers()
    those = of(leaving, staying, dispatched=5)
    handed: list[int | None] = []
    leaving.on_push = lambda: handed.append(those.remove(leaving, 6))
    those.take([record(6, event=TRANSITION, state="succeeded")], 5, 0)
    finish(those)
    assert handed == [5], "what it decides upon it has not been handed yet"
    assert [batch.final for batch in staying.pushed] == [True]
    assert (leaving.cursor, len(those), staying.seat) == (5, 1, staying.fd)


async def test_the_hub_takes_no_more_than_some_bytes_before_all_have_the_first(
    readers: Callable[..., Chunked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.hub.LAG_BYTES", 100)
    monkeypatch.setattr("gateway.hub.SLICE_SECONDS", 0.0)
    hub = Hub(0)
    two = readers(), readers()
    for reader in two:
        hub.add(reader)

    first = asyncio.create_task(hub.dispatch(RecordPage([record(1)], 1)))
    await asyncio.sleep(0)
    assert not first.done()
    assert (hub.dispatched, hub.completed) == (1, 0)
    running = asyncio.create_task(hub.run())
    await asyncio.wait_for(first, BOUND)
    assert hub.completed == 1
    assert [reader.chunks() for reader in two] == [[["1"]]] * 2
    running.cancel()


async def test_between_two_batches_the_loop_gets_a_turn(readers: Callable[..., Chunked]) -> None:
    hub, others = Hub(0), asyncio.Event()
    hub.add(readers())
    asyncio.get_running_loop().call_soon(others.set)
    await hub.dispatch(RecordPage([record(1)], 1))
    assert others.is_set()
