"""A real Chromium before a real gateway: pages, what went wrong in them, and what may stand between the two.

Whatever a page complains of (an error on its console, an exception, a refusal by its Content-Security-Policy, a request
that would leave this machine) fails its test, unless the test has said that it comes: see `Troubles`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import playwright
import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, expect

from tests.api import Served

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ROOT / ".clients" / "node" / "node_modules"
NODE = Path(playwright.__file__).parent / "driver" / "node"  # of one known version, whatever the machine has
BOUND = 60.0  # seconds that anything here may take on a loaded machine
MACHINE = {"chromium": "chromium", "firefox-esr": "firefox-esr", "nginx": "nginx", "npm": "npm"}  # command → package
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),  # which would call out, and hang without it
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
HERE = {"127.0.0.1", "localhost"}
Serve = Callable[..., AbstractAsyncContextManager[Served]]  # as `tests.api.served`


@cache
def program(command: str) -> str | None:
    """Where a program of the machine is; the folders of administrators are looked into too."""
    return shutil.which(command, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


def needed(*commands: str) -> None:
    """Skip the test where one of these programs of MACHINE is missing, or what npm installs; in CI that fails it."""
    missing = [MACHINE[command] for command in commands if program(command) is None]
    remedy = f"first: sudo apt-get install {' '.join(missing)}" if missing else ""
    if not missing and not PACKAGES.exists():
        remedy = "first: make .clients/node.stamp"
    if remedy:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"a browser test can't run here; {remedy}")


class Troubles:
    """What went wrong in the pages of one test. `expect` says what is meant to; the rest fails the test at its end."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def expect(self, *patterns: str) -> None:
        """Texts that may come, by regular expressions; `.` for whatever comes."""
        self._expected += [re.compile(pattern) for pattern in patterns]

    @property
    def unexpected(self) -> list[str]:
        """What came that was not expected."""
        return [text for text in self.seen if not any(pattern.search(text) for pattern in self._expected)]

    def watch(self, context: BrowserContext) -> None:
        """Listen to all pages of the context."""
        context.on("console", self._console)
        context.on("weberror", lambda error: self.seen.append(f"exception: {error.error.stack or error.error}"))
        context.on("request", lambda request: self._request(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self.seen.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in HERE:
            self.seen.append(f"request to elsewhere: {url}")


class Contexts:
    """Makes browser contexts (profiles of their own) that a test's troubles are gathered from."""

    def __init__(self, browser: Browser, troubles: Troubles) -> None:
        self.browser = browser
        self._troubles = troubles
        self._made: list[BrowserContext] = []

    async def __call__(self, **options: Any) -> BrowserContext:
        """A new context; options as Playwright's `new_context` has them (`color_scheme="dark"`, `viewport=…`)."""
        context = await self.browser.new_context(**{"locale": "en-GB", "timezone_id": "UTC", **options})
        context.set_default_timeout(BOUND * 1000)
        self._troubles.watch(context)
        self._made.append(context)
        return context

    async def close(self) -> None:
        """Close all of them."""
        for context in self._made:
            await context.close()


@asynccontextmanager
async def chromium(driver: Playwright) -> AsyncIterator[Browser]:
    """Debian's Chromium, headless."""
    needed("chromium", "npm")
    expect.set_options(timeout=BOUND * 1000)  # by itself it waits for 5 s
    browser = await driver.chromium.launch(executable_path=program("chromium"), args=FLAGS, timeout=2 * BOUND * 1000)
    try:
        yield browser
    finally:
        await browser.close()


async def until(condition: Callable[[], Any | Awaitable[Any]], what: str = "", bound: float = BOUND) -> Any:
    """Wait until a condition, asked every 20 ms, gives something true, and give that."""
    value: Any = None
    try:
        async with asyncio.timeout(bound):
            while True:
                value = condition()
                if isinstance(value, Awaitable):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {bound} s: {what or condition}; at last {value!r}") from None


@cache
def _axe() -> str:
    return (PACKAGES / "axe-core" / "axe.min.js").read_text() + "\n;0"


async def axe(page: Page, options: Mapping[str, Any] | None = None) -> None:
    """Fail with what axe-core finds wrong with the page as it stands: rule, impact, remedy and element, one a line.

    It runs all rules but those that are experimental; options as `axe.run` takes them.
    """
    await page.evaluate(_axe())
    found = await page.evaluate("async (options) => (await axe.run(document, options)).violations", dict(options or {}))
    lines = [
        f"{broken['id']} ({broken['impact']}): {' '.join(node['failureSummary'].split())}: {node['html'][:200]}"
        for broken in found
        for node in broken["nodes"]
    ]
    assert not lines, f"{len(lines)} violations in {page.url}:\n" + "\n".join(lines)


async def node(script: Path | str, *arguments: str, bound: float = BOUND, **variables: str) -> str:
    """What a script of node prints, to its end; a name means a file of this folder. See `node_command`."""
    process = await asyncio.create_subprocess_exec(
        *node_command(script, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **variables},
    )
    try:
        async with asyncio.timeout(bound):
            out, error = await process.communicate()
    except TimeoutError:
        process.kill()
        out, error = await process.communicate()
        raise AssertionError(f"{script} did not end within {bound} s:\n{out.decode()}{error.decode()}") from None
    assert process.returncode == 0, f"{script} ended with {process.returncode}:\n{out.decode()}{error.decode()}"
    return out.decode()


def node_command(script: Path | str, *arguments: str) -> list[str]:
    """The command line of a script of node, which imports npm's packages by their bare names."""
    here = Path(__file__).parent
    return [str(NODE), "--import", str(here / "packages.mjs"), str(here / script), *arguments]
