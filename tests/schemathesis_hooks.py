"""Teaches schemathesis lines of JSON, which it does not know: in the contract they stand as the list of them; and that
no two steps or tasks of a report have one name, which a schema can't say."""

import json
from typing import Any

import orjson
import schemathesis


@schemathesis.hook
def filter_body(_: schemathesis.HookContext, body: Any) -> bool:
    """Whether a body is worth sending."""
    return not _has_name_twice(body)


def _has_name_twice(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_name_twice(child) for child in value.values())
    if not isinstance(value, list):
        return False
    names = [child["name"] for child in value if isinstance(child, dict) and isinstance(child.get("name"), str)]
    return len(names) > len(set(names)) or any(_has_name_twice(child) for child in value)


@schemathesis.serializer("application/x-ndjson")
def write_lines(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """The body of a list; by `json`, which writes also what must be refused, such as integers of any size."""
    items = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


@schemathesis.deserializer("application/x-ndjson")
def read_lines(_: schemathesis.DeserializationContext, response: schemathesis.Response) -> Any:
    """The list that a body stands for."""
    return [orjson.loads(line) for line in response.content.splitlines()]


@schemathesis.deserializer("text/html", "text/javascript", "text/css")
def read_text(_: schemathesis.DeserializationContext, response: schemathesis.Response) -> Any:
    """A page is text."""
    return response.content.decode()
