"""Request bodies with bounds: a size that is refused before it is kept, and a time by which all of it has arrived.

Law: nothing here holds more of a body than its bound. Large bodies are parsed off the event loop, because parsing one
megabyte takes a tenth of a second in which no stream would move.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import InvalidReport, InvalidRequest, RequestTimeout, TooLarge, UnsupportedMediaType
from gateway.values import Json, read_counted

MAX_BODY: Final = 1024 * 1024  # bytes of a body; four documents of the largest size
MAX_CONTAINERS: Final = 50_000  # objects and lists in a body: a megabyte of `[],` would hold the loop for 40 ms
BODY_TIMEOUT: Final = 30.0  # seconds for a whole body; of a streamed one, for its next piece
STREAMED_TIMEOUT: Final = 3600.0  # seconds for a whole streamed body: it holds a connection all the while
OFF_LOOP: Final = 32 * 1024  # bytes from which a body is parsed in a thread; below, the hop costs more
LINGER_BYTES: Final = 8 * MAX_BODY  # of a refused body that are still read away …
LINGER: Final = 2.0  # seconds … so that the sender reads the answer before the connection is reset

_SPACED: Final = re.compile(rb"[ \t\n\r]:")
_T = TypeVar("_T")


class BoundedBody:
    """A `receive` that raises TooLarge and RequestTimeout. Once the body is complete it waits for as long as asked,
    since then it tells of the end of the connection."""

    def __init__(self, scope: Scope, receive: Receive, *, streamed: bool = False) -> None:
        self._scope, self._receive, self._streamed = scope, receive, streamed
        self._size = 0
        self._start: float | None = None
        self.complete = False

    def check_length(self) -> None:
        """Refuse what says itself that it is too large."""
        declared = Headers(scope=self._scope).get("content-length", "").lstrip("0")
        if self._streamed or not declared.isascii() or not declared.isdecimal():
            return
        if len(declared) > len(str(MAX_BODY)) or int(declared) > MAX_BODY:
            raise TooLarge(f"the body has more than {MAX_BODY} bytes; report less at once")

    async def __call__(self) -> Message:
        if self.complete:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._start = now if self._start is None else self._start
        limit = STREAMED_TIMEOUT if self._streamed else BODY_TIMEOUT
        try:
            async with asyncio.timeout_at(min(self._start + limit, now + BODY_TIMEOUT)):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout("the body did not arrive in time; send it again, faster or in parts") from None
        self._size += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if not self._streamed and self._size > MAX_BODY:
            raise TooLarge(f"the body has more than {MAX_BODY} bytes; report less at once")
        return message

    async def drain(self) -> None:
        """Read away what is still coming, within bounds."""
        async with asyncio.timeout(LINGER):
            while not self.complete and self._size < LINGER_BYTES:
                message = await self._receive()
                self._size += len(message.get("body", b""))
                self.complete = not message.get("more_body", False)


async def linger(response: Response, scope: Scope, body: BoundedBody, send: Send) -> None:
    """Answer before the body has come, then read some of it away and close.

    Closing at once would reset the connection, and some senders would lose the answer that says why.
    """
    if scope.get("http_version", "1.1").startswith("1"):
        response.headers["Connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    with contextlib.suppress(TimeoutError):
        await body.drain()
    await send({"type": "http.response.body", "body": b""})


def require_media_type(request: Request, wanted: str) -> None:
    """Refuse a body of another media type than `wanted`; JSON may come as any type that ends in `+json` too.

    A page of another site can send forms and plain text without asking first, but not this.
    """
    given, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    given = given.strip()
    if given != wanted and not (wanted == "application/json" and given.endswith("+json")):
        said = f"{given!r}" if given else "none"
        raise UnsupportedMediaType(f"send Content-Type: {wanted}; it is {said}", accepted=[wanted])
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaType(f"JSON is UTF-8; the charset is {value!r}", accepted=[wanted])


async def parse_body(request: Request, parse: Callable[[Json], _T]) -> tuple[Json, _T]:
    """The JSON of the body, and what `parse` makes of it. Raises what `parse` raises, and InvalidReport for no JSON."""
    require_media_type(request, "application/json")
    body = await request.body()
    return await parse_bytes(body, parse)


async def parse_bytes(body: bytes, parse: Callable[[Json], _T]) -> tuple[Json, _T]:
    """As `parse_body`, of bytes that are here."""
    return await asyncio.to_thread(_parse, body, parse) if len(body) > OFF_LOOP else _parse(body, parse)


def _parse(body: bytes, parse: Callable[[Json], _T]) -> tuple[Json, _T]:
    data = read_bounded(body)
    return data, parse(data)


def read_bounded(body: bytes) -> Json:
    """The JSON of bytes that hold no more than MAX_CONTAINERS objects and lists, and no member twice."""
    if len(body) > MAX_CONTAINERS and body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        raise TooLarge(f"more than {MAX_CONTAINERS} objects and lists at once; report them in parts")
    data, members = read_counted(body)
    # orjson keeps the last of two members of one name, in silence. Each member has a colon after its name, so where
    # there are as many colons as members, none was lost. Texts may have more of them: then `":` is counted, which each
    # member has as well, unless space stands between the two. Only where that doesn't tell, the slow reader is asked.
    if body.count(b":") != members and (_SPACED.search(body) or body.count(b'":') != members):
        json.loads(body, object_pairs_hook=_unique)
    return data


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)[:100]
        raise InvalidReport(f"{double!r} stands twice in one object; say it once", field=double)
    return found


async def refuse_body(request: Request) -> None:
    """Refuse a body where none is wanted; an empty one and `{}` are fine."""
    body = (await request.body()).strip()
    if body and body.replace(b" ", b"") != b"{}":
        raise InvalidRequest("this takes no body; leave it out", field="")


async def while_there(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """What comes of the work, which ends when the reader leaves: nobody would be left to wait, and memory would be held
    for it. Raises ClientDisconnect."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            leaving.result()
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
