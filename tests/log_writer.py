"""A process that writes a log as fast as it can and says what was acknowledged, a line each, until it is killed.

`python -m tests.log_writer DATABASE ROUND`
"""

from __future__ import annotations

import asyncio
import hashlib
import sys

from gateway.eventlog.base import Outcome
from gateway.eventlog.sqlite import SqliteLog
from tests.logs import entry, key

PRODUCERS = 20


def told(offset: int, document: bytes) -> str:
    """What is said of an acknowledged record: its offset and what tells its document from others."""
    return f"{offset} {hashlib.sha256(document).hexdigest()}"


async def produce(log: SqliteLog, job: str) -> None:
    """Report on one job, one report after the other."""
    for number in range(1_000_000):
        details = {"pad": "x" * 6000} if number % 10 == 0 else {}
        said = entry(job, create=True, message=str(number), details=details, key=key(f"k{number}"))
        (answer,) = await log.append([said])
        assert isinstance(answer, Outcome)
        # One write of a whole line: what arrives was acknowledged, and what is cut off counts as not.
        print(told(answer.standing.last, answer.standing.document), flush=True)


async def main(database: str, number: str) -> None:
    """Write for ever."""
    log = await SqliteLog.open(database)
    async with asyncio.TaskGroup() as group:
        group.create_task(log.run())
        for producer in range(PRODUCERS):
            group.create_task(produce(log, f"{number}-{producer}"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
