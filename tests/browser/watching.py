"""Watches in real pages: what `watch` of static/gateway.js told its callbacks, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from playwright.async_api import Page

from tests.browser.pages import until

START = """async ([name, url, options]) => {
  const { watch } = await import(new URL("/static/gateway.js", location.href).href);
  const log = [];
  const note = (kind) => (...values) => log.push([kind, Date.now(), ...values]);
  const callbacks = { onStatus: note("status"), onEnd: note("end"), onMissing: note("missing"), onSync: note("sync"),
    onReset: note("reset"), onConnection: note("connection") };
  window.watches ??= {};
  window.watches[name] = { log, watcher: watch(url, { ...callbacks, ...options }) };
}"""
QUICK: Mapping[str, Any] = {"back": [500, 1000], "base": 200, "cap": 1000, "wait": 5000}
NO_STREAM: Mapping[str, Any] = {"first": 1500}  # ms; else a loaded machine's first frame might be taken for late


class Watch:
    """One watch in a page, by name."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name

    async def log(self) -> list[list[Any]]:
        """All that its callbacks were told: kind, time in ms, values."""
        found: list[list[Any]] = await self.page.evaluate("(name) => window.watches[name].log", self.name)
        return found

    async def statuses(self) -> list[tuple[str, str, int]]:
        """Each document that was delivered: event, state, version (0 of a deleted job)."""
        return [
            (change["event"], job.get("state", ""), job.get("version", 0))
            for kind, _, job, *rest in await self.log()
            for change in rest
            if kind == "status"
        ]

    async def states(self) -> list[str]:
        """The states that were shown, each once where it repeats."""
        shown: list[str] = []
        for _, state, _ in await self.statuses():
            if not shown or shown[-1] != state:
                shown.append(state)
        return shown

    async def connection(self) -> dict[str, Any]:
        """The state of its connection now."""
        found: dict[str, Any] = await self.page.evaluate("(name) => window.watches[name].watcher.connection", self.name)
        return found

    async def transports(self) -> list[str]:
        """The transports that were open, in order."""
        used: list[str] = []
        for kind, _, state, *_ in await self.log():
            if kind == "connection" and state["state"] == "open" and used[-1:] != [state["transport"]]:
                used.append(state["transport"])
        return used

    async def until_open(self, transport: str | None = None) -> None:
        """Wait until it is caught up, by that transport if one is named."""

        async def is_open() -> bool:
            state = await self.connection()
            return state["state"] == "open" and transport in (None, state["transport"])

        await self._until(is_open, f"open by {transport or 'any way'}")

    async def until_state(self, state: str) -> None:
        """Wait until it was shown that state."""

        async def has_come() -> bool:
            return state in await self.states()

        await self._until(has_come, f"shown {state}")

    async def until_log(self, kind: str, matches: Callable[..., bool] = lambda *_: True) -> list[Any]:
        """Wait for a call of that kind whose values match, and give them."""

        async def found() -> list[Any] | None:
            return next(([*values] for name, _, *values in await self.log() if name == kind and matches(*values)), None)

        values: list[Any] = await self._until(found, f"told {kind}")
        return values

    async def _until(self, condition: Callable[[], Any], what: str) -> Any:
        try:
            return await until(condition, what)
        except AssertionError as error:
            lines = "\n".join(str(line)[:300] for line in await self.log())
            raise AssertionError(f"{self.name}: {error}; its log:\n{lines}") from None

    async def close(self) -> None:
        """Close it."""
        await self.page.evaluate("(name) => window.watches[name].watcher.close()", self.name)


async def watch(page: Page, url: str, name: str = "a", **options: Any) -> Watch:
    """Begin a watch in a page that is on the gateway's origin; `timing` is quick in all that no loaded machine
    could miss, unless it is said."""
    timing = {**QUICK, **options.pop("timing", {})}
    await page.evaluate(START, [name, url, {"timing": timing, **options}])
    return Watch(page, name)


async def at_gateway(page: Page, url: str) -> Page:
    """A page of the gateway's origin that watches nothing by itself."""
    await page.route("**/favicon.ico", lambda route: route.fulfill(status=204))  # a picture has no <link rel="icon">
    await page.goto(f"{url}/static/icon.svg")
    return page
