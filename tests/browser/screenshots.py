"""Pictures of the dashboard before a gateway that has had a busy afternoon: `python -m tests.browser.screenshots`.

All that they show was reported through the public API, with the times of that afternoon. Those that the README shows
go into `shots/` beside this file, the others into `build/screenshots/`; `python -m tests.browser.screenshots FOLDER`
puts all of them there.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from playwright.async_api import Browser, async_playwright

from tests.browser.pages import BOUND, axe, chromium
from tests.processes import serving

SHOTS: Final = Path(__file__).parent / "shots"
OTHERS: Final = Path("build") / "screenshots"
SHOWN: Final = ("dashboard", "job")  # in the README
SEED: Final = 7  # the same afternoon every time
JOBS: Final = 240
HOURS: Final = 9.0  # that the afternoon lasts
WIDE: Final = {"width": 1280, "height": 800}
HIGH: Final = {"width": 1280, "height": 1000}
PHONE: Final = {"width": 390, "height": 844}
NDJSON: Final = {"Content-Type": "application/x-ndjson"}

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trade:
    """A kind of job. `steps` are what it goes through and says then, {n} of {all}; `fails` and `done` how it ends."""

    process: str
    workspace: str
    names: Sequence[str]
    minutes: tuple[float, float]
    steps: Sequence[tuple[str, str]]
    fails: tuple[str, str]
    done: str
    labels: Sequence[dict[str, str]]


TRADES: Final = (
    Trade(
        "render-tiles", "geo", ("tiles-iberia-z14", "tiles-alps-z15", "tiles-benelux-z16", "tiles-nordics-z13"),
        (6, 55),
        (("fetch sources", "{n} of {all} scenes fetched"), ("reproject", "scene {n} of {all} to EPSG:3857"),
         ("render", "tile {n} of {all}"), ("publish", "{n} of {all} archives uploaded")),
        ("scene-unreadable", "S2B_MSIL2A_20260611: band B08 ends after 61 of 109 MB"),
        "{n} tiles published",
        ({"team": "geo"}, {"team": "geo", "region": "eu"}),
    ),
    Trade(
        "train-model", "ml", ("churn-xgb", "ranker-v12", "speech-de-small", "embedder-384"), (15, 120),
        (("load data", "shard {n} of {all}"), ("train", "epoch {n} of {all}, loss falls"),
         ("evaluate", "fold {n} of {all}"), ("export", "writing the checkpoint")),
        ("out-of-memory", "CUDA out of memory: tried to allocate 2.5 GiB, 1.1 GiB free"),
        "checkpoint kept, validation {n}",
        ({"team": "ml", "gpu": "a100"}, {"team": "ml", "gpu": "l4"}),
    ),
    Trade(
        "nightly-etl", "default", ("orders-to-warehouse", "ledger-import", "crm-sync", "price-list"), (1, 14),
        (("extract", "{n} of {all} tables read"), ("validate", "{n} of {all} rows checked"),
         ("load", "batch {n} of {all}")),
        ("check-failed", "ledger-import: 3 rows of 41,880 have no account"),
        "{n} rows loaded",
        ({"team": "data"}, {"team": "data", "schedule": "hourly"}),
    ),
    Trade(
        "transcode", "media", ("keynote-2026-4k", "lecture-07", "trailer-hdr", "podcast-188"), (2, 30),
        (("probe", "reading streams"), ("encode", "frame {n} of {all}"), ("package", "segment {n} of {all}")),
        ("codec", "Stream 0:1: channel layout 7.1 can't be mapped to AAC"),
        "{n} segments, 6 renditions",
        ({"team": "media"}, {"team": "media", "tier": "rush"}),
    ),
    Trade(
        "backup", "default", ("backup-postgres", "backup-objects", "backup-mail"), (0.7, 9),
        (("snapshot", "consistent as of now"), ("copy", "{n} of {all} GiB"), ("verify", "chunk {n} of {all}")),
        ("no-space", "No space left on device: /backup/2026-06 is full"),
        "{n} files, verified",
        ({"team": "ops"},),
    ),
)  # fmt: skip
FATES: Final = ("succeeded",) * 10 + ("failed",) * 2 + ("cancelled",)


def afternoon(now: datetime, seed: int = SEED) -> Iterator[Line]:
    """Reports of many jobs, oldest first, up to now."""
    chance = random.Random(seed)
    begin = now - timedelta(hours=HOURS)
    for number in range(JOBS):
        created = begin + timedelta(hours=HOURS) * min((number + chance.random()) / JOBS, 0.9997)
        yield from _life(chance, chance.choice(TRADES), number, created, now)


def _life(chance: random.Random, trade: Trade, number: int, created: datetime, now: datetime) -> Iterator[Line]:
    name = chance.choice(trade.names)
    job = {"job": f"{trade.process.partition('-')[0]}-{number + 1041}", "workspace": trade.workspace}
    yield {
        **job, "name": name, "process": trade.process, "labels": chance.choice(trade.labels), "state": "pending",
        "time": _stamp(created),
    }  # fmt: skip
    started = created + timedelta(seconds=chance.uniform(1, 50))
    if started > now or number >= JOBS - 2:
        return
    length = timedelta(minutes=chance.uniform(*trade.minutes))
    yield {**job, "state": "running", "progress": 0, "time": _stamp(started)}
    fate = chance.choice(FATES)
    end = started + length * (chance.uniform(0.2, 0.9) if fate != "succeeded" else 1)
    if end <= now:
        yield from _moments(chance, trade, job, started, length, end)
        yield _end(chance, trade, job, fate, end)
    else:
        heard = now - timedelta(seconds=chance.uniform(1, 40))
        yield from _moments(chance, trade, job, started, length, max(started, heard))
        yield from _oddity(trade, job, number)


def _moments(
    chance: random.Random, trade: Trade, job: Line, started: datetime, length: timedelta, until_: datetime
) -> Iterator[Line]:
    """Some of what it said on its way."""
    for part in (0.15, 0.4, 0.7, 1.0):
        at = started + (until_ - started) * part
        done = min((at - started) / length, 0.995)
        step, said = trade.steps[min(int(done * len(trade.steps)), len(trade.steps) - 1)]
        all_ = chance.choice((24, 48, 120, 640, 2_048))
        message = said.format(n=f"{max(int(all_ * (done * len(trade.steps) % 1)), 1):,}", all=f"{all_:,}")
        yield {**job, "progress": round(100 * done, 1), "step": step, "message": message, "time": _stamp(at)}


def _end(chance: random.Random, trade: Trade, job: Line, fate: str, end: datetime) -> Line:
    line = {**job, "state": fate, "time": _stamp(end)}
    if fate == "failed":
        return {**line, "error": {"code": trade.fails[0], "message": trade.fails[1]}}
    done = trade.done.format(n=f"{chance.randint(900, 90_000):,}")
    return {**line, "message": done if fate == "succeeded" else "cancelled by ana"}


def _oddity(trade: Trade, job: Line, number: int) -> Iterator[Line]:
    """A few of those at work are paused, retrying, being cancelled, or say nothing of their progress."""
    if number % 11 == 3:
        yield {**job, "state": "paused", "message": "paused by ana until tonight"}
    elif number % 11 == 6:
        yield {**job, "state": "retrying", "message": "connection reset by the object store; trying again"}
        yield {**job, "state": "running", "step": trade.steps[0][0], "message": "going on where it was"}
    elif number % 11 == 8:
        yield {**job, "lease": 1}


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def report(client: httpx.AsyncClient, lines: Sequence[Line]) -> None:
    """Report in bulk; every line has to be taken."""
    body = b"\n".join(orjson.dumps(line) for line in lines)
    answer = await client.post("/v1/events", content=body, headers=NDJSON)
    assert answer.is_success, answer.text
    refused = [line for line in answer.text.splitlines() if '"status"' in line]
    assert not refused, refused[:3]


STORY: Final = {"job": "tiles-iberia-2026-06", "workspace": "geo"}
STEPS: Final = ("fetch sources", "reproject", "render", "publish")
SCENES: Final = ("S2A_T29SMC", "S2A_T29SND", "S2B_T30TVK", "S2B_T30SUJ")


def story(now: datetime, end: str = "") -> Iterator[Line]:
    """One job told in full: steps with tasks, a pause, a retry; with `end` also how it ended."""
    begin = now - timedelta(minutes=31)

    def at(minutes: float) -> str:
        return _stamp(begin + timedelta(minutes=minutes))

    job = dict(STORY) if not end else {**STORY, "job": f"{STORY['job']}-{end}"}
    yield {
        **job, "name": "tiles-iberia-2026-06", "process": "render-tiles", "state": "pending", "time": at(0),
        "labels": {"team": "geo", "region": "eu", "requested-by": "ana"},
        "details": {"zoom": [6, 14], "crs": "EPSG:3857", "sources": 4, "worker": "tiler-07"},
    }  # fmt: skip
    yield {**job, "state": "running", "progress": 0, "time": at(0.4)}
    minutes, done = 0.5, 0.0
    for index, step in enumerate(STEPS[: 3 if not end else 2]):
        for number, scene in enumerate(SCENES[: 4 if index < 2 else 2]):
            tasks = [{"name": other, "state": "succeeded"} for other in SCENES[:number]]
            tasks.append({"name": scene, "state": "running"})
            yield {
                **job, "progress": round(done, 1), "step": step, "message": f"{scene}: {number + 1} of {len(SCENES)}",
                "steps": [{"name": step, "state": "running", "tasks": tasks}], "time": at(minutes),
            }  # fmt: skip
            minutes += 1.7 + 0.4 * ((index + number) % 3)
            done += 6.1 + index
        if index < 2:
            tasks = [{"name": scene, "state": "succeeded"} for scene in SCENES]
            yield {**job, "steps": [{"name": step, "state": "succeeded", "tasks": tasks}], "time": at(minutes)}
        if index == 0:
            yield {**job, "state": "paused", "message": "paused by ana: the link is needed", "time": at(minutes)}
            minutes += 4
            yield {**job, "state": "running", "message": "going on", "time": at(minutes)}
    if end:
        stack = (
            'Traceback (most recent call last):\n  File "/srv/tiler/reproject.py", line 212, in warp\n'
            "    band = scene.read(8)\n  File \"/srv/tiler/scene.py\", line 88, in read\n"
            "    raise SceneUnreadable(self.name, got, want)\n"
            "tiler.scene.SceneUnreadable: S2B_T30SUJ: band B08 ends after 61 of 109 MB"
        )  # fmt: skip
        tasks = [{"name": scene, "state": "succeeded"} for scene in SCENES[:3]]
        tasks.append({"name": SCENES[3], "state": "failed", "error": "band B08 ends after 61 of 109 MB"})
        yield {**job, "steps": [{"name": STEPS[1], "state": "failed", "tasks": tasks}], "time": at(minutes)}
        yield {
            **job, "state": "failed", "time": at(minutes + 0.1),
            "error": {"code": "scene-unreadable", "message": "S2B_T30SUJ: band B08 ends after 61 of 109 MB",
                      "stack": stack, "details": {"scene": "S2B_T30SUJ", "band": "B08", "got": 61, "want": 109}},
        }  # fmt: skip


SCENES_OF_THE_PAGE: Final = (
    # file, address, width and height, dark, whole page
    ("dashboard", "/", WIDE, False, False),
    ("dashboard-dark", "/", WIDE, True, False),
    ("filtered", "/?state=failed&state=running&text=tiles", WIDE, False, False),
    ("job", "/?job=geo/tiles-iberia-2026-06", HIGH, False, False),
    ("job-dark", "/?job=geo/tiles-iberia-2026-06", WIDE, True, True),
    ("failed-job", "/?job=geo/tiles-iberia-2026-06-failed", WIDE, False, True),
    ("phone", "/", PHONE, False, False),
    ("phone-dark", "/?state=failed", PHONE, True, False),
    ("phone-job", "/?job=geo/tiles-iberia-2026-06", PHONE, False, True),
    ("no-match", "/?text=no-such-job", WIDE, False, False),
)


async def shoot(browser: Browser, url: str, scene: tuple[str, str, Any, bool, bool], folder: Path | None) -> None:
    """One picture, into the folder or where it belongs."""
    name, path, size, dark, whole = scene
    context = await browser.new_context(
        viewport=size, color_scheme="dark" if dark else "light", locale="en-GB", reduced_motion="reduce",
        device_scale_factor=2 if size is PHONE else 1, timezone_id="UTC",
    )  # fmt: skip
    target = (folder or (SHOTS if name in SHOWN else OTHERS)) / f"{name}.png"
    try:
        page = await context.new_page()
        await page.goto(f"{url}{path}")
        await page.locator("#connection:is([data-state=open], [data-state=closed])").wait_for(timeout=BOUND * 1000)
        await page.locator(".row .name, .job-page h1, #empty h2").first.wait_for(timeout=BOUND * 1000)
        await page.locator("#list[data-complete=true], .job-page").wait_for(timeout=BOUND * 1000)
        await page.wait_for_function("document.getAnimations().every((one) => one.playState !== 'running')")
        await page.screenshot(path=target, full_page=whole, animations="disabled")
        await axe(page)
    finally:
        await context.close()
    print(target)


async def main(folder: Path | None) -> None:
    """All of them."""
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch) / "status.db") as server:
        async with (
            async_playwright() as driver,
            chromium(driver) as browser,
            httpx.AsyncClient(base_url=server.url, timeout=BOUND, trust_env=False) as client,
        ):
            await shoot(browser, server.url, ("empty", "/", WIDE, False, False), folder)
            now = datetime.now(UTC)
            await report(client, list(afternoon(now)))
            await report(client, list(story(now, "failed")))
            await report(client, list(story(now)))
            for scene in SCENES_OF_THE_PAGE:
                await shoot(browser, server.url, scene, folder)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
