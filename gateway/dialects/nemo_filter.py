"""NeMo's filters: `filter[status]=active`, `filter[name][like]=import`, `filter={"status":{"$in":["active"]}}`.

Law: a filter is read once into a predicate over the members of an item, all of which are text or null; whatever it
asks for that is not known is refused, because a misspelt filter that is ignored would show too much.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeAlias

from starlette.requests import Request

from gateway.errors import GatewayError, InvalidRequest
from gateway.job import stamp
from gateway.values import Json, read_json

Members: TypeAlias = Mapping[str, str | None]
Predicate: TypeAlias = Callable[[Members], bool]
Told: TypeAlias = dict[str, Json]  # a filter in one form, however it was written: {"status": {"$eq": "active"}}

TIMES: Final = frozenset({"created_at", "updated_at"})
COMPARE: Final[Mapping[str, Callable[[str, Json], bool]]] = {
    "$eq": lambda value, said: value in said if isinstance(said, list) else value == said,
    "$in": lambda value, said: value in said,
    "$nin": lambda value, said: value not in said,
    "$like": lambda value, said: said.lower() in value.lower(),
    "$lt": lambda value, said: value < said,
    "$lte": lambda value, said: value <= said,
    "$gt": lambda value, said: value > said,
    "$gte": lambda value, said: value >= said,
}
LISTED: Final = ("$in", "$nin")  # whose value is a list, or one text with commas
NULLABLE: Final = ("$eq", *LISTED)
LOGICAL: Final = ("$and", "$or", "$not")
MAX_SHOWN: Final = 100  # characters of what was given that an error repeats

_KEY: Final = re.compile(r"filter((?:\[[^\[\]]{1,100}\]){1,8})")


def filter_of(request: Request, fields: tuple[str, ...]) -> tuple[Told, Predicate]:
    """The filter of a list over items with these fields, and what it accepts. Raises InvalidRequest."""
    return _all_of(_written(request), fields)


def _written(request: Request) -> Json:
    raw = request.query_params.get("filter")
    if raw is not None:
        return _json(raw) if raw.startswith("{") else _bad('it must be JSON, such as {"status":"active"}')
    found: Told = {}
    for key in dict.fromkeys(name for name, _ in request.query_params.multi_items() if name.startswith("filter[")):
        path = _KEY.fullmatch(key)
        if path is None:
            _bad(f"{key[:MAX_SHOWN]!r} is no field of it; write filter[status]=active or filter[name][like]=import")
        *outer, last = path[1][1:-1].split("][")
        place = found
        for name in outer:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                _bad(f"{name!r} is given twice, in two forms")
        values = [value for text in request.query_params.getlist(key) for value in _values(text)]
        place[last] = values[0] if len(values) == 1 else values
    return found


def _values(text: str) -> list[Json]:
    """The values of one parameter: JSON, nothing (null), or texts with commas between them."""
    if text.startswith(("{", "[")):
        value = _json(text)
        return value if isinstance(value, list) else [value]
    return [part.strip() for part in text.split(",")] if text else [None]


def _json(text: str) -> Json:
    try:
        return read_json(text.encode())
    except GatewayError as error:
        _bad(error.detail)


def _all_of(asked: Json, fields: tuple[str, ...]) -> tuple[Told, Predicate]:
    """A filter's members, of which all have to match, told in one form, and what they accept."""
    if not isinstance(asked, dict):
        _bad("it must be an object of fields")
    told: Told = {}
    tests: list[Predicate] = []
    for name, value in asked.items():
        if name in LOGICAL:
            told[name], test = _logical(name, value, lambda part: _all_of(part, fields))
        elif name in fields:
            told[name], test = _field(name, value)
        else:
            _bad(f"the field {name[:MAX_SHOWN]!r} is not known; known are {', '.join(fields)}")
        tests.append(test)
    return told, lambda members: all(test(members) for test in tests)


def _field(name: str, value: Json) -> tuple[Told, Predicate]:
    told: Told = {}
    tests: list[Predicate] = []
    for operator, said in (value if isinstance(value, dict) else {"$eq": value}).items():
        operator = operator if operator.startswith("$") else f"${operator}"
        if operator in LOGICAL:
            told[operator], test = _logical(operator, said, lambda part: _field(name, part))
        elif operator in COMPARE:
            told[operator], test = _comparison(name, operator, said)
        else:
            _bad(f"{name} has no {operator[:MAX_SHOWN]!r}; known are {', '.join((*COMPARE, *LOGICAL))}")
        tests.append(test)
    return told, lambda members: all(test(members) for test in tests)


def _logical(operator: str, said: Json, parse: Callable[[Json], tuple[Told, Predicate]]) -> tuple[Json, Predicate]:
    if operator == "$not":
        told, test = parse(said)
        return told, lambda members: not test(members)
    if not isinstance(said, list):
        _bad(f"{operator} takes a list")
    parts = [parse(part) for part in said]
    combine = all if operator == "$and" else any
    return [told for told, _ in parts], lambda members: combine(test(members) for _, test in parts)


def _comparison(name: str, operator: str, said: Json) -> tuple[Json, Predicate]:
    if operator in LISTED and isinstance(said, str):
        said = said.split(",")
    values = said if isinstance(said, list) else [said]
    if isinstance(said, list) != (operator in LISTED) and operator != "$eq":
        _bad(f"{operator} of {name} takes {'a list' if operator in LISTED else 'one value'}")
    if not all(isinstance(value, str) or (value is None and operator in NULLABLE) for value in values):
        _bad(f"{operator} of {name} takes text")
    if name in TIMES:
        values = [value if value is None else _time(name, value) for value in values]
    said = values if isinstance(said, list) else values[0]
    compare = COMPARE[operator]

    def test(members: Members) -> bool:
        value = members[name]
        if value is None:  # as in SQL: nothing but "is null" matches it
            return operator == "$eq" and None in values
        return compare(value, said)

    return said, test


def _time(name: str, value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
        return stamp((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC))
    except (ValueError, OverflowError):
        _bad(f"{name} is compared with a time, such as 2026-02-19T10:00:00Z; this is {value[:MAX_SHOWN]!r}")


def _bad(text: str) -> NoReturn:
    raise InvalidRequest(f"The filter can't be used: {text}.", field="filter")
