"""Follows runs as PraisonAI's users do: its `jobs` command, the handler behind it, and its recipes' handle of a run.

Run with the Python of .clients/praisonai. Takes requests as lines of JSON on stdin, and answers each with a line.
"""

import contextlib
import importlib
import io
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

# By name: they are in this client's environment, not in that of the tests.
jobs: Any = importlib.import_module("praisonai_code.cli.features.jobs")
operations: Any = importlib.import_module("praisonai.recipe.operations")


def printed(work: Callable[[], Any]) -> dict[str, Any]:
    """What a call prints and gives, or how it fails."""
    answer: dict[str, Any] = {"exit": 0}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            answer["value"] = work()
        except SystemExit as error:
            answer["exit"] = error.code
        except Exception as error:
            answer["error"] = str(error)
    return {**answer, "out": out.getvalue()}


def command(base: str, arguments: list[str]) -> dict[str, Any]:
    """`praisonai run ARGUMENT…`"""
    return printed(lambda: jobs.handle_run_command([*arguments, "--api-url", base]))


def handler(base: str, method: str, **arguments: Any) -> dict[str, Any]:
    """A method of `JobsHandler`."""
    return printed(lambda: getattr(jobs.JobsHandler(api_url=base), method)(**arguments))


def handle(base: str, job: str, method: str, **arguments: Any) -> dict[str, Any]:
    """A method of the handle that `recipe.submit_job` gives."""
    with operations.JobHandle(job_id=job, recipe_name="r", api_url=base) as found:
        return printed(lambda: getattr(found, method)(**arguments))


logging.disable()
os.environ["COLUMNS"] = "200"  # or its tables cut the ids short
ASKED: dict[str, Callable[..., dict[str, Any]]] = {"command": command, "handler": handler, "handle": handle}
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(ASKED[request.pop("do")](**request)), flush=True)
