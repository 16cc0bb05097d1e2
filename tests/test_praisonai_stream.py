"""PraisonAI's stream over real sockets: its events, and the cursor law, which its own server does not have."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.types import Message

from gateway import catchup
from gateway.dialects import praisonai
from gateway.dialects.pipe import Event, Pipe, TranslatedStream, encoded, translation
from gateway.dialects.praisonai_bodies import tell
from gateway.dialects.sse import Opener, Taker
from gateway.record import Filter
from gateway.service import Gateway
from gateway.stream import Subscription
from gateway.wanted import Start, Wanted, Wire
from tests.api import WAIT, Served, api, create, report, served
from tests.processes import serving
from tests.sse_parser import EventStreamParser
from tests.streams import Scene, a_scene

VECTORS = Path(__file__).parent / "vectors" / "praisonai"
STREAM = "/praisonai/api/v1/runs/a/stream"
FOREIGN = "aaaaaaaa-1"
STREAMS = 40  # at the farewell


class Frame(dict[str, Any]):
    """A frame as it came: its fields, with the data read."""


def frames_in(body: bytes) -> list[Frame]:
    """The complete frames of a body that dispatch an event; what a cut left of one is no frame."""
    found = []
    for block in body.split(b"\n\n")[:-1]:
        fields = [line.split(b": ", 1) for line in block.splitlines()]
        frame = Frame({name.decode(): value.decode() for name, value in fields})
        assert len(frame) == len(fields), f"a field stands twice: {block!r}"
        if "event" in frame:
            frame["data"] = orjson.loads(frame["data"])
            found.append(frame)
    return found


def events(body: bytes) -> list[Event]:
    """Name and data of the frames, but for heartbeats."""
    return [(frame["event"], frame["data"]) for frame in frames_in(body) if frame["event"] != "heartbeat"]


def last_id(body: bytes) -> str | None:
    """What a browser would come back with."""
    parser = EventStreamParser()
    parser.feed(body)
    return parser.last_event_id or None


def gateway_of(at: Served) -> Gateway:
    """The gateway itself."""
    gateway = at.app.state.gateway
    assert isinstance(gateway, Gateway)
    return gateway


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        yield found


@asynccontextmanager
async def reading(at: Served, path: str = STREAM, **options: Any) -> AsyncIterator[Callable[[str], Any]]:
    """A stream that is read up to the first frame of a kind, again and again; gives all that came so far."""
    async with asyncio.timeout(WAIT), at.client.stream("GET", path, **options) as response:
        assert response.status_code == 200, await response.aread()
        chunks = response.aiter_bytes()
        body = b""

        async def until(event: str) -> bytes:
            nonlocal body
            seen = len(frames_in(body))
            while all(frame["event"] != event for frame in frames_in(body)[seen:]):
                body += await anext(chunks)
            return body

        yield until


async def read(at: Served, path: str = STREAM, cursor: str | None = None) -> bytes:
    """All of a stream that ends by itself."""
    response = await at.client.get(path, headers={} if cursor is None else {"Last-Event-ID": cursor})
    assert response.status_code in (200, 204)
    return response.content


# What it says


async def test_it_begins_with_status_and_progress_and_ends_after_the_terminal_event(at: Served) -> None:
    await create(at.client)
    async with reading(at) as until:
        await until("progress")
        await report(at.client, state="running", progress=50, step="Processing data")
        await until("status")
        for progress in (75, 80):
            await report(at.client, progress=progress, step='say "hi"\nto all\u2028')
            await until("progress")
        await at.client.post("/v1/jobs/a/cancel")
        await until("progress")
        await report(at.client, state="cancelled")
        body = await until("cancelled")
        with pytest.raises(StopAsyncIteration):
            await until("nothing more")
    step = 'say "hi"\nto all\u2028'
    assert events(body) == [
        ("status", {"status": "queued", "job_id": "a"}),
        ("progress", {"percentage": 0.0, "step": ""}),
        ("status", {"status": "running", "job_id": "a"}),
        ("progress", {"percentage": 50.0, "step": "Processing data"}),
        ("progress", {"percentage": 75.0, "step": step}),
        ("progress", {"percentage": 80.0, "step": step}),
        ("progress", {"percentage": 80.0, "step": step}),
        ("status", {"status": "cancelled", "job_id": "a"}),
        ("progress", {"percentage": 80.0, "step": step}),
        ("cancelled", {"message": "Job was cancelled"}),
    ]
    assert b"\r" not in body
    assert "\u2028".encode() not in body


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
async def test_a_late_reader_of_a_run_that_has_ended_gets_all_of_it_and_the_end(at: Served, state: str) -> None:
    vector = orjson.loads((VECTORS / f"{state}.json").read_bytes())
    said = {name: vector["document"][name] for name in ("state", "progress", "step", "error", "result")}
    await create(at.client, "run_abc123", state="running")
    await report(at.client, "run_abc123", **said)
    path = STREAM.replace("/a/", "/run_abc123/")
    body = await read(at, path)
    assert [list(event) for event in events(body)] == vector["snapshot"]
    assert [frame for frame in frames_in(body) if "id" in frame] == frames_in(body)[-1:]


async def test_its_headers_are_those_of_its_server(at: Served) -> None:
    await create(at.client)
    async with at.client.stream("GET", STREAM) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        assert "content-length" not in response.headers


async def test_a_heartbeat_comes_when_nothing_else_does(at: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert praisonai.HEARTBEAT == 5.0, "as its server has it"
    monkeypatch.setattr(praisonai, "HEARTBEAT", 0.05)
    await create(at.client)
    async with reading(at) as until:
        await until("heartbeat")
        await report(at.client, state="running")
        await until("status")
        body = await until("heartbeat")
    beats = [frame for frame in frames_in(body) if frame["event"] == "heartbeat"]
    assert len(beats) >= 2
    for beat in beats:
        assert beat.keys() == {"event", "data"}
        assert beat["data"]["timestamp"].endswith("+00:00")


async def test_only_the_last_frame_of_a_record_carries_the_id(at: Served) -> None:
    await create(at.client)
    await report(at.client, state="running", progress=10)
    await report(at.client, progress=20)
    await report(at.client, state="failed", error="boom")
    frames = frames_in(await read(at, f"{STREAM}?after=earliest"))
    assert [(frame["event"], "id" in frame) for frame in frames] == [
        *(("status", False), ("progress", True)),
        *(("status", False), ("progress", True)),
        ("progress", True),
        *(("status", False), ("progress", False), ("error", True)),
    ]
    offsets = [int(frame["id"].rpartition("-")[2]) for frame in frames if "id" in frame]
    assert offsets == sorted(set(offsets))


async def test_a_frame_is_made_once_however_many_readers_there_are(at: Served) -> None:
    said: list[str] = []

    def counted(event: str, data: Any) -> Any:
        said.append(event)
        return tell(event, data)

    translate = translation(counted)
    block = b'id: k7f3q2ab-7\nevent: sync\ndata: {"head":"k7f3q2ab-7"}\n\n'
    assert [translate(block) for _ in range(3)] == [b"", b"", b""]
    assert translate(b"retry: 7\n\n" + block) == b"retry: 7\n\n"
    assert said == ["sync", "sync"]


# The cursor law


async def a_life(at: Served, chance: random.Random, pause: bool) -> None:
    """Forty reports of one job: progress mostly, transitions, and what the stream has no words for; at last an end."""
    await report(at.client, state="running")
    for number in range(40):
        match chance.randrange(5):
            case 0:
                await report(at.client, state=chance.choice(("paused", "running", "retrying")))
            case 1:
                await report(at.client, labels={"n": str(number)})
            case _:
                await report(at.client, step=f"step {number}")
        if pause and chance.random() < 0.3:
            await asyncio.sleep(0.002)
    await report(at.client, state="succeeded", result="ok")


async def owed(at: Served) -> dict[str, list[Event]]:
    """The events of each record of the job, by its position."""
    gateway = gateway_of(at)
    page = await gateway.log.read(0, gateway.log.head, Filter(jobs=frozenset([("default", "a")])), 1000)
    return {record.position: list(tell(record.event, orjson.loads(record.document))) for record in page.records}


async def test_a_stream_cut_after_any_byte_goes_on_with_exactly_the_missing_rest(at: Served) -> None:
    await create(at.client)
    await a_life(at, random.Random(1), pause=False)
    whole = await read(at, f"{STREAM}?after=earliest")
    assert events(whole) == [event for made in (await owed(at)).values() for event in made]
    rests: dict[str | None, bytes] = {}
    for cut in range(len(whole) + 1):
        cursor = last_id(whole[:cut])
        if cursor not in rests:
            rests[cursor] = await read(at, STREAM if cursor else f"{STREAM}?after=earliest", cursor)
        # A frame without an id is of a record whose last frame was cut off: it comes again.
        complete = frames_in(whole[:cut])
        while complete and "id" not in complete[-1]:
            complete.pop()
        assert complete + frames_in(rests[cursor]) == frames_in(whole)
    assert rests[last_id(whole)] == b""


@pytest.mark.parametrize("seed", range(3))
async def test_readers_beside_the_producer_who_are_cut_and_come_back_miss_nothing(at: Served, seed: int) -> None:
    chance = random.Random(seed)
    await create(at.client)

    async def follow(own: random.Random) -> list[Frame]:
        got: list[Frame] = []
        cursor: str | None = None
        for _ in range(200):
            body = b""
            cut = own.randrange(50, 2500)
            headers = {"Last-Event-ID": cursor} if cursor else {}
            path = STREAM if cursor else f"{STREAM}?after=earliest"
            async with at.client.stream("GET", path, headers=headers) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) >= cut:
                        body = body[:cut]
                        break
                else:
                    return got + frames_in(body)
            complete = frames_in(body)
            while complete and "id" not in complete[-1]:
                complete.pop()
            got += complete
            cursor = complete[-1]["id"] if complete else cursor
        raise AssertionError("the reader never got to the end")

    async with asyncio.timeout(WAIT):
        readers = [follow(random.Random(chance.random())) for _ in range(5)]
        *results, _ = await asyncio.gather(*readers, a_life(at, chance, pause=True))
    records = await owed(at)
    for got in results:
        assert got is not None
        check_owed(got, records)


def check_owed(got: list[Frame], records: dict[str, list[Event]]) -> None:
    """Each record once at most, in order and whole; each transition once. A reader who falls behind may be spared
    progress that was overtaken."""
    seen: list[str] = []
    made: list[Event] = []
    for frame in got:
        made.append((frame["event"], frame["data"]))
        if "id" in frame:
            assert made == records[frame["id"]]
            seen.append(frame["id"])
            made = []
    assert not made
    order = list(records)
    assert seen == sorted(set(seen), key=order.index)
    assert seen[-1] == order[-1]
    missing = [records[position] for position in order if position not in seen]
    assert all([name for name, _ in events] == ["progress"] for events in missing)


@pytest.mark.parametrize("name", ["lastEventId", "last_event_id", "after"])
async def test_a_cursor_may_stand_in_the_query(at: Served, name: str) -> None:
    job = await create(at.client, state="running")
    await report(at.client, state="failed")
    body = await read(at, f"{STREAM}?{name}={job['position']}")
    assert [event for event, _ in events(body)] == ["status", "progress", "error"]


@pytest.mark.parametrize("cursor", [FOREIGN, "nonsense", "ÿþ", "aaaaaaaa-99999999999999999999"])
async def test_a_cursor_of_no_use_is_answered_with_the_run_as_it_is(at: Served, cursor: str) -> None:
    await create(at.client, state="running")
    async with reading(at, headers={"Last-Event-ID": cursor.encode("latin-1")}) as until:
        body = await until("progress")
    assert [event for event, _ in events(body)] == ["status", "progress"]
    assert (last_id(body) or "").endswith("-1")


async def test_a_malformed_cursor_of_the_query_is_refused(at: Served) -> None:
    await create(at.client)
    response = await at.client.get(f"{STREAM}?after=nonsense")
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "after"]


async def test_a_reader_who_has_seen_the_end_is_told_to_stay_away(at: Served) -> None:
    await create(at.client, state="running")
    await report(at.client, state="failed")
    cursor = last_id(await read(at))
    response = await at.client.get(STREAM, headers={"Last-Event-ID": cursor or ""})
    assert (response.status_code, response.content) == (204, b"")
    await at.client.delete("/v1/jobs/a")
    response = await at.client.get(STREAM, headers={"Last-Event-ID": cursor or ""})
    assert (response.status_code, response.json()) == (404, {"detail": "Job not found: a"})


# How it ends


async def test_nothing_is_left_of_a_stream_that_its_reader_has_left(at: Served) -> None:
    await create(at.client, state="running")
    gateway = gateway_of(at)
    async with reading(at) as until:
        await until("progress")
        assert len(gateway.streams) == 1
    async with asyncio.timeout(WAIT):
        while gateway.streams or len(gateway.hub):
            await asyncio.sleep(0.01)


async def test_a_head_opens_no_stream(at: Served) -> None:
    await create(at.client)
    response = await at.client.head(STREAM)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert not gateway_of(at).streams


async def test_a_reader_too_many_is_told_to_come_back_later(tmp_path: Path) -> None:
    async with served(tmp_path, max_streams=1) as at:
        await create(at.client, state="running")
        async with reading(at) as until:
            await until("progress")
            second = await at.client.get(STREAM)
            assert second.status_code == 200
            assert second.content.startswith(b"retry: ")
            assert frames_in(second.content) == []


async def test_sigterm_ends_all_streams_with_a_time_to_come_back(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db", "--grace", "30") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=WAIT) as client:
            await create(client, state="running")
            begun: set[int] = set()

            async def raw(number: int) -> bytes:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(f"GET {STREAM} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                body = b""
                while chunk := await reader.read(65536):
                    body += chunk
                    if b"event: progress" in body:
                        begun.add(number)
                writer.close()
                return body

            readers = [asyncio.create_task(raw(number)) for number in range(STREAMS)]
            async with asyncio.timeout(WAIT):
                while len(begun) < STREAMS:
                    await asyncio.sleep(0.01)
                status = await asyncio.to_thread(server.terminate)
                bodies = await asyncio.gather(*readers)
    assert status == 0
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log
    for body in bodies:
        assert body.count(b"retry: ") == 2
        assert body.endswith(b"\n\n\r\n0\r\n\r\n")


async def test_the_same_stream_runs_over_plain_asgi(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        await create(client, state="running")
        await report(client, state="succeeded", result="ok")
        response = await client.get(STREAM)
    assert [event for event, _ in events(response.content)] == ["status", "progress", "result"]


# The pipe


class Connection:
    """What our server offers of a connection; it only notes that it was dropped."""

    aborted = False

    def park(self, gone: Callable[[], None]) -> Wire | None:
        """Not used here."""

    def learn(self, job: str, opener: Opener) -> None:
        """Not used here."""

    def learn_reports(self, job: str, status: int, fields: list[tuple[bytes, bytes]], taker: Taker) -> None:
        """Not used here."""

    def abort(self) -> None:
        """See `sse.Connection`."""
        self.aborted = True


def subscribed(scene: Scene) -> Subscription:
    """A stream of job `a` from its beginning."""
    key = ("default", "a")
    wanted = Wanted(Filter(jobs=frozenset([key])), key)
    return Subscription(scene.log, scene.hub, wanted, Start(0), lambda: "now")


def beat() -> Event:
    """A heartbeat that is not awaited."""
    return "heartbeat", {}


async def test_a_reader_who_takes_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catchup, "STUCK_SECONDS", 0.05)
    async with a_scene(tmp_path) as scene, asyncio.timeout(WAIT):
        await scene.say("a", create=True, state="running")
        pipe = Pipe()
        pipe.direct = connection = Connection()
        over = asyncio.Event()
        stream = subscribed(scene)
        stream.closed = over.set
        stream.open(pipe)
        await scene.say("a", progress=1)  # the first write waits in the pipe; this one finds no room
        await over.wait()
        assert connection.aborted
        assert [data async for data in pipe.body(bytes, beat, 60)] == []


@pytest.mark.parametrize("direct", [None, Connection()], ids=["plain ASGI", "our server"])
async def test_a_pipe_that_is_aborted_ends_and_drops_a_connection_once(direct: Connection | None) -> None:
    pipe = Pipe()
    pipe.direct = direct
    assert pipe.try_write(b"x")
    assert not pipe.try_write(b"y")
    pipe.abort()
    assert direct is None or direct.aborted
    assert [data async for data in pipe.body(bytes, beat, 60)] == []
    Connection.aborted = False
    pipe.direct = after = Connection()
    pipe.abort()
    assert not after.aborted, "the connection may be another request's by now"


async def test_whoever_waits_to_write_when_the_reader_leaves_is_let_go() -> None:
    pipe = Pipe()
    assert pipe.try_write(b"x")
    waiting = asyncio.create_task(pipe.write(b"y"))
    await asyncio.sleep(0)
    pipe.leave()
    async with asyncio.timeout(WAIT):
        await waiting
    for work in (pipe.write(b"z"), pipe.end()):
        with pytest.raises(ConnectionResetError):
            await work
    with pytest.raises(ConnectionResetError):
        pipe.try_write(b"z")


async def test_a_stream_that_waits_to_end_when_its_reader_leaves_is_over(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene, asyncio.timeout(WAIT):
        await scene.say("a", create=True, state="running")
        await scene.say("a", state="failed")
        before = asyncio.all_tasks()
        stream = subscribed(scene)
        over = asyncio.Event()
        stream.closed = over.set
        bodies = 0

        async def receive() -> Message:
            await over.wait()  # its last frame is written, and it waits to say that the body is complete
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal bodies
            bodies += message["type"] == "http.response.body"
            if bodies == 2:
                await asyncio.Event().wait()  # the socket does not drain any more

        await TranslatedStream(stream, translation(tell), beat, 60)({"type": "http", "method": "GET"}, receive, send)
        while left := {task for task in asyncio.all_tasks() - before if "watcher" not in repr(task)}:
            await asyncio.wait(left)


async def test_what_is_not_told_delays_no_heartbeat() -> None:
    pipe = Pipe()

    async def sync() -> None:
        while True:
            await pipe.write(b'event: sync\ndata: {"head":"k7f3q2ab-7"}\n\n')
            await asyncio.sleep(0.01)

    syncs = asyncio.create_task(sync())
    async with asyncio.timeout(WAIT):
        assert await anext(pipe.body(translation(tell), beat, 0.05)) == encoded(*beat())
    syncs.cancel()


def test_a_frame_holds_no_line_breaks_but_its_own() -> None:
    frame = encoded("progress", {"step": "a\nb\r\u2028\u0085"}, "k7f3q2ab-7")
    assert frame.count(b"\n") == 4
    assert frame.splitlines()[2] == b"id: k7f3q2ab-7"
    assert len(frame.decode().splitlines()) == 4
