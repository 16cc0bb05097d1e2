"""The connection of a producer. A report whose head was answered before, word for word but for the job, takes the short
way to the log, without parser, task and middleware.

Law: the short way answers with the very bytes of the whole way, or leaves the request to it untouched. On either way
one request is under way at a time. What comes behind it waits, unparsed, until it is answered: so what is no HTTP takes
the place of no answer, and a thousand requests in one packet cost no more than their bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.responses import Response

from gateway.connection import HttpProtocol
from gateway.heads import END, end_of_part, identify_report
from gateway.inside import STATUS_LINE, Flow, RequestResponseCycle
from gateway.parked import MAX_EARLY, Parked

PARTS: Final = 500  # of what has come, for which the loop gets no turn: a body may be full of what looks like its end


class Producer(HttpProtocol):
    """Our connection, for reports too. Only what starts while nothing else is under way may take the short way."""

    flow: Flow
    _waits = False  # a report is on the short way
    _leaves = False  # the server ends: its answer is the last
    _behind = b""  # what has come behind the request that is under way
    _before = b""  # the last bytes that were parsed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.flow = Flow(transport)

    def data_received(self, data: bytes) -> None:
        if self._waits or self._behind:
            self._hold(data)
        elif not self._is_at_rest():
            self._feed(data)
        elif not self._took(data):
            if data.find(END) + len(END) == len(data):  # a head and nothing behind it, as almost always
                self._parse(data)
                self._before = END[1:]
            else:
                self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Parse it, up to where the next request begins behind one that is not answered."""
        start = parts = 0
        while start < len(data) and not self._refused:
            if self._is_busy():
                self._hold(data[start:])
                break
            if parts == PARTS:
                self._hold(data[start:])
                self.loop.call_soon(self._go_on)
                break
            end = end_of_part(data, start, self._before, self._owed)
            self._owed -= min(self._owed, end - start)
            self._parse(data[start:end])
            start = end
            parts += 1
        self._before = (self._before + data[max(0, start - 3) : start])[-3:]

    def _parse(self, part: bytes) -> None:
        in_head = self._in_head
        super().data_received(part)
        if in_head and not self._in_head:  # the head has come, and a body is to follow
            self._owed = int(dict(self.headers).get(b"content-length", b"0"))  # the parser takes one, and digits only

    def _hold(self, data: bytes) -> None:
        """Let it wait. A little is read on, for whoever does not read is not told of the connection's end either."""
        self._behind += data
        if len(self._behind) > MAX_EARLY:
            self.flow.full = True
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._behind:
            self._go_on()

    def _go_on(self) -> None:
        """With what waits."""
        behind, self._behind, self.flow.full = self._behind, b"", False
        if behind and not self.transport.is_closing():
            self.flow.resume_reading()
            self.data_received(behind)

    def park(self, cycle: RequestResponseCycle, gone: Callable[[], None]) -> Parked | None:
        return None if self._behind else super().park(cycle, gone)

    def shutdown(self) -> None:
        if self._waits:
            self._leaves = True
        else:
            super().shutdown()

    def _is_at_rest(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        answered = cycle is None or cycle.response_complete
        return answered and self._in_head and not self._begun and not self._refused and not self.flow.write_paused

    def _is_busy(self) -> bool:
        """Whether a request has come whole that is not answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete and self._in_head

    def _took(self, data: bytes) -> bool:
        found = identify_report(data)
        if found is None:
            return False
        asked, body = found
        taker = self.hall.taker(asked.head)
        if taker is None or asked.job is None or not taker(asked.job, body, self._answer):
            self.asked = asked
            return False
        self._waits = True
        self._unset_keepalive_if_required()
        self.hall.patience.end(self)
        return True

    def _answer(self, response: Response) -> None:
        self._waits = False
        if self.transport.is_closing():
            return
        fields = [*self.server_state.default_headers, *response.raw_headers]
        if self._leaves:
            fields.append((b"connection", b"close"))
        lines = [b"%b: %b\r\n" % field for field in fields]
        self.transport.write(b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", response.body]))
        if self._leaves:
            self.transport.close()
        self.on_response_complete()
