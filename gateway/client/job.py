"""A job for the length of a `with` block: how the block ends is how the job ends.

Law: reporting never harms the work. Reports are delivered in the background, in order, while the gateway is slow, away
or restarted; only what the gateway refuses (a problem) is raised, by the next call or at the end of the block.
"""

import asyncio
import logging
import math
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

from gateway.client.base import Document, JobCancelled, ProblemError, State, clean, new_id, newer
from gateway.client.outbox import Outbox, Report, describe
from gateway.client.transport import Transport

LEASE: Final = 60.0  # seconds: a worker that died is seen after a minute, for a request each twenty seconds
DELIVER_FOR: Final = 30.0  # seconds that the end of the block waits for the last reports: a restart of the gateway
PATIENCE: Final = 2.0  # seconds that the beginning waits for the gateway, to learn of a refusal before the work
MAX_STACK: Final = 16_000  # characters of a stack trace; its end is what tells
TERMINAL: Final = frozenset({"succeeded", "failed", "cancelled"})

OnCancel = Literal["raise", "ignore"]
logger = logging.getLogger(__name__)


class JobScope:
    """A job being done. `document` is what the gateway said last, None until it has answered.

    A wish to cancel is seen in any answer, at the latest with the next heartbeat (a third of the lease). Then
    `cancelling` is true, and with `on_cancel="raise"` (the default) the next call raises JobCancelled, which ends the
    block and the job as cancelled; with "ignore" it is left to the block to look. Heartbeats need the event loop: work
    that blocks it for longer than the lease makes the job look stalled.
    """

    def __init__(
        self,
        transport: Transport,
        identity: Mapping[str, str | None],
        *,
        labels: Mapping[str, str] | None = None,
        lease: float | None = LEASE,
        on_cancel: OnCancel = "raise",
        deliver_for: float = DELIVER_FOR,
    ) -> None:
        self.id = identity.get("id") or new_id()
        self.document: Document | None = None
        self._members = {name: value for name, value in identity.items() if value is not None} | {"id": self.id}
        self._labels = dict(labels or {})
        self._lease = lease
        self._on_cancel = on_cancel
        self._deliver_for = deliver_for
        self._problem: ProblemError | None = None
        self._cancelled = False
        self._ended = False
        self._outbox = Outbox(transport, self.id, heard=self._hear, refused=self._refuse)
        self._delivery: asyncio.Task[None] | None = None

    @property
    def cancelling(self) -> bool:
        """Whether somebody wishes the job to be cancelled, or has cancelled it."""
        return self._cancelled or (self.document is not None and self.document["state"] == "cancelling")

    @property
    def undelivered(self) -> list[Report]:
        """The reports that the gateway has not acknowledged yet."""
        return self._outbox.undelivered

    async def progress(self, percent: float | None, message: str | None = None, *, step: str | None = None) -> None:
        """Say how far the job is, 0 to 100 (beyond it is cut; None where it is not known), and what it is doing."""
        if percent is not None and math.isnan(percent):
            raise ValueError("progress must be a number from 0 to 100, or None for not known; it is NaN")
        said: dict[str, Any] = {"progress": None if percent is None else min(100.0, max(0.0, percent))}
        if message is not None:
            said["message"] = clean(message)
        if step is not None:
            said["step"] = clean(step)
        await self._say(said)

    async def step(
        self,
        name: str,
        *,
        state: State | None = None,
        error: str | Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
        tasks: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Say something of one step; the one that is said to be running is the job's present step."""
        said = {"state": state, "error": error, "details": details, "tasks": tasks}
        step = {"name": name} | {member: value for member, value in said.items() if value is not None}
        await self._say({"steps": [step]} | ({"step": name} if state == "running" else {}))

    async def report(self, **members: Any) -> None:
        """Report any members: `state`, `message`, `details`, `result`, …; a terminal state is the block's last word."""
        await self._say(members)
        self._ended = self._ended or members.get("state") in TERMINAL

    async def flush(self, timeout: float = DELIVER_FOR) -> bool:
        """Whether all is delivered after at most `timeout` seconds. Raises ProblemError for what was refused."""
        delivered = await self._outbox.drained(timeout)
        self._raise_problem()
        return delivered

    async def __aenter__(self) -> Self:
        labels = {"labels": self._labels} if self._labels else {}
        self._outbox.create({**self._members, **labels})
        # Labels and lease again: where somebody else made the job, as a scheduler does, the creation was not ours.
        self._outbox.put({"state": "running", "lease": self._lease, **labels})
        self._delivery = asyncio.create_task(self._outbox.deliver(self._lease))
        try:
            await self._outbox.settled(PATIENCE)
            if self._cancelled:
                raise JobCancelled(f"the job {self.id} was cancelled before it began")
            self._raise_problem()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self._outbox.put(outcome(error))
        try:
            if not await self._outbox.drained(self._deliver_for):
                said = describe(self.undelivered)
                logger.warning("job %s: not delivered: %s; %s", self.id, said, self._outbox.trouble)
        finally:
            await self._stop()
        if error is None:
            self._raise_problem()
        elif self._problem is not None and self._problem is not error:
            logger.warning("job %s: a report was refused: %s", self.id, self._problem)

    async def _stop(self) -> None:
        if self._delivery is not None:
            self._delivery.cancel()
            await asyncio.wait([self._delivery])
            if not self._delivery.cancelled() and (error := self._delivery.exception()) is not None:
                logger.error("job %s: the delivery of reports broke off", self.id, exc_info=error)

    async def _say(self, members: Report) -> None:
        self._raise_problem()
        if self.cancelling and self._on_cancel == "raise":
            raise JobCancelled(f"the job {self.id} is to be cancelled")
        self._outbox.put(members)
        await asyncio.sleep(0)  # a loop that only computes and reports would starve the delivery

    def _raise_problem(self) -> None:
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def _hear(self, document: Document) -> None:
        if newer(document, self.document):
            self.document = document

    def _refuse(self, problem: ProblemError, report: Report) -> None:
        if problem.code == "job-exists" and "id" in report:
            return  # somebody made it before, as a scheduler does; its first report tells whether we may go on
        if problem.members.get("state") == "cancelled":
            self._cancelled = True
        elif self._problem is None:
            self._problem = problem


def outcome(error: BaseException | None) -> Report:
    """The report of how a block ended: by itself, by a wish or an interrupt, or by an exception."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return {"state": "succeeded"}
    if isinstance(error, JobCancelled | asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
        return {"state": "cancelled"}
    stack = "".join(traceback.format_exception(error))
    return {
        "state": "failed",
        "error": {
            "message": clean(str(error) or type(error).__name__),
            "code": type(error).__name__,
            "stack": clean(stack[-MAX_STACK:]),
        },
    }
