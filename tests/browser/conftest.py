"""One Chromium for each worker of pytest, and for each test pages, a gateway and what may stand between them.

Everything asynchronous in this folder shares one event loop, in which the browser lives. So an asynchronous fixture
here is a `pytest_asyncio.fixture(loop_scope="session")`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests import api
from tests.api import Served
from tests.browser.between import Between
from tests.browser.pages import BOUND, Contexts, Serve, Troubles, chromium, needed
from tests.processes import Server, serving

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """The tests of this folder run in the loop of its browser, and their pages are closed before what these look at
    ends, which they would complain of."""
    for item in items:
        if HERE in item.path.parents and isinstance(item, pytest.Function):
            item.fixturenames.sort(key=lambda name: name in ("contexts", "context", "page"))
            if pytest_asyncio.is_async_test(item):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    needed("chromium", "npm")
    async with async_playwright() as driver, chromium(driver) as browser:
        yield browser


@pytest.fixture
def troubles() -> Iterator[Troubles]:
    """What the pages of the test complain of, which fails it unless it is expected."""
    troubles = Troubles()
    yield troubles
    assert not troubles.unexpected, "the pages complain:\n" + "\n".join(troubles.unexpected)


@pytest_asyncio.fixture(loop_scope="session")
async def contexts(browser: Browser, troubles: Troubles) -> AsyncIterator[Contexts]:
    """Makes contexts with options of the test's own: `await contexts(color_scheme="dark")`."""
    contexts = Contexts(browser, troubles)
    yield contexts
    await contexts.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(contexts: Contexts) -> BrowserContext:
    """A context as most people have it: light, 1280 × 720."""
    return await contexts()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> Page:
    """An empty page."""
    return await context.new_page()


@pytest.fixture
def served(contexts: Contexts) -> Serve:
    """Serves a gateway in this process, as `tests.api.served`, and closes the pages before it ends: an answer that a
    page tries to get just then would be missed on its console."""

    @asynccontextmanager
    async def serve(folder: Path, **settings: Any) -> AsyncIterator[Served]:
        async with api.served(folder, **settings) as at:
            yield at
            await contexts.close()

    return serve


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Server]:
    """A gateway in a process of its own, to be killed and restarted."""
    with serving(tmp_path / "status.db") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def client(gateway: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A producer's client of that gateway: `await create(client, "a")`, `await report(client, "a", state=…)`."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=BOUND, trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def between(tmp_path: Path) -> AsyncIterator[Between]:
    """nginx, relays and other origins, all ended with the test."""
    between = Between(tmp_path)
    yield between
    await between.close()
