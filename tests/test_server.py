"""The server holds its bounds against real sockets: heads, stalled readers, old clients, signals, a taken port."""

import asyncio
import contextlib
import re
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import orjson
import pytest
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway import __version__, connection, patience, process
from gateway.door import Entrance, protocol_for
from gateway.parked import Parked
from gateway.process import ListenError, bind, raise_file_limit, start_listening, url_of
from gateway.server import Server
from gateway.settings import Settings
from tests.processes import EXIT, LISTENING, STARTUP, environment
from tests.server_app import GOODBYE, Stream, Streams, make_app

WAIT = 60.0  # seconds; everything here takes milliseconds where nothing else runs
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
GET_STREAM = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"


class Peer:
    """One running server in this loop, and connections to it."""

    def __init__(self, server: Server, streams: Streams, port: int) -> None:
        self.server = server
        self.streams = streams
        self.port = port
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which the data was sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(data)
        return reader, writer

    async def ask(self, data: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and the whole rest until the server closes."""
        reader, _ = await self.connect(data)
        return split_answer(await asyncio.wait_for(reader.read(), WAIT))

    async def open_stream(self, request: bytes = GET_STREAM) -> tuple[asyncio.StreamReader, Stream]:
        """A reader of a stream, after its first bytes, and the server's side of it."""
        self.streams.opened.clear()
        before = set(self.streams.open)
        reader, _ = await self.connect(request)
        await asyncio.wait_for(reader.readuntil(b"first\n\n"), WAIT)
        await asyncio.wait_for(self.streams.opened.wait(), WAIT)
        (stream,) = self.streams.open - before
        return reader, stream


def split_answer(answer: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return int(status.split()[1]), dict(line.split(b": ", 1) for line in lines), body


@asynccontextmanager
async def running(settings: Settings | None = None) -> AsyncIterator[Peer]:
    """A server in this loop, ended in order afterwards."""
    app = make_app()
    sockets = bind("127.0.0.1", 0)
    server = Server(app, settings or Settings(grace=2.0))
    task = asyncio.create_task(server.serve(sockets))
    await asyncio.wait_for(server.accepting.wait(), WAIT)
    peer = Peer(server, app.state.gateway, sockets[0].getsockname()[1])
    try:
        yield peer
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, WAIT)
        for writer in peer.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(writer.wait_closed(), WAIT)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with running() as found:
        yield found


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """What came until the connection ended, be it by a reset: whoever closes one on which bytes wait resets it."""
    came = b""
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(65_536), WAIT):
            came += piece
    return came


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until it is so, with a bound."""
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.005)


def in_loop(name: str, scenario: Callable[[Peer], Awaitable[None]]) -> None:
    """The scenario with a server, all in a loop of that kind."""

    async def whole() -> None:
        async with running() as found:
            await scenario(found)

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(whole())


# ---- heads ----


async def test_an_ordinary_request_is_answered_and_the_connection_kept(peer: Peer) -> None:
    reader, writer = await peer.connect(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    first = await asyncio.wait_for(reader.readuntil(b"hello"), WAIT)
    assert b"\r\nserver:" not in first.lower()
    writer.write(b"\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    assert (await asyncio.wait_for(reader.readuntil(b"abc"), WAIT)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000, id="one field without an end"),
        pytest.param(b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 17_000 + b"\r\n\r\n", id="one large field"),
        pytest.param(b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="a long address"),
        pytest.param(b"GET /hello HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", id="101 fields"),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 40_000,
            id="a trailer without an end",
        ),
    ],
)
async def test_a_head_over_the_bounds_gets_431_and_the_end(peer: Peer, request_bytes: bytes) -> None:
    reader, writer = await peer.connect()
    for start in range(0, len(request_bytes), 4096):
        writer.write(request_bytes[start : start + 4096])
        await asyncio.sleep(0)
    status, headers, body = split_answer(await asyncio.wait_for(reader.read(), WAIT))
    assert status == 431
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    problem = orjson.loads(body)
    assert problem["status"] == 431
    assert "16 KiB" in problem["detail"]


async def test_a_head_just_within_the_bounds_is_answered(peer: Peer) -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 150) for number in range(98))
    status, _, body = await peer.ask(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields + b"\r\n")
    assert (status, body) == (200, b"hello")


async def test_a_huge_head_is_neither_kept_nor_cut_off_before_its_answer(
    monkeypatch: pytest.MonkeyPatch, peer: Peer
) -> None:
    assert connection.LINGER == 2.0
    monkeypatch.setattr(connection, "LINGER", WAIT)  # a slow machine needs longer to send all of it
    reader, writer = await peer.connect(b"GET / HTTP/1.1\r\nX: ")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    piece = b"a" * 65_536
    with contextlib.suppress(ConnectionError):
        for _ in range(512):
            writer.write(piece)
            await asyncio.wait_for(writer.drain(), WAIT)
    assert split_answer(await asyncio.wait_for(reader.read(), WAIT))[0] == 431
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB, of 32 MiB that were sent


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01", b"GET /\xff HTTP/1.1\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"]
)
async def test_what_is_not_http_gets_a_problem_and_the_end(peer: Peer, garbage: bytes) -> None:
    status, headers, body = await peer.ask(garbage)
    assert status == 400
    assert headers[b"content-type"] == b"application/problem+json"
    assert orjson.loads(body)["status"] == 400


async def test_garbage_within_a_body_is_refused_and_its_app_set_free(peer: Peer) -> None:
    status, _, _ = await peer.ask(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert status == 400
    await until(lambda: not peer.server.server_state.tasks)


async def test_garbage_instead_of_a_body_that_waits_to_be_asked_for_is_refused_without_an_error_in_the_log(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    status, _, _ = await peer.ask(head + b"zz\r\n")
    assert status == 400
    assert not caplog.records


async def test_garbage_right_behind_a_request_for_a_stream_ends_it(peer: Peer) -> None:
    reader, _ = await peer.connect(GET_STREAM + b"\x00garbage\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), WAIT)
    assert split_answer(answer)[0] == 400
    assert b"first" not in answer
    await until(lambda: not peer.streams.open)


async def test_garbage_behind_an_open_stream_never_gets_into_it(peer: Peer) -> None:
    reader, stream = await peer.open_stream()
    peer.writers[-1].write(b"\x00garbage\r\n\r\n")
    await peer.connect(b"")  # by the time that this one is there, the garbage has come
    await asyncio.sleep(0)
    await stream.end()
    rest = await asyncio.wait_for(reader.read(), WAIT)
    end = b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(GOODBYE), GOODBYE)
    assert rest.startswith(end + b"HTTP/1.1 400 ")


async def test_an_upgrade_that_is_asked_for_is_left_out(peer: Peer) -> None:
    status, _, body = await peer.ask(
        b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"
    )
    assert (status, body) == (200, b"hello")


@pytest.mark.parametrize("sent", [b"", b"GET /hello HT", b"GET /hello HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_without_a_whole_head_is_closed_in_time(
    monkeypatch: pytest.MonkeyPatch, peer: Peer, sent: bytes
) -> None:
    assert patience.HEAD_TIMEOUT == 10.0
    monkeypatch.setattr(patience, "HEAD_TIMEOUT", 0.2)
    reader, _ = await peer.connect(sent)
    assert await end_of(reader) == b""


async def test_a_slow_head_on_a_kept_connection_is_closed_however_it_trickles(
    monkeypatch: pytest.MonkeyPatch, peer: Peer
) -> None:
    monkeypatch.setattr(patience, "HEAD_TIMEOUT", 0.3)
    reader, writer = await peer.connect(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"hello"), WAIT)
    rest = asyncio.create_task(end_of(reader))
    for _ in range(1000):
        writer.write(b"\r\n")  # before a request these count for nothing, and no head ever begins
        done, _ = await asyncio.wait([rest], timeout=0.05)
        if done:
            break
    assert await asyncio.wait_for(rest, WAIT) == b""


async def test_a_head_that_begins_right_behind_a_request_is_timed_too(
    monkeypatch: pytest.MonkeyPatch, peer: Peer
) -> None:
    monkeypatch.setattr(patience, "HEAD_TIMEOUT", 0.2)
    reader, _ = await peer.connect(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hel")
    assert (await asyncio.wait_for(reader.read(), WAIT)).endswith(b"hello")


# ---- the writer ----


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_written_arrives_as_whole_chunks_in_order(loop: str) -> None:
    async def scenario(peer: Peer) -> None:
        reader, stream = await peer.open_stream()
        assert stream.wire
        for number in range(3):
            assert stream.wire.try_write(b"frame %d\n\n" % number)
        assert stream.wire.try_write(b"")  # an empty chunk would end the body
        await stream.end()
        body = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), WAIT)
        frames = b"".join(b"9\r\nframe %d\n\n\r\n" % number for number in range(3))
        assert body == b"\r\n" + frames + b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOODBYE), GOODBYE)

    in_loop(loop, scenario)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reader_that_stalls_blocks_the_writer_early_and_loses_nothing(loop: str) -> None:
    async def scenario(peer: Peer) -> None:
        client = socket.create_connection(("127.0.0.1", peer.port), timeout=WAIT)
        client.sendall(GET_STREAM)
        await asyncio.wait_for(peer.streams.opened.wait(), WAIT)
        (stream,) = peer.streams.open
        assert stream.wire
        count = 0
        refused = 0
        while refused < 20:  # in a row: the kernel takes a little more after the first
            if stream.wire.try_write(b"%06d" % count + b"x" * 1018):
                count, refused = count + 1, 0
            else:
                refused += 1
            await asyncio.sleep(0.001)
        assert 64 <= count <= 4096, "64 KiB wait in the process, and a bounded number in the kernel"
        received = await asyncio.to_thread(client.recv, 65_536)
        await_resumed = asyncio.create_task(until(lambda: stream.wire is not None and stream.wire.try_write(b"last\n")))
        while b"last\n" not in received[-20:]:
            received += await asyncio.to_thread(client.recv, 65_536)
        await await_resumed
        client.close()
        assert [int(number) for number in re.findall(rb"(\d{6})x", received)] == list(range(count))
        await asyncio.wait_for(stream.gone.wait(), WAIT)

    in_loop(loop, scenario)


@pytest.mark.parametrize("loop", LOOPS)
def test_writing_to_a_reader_who_is_gone_raises(loop: str) -> None:
    async def scenario(peer: Peer) -> None:
        _, stream = await peer.open_stream()
        peer.writers[-1].close()
        await asyncio.wait_for(stream.gone.wait(), WAIT)
        assert stream.wire
        with pytest.raises(ConnectionResetError):
            stream.wire.try_write(b"x")

    in_loop(loop, scenario)


@pytest.mark.parametrize("loop", LOOPS)
def test_abort_frees_the_connection_of_a_reader_who_takes_nothing(loop: str) -> None:
    async def scenario(peer: Peer) -> None:
        with socket.create_connection(("127.0.0.1", peer.port), timeout=WAIT) as client:
            client.sendall(GET_STREAM)
            await asyncio.wait_for(peer.streams.opened.wait(), WAIT)
            (stream,) = peer.streams.open
            assert stream.wire
            for _ in range(1000):
                if not stream.wire.try_write(b"x" * 65_536):
                    break
                await asyncio.sleep(0)
            assert not stream.wire.try_write(b"x")
            stream.wire.abort()
            await asyncio.wait_for(stream.gone.wait(), WAIT)
            await until(lambda: not peer.server.server_state.connections)

    in_loop(loop, scenario)


async def test_a_response_that_has_ended_takes_no_more(peer: Peer) -> None:
    _, stream = await peer.open_stream()
    await stream.end()
    assert stream.wire
    with pytest.raises(ConnectionResetError):
        stream.wire.try_write(b"x")


# ---- HTTP/1.0 ----


async def test_a_client_of_http_1_0_gets_a_stream_without_chunks_that_ends_with_the_connection(peer: Peer) -> None:
    peer.streams.opened.clear()
    reader, _ = await peer.connect(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    await asyncio.wait_for(peer.streams.opened.wait(), WAIT)
    (stream,) = peer.streams.open
    assert stream.wire
    assert stream.wire.try_write(b"second\n\n")
    await stream.end()
    status, headers, body = split_answer(await asyncio.wait_for(reader.read(), WAIT))
    assert status == 200
    assert b"transfer-encoding" not in headers
    assert headers[b"connection"] == b"close"
    assert body == b"first\n\nsecond\n\n" + GOODBYE


async def test_a_client_of_http_1_0_gets_an_answer_of_known_length_as_ever(peer: Peer) -> None:
    status, headers, body = await peer.ask(b"GET /hello HTTP/1.0\r\n\r\n")
    assert (status, headers[b"content-length"], body) == (200, b"5", b"hello")


# ---- sockets and files ----


async def test_connections_have_bounded_buffers_and_notice_a_silent_peer(peer: Peer) -> None:
    await peer.open_stream()
    (found,) = peer.server.server_state.connections
    assert isinstance(found, Parked)
    sock = found.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 64 * 1024  # Linux doubles what was asked for
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@contextmanager
def bound(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    sockets = bind(host, port)
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def test_localhost_means_one_port_on_all_its_addresses() -> None:
    with bound("localhost") as sockets:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert {sock.getsockname()[0] for sock in sockets} <= {"127.0.0.1", "::1"}


def test_an_address_in_brackets_is_ipv6() -> None:
    with bound("[::1]") as (sock,):
        assert url_of(sock) == f"http://[::1]:{sock.getsockname()[1]}"


def test_a_taken_port_and_an_unknown_host_are_refused() -> None:
    with bound("127.0.0.1") as (sock,):
        start_listening([sock])
        with pytest.raises(ListenError, match="already in use"):
            bind("127.0.0.1", sock.getsockname()[1])
    with pytest.raises(ListenError, match=r"host\.invalid port 1: .*--host"):
        bind("host.invalid", 1)
    with pytest.raises(ListenError, match="assign requested address"):
        bind("192.0.2.1", 0)  # set aside for documentation: no machine has it


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the name `several` stand for some addresses, as another machine's resolver would."""

    def stand_for(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: found if host == "several" else None)

    return stand_for


