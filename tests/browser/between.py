"""What stands between a page and the gateway, or beside it: nginx, a relay that can be cut, another origin."""

from __future__ import annotations

import asyncio
import mimetypes
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.browser.pages import BOUND, ROOT, needed, program
from tests.processes import reserved

# What nginx needs said to run from a folder of the test's own, as whoever runs the tests.
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr warn; worker_rlimit_nofile 1024;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_timeout 60s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream gateway {{ server {upstream} max_fails=0; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
{server}
  }}
}}
"""


async def accepting(port: int) -> bool:
    """Whether something listens there."""
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


class Nginx:
    """nginx in front of a gateway. `server` is the inside of its server block, where the upstream is named gateway:
    `location / { proxy_pass http://gateway; }`."""

    def __init__(self, folder: Path, upstream: str, server: str) -> None:
        needed("nginx")
        self._held = reserved()
        self.port: int = self._held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder, self._upstream = folder, urlsplit(upstream).netloc
        self._process: asyncio.subprocess.Process | None = None
        self._server = server

    async def start(self) -> Nginx:
        """Start it and wait until it accepts connections."""
        self._folder.mkdir(exist_ok=True)
        config = self._folder / "nginx.conf"
        fields = {"folder": self._folder, "upstream": self._upstream, "port": self.port, "server": self._server}
        config.write_text(NGINX.format(**fields))
        with (self._folder / "log").open("ab") as log:
            command = [program("nginx") or "nginx", "-p", str(self._folder), "-e", "stderr", "-c", str(config)]
            self._process = await asyncio.create_subprocess_exec(*command, stderr=log)
        async with asyncio.timeout(BOUND):
            while not await accepting(self.port):
                assert self._process.returncode is None, f"nginx did not start:\n{(self._folder / 'log').read_text()}"
                await asyncio.sleep(0.02)
        return self

    async def stop(self) -> None:
        """End it at once, as if it were killed."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await asyncio.wait_for(self._process.wait(), BOUND)
            self._process = None

    def release(self) -> None:
        """Give its port back."""
        self._held.close()

    async def change(self, server: str) -> None:
        """End it and start it with another server block, on the same port: its connections break."""
        await self.stop()
        self._server = server
        await self.start()


class Relay:
    """A TCP relay to another port of this machine: it counts what is open, and can cut it, hold it, or refuse it."""

    def __init__(self, upstream: str) -> None:
        self.total = 0  # connections so far
        self._held = reserved()
        self.port: int = self._held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._target = urlsplit(upstream)
        self._open: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._marker = b""
        self._listener: socket.socket | None = None

    @property
    def open(self) -> int:
        """Connections that are open now, idle ones too."""
        return len(self._open)

    async def start(self) -> Relay:
        """Listen, on the same port after a `stop`."""
        # Not asyncio's server: whoever it is accepting while it is closed it forgets, and never closes.
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._take, self._listener)
        return self

    def release(self) -> None:
        """Give its port back."""
        self._held.close()

    def cut(self) -> None:
        """Break all open connections."""
        for task in list(self._open):
            task.cancel()

    def cut_behind(self, marker: bytes) -> None:
        """Break the next connection on which the server sends these bytes, right behind them."""
        self._marker = marker

    def hold(self) -> None:
        """Let nothing through from the server, as a dead network does: connections stay open."""
        self._flows.clear()

    def go_on(self) -> None:
        """Let through what was held."""
        self._flows.set()

    async def stop(self) -> None:
        """Break all connections and refuse new ones."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self.cut()
        if self._open:
            await asyncio.wait(self._open, timeout=BOUND)

    def _take(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # it has left already
        self.total += 1
        task = asyncio.get_running_loop().create_task(self._accept(connection))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        task.add_done_callback(lambda _: connection.close())

    async def _accept(self, connection: socket.socket) -> None:
        writer: asyncio.StreamWriter | None = None
        far: asyncio.StreamWriter | None = None
        try:
            connection.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=connection)
            try:
                back, far = await asyncio.open_connection(self._target.hostname, self._target.port)
            except OSError:  # a reset, as from a machine that has nobody there; Firefox gives up after an empty answer
                reset = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                raise
            async with asyncio.TaskGroup() as both:
                both.create_task(self._there(reader, far))
                both.create_task(self._back(back, writer))
        except* (OSError, asyncio.CancelledError):
            pass  # cut by a test or by an end: either way nobody is left to be told
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    async def _there(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        raise ConnectionResetError  # the group ends the other direction too

    async def _back(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        before = b""  # what came last, in which the marker may have begun
        while data := await source.read(65536):
            await self._flows.wait()
            found = (before + data).find(self._marker) if self._marker else -1
            if found >= 0:
                target.write(data[: found + len(self._marker) - len(before)])
                self._marker = b""
                target.close()
                await target.wait_closed()
                break
            before = (before + data)[-len(self._marker) :] if self._marker else b""
            target.write(data)
            await target.drain()
        raise ConnectionResetError


class Origin:
    """A site of another origin: pages and scripts by path, as texts or files. It notes what it was asked for."""

    def __init__(self, files: Mapping[str, str | Path]) -> None:
        self.files = dict(files)
        self.asked: list[str] = []
        self.url, self.port = "", 0
        self._server: asyncio.Server | None = None

    async def start(self) -> Origin:
        """Listen."""
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    def release(self) -> None:
        """Nothing is kept."""

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BOUND)
            path = urlsplit(head.split(b" ")[1].decode()).path
            self.asked.append(path)
            found = self.files.get(path)
            body = found.read_bytes() if isinstance(found, Path) else (found or "").encode()
            name = found.name if isinstance(found, Path) else path
            kind = "text/javascript" if name.endswith((".js", ".mjs")) else mimetypes.guess_type(name)[0] or "text/html"
            status = "404 Not Found" if found is None else "200 OK"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
                f"Access-Control-Allow-Origin: *\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass  # a browser that opened a connection for later, or went away
        finally:
            writer.close()


class Between:
    """Starts such things for one test and ends them with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nginx: list[Nginx] = []
        self._others: list[Relay | Origin] = []

    async def nginx(self, upstream: str, server: str) -> Nginx:
        """nginx in front of the gateway at that URL, with that inside of its server block."""
        nginx = Nginx(self._folder / f"nginx-{len(self._nginx)}", upstream, server)
        self._nginx.append(nginx)
        return await nginx.start()

    async def relay(self, upstream: str) -> Relay:
        """A relay to the gateway at that URL."""
        relay = await Relay(upstream).start()
        self._others.append(relay)
        return relay

    async def origin(self, files: Mapping[str, str | Path]) -> Origin:
        """Another origin with those files: `{"/": "<!doctype html>…", "/x.js": path}`."""
        origin = await Origin(files).start()
        self._others.append(origin)
        return origin

    async def static(self) -> Origin:
        """Another origin that has the files of static/ at /static/…."""
        folder = ROOT / "static"
        files = {f"/static/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if path.is_file()}
        return await self.origin(files)

    async def close(self) -> None:
        """End all of them."""
        for nginx in self._nginx:
            await nginx.stop()
            nginx.release()
        for other in self._others:
            await other.stop()
            other.release()
