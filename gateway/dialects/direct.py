"""The short way to an operation: its address is looked up, where routers would try one pattern after the other.

Law: this finds nothing but what the routers would find, and leaves the scope as they would. Whatever it does not know
(addresses with several parameters, what is no table of operations, what does not exist) goes the routers' way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.dialects.base import Resource, path_of

_TEMPLATE: Final = re.compile(r"([^{}]*)(?:\{([a-z_]+)\}([^{}]*))?")
_SAMPLE: Final = "x"  # a parameter's value, to see whether an earlier route takes a later one's addresses


@dataclass(frozen=True, slots=True)
class _Place:
    """A resource, the route that leads to it, the prefix of its dialect, the name of the parameter in its path."""

    resource: Resource
    route: Route
    prefix: str
    parameter: str = ""


class Direct:
    """ASGI middleware just before the routers, made of the same routes as they are."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._whole: dict[str, _Place] = {}
        self._parted: dict[tuple[str, str], _Place] = {}  # by what stands before and after the parameter
        for mount in routes:
            if isinstance(mount, Mount):
                self._add(mount.path, mount.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(path_of(scope)) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        place, value = found
        root = scope.get("root_path", "")
        parameters = {place.parameter: value} if value else {}
        scope["path_params"] = {**scope.get("path_params", {}), **parameters}
        scope.setdefault("app_root_path", root)
        scope["root_path"] = root + place.prefix
        scope["endpoint"], scope["route"] = place.resource, place.route
        await place.resource(scope, receive, send)

    def find(self, path: str) -> tuple[_Place, str] | None:
        """What is at a path, and the value of its parameter if it has one."""
        place = self._whole.get(path)
        if place is not None:
            return place, ""
        head, _, last = path.rpartition("/")
        place = self._parted.get((f"{head}/", ""))
        if place is None:
            before, _, value = head.rpartition("/")
            place, last = self._parted.get((f"{before}/", f"/{last}")), value
        return (place, last) if place is not None and last and "\n" not in path else None  # as in the routers' patterns

    def _add(self, prefix: str, routes: Iterable[BaseRoute]) -> None:
        earlier: list[Route] = []
        for route in routes:
            if not isinstance(route, Route):
                return  # what it takes can't be told here
            found = _TEMPLATE.fullmatch(route.path)
            if found and isinstance(route.endpoint, Resource):
                before, parameter, after = found[1], found[2], found[3] or ""
                sample = before if parameter is None else f"{before}{_SAMPLE}{after}"
                if any(other.path_regex.match(sample) for other in earlier):
                    continue
                if parameter is None:
                    self._whole[prefix + before] = _Place(route.endpoint, route, prefix)
                elif before.endswith("/") and "/" not in after[1:]:
                    self._parted[prefix + before, after] = _Place(route.endpoint, route, prefix, parameter)
            earlier.append(route)