def test_a_host_of_several_addresses_gets_one_port_on_those_that_are_here(resolve: Callable[..., None]) -> None:
    resolve("127.0.0.1", "192.0.2.1", "127.0.0.2")
    with bound("several") as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1", "127.0.0.2"]
        assert len({sock.getsockname()[1] for sock in sockets}) == 1


def test_a_port_that_is_taken_on_one_of_several_addresses_is_refused(resolve: Callable[..., None]) -> None:
    with bound("127.0.0.2") as (sock,):
        start_listening([sock])
        resolve("127.0.0.1", "127.0.0.2")
        with pytest.raises(ListenError, match="already in use"):
            bind("several", sock.getsockname()[1])


def test_socket_options_that_a_platform_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    with bound("127.0.0.1") as (sock,):
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_the_process_may_open_as_many_files_as_the_system_permits() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[1]), limits[1]))
        assert raise_file_limit() == limits[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limits[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_where_the_system_refuses_more_files_the_limit_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    def refuse(kind: int, limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_file_limit() == soft


# ---- uvicorn's release ----


def test_an_untried_uvicorn_gets_its_own_connection_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(protocol_for("0.54.0"), Entrance)
    assert not caplog.records
    assert protocol_for("0.49.9") is HttpToolsProtocol
    assert protocol_for("0.56.0rc1") is HttpToolsProtocol
    assert protocol_for("1.0") is HttpToolsProtocol
    assert "was not tried" in caplog.text


async def test_without_the_extension_a_stream_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvicorn.__version__", "9.9.9")
    async with running() as peer:
        reader, stream = await peer.open_stream()
        assert stream.wire is None
        await stream.end()
        assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), WAIT)


async def test_two_servers_one_after_the_other_share_no_shutdown() -> None:
    for _ in range(2):
        async with running() as peer:
            reader, _ = await peer.open_stream()
        assert (await asyncio.wait_for(reader.read(), WAIT)).endswith(GOODBYE + b"\r\n0\r\n\r\n")
        assert peer.streams.drained


async def test_a_signal_ends_a_server_that_is_embedded_without_a_watchdog() -> None:
    async with running() as peer:
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: peer.streams.drained)


