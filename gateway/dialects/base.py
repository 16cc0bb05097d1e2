"""What every dialect shares: a table of operations, and the one way in which a request becomes an answer.

Law: an endpoint returns a response or raises, and only its dialect's `problem` writes an error, so that whoever asks in
a dialect is refused in it too. Routes and the OpenAPI document are made from the same table.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Message, Receive, Scope, Send

from gateway.dialects.body import BoundedBody, linger
from gateway.errors import GatewayError, Internal, MethodNotAllowed, NotFound, RequestTimeout, TooLarge
from gateway.record import dumps
from gateway.service import Gateway
from gateway.values import Json

Endpoint: TypeAlias = Callable[[Gateway, Request], Awaitable[Response]]
Quick: TypeAlias = Callable[[Scope], tuple[Message, Message] | None]
Schema: TypeAlias = Mapping[str, Json]
JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"
DIALECT: Final = "status_gateway.dialect"  # where the scope holds the dialect that was asked; the guard sets it
ANONYMOUS: Final = "anonymous"  # who writes where nobody has to say who they are

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation. One with `many` may repeat; all else stands once at most."""

    name: str
    place: Literal["path", "query", "header"]
    text: str
    schema: Schema
    many: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its status, what it means, its schema's name by media type, the names of its headers."""

    status: int
    text: str
    content: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one address. `body` gives the schema's name by media type; a body that is `streamed` has no bound
    of its own as a whole. `path` is relative to the dialect's prefix. `quick` makes what answers at once
    whatever it can from memory, with the very messages that the endpoint's answer would be, and None for all else."""

    name: str
    method: str
    path: str
    endpoint: Endpoint
    summary: str
    answers: tuple[Answer, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, str] = field(default_factory=dict)
    body_required: bool = True
    streamed: bool = False
    errors: tuple[type[GatewayError], ...] = ()
    documented: bool = True
    quick: Callable[[Gateway], Quick] | None = None


class Dialect:
    """One outward language. `prefix` is where it lives; a dialect that is no table of operations overrides `routes`."""

    name: ClassVar[str]
    prefix: ClassVar[str]
    operations: tuple[Operation, ...] = ()

    def problem(self, error: GatewayError, request: Request) -> Response:
        """The one function that writes an error: here as RFC 9457 has it; a dialect with another form overrides it."""
        return problem(error)

    def check(self, request: Request, operation: Operation) -> None:
        """Refuse a request before its endpoint is asked, by raising a GatewayError."""

    def routes(self, gateway: Gateway) -> list[BaseRoute]:
        """The routes, relative to the prefix: one for each address, whatever the method."""
        by_path: dict[str, list[Operation]] = {}
        for operation in self.operations:
            by_path.setdefault(operation.path, []).append(operation)
        return [Route(path, Resource(self, gateway, operations)) for path, operations in by_path.items()]

    @asynccontextmanager
    async def running(self, gateway: Gateway) -> AsyncIterator[None]:
        """Whatever the dialect needs to have running while the gateway does."""
        yield

    def mount(self, gateway: Gateway) -> BaseRoute:
        """All of it under its prefix; what is not there is refused in the dialect's own form."""
        return Mount(
            self.prefix, Router(self.routes(gateway), redirect_slashes=False, default=self.nothing_here), name=self.name
        )

    async def nothing_here(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer of an address that does not exist."""
        await self.problem(NotFound("there is nothing at this address; see /openapi.json"), Request(scope))(
            scope, receive, send
        )

    def refusal(self, error: Exception, request: Request) -> Response:
        """The answer to whatever was raised; what was not foreseen is logged, and told without details."""
        if isinstance(error, GatewayError):
            return self.problem(error, request)
        # The path is quoted (%r): it comes from outside and could hold line breaks. The query may hold keys.
        _log.error("%s %r failed", request.method, request.url.path, exc_info=error)
        return self.problem(Internal(), request)


class Resource:
    """One address as an ASGI app: picks the operation, bounds the body, and turns what is raised into an answer."""

    def __init__(self, dialect: Dialect, gateway: Gateway, operations: Sequence[Operation]) -> None:
        self._dialect, self._gateway = dialect, gateway
        self.operations = {operation.method: operation for operation in operations}
        if "GET" in self.operations:
            self.operations["HEAD"] = self.operations["GET"]  # whose body never leaves: see Guard
        self._quick = {name: it.quick(gateway) for name, it in self.operations.items() if it.quick and name != "HEAD"}
        self._allowed = [*self.operations, "OPTIONS"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = self.operations.get(scope["method"])
        quick = self._quick.get(scope["method"])
        if quick is not None and (messages := quick(scope)) is not None:
            for message in messages:
                await send(message)
            return
        body = BoundedBody(scope, receive, streamed=operation is not None and operation.streamed)
        request = Request(scope, body)
        try:
            response = await self._answer(request, operation, body)
        except ClientDisconnect:
            return
        except Exception as error:
            response = self._dialect.refusal(error, request)
            if isinstance(error, TooLarge | RequestTimeout) and not body.complete:
                await linger(response, scope, body, send)
                return
        await response(scope, receive, send)

    async def _answer(self, request: Request, operation: Operation | None, body: BoundedBody) -> Response:
        if operation is None:
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"Allow": ", ".join(self._allowed)})
            raise MethodNotAllowed(f"this address takes {', '.join(self._allowed)}", allowed=self._allowed)
        body.check_length()
        self._dialect.check(request, operation)
        return await operation.endpoint(self._gateway, request)


def problem(error: GatewayError) -> Response:
    """An error as RFC 9457 has it."""
    return Response(dumps(error.problem()), error.status, error_headers(error), PROBLEM_JSON)


def path_of(scope: Scope) -> str:
    """The path below whatever the app, or in a route the dialect, is mounted at."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def error_headers(error: GatewayError) -> dict[str, str]:
    """The headers that go with an error in any dialect: Allow, Retry-After, and that nobody may keep it."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    allowed = error.members.get("allowed")
    if isinstance(error, MethodNotAllowed) and isinstance(allowed, list):
        headers["Allow"] = ", ".join(allowed)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return headers
