"""The load: programs in C, compiled on the spot, so that the client is never what is measured."""

from __future__ import annotations

import hashlib
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson

from tests.bench.machine import LOAD_CPU, pinned

SOURCES: Final = Path(__file__).parent
SCRATCH: Final = Path(tempfile.gettempdir()) / "status-gateway-bench"  # programs and big databases, kept between runs
PATIENCE: Final = 120.0  # seconds for a load to end


class LoadFailed(Exception):
    """A load did not do what it was asked; the message says what it said."""


def compiled(name: str) -> str:
    """The path of the program, made from its source here when that has changed."""
    source = SOURCES / f"{name}.c"
    mark = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = SCRATCH / f"{name}-{mark}"
    if not program.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise LoadFailed("the benchmark's load is written in C: install a compiler (apt-get install gcc libc6-dev)")
        SCRATCH.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
            made = Path(folder) / name
            subprocess.run([compiler, "-O2", "-o", str(made), str(source)], check=True)
            made.rename(program)
    return str(program)


def hit(
    port: int,
    method: str,
    path: str,
    body: str = "",
    *,
    connections: int = 1,
    requests: int = 1,
    gap: float = 0.0,
    status: int = 0,
    headers: Sequence[str] = (),
) -> dict[str, float]:
    """Send requests and give `seconds`, `per_s`, `p50_ms`, `p99_ms`, `bytes`; see hit.c for what is replaced in texts.

    `gap` is seconds between an answer and the connection's next request. Raises LoadFailed at the first bad answer.
    """
    command = [compiled("hit"), "-c", str(connections), "-n", str(requests), "-g", str(gap * 1000)]
    command += ["-e", str(status), *_headers([*headers, *(["Content-Type: application/json"] if body else [])])]
    done = subprocess.run(
        pinned(LOAD_CPU, [*command, str(port), method, path, body]),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise LoadFailed(f"{method} {path}: {done.stderr.decode(errors='replace')}")
    return dict(orjson.loads(done.stdout))


class Crowd:
    """Many streams, open from the begin of the `with` block to its end; `opened` is how many seconds opening took."""

    def __init__(
        self,
        port: int,
        path: str,
        streams: int,
        events: int = 0,
        *,
        stalled: int = 0,
        timeout: float = 60.0,
        quiet: float = 0.0,
        mark: str = "",
        headers: Sequence[str] = (),
    ) -> None:
        options = ["-s", str(stalled), "-q", str(quiet), "-m", mark, *_headers(headers)]
        command = [compiled("crowd"), *options, str(port), path, str(streams), str(events), str(timeout)]
        self._process = subprocess.Popen(
            pinned(LOAD_CPU, command), 0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.opened = 0.0

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line.startswith("READY"):
            _, said = self._process.communicate(timeout=PATIENCE)
            raise LoadFailed(f"the streams did not open: {line}{said.decode(errors='replace')}")
        self.opened = float(line.split()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate(timeout=PATIENCE)

    def end(self) -> None:
        """Tell it to end though not all has arrived."""
        self._process.send_signal(signal.SIGTERM)

    def figures(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until it has read enough; the streams stay open.

        Gives `events`, `wanted`, `least`, `marks`, `bytes`, `span_s`, `p50_ms`, `p99_ms`, `event_p99_ms`, `closed`,
        `refused`.
        """
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise LoadFailed(f"the streams said nothing for {timeout:g} s")
        return dict(orjson.loads(self._process.stdout.readline()))


def _headers(headers: Sequence[str]) -> list[str]:
    return [part for header in headers for part in ("-H", header)]
