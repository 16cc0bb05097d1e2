"""The inside of uvicorn: all names that are used of it beyond its documentation, and the releases in which it was read.

Law: no other module imports such a name. What is done with them stands in connection.py, producer.py and door.py, which
the server uses with these releases only; with others it uses uvicorn's own connection, and says so.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

__all__ = ["STATUS_LINE", "HttpToolsProtocol", "RequestResponseCycle", "ServerState", "is_tried"]

TRIED: Final = ((0, 50), (0, 56))  # from, and before; see pyproject.toml


def is_tried(version: str) -> bool:
    """Whether that release of uvicorn is one whose inside was read."""
    return TRIED[0] <= tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2]) < TRIED[1]
