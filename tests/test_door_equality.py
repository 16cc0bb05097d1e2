"""The door answers as the app would: whatever was learnt before, a head gets the same status, fields and frames.

A line break before a request makes it one that the door never knows, and changes nothing for the app; so each head is
sent both ways, to a server over real sockets, after others that may have taught the door something wrong.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway import frames, hub
from gateway.app import create_app
from gateway.door import Entrance
from gateway.eventlog.retention import Retention
from gateway.process import bind
from gateway.record import alias_of
from gateway.server import Server
from gateway.service import Gateway
from gateway.settings import Settings
from tests.api import Client, create, report, served
from tests.raw import ACCEPT, BOUND, STREAM, request

ALLOWED = "http://page.example"
APART = b"\r\n"  # before a request: the door lets it through to the app, which does not see it
ENDS = (b"event: sync\n", b'"event":"sync"', b"event: end\n", b'"event":"end"')

Answer = tuple[str, list[str], Any]


@dataclass
class House:
    """A gateway in a thread of its own, and what is known of its log."""

    port: int
    entrance: Entrance
    loop: asyncio.AbstractEventLoop
    positions: list[str] = field(default_factory=list)

    def forget(self) -> None:
        """Know no head, as after a start."""
        self.entrance._known.clear()

    def knows(self) -> int:
        """How many heads were learnt."""
        return len(self.entrance._known)

    def by_door(self, head: bytes) -> Answer:
        """The answer, by the door if it knows the head; what is learnt from it is known afterwards."""
        answer = ask(self.port, self.filled(head))
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(BOUND)
        return answer

    def by_app(self, head: bytes) -> Answer:
        """The app's own answer."""
        return ask(self.port, APART + self.filled(head))

    def filled(self, head: bytes) -> bytes:
        """A head with positions of the log in the places of `<1>` and so on."""
        return re.sub(rb"<(\d)>", lambda found: self.positions[int(found[1])].encode(), head)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Jobs in every condition that a door could get wrong; nothing moves any more."""
    opened: list[House] = []
    ready, over = threading.Event(), threading.Event()
    folder = tmp_path_factory.mktemp("door")
    thread = threading.Thread(target=lambda: uvloop.run(_live(folder, opened, ready, over)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "random", random.SystemRandom())  # hypothesis watches the other, which all threads share
        thread.start()
        assert ready.wait(BOUND)
        try:
            yield opened[0]
        finally:
            over.set()
            thread.join(BOUND)
            assert not thread.is_alive()


async def _live(folder: Path, opened: list[House], ready: threading.Event, over: threading.Event) -> None:
    chosen = Settings(database=str(folder / "status.db"), grace=1.0, allowed_origins=(ALLOWED,))
    app = create_app(chosen)
    server = Server(app, chosen)
    sockets = bind("127.0.0.1", 0)
    task = asyncio.create_task(server.serve(sockets))
    await asyncio.wait_for(server.accepting.wait(), BOUND)
    entrance: object = server.config.http_protocol_class
    assert isinstance(entrance, Entrance)
    port = sockets[0].getsockname()[1]
    async with Client(base_url=f"http://127.0.0.1:{port}", timeout=BOUND, trust_env=False) as client:
        await _furnish(client)
    gateway: Gateway = app.state.gateway
    positions = [gateway.log.position(offset) for offset in range(10)]
    opened.append(House(port, entrance, asyncio.get_running_loop(), positions))
    ready.set()
    await asyncio.to_thread(over.wait)
    server.should_exit = True
    await asyncio.wait_for(task, BOUND)


async def _furnish(client: Client) -> None:
    for job in ("a", "b", "v1", "events", "ended", "gone"):
        await create(client, job, state="running", details={"of": job})
    await create(client, "a", workspace="w", state="running", message="of w")
    for number in range(3):
        await report(client, message=str(number))
    for job in ("ended", "gone"):
        await report(client, job, state="succeeded")
    assert (await client.delete("/v1/jobs/gone")).status_code == 204


def ask(port: int, data: bytes) -> Answer:
    """Status line, header fields and what the answer holds, without what differs from one second to the next."""
    with socket.create_connection(("127.0.0.1", port), timeout=BOUND) as sock, sock.makefile("rb") as file:
        sock.sendall(data)
        status = file.readline().decode("latin-1")
        lines = []
        while (line := file.readline()) not in (b"\r\n", b""):
            lines.append(line.decode("latin-1"))
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = b"" if data.lstrip().startswith(b"HEAD") else _body(file, status, fields)
    return status, sorted(line for line in lines if not line.startswith("date:")), _told(body)


def _body(file: Any, status: str, fields: dict[str, str]) -> bytes:
    """A body up to its end, or to where its stream has caught up."""
    if "content-length" in fields:
        return bytes(file.read(int(fields["content-length"])))
    body = b""
    chunked = fields.get("transfer-encoding") == "chunked"
    text = fields.get("content-type", "").startswith("text/plain")
    while " 200 " in status and not _has_caught_up(body, text):
        size = int(file.readline(), 16) if chunked else 0
        piece = file.read(size) if chunked else file.read1()
        assert not chunked or file.readline() == b"\r\n"
        if not piece:
            return body + b"(the end)"
        body += piece
    return body


def _has_caught_up(body: bytes, text: bool) -> bool:
    if text:
        return b"\r" in body or b"# no job" in body or b"newest jobs" in body
    found = max(body.rfind(end) for end in ENDS)
    return found >= 0 and b"\n" in body[found + len(b"event: sync\ndata: ") :] and body.endswith(b"\n")


def _told(body: bytes) -> bytes:
    """What is told up to the first sync, but for the random time to come back and the time of day."""
    body = re.sub(rb'retry: \d+|"time":"[^"]+"', b"", body)
    return re.sub(rb"(event: sync\n.*?\n\n|\"event\":\"sync\".*?\n|\r).*", rb"\1", body, flags=re.DOTALL)


# Heads, good and bad

JOBS = ("a", "b", "ended", "gone", "none", "v1", "events", ".", "%61", "", alias_of("default", "a"))
PATHS = ("/v1/jobs/{}/events", "/v1/jobs/{}", "/v1/jobs/{}/", "http://jobs/v1/jobs/{}/events", "/v1/events?job={}")
PARAMETERS = (
    "min_interval=0", "min_interval=x", "omit=details", "omit=", "workspace=w", "workspace=", "x=1", "after=earliest",
    "after=<3>", "after=", "after=x", "%61fter=earliest", "%61fter=<2>", "lastEventId=<8>", "last_event_id=zzzzzzzz-1",
    "lastEventI%64=<8>", "_=/jobs/", "_=/jobs/b", "_=/jobs/b/", "r=&after=<1>", "limit=5", "job=a",
)  # fmt: skip
CURSORS = ("<0>", "<1>", "<8>", "<9>9", "zzzzzzzz-1", "x", "", " ", "earliest", "<3> ", "\xa0", "<3>\xa0", "<3>,<4>")
HOSTS = ("127.0.0.1", "127.0.0.1", "127.0.0.1", "localhost", "LOCALHOST:80", "[::1]", "evil.example", "a@127.0.0.1", "")
ACCEPTS = (
    "text/event-stream", "text/event-stream", "*/*", "application/json", "application/x-ndjson", "text/plain", "x",
    "text/event-stream;q=0", "text/event-stream; q=0.1, application/json", "TEXT/EVENT-STREAM", "", "text/html",
)  # fmt: skip
OTHERS = (
    "User-Agent: x", "user-agent:y", "Accept-Language: de", "X-Forwarded-For: 1.2.3.4", "Referer: http://evil.example",
    "DNT: 1", "DNT: 1\r\n" * 101 + "DNT: 1", "User-Agent: a\r\n b", "User-Agent: \x01", "X-User-Agent: x",
    "Last-Event-ID : <3>", "X: a\nLast-Event-ID: <3>", "X: y", "Cookie: a=b", "Cache-Control: no-cache",
    "Connection: close", "Connection: keep-alive", "Upgrade: h2c", "Content-Length: 0", "Content-Length: x",
    "Transfer-Encoding: x", "Expect: 100-continue", "Sec-Fetch-Site: cross-site", f"Origin: {ALLOWED}", "Origin: null",
    "Origin: http://foreign.example", "Host: 127.0.0.1", "Prefer: wait=1", 'If-None-Match: "x"', "If-Match: *",
    "no colon", ": empty",
)  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A request's head: mostly one for a stream, in any of the ways in which it may be said well or badly."""
    path = draw(st.sampled_from(PATHS[:1] * 3 + PATHS)).format(draw(st.sampled_from(JOBS[:2] * 3 + JOBS)))
    said = draw(st.lists(st.sampled_from(PARAMETERS), max_size=3))
    target = path + "&?"["?" not in path] + "&".join(said) if said else path
    lines = [f"Host: {draw(st.sampled_from(HOSTS))}", f"Accept: {draw(st.sampled_from(ACCEPTS))}"]
    cursors = draw(st.lists(st.sampled_from(CURSORS), max_size=1 + draw(st.booleans())))
    lines += [f"{draw(st.sampled_from(('Last-Event-ID', 'last-event-id')))}:{' ' * len(c)}{c}" for c in cursors]
    lines += draw(st.lists(st.sampled_from(OTHERS), max_size=3))
    method = draw(st.sampled_from(("GET", "GET", "GET", "GET", "HEAD")))
    version = draw(st.sampled_from(("1.1", "1.1", "1.1", "1.1", "1.0")))
    return "\r\n".join([f"{method} {target} HTTP/{version}", *draw(st.permutations(lines)), "", ""]).encode("latin-1")


