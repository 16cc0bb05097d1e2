"""The contract as OpenAPI 3.1, made from the same tables from which the routes are made.

Law: nothing is said here that is not in a table of operations or a schema; a test holds the paths equal to the routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gateway import __version__
from gateway.dialects.base import PROBLEM_JSON, Answer, Operation, Parameter
from gateway.errors import (
    ForeignOrigin,
    GatewayError,
    Internal,
    InvalidRequest,
    Misdirected,
    Unavailable,
)
from gateway.schemas import SCHEMAS, ref
from gateway.values import Json

EVERYWHERE: Final = (InvalidRequest, Misdirected, Internal, Unavailable)  # whatever is asked may be refused so
UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
HEADERS: Final[Mapping[str, str]] = {
    "ETag": "The position of the document, in quotes.",
    "Last-Modified": "When the job changed last.",
    "Location": "The job's address.",
    "Retry-After": "Seconds after which asking again makes sense.",
    "Preference-Applied": "What was done of what `Prefer` asked for.",
    "Idempotent-Replayed": "`true`: this answer was given before.",
    "Allow": "The methods of this address.",
}
DESCRIPTION: Final = """\
Jobs report what happens to them, once; whoever waits reads the status with a plain GET, or subscribes and is pushed
each change over Server-Sent Events. Every GET answers HEAD too. Every error is a problem document (RFC 9457).
"""


def contract(parts: Iterable[tuple[str, Iterable[Operation]]], root: str = "") -> dict[str, Json]:
    """The OpenAPI document of operations below their prefixes; `root` is the path at which the app is mounted."""
    paths: dict[str, dict[str, Json]] = {}
    for prefix, operations in parts:
        for operation in operations:
            if operation.documented:
                paths.setdefault(prefix + operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Status gateway",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()},
        },
    }


def _operation(operation: Operation) -> dict[str, Json]:
    described: dict[str, Json] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": {str(answer.status): _answer(answer) for answer in operation.answers} | _errors(operation),
    }
    if operation.body:
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    return described


def _parameter(parameter: Parameter) -> dict[str, Json]:
    described: dict[str, Json] = {"name": parameter.name, "in": parameter.place, "description": parameter.text}
    separated = parameter.schema.get("type") == "array"  # in one value, by commas
    if parameter.many and not separated:
        described["schema"] = {"type": "array", "items": parameter.schema}
    else:
        described["schema"] = parameter.schema
    if parameter.place == "path":
        described["required"] = True
    elif separated:
        described |= {"style": "form", "explode": False}
    return described


def _answer(answer: Answer) -> dict[str, Json]:
    described: dict[str, Json] = {"description": answer.text}
    if answer.content:
        described["content"] = _content(answer.content)
    if answer.headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in answer.headers}
    return described


def _content(content: Mapping[str, str]) -> dict[str, Json]:
    return {media: {"schema": ref(schema)} for media, schema in content.items()}


def _errors(operation: Operation) -> dict[str, Json]:
    """Refusals by status; several of one status stand in one description."""
    by_status: dict[int, list[type[GatewayError]]] = {}
    unsafe = (ForeignOrigin,) if operation.method in UNSAFE else ()
    for error in dict.fromkeys((*operation.errors, *EVERYWHERE, *unsafe)):
        by_status.setdefault(error.status, []).append(error)
    return {
        str(status): {
            "description": " Or: ".join((error.__doc__ or error.title).strip() for error in errors),
            "content": {PROBLEM_JSON: {"schema": ref("Problem")}},
        }
        for status, errors in sorted(by_status.items())
    }
