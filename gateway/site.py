"""What stands at the root: health, readiness, the contract, and the page.

Law: only files that were there when the app was made are served, so no path can lead out of their folder.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects.base import JSON, Answer, Dialect, Operation
from gateway.dialects.requests import etag, none_match
from gateway.errors import NotFound, Unavailable
from gateway.openapi import contract
from gateway.record import dumps
from gateway.service import Gateway

READY_AGAIN: Final = 1  # seconds; recovery takes about that long
PAGE_HEADERS: Final[Mapping[str, str]] = {
    # No markup is ever made from text here, and the browser holds us to it: with trusted types innerHTML fails.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# The modules hold nothing but what everybody may have: any page may load them. What they then read of jobs is another
# matter, and stays with `allowed_origins`.
SHARED_HEADERS: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
# Not the machine's table: with a wrong entry there a browser refuses the modules.
MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": JSON,
    ".md": "text/markdown",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",  # types for editors and compilers, which ask for no media type of their own
}


def static_folder() -> Path:
    """Where the page lies: beside this file in a wheel, beside the package in a checkout."""
    here = Path(__file__).parent
    return here / "static" if (here / "static").is_dir() else here.parent / "static"


async def health(_: Gateway, __: Request) -> Response:
    """`GET /healthz`: the process answers."""
    return Response(dumps({"status": "ok"}), headers={"Cache-Control": "no-store"}, media_type=JSON)


async def readiness(gateway: Gateway, _: Request) -> Response:
    """`GET /readyz`: the log can be written and the follower is alive."""
    if (reason := gateway.readiness()) is not None:
        raise Unavailable(f"not ready: {reason}", retry_after=READY_AGAIN)
    return Response(dumps({"status": "ready"}), headers={"Cache-Control": "no-store"}, media_type=JSON)


class Site(Dialect):
    """The root; its errors are problem documents. `dialects` are those whose operations the contract describes."""

    name = "site"
    prefix = ""

    def __init__(self, dialects: tuple[Dialect, ...], folder: Path) -> None:
        self._dialects = dialects
        self._files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        self.operations = tuple(self._table())

    def _table(self) -> Iterator[Operation]:
        page = Answer(200, "The page.", {"text/html": "Text"}, ("ETag",))
        text = "The page that shows the jobs"
        yield Operation("read_page", "GET", "/", self._page, text, (page,), errors=(NotFound,))
        path = "/static/{path:path}"
        yield Operation("read_file", "GET", path, self._file, "What the page needs", (page,), documented=False)
        alive = Answer(200, "It is.", {JSON: "Health"})
        yield Operation("read_health", "GET", "/healthz", health, "Whether the process answers", (alive,))
        yield Operation("read_readiness", "GET", "/readyz", readiness, "Whether it can take reports", (alive,))
        described = Answer(200, "This document.", {JSON: "Contract"})
        yield Operation("read_contract", "GET", "/openapi.json", self._contract, "This contract", (described,))

    async def _contract(self, _: Gateway, request: Request) -> Response:
        parts = [(dialect.prefix, dialect.operations) for dialect in (*self._dialects, self)]
        document = contract(parts, quote(request.scope.get("root_path", "")))
        return Response(dumps(document), headers={"Cache-Control": "no-cache"}, media_type=JSON)

    async def _page(self, _: Gateway, request: Request) -> Response:
        return await self._serve("index.html", request, {})

    async def _file(self, _: Gateway, request: Request) -> Response:
        return await self._serve(request.path_params["path"], request, SHARED_HEADERS)

    async def _serve(self, name: str, request: Request, more: Mapping[str, str]) -> Response:
        path = self._files.get(name)
        if path is None:
            raise NotFound("there is no such file")
        data = await asyncio.to_thread(path.read_bytes)
        headers = {**PAGE_HEADERS, **more, "ETag": etag(hashlib.sha256(data).hexdigest()[:32])}
        if none_match(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=MEDIA_TYPES.get(path.suffix, "application/octet-stream"))
