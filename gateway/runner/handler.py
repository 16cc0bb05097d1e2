"""How a running command is handled: wishes from the gateway, signals from people, stops by the terminal.

Law: a wish becomes a signal, and only what the kernel then says of the command becomes a report: paused when it has
stopped, running when it goes on. So whoever stops it, by a wish, Ctrl-Z or kill, readers see the truth.
"""

import asyncio
import os
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self

from gateway.client.base import Document
from gateway.client.outbox import Outbox
from gateway.runner.command import Command
from gateway.runner.terminal import WANTS_TERMINAL

ENDINGS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)  # how people and systems end a command
OTHERS: Final = (signal.SIGUSR1, signal.SIGUSR2)  # how schedulers talk to one
HANDLED: Final = (*ENDINGS, *OTHERS, signal.SIGTSTP, signal.SIGCONT)
LAST_WORD: Final = 1.0  # seconds to say `paused` before the runner itself is stopped


class Handler:
    """Handles one command; a context manager, inside which signals to this process are meant for the command."""

    def __init__(self, outbox: Outbox, grace: float) -> None:
        self.asked: int | None = None  # the signal by which somebody wanted the end
        self.cancelled = False  # whether the job was cancelled through the gateway
        self.interrupted = False  # whether Ctrl-C at a terminal has ended the command
        self.alone = False  # whether that Ctrl-C reached the command only, since it had the terminal
        self._outbox = outbox
        self._grace = grace
        self._command: Command | None = None
        self._paused = False
        self._had_terminal = False
        self._wants_terminal = False
        self._enough = asyncio.Event()
        self._farewell: asyncio.Task[None] | None = None
        self._kill: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        # What is ignored stays so, here and in the command: nohup and shells without job control mean it.
        self._caught = [number for number in HANDLED if signal.getsignal(number) is not signal.SIG_IGN]
        for number in self._caught:
            loop.add_signal_handler(number, self._caught_signal, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._caught:
            asyncio.get_running_loop().remove_signal_handler(number)

    def attend(self, command: Command, document: Document | None) -> None:
        """From now on it runs; what was asked or wished in the meantime holds."""
        self._command = command
        if self.asked is not None:
            command.end(self.asked)
        if self.cancelled:
            self._terminate(command)
        elif document is not None:
            self.obey(document)

    def dismiss(self, status: int) -> None:
        """It has ended."""
        command, self._command = self._command, None
        if command is not None:
            self.alone = command.terminal.take_back(command.group)
            self.interrupted = status == -signal.SIGINT and command.terminal.present
            command.terminal.close()
        for work in (self._kill, self._farewell):
            if work is not None:
                work.cancel()

    async def unless_asked(self, wait: Coroutine[Any, Any, object]) -> bool:
        """Wait for something; true if it was cut short by a signal that came while no command was there to get it."""
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(wait), asyncio.create_task(self._enough.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            asked = self._enough.is_set()
            self._enough.clear()
        return asked

    def obey(self, document: Document) -> None:
        """Do what the job's document wishes."""
        state = document["state"]
        if state in ("cancelling", "cancelled"):
            self.cancel()
        elif self._command is not None and state == "pausing":
            self._command.signal(signal.SIGSTOP)
        elif self._command is not None and state == "resuming":
            self._command.signal(signal.SIGCONT)

    def cancel(self) -> None:
        """End the command: SIGTERM, and SIGKILL after the grace."""
        if not self.cancelled:
            self.cancelled = True
            if self._command is not None:
                self._terminate(self._command)

    def _terminate(self, command: Command) -> None:
        command.end(signal.SIGTERM)
        self._kill = asyncio.get_running_loop().call_later(self._grace, command.signal, signal.SIGKILL)

    def stopped(self, number: int) -> None:
        """The command was stopped: by a wish, by Ctrl-Z, because it needs the terminal, or by whoever may."""
        command = self._command
        if command is None or command.status.done() or self.cancelled:
            return
        if number in WANTS_TERMINAL and command.terminal.lend(command.group):
            self._had_terminal = True
            command.signal(signal.SIGCONT)
            return
        self._had_terminal = command.terminal.take_back(command.group) or self._had_terminal
        self._wants_terminal = number in WANTS_TERMINAL
        self._paused = True
        self._outbox.put({"state": "paused"})
        if number in (signal.SIGTSTP, *WANTS_TERMINAL):
            # The shell waits for us, not for the command: it shows its prompt once we are stopped, too.
            self._farewell = asyncio.create_task(self._stop_too(number))

    def continued(self) -> None:
        """The command goes on."""
        command = self._command
        if command is None:
            return
        if self._had_terminal:
            command.terminal.lend(command.group)
        if self._paused and not self.cancelled:
            self._outbox.put({"state": "running"})
        self._paused = False

    async def _stop_too(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        await self._outbox.settled(LAST_WORD)
        if signal.SIGTSTP in self._caught:
            loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), number)  # returns when the shell continues us, by `fg` or `bg`
        if signal.SIGTSTP in self._caught:
            loop.add_signal_handler(signal.SIGTSTP, self._caught_signal, signal.SIGTSTP)

    def _caught_signal(self, number: int) -> None:
        command = self._command
        if number == signal.SIGCONT:
            self._go_on()
        elif command is not None and not command.status.done():
            if number in ENDINGS:
                self.asked = number
                command.end(number)
            else:
                command.signal(number)
        elif number in ENDINGS:
            self.asked = number if command is None else self.asked
            self._enough.set()

    def _go_on(self) -> None:
        """We were continued; so shall be the command, unless it needs a terminal that we have not got (`bg`)."""
        command = self._command
        if self._farewell is not None:
            self._farewell.cancel()  # the shell was quicker than our stop
        if command is None or not command.is_stopped:
            return
        lent = (self._wants_terminal or self._had_terminal) and command.terminal.lend(command.group)
        if lent or not self._wants_terminal:
            command.signal(signal.SIGCONT)
