"""The terminal a command is run at: what it sees there, and whose keys it gets.

Law: the command runs in a process group of its own, so that a cancel reaches all its processes and nobody else's. The
terminal stays with the group that the runner was started in, as every pipeline and script around it expects, and is
lent to the command as soon as it needs it (reads a key, asks for a password), which the kernel tells by stopping it.
"""

import fcntl
import os
import signal
import termios
import tty
from typing import Final

WANTS_TERMINAL: Final = (signal.SIGTTIN, signal.SIGTTOU)  # what stops a background process that touches the terminal


class Terminal:
    """The runner's controlling terminal; without one (cron, a service, CI) all of this does nothing."""

    def __init__(self) -> None:
        try:
            self._file: int | None = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self._file = None

    @property
    def present(self) -> bool:
        """Whether somebody sits there."""
        return self._file is not None

    def lend(self, group: int) -> bool:
        """Make `group` the one in the foreground; False where it is not ours to lend."""
        return self._give(os.getpgrp(), group)

    def take_back(self, group: int) -> bool:
        """Whether `group` had the terminal; now its owner has it again."""
        return self._give(group, os.getpgrp())

    def _give(self, giver: int, taker: int) -> bool:
        if self._file is None:
            return False
        # The kernel stops whoever does this from the background, unless he blocks its signal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            if os.tcgetpgrp(self._file) != giver:
                return False
            os.tcsetpgrp(self._file, taker)
        except OSError:  # the terminal was closed
            return False
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return True

    def close(self) -> None:
        """Let go of it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def open_like(file: int) -> tuple[int, int]:
    """(end to read, end to write) of what stands in for `file`: a pseudo-terminal for a terminal, else a pipe.

    A command that writes to a terminal shows colours and a bar, and shows each line at once.
    """
    if not os.isatty(file):
        return os.pipe()
    reader, writer = os.openpty()
    tty.setraw(writer)  # the bytes pass through; the real terminal makes of them what it always does
    copy_size(file, reader)
    return reader, writer


def copy_size(source: int, target: int) -> bool:
    """Give the target the size of the terminal `source`; whether that was a change."""
    try:
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        if fcntl.ioctl(target, termios.TIOCGWINSZ, bytes(8)) == size:
            return False
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)
    except OSError:
        return False
    return True
