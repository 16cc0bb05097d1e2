"""The command line. Data goes to stdout, messages to stderr; `--json` gives the documents as they are."""

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, cast

from gateway.client.base import ProblemError, Unreachable, clean
from gateway.flags import parser

EXIT_REFUSED: Final = 1
EXIT_UNREACHABLE: Final = 3
EXIT_INTERRUPTED: Final = 130

__all__ = ["ACTIONS", "main", "parser"]

Action = Callable[[argparse.Namespace], int | Coroutine[Any, Any, int]]

# Which function does the work. Loaded by name, here and nowhere else: the server's libraries take as long to import as
# all the rest, and `run` and `report` are started thousands of times.
ACTIONS: Final = {
    "serve": "gateway.operating:serve",
    "backup": "gateway.operating:backup",
    "run": "gateway.using:run",
    "report": "gateway.using:report",
    "status": "gateway.using:status",
    "jobs": "gateway.using:jobs",
    "watch": "gateway.using:watch",
    "cancel": "gateway.using:wish",
    "pause": "gateway.using:wish",
    "resume": "gateway.using:wish",
    "delete": "gateway.using:delete",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the exit status."""
    options = parser().parse_args(_valid(sys.argv[1:] if arguments is None else arguments))
    module, _, function = ACTIONS[options.action].partition(":")
    action = cast("Action", getattr(importlib.import_module(module), function))
    try:
        done = action(options)
        return done if isinstance(done, int) else asyncio.run(_explained(done))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


async def _explained(action: Coroutine[Any, Any, int]) -> int:
    try:
        return await action
    except Unreachable as error:
        return _say(f"{error}; is it running? It is started by: status-gateway serve", EXIT_UNREACHABLE)
    except ProblemError as problem:
        return _say(str(problem), EXIT_REFUSED)
    except BrokenPipeError:
        # Whoever read our output has enough (`| head`); Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _say(text: str, status: int) -> int:
    print(f"status-gateway: {text}", file=sys.stderr)
    return status


def _valid(arguments: Sequence[str]) -> list[str]:
    """The arguments as valid Unicode, as reports have to be; commands and paths are bytes, and stay as they are."""
    raw = arguments[:1] in (["run"], ["serve"], ["backup"])
    return list(arguments) if raw else [clean(argument) for argument in arguments]


if __name__ == "__main__":
    sys.exit(main())
