"""A reference parser of event streams: section 9.2.6 of the WHATWG HTML standard, as an EventSource reads it.

Law: bytes in, in pieces of any size, events out; the pieces make no difference. It follows the standard word by word,
so that what our frames mean is not judged by a parser that shares their habits.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\r|\n")
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Event:
    """A dispatched event: its type (`message` where the block named none), its data, and its lastEventId."""

    event: str
    data: str
    id: str


class EventStreamParser:
    """An EventSource without the network. `last_event_id` is what it would send after a reconnect: the id of the last
    complete block; `retry` the reconnection time in ms, None while the stream has named none."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False  # the first character has come, so a byte order mark is no mark any more
        self._after_cr = False  # the last piece ended in CR: a LF at the beginning of the next belongs to it
        self._rest: list[str] = []  # of a line that has not ended yet
        self._id, self._type, self._data = last_event_id, "", ""  # the buffers of the standard

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete with these bytes. A block that never ends is never dispatched."""
        text = self._decoder.decode(data)
        if not text:
            return []
        if not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        if self._after_cr and text:
            self._after_cr = False
            text = text.removeprefix("\n")
        self._after_cr = self._after_cr or text.endswith("\r")
        first, *others = _LINE_END.split(text)
        self._rest.append(first)
        if not others:
            return []
        *between, rest = others
        lines = ["".join(self._rest), *between]
        self._rest = [rest]
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> Event | None:
        if line == "":
            return self._dispatch()
        name, _, value = line.partition(":")
        self._field(name, value.removeprefix(" "))  # the name of a comment is empty, and no field
        return None

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and _DIGITS.fullmatch(value):
            self.retry = int(value)

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        kind, data = self._type or "message", self._data
        self._type = self._data = ""
        return Event(kind, data.removesuffix("\n"), self.last_event_id) if data else None
