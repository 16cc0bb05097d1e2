"""The connection of a producer. A report whose head was answered before, word for word but for the job, takes the short
way to the log, without parser, task and middleware.

Law: the short way answers with the very bytes of the whole way, or leaves the request to it untouched. One request is
under way at a time: what comes behind a report waits until that is answered.
"""

from __future__ import annotations

from starlette.responses import Response

from gateway.connection import HttpProtocol
from gateway.heads import identify_report
from gateway.inside import STATUS_LINE, RequestResponseCycle


class Producer(HttpProtocol):
    """Our connection, for reports too. Only what starts while nothing else is under way may take the short way."""

    _waits = False  # a report is on the short way
    _leaves = False  # the server ends: its answer is the last
    _behind = b""

    def data_received(self, data: bytes) -> None:
        if self._waits:
            self._behind += data
            self.flow.pause_reading()
        elif not self._is_at_rest() or not self._took(data):
            super().data_received(data)

    def shutdown(self) -> None:
        if self._waits:
            self._leaves = True
        else:
            super().shutdown()

    def _is_at_rest(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        answered = cycle is None or cycle.response_complete
        return answered and self._in_head and not self._begun and not self._refused and not self.flow.write_paused

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
            return
        self.on_response_complete()
        if self._behind:
            data, self._behind = self._behind, b""
            self.data_received(data)
