"""Following jobs over Server-Sent Events, through broken connections and restarts of the gateway.

Law: whatever happens to the connection, the reader sees each job move forward only. The cursor is the id of the last
frame received whole; a document that is not newer than the one before of the same job is not shown again.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import httpx
import orjson
from httpx_sse import EventSource, ServerSentEvent

from gateway.client.base import RETRIED, Backoff, Document, ProblemError, retry_after
from gateway.client.transport import Params, Transport, problem

SILENCE: Final = 45.0  # seconds without a byte after which a connection is dead: the gateway sends `sync` each 15
DEFAULT_RETRY: Final = 1.0  # seconds until the first attempt to come back where the gateway named none
MAX_RETRY: Final = 60.0  # seconds; a larger `retry:` would look like a hang

Kind = Literal["snapshot", "transition", "progress", "deleted"]
KINDS: Final = ("snapshot", "transition", "progress", "deleted")


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one job. Of a deleted job the document holds only `id`, `workspace` and `position`."""

    kind: Kind
    document: Document


class _Later(Exception):
    """The gateway asks to come back later."""


class Watch:
    """One stream, of one job or of many, as often connected as it takes.

    `since` is a position to go on from, or `earliest`. `patience` is how many seconds without any answer are borne
    before Unreachable is raised; None bears it for ever once the gateway has answered.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        params: Params,
        *,
        since: str | None = None,
        patience: float | None = None,
        silence: float = SILENCE,
    ) -> None:
        self._transport = transport
        self._path = path
        self._params: list[tuple[str, str | int | float | bool | None]] = [
            *params,
            *([("after", since)] if since else []),
        ]
        self._patience = patience
        self._silence = silence
        self._cursor = ""
        self._void = ""  # the cursor a reset has just refused: it must not come back with later frames
        self._retry = DEFAULT_RETRY
        self._shown: dict[tuple[str, str], tuple[str, int]] = {}
        self._ended = False
        self._backoff = Backoff()
        self._last_contact = 0.0
        self._answered = False

    async def events(self) -> AsyncGenerator[Event, None]:
        """Each change once, in order; ends with the stream. Raises ProblemError where the gateway refuses it."""
        self._last_contact = asyncio.get_running_loop().time()
        while not self._ended:
            trouble: Exception
            try:
                async with aclosing(self._connection()) as connection:
                    async for event in connection:
                        yield event
                trouble = self._transport.unreachable(httpx.ReadError("the stream ended early"))
            except (httpx.RequestError, orjson.JSONDecodeError) as error:
                trouble = self._transport.unreachable(error)
            except _Later as later:
                trouble = later.__cause__ if isinstance(later.__cause__, ProblemError) else later
            if not self._ended:
                await self._pause(trouble)

    async def _pause(self, trouble: Exception) -> None:
        delay = self._backoff.next(self._retry)
        patience = self._patience if self._answered else self._transport.retry_for
        now = asyncio.get_running_loop().time()
        if patience is not None and now + delay - self._last_contact > patience:
            raise trouble
        await asyncio.sleep(delay)

    async def _connection(self) -> AsyncGenerator[Event, None]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._cursor:
            headers["Last-Event-ID"] = self._cursor
        timeout = httpx.Timeout(self._transport.timeout, read=self._silence)
        stream = self._transport.http.stream(
            "GET", self._transport.url + self._path, params=self._params, headers=headers, timeout=timeout
        )
        async with stream as response:
            if not await self._admit(response):
                return
            async with aclosing(EventSource(response).aiter_sse()) as frames:
                async for frame in frames:
                    self._last_contact = asyncio.get_running_loop().time()
                    event = self._take(frame)
                    if event is not None:
                        yield event
                    if self._ended:
                        return

    async def _admit(self, response: httpx.Response) -> bool:
        """Whether frames follow. Raises ProblemError for a refusal, _Later for one that is none for good."""
        self._ended = response.status_code == 204
        # Only what a gateway would send counts as one: an address that never was one is given up in bounded time.
        if self._ended or response.headers.get("Content-Type", "").startswith("text/event-stream"):
            self._answered = True
            self._last_contact = asyncio.get_running_loop().time()
        if response.status_code in (200, 204):
            return not self._ended
        await response.aread()
        refusal = problem(response)
        if response.status_code not in RETRIED:
            raise refusal
        self._retry = max(DEFAULT_RETRY, min(retry_after(response.headers.get("Retry-After")), MAX_RETRY))
        raise _Later from refusal

    def _take(self, frame: ServerSentEvent) -> Event | None:
        """What a frame means to the reader; also moves the cursor, by the frames that are for the cursor only too."""
        if frame.retry is not None and frame.retry >= 0:
            self._retry = min(frame.retry / 1000, MAX_RETRY)
        data: Any = orjson.loads(frame.data) if frame.data else {}
        if frame.event == "busy":
            self._retry = min(float(data.get("retry", 0)) / 1000, MAX_RETRY) or self._retry
            return None
        if frame.event:
            self._backoff.reset()
        if frame.event == "reset":
            self._forget(data, frame.id)
            return None
        if frame.id and frame.id != self._void:
            self._cursor = frame.id
        if frame.event == "end":
            self._end(data)
            return None
        return self._news(frame, data) if frame.event in KINDS else None

    def _forget(self, data: Any, held: str) -> None:
        """The cursor is of no use. Of another history, or of a log that stepped back, the documents are neither."""
        self._cursor, self._void = "", held
        self._params = [(name, value) for name, value in self._params if name != "after"]
        if data.get("reason") != "expired":
            self._shown.clear()

    def _end(self, data: Any) -> None:
        self._ended = True
        if data.get("reason") == "unauthorized":
            raise ProblemError(401, "Unauthorized", "the stream was ended: the key is not valid any more")

    def _news(self, frame: ServerSentEvent, document: Document) -> Event | None:
        job = (document["workspace"], document["id"])
        epoch, _, offset = document["position"].rpartition("-")
        position = (epoch, int(offset))
        shown = self._shown.get(job)
        if shown is not None and shown[0] == epoch and position[1] <= shown[1]:
            return None
        if frame.event == "deleted" or (frame.id and document.get("terminal")):
            # Nothing follows, and a resumed stream starts after it: so the memory of a long watch stays bounded.
            self._shown.pop(job, None)
        else:
            self._shown[job] = position
        return Event(cast("Kind", frame.event), document)
