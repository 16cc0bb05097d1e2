"""Runs a command as a job: `status-gateway run -- COMMAND ARG…`.

Law: the command never suffers from the gateway. Whether that is slow, away or restarted, the command starts, its output
passes through and its exit status is returned; only a job that was cancelled before it began does not begin.
"""

import asyncio
import math
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.client.base import DEFAULT_URL, Document, ProblemError, clean, new_id, newer
from gateway.client.outbox import Outbox, Report, describe
from gateway.client.transport import Transport
from gateway.client.watch import Watch
from gateway.runner.command import Command
from gateway.runner.handler import ENDINGS, Handler
from gateway.runner.progress import Output

LEASE: Final = 60.0  # seconds: a machine that died is seen after a minute, for a request each twenty seconds
GRACE: Final = 10.0  # seconds between SIGTERM and SIGKILL of a cancelled command
DELIVER_FOR: Final = 60.0  # seconds after the command's end that its last reports are tried
PATIENCE: Final = 2.0  # seconds that the command waits for the gateway's word whether it may begin
INTERVAL: Final = 0.2  # seconds between two reports of progress: nobody reads faster
CANCELLED_BY: Final = (*ENDINGS, signal.SIGKILL)  # killed by another signal, it has crashed
USAGE: Final = frozenset({400, 409, 410, 413, 422})  # refusals for what the caller said: the command does not begin

