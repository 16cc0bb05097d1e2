"""How a record's body is written: the whole document, or what changed in it since the job's record before.

Law: unfolding gives back the very bytes that were folded, whatever a later version of `apply` would make of the same
reports. A change is {"=": {name: value}, "-": [name], "~": {name: change}} for an object whose names keep their order,
{"~": {index: change}, "=": {index: value}, "+": [value], "#": length} for a list, and anything else stands whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from gateway.record import dumps
from gateway.values import Json

CODEC: Final = 1
SMALL = 4096  # bytes; a document up to this size stands whole, since folding would save less than it costs
MAX_CHAIN = 100  # records; what one read has to fold at most
_WHOLE: Final = object()


def fold(before: Mapping[str, Json], after: Mapping[str, Json]) -> bytes | None:
    """The change from one document to the next, or None where it does not pay or can't be written as a change."""
    change = _change(before, after)
    return None if change is _WHOLE else orjson.dumps(change)


def unfold(bodies: Sequence[bytes]) -> bytes:
    """The document after a whole body and the changes that follow it."""
    first, *changes = bodies
    if not changes:
        return first
    document = orjson.loads(first)
    for change in changes:
        document = patch(document, orjson.loads(change))
    return dumps(document)


def patch(value: Json, change: Json) -> Json:
    """A value after a change; the value given is not altered."""
    if isinstance(value, list):
        items = list(value[: change["#"]])
        for index, below in change["~"].items():
            items[int(index)] = patch(items[int(index)], below)
        for index, item in change["="].items():
            items[int(index)] = item
        return items + change["+"]
    gone = set(change["-"])
    members = {name: item for name, item in value.items() if name not in gone}
    for name, below in change["~"].items():
        members[name] = patch(members[name], below)
    return members | change["="]


def _change(before: Json, after: Json) -> Json:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return _object_change(before, after)
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return _list_change(before, after)
    return _WHOLE


def _object_change(before: Mapping[str, Json], after: Mapping[str, Json]) -> Json:
    kept = [name for name in before if name in after]
    if list(after)[: len(kept)] != kept:
        return _WHOLE  # another order: readers get the same bytes, so it counts
    below, whole = {}, {}
    for name, value in after.items():
        if name not in before:
            whole[name] = value
        elif not same(before[name], value):
            change = _change(before[name], value)
            if change is _WHOLE:
                whole[name] = value
            else:
                below[name] = change
    return {"-": [name for name in before if name not in after], "~": below, "=": whole}


def _list_change(before: Sequence[Json], after: Sequence[Json]) -> Json:
    below, whole = {}, {}
    length = min(len(before), len(after))
    for index in range(length):
        if not same(before[index], after[index]):
            change = _change(before[index], after[index])
            if change is _WHOLE:
                whole[str(index)] = after[index]
            else:
                below[str(index)] = change
    return {"#": length, "~": below, "=": whole, "+": list(after[length:])}


def same(before: Json, after: Json) -> bool:
    """Whether two values are written as the same bytes: 1, 1.0 and true are equal to Python, but not here."""
    if before is after:
        return True
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return list(before) == list(after) and all(same(before[name], after[name]) for name in before)
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return len(before) == len(after) and all(map(same, before, after))
    if isinstance(before, str) and isinstance(after, str):
        return before == after
    return type(before) is type(after) and repr(before) == repr(after)
