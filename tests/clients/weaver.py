"""Reads jobs as Weaver's clients do: OWSLib itself, and the requests that WeaverClient was recorded to make.

Run with the Python of .clients/weaver. Takes requests as lines of JSON on stdin, and answers each with a line.
WeaverClient itself is in no package registry; what it sends and how it reads the answer is repeated here with the HTTP
library that it uses.
"""

import importlib
import json
import logging
import sys
import time
from typing import Any

# By name: they are in this client's environment, not in that of the tests.
requests: Any = importlib.import_module("requests")
wps: Any = importlib.import_module("owslib.wps")
processes: Any = importlib.import_module("owslib.ogcapi.processes")

FINISHED = ("failed", "dismissed", "canceled", "exception", "error", "succeeded", "successful", "finished")
SUCCESS = ("succeeded", "successful", "finished")
TIMEOUT = 30  # seconds for a request; `weaver` has 5, which a machine that stands still for a moment would miss


def checked(location: str, headers: dict[str, str] | None = None, again: bool = False) -> dict[str, Any]:
    """What WPSExecution makes of the document; `again` lets it follow the document's own statusLocation."""
    execution = wps.WPSExecution(headers=headers)
    execution.checkStatus(url=location, sleepSecs=0)
    if again:
        document = wps.WPSExecution()
        document.checkStatus(response=execution.response, sleepSecs=0)
        execution = wps.WPSExecution(headers=headers)
        execution.statusLocation = document.statusLocation
        execution.checkStatus(sleepSecs=0)
    return {
        "status": execution.status,
        "percent": execution.percentCompleted,
        "message": execution.statusMessage,
        "complete": execution.status and execution.isComplete(),
        "succeeded": execution.isSucceeded(),
        "errors": [[error.code, error.locator, error.text] for error in execution.errors],
        "process": execution.process and execution.process.identifier,
        "location": execution.statusLocation,
        "created": getattr(execution, "creationTime", None),
    }


def asked(base: str, path: str) -> dict[str, Any]:
    """What OWSLib's client of OGC API - Processes gets below the base URL."""
    client = processes.Processes(base)
    try:
        return {"body": client._request(path=path)}
    except RuntimeError as error:
        return {"error": str(error)}


def conforms(base: str) -> dict[str, Any]:
    """What OWSLib's client is told at the root and of conformance."""
    client = processes.Processes(base)
    return {"links": client.links, "conformance": client.conformance()}


class Recorded:
    """The requests of WeaverClient, and what it takes from the answers."""

    def __init__(self, base: str) -> None:
        base = base.rstrip("/")
        for cut in ("/processes/", "/jobs/", "/providers"):
            base = base.split(cut)[0]
        self.base = base

    def call(self, method: str, url: str, **params: Any) -> Any:
        """A request with its headers; it sends a Content-Type with GET and DELETE as well."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        return requests.request(method, url, headers=headers, params=params, timeout=TIMEOUT)

    def address(self, reference: str) -> str:
        """A full URL as it is, or the job's address below the base URL."""
        return reference if reference.startswith("http") else f"{self.base}/jobs/{reference}"

    def result(self, response: Any, success: bool | None = None) -> dict[str, Any]:
        """Its OperationResult: JSON is read only where the answer says that it is JSON."""
        body = response.json() if "json" in response.headers.get("Content-Type", "") else response.text
        told = body if isinstance(body, dict) else {}
        return {
            "success": response.status_code < 400 if success is None else success,
            "code": response.status_code,
            "message": told.get("description") or told.get("message") or "undefined",
            "body": body,
        }

    def get(self, reference: str, part: str = "") -> dict[str, Any]:
        """`status`, and with a part `logs`, `exceptions` and `results`."""
        return self.result(self.call("GET", self.address(reference) + part))

    def dismiss(self, reference: str) -> dict[str, Any]:
        """`dismiss`."""
        return self.result(self.call("DELETE", self.address(reference)))

    def jobs(self, **query: Any) -> dict[str, Any]:
        """`jobs`."""
        return self.result(self.call("GET", f"{self.base}/jobs", **query))

    def monitor(self, reference: str, timeout: float = 60, interval: float = 0.05) -> dict[str, Any]:
        """`monitor`: ends at success, at any other end, at anything but 200, or when the time is over."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            response = self.call("GET", self.address(reference))
            if response.status_code != 200:
                return {"success": False, "message": "Could not find job with specified reference."}
            status = response.json().get("status")
            if status in SUCCESS:
                return self.result(response, True)
            if status in FINISHED:
                return self.result(response, False)
            time.sleep(interval)
        return {"success": False, "message": "Monitoring timeout reached."}


def handle(request: dict[str, Any]) -> Any:
    """The answer to a request: `do` names what is to be done, the rest are its arguments."""
    do = request.pop("do")
    own: Any = {"checked": checked, "asked": asked, "conforms": conforms}.get(do)
    if own is not None:
        return own(**request)
    return getattr(Recorded(request.pop("base")), do)(**request)


def main() -> None:
    """Answer line by line, until stdin ends."""
    logging.disable()  # OWSLib logs each document that it can't read
    for line in sys.stdin:
        sys.stdout.write(json.dumps(handle(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