EXIT_REFUSED: Final = 125  # as `env` and `timeout` do for a failure of their own
EXIT_NOT_EXECUTABLE: Final = 126
EXIT_NOT_FOUND: Final = 127
EXIT_SIGNAL: Final = 128  # plus the signal's number, as shells do


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run and how to report it; times are seconds."""

    arguments: tuple[str, ...]
    name: str
    url: str = DEFAULT_URL
    key: str | None = None
    id: str = field(default_factory=new_id)
    workspace: str | None = None
    process: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    lease: float = LEASE
    grace: float = GRACE
    deliver_for: float = DELIVER_FOR
    quiet: bool = False


def run(plan: Plan) -> int:
    """Run the command to its end; its exit status, 128 + N if signal N killed it, 125 to 127 if it could not begin."""
    return asyncio.run(_run(plan))


async def _run(plan: Plan) -> int:
    async with Transport(plan.url, workspace=plan.workspace, key=plan.key, retry_for=math.inf) as transport:
        runner = Runner(plan, transport)
        status = await runner.run()
    if runner.handler.interrupted:
        # A script's loop ends only if who was interrupted dies of it; and while the command had the terminal, nobody
        # else of our group (the script, the rest of a pipeline) has heard of the Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(0 if runner.handler.alone else os.getpid(), signal.SIGINT)
    return status


class Runner:
    """One command and its job."""

    def __init__(self, plan: Plan, transport: Transport) -> None:
        self._plan = plan
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._document: Document | None = None
        self._problem: ProblemError | None = None
        self._problem_told = False
        self._known = asyncio.Event()
        self._fresh = asyncio.Event()
        self._said: dict[str, Any] = {}
        self._output = Output(self._wake)
        self._outbox = Outbox(transport, plan.id, heard=self._hear, refused=self._refuse)
        self.handler = Handler(self._outbox, plan.grace)

    async def run(self) -> int:
        """The whole life of the job."""
        labels = {"labels": dict(self._plan.labels)} if self._plan.labels else {}
        identity = {"id": self._plan.id, "name": self._plan.name}
        more = {"process": self._plan.process, "workspace": self._plan.workspace}
        self._outbox.create({**identity, **{name: value for name, value in more.items() if value}, **labels})
        # Labels and lease again: where somebody else made the job, as a scheduler does, the creation was not ours.
        self._outbox.put({"state": "running", "lease": self._plan.lease, **labels})
        delivery = asyncio.create_task(self._outbox.deliver(self._plan.lease))
        with self.handler:
            try:
                await self.handler.unless_asked(self._outbox.settled(PATIENCE))
                status = self._forbidden()
                if status is None:
                    status = await self._work()
                await self._deliver()
            finally:
                await self._stop(delivery)
        return status

    def _forbidden(self) -> int | None:
        """The exit status if the command must not begin."""
        if self.handler.asked is not None:
            self._outbox.put({"state": "cancelled", "message": "cancelled before it began"})
            return EXIT_SIGNAL + self.handler.asked
        if self.handler.cancelled:
            self._outbox.put({"state": "cancelled"})
            self._tell("it was cancelled before the command began")
            return EXIT_SIGNAL + signal.SIGTERM
        self._problem_told = self._problem is not None
        if self._problem is not None and self._problem.status in USAGE:
            self._tell(f"the command is not started: {self._problem}")
            return EXIT_REFUSED
        if self._problem is not None:
            self._tell(f"its reports are refused, the command runs without: {self._problem}")
        elif self._outbox.trouble is not None:
            self._tell(f"{self._outbox.trouble}; the command runs, its reports wait")
        elif sys.stderr.isatty():
            self._tell(f"{self._transport.url}{self._transport.job_path(self._plan.id)}")
        return None

    async def _work(self) -> int:
        where = {"JOB": self._plan.id, "URL": self._transport.url, "WORKSPACE": self._plan.workspace}
        environ = {f"STATUS_GATEWAY_{name}": value for name, value in where.items() if value}
        try:
            command = Command(self._plan.arguments, self._output, {**os.environ, **environ}, self.handler)
        except OSError as error:
            return self._not_started(error)
        self.handler.attend(command, self._document)
        helpers = [asyncio.create_task(self._follow()), asyncio.create_task(self._show(command))]
        try:
            status = await asyncio.shield(command.status)
            await self.handler.unless_asked(command.passed())
        finally:
            await self._stop(*helpers)
        self.handler.dismiss(status)
        self._outbox.put({**self._news(), **self._ending(status)})
        return status if status >= 0 else EXIT_SIGNAL - status

    def _not_started(self, error: OSError) -> int:
        name = self._plan.arguments[0]
        missing = isinstance(error, FileNotFoundError)
        status = EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE
        message = f"{name}: {'command not found' if missing else error.strerror}"
        self._outbox.put({"state": "failed", "error": {"message": clean(message), "code": str(status)}})
        self._tell(message)
        return status

    def _ending(self, status: int) -> Report:
        if self.handler.cancelled:
            return {"state": "cancelled"}
        if status == 0:
            return {"state": "succeeded"}
        killed = signal.Signals(-status).name if status < 0 else ""
        lines = self._output.complaint()
        reason = f"killed by {killed}" if killed else f"exit status {status}"
        error = {
            "message": f"{reason}: {lines[-1]}" if lines else reason,
            "code": str(status if status > 0 else EXIT_SIGNAL - status),
            "details": {"signal": killed} if killed else {"exit_status": status},
            **({"stack": "\n".join(lines)} if lines else {}),
        }
        was_asked = self.handler.asked in ENDINGS or -status in CANCELLED_BY
        return {"state": "cancelled" if was_asked else "failed", "error": error}

    async def _show(self, command: Command) -> None:
        """Report what the output says, at most each INTERVAL."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL if command.at_terminal else None):
                    await self._fresh.wait()
            self._fresh.clear()
            command.fit()
            if news := self._news():
                self._outbox.put(news)
                await asyncio.sleep(INTERVAL)

    def _news(self) -> dict[str, Any]:
        """Progress and message as far as they have changed since the last report."""
        percent, message = self._output.look()
        now = {"progress": percent, "message": message}
        news = {name: value for name, value in now.items() if value is not None and value != self._said.get(name)}
        self._said |= news
        return news

    def _wake(self) -> None:
        with suppress(RuntimeError):  # output that nobody waits for any more, after the loop's end
            self._loop.call_soon_threadsafe(self._fresh.set)

    async def _follow(self) -> None:
        """Hear of wishes as soon as they are made. Our own progress need not come back to us."""
        await self._known.wait()
        params = [*self._transport.in_workspace(), ("min_interval", "60000"), ("omit", "steps,details,result")]
        path = self._transport.job_path(self._plan.id, "events")
        # A refusal is no harm: wishes stand in the answers to reports and heartbeats, too.
        with suppress(ProblemError):
            async with aclosing(Watch(self._transport, path, params).events()) as events:
                async for event in events:
                    if event.kind != "deleted":
                        self._hear(event.document)

    def _hear(self, document: Document) -> None:
        self._known.set()
        if newer(document, self._document):
            self._document = document
            self.handler.obey(document)

    def _refuse(self, problem: ProblemError, report: Report) -> None:
        if problem.code == "job-exists" and "id" in report:
            self._known.set()  # a scheduler has made it before; the first report tells whether we may go on
        elif problem.members.get("state") == "cancelled":
            self.handler.cancel()
        elif self._problem is None:
            self._problem = problem

    async def _deliver(self) -> None:
        """Wait for the last reports to arrive, and say which did not."""
        most = self._plan.deliver_for
        asked = await self.handler.unless_asked(self._outbox.drained(min(PATIENCE, most)))
        if not asked and most > PATIENCE and self._outbox.undelivered:
            self._tell(f"{self._outbox.trouble or 'the gateway is slow'}; delivering its last reports for {most:g} s")
            await self.handler.unless_asked(self._outbox.drained(most - PATIENCE))
        if left := self._outbox.undelivered:
            self._tell(f"not delivered: {describe(left)}; {self._outbox.trouble or 'interrupted'}")
        elif self._problem is not None and not self._problem_told:
            self._tell(f"a report was refused: {self._problem}")

    async def _stop(self, *tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, Exception):
                self._tell(f"reporting broke off: {type(end).__name__}: {end}")

    def _tell(self, text: str) -> None:
        if not self._plan.quiet:
            sys.stderr.write(f"status-gateway: job {self._plan.id}: {text}\n")
            sys.stderr.flush()
