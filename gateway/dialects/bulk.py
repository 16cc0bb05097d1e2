"""Many reports of many jobs in one request: `POST /v1/events`, lines of JSON in, an answer line for each.

Law: neither the request nor its answers are ever held whole. A line that is bad or too long spoils no other.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.dialects.base import ANONYMOUS
from gateway.dialects.body import OFF_LOOP, read_bounded, require_media_type
from gateway.dialects.reading import NDJSON, NOSNIFF
from gateway.dialects.requests import check_key, digest, workspace_of
from gateway.errors import GatewayError, InvalidReport, TooLarge
from gateway.eventlog.base import Entry, EventLog, Key, Outcome
from gateway.record import dumps
from gateway.report import LINE_IDENTITY, parse_identified
from gateway.service import Gateway

MAX_LINE: Final = 256 * 1024  # bytes; as much as a document may have
MAX_LINES: Final = 100_000  # of one request; half a minute's work for a small disk
BATCH_LINES: Final = 500  # of one transaction: longer ones keep other producers waiting
BATCH_BYTES: Final = 4 * 1024 * 1024  # of one transaction, for the lines are held meanwhile
SLICE_SECONDS: Final = 0.001  # of parsing before the loop gets a turn
PIECE: Final = 64 * 1024  # bytes of answers that leave at once
ROUTE: Final = "POST /events"

_Parsed = Entry | GatewayError


class Lines:
    """Cuts a body that arrives in pieces into lines, and holds no more than one line of it. A line that is too long
    comes out as None; empty ones don't come out."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that end in this piece."""
        first, *whole = data.split(b"\n")
        self._hold(first)
        if not whole:
            return
        yield from self.end()
        rest = whole.pop()
        for piece in whole:
            if len(piece) > MAX_LINE:
                yield None
            elif line := piece.strip():
                yield line
        self._hold(rest)

    def end(self) -> Iterator[bytes | None]:
        """The line that ends here, if there is one."""
        line = None if self._too_long else bytes(self._held).strip()
        self._held.clear()
        self._too_long = False
        if line != b"":
            yield line

    def _hold(self, piece: bytes) -> None:
        if self._too_long or len(self._held) + len(piece) > MAX_LINE:
            self._too_long = True
            self._held.clear()
        else:
            self._held += piece


class Answers:
    """Lines of answers, packed: a hundred thousand refusals are 40 MB, and one or two when packed."""

    def __init__(self) -> None:
        self.count = 0
        self._packer = zlib.compressobj(1)
        self._packed: list[bytes] = []

    def add(self, values: Iterable[object]) -> None:
        """More lines."""
        lines = [dumps(value) for value in values]
        self.count += len(lines)
        if packed := self._packer.compress(b"\n".join([*lines, b""])):
            self._packed.append(packed)

    async def pieces(self) -> AsyncIterator[bytes]:
        """All lines, in pieces; once."""
        unpacker = zlib.decompressobj()
        for packed in (*self._packed, self._packer.flush()):
            waiting = packed
            while piece := unpacker.decompress(waiting, PIECE):
                yield piece
                waiting = unpacker.unconsumed_tail


async def report_bulk(gateway: Gateway, request: Request) -> Response:
    """`POST /events`: 200 and an answer line for each line, once the whole body was read."""
    require_media_type(request, NDJSON)
    workspace = workspace_of(request)
    answers = Answers()
    writing: asyncio.Task[None] | None = None
    try:
        async for batch in _batches(request):
            parsed = await _parse(gateway.log, batch, workspace)  # while the lines before are on their way to the disk
            if writing is not None:
                await writing
            writing = asyncio.create_task(_write(gateway, parsed, answers))
            await asyncio.sleep(0)
    finally:
        if writing is not None:  # also where the request ends with an error: what was taken is said there
            await writing
    return StreamingResponse(answers.pieces(), headers=dict(NOSNIFF), media_type=NDJSON)


async def _write(gateway: Gateway, parsed: Sequence[_Parsed], answers: Answers) -> None:
    good = [line for line in parsed if isinstance(line, Entry)]
    outcomes = iter(await _report(gateway, good, answers.count))
    whole = (next(outcomes) if isinstance(line, Entry) else line for line in parsed)
    answers.add(_answer(outcome, number) for number, outcome in enumerate(whole, answers.count + 1))


async def _batches(request: Request) -> AsyncIterator[list[bytes | None]]:
    batch: list[bytes | None] = []
    size = count = 0
    async for lines in _lines(request):
        for line in lines:
            count += 1
            if count > MAX_LINES:
                raise TooLarge(
                    f"more than {MAX_LINES} lines; up to {count - 1 - len(batch)} of them were taken, "
                    "send the rest anew",
                    taken=count - 1 - len(batch),
                )
            batch.append(line)
            size += len(line or b"")
            if len(batch) >= BATCH_LINES or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


async def _lines(request: Request) -> AsyncIterator[Iterator[bytes | None]]:
    lines = Lines()
    async for piece in request.stream():
        yield lines.feed(piece)
    yield lines.end()


async def _parse(log: EventLog, batch: Sequence[bytes | None], workspace: str) -> list[_Parsed]:
    """The lines parsed, in the loop and in slices, while the disk is waited for: a thread would only fight with the
    loop for the interpreter. It pays for a long line alone, which can't be cut into slices."""
    parsed: list[_Parsed] = []
    until = 0.0
    for line in batch:
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            await log.lull()
            until = time.perf_counter() + SLICE_SECONDS
        if line is not None and len(line) > OFF_LOOP:
            parsed.append(await asyncio.to_thread(_parse_line, line, workspace))
        else:
            parsed.append(_parse_line(line, workspace))
    return parsed


def _parse_line(line: bytes | None, workspace: str) -> _Parsed:
    try:
        return _entry(line, workspace)
    except GatewayError as error:
        return error


def _entry(line: bytes | None, workspace: str) -> Entry:
    if line is None:
        raise TooLarge(f"the line has more than {MAX_LINE} bytes; report less at once")
    data = read_bounded(line)
    if not isinstance(data, dict):
        raise InvalidReport("a line must be a JSON object", field="")
    said = {name: value for name, value in data.items() if name != "key"} if "key" in data else data
    identity, report = parse_identified(said, LINE_IDENTITY)
    if identity.id is None:
        raise InvalidReport("job is missing: say which job this line is about", field="job")
    key = Key("job", check_key(data["key"], "key"), digest(ROUTE, said)) if "key" in data else None
    return Entry(identity.workspace or workspace, identity.id, (report,), ANONYMOUS, identity, key=key)


async def _report(gateway: Gateway, lines: Sequence[Entry], before: int) -> Sequence[Outcome | GatewayError]:
    """What became of the lines. A gateway that takes nothing refuses the request, unless it took some of it before."""
    if not lines:
        return []
    try:
        return await gateway.bulk(lines)
    except GatewayError as error:
        if before == 0:
            raise
        return [error] * len(lines)


def _answer(outcome: Outcome | GatewayError, line: int) -> dict[str, object]:
    if isinstance(outcome, GatewayError):
        return {**outcome.problem(), "line": line}
    job = outcome.standing.job
    return {"position": job.position, "state": job.state}