AFTER_EARLIEST = f"{STREAM}?%61fter=earliest"
FREELY = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@FREELY
@given(st.lists(heads(), min_size=1, max_size=4))
@example([request(AFTER_EARLIEST, ACCEPT, "Last-Event-ID: <2>"), request(AFTER_EARLIEST, ACCEPT)])
@example([request(f"{STREAM}?_=/jobs/"), request("/v1/jobs//events?_=/jobs/b")])
@example([request("http://jobs/v1/jobs/v1/events"), request("http://jobs/b/jobs/v1/events")])
@example([request(), request(STREAM, ACCEPT, *["DNT: 1"] * 120)])
def test_a_head_gets_the_answer_of_the_app_whatever_the_door_has_learnt(house: House, said: list[bytes]) -> None:
    compare(house, said)


@pytest.mark.soak
@settings(FREELY, max_examples=3000)
@given(st.lists(heads(), min_size=1, max_size=5))
def test_thousands_of_heads_get_the_answer_of_the_app(house: House, said: list[bytes]) -> None:
    compare(house, said)


def compare(house: House, said: list[bytes]) -> None:
    house.forget()
    for head in said:
        house.by_door(head)
    for head in said:
        assert house.by_door(head) == house.by_app(head), (house.knows(), head)


def test_the_comparison_has_something_to_compare(house: House) -> None:
    house.forget()
    first = house.by_door(request())
    assert house.knows() == 1
    assert first[0] == "HTTP/1.1 200 OK\r\n"
    assert b"event: snapshot" in first[2]
    house.by_app(request(STREAM, ACCEPT, "X: 1"))
    assert house.knows() == 1, "what the app alone answers is not learnt"
    assert orjson.loads(house.by_door(request(STREAM, "Accept: application/json"))[2])["records"]


