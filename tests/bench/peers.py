"""The servers that are measured, each as a process of its own on a free port of 127.0.0.1, bound to one CPU."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import orjson

from tests.bench.apps import CONSTANT
from tests.bench.load import LoadFailed, compiled
from tests.bench.machine import SERVER_CPU, cpu_seconds, family, free_port, memory_kib, nchan_module, pinned
from tests.processes import environment

JOB: Final = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
STARTUP: Final = 60.0  # seconds until a server must listen
EXIT: Final = 20.0  # seconds from SIGTERM until it must have ended
ROOT: Final = Path(__file__).parent.parent.parent

# What producers send. The gateway makes a document of the report; the others pass on what they are given, so they get a
# document of like size. {t} is the time that readers take the latency from.
REPORT: Final = '{"progress":{p},"message":"Processing step 2 of 4","details":{"t":{t}}}'
DOCUMENT: Final = (
    f'{{"id":"{JOB}",'
    '"workspace":"default","name":"tiles","process":null,"state":"running","previous":"pending",'
    '"terminal":false,"stalled":false,"attempt":1,"progress":{p},"step":null,"message":"Processing step 2 of 4",'
    '"error":null,"details":{"t":{t}},"labels":{},"steps":[],"links":[],"result":null,'
    '"created":"2026-02-19T10:00:00.000Z","started":"2026-02-19T10:00:05.000Z","finished":null,'
    '"updated":"2026-02-19T10:00:09.120Z","reported":null,"lease":null,"version":{n},"position":"k7f3q2ab-{n}"}'
)

_NCHAN = """
load_module {module};
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_rlimit_nofile 65000;
events {{ worker_connections 60000; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; nchan_shared_memory_size 512M; keepalive_requests 10000000;
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location = /publish {{ nchan_publisher; nchan_channel_id job; nchan_message_buffer_length 1000; }}
    location = /stream {{ nchan_subscriber eventsource; nchan_channel_id job;
      nchan_subscriber_first_message newest; }} }} }}
"""


class Peer:
    """A server that runs: its port, how to publish and to stream one job there, and what it costs."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, log: Path, job: str = "") -> None:
        self.name, self.process, self.port, self._log = name, process, port, log
        self.stream = f"/v1/jobs/{job}/events" if job else "/stream"
        self.publish = self.stream if job else "/publish"
        self.body = REPORT if job else DOCUMENT
        self.begun = time.perf_counter()

    def cpu(self) -> float:
        """CPU seconds of the server so far."""
        return cpu_seconds(family(self.process.pid))

    def kib(self) -> float:
        """Resident memory of the server."""
        return memory_kib(family(self.process.pid))

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
        """One request; `body` becomes JSON unless it is bytes. Raises LoadFailed unless the answer is of 2xx."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=STARTUP)
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        with contextlib.closing(connection):
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            said = answer.read()
        if answer.status // 100 != 2:
            raise LoadFailed(f"{self.name}: {method} {path} answered {answer.status}: {said[:500]!r}")
        return said

    def said(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def gateway(
    folder: Path, *arguments: str, job: str = JOB, database: Path | None = None, ready: bool = True
) -> Iterator[Peer]:
    """The gateway as its users run it, its log durable, with one job that runs (none where `job` is empty)."""
    port = free_port()
    file = database or folder / f"status-{port}.db"
    command = [sys.executable, "-m", "gateway.cli", "serve", "--port", str(port), "--database", str(file), *arguments]
    with _running("gateway", command, port, folder, job=job, ready=ready) as peer:
        if job:
            peer.ask("POST", "/v1/jobs", {"id": job, "state": "running"})
        yield peer


@contextmanager
def measured_gateway(folder: Path, mode: str, job: str = JOB) -> Iterator[Peer]:
    """The gateway with a measuring part around it: see launch.py."""
    port = free_port()
    settings = [f"port={port}", f"database={folder / f'{mode}-{port}.db'}"]
    with _running(mode, [sys.executable, "-m", "tests.bench.launch", mode, *settings], port, folder, job=job) as peer:
        if job:
            peer.ask("POST", "/v1/jobs", {"id": job, "state": "running"})
        yield peer


@contextmanager
def nchan(folder: Path) -> Iterator[Peer]:
    """nginx with its push module, one worker."""
    port = free_port()
    own = folder / f"nchan-{port}"
    own.mkdir()
    (own / "nginx.conf").write_text(_NCHAN.format(module=nchan_module(), folder=own, port=port), encoding="utf-8")
    command = ["nginx", "-c", str(own / "nginx.conf"), "-e", str(own / "nginx.log")]
    with _running("nchan", command, port, folder) as peer:
        answered(peer)  # its worker begins after it listens
        yield peer


@contextmanager
def floor(folder: Path) -> Iterator[Peer]:
    """The C server that only calls send()."""
    port = free_port()
    with _running("floor", [compiled("floor"), str(port)], port, folder) as peer:
        yield peer


@contextmanager
def hand_written(folder: Path) -> Iterator[Peer]:
    """A server by sse-starlette with a queue for each reader."""
    with _uvicorn("hand_written", folder) as peer:
        yield peer


@contextmanager
def constant(folder: Path, data: bytes) -> Iterator[Peer]:
    """A Starlette route `/constant` that answers these bytes."""
    (folder / "constant").write_bytes(data)
    with _uvicorn("constant", folder, **{CONSTANT: str(folder / "constant")}) as peer:
        yield peer


@contextmanager
def bare_replay(folder: Path, database: Path) -> Iterator[Peer]:
    """A program that selects all records and sends them to its one reader."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.bare", "replay", str(database), str(port)]
    with _running("bare", command, port, folder) as peer:
        yield peer


@contextmanager
def _uvicorn(name: str, folder: Path, **variables: str) -> Iterator[Peer]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", f"tests.bench.apps:{name}", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "error", "--backlog", "4096"]
    with _running(name, command, port, folder, variables=variables) as peer:
        yield peer


@contextmanager
def _running(
    name: str,
    command: Sequence[str],
    port: int,
    folder: Path,
    *,
    job: str = "",
    variables: Mapping[str, str] | None = None,
    ready: bool = True,
) -> Iterator[Peer]:
    log = folder / f"{name}-{port}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            pinned(SERVER_CPU, command),
            stdout=said,
            stderr=said,
            cwd=ROOT,
            env=environment(**(variables or {})),
            start_new_session=True,  # so that its workers are ended with it
        )
    try:
        peer = Peer(name, process, port, log, job)
        if ready:
            listening(peer)
        yield peer
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(EXIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(EXIT)


def answered(peer: Peer) -> None:
    """Wait until the server answers, whatever it says."""
    with contextlib.closing(HTTPConnection("127.0.0.1", peer.port, timeout=STARTUP)) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()


def listening(peer: Peer, pause: float = 0.02) -> float:
    """Wait until the server takes connections; how many seconds that took."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < STARTUP:
        if peer.process.poll() is not None:
            raise LoadFailed(f"{peer.name} ended at once: {peer.said()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", peer.port), 0.5):
            return time.perf_counter() - begin
        time.sleep(pause)
    raise LoadFailed(f"{peer.name} did not listen within {STARTUP:g} s: {peer.said()[-2000:]}")