# ---- the process ----


class Process:
    """The app in a process of its own, from the line that says where it listens on."""

    def __init__(self, *words: str) -> None:
        flags = words if "--" in words else (*words, "--")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.server_app", *flags, *(() if "--port" in words else ("--port", "0"))],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def first_line(self) -> str:
        """The first line of its log."""
        assert self.process.stderr
        return self.process.stderr.readline()

    def listening(self) -> int:
        """Its port, once it listens."""
        line = self.first_line()
        found = LISTENING.search(line)
        assert found, line
        return int(found[2])

    def end(self, *signals: signal.Signals) -> tuple[int, str]:
        """Exit status, and the rest of its log."""
        for number in signals:
            self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=EXIT)
        return self.process.returncode, rest


@contextmanager
def started(*words: str) -> Iterator[Process]:
    found = Process(*words)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.communicate(timeout=STARTUP)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_streams_whole_with_status_0_and_a_clean_log(number: signal.Signals) -> None:
    with started() as found:
        port = found.listening()
        clients = [socket.create_connection(("127.0.0.1", port), timeout=WAIT) for _ in range(20)]
        for client in clients:
            client.sendall(GET_STREAM)
            received = b""
            while not received.endswith(b"first\n\n\r\n"):
                received += client.recv(4096)
        status, log = found.end(number)
        assert (status, log) == (0, "")
        for client in clients:
            rest = b""
            while piece := client.recv(4096):
                rest += piece
            assert rest.endswith(GOODBYE + b"\r\n0\r\n\r\n")
            client.close()


