"""Reads jobs with Julep's own SDK, strict in what it accepts, through its synchronous and its asynchronous client.

Run with the Python of .clients/julep. Takes requests as lines of JSON on stdin, and answers each with a line.
"""

import asyncio
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

julep: Any = importlib.import_module("julep")  # by name: it is in this client's environment, not in that of the tests


def get(base: str, job: str, key: str = "k", **options: Any) -> dict[str, Any]:
    """What `jobs.get` gives."""
    with julep.Julep(api_key=key, base_url=base, _strict_response_validation=True, **options) as client:
        try:
            return shown(client.jobs.get(job))
        except julep.APIError as error:
            return failed(error)


def get_async(base: str, job: str) -> dict[str, Any]:
    """The same of the asynchronous client."""

    async def run() -> dict[str, Any]:
        async with julep.AsyncJulep(api_key="k", base_url=base, _strict_response_validation=True) as client:
            try:
                return shown(await client.jobs.get(job))
            except julep.APIError as error:
                return failed(error)

    return asyncio.run(run())


def shown(status: Any) -> dict[str, Any]:
    """The members of the SDK's model, as it has read them."""
    return {"kind": type(status).__name__, "status": status.model_dump(mode="json", exclude_unset=True)}


def failed(error: Any) -> dict[str, Any]:
    """The SDK's error."""
    return {"error": type(error).__name__, "code": getattr(error, "status_code", None), "body": error.body}


ASKED: dict[str, Callable[..., dict[str, Any]]] = {"get": get, "get_async": get_async}
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(ASKED[request.pop("do")](**request)), flush=True)
