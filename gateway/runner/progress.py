"""What a command's output says of its progress: the last line for people, and how far it is.

Law: output is read beside, never touched. A number is taken for progress only where it can hardly be anything else, for
progress never falls: a date, a path or a load average taken for it would spoil the bar for good.

The rules. A percentage (`45%`, `45.3 %`) counts unless the words beside it speak of something else (CPU, coverage). A
count (`3/10`) counts at once where it stands alone, in brackets or beside a word of progress (step, files), otherwise
when it is seen again and has grown with the same total. Dates, paths, addresses and fractions above 1 never count.
What counted first (percentages, or the counts to one total) is the command's progress from then on: an inner loop
restarts, the outer does not. What is first seen at its very end (`100%`, `35/35`) is a result, not progress.
"""

import codecs
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

TAIL: Final = 16 * 1024  # bytes looked at in one turn; what came before in the same turn is only passed on
MAX_OPEN: Final = 4_000  # characters of one line that are looked at: its end, where progress stands
MAX_MESSAGE: Final = 500  # characters; a message is read at a glance
NEAR: Final = 24  # characters around a number that say what it counts
ERROR_LINES: Final = 20  # last lines of stderr that explain a failure
GARBAGE: Final = 0.3  # share of undecodable characters from which on a line is binary, not a message
MANY: Final = 1_000  # totals remembered at most: output full of fractions must not fill the memory

# Control sequences (CSI), strings (OSC, DCS, …), other escapes, and then all control characters but the tabulator.
CONTROL: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]?|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)
OVERWRITTEN: Final = re.compile(r"[\r\b\f\v]+")  # a bar goes back and writes itself again
PERCENT: Final = re.compile(r"(?<![\w.,%/+±-])(\d{1,3}(?:[.,]\d{1,3})?)\s?%(?![\w%-])")
COUNT: Final = re.compile(r"(?<![\w./:,+~-])(\d{1,9})\s?/\s?(\d{1,9})(?![\w/-]|[.,:]\d|\s*%)")
# Words that make of a percentage something else than how far the work is.
OTHER_PERCENT: Final = re.compile(
    r"\b(?:cpu|gpu|mem|memory|ram|swap|disk|load|usage|used|utili[sz]ation|idle|free|full|loss|lost|packets?|acc|accuracy"
    r"|precision|recall|coverage|covered|ratio|rate|hits?|miss(?:es)?|confidence|probability|faster|slower|smaller|larger"
    r"|compressed|reduced|sav(?:ed|ing|ings)|errors?|battery)\b",
    re.IGNORECASE,
)
WORDS: Final = (
    r"(?:step|stage|phase|part|page|epoch|iter|iteration|round|pass|batch|chunk|block|item|file|test|task|job|image|frame"
    r"|tile|row|record|line|object|package|module|document|url|request|sample|layer|progress|processed|processing|done"
    r"|complete|completed|finished|downloaded|downloading|converted|converting|copied|copying|compiled|compiling|written)"
)
WORD_BEFORE: Final = re.compile(rf"\b{WORDS}(?:e?s)?\s?[:#=]?\s?$", re.IGNORECASE)
WORD_AFTER: Final = re.compile(rf"^\s?{WORDS}(?:e?s)?\b", re.IGNORECASE)
CLOCK: Final = re.compile(r"^\s\d{1,2}:\d{2}")  # after `11/22`, as log files write the date

Source: TypeAlias = int  # of a count its total, of percentages 0


@dataclass(frozen=True, slots=True)
class _Sight:
    """A number that may be progress: where it comes from, its value from 0 to 1, and whether its place proves it."""

    source: Source
    share: float
    sure: bool


class Progress:
    """Reads line after line; `percent` is how far the command says it is, None while it has not said so."""

    def __init__(self) -> None:
        self.percent: float | None = None
        self._source: Source | None = None
        self._seen: dict[Source, float] = {}

    def read(self, line: str) -> None:
        """Take a line without control sequences."""
        for sight in _sights(line):
            if self._source is None and self._convinced(sight):
                self._source = sight.source
            if sight.source == self._source:
                self.percent = max(self.percent or 0.0, round(sight.share * 100, 2))
                return

    def _convinced(self, sight: _Sight) -> bool:
        if sight.share == 1.0:
            return False
        before = self._seen.get(sight.source)
        if len(self._seen) < MANY:
            self._seen[sight.source] = sight.share
        return sight.sure or (before is not None and sight.share > before)


