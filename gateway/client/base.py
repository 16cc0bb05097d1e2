"""What every part of the client speaks: documents, errors, and the rule of when to try again.

Law: one report is one idempotency key, however often it is sent, so trying again never reports anything twice.
"""

import os
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, TypeAlias, TypedDict
from uuid import UUID

DEFAULT_URL: Final = "http://127.0.0.1:8000"
TIMEOUT: Final = 10.0  # seconds for one attempt; a gateway answers in milliseconds, a loaded one in seconds
RETRY_FOR: Final = 30.0  # seconds: longer than a restart of the gateway
FIRST_DELAY: Final = 0.25  # seconds; the first wait is at most this long
MAX_DELAY: Final = 10.0  # seconds; how late a returned gateway is noticed at worst
RETRIED: Final = frozenset({408, 429, 502, 503, 504, 507})  # answers that say "later", not "no"

State: TypeAlias = Literal[
    "created",
    "pending",
    "running",
    "pausing",
    "paused",
    "resuming",
    "retrying",
    "cancelling",
    "unknown",
    "succeeded",
    "failed",
    "cancelled",
]


class Document(TypedDict):
    """A job as the gateway shows it; times are RFC 3339, UTC. `position` names the record it stands at."""

    id: str
    workspace: str
    name: str
    process: str | None
    state: State
    previous: State | None
    terminal: bool
    stalled: bool
    attempt: int
    progress: float | None
    step: str | None
    message: str | None
    error: dict[str, Any] | None
    details: dict[str, Any]
    labels: dict[str, str]
    steps: list[dict[str, Any]]
    links: list[dict[str, str]]
    result: Any
    created: str
    started: str | None
    finished: str | None
    updated: str
    reported: str | None
    lease: float | None
    version: int
    position: str


class Entry(TypedDict):
    """One line of a job's history: what happened, where in the log, who said it, and the job as it stood then."""

    event: str
    position: str
    by: str
    job: Document


class ProblemError(Exception):
    """The gateway refused a request; `members` are what its problem document (RFC 9457) says besides."""

    def __init__(
        self, status: int, title: str, detail: str, type: str = "about:blank", members: Mapping[str, Any] | None = None
    ) -> None:
        self.status = status
        self.title = title
        self.detail = detail
        self.type = type
        self.members = dict(members or {})
        super().__init__(status, title, detail, type, self.members)

    @property
    def code(self) -> str:
        """The last word of `type`, such as `job-finished`."""
        return self.type.rpartition(":")[2]

    def __str__(self) -> str:
        return f"{self.detail or self.title} ({self.status} {self.title})"


class Unreachable(ConnectionError):
    """No gateway answers at the address, or what answers is no gateway."""


class JobCancelled(Exception):
    """Somebody wishes this job to be cancelled; let it pass, and the job ends as cancelled."""


class Backoff:
    """Waits with full jitter: each lies between 0 and a ceiling that doubles, so clients don't come back in step."""

    def __init__(self, first: float = FIRST_DELAY, longest: float = MAX_DELAY) -> None:
        self._first = first
        self._longest = longest
        self._ceiling = first

    def next(self, at_least: float = 0.0) -> float:
        """Seconds to wait now; `at_least` is what the gateway asked for."""
        delay = at_least + random.uniform(0, self._ceiling)  # noqa: S311 - spreads load, guards nothing
        self._ceiling = min(self._ceiling * 2, self._longest)
        return delay

    def reset(self) -> None:
        """After a success the next wait is short again."""
        self._ceiling = self._first


def retry_after(value: str | None) -> float:
    """Seconds that a `Retry-After` header asks for (a number or a date, RFC 9110); 0 where it says nothing."""
    if not value:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def new_id() -> str:
    """A UUIDv7 (RFC 9562), so that a job has its id before the gateway has heard of it; ids sort by time."""
    milliseconds = time.time_ns() // 1_000_000
    number = milliseconds << 80 | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=number))


def clean(text: str) -> str:
    """The text as valid Unicode: lone surrogates, which JSON can't carry, become `?`."""
    return text.encode("utf-8", "replace").decode()


def newer(document: Document, than: Document | None) -> bool:
    """Whether the document stands after another of the same job in the same log."""
    return than is None or document["version"] > than["version"]
