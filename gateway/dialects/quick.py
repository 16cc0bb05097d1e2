"""The quick answer to the most frequent question, a plain GET of a job that is in memory or a short read away: its head
is made once for each position, then repeated.

Law: it is word for word what `read_job` would answer. Whatever says more than which job is meant, and which tag the
client has already, is left to that.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.types import Message, Scope

from gateway.dialects.base import JSON
from gateway.dialects.reading import document_headers
from gateway.eventlog.base import Standing
from gateway.service import Gateway
from gateway.values import DEFAULT_WORKSPACE

MAX_ANSWERS: Final = 2048  # heads kept, about 1 KiB each; their documents are the hot jobs' own
ANY: Final = frozenset({b"*/*", b"application/json"})  # values of Accept for which there is nothing to weigh
SPEAKING: Final = frozenset({b"prefer", b"last-event-id"})  # headers that ask for something else
_WORKSPACE: Final = re.compile(rb"workspace=([a-z0-9._\-]{1,64})")

_Head = tuple[bytes, Message, Message]  # the entity tag, the beginnings of a 200 and of a 304


class QuickRead:
    """Answers plain GETs; holds the heads of the newest answers by the job's position."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._heads: dict[str, _Head] = {}

    def __call__(self, scope: Scope) -> tuple[Message, Message] | None:
        """The answer's two messages, or None."""
        workspace = _workspace(scope["query_string"])
        plain, tag = _wish(scope)
        if workspace is None or not plain:
            return None
        standing = self._gateway.glance(workspace, scope["path_params"]["id"])
        if standing is None:
            return None
        head = self._heads.get(standing.job.position) or self._make(standing)
        if tag is None:
            return head[1], {"type": "http.response.body", "body": standing.document}
        return (head[2], {"type": "http.response.body", "body": b""}) if tag == head[0] else None

    def _make(self, standing: Standing) -> _Head:
        headers = document_headers(self._gateway, standing)
        same = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        found = [*same, (b"content-length", b"%d" % len(standing.document)), (b"content-type", JSON.encode())]
        if len(self._heads) >= MAX_ANSWERS:
            self._heads.clear()
        head = headers["ETag"].encode(), _start(200, found), _start(304, same)
        self._heads[standing.job.position] = head
        return head


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def _workspace(query: bytes) -> str | None:
    if not query:
        return DEFAULT_WORKSPACE
    found = _WORKSPACE.fullmatch(query)
    return found[1].decode() if found else None


def _wish(scope: Scope) -> tuple[bool, bytes | None]:
    """Whether nothing but the document is asked for, and the one tag that the client has already."""
    tag = accept = None
    for name, value in scope["headers"]:
        if name == b"accept":
            if accept is not None or value not in ANY:
                return False, None
            accept = value
        elif name == b"if-none-match":
            if tag is not None:
                return False, None
            tag = value
        elif name in SPEAKING:
            return False, None
    return True, tag
