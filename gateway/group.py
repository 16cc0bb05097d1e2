"""Readers of one topic in one form, and how far each of them has been given what was dispatched.

Law: who stands in a rank has been handed everything of the topic up to the rank's offset, and nothing behind it. A
reader whose turn comes gets all that has been dispatched by then, in one write: what is reported while a round is under
way needs no round of its own. Those whose sockets take whatever comes stand there by their descriptors alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway import frames
from gateway.frames import Form
from gateway.record import Filter, Record, is_end

AT_ONCE: Final = 32  # streams between two looks at the clock


class Direct(Protocol):
    """A socket that takes HTTP chunks past everything, as long as it takes them whole."""

    fd: int  # its descriptor

    def rest(self, data: bytes) -> None:
        """What it did not take: it goes out later, and from now on the socket is not to be written to directly."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that match, in order, the offsets of the first and the last, and their frames together. All that matched
    up to `after` was handed out before. `final`: a job that was asked for by name is among them and has ended."""

    records: Sequence[Record]
    after: int
    first: int
    last: int
    data: bytes
    final: bool


class Subscriber(Protocol):
    """What records are handed to. Nothing here may wait."""

    cursor: int  # what it has been given; while it has a seat, at least
    seat: int  # the descriptor by which it is written to directly, negative if it is not

    @property
    def match(self) -> Filter:
        """Which jobs it is about."""

    @property
    def form(self) -> Form:
        """How its frames look."""

    def socket(self) -> Direct | None:
        """Its socket, if whatever comes may be written to that now, as chunks."""

    def push(self, batch: Batch) -> None:
        """Take it, if it is new here."""

    def sync(self, offset: int) -> bytes:
        """What says that it has everything up to there."""

    def beat(self, offset: int) -> None:
        """It is time to say where the reader is: it has been handed everything up to there."""

    def flush(self) -> bool:
        """Time has passed: send what `min_interval` has withheld, if it is due. False if it left the hub."""

    def fail(self) -> None:
        """One of these has failed, or its reader is gone: drop the reader, who comes back."""


Failed = Callable[[Subscriber, Exception], None]


class Rank:
    """Readers who have been handed everything up to an offset; `taken`: bytes that the hub had taken by then."""

    __slots__ = ("after", "fds", "others", "taken")

    def __init__(self, after: int, taken: int = 0) -> None:
        self.after, self.taken = after, taken
        self.fds: set[int] = set()
        self.others: dict[Subscriber, None] = {}  # those who are asked one by one

    def __bool__(self) -> bool:
        return bool(self.fds or self.others)


class Group:
    """Who shares a topic and a form. `failed` is told of a subscriber with a defect, and removes it."""

    __slots__ = ("_ahead", "_backlog", "_failed", "_form", "_level", "_named", "_round", "_seats", "behind")

    def __init__(self, topic: Filter, form: Form, failed: Failed) -> None:
        self._named, self._form, self._failed = bool(topic.jobs), form, failed
        self._seats: dict[int, Subscriber] = {}
        self.behind: list[Rank] = []  # the oldest first
        self._level = Rank(0)  # owed nothing of what was dispatched, so that its offset does not count
        self._ahead: list[Rank] = []  # they began at a commit that had not been dispatched
        self._backlog: list[Record] = []  # what those who are behind are owed
        self._round: tuple[Batch, bytes, Rank] | None = None  # what is being handed out, and where that leads to

    @property
    def taken(self) -> int:
        """Bytes that the hub had taken when who is behind the most was handed something last."""
        return self.behind[0].taken if self.behind else 0

    def __len__(self) -> int:
        return len(self._seats) + sum(len(rank.others) for rank in self._ranks())

    def __iter__(self) -> Iterator[Subscriber]:
        yield from self._seats.values()
        for rank in self._ranks():
            yield from rank.others

    def add(self, subscriber: Subscriber, dispatched: int) -> None:
        """Hand it what comes after its cursor, which is not before `dispatched`."""
        rank = self._level
        if subscriber.cursor > dispatched:
            rank = _at(self._ahead, Rank(subscriber.cursor))
        self._enter(subscriber, rank)

    def remove(self, subscriber: Subscriber, dispatched: int) -> int | None:
        """Hand it nothing more; up to where it has been handed everything, None if it was not here."""
        for rank in self._ranks():
            if subscriber.seat in rank.fds and self._seats[subscriber.seat] is subscriber:
                rank.fds.remove(subscriber.seat)
                del self._seats[subscriber.seat]
                subscriber.seat = -1
            elif rank.others.pop(subscriber, 0) == 0:
                continue
            return self._handed(rank, dispatched)
        return None

    def take(self, records: Sequence[Record], before: int, taken: int) -> bool:
        """Records that match; all that had been dispatched is `before`. Whether somebody is behind now."""
        last = records[-1].offset
        for rank in (it for it in self._ahead if it.after <= before):
            _merge(self._level, rank)
        ahead = [rank for rank in self._ahead if rank.after > before]
        if self._level:
            self._level.after, self._level.taken = before, taken
            self.behind.append(self._level)
            self._level = Rank(0)
        self.behind += [rank for rank in ahead if rank.after < last]
        self._ahead = [rank for rank in ahead if rank.after >= last]
        if self.behind:
            self._backlog += records
            self._round = None
        return bool(self.behind)

    def step(self) -> bool:
        """Hand a few of those who are behind the most all they are owed. Whether that was the last of a rank."""
        if self.behind and self.behind[0]:
            rank = self.behind[0]
            if self._round is None:
                self._round = self._next_round(rank)
            batch, chunk, target = self._round
            if not rank.fds:
                self._push(rank, batch, target)
            elif batch.final:
                self._stand_up(rank)
            else:
                few = [rank.fds.pop() for _ in range(min(AT_ONCE, len(rank.fds)))]
                target.fds.update(few)
                self._write(few, chunk, batch.last, target)
        if self.behind and self.behind[0]:
            return False
        self._next_rank()
        return True

    def beat(self, few: Sequence[Subscriber], dispatched: int) -> None:
        """Tell a few, as far as they are still here, where they are."""
        seated = {it.seat for it in few}
        for rank in self._ranks():
            handed = self._handed(rank, dispatched)
            asked = [it for it in few if it in rank.others]
            if (fds := seated & rank.fds) and (data := self._seats[next(iter(fds))].sync(handed)):
                self._write(fds, _chunk(data), handed, rank)
            for subscriber in asked:
                try:
                    subscriber.beat(handed)
                except Exception as fault:
                    self._failed(subscriber, fault)

    def _ranks(self) -> tuple[Rank, ...]:
        return (*self.behind, self._level, *self._ahead)

    def _handed(self, rank: Rank, dispatched: int) -> int:
        if rank is self._level:
            return dispatched
        return max(rank.after, dispatched) if rank in self._ahead else rank.after

    def _enter(self, subscriber: Subscriber, rank: Rank) -> None:
        direct = subscriber.socket()
        if direct is None:
            rank.others[subscriber] = None
        else:
            subscriber.seat = direct.fd
            self._seats[direct.fd] = subscriber
            rank.fds.add(direct.fd)

    def _next_round(self, rank: Rank) -> tuple[Batch, bytes, Rank]:
        records: list[Record] = []
        size = 0
        for record in self._backlog:
            if record.offset > rank.after:
                if records and size + len(record.document) > frames.CHUNK_BYTES:
                    break
                records.append(record)
                size += len(record.document)
        data = frames.of_records(records, self._form)
        final = self._named and any(is_end(record) for record in records)
        batch = Batch(records, rank.after, records[0].offset, records[-1].offset, data, final)
        if batch.last == self._backlog[-1].offset:
            return batch, _chunk(data), self._level
        return batch, _chunk(data), _at(self.behind, Rank(batch.last, rank.taken + size))

    def _next_rank(self) -> None:
        self._round = None
        self.behind = [rank for rank in self.behind if rank]
        self._backlog = [record for record in self._backlog if self.behind and record.offset > self.behind[0].after]

    def _push(self, rank: Rank, batch: Batch, target: Rank) -> None:
        for _ in range(min(AT_ONCE, len(rank.others))):
            subscriber, _ = rank.others.popitem()
            rank.others[subscriber] = None  # it is asked where it stands if it leaves now
            try:
                subscriber.push(batch)
            except Exception as fault:
                self._failed(subscriber, fault)
            if rank.others.pop(subscriber, 0) is None:
                self._enter(subscriber, target)

    def _stand_up(self, rank: Rank) -> None:
        """A stream may end now, which each decides for itself."""
        for _ in range(min(AT_ONCE, len(rank.fds))):
            rank.others[self._unseat(rank.fds.pop(), rank.after)] = None

    def _unseat(self, fd: int, handed: int) -> Subscriber:
        subscriber = self._seats.pop(fd)
        subscriber.seat, subscriber.cursor = -1, max(subscriber.cursor, handed)
        return subscriber

    def _write(self, fds: Iterable[int], chunk: bytes, last: int, rank: Rank) -> None:
        """Write to readers who stand in the rank that this brings them to."""
        size, write = len(chunk), os.write
        for fd in fds:
            try:  # past the transport, which holds nothing: its own way costs a quarter of the kernel's
                sent = write(fd, chunk)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._lose(self._seats[fd])
                continue
            if sent != size:
                self._leave_rest(fd, chunk[sent:], last, rank)

    def _lose(self, subscriber: Subscriber) -> None:
        try:
            subscriber.fail()
        except Exception as fault:
            self._failed(subscriber, fault)

    def _leave_rest(self, fd: int, data: bytes, last: int, rank: Rank) -> None:
        direct = self._seats[fd].socket()
        subscriber = self._unseat(fd, last)
        rank.fds.remove(fd)
        rank.others[subscriber] = None
        if direct is None:
            self._lose(subscriber)  # somebody else has written: the order is lost, but not to a reader who comes back
        else:
            direct.rest(data)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _merge(into: Rank, rank: Rank) -> None:
    into.fds |= rank.fds
    into.others |= rank.others


def _at(ranks: list[Rank], rank: Rank) -> Rank:
    """The rank of that offset among those; the one that is given, in its place, if there was none."""
    for number, other in enumerate(ranks):
        if other.after == rank.after:
            return other
        if other.after > rank.after:
            ranks.insert(number, rank)
            return rank
    ranks.append(rank)
    return rank
