"""A small HTTP server that misbehaves to order, for faults that a healthy gateway does not show.

`async with Faulty(reply(503), cut, document(version=1)) as faulty:` answers the first request with 503, cuts the second
off, and gives the third and every later one a document. What came in stands in `faulty.requests`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import orjson

TIMEOUT = 60.0  # seconds: no answer of a test takes longer


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


class Faulty:
    """The server; `url` is where it listens."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.url = ""
        self._came = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def came(self, count: int) -> None:
        """Until so many requests have come in."""
        async with asyncio.timeout(TIMEOUT), self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with asyncio.timeout(TIMEOUT):
                request = await _read(reader)
                self.requests.append(request)
                async with self._came:
                    self._came.notify_all()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                await answer(request, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


def reply(status: int, body: object = None, **headers: str) -> Answer:
    """A whole answer; a body that is not bytes is written as JSON, a header's name with _ for -."""
    data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(data)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)

    return answer


def posts(*answers: Answer) -> Answer:
    """These answers one after the other to POSTs, the last for good; 404 to all else, such as a stream."""
    left = list(answers)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.method != "POST":
            await reply(404)(request, writer)
        else:
            await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return answer


def document(**members: object) -> Answer:
    """A job's document, as far as clients need it."""
    return reply(200, job(**members), Content_Type="application/json")


def job(**members: object) -> dict[str, object]:
    """A document of job `j` in log `aaaaaaaa`; `offset` is where it stands there."""
    offset = members.pop("offset", 1)
    base: dict[str, object] = {"id": "j", "workspace": "default", "state": "running", "terminal": False, "version": 1}
    return base | {"position": f"aaaaaaaa-{offset}", "progress": None} | members


async def cut(_: Request, writer: asyncio.StreamWriter) -> None:
    """No answer: the connection is closed."""
    writer.close()


async def hang(_: Request, writer: asyncio.StreamWriter) -> None:
    """No answer, and no end either, until the client goes."""
    await writer.wait_closed()


def held(until: asyncio.Event) -> Answer:
    """No answer until then, and none then: the connection is closed."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        await until.wait()
        writer.close()

    return answer


def stream(*blocks: str, silent: bool = False, status: int = 200) -> Answer:
    """A stream of SSE blocks, cut off after the last; with `silent` it stays open instead and says nothing more."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} Said\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + "".join(blocks).encode())
        await writer.drain()
        if silent:
            await writer.wait_closed()

    return answer


def frame(event: str, data: object, id: str = "") -> str:
    """One SSE block."""
    return (f"id: {id}\n" if id else "") + f"event: {event}\ndata: {orjson.dumps(data).decode()}\n\n"
