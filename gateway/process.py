"""What the server's process needs of the system: a listening socket with bounds, open files, and an end that comes.

Law: whatever hangs, the process ends. A database thread that is stuck would keep the interpreter for ever, so a
watchdog ends it hard a little after the time that the orderly end was given.
"""

from __future__ import annotations

import errno
import math
import os
import resource
import select
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Final

BACKLOG: Final = 4096  # connections; a whole crowd comes back at once after a restart
EXIT_PATIENCE: Final = 3.0  # seconds for threads that outlive the main one
FAILURE: Final = 1  # exit status

# Set on the listening socket, from which each connection inherits them; what a platform lacks is left out.
_SOCKET_OPTIONS: Final = (
    ("SOL_SOCKET", "SO_REUSEADDR", 1),
    ("SOL_SOCKET", "SO_SNDBUF", 64 * 1024),  # bytes; by itself the kernel keeps up to 4 MiB for each stalled reader
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", 30),  # seconds
    ("IPPROTO_TCP", "TCP_KEEPINTVL", 10),  # seconds
    ("IPPROTO_TCP", "TCP_KEEPCNT", 3),
    ("IPPROTO_TCP", "TCP_USER_TIMEOUT", 30_000),  # ms; else a reader that went silent is held for 15 minutes and more
    ("IPPROTO_TCP", "TCP_NODELAY", 1),
)
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # `localhost` means ::1 also where there is no IPv6


class ListenError(Exception):
    """The address is not to be had; the message is one line for the operator."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(f"can't listen on {host} port {port}: {error.strerror or error} (see --host and --port)")


def bind(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of the host, all on one port; nobody can connect before `start_listening`.

    Raises ListenError when the host is unknown or the port is taken.
    """
    sockets: list[socket.socket] = []
    try:
        _bind_all(host, port, sockets)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise ListenError(host, port, error) from error
    return sockets


def start_listening(sockets: Sequence[socket.socket]) -> None:
    """From now on connections come in; raises ListenError when another process was quicker after `bind`."""
    for sock in sockets:
        try:
            sock.listen(BACKLOG)
        except OSError as error:
            host, port = sock.getsockname()[:2]
            raise ListenError(host, port, error) from error


def _bind_all(host: str, port: int, sockets: list[socket.socket]) -> None:
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    refusal: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bind(family, address, port))
            port = sockets[0].getsockname()[1]  # where a free one was asked for, all addresses get the same
        except OSError as error:
            refusal = error
            if error.errno not in _NOT_HERE:
                raise
    if refusal and not sockets:
        raise refusal


def _bind(family: int, address: Sequence[object], port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for level, name, value in _SOCKET_OPTIONS:
            if hasattr(socket, name):
                sock.setsockopt(getattr(socket, level), getattr(socket, name), value)
        sock.bind((address[0], port, *address[2:]))
    except OSError:
        sock.close()
        raise
    return sock


def url_of(sock: socket.socket) -> str:
    """The http:// address at which the socket can be reached."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_file_limit() -> int:
    """Let this process open as many files as the system permits it, for each stream is one; gives the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # macOS says "unlimited" and refuses it
        return soft
    return hard


class Watchdog:
    """Ends the process with status 1 when a deadline passes; `hurry` sets it and is safe in a signal handler.

    A handler may interrupt the very thread that holds a lock, so it only writes a few bytes to a pipe.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._status = FAILURE
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def hurry(self, seconds: float) -> None:
        """The process must have ended in so many seconds; the last call counts."""
        os.write(self._writer, struct.pack("d", seconds))

    def release(self, status: int) -> None:
        """The server has ended with the status; from the end of the main thread on, other threads get a moment."""
        self._status = status
        self.hurry(math.inf)

    def _watch(self) -> None:
        patience: float | None = None
        while patience != math.inf:
            if not select.select([self._reader], [], [], patience)[0]:
                os._exit(FAILURE)
            (patience,) = struct.unpack("d", os.read(self._reader, struct.calcsize("d")))
        threading.main_thread().join()
        select.select([], [], [], EXIT_PATIENCE)
        os._exit(self._status)
