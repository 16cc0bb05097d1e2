"""The ASGI app: the only place that wires the parts together.

Law: importing this does nothing, and `create_app` opens nothing; the log is opened when the lifespan begins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects.base import Dialect
from gateway.dialects.canonical import Canonical
from gateway.dialects.guard import Guard
from gateway.dialects.sse import own_farewell
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.site import Site, static_folder

DIALECTS: Final[tuple[type[Dialect], ...]] = (Canonical,)


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
    own_farewell()
    settings = settings or Settings()
    gateway = Gateway(settings)
    spoken = tuple(dialect() for dialect in dialects)
    site = Site(spoken, static_folder())
    running = False

    def dialect_at(path: str) -> Dialect:
        return next((dialect for dialect in spoken if f"{path}/".startswith(f"{dialect.prefix}/")), site)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal running
        async with AsyncExitStack() as stack:
            await gateway.start()
            stack.push_async_callback(gateway.stop)
            for dialect in spoken:
                await stack.enter_async_context(dialect.running(gateway))
            running = True
            try:
                yield
            finally:
                running = False

    async def failed(request: Request, error: Exception) -> Response:
        """What went wrong outside every endpoint; whoever serves the app logs it."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        return dialect_at(path).refusal(error, request)

    app = Starlette(
        routes=[*(dialect.mount(gateway) for dialect in spoken), *site.routes(gateway)],
        middleware=[Middleware(Guard, settings=settings, dialect_at=dialect_at, running=lambda: running)],
        exception_handlers={Exception: failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.router.default = site.nothing_here
    app.state.gateway = gateway
    return app
