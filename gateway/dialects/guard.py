"""The door: which host was asked, from whose page, and whether anybody is at home.

Law: plain ASGI, no task and no buffer of its own, so that a stream behind it is driven as if it were not there. A
gateway on loopback is reachable from any web page: a name that resolves to 127.0.0.1 is stopped by the Host list, and
a form or fetch of a foreign page by the Origin check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.dialects.base import DIALECT, Dialect, path_of
from gateway.errors import ForeignOrigin, GatewayError, InvalidRequest, Misdirected, Unavailable
from gateway.settings import Settings

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
OWN_SITE: Final = frozenset({"same-origin", "none"})  # Sec-Fetch-Site of our own pages, and of what a user typed
DEFAULT_PORTS: Final[Mapping[str, str]] = {"http": ":80", "https": ":443"}
PREFLIGHT: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
    "Access-Control-Allow-Headers": "Accept, Authorization, Cache-Control, Content-Type, Idempotency-Key, If-Match, "
    "If-None-Match, Last-Event-ID, Mcp-Method, Mcp-Name, Mcp-Protocol-Version, Mcp-Session-Id, Prefer, X-API-Key",
    "Access-Control-Max-Age": "600",  # seconds; browsers cut what is longer
}
EXPOSED: Final = "ETag, Idempotent-Replayed, Last-Modified, Location, Preference-Applied, Retry-After"

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]/@\s]+)(:[0-9]{1,5})?")


class Guard:
    """ASGI middleware around the whole app. `dialect_at` gives the dialect of a path, which writes the refusal;
    `running` says whether the gateway was started."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        dialect_at: Callable[[str], Dialect],
        running: Callable[[], bool],
    ) -> None:
        self._app, self._dialect_at, self._running = app, dialect_at, running
        names = ("localhost", "127.0.0.1", "::1", settings.host.lower(), *settings.allowed_hosts)
        self._hosts = frozenset(_bracketed(name) for name in names)
        self._origins = frozenset(settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] == "HEAD":
            send = _headers_only(send)
        if self._origins:
            send = _with_cors(send, headers.get("origin", ""), self._origins)
        dialect = scope[DIALECT] = self._dialect_at(path_of(scope))
        try:
            self._check(scope, headers)
        except GatewayError as error:
            await dialect.problem(error, Request(scope))(scope, receive, send)
            return
        if self._is_preflight(scope, headers):
            await Response(status_code=204, headers=PREFLIGHT)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = self._check_host(headers.getlist("host"))
        if scope["method"] not in SAFE_METHODS:
            self._check_origin(headers, f"{scope['scheme']}://{host}")
        if not self._running():
            raise Unavailable(
                "the gateway was not started: run the app's lifespan; where it is mounted in another app, that one "
                "takes lifespan=lambda _: gateway_app.router.lifespan_context(gateway_app)"
            )

    def _check_host(self, values: list[str]) -> str:
        if len(values) != 1:
            raise InvalidRequest(f"a request has one Host header; this one has {len(values)}", field="Host")
        host = values[0].lower()
        found = _HOST.fullmatch(host)
        if "*" not in self._hosts and (not found or (found[1] not in self._hosts and host not in self._hosts)):
            raise Misdirected(field="Host")
        return host

    def _check_origin(self, headers: Headers, own: str) -> None:
        origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        if not origins and not sites:  # no browser
            return
        permitted = {_normal(own), *self._origins}
        if sites == ["same-origin"]:  # no page can set this; behind a proxy that ends TLS, `own` has the wrong scheme
            return
        if any(_normal(origin) not in permitted for origin in origins):
            raise ForeignOrigin(field="Origin")
        if not origins and any(site not in OWN_SITE for site in sites):
            raise ForeignOrigin(field="Sec-Fetch-Site")

    def _is_preflight(self, scope: Scope, headers: Headers) -> bool:
        return (
            scope["method"] == "OPTIONS"
            and "access-control-request-method" in headers
            and headers.get("origin") in self._origins
        )


def _bracketed(host: str) -> str:
    """A host as the Host header has it: an IPv6 address stands in brackets."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def _normal(origin: str) -> str:
    """An origin without the port that its scheme implies, as browsers write it."""
    origin = origin.lower()
    return origin.removesuffix(DEFAULT_PORTS.get(origin.partition(":")[0], "\0"))


def _headers_only(send: Send) -> Send:
    """HEAD: the answer that GET has, without its body."""

    async def send_head(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
        elif not message.get("more_body"):
            await send({"type": "http.response.body", "body": b""})

    return send_head


def _with_cors(send: Send, origin: str, allowed: frozenset[str]) -> Send:
    """Let the pages of allowed origins read the answer. Every answer says that it varies, or caches would mix them."""

    async def send_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            headers.add_vary_header("Origin")
            if origin in allowed:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = EXPOSED
            message = {**message, "headers": headers.raw}
        await send(message)

    return send_cors
