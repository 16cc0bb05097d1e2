"""The queries that list jobs: one for each index that can lead, so that a page costs the same in any log.

All of them give the same columns, newest first, and take the same parameters; what does not lead is checked row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from gateway.eventlog.schema import HEAD
from gateway.record import Filter

_COLUMNS = f"SELECT j.job, j.workspace, j.id, j.first, j.last, j.floor, j.deleted, r.base, r.body, ({HEAD}), j.digest "
_RECORD = "CROSS JOIN records AS r ON r.offset = j.last "
_CHECKS = """
AND (:states IS NULL OR j.state IN (SELECT value FROM json_each(:states)))
AND (:workspaces IS NULL OR j.workspace IN (SELECT value FROM json_each(:workspaces)))
AND (:processes IS NULL OR j.process IN (SELECT value FROM json_each(:processes)))
AND (:names IS NULL OR j.name IN (SELECT value FROM json_each(:names)))
AND (:labels IS NULL OR NOT EXISTS (
    SELECT 1 FROM json_each(:labels) AS w WHERE NOT EXISTS (
        SELECT 1 FROM labels AS x WHERE x.key = w.value ->> 0 AND x.value = w.value ->> 1 AND x.first = j.first)))
"""
_ORDER = "AND j.deleted = 0 AND j.first < :before ORDER BY j.first DESC LIMIT :limit"


def _led_by(index: str, condition: str) -> str:
    return f"{_COLUMNS} FROM jobs AS j INDEXED BY {index} {_RECORD} WHERE {condition} {_CHECKS} {_ORDER}"


ALL: Final = _led_by("jobs_by_first", "true")
BY_NAME: Final = _led_by("jobs_by_name", "j.name = :name")
BY_STATE: Final = _led_by("jobs_by_state", "j.state = :state")
BY_WORKSPACE: Final = _led_by("jobs_by_workspace", "j.workspace = :workspace")
BY_WORKSPACE_STATE: Final = _led_by("jobs_by_workspace_state", "j.workspace = :workspace AND j.state = :state")
BY_PROCESS: Final = _led_by("jobs_by_process", "j.process = :process")
BY_PROCESS_STATE: Final = _led_by("jobs_by_process_state", "j.process = :process AND j.state = :state")
BY_LABEL: Final = (
    f"{_COLUMNS} FROM labels AS l CROSS JOIN jobs AS j ON j.job = l.job {_RECORD} "
    f"WHERE l.key = :key AND l.value = :value AND l.first < :before {_CHECKS} AND j.deleted = 0 "
    "ORDER BY l.first DESC LIMIT :limit"
)
BY_IDENTITY: Final = (
    f"{_COLUMNS} FROM identities AS i CROSS JOIN jobs AS j ON j.job = i.job {_RECORD} "
    "WHERE i.workspace = ? AND i.id = ?"
)
BY_IDENTITY_IF_SHORT: Final = f"{BY_IDENTITY} AND r.base IS NULL AND length(r.body) <= ?"
BY_IDENTITIES: Final = (
    f"{_COLUMNS} FROM json_each(?) AS e CROSS JOIN identities AS i "
    f"ON i.workspace = e.value ->> 0 AND i.id = e.value ->> 1 CROSS JOIN jobs AS j ON j.job = i.job {_RECORD}"
)
BY_ROW: Final = f"{_COLUMNS} FROM jobs AS j {_RECORD} WHERE j.job = ?"


def firsts(listing: str) -> str:
    """The same list, of which only `first` is wanted: no record is read for it."""
    return listing.replace(_COLUMNS, "SELECT j.first ").replace(_RECORD, "")


def plans(match: Filter, before: int, limit: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The queries whose pages, merged, are the page of jobs that match. `match.jobs` is not looked at.

    Where several values of a member lead, each has a query of its own, so that each reads an index in order.
    """
    checks = {"before": before, "limit": limit, **_checks(match)}
    if match.labels:
        key, value = min(match.labels)
        yield BY_LABEL, checks | {"key": key, "value": value}
        return
    if match.names:
        for name in sorted(match.names):
            yield BY_NAME, checks | {"name": name}
        return
    for lead in _leads(match):
        for sql, more in _by_state(match, *_INDEXES[next(iter(lead), "")]):
            yield sql, checks | more | lead


_INDEXES: Final = {
    "workspace": (BY_WORKSPACE, BY_WORKSPACE_STATE),
    "process": (BY_PROCESS, BY_PROCESS_STATE),
    "": (ALL, BY_STATE),
}


def _leads(match: Filter) -> list[dict[str, str]]:
    if match.workspaces:
        return [{"workspace": workspace} for workspace in sorted(match.workspaces)]
    if match.processes:
        return [{"process": process} for process in sorted(match.processes)]
    return [{}]


def _checks(match: Filter) -> dict[str, Any]:
    return {
        "states": _listed(match.states),
        "workspaces": _listed(match.workspaces),
        "processes": _listed(match.processes),
        "names": _listed(match.names),
        "labels": _listed(match.labels),
    }


def _by_state(match: Filter, without: str, having: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not match.states:
        yield without, {}
    for state in sorted(match.states):
        yield having, {"state": str(state)}


def _listed(values: frozenset[Any]) -> str | None:
    return orjson.dumps(sorted(values)).decode() if values else None
