"""The rows of the live path: what a delivery, a stream and its opening cost, beside the peers."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import peers
from tests.bench.goals import Figures, Pair, Sizes
from tests.bench.load import Crowd, LoadFailed, hit
from tests.bench.machine import has_nginx, kernel_kib
from tests.bench.peers import Peer

SETTLE: Final = 0.5  # seconds after which a server has done what follows from a load's last answer
QUIET: Final = 2.0  # seconds without an event after which a crowd takes what it has for all it gets
PRODUCERS: Final = 8
SYNC: Final = "event: sync"
STALLED_PART: Final = 0.01
FILLING: Final = "x" * 32_000  # bytes of an event that fills the buffers of whoever does not read
FILLINGS: Final = 40  # of them: 1.25 MiB, more than the kernel keeps for both ends
SLICE_EVENTS: Final = 10


@dataclass(frozen=True, slots=True)
class Bench:
    """What a row gets: a folder for its files, the sizes, and the number of the round."""

    folder: Path
    sizes: Sizes
    round: int = 0


@dataclass(frozen=True, slots=True)
class FanOut:
    """What one fan-out cost: µs CPU a delivery and a stream's opening, KiB a stream, ms until delivered."""

    delivery: float
    opening: float
    kib: float
    p50: float
    p99: float
    event_p99: float  # the median of the events' own p99: what a single hiccup of the machine leaves alone
    part: float  # of the events that were delivered; the gateway may conflate for readers that fall behind


Starter = Callable[[Path], AbstractContextManager[Peer]]


def fan_out(peer: Peer, streams: int, events: int, gap: float = 0.0, headers: Sequence[str] = ()) -> FanOut:
    """Open streams, then publish: by one producer with a gap after each event, or by eight without."""
    time.sleep(SETTLE)
    kib, cpu = peer.kib(), peer.cpu()
    timeout = 60 + events * gap
    with Crowd(peer.port, peer.stream, streams, events, quiet=QUIET, timeout=timeout, headers=headers) as crowd:
        time.sleep(SETTLE)
        opened = peer.cpu()
        producers = 1 if gap else PRODUCERS
        hit(peer.port, "POST", peer.publish, peer.body, connections=producers, requests=events, gap=gap)
        seen = crowd.figures()
        delivered = peer.cpu()
        held = peer.kib()
    if seen["closed"] or seen["refused"] or not seen["events"]:
        raise LoadFailed(f"{peer.name}: streams were lost: {seen}")
    return FanOut(
        delivery=(delivered - opened) * 1e6 / seen["events"],
        opening=(opened - cpu) * 1e6 / streams,
        kib=(held - kib) / streams,
        p50=seen["p50_ms"],
        p99=seen["p99_ms"],
        event_p99=seen["event_p99_ms"],
        part=seen["events"] / seen["wanted"],
    )


def beside(bench: Bench, streams: int, events: int, gap: float, *starters: tuple[str, Starter]) -> dict[str, FanOut]:
    """The same fan-out on one server after the other, in another order each round."""
    found = {}
    turn = bench.round % len(starters)
    for name, start in (*starters[turn:], *starters[:turn]):
        with start(bench.folder) as peer:
            found[name] = fan_out(peer, streams, events, gap)
    return found


def _peers(*more: tuple[str, Starter]) -> list[tuple[str, Starter]]:
    push: list[tuple[str, Starter]] = [("nchan", peers.nchan)] if has_nginx() else []
    return [("ours", peers.gateway), *push, *more]


def _pairs(found: dict[str, FanOut], value: Callable[[FanOut], float], **keys: str) -> Figures:
    """A pair for each goal `keys` names, with the peer's value where that peer was there."""
    ours = value(found["ours"])
    detail = {"delivered_part": found["ours"].part, "p50_ms": found["ours"].p50, "p99_ms": found["ours"].p99}
    return {key: Pair(ours, value(found[peer]) if peer in found else None, detail) for key, peer in keys.items()}


