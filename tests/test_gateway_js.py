"""The browser's modules outside of a browser: their types, and their pure parts under node over the server's frames."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import orjson
import pytest

from gateway import frames
from gateway.frames import OMITTABLE, Form
from gateway.job import Job
from gateway.record import DELETED, PROGRESS, TRANSITION, Record, as_json, document, from_json
from tests.browser.pages import NODE, PACKAGES, ROOT, needed, node_command
from tests.jobs import new, say
from tests.sse_parser import EventStreamParser

JS = Path(__file__).parent / "js"
VECTORS = Path(__file__).parent / "vectors" / "sse" / "frames.json"
BOUND = 120.0  # seconds; node and tsc on a loaded machine
AWKWARD = "a\nb\rc\r\nd\u2028e\u2029f\x85g\ufeffn: \n\ndata: o 😀"
SSE, OMITTING = Form(), Form(omit=frozenset(OMITTABLE))
STRICT = (
    *("--noEmit", "--allowJs", "--checkJs", "--strict", "--noUnusedLocals", "--noUnusedParameters"),
    *("--target", "es2023", "--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2023,dom,dom.iterable"),
)


def life() -> list[Job]:
    """A job's documents from its creation to its end."""
    jobs = [new(name=AWKWARD, process="tiles")]
    for report in (
        {"state": "running", "step": AWKWARD},
        {"progress": 45, "message": AWKWARD, "details": {AWKWARD: AWKWARD}},
        {"state": "failed", "error": {"message": AWKWARD, "stack": AWKWARD}},
    ):
        jobs.append(say(jobs[-1], len(jobs), **report))
    return [from_json({**as_json(job), "position": f"k7f3q2ab-{n + 7}"}) for n, job in enumerate(jobs)]


def record_frames(form: Form) -> bytes:
    """A life's records, and the deletion after it, as one stream has them."""
    jobs = life()
    events = (TRANSITION, TRANSITION, PROGRESS, TRANSITION)
    records = [
        Record(n + 7, job.position, event, "me", job.key, document(job))
        for n, (job, event) in enumerate(zip(jobs, events, strict=True))
    ]
    gone = Record(11, "k7f3q2ab-11", DELETED, "me", jobs[-1].key, document(jobs[-1]))
    return frames.of_records([*records, gone], form)


def streams() -> dict[str, bytes]:
    """Event streams by name: our own frames, and what the standard allows others to send."""
    snapshot, head, time = document(life()[2]), "k7f3q2ab-9", "2026-02-19T10:00:09.120Z"
    retry = frames.retry(SSE, (3000, 3000))
    shown = frames.sync(SSE, head, time, {"shown": 1, "matched": 1})
    return {
        "records": record_frames(SSE),
        "records without the bulky members": record_frames(OMITTING),
        "one job from the beginning": retry + frames.snapshot(SSE, snapshot, head) + frames.sync(SSE, head, time),
        "many jobs from the beginning": retry + frames.snapshot(SSE, snapshot, None) + shown,
        "a reset": retry + frames.reset(SSE, "expired", "k7f3q2ab-1", "k7f3q2ab-5", head) + shown,
        "an end": frames.sync(SSE, head, time) + frames.end(SSE, "terminal"),
        "overload": b"retry: 5000\n\n" + frames.frame(SSE, "busy", None, b'{"retry":5000}'),
        "carriage returns": b"id: 1\revent: sync\rdata: {}\r\rid: 2\rdata: a\rdata: b\r\r",
        "both line ends": b"id: 1\r\nevent: sync\r\ndata: {}\r\n\r\n: note\r\n\r\nretry: 7\r\n\r\ndata: x\n\n",
        "a byte order mark": "\ufeffdata: a\n\ndata: \ufeffb\n\n".encode(),
        "fields that mean nothing": b"nonsense\nretry: -1\nretry: 1.5\nid: a\0b\nnoise: x\ndata\n\nevent: x\n\n",
        "an id alone": b"id: 1\ndata: a\n\nid: 2\n\ndata: b\n\nid\n\ndata: c\n\n",
        "a stream that breaks off": b"id: 1\ndata: a\n\nid: 2\ndata: b\n",
        "spaces": "data:  a\ndata:b\nevent:  x\n\ndata: é😀 \n\n".encode(),
    }


def vectors() -> bytes:
    """The vectors: each stream, and what an EventSource that follows the standard makes of it."""
    found = []
    for name, body in streams().items():
        parser = EventStreamParser()
        events = [{"event": event.event, "data": event.data, "id": event.id} for event in parser.feed(body)]
        end = {"last": parser.last_event_id, "retry": parser.retry}
        found.append({"name": name, "text": body.decode(), "events": events, **end})
    return json.dumps(found, indent=1, ensure_ascii=True).encode() + b"\n"


async def run(*command: str) -> tuple[int, str]:
    """A command's status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT
    )
    try:
        async with asyncio.timeout(BOUND):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode()


def test_the_vectors_are_the_frames_that_the_gateway_writes() -> None:
    assert orjson.loads(VECTORS.read_bytes()) == orjson.loads(vectors()), (
        "frames have changed: python -m tests.test_gateway_js writes the vectors anew"
    )


@pytest.mark.parametrize("script", sorted(path.name for path in JS.glob("*.test.mjs")))
async def test_under_node(script: str) -> None:
    needed("npm")
    status, said = await run(*node_command(JS / script))
    assert status == 0, said
    assert "# fail 0" in said or "fail 0" in said, said


async def test_the_modules_are_typed_through_and_through() -> None:
    needed("npm")
    modules = [path for path in (ROOT / "static").rglob("*") if path.suffix in (".js", ".ts")]
    compiler = PACKAGES / "typescript" / "bin" / "tsc"
    status, said = await run(str(NODE), str(compiler), *STRICT, *map(str, sorted(modules)))
    assert status == 0, said


if __name__ == "__main__":
    VECTORS.write_bytes(vectors())
