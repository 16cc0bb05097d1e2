"""The ASGI app: the only place that wires the parts together.

Law: importing this does nothing, and `create_app` opens nothing; the log is opened when the lifespan begins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.dialects.base import DIALECT, Dialect
from gateway.dialects.canonical import Canonical
from gateway.dialects.direct import Direct
from gateway.dialects.guard import Guard
from gateway.dialects.julep import Julep
from gateway.dialects.mcp import Mcp
from gateway.dialects.nemo import Nemo
from gateway.dialects.praisonai import PraisonAI
from gateway.dialects.weaver import Weaver
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.site import Site, static_folder

DIALECTS: Final[tuple[type[Dialect], ...]] = (Canonical, Nemo, Weaver, Mcp, Julep, PraisonAI)


class _Life:
    """The gateway and its dialects, from the beginning of the app's lifespan to its end."""

    def __init__(self, gateway: Gateway, dialects: Sequence[Dialect]) -> None:
        self.running = False
        self._gateway, self._dialects = gateway, dialects

    @asynccontextmanager
    async def span(self, _: Starlette) -> AsyncIterator[None]:
        """Open the log, then run what the dialects need."""
        async with AsyncExitStack() as stack:
            await self._gateway.start()
            stack.push_async_callback(self._gateway.stop)
            for dialect in self._dialects:
                await stack.enter_async_context(dialect.running(self._gateway))
            self.running = True
            try:
                yield
            finally:
                self.running = False


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    """No route has this address."""
    dialect: Dialect = scope[DIALECT]
    await dialect.nothing_here(scope, receive, send)


async def _failed(request: Request, error: Exception) -> Response:
    """Something broke outside of every endpoint."""
    dialect: Dialect = request.scope[DIALECT]
    return dialect.refusal(error, request)


def create_app(settings: Settings | None = None, dialects: tuple[type[Dialect], ...] = DIALECTS) -> Starlette:
    """The gateway as an app, to be served by itself or mounted under any path of another Starlette or FastAPI app.

    An app does not run the lifespan of what is mounted in it, so the outer one takes it over:

        gateway_app = create_app(Settings(database="status.db", allowed_hosts=("example.org",)))
        app = Starlette(
            routes=[Mount("/status", gateway_app)],
            lifespan=lambda _: gateway_app.router.lifespan_context(gateway_app),
        )

    The gateway itself is `app.state.gateway`.
    """
    settings = settings or Settings()
    gateway = Gateway(settings)
    spoken = tuple(dialect() for dialect in dialects)
    site = Site(spoken, static_folder())
    life = _Life(gateway, spoken)

    def dialect_at(path: str) -> Dialect:
        return next((dialect for dialect in spoken if f"{path}/".startswith(f"{dialect.prefix}/")), site)

    routes = [*(dialect.mount(gateway) for dialect in spoken), *site.routes(gateway)]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Guard, settings=settings, dialect_at=dialect_at, running=lambda: life.running),
            Middleware(Direct, routes=routes),
        ],
        exception_handlers={Exception: _failed},
        lifespan=life.span,
    )
    app.router.redirect_slashes = False
    app.router.default = _nothing_here
    app.state.gateway = gateway
    return app
