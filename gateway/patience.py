"""Time limits of connections."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

HEAD_TIMEOUT: Final = 10.0  # seconds for a whole head: whoever trickles one holds a connection for nothing


class Late(Protocol):
    """A connection that is waited for; `late`: its time is over."""

    def late(self) -> None: ...


class Patience:
    """Time limits of connections that all have equally long, so that one timer serves them: the first is due first."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._due: dict[Late, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, connection: Late) -> None:
        """From now on its time runs; it ran already if it was waited for."""
        loop = asyncio.get_running_loop()
        due = self._due.setdefault(connection, loop.time() + (self._seconds or HEAD_TIMEOUT))
        if self._timer is None:
            self._timer = loop.call_at(due, self._look)

    def end(self, connection: Late) -> None:
        """It is not waited for any more."""
        self._due.pop(connection, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._due:
            connection, due = next(iter(self._due.items()))
            if due > loop.time():
                self._timer = loop.call_at(due, self._look)
                return
            del self._due[connection]
            connection.late()