def test_the_first_line_says_what_listens_where() -> None:
    with started() as found:
        assert re.fullmatch(
            rf"status-gateway {re.escape(__version__)} listening on http://127\.0\.0\.1:\d+\n", found.first_line()
        )


def test_a_reader_who_takes_nothing_does_not_hold_up_the_end() -> None:
    with started("--", "--grace", "2") as found, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", found.listening()))
        body = b"x" * 4_000_000
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        client.recv(1)
        status, log = found.end(signal.SIGTERM)
        assert status == 0
        assert "Traceback" not in log


@pytest.mark.parametrize(
    "fault,words",
    [("failing-farewell", "no goodbye today"), ("endless-farewell", "took too long")],
)
def test_a_farewell_that_fails_does_not_hold_up_the_end(fault: str, words: str) -> None:
    with started(fault, "--", "--grace", "4") as found:
        found.listening()
        status, log = found.end(signal.SIGTERM)
        assert status == 0
        assert words in log


def refuses_in_time(port: int) -> bool:
    """Whether soon nothing listens there any more."""
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=WAIT).close()
        except OSError:
            return True
        select.select([], [], [], 0.01)
    return False


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    with started("patient", "endless-farewell", "--", "--grace", "600") as found:
        port = found.listening()
        found.process.send_signal(signal.SIGINT)
        assert refuses_in_time(port)  # until the first was heard, a second would be lost: signals do not queue
        status, _ = found.end(signal.SIGINT)
        assert status == 0