def _sights(line: str) -> list[_Sight]:
    sights = []
    for found in PERCENT.finditer(line):
        value = float(found[1].replace(",", "."))
        around = line[max(0, found.start() - NEAR) : found.end() + NEAR // 2]
        if value <= 100 and not OTHER_PERCENT.search(around):
            sights.append(_Sight(0, value / 100, True))
    for found in COUNT.finditer(line):
        done, total = int(found[1]), int(found[2])
        before, after = line[: found.start()], line[found.end() :]
        if done <= total and total > 1 and not _is_date(done, total, after):
            sights.append(_Sight(total, done / total, _stands_out(before, after)))
    return sights


def _is_date(left: int, right: int, after: str) -> bool:
    """A month and a year, or a day before a time."""
    return (1 <= left <= 12 and 1900 <= right <= 2199) or bool(CLOCK.match(after))


def _stands_out(before: str, after: str) -> bool:
    if before.rstrip()[-1:] in ("[", "(") and after.lstrip()[:1] in ("]", ")"):
        return True
    if not before.strip() and not after.strip(" .…"):
        return True
    return bool(WORD_BEFORE.search(before[-NEAR:]) or WORD_AFTER.match(after[:NEAR]))


class _Reader:
    """One of the command's two streams: bytes in, lines out, whatever encoding they claim."""

    def __init__(self) -> None:
        self.fresh = b""
        self.last: str | None = None
        self.lines: deque[str] = deque(maxlen=ERROR_LINES)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""

    def read(self, data: bytes, progress: Progress) -> None:
        """Take bytes: progress is told of each line, `last` becomes the last that is not empty."""
        *whole, self._open = (self._open + self._decoder.decode(data)).split("\n")
        self._open = self._open[-MAX_OPEN:]
        for line in whole:
            shown = self._show(line[-MAX_OPEN:], progress)
            if shown:
                self.lines.append(shown)
        self._show(self._open, progress)

    def _show(self, line: str, progress: Progress) -> str | None:
        shown = None
        for part in OVERWRITTEN.split(line):
            text = CONTROL.sub("", part).strip()
            if text and text.count("\ufffd") <= GARBAGE * len(text):
                progress.read(text)
                self.last = shown = text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
        return shown


class Output:
    """What the command has said lately. `feed` is for the threads that pass the output on, all else for one reader."""

    def __init__(self, fresh: Callable[[], None]) -> None:
        """`fresh` is called, in the thread that feeds, when there is something to look at."""
        self._fresh = fresh
        self._lock = threading.Lock()
        self._progress = Progress()
        self._streams = {1: _Reader(), 2: _Reader()}
        self._order = [1, 2]

    def feed(self, stream: int, data: bytes) -> None:
        """Take what came on stdout (1) or stderr (2); costs next to nothing, however much it is."""
        with self._lock:
            known = any(reader.fresh for reader in self._streams.values())
            reader = self._streams[stream]
            reader.fresh = (reader.fresh + data)[-TAIL:]
            if self._order[-1] != stream:
                self._order = [self._order[1], self._order[0]]
        if not known:
            self._fresh()

    def look(self) -> tuple[float | None, str | None]:
        """How far the command is, and its last line; each None where it has not said so."""
        last = None
        for stream in self._order:
            reader = self._streams[stream]
            reader.read(self._take(reader), self._progress)
            last = reader.last or last
        return self._progress.percent, last

    def complaint(self) -> list[str]:
        """The last lines of stderr, or of stdout where stderr said nothing."""
        for stream in (2, 1):
            reader = self._streams[stream]
            reader.read(self._take(reader) + b"\n", self._progress)  # what stands open is its last line
            if reader.lines:
                return list(reader.lines)
        return []

    def _take(self, reader: _Reader) -> bytes:
        """The fresh bytes. Reading them takes milliseconds, and the lock would hold up the output so long."""
        with self._lock:
            data, reader.fresh = reader.fresh, b""
        return data
