"""A site of another origin that embeds the gateway's elements by their script tags, as their users do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Page

from tests.browser.between import Between, Origin
from tests.browser.pages import BOUND, Contexts
from tests.processes import Server, serving

# Notes, in the page, the events of every element in it and what each one announces.
NOTES = """
window.events = [];
window.said = [];
for (const type of ["statuschange", "end", "connectionchange"]) {
  document.addEventListener(type, ({ target, detail }) => events.push({ element: target.localName, type, detail }));
}
for (const element of document.querySelectorAll("job-status, job-list")) {
  const live = element.shadowRoot.querySelector("[role=status]");
  const observer = new MutationObserver(() => live.textContent && said.push(live.textContent));
  observer.observe(live, { childList: true, characterData: true });
}
"""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A page that embeds</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">{head}
<script type="module" src="GATEWAY/static/job-status.js"></script>
<script type="module" src="GATEWAY/static/job-list.js"></script>
<script type="module" src="/notes.js"></script>
<main><h1>A page</h1>{body}</main></html>"""
BOTH_SCHEMES = '<meta name="color-scheme" content="light dark">'


@dataclass(frozen=True, slots=True)
class Site:
    """The site, and the address of the gateway from which its pages take the elements."""

    origin: Origin
    gateway: str

    async def open(self, page: Page, body: str, head: str = BOTH_SCHEMES) -> None:
        """Show a page with that body and head, in which GATEWAY stands for the gateway's address."""
        self.origin.files["/"] = PAGE.format(head=head, body=body).replace("GATEWAY", self.gateway)
        await page.goto(self.origin.url)


@dataclass(frozen=True, slots=True)
class Embedding(Site):
    """A site that its gateway allows."""

    server: Server
    client: httpx.AsyncClient


async def another_site(between: Between) -> Origin:
    """An origin that has no page yet."""
    return await between.origin({"/notes.js": NOTES, "/": ""})


@asynccontextmanager
async def embedding(folder: Path, between: Between, contexts: Contexts) -> AsyncIterator[Embedding]:
    """A site and a gateway in a process of its own that allows it. Pages are closed before the gateway ends, of which
    they would complain."""
    origin = await another_site(between)
    with serving(folder / "status.db", "--allowed-origin", origin.url) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=BOUND, trust_env=False) as client:
            yield Embedding(origin, server.url, server, client)
            await contexts.close()


async def noted(page: Page, kind: str) -> list[dict[str, Any]]:
    """The details of all events of that kind so far, in order."""
    found: list[dict[str, Any]] = await page.evaluate(
        "(kind) => events.filter(({ type }) => type === kind).map(({ detail }) => detail)", kind
    )
    return found


async def said(page: Page) -> list[str]:
    """What was announced so far, in order."""
    texts: list[str] = await page.evaluate("said")
    return texts