def test_a_second_ctrl_c_cuts_answers_under_way_but_closes_the_log() -> None:
    with started("patient", "--", "--grace", "600") as found, socket.socket() as client:
        port = found.listening()
        client.connect(("127.0.0.1", port))
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 100")  # the answer is under way
        found.process.send_signal(signal.SIGINT)
        assert refuses_in_time(port)
        status, log = found.end(signal.SIGINT)
        assert (status, log) == (0, "")


def test_a_log_that_can_not_be_closed_is_ended_by_the_watchdog() -> None:
    with started("stuck-end", "--", "--grace", "1") as found:
        found.listening()
        status, _ = found.end(signal.SIGTERM)
        assert status == process.FAILURE


def test_an_error_at_the_end_is_told_by_the_exit_status() -> None:
    with started("broken-end") as found:
        found.listening()
        status, log = found.end(signal.SIGTERM)
        assert status == process.FAILURE
        assert "a defect at the end" in log


def test_a_thread_that_never_ends_does_not_keep_the_process() -> None:
    with started("stuck-thread", "--", "--grace", "4") as found:
        found.listening()
        status, log = found.end(signal.SIGTERM)
        assert (status, log) == (0, "")


def test_a_log_that_can_not_be_opened_is_said_in_one_line() -> None:
    with started("unusable-log") as found:
        status, log = found.end()
        assert status == process.FAILURE
        assert log == "status-gateway: status.db is not a database: give another file with --database\n"


def test_a_defect_at_the_start_is_told_with_its_traceback() -> None:
    with started("broken-start") as found:
        status, log = found.end()
        assert status == process.FAILURE
        assert log.count("Traceback") == 1
        assert log.endswith("status-gateway: a defect\n")


def test_a_taken_port_is_said_in_one_line() -> None:
    with bound("127.0.0.1") as (sock,):
        start_listening([sock])
        port = sock.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "tests.server_app", "--", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=STARTUP,
            check=False,
            env=environment(),
        )
    assert done.returncode == process.FAILURE
    assert done.stderr == (
        f"status-gateway: can't listen on 127.0.0.1 port {port}: Address already in use (see --host and --port)\n"
    )


def test_a_port_that_is_taken_in_the_last_moment_is_said_in_one_line() -> None:
    with bound("127.0.0.1") as (sock,):
        port = sock.getsockname()[1]
        with started(f"steal={port}", "--", "--port", str(port)) as found:
            status, log = found.end()
    assert status == process.FAILURE
    assert "Address already in use" in log
    assert log.count("\n") == 1
