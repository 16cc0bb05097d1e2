"""NeMo Platform's real clients, unchanged, told what to do over stdin: a JSON list a line in, a JSON object a line out.

Run as `.clients/nemo/bin/python tests/clients/nemo.py BASE_URL`. A line is `[client, method, arguments]`: client `sdk` is
NeMoPlatform in strict mode, `lax` as its users have it, `plugin` JobsClient, `wait` the command line's waiting loop. The
answer is `{"value": …}`, or `{"error": class, "status": code, "text": …}`; both say how many `requests` were sent.
"""

import json
import sys
from typing import Any

import httpx
from nemo_platform import DefaultHttpxClient, NeMoPlatform
from nemo_platform.cli.core.waiters import wait_for_platform_job
from nemo_platform_plugin.jobs.client import JobsClient
from pydantic import BaseModel

LIMIT = 20  # items of all pages of a list; the tests make fewer


def plain(value: Any) -> Any:
    """What a client gave, as JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def of_sdk(client: NeMoPlatform, method: str, arguments: dict[str, Any]) -> Any:
    """A method of `client.jobs`, such as `get_status` or `steps.list`; of a list all items of all pages."""
    target: Any = client.jobs
    for name in method.split("."):
        target = getattr(target, name)
    value = target(**arguments)
    return [item for item, _ in zip(value, range(LIMIT), strict=False)] if hasattr(value, "iter_pages") else value


def of_plugin(client: JobsClient, method: str, arguments: dict[str, Any]) -> Any:
    """A method of JobsClient; of a list all items of all pages."""
    response = getattr(client, method)(**arguments)
    if hasattr(response, "items"):
        return [item for item, _ in zip(response.items(), range(LIMIT), strict=False)]
    return response.data()


def main(base: str) -> None:
    """Do as told until stdin ends."""
    requests: list[str] = []
    http = DefaultHttpxClient(event_hooks={"request": [lambda request: requests.append(request.method)]})
    clients: dict[str, Any] = {
        "sdk": NeMoPlatform(base_url=base, workspace="default", http_client=http, _strict_response_validation=True),
        "lax": NeMoPlatform(base_url=base, workspace="default", access_token="tok"),
        "plugin": JobsClient(base_url=base, workspace="default", http_client=httpx.Client()),
    }
    for line in sys.stdin:
        client, method, arguments = json.loads(line)
        requests.clear()
        try:
            if client == "wait":
                value = wait_for_platform_job(clients["sdk"].jobs, poll_interval=0.05, timeout=20, **arguments)
            elif client == "plugin":
                value = of_plugin(clients[client], method, arguments)
            else:
                value = of_sdk(clients[client], method, arguments)
            answer = {"value": plain(value)}
        except Exception as error:
            code = getattr(error, "status_code", None)
            answer = {"error": type(error).__name__, "status": code, "text": str(error)}
        print(json.dumps(answer | {"requests": len(requests)}), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    # The waiting loop prints for people; only answers may stand on the real stdout.
    sys.stdout = sys.stderr
    main(sys.argv[1])
