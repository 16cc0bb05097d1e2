"""Other people's readers of event streams, unchanged: each follows one job through a `kill -9` of the gateway and a
connection that breaks in the midst of a frame, misses nothing, sees nothing twice, and stays away after the end.

All of them read at the same time; the scene is played once, and each test looks at what one of them has told.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.api import create, report
from tests.browser.between import Between, Relay
from tests.browser.pages import BOUND, PACKAGES, needed, node_command, program, until
from tests.driven import ROOT
from tests.processes import Server, serving
from tests.sse_parser import EventStreamParser

READERS = Path(__file__).parent / "readers"
FETCH = PACKAGES / "@microsoft" / "fetch-event-source" / "lib" / "esm"
STREAM = "/v1/jobs/a/events?min_interval=0"  # no conflation: every record is owed
LONG = 120.0  # seconds until all have come back: the gateway asks for 2 to 5 s of patience, and a library may double it
CUT = b'"message":"cut h'
RECORDS = ("transition", "progress")
PAGE = '<!doctype html><title>reader</title><link rel="icon" href="data:,">'
FILES: Mapping[str, str | Path] = {
    **{f"/{name}": READERS / name for name in ("told.js", "native.js", "polyfill.js", "fetch.js")},
    "/eventsource.min.js": PACKAGES / "event-source-polyfill" / "src" / "eventsource.min.js",
    "/fetch-event-source/index.js": FETCH / "index.js",
    "/fetch-event-source/fetch": FETCH / "fetch.js",
    "/fetch-event-source/parse": FETCH / "parse.js",
    "/native": f'{PAGE}<script type="module" src="native.js"></script>',
    "/polyfill": f'{PAGE}<script src="eventsource.min.js"></script><script type="module" src="polyfill.js"></script>',
    "/fetch": f'{PAGE}<script type="module" src="fetch.js"></script>',
}


@dataclass
class Reader:
    """What one reader has told so far."""

    relay: Relay
    told: list[dict[str, Any]] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """One line of what it says."""
        if line.startswith("{"):
            self.told.append(json.loads(line))
        else:
            self.noise.append(line)

    @property
    def url(self) -> str:
        """Where it finds the stream."""
        return self.relay.url + STREAM

    def all(self, *events: str) -> list[dict[str, Any]]:
        """What it has told of these events."""
        return [told for told in self.told if told["event"] in events]

    @property
    def version(self) -> int:
        """Of the newest document that it has."""
        return max((json.loads(told["data"])["version"] for told in self.all("snapshot", *RECORDS)), default=0)


Start = Callable[["Stage", Reader], Awaitable[None]]


class Stage:
    """The readers of one job, what they run in, and what it all ends with."""

    def __init__(self, browser: Browser, origin: str, stack: AsyncExitStack) -> None:
        self.readers: dict[str, Reader] = {}
        self.origin, self._browser, self._stack = origin, browser, stack

    def page_url(self, page: str, reader: Reader) -> str:
        """A page of the other origin that reads the stream."""
        return f"{self.origin}/{page}?stream={quote(reader.url, safe='')}"

    async def open_page(self, page: str, reader: Reader) -> None:
        """In Chromium, in a profile of its own: one browser opens six connections to a host at most."""
        context = await self._stack.enter_async_context(await self._browser.new_context())
        context.set_default_timeout(BOUND * 1000)
        opened = await context.new_page()
        opened.on("console", lambda message: reader.take(message.text))
        opened.on("pageerror", lambda error: reader.noise.append(str(error)))
        await opened.goto(self.page_url(page, reader))

    async def run(self, reader: Reader, *command: str) -> None:
        """As a program that tells what it sees on stdout, and ends when its stdin does or it is killed."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1 << 20)
        assert process.stdout
        assert process.stdin
        lines = process.stdout

        async def listen() -> None:
            async for line in lines:
                reader.take(line.decode().rstrip())

        listening = asyncio.create_task(listen())

        async def end() -> None:
            assert process.stdin
            process.stdin.close()
            if "firefox" not in " ".join(command) and process.returncode is None:
                process.kill()
            await asyncio.wait_for(process.wait(), BOUND)
            await listening

        self._stack.push_async_callback(end)

    async def watch(self, reader: Reader, work: Awaitable[None]) -> None:
        """As a task of this process."""
        task = asyncio.ensure_future(work)

        async def end() -> None:
            task.cancel()
            await asyncio.wait([task])

        self._stack.push_async_callback(end)


def page(name: str) -> Start:
    """A page in Chromium."""
    return lambda stage, reader: stage.open_page(name, reader)


def script(name: str) -> Start:
    """A script in node."""
    return lambda stage, reader: stage.run(reader, *node_command(READERS / name, reader.url))


def python(name: str) -> Start:
    """A library in Python, in the environment of its own."""
    interpreter = str(ROOT / ".clients" / "sse" / "bin" / "python")
    return lambda stage, reader: stage.run(
        reader, interpreter, str(ROOT / "tests" / "clients" / "sse.py"), name, reader.url
    )


