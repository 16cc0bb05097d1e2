"""NeMo's lists of jobs and steps: pages by number, sorted, filtered.

Law: a list costs a bounded amount of work. What the log can't sort or look for by itself is found among the newest
MAX_SCANNED jobs and no more, read in slices between which everybody else gets a turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from starlette.requests import Request

from gateway.dialects.nemo_bodies import PROJECT, WORDS
from gateway.dialects.nemo_filter import MAX_SHOWN, Members, Predicate, filter_of
from gateway.errors import InvalidRequest
from gateway.eventlog.base import Standing
from gateway.eventlog.numbered import numbered
from gateway.job import Job
from gateway.record import Filter
from gateway.service import Gateway
from gateway.values import Json

MAX_PAGE: Final = 1000  # jobs or steps of a page; who asks for more gets more pages, and NeMo's clients fetch them all
MAX_SCANNED: Final = 10_000  # jobs looked at for one list: their documents are read, for a few tenths of a second
SLICE: Final = 200  # of them at once
JOB_SORTS: Final = ("created_at", "-created_at", "updated_at", "-updated_at", "source", "-source")
STEP_SORTS: Final = JOB_SORTS[:4]
JOB_FIELDS: Final = ("id", "name", "workspace", PROJECT, "source", "status", "created_at", "updated_at")
STEP_FIELDS: Final = ("job", "source", "status")
INDEXED: Final = ("name", "source", "status")  # fields that the log can look for
MAX_LOOKUPS: Final = 100  # values of one of them: each is looked for by a query of its own

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list is asked for. `asked` is its filter, told in one form however it was written."""

    page: int
    size: int
    sort: str
    asked: Mapping[str, Json]
    accepts: Predicate

    @property
    def form(self) -> str | None:
        """A name for what this makes of one record; None where there are too many of it to be kept."""
        return None if self.asked else f"steps {self.page} {self.size} {self.sort}"

    def found(self, items: Iterable[tuple[Members, _T]]) -> list[_T]:
        """What is accepted, sorted; `items` come with their members in the order in which they were created."""
        field, descending = self.sort.removeprefix("-"), self.sort.startswith("-")
        accepted = [item for item in items if self.accepts(item[0])]
        if descending:
            accepted.reverse()  # so that of two that are alike the newer one stands first
        if field != "created_at":
            accepted.sort(key=lambda item: item[0][field] or "", reverse=descending)
        return [item for _, item in accepted]

    def of_page(self, found: Sequence[_T]) -> Sequence[_T]:
        """Those of the page."""
        return found[(self.page - 1) * self.size : self.page * self.size]

    def envelope(self, data: Sequence[Json], total: int) -> Json:
        """The answer around the page's data."""
        pagination = {
            "page": self.page,
            "page_size": self.size,
            "current_page_size": len(data),
            "total_pages": max(1, -(-total // self.size)),
            "total_results": total,
        }
        asked = {"filter": self.asked} if self.asked else {}
        return {"data": data, "pagination": pagination, "sort": self.sort, **asked}


async def found_jobs(gateway: Gateway, workspace: str, listing: Listing) -> tuple[Sequence[Standing], int]:
    """The jobs of the page, and how many match in all."""
    match, exactly = _match(workspace, listing.asked)
    if match is None:
        return [], 0
    if exactly and listing.sort == "-created_at":
        return await numbered(gateway.log, match, listing.page, listing.size)
    keys = listing.found(reversed(await _scanned(gateway, match)))
    wanted = listing.of_page(keys)
    if not wanted:
        return [], len(keys)
    page = await gateway.jobs(Filter(jobs=frozenset(wanted)), None, len(wanted))
    standings = {standing.job.key: standing for standing in page.standings}
    return [standings[key] for key in wanted if key in standings], len(keys)


async def _scanned(gateway: Gateway, match: Filter) -> list[tuple[Members, tuple[str, str]]]:
    """Members and keys of the newest jobs that match."""
    found: list[tuple[Members, tuple[str, str]]] = []
    after = None
    while len(found) < MAX_SCANNED:
        page = await gateway.jobs(match, after, SLICE)
        found += [(_members(standing.job), standing.job.key) for standing in page.standings]
        after = page.next
        if after is None:
            break
    return found


def steps_found(job: Job, listing: Listing) -> list[Mapping[str, Json]]:
    """The steps of a job that match, sorted."""
    common = {"job": job.name, "source": job.process or ""}
    return listing.found(
        (
            {
                **common,
                "status": WORDS[step["state"]],
                "created_at": step["created"],
                "updated_at": step["updated"],
            },
            step,
        )
        for step in job.steps
    )


def _members(job: Job) -> Members:
    return {
        "id": job.id,
        "name": job.name,
        "workspace": job.workspace,
        PROJECT: (job.labels or {}).get(PROJECT),
        "source": job.process or "",
        "status": WORDS[job.state],
        "created_at": job.created,
        "updated_at": job.updated,
    }


def _match(workspace: str, asked: Mapping[str, Json]) -> tuple[Filter | None, bool]:
    """What the log itself can look for, so that less is read, and whether that is all that is asked; None where nothing
    can match."""
    said = {name: values for name in INDEXED if name in asked and (values := _exact(asked[name]))}
    words = said.get("status", [])
    states = frozenset(state for state, word in WORDS.items() if word in words)
    if words and not states:
        return None, True
    names, processes = frozenset(said.get("name", [])), frozenset(said.get("source", []))
    exactly = asked.keys() == said.keys() and all(len(asked[name]) == 1 for name in said)
    return Filter(workspaces=frozenset([workspace]), states=states, processes=processes, names=names), exactly


def _exact(comparisons: Mapping[str, Json]) -> list[str] | None:
    """The texts of which a member has to be one; none of them is empty, which is how a job without a process reads."""
    for operator in ("$eq", "$in"):
        value = comparisons.get(operator)
        values: list[Json] = value if isinstance(value, list) else [value]
        if len(values) <= MAX_LOOKUPS and all(isinstance(item, str) and item for item in values):
            return values
    return None


# What is asked


def listing_of(request: Request, size: int, sorts: tuple[str, ...], sort: str, fields: tuple[str, ...]) -> Listing:
    """A list's parameters; `size` and `sort` stand for what is not said. Raises InvalidRequest."""
    wanted = request.query_params.get("sort", sort)
    if wanted not in sorts:
        expected = f"{', '.join(repr(name) for name in sorts[:-1])} or {sorts[-1]!r}"
        raise refused(("query", "sort"), "enum", f"Input should be {expected}", wanted)
    asked, accepts = filter_of(request, fields)
    return Listing(
        whole_number(request, "page", 1),
        min(whole_number(request, "page_size", size), MAX_PAGE),
        wanted,
        asked,
        accepts,
    )


def whole_number(request: Request, name: str, default: int) -> int:
    """A number of the query, from 1 on. Raises InvalidRequest."""
    value = request.query_params.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,15}", value):
        text = "Input should be a valid integer, unable to parse string as an integer"
        raise refused(("query", name), "int_parsing", text, value)
    if int(value) < 1:
        raise refused(("query", name), "greater_than", "Input should be greater than 0", value)
    return int(value)


def refused(loc: tuple[str, ...], kind: str, text: str, value: str) -> InvalidRequest:
    """The error of one parameter, which is answered as FastAPI does: where it stands, its kind, what was given."""
    return InvalidRequest(text, unprocessable=True, loc=list(loc), kind=kind, input=value[:MAX_SHOWN])
