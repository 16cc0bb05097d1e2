"""Leases: a job that promised to report within so many seconds, and is silent, is marked as stalled."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections.abc import Sequence

from gateway.errors import GatewayError
from gateway.eventlog.base import Entry, EventLog, Outcome
from gateway.job import AT_REST, Job, Stall

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.1  # how exact a lease's end is
AGAIN_SECONDS = 5.0  # after the log could not be written
GATEWAY = "gateway"  # who says so: no principal did

JobKey = tuple[str, str]


class Leases:
    """When the jobs at work have to be heard of at the latest. Kept in memory: they start anew with the gateway."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._deadlines: dict[JobKey, tuple[float, int]] = {}  # monotonic time, and the version then
        self._heap: list[tuple[float, JobKey]] = []
        self._queued: dict[JobKey, float] = {}  # the earliest time at which the heap has the key

    def renew(self, job: Job) -> None:
        """The job was heard of just now."""
        if job.lease is None or job.state in AT_REST:
            if self._deadlines:
                self._deadlines.pop(job.key, None)
            return
        deadline = time.monotonic() + job.lease
        self._deadlines[job.key] = deadline, job.version
        self._queue(deadline, job.key)

    def track(self, job: Job) -> None:
        """The job has moved on though nothing was heard of it, as by a reader's wish: its time goes on running."""
        if job.key not in self._deadlines or job.state in AT_REST:
            self.renew(job)
        else:
            self._deadlines[job.key] = self._deadlines[job.key][0], job.version

    async def watch(self, jobs: Sequence[Job]) -> None:
        """Mark what is silent; never ends. `jobs` are those with a lease when the gateway starts."""
        for job in jobs:
            if job.key not in self._deadlines:  # it may have been heard of since they were read
                self.renew(job)
        while True:
            await asyncio.sleep(TICK_SECONDS)
            silent = self._silent(time.monotonic())
            if silent:
                await self._stall(silent)

    def _silent(self, now: float) -> list[tuple[JobKey, int]]:
        silent = []
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            if self._queued.get(key) == due:
                del self._queued[key]
            if key not in self._deadlines:
                continue  # at rest by now
            deadline, version = self._deadlines[key]
            if deadline > now:
                self._queue(deadline, key)
            else:
                del self._deadlines[key]
                silent.append((key, version))
        return silent

    def _queue(self, deadline: float, key: JobKey) -> None:
        # Once is enough, unless its time has become shorter: a renewed lease is looked up when its old time comes.
        if deadline < self._queued.get(key, math.inf):
            self._queued[key] = deadline
            heapq.heappush(self._heap, (deadline, key))

    async def _stall(self, silent: Sequence[tuple[JobKey, int]]) -> None:
        entries = [Entry(*key, (Stall(version),), GATEWAY) for key, version in silent]
        try:
            answers = await self._log.append(entries)
        except GatewayError as error:
            logger.warning("%d silent jobs could not be marked yet: %s", len(entries), error)
            for key, version in silent:
                if key not in self._deadlines:  # else it was heard of meanwhile
                    self._deadlines[key] = time.monotonic() + AGAIN_SECONDS, version
                    self._queue(self._deadlines[key][0], key)
            return
        for answer in answers:
            # It had moved on, and whoever moved it has not told us (yet): it is watched from its present version on.
            if isinstance(answer, Outcome) and not answer.standing.job.stalled:
                self.track(answer.standing.job)
