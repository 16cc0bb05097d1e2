"""Weaver's list of jobs: filters in any of its words, and pages by number.

Law: a filter that can't be served is refused, so that a list is never longer than what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

from starlette.requests import Request

from gateway.dialects import weaver_forms as forms
from gateway.dialects.base import path_of
from gateway.dialects.translator import workspace_of
from gateway.errors import GatewayError, InvalidReport, InvalidRequest
from gateway.eventlog.base import Standing
from gateway.eventlog.numbered import numbered
from gateway.job import TERMINAL
from gateway.record import Filter
from gateway.report import State
from gateway.service import Gateway
from gateway.values import Json, parse_line

LIMIT, MAX_LIMIT = 10, 1000  # jobs of a page: Weaver's default, and what is rendered without holding up the streams
MAX_NUMBER: Final = 10**9  # of a page; there are fewer jobs than that
UNSERVED: Final = ("datetime", "minDuration", "maxDuration", "groups")
OF_THEIR_OWN: Final = (State.CREATED, State.PAUSED, State.UNKNOWN)  # which have words that no other state has
CATEGORIES: Final[Mapping[str, frozenset[State]]] = {  # in capitals, as Weaver's client sends them
    "RUNNING": frozenset(State) - TERMINAL - {State.CREATED},
    "PENDING": frozenset({State.CREATED, State.PENDING, State.PAUSED}),
    "FINISHED": TERMINAL,
    "FAILED": frozenset({State.FAILED, State.CANCELLED}),
    "SUCCESS": frozenset({State.SUCCEEDED}),
}


class Page:
    """A page of a list: the jobs on it, and how many match in all."""

    def __init__(self, request: Request) -> None:
        self.number = _whole(request, "page", 0, 0, MAX_NUMBER)
        self.limit = _whole(request, "limit", LIMIT, 1, MAX_LIMIT)
        self.standings: Sequence[Standing] = ()
        self.total = 0

    async def read(self, gateway: Gateway, match: Filter | None) -> None:
        """Find the jobs of the page. Without `match` nothing is meant. Raises InvalidRequest."""
        if match is not None:
            self.standings, self.total = await numbered(gateway.log, match, self.number + 1, self.limit)
        if self.number > self.last:
            raise refusal(
                f"Page index {self.number} is out of range from [0,{self.last}].",
                cause="Invalid paging parameters.",
                error="IndexError",
                value={"page": self.number, "limit": self.limit, "count": 0},
            )

    @property
    def last(self) -> int:
        """The number of the last page."""
        return max(math.ceil(self.total / self.limit) - 1, 0)

    def links(self, request: Request) -> list[dict[str, str]]:
        """The links of the page to itself and the others; the filters stand in each."""
        base = forms.base_of(request)
        path = quote(path_of(request.scope))
        said = [(name, value) for name, value in request.query_params.multi_items() if name != "page"]

        def at(number: int) -> str:
            return f"{base}{path}?{urlencode([*said, ('page', number)])}"

        workspace = workspace_of(request)
        pages = [("current", self.number), ("first", 0), ("last", self.last)]
        if self.number > 0:
            pages.append(("prev", self.number - 1))
        if self.number < self.last:
            pages.append(("next", self.number + 1))
        return [
            forms.link("self", at(self.number), "This page of the list."),
            forms.link("collection", forms.address(base, path, workspace), "Complete list, without filters."),
            forms.link("search", forms.address(base, "/jobs", workspace), "Search for jobs."),
            *(forms.link(rel, at(number), f"The {rel} page of the list.") for rel, number in pages),
        ]


def match_of(request: Request, read: Mapping[str, State]) -> Filter | None:
    """Which jobs are meant; None for none at all. `read` gives the state of a word. Raises InvalidRequest."""
    query = request.query_params
    for name in UNSERVED:
        if name in query:
            raise refusal(f"{name} can't be filtered by here; leave it out", value={name: query[name]})
    if query.get("sort", "created") != "created":
        raise refusal("Jobs are sorted by `created`, the newest first.", value={"sort": query["sort"]})
    processes = {
        value for value in (request.path_params.get("process"), query.get("processID"), query.get("process")) if value
    }
    try:
        processes = {parse_line(value, "process") for value in processes}
    except InvalidReport as error:
        raise refusal(error.detail) from error
    labels = _labels(query.getlist("tags"))
    foreign = query.get("provider") or query.get("service") or query.get("type", "process") != "process"
    if len(processes) > 1 or labels is None or foreign:
        return None  # no job runs two processes, has a tag that is no label, or runs at a provider
    states = frozenset(state for value in query.getlist("status") for state in _states(value, read))
    return Filter(
        workspaces=frozenset([workspace_of(request)]), states=states, processes=frozenset(processes), labels=labels
    )


def _states(value: str, read: Mapping[str, State]) -> Iterable[State]:
    """The states that a list of words means: a word that Weaver shows several states as means all of them."""
    words = forms.WORDS[forms.PAGE]
    for word in filter(None, (part.strip() for part in value.split(","))):
        if word in CATEGORIES:
            yield from CATEGORIES[word]
            continue
        state = read.get(word.lower().removeprefix("process"))
        if state is None:
            raise refusal(f"status must be of {', '.join((*read, *CATEGORIES))}", value={"status": word})
        if state in OF_THEIR_OWN:
            yield state
        else:
            yield from (other for other in State if words[other] == words[state])


def _labels(tags: Iterable[str]) -> frozenset[tuple[str, str]] | None:
    """Tags as labels, `key:value`; None where one can be no label."""
    pairs = [tag.partition(":") for value in tags for tag in value.split(",") if tag]
    if not all(key and colon and "\0" not in key + value for key, colon, value in pairs):
        return None
    return frozenset((key, value) for key, _, value in pairs)


def _whole(request: Request, name: str, default: int, low: int, high: int) -> int:
    value = request.query_params.get(name)
    if value is None:
        return default
    if not value.isascii() or not value.isdecimal() or len(value) > 10 or not low <= int(value) <= high:
        raise refusal(f"{name} must be a whole number from {low} to {high}", value={name: value})
    return int(value)


def refusal(detail: str, **members: Json) -> GatewayError:
    """A query of the list that can't be answered."""
    return InvalidRequest(detail, title="JobInvalidParameter", **members)
