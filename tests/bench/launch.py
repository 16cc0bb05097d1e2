"""Run the gateway with a measuring part around it: `python -m tests.bench.launch MODE SETTING=VALUE…`.

Modes: `unstored` checks reports and answers them, but stores nothing and tells nobody; `ticking` measures, between one
SIGUSR1 and the next, the longest CPU time of the loop's thread between two turns of the loop, in ms, and prints it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from gateway import server
from gateway.app import create_app
from gateway.errors import GatewayError
from gateway.eventlog.base import Entry, Outcome
from gateway.job import apply, stamp
from gateway.report import Report
from gateway.settings import load


class Unstored:
    """The gateway's log, but for `append`: it says of a known job's report what the log would, and forgets it."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, entries: Sequence[Entry]) -> list[Outcome | GatewayError]:
        """See `submit`."""
        return await self.submit(entries)

    def submit(self, entries: Sequence[Entry]) -> asyncio.Future[list[Outcome | GatewayError]]:
        """Answers as if the reports had been written; a new job is really written."""
        known = [self._log.hot(entry.workspace, entry.id) for entry in entries]
        if not all(known):
            answers: asyncio.Future[list[Outcome | GatewayError]] = self._log.submit(entries)
            return answers
        outcomes: list[Outcome | GatewayError] = []
        for entry, standing in zip(entries, known, strict=True):
            job = standing.job
            for change in entry.changes:
                if isinstance(change, Report):
                    job = apply(job, change, stamp(datetime.now(UTC)))
            outcomes.append(Outcome(replace(standing, job=job), made=True))
        answered: asyncio.Future[list[Outcome | GatewayError]] = asyncio.get_running_loop().create_future()
        answered.set_result(outcomes)
        return answered


class Measured:
    """The app with a measuring part that begins with its lifespan."""

    def __init__(self, app: Starlette, mode: str) -> None:
        self.app, self.state, self.mode = app, app.state, mode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_and_begin(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                if self.mode == "ticking":
                    Ticks(asyncio.get_running_loop())
                else:
                    self.state.gateway.log = Unstored(self.state.gateway.log)
            await send(message)

        await self.app(scope, receive, send_and_begin)


class Ticks:
    """A callback in every turn of the loop that reads the thread's CPU clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._on, self._last, self._longest = loop, False, 0, 0
        loop.add_signal_handler(signal.SIGUSR1, self._toggle)

    def _toggle(self) -> None:
        self._on = not self._on
        if self._on:
            self._last, self._longest = time.thread_time_ns(), 0
            self._tick()
        else:
            print(f"longest {self._longest / 1e6:.3f}", flush=True)

    def _tick(self) -> None:
        now = time.thread_time_ns()
        self._longest, self._last = max(self._longest, now - self._last), now
        if self._on:
            self._loop.call_soon(self._tick)


def main() -> int:
    """Serve; settings come as NAME=VALUE."""
    mode, *values = sys.argv[1:]
    if mode not in ("unstored", "ticking"):
        sys.exit(f"{mode} is no mode: take unstored or ticking")
    settings = load(dict(value.split("=", 1) for value in values), {})
    return server.serve(Measured(create_app(settings), mode), settings)


if __name__ == "__main__":
    sys.exit(main())
