"""NeMo Platform's real clients, unchanged, told what to do over stdin: a list a line, answered by an object a line.

Run as `.clients/nemo/bin/python tests/clients/nemo.py BASE_URL`. A line is `[client, method, arguments]`, by client:
`sdk`, NeMoPlatform in strict mode; `lax`, the same as its users have it and with a token; `plugin`, JobsClient; `old`,
NeMoMicroservices; and `wait`, the command line's waiting loop. The answer is `{"value": …}`, or `{"error": class,
"status": code, "text": …}`; both say how many `requests` were sent by `sdk` and `plugin`.
"""

import importlib
import json
import sys
from typing import Any

# By name: they are in this client's environment, not in that of the tests.
httpx: Any = importlib.import_module("httpx")
nemo: Any = importlib.import_module("nemo_platform")
waiters: Any = importlib.import_module("nemo_platform.cli.core.waiters")
old: Any = importlib.import_module("nemo_microservices")
plugin: Any = importlib.import_module("nemo_platform_plugin.jobs.client")

LIMIT = 20  # items of all pages of a list; the tests make fewer


def plain(value: Any) -> Any:
    """What a client gave, as JSON."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def few(items: Any) -> list[Any]:
    """The items of all pages."""
    return [item for item, _ in zip(items, range(LIMIT), strict=False)]


def of_sdk(client: Any, method: str, arguments: dict[str, Any]) -> Any:
    """A method of `client.jobs`, such as `get_status` or `steps.list`."""
    target = client.jobs
    for name in method.split("."):
        target = getattr(target, name)
    value = target(**arguments)
    return few(value) if hasattr(value, "iter_pages") else value


def of_plugin(client: Any, method: str, arguments: dict[str, Any]) -> Any:
    """A method of JobsClient."""
    response = getattr(client, method)(**arguments)
    return few(response.items()) if hasattr(response, "items") else response.data()


def main(base: str) -> None:
    """Do as told until stdin ends."""
    sent: list[Any] = []
    hooks = {"request": [sent.append]}
    options = {"base_url": base, "workspace": "default"}
    http = nemo.DefaultHttpxClient(event_hooks=hooks)
    sdk = nemo.NeMoPlatform(**options, http_client=http, _strict_response_validation=True)
    clients = {
        "sdk": sdk,
        "lax": nemo.NeMoPlatform(**options, access_token="tok"),
        "old": old.NeMoMicroservices(base_url=base, _strict_response_validation=True),
    }
    jobs = plugin.JobsClient(**options, http_client=httpx.Client(event_hooks=hooks, timeout=60))
    for line in sys.stdin:
        client, method, arguments = json.loads(line)
        sent.clear()
        try:
            if client == "wait":
                value = waiters.wait_for_platform_job(sdk.jobs, poll_interval=0.05, timeout=60, **arguments)
            elif client == "plugin":
                value = of_plugin(jobs, method, arguments)
            else:
                value = of_sdk(clients[client], method, arguments)
            answer = {"value": plain(value)}
        except Exception as error:  # whatever a client raises is its answer
            code = getattr(error, "status_code", None)
            answer = {"error": type(error).__name__, "status": code, "text": str(error)}
        print(json.dumps(answer | {"requests": len(sent)}), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    sys.stdout = sys.stderr  # the waiting loop prints for people; on the real stdout stand only answers
    main(sys.argv[1])