async def firefox(stage: Stage, reader: Reader) -> None:
    """In Firefox, in a page of the gateway's own origin: after a refused connection it tries again only there, and
    gives up on a stream of another origin."""
    at = f"{reader.relay.url}/healthz?stream={quote(STREAM, safe='')}"
    await stage.run(
        reader, *node_command(READERS / "firefox.mjs", at, f"{stage.origin}/native.js", program("firefox-esr") or "")
    )


async def curl(stage: Stage, reader: Reader) -> None:
    """curl in a loop, as a shell would have it: again with the last id until it is told that this is the end."""

    async def read(last_id: str) -> str:
        again = ["-H", f"Last-Event-ID: {last_id}"] if last_id else []
        process = await asyncio.create_subprocess_exec(
            *("curl", "-sN", *again, reader.url), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout
        parser = EventStreamParser()
        try:
            while data := await process.stdout.read(4096):
                for event in parser.feed(data):
                    reader.told.append({"event": event.event, "id": event.id, "data": event.data})
                    last_id = event.id or last_id
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        return last_id

    async def loop() -> None:
        last_id = ""
        while not reader.all("end"):
            last_id = await read(last_id)
            reader.take('{"event": "broken"}')
            await asyncio.sleep(0.5)
        reader.take('{"event": "closed"}')

    await stage.watch(reader, loop())


CLIENTS: dict[str, Start] = {
    "Chromium": page("native"),
    "Firefox": firefox,
    "event-source-polyfill": page("polyfill"),
    "@microsoft/fetch-event-source": page("fetch"),
    "eventsource": script("eventsource.mjs"),
    "eventsource-client": script("eventsource_client.mjs"),
    "httpx-sse": python("httpx-sse"),
    "sseclient-py": python("sseclient-py"),
    "aiohttp-sse-client2": python("aiohttp-sse-client2"),
    "curl": curl,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def readers(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Reader]]:
    """The scene, played to its end."""
    needed("firefox-esr")
    folder = tmp_path_factory.mktemp("readers")
    between = Between(folder)
    origin = await between.origin(FILES)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(between.close)
        server = stack.enter_context(serving(folder / "status.db", "--allowed-origins", origin.url))
        stage = Stage(browser, origin.url, stack)
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, timeout=BOUND, trust_env=False))
        await create(client, "a", state="running")
        for name, start in CLIENTS.items():
            stage.readers[name] = Reader(await between.relay(server.url))
            await start(stage, stage.readers[name])
        await play(server, client, stage.readers)
        yield stage.readers


async def play(server: Server, client: httpx.AsyncClient, readers: Mapping[str, Reader]) -> None:
    """What happens to the job and its gateway."""
    await seen(readers, "it", lambda reader: reader.version == 1)
    for number in range(20):
        await report(client, "a", progress=number, message=f"before the gateway is killed: {number}")
    await asyncio.to_thread(server.restart)  # at once: what each had read by then is its own affair
    for number in range(20, 40):
        await report(client, "a", progress=number, message=f"since it is back: {number}")
    await seen(readers, "what came while it was away", lambda reader: reader.version == 41)
    for reader in readers.values():
        reader.relay.cut_behind(CUT)
    await report(client, "a", state="paused", message="cut here, in the midst of a frame")
    await report(client, "a", state="running")
    await seen(readers, "the frame that was cut", lambda reader: reader.version == 43)
    last = await report(client, "a", state="succeeded", message="ünïcödé \u2028\u2029\x85 🎉", result={"ok": True})
    assert last.json()["version"] == 44
    await seen(readers, "the end", lambda reader: bool(reader.all("closed")))


async def seen(readers: Mapping[str, Reader], what: str, has: Callable[[Reader], bool]) -> None:
    """Wait until all of them have seen it, or until those that have not are known by name: their own tests tell why."""
    try:
        await until(lambda: all(has(reader) for reader in readers.values()), what, LONG)
    except AssertionError:
        late = {name: reader for name, reader in readers.items() if not has(reader)}
        if len(late) == len(readers):
            raise


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.timeout(900)
async def test_it_sees_every_change_once_and_in_order(readers: dict[str, Reader], name: str) -> None:
    reader = readers[name]
    (snapshot,) = reader.all("snapshot")  # a second one would mean that it came back without its cursor
    assert not reader.all("reset", "busy", "deleted"), reader.told
    assert json.loads(snapshot["data"])["version"] == 1
    documents = [json.loads(told["data"]) for told in reader.all(*RECORDS)]
    assert [document["version"] for document in documents] == list(range(2, 45)), (name, reader.noise)
    assert [told["id"] for told in reader.all(*RECORDS)] == [document["position"] for document in documents]
    states = [json.loads(told["data"])["state"] for told in reader.all("transition")]
    assert states == ["paused", "running", "succeeded"]
    assert documents[-1]["message"] == "ünïcödé \u2028\u2029\x85 🎉"


@pytest.mark.parametrize("name", CLIENTS)
async def test_it_came_back_after_both_breaks_and_stays_away_after_the_end(
    readers: dict[str, Reader], name: str
) -> None:
    reader = readers[name]
    assert len(reader.all("broken")) >= 2, reader.noise
    (end,) = reader.all("end")
    assert json.loads(end["data"]) == {"reason": "terminal"}
    assert reader.told[-1]["event"] == "closed", (reader.told[-1], reader.noise)
    assert reader.relay.total >= 3
