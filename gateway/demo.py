"""`python -m gateway.demo`: the gateway, and a real job that runs through it; `make run` starts this.

The job is a plain program that knows nothing of the gateway: it compiles Python's standard library into a scratch
folder and prints how far it is. `status-gateway run` makes a job of it.
"""

from __future__ import annotations

import os
import py_compile
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

COMPILE: Final = "compile-library"
PACE: Final = 0.05  # seconds between files: compiling takes 3 s, and a newcomer a while to open the page
START_SECONDS: Final = 30.0  # until it must listen: a large log on a slow disk takes a while to check
END_SECONDS: Final = 20.0  # for the orderly end of a process: the gateway's grace period of 10 and some
READY_SECONDS: Final = 10.0  # for the answer that it is ready
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LISTENING: Final = re.compile(r"listening on (http://\S+)")
_LEFT_OUT: Final = {"site-packages", "dist-packages", "test", "tests"}  # not the library; some files break on purpose


def compile_library(target: Path) -> None:
    """Byte-compile the standard library into the folder, a line `i/n file` for each file."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = [path.relative_to(library) for path in sorted(library.rglob("*.py"))]
    sources = [path for path in sources if _LEFT_OUT.isdisjoint(path.parts)]
    for number, path in enumerate(sources, 1):
        py_compile.compile(str(library / path), cfile=str(target / f"{path}c"), doraise=True)
        print(f"{number}/{len(sources)} {path}", flush=True)
        time.sleep(PACE)


def show(flags: Sequence[str]) -> int:
    """Start the gateway with the flags of `serve`, run the job, and stay until Ctrl-C; gives the exit status."""
    for number in _ENDING:
        signal.signal(number, _end)
    command = [sys.executable, "-m", "gateway.cli"]
    try:
        with _child([*command, "serve", *flags], stderr=subprocess.PIPE) as server:
            url = _url_of(server)
            if url is None:
                return server.poll() or 1
            _explain(url)
            with tempfile.TemporaryDirectory(prefix="status-gateway-") as scratch:
                job = [sys.executable, "-m", "gateway.demo", COMPILE, scratch]
                run = [*command, "run", "--url", url, "--name", COMPILE, "--", *job]
                with _child(run, stdout=subprocess.DEVNULL) as runner:
                    runner.wait()
            return server.wait()
    except KeyboardInterrupt:
        return 0


def _end(_: int, __: FrameType | None) -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)  # the end is under way, and bounded
    raise KeyboardInterrupt


@contextmanager
def _child(
    command: Sequence[str], stdout: int | None = None, stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, so that Ctrl-C comes here only and things end in their order."""
    process = subprocess.Popen(  # noqa: S603 - its words come from this file and from whoever started it
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, process_group=0
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _url_of(server: subprocess.Popen[str]) -> str | None:
    """Where it listens, once it is ready; None when it has ended instead. Its log goes on to stderr."""
    found: list[str] = []
    known = threading.Event()

    def pass_on() -> None:
        for line in server.stderr or ():
            sys.stderr.write(line)
            sys.stderr.flush()
            if not found and (match := _LISTENING.search(line)):
                found.append(match[1])
                known.set()
        known.set()

    threading.Thread(target=pass_on, daemon=True).start()
    known.wait(START_SECONDS)
    if not found:
        return None
    with urllib.request.urlopen(f"{found[0]}/readyz", timeout=READY_SECONDS):  # noqa: S310 - http by the pattern
        return found[0]


def _explain(url: str) -> None:
    script = Path(sys.executable).with_name("status-gateway")
    script = Path(os.path.relpath(script)) if script.is_relative_to(Path.cwd()) else script
    loop = 'for i in 1 2 3 4 5; do echo "$i/5"; sleep 1; done'
    print(f"\n  Open {url}/ and see a job move: Python's standard library is being compiled.")
    print("  A job of your own, from a second terminal:\n")
    print(f"    {script} run --url {url} --name hello -- sh -c '{loop}'\n")
    print("  Ctrl-C ends the gateway; what it knows stays in its database.\n", flush=True)


def main(words: Sequence[str]) -> int:
    """The job itself for `compile-library FOLDER`, else the whole show with the words as flags of `serve`."""
    if len(words) == 2 and words[0] == COMPILE:
        compile_library(Path(words[1]))
        return 0
    return show(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