def single(bench: Bench) -> Figures:
    """One event at a time to many streams of one job."""
    sizes = bench.sizes
    others: list[tuple[str, Starter]] = [("floor", peers.floor), ("hand", peers.hand_written)]
    found = beside(bench, sizes.streams, sizes.events, sizes.gap, *_peers(*others))
    keys = {"single_nchan": "nchan", "single_floor": "floor", "single_hand": "hand"}
    return _pairs(found, lambda one: one.delivery, **keys)


def burst(bench: Bench) -> Figures:
    """Events back to back from eight producers at once."""
    sizes = bench.sizes
    found = beside(bench, sizes.streams, sizes.events, 0.0, *_peers(("floor", peers.floor)))
    figures = _pairs(found, lambda one: one.delivery, burst_nchan="nchan", burst_floor="floor")
    return figures | _pairs(found, lambda one: one.p99, burst_p99="nchan")


def crowd(bench: Bench) -> Figures:
    """Very many streams: memory of each, and the CPU time of opening one, afresh and with a cursor."""
    sizes = bench.sizes
    found = beside(bench, sizes.crowd, sizes.crowd_events, sizes.crowd_gap, *_peers())
    again, apart = {}, {}
    for name, start in _peers():
        with start(bench.folder) as peer:
            again[name] = fan_out(peer, sizes.crowd, 1, headers=[f"Last-Event-ID: {newest(peer)}"])
        with start(bench.folder) as peer:
            apart[name] = fan_out(peer, sizes.crowd, 1, headers=["Cookie: session={n}"])
    return (
        _pairs(found, lambda one: one.kib, memory="nchan")
        | _pairs(found, lambda one: one.opening, opening="nchan")
        | _pairs(again, lambda one: one.opening, reopening="nchan")
        | _pairs(apart, lambda one: one.opening, opening_apart="nchan")
    )


def newest(peer: Peer) -> str:
    """The id of an event that is published for it, as a stream's reader sees it."""
    with socket.create_connection(("127.0.0.1", peer.port), 10) as reader:
        head = f"GET {peer.stream} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        reader.sendall(head.encode())
        said = reader.recv(65536)
        hit(peer.port, "POST", peer.publish, peer.body)
        for _ in range(100):
            # Nchan's frames begin with the id, ours end with it.
            found = re.search(
                rb"\nid: ?([^\n]+)\ndata:[^\n]*\"t\":\d|\ndata:[^\n]*\"t\":\d[^\n]*\nid: ([^\n]+)\n", said
            )
            if found:
                return (found[1] or found[2]).strip().decode()
            said += reader.recv(65536)
    raise LoadFailed(f"{peer.name}: no event came: {said[:500]!r}")


def scale(bench: Bench) -> Figures:
    """Very many streams against few. A report costs more than a few deliveries, so the second figure leaves it out: how
    much dearer a delivery gets, beside the floor's own, for the kernel's part does not stay the same either."""
    sizes, gap = bench.sizes, bench.sizes.gap / 5
    found = {}
    for name, start in (("ours", peers.gateway), ("floor", peers.floor)):
        with start(bench.folder) as peer:
            many = fan_out(peer, sizes.crowd, sizes.crowd_events, sizes.crowd_gap).delivery
        with start(bench.folder) as peer:
            few = fan_out(peer, sizes.few, sizes.few_events, gap).delivery
            time.sleep(SETTLE)
            cpu = peer.cpu()
            hit(peer.port, "POST", peer.publish, peer.body, requests=sizes.few_events, gap=gap)
            report = (peer.cpu() - cpu) * 1e6 / sizes.few_events
        found[name] = many, few, report
    (many, few, report), theirs = found["ours"], found["floor"]
    return {
        "scale": Pair(many, few, {"report_us": report}),
        "scale_alone": Pair(_dearer(sizes, *found["ours"]), _dearer(sizes, *theirs), {"report_us_floor": theirs[2]}),
    }


