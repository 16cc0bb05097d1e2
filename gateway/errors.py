"""The table of errors: every refusal the gateway can give, once.

Law: an error is raised as a type and written to the wire by one function of the dialect that was asked. Here stand
its code, its HTTP status and its title; the detail and what helps (`field`, `allowed`, `oldest`) come with the raise.
The canonical form is RFC 9457; its `type` is `urn:status-gateway:problem:<code>`.
"""

from __future__ import annotations

from typing import ClassVar

PROBLEM_TYPE = "urn:status-gateway:problem:"


class GatewayError(Exception):
    """Something was refused. `detail` says what and how to mend it; `members` are further members of the problem."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The gateway failed"

    def __init__(self, detail: str = "", /, **members: object) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.members = members
        super().__init__(self.detail)

    @property
    def retry_after(self) -> int | None:
        """Seconds after which trying again makes sense, or None where it does not."""
        value = self.members.get("retry_after")
        return value if isinstance(value, int) else None

    def problem(self) -> dict[str, object]:
        """The members of the RFC 9457 problem document."""
        extra = {name: value for name, value in self.members.items() if name != "retry_after"}
        return {
            "type": PROBLEM_TYPE + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **extra,
        }


class Internal(GatewayError):
    """The gateway failed to handle this request; nothing was changed. Its log says why."""


class InvalidRequest(GatewayError):
    """The request is not well formed."""

    code, status, title = "invalid-request", 400, "Invalid request"


class InvalidReport(GatewayError):
    """The report is not valid."""

    code, status, title = "invalid-report", 400, "Invalid report"


class InvalidCursor(GatewayError):
    """The cursor is not a position of a log."""

    code, status, title = "invalid-cursor", 400, "Invalid cursor"


class ForeignOrigin(GatewayError):
    """A page of another origin may not change anything here; add its origin to `allowed_origins`."""

    code, status, title = "foreign-origin", 403, "Foreign origin"


class NotFound(GatewayError):
    """There is nothing at this address."""

    code, status, title = "not-found", 404, "Not found"


class JobNotFound(GatewayError):
    """There is no such job."""

    code, status, title = "job-not-found", 404, "Job not found"


class MethodNotAllowed(GatewayError):
    """This address does not take that method."""

    code, status, title = "method-not-allowed", 405, "Method not allowed"


class NotAcceptable(GatewayError):
    """None of the media types in Accept can be made here."""

    code, status, title = "not-acceptable", 406, "Not acceptable"


class RequestTimeout(GatewayError):
    """The request's body did not arrive in time."""

    code, status, title = "request-timeout", 408, "Request timeout"


class JobExists(GatewayError):
    """Another job has this id."""

    code, status, title = "job-exists", 409, "Job exists"


class IllegalTransition(GatewayError):
    """The job's state does not allow this."""

    code, status, title = "illegal-transition", 409, "Illegal transition"


class JobFinished(GatewayError):
    """The job has ended; nothing of it changes any more."""

    code, status, title = "job-finished", 409, "Job finished"


class JobNotFinished(GatewayError):
    """The job has not ended; cancel it first, then delete it."""

    code, status, title = "job-not-finished", 409, "Job not finished"


class JobDeleted(GatewayError):
    """The job was deleted; its id can't be used again yet."""

    code, status, title = "job-deleted", 410, "Job deleted"


class Compacted(GatewayError):
    """What stood at that position is no longer kept."""

    code, status, title = "compacted", 410, "No longer kept"


class PreconditionFailed(GatewayError):
    """The job has moved on since the position in If-Match."""

    code, status, title = "precondition-failed", 412, "Precondition failed"


class TooLarge(GatewayError):
    """This is larger than the gateway accepts."""

    code, status, title = "too-large", 413, "Too large"


class UnsupportedMediaType(GatewayError):
    """The body's media type is not understood here."""

    code, status, title = "unsupported-media-type", 415, "Unsupported media type"


class Misdirected(GatewayError):
    """This gateway does not answer for the host that was asked; add it to `allowed_hosts`."""

    code, status, title = "misdirected-request", 421, "Misdirected request"


class KeyReused(GatewayError):
    """The idempotency key was used before with another request; take a new key for a new request."""

    code, status, title = "idempotency-key-reused", 422, "Idempotency key reused"


class HeadTooLarge(GatewayError):
    """The request's head is larger than 16 KiB or has more than 100 fields."""

    code, status, title = "head-too-large", 431, "Request head too large"


class Unavailable(GatewayError):
    """The gateway does not take this now; try again."""

    code, status, title = "unavailable", 503, "Unavailable"


class LogFull(GatewayError):
    """The disk is full: nothing was written. Reading goes on; writing does as soon as there is room."""

    code, status, title = "log-full", 507, "Log full"


class LogUnusable(Exception):
    """The log can't be opened (corrupt, read-only, newer, in use); the message is one line for the operator."""


ERRORS: tuple[type[GatewayError], ...] = (
    Internal,
    InvalidRequest,
    InvalidReport,
    InvalidCursor,
    ForeignOrigin,
    NotFound,
    JobNotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    JobExists,
    IllegalTransition,
    JobFinished,
    JobNotFinished,
    JobDeleted,
    Compacted,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
    Misdirected,
    KeyReused,
    HeadTooLarge,
    Unavailable,
    LogFull,
)
