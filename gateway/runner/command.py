"""A command as a child process: its output passed through byte for byte, its stops and its end observed.

Law: what the command writes leaves here as it came and when it came; nobody's reporting may slow or change it. What
goes to one place (`2>&1`, a terminal) goes through one pipe, so that its order stays.
"""

import asyncio
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from gateway.runner.progress import Output
from gateway.runner.terminal import Terminal, copy_size, open_like

CHUNK: Final = 64 * 1024  # bytes: what a pipe holds
PIPE_MAX: Final = 1024 * 1024  # bytes that a pipe can hold at most: what a command has written just before its end
LINGER: Final = 2.0  # seconds of silence after the command's end until a process it left behind is not waited for
STDOUT, STDERR = 1, 2


class Watcher(Protocol):
    """Who hears of the command; called on the event loop."""

    def stopped(self, number: int) -> None:
        """A signal has stopped it."""

    def continued(self) -> None:
        """It goes on after a stop."""


class Command:
    """A running command. `status` is its end: the exit status, negative for the signal that killed it."""

    def __init__(self, arguments: Sequence[str], output: Output, environ: Mapping[str, str], watcher: Watcher) -> None:
        """Start it. Raises OSError as exec does: FileNotFoundError, PermissionError."""
        self._loop = asyncio.get_running_loop()
        self._watcher = watcher
        self.terminal = Terminal()
        self.status: asyncio.Future[int] = self._loop.create_future()
        self.is_stopped = False
        streams = [STDOUT] if _same_file(STDOUT, STDERR) else [STDOUT, STDERR]
        pipes = {stream: open_like(stream) for stream in streams}
        writers = [writer for _, writer in pipes.values()]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - to run what the user says is the purpose
                arguments, stdout=writers[0], stderr=writers[-1], env=environ, process_group=0
            )
        except BaseException:
            for reader, _ in pipes.values():
                os.close(reader)
            self.terminal.close()
            raise
        finally:
            for writer in writers:
                os.close(writer)
        self.group = self._process.pid
        self._pumps = [_Pump(stream, reader, output) for stream, (reader, _) in pipes.items()]
        threading.Thread(target=self._observe, daemon=True).start()

    @property
    def at_terminal(self) -> bool:
        """Whether its output goes to a terminal, whose size may change."""
        return any(pump.at_terminal for pump in self._pumps)

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        with suppress(ProcessLookupError, PermissionError):
            if not self.status.done():
                os.killpg(self.group, number)

    def end(self, number: int) -> None:
        """Send a signal that is to end it, also when it is stopped."""
        self.signal(number)
        self.signal(signal.SIGCONT)

    def fit(self) -> None:
        """Follow the terminal's size; to be polled, since only the foreground is told when it changes."""
        changed = [pump.fit() for pump in self._pumps]  # a list: each of them is to follow, not only the first
        if any(changed):
            self.signal(signal.SIGWINCH)

    async def passed(self) -> None:
        """Until its output has been passed on, however long its reader takes; to be called after its end."""
        await asyncio.gather(*(pump.finished() for pump in self._pumps))

    def _observe(self) -> None:
        while True:
            _, status = os.waitpid(self.group, os.WUNTRACED | os.WCONTINUED)
            if os.WIFSTOPPED(status):
                self._loop.call_soon_threadsafe(self._set_stopped, os.WSTOPSIG(status))
            elif os.WIFCONTINUED(status):
                self._loop.call_soon_threadsafe(self._set_continued)
            else:
                break
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._loop.call_soon_threadsafe(self.status.set_result, self._process.returncode)

    def _set_stopped(self, number: int) -> None:
        self.is_stopped = True
        self._watcher.stopped(number)

    def _set_continued(self) -> None:
        self.is_stopped = False
        self._watcher.continued()


class _Pump:
    """Passes one stream on, in a thread: a blocked reader downstream blocks the command, as it always would."""

    def __init__(self, stream: int, reader: int, output: Output) -> None:
        self.at_terminal = os.isatty(stream)
        self._stream = stream
        self._reader = reader
        self._output = output
        self._waiting_since: float | None = time.monotonic()  # None while there are bytes in hand
        self._passed = 0
        self._done = threading.Event()
        # A daemon: it may hang in a write to a stopped terminal, and must not hold up the exit.
        threading.Thread(target=self._run, daemon=True).start()

    def fit(self) -> bool:
        """Whether the terminal's size has changed; the stand-in has it too now."""
        return self.at_terminal and not self._done.is_set() and copy_size(self._stream, self._reader)

    async def finished(self) -> None:
        """Until the end of the stream, or until only processes that the command has left behind hold it open."""
        end = self._passed
        while not await asyncio.to_thread(self._done.wait, LINGER):
            since = self._waiting_since
            if (since is not None and time.monotonic() - since >= LINGER) or self._passed - end > PIPE_MAX:
                return

    def _run(self) -> None:
        # EIO is how a pseudo-terminal ends. After EPIPE (`| head`) the close lets the command feel the same.
        with suppress(OSError):
            while data := os.read(self._reader, CHUNK):
                self._waiting_since = None
                self._output.feed(self._stream, data)
                _write(self._stream, data)
                self._passed += len(data)
                self._waiting_since = time.monotonic()
        self._done.set()
        os.close(self._reader)


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(file, left) :]
        except BlockingIOError:  # somebody who shares the terminal has made it so
            select.select([], [file], [])


def _same_file(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False
