"""`make run` shows a newcomer a real job, and ends in order."""

import re
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import demo
from gateway.client import SyncClient
from gateway.process import bind, start_listening
from tests.processes import EXIT, LISTENING, STARTUP, environment, serving


def test_the_job_compiles_the_library_and_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "library"
    for name in ("a.py", "b/c.py", "test/broken.py", "site-packages/other.py"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("x = 1\n" if "broken" not in name else "x = \n")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(library))
    monkeypatch.setattr(demo, "PACE", 0.0)
    assert demo.main(["compile-library", str(tmp_path / "scratch")]) == 0
    assert capsys.readouterr().out == "1/2 a.py\n2/2 b/c.py\n"
    assert (tmp_path / "scratch" / "a.pyc").is_file()
    assert (tmp_path / "scratch" / "b" / "c.pyc").is_file()
    assert not (tmp_path / "scratch" / "test").exists()


class Show:
    """The show in a process of its own, with its log so far."""

    def __init__(self, *flags: str) -> None:
        command = [sys.executable, "-m", "gateway.demo", *flags]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        self.log = ""
        self.url: str | None = None
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self.log += line
            if found := LISTENING.search(line):
                self.url = found[1]
                self._listening.set()
        self._listening.set()

    def listening(self) -> str:
        """Its address, once it listens."""
        assert self._listening.wait(STARTUP)
        assert self.url, self.log
        return self.url

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Exit status and what it printed."""
        if number is not None:
            self.process.send_signal(number)
        assert self.process.stdout
        printed = self.process.stdout.read()
        status = self.process.wait(EXIT)
        self._reader.join(EXIT)
        return status, printed


@contextmanager
def showing(*flags: str) -> Iterator[Show]:
    show = Show(*flags)
    with show.process:
        try:
            yield show
        finally:
            show.process.terminate()
            show.process.wait(EXIT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_job_first_and_then_the_gateway(tmp_path: Path, number: signal.Signals) -> None:
    database = tmp_path / "status.db"
    with showing("--port", "0", "--database", str(database)) as show:
        url = show.listening()
        with SyncClient(url) as client:
            moving = (job for job in client.watch_many() if job["progress"])
            job = next(moving)
            assert (job["name"], job["state"]) == (demo.COMPILE, "running")
            assert re.fullmatch(r"\d+/\d+ \S+\.py", job["message"] or "")
            moving.close()
        status, printed = show.end(number)
    assert status == 0, show.log
    assert f"Open {url}/" in printed
    assert "status-gateway run --url" in printed
    assert "Traceback" not in show.log
    with serving(database) as server, SyncClient(server.url) as client:
        assert client.status(job["id"])["state"] == "cancelled"


def test_a_gateway_that_can_not_start_ends_the_show_with_its_reason(tmp_path: Path) -> None:
    (taken,) = bind("127.0.0.1", 0)
    with taken:
        start_listening([taken])
        port = taken.getsockname()[1]
        with showing("--port", str(port), "--database", str(tmp_path / "status.db")) as show:
            status, printed = show.end()
    assert status == 1
    assert printed == ""
    assert "Address already in use" in show.log
    assert "Traceback" not in show.log
