"""Real clients of other systems in processes of their own environments, asked in lines of JSON."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.processes import environment

ROOT = Path(__file__).parent.parent
ANSWER = 60.0  # seconds for an answer; the clients are on this machine


class Driven:
    """One process, which answers one question at a time."""

    def __init__(self, name: str, script: str) -> None:
        python = ROOT / ".clients" / name / "bin" / "python"
        assert python.exists(), f"the client's environment is missing: make .clients/{name}.stamp"
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "tests" / "clients" / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(NO_PROXY="127.0.0.1"),
            text=True,
        )

    async def ask(self, do: str, **arguments: Any) -> Any:
        """What the client makes of it; the test goes on in the meantime."""
        return await asyncio.to_thread(self._ask, {"do": do, **arguments})

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        late = threading.Timer(ANSWER, self._process.kill)
        late.start()
        try:
            return json.loads(self._process.stdout.readline())
        finally:
            late.cancel()

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=ANSWER)


@contextmanager
def driven(name: str, script: str) -> Iterator[Driven]:
    """The client in `.clients/name`, driven by that script of tests/clients."""
    client = Driven(name, script)
    try:
        yield client
    finally:
        client.close()
