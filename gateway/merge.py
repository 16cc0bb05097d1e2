"""How what is said joins what is known: JSON merge patch (RFC 7396) for objects, by name for steps and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from gateway.report import MISSING, Maybe, State, Step, Task
from gateway.values import Json

Item = Mapping[str, Json]  # a step or a task as the document shows it
_PLAIN = frozenset((str, float, int))  # but no bool, which is an int of its own kind
_OBJECT = (dict, Mapping)  # dict first: it is found at once


def merge_patch(target: Mapping[str, Json], patch: Mapping[str, Json]) -> dict[str, Json]:
    """`target` after the JSON merge patch `patch` (RFC 7396)."""
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            below = merged.get(name)
            merged[name] = merge_patch(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def equal(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON: 1 is 1.0 and members have no order; but 1 is not true, as Python has it."""
    if one is other:
        return True
    if type(one) in _PLAIN:  # most values are one of these, and to ask whether they are a Mapping is dear
        return bool(one == other) and not isinstance(other, bool)
    if isinstance(one, _OBJECT) and isinstance(other, _OBJECT):
        return one.keys() == other.keys() and all(map(equal, one.values(), map(other.__getitem__, one)))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


_T = TypeVar("_T")


def said_or(value: Maybe[_T], default: _T) -> _T:
    """What was said, or `default` where nothing was."""
    return default if value is MISSING else value


def merge_named(known: Sequence[Item], said: Sequence[Task], whole: bool, now: str) -> tuple[Item, ...]:
    """Steps (or tasks) after a report, in the order of their first report; with `whole` only the said ones stay."""
    before = {item["name"]: item for item in known}
    after = {} if whole else dict(before)
    for item in said:
        after[item.name] = _merge_item(before.get(item.name), item, whole, now)
    return tuple(after.values())


def _merge_item(known: Item | None, said: Task, whole: bool, now: str) -> Item:
    blank: Item = {"state": State.PENDING, "details": {}, "error": None, "created": now, "tasks": ()}
    base = known or blank
    old = blank if whole else base
    if said.details is MISSING:
        details = old["details"]
    else:
        details = said.details if whole else merge_patch(old["details"], said.details)
    item: dict[str, Json] = {
        "name": said.name,
        "state": said_or(said.state, State(old["state"])),
        "details": details,
        "error": said_or(said.error, old["error"]),
        "created": base["created"],
        "updated": base.get("updated", now),
    }
    if isinstance(said, Step):
        item["tasks"] = list(merge_named(base["tasks"], said.tasks, whole, now))
    return known if known is not None and equal(known, item) else item | {"updated": now}
