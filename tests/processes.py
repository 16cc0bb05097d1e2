"""Real processes for tests: the gateway as its users start it, to be killed, restarted and ended.

`Server` runs `status-gateway serve` on 127.0.0.1 with a database of the test's own, on a free port that it keeps over
restarts. Every wait is bounded; what the process said on stderr is in `log` and in each failure. `patient` starts the
program with the limits of `tests.patiently`.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

STARTUP = 60.0  # seconds until it must listen; a loaded machine of two cores needs a few
EXIT = 40.0  # seconds until a signalled process must be gone: the default grace of 10 and some, but less than 60
LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:(\d+))")


def command(*arguments: str, patient: bool = False) -> list[str]:
    """The command line of `status-gateway ARGUMENT…` in this environment."""
    return [sys.executable, "-m", "tests.patiently" if patient else "gateway.cli", *arguments]


def reserved(port: int = 0) -> socket.socket:
    """A socket that keeps a port of 127.0.0.1 from every other process, but does not listen: a server of the test may
    do that, again and again, and who connects meanwhile is refused. What is only free now may be another's in a moment.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of a gateway, plus `variables`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STATUS_GATEWAY_")}
    return clean | variables


class Server:
    """One gateway process at a time over one database and one port."""

    def __init__(
        self,
        database: Path,
        *arguments: str,
        port: int = 0,
        variables: Mapping[str, str] | None = None,
        patient: bool = False,
    ):
        held = reserved(port)
        weakref.finalize(self, held.close)
        self.database = database
        self.arguments = arguments
        self.port: int = held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._patient = patient
        self._variables = dict(variables or {})
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._reader: threading.Thread | None = None

    @property
    def log(self) -> str:
        """What all its processes have said on stderr so far."""
        return "".join(self._lines)

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process of the last start."""
        assert self._process is not None, "the server was not started"
        return self._process

    def start(self) -> "Server":
        """Start it and wait until it says where it listens."""
        arguments = ("serve", "--port", str(self.port), "--database", str(self.database), *self.arguments)
        self._process = subprocess.Popen(
            command(*arguments, patient=self._patient),
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**self._variables),
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process, ready), daemon=True)
        self._reader.start()
        if not ready.wait(STARTUP) or self._process.poll() is not None:
            self._end(signal.SIGKILL)
            raise AssertionError(f"the gateway did not start:\n{self.log}")
        return self

    def _read(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._lines.append(line)
                if found := LISTENING.search(line):
                    self.url, self.port = found[1], int(found[2])
                    ready.set()
        ready.set()  # it ended without listening: `start` need not wait longer

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        return self._end(signal.SIGTERM)

    def restart(self) -> "Server":
        """kill -9, then start again on the same port and database."""
        self.kill()
        return self.start()

    def _end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(EXIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(EXIT)
            raise AssertionError(f"the gateway did not end on {number.name}:\n{self.log}") from None
        if self._reader is not None:
            self._reader.join(EXIT)
        return status


@contextmanager
def serving(
    database: Path,
    *arguments: str,
    port: int = 0,
    variables: Mapping[str, str] | None = None,
    patient: bool = False,
) -> Iterator[Server]:
    """A gateway for the length of a `with` block; afterwards it is gone, however the block ended."""
    server = Server(database, *arguments, port=port, variables=variables, patient=patient).start()
    try:
        yield server
    finally:
        server.kill()


def run_cli(
    *arguments: str,
    url: str | None = None,
    timeout: float = 60.0,
    stdin: bytes = b"",
    patient: bool = False,
    **variables: str,
) -> "subprocess.CompletedProcess[bytes]":
    """`status-gateway ARGUMENT…` to its end, its output as bytes; `url` reaches it through the environment."""
    more = {"STATUS_GATEWAY_URL": url} if url else {}
    return subprocess.run(
        command(*arguments, patient=patient),
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
        env=environment(**more, **variables),
    )


def start_cli(arguments: Sequence[str], url: str, patient: bool = False, **variables: str) -> "subprocess.Popen[bytes]":
    """`status-gateway ARGUMENT…` as a running process with pipes for stdin, stdout and stderr."""
    return subprocess.Popen(
        command(*arguments, patient=patient),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(STATUS_GATEWAY_URL=url, **variables),
        bufsize=0,
    )