def _dearer(sizes: Sizes, many: float, few: float, report: float) -> float:
    return (many - report / sizes.crowd) / (few - report / sizes.few)


def idle(bench: Bench) -> Figures:
    """Many streams to which nothing happens but the shared beat."""
    sizes = bench.sizes
    beat = ("--heartbeat", str(sizes.idle / 3))
    with (
        peers.gateway(bench.folder, *beat) as peer,
        Crowd(peer.port, peer.stream, sizes.crowd, timeout=sizes.idle * 3, mark=SYNC) as streams,
    ):
        time.sleep(SETTLE)
        cpu, begin = peer.cpu(), time.perf_counter()
        time.sleep(sizes.idle)
        part = (peer.cpu() - cpu) / (time.perf_counter() - begin)
        streams.end()
        beats = streams.figures()["marks"] / sizes.crowd
    if beats < 2:
        raise LoadFailed(f"only {beats:.1f} sync frames a stream came in {sizes.idle:g} s")
    return {"idle": Pair(100 * part, detail={"sync_frames_a_stream": beats})}


def slices(bench: Bench) -> Figures:
    """The longest the loop's thread works without giving other connections a turn."""
    sizes = bench.sizes
    with (
        peers.measured_gateway(bench.folder, "ticking") as peer,
        Crowd(peer.port, peer.stream, sizes.crowd, SLICE_EVENTS, quiet=QUIET) as streams,
    ):
        time.sleep(SETTLE)
        peer.process.send_signal(signal.SIGUSR1)
        time.sleep(0.1)
        hit(peer.port, "POST", peer.publish, peer.body, requests=SLICE_EVENTS, gap=sizes.crowd_gap)
        streams.figures()
        peer.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 10
        while not (found := re.search(r"longest ([\d.]+)", peer.said())):
            if time.monotonic() > deadline:
                raise LoadFailed(f"the loop's longest turn was not told: {peer.said()[-500:]}")
            time.sleep(0.05)
    return {"slice": Pair(float(found[1]))}


def stalled(bench: Bench) -> Figures:
    """Readers that stop reading beside honest ones: what the honest ones notice, and what the others cost."""
    sizes = bench.sizes
    number = max(round(sizes.streams * STALLED_PART), 1)
    found: dict[bool, FanOut] = {}
    for some in (bench.round % 2 == 0, bench.round % 2 == 1):
        with peers.gateway(bench.folder) as peer, _filled(peer, number if some else 0):
            found[some] = fan_out(peer, sizes.streams, sizes.events, sizes.gap)
    detail = {"p50_ms": found[True].p50, "p50_ms_none": found[False].p50}
    detail |= {"p99_ms_of_all": found[True].p99, "p99_ms_of_all_none": found[False].p99}
    with peers.gateway(bench.folder) as peer:
        held = []
        for many in (
            0,
            0,
            sizes.stalled,
        ):  # what big events themselves cost the server has been paid by the second time
            with _filled(peer, many):
                held.append(peer.kib() + kernel_kib(peer.port))
    cost = Pair((held[2] - held[1]) / sizes.stalled)
    return {"stalled": Pair(found[True].event_p99, found[False].event_p99, detail), "stalled_memory": cost}


@contextmanager
def _filled(peer: Peer, stalled: int) -> Iterator[None]:
    """Stalled readers whose buffers are full, and one that reads; afterwards the job's document is small again."""
    with Crowd(peer.port, peer.stream, stalled + 1, stalled=stalled):
        body = peers.REPORT.replace('{"t"', f'{{"filling":"{FILLING}","t"')
        hit(peer.port, "POST", peer.publish, body, requests=FILLINGS)
        hit(peer.port, "POST", peer.publish, '{"details":{"filling":null,"t":null}}')
        time.sleep(SETTLE)
        yield
