"""A real terminal for tests, with a person before it who types and reads."""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.processes import environment

BOUND = 60.0  # seconds
NUDGE = 0.2  # seconds
ROWS, COLUMNS = 33, 101
AT_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Screen:
    """A terminal with a person before it."""

    def __init__(self, arguments: list[str], url: str) -> None:
        self._master, slave = os.openpty()
        self.resize(ROWS, COLUMNS)
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=environment(STATUS_GATEWAY_URL=url, TERM="xterm", PS1="ready> "),
        )
        os.close(slave)
        self.shown = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def until(self, text: str, nudge: str = "") -> str:
        """What is shown up to and with the text; `nudge` is typed again and again until it is."""
        deadline = time.monotonic() + BOUND
        while text not in self.shown:
            ready, _, _ = select.select([self._master], [], [], NUDGE if nudge else BOUND)
            assert time.monotonic() < deadline, f"{text!r} was not shown: {self.shown!r}"
            if not ready:
                self.type(nudge)
                continue
            try:
                self.shown += os.read(self._master, 4096).decode()
            except OSError:
                raise AssertionError(f"the program ended without {text!r}: {self.shown!r}") from None
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def status(self) -> int:
        return self.process.wait(BOUND)

    def close(self) -> None:
        os.close(self._master)
        self.process.kill()
        self.process.wait(BOUND)


@contextmanager
def screen(arguments: list[str], url: str) -> Iterator[Screen]:
    shown = Screen(arguments, url)
    try:
        yield shown
    finally:
        shown.close()