# While the log moves


async def test_at_any_time_of_a_jobs_life_the_door_answers_as_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports, ends, deletions, jobs that fall out of memory, compaction that expires cursors: between any two of these
    each job is asked for from some cursor, both ways."""
    monkeypatch.setattr(hub, "RING_RECORDS", 6)
    chance = random.Random(8)
    async with served(tmp_path) as at:
        gateway: Gateway = at.app.state.gateway
        jobs: dict[str, str] = {}
        for number in range(80):
            await move(at.client, gateway, jobs, chance, number)
            job = chance.choice([*jobs, "none"])
            cursor = gateway.log.position(chance.randint(0, gateway.log.head + 1))
            fields = chance.choice([(), (f"Last-Event-ID: {cursor}",), ("Last-Event-ID: earliest",)])
            head = request(f"/v1/jobs/{job}/events", ACCEPT, *fields)
            answers = [await asyncio.to_thread(ask, at.port, data) for data in (head, APART + head)]
            assert answers[0] == answers[1], (number, job, jobs)


async def move(client: Client, gateway: Gateway, jobs: dict[str, str], chance: random.Random, number: int) -> None:
    """Something happens to some job, or to what is kept of it."""
    running = [job for job, state in jobs.items() if state == "running"]
    match chance.randrange(9) if running else 0:
        case 0:
            await create(client, f"j{number}", state="running")
            jobs[f"j{number}"] = "running"
        case 1:
            jobs[running[0]] = "ended"
            await report(client, running[0], state=chance.choice(("succeeded", "failed")))
        case 2 if ended := [job for job, state in jobs.items() if state == "ended"]:
            jobs[ended[0]] = "gone"
            await client.delete(f"/v1/jobs/{ended[0]}")
        case 3:
            gateway.log._hot.clear()
        case 4:
            while await gateway.log.tend(Retention(progress=1e-9, records=25), datetime.now(UTC)):
                pass
        case _:
            await report(client, chance.choice(running), message=str(number), details={"filling": "x" * 3000})
    async with asyncio.timeout(BOUND):
        while gateway.hub.completed < gateway.log.head:
            await asyncio.sleep(0)
