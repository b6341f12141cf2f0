"""The server on real sockets: addresses, TLS, limits of connections, backpressure, draining."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.limits import Limits
from helexa.cortex.gateway.edge.listening import open_sockets
from helexa.cortex.gateway.edge.server import EdgeServer
from tests.conformance.http_wire import parse_answers

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CERTIFICATE = Path(__file__).parents[3] / "fakes" / "localhost_certificate.txt"


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    factory = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]
    return "asyncio", {"loop_factory": factory}


def hello(exchange: Exchange) -> None:
    exchange.respond(200, b"", b"hello")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[Exchange], None] = hello,
    limits: Limits | None = None,
    context: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[tuple[EdgeServer, str, int]]:
    server = EdgeServer(handler, limits=limits)
    await server.start(open_sockets(host, 0), context)
    name, _, port = server.addresses[0].rpartition(":")
    try:
        yield server, name.strip("[]"), int(port)
    finally:
        await server.close()
        assert server.connection_count == 0


async def exchange(host: str, port: int, raw: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    writer.write(raw)
    data = await asyncio.wait_for(reader.read(-1), 20)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return data


async def test_it_answers_on_several_sockets_and_families_at_once() -> None:
    server = EdgeServer(hello)
    families = ["127.0.0.1", "127.0.0.2"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        families.append("::1")
    for host in families:
        await server.start(open_sockets(host, 0))
    try:
        assert len(server.addresses) == len(families)
        for host, address in zip(families, server.addresses, strict=True):
            data = await exchange(host, int(address.rpartition(":")[2]), GET + LAST)
            assert [answer.body for answer in parse_answers(data)] == [b"hello", b"hello"]
    finally:
        await server.close()


async def test_tls_is_spoken_and_the_handler_told() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    trusting = ssl.create_default_context(cafile=CERTIFICATE)

    def handler(exchange: Exchange) -> None:
        exchange.respond(200, b"", b"secure" if exchange.secure else b"plain")

    async with serving(handler, Limits(linger_s=0.2), context) as (server, host, port):
        data = await exchange(host, port, LAST, trusting)
        assert [answer.body for answer in parse_answers(data)] == [b"secure"]
        # Plain HTTP to the TLS port ends the handshake and harms nobody.
        assert b"HTTP/1.1" not in await exchange(host, port, LAST)
        bad = await exchange(host, port, b"bad\r\n\r\n", trusting)
        assert [answer.status for answer in parse_answers(bad)] == [400]
        await until(lambda: server.connection_count == 0)


async def test_a_large_upload_gets_its_413_and_not_a_reset() -> None:
    async with serving(limits=Limits(body_bytes_max=1000)) as (_, host, port):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n"
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(head + b"x" * 4_000_000)
        await writer.drain()
        data = await asyncio.wait_for(reader.read(-1), 20)
        writer.close()
        await writer.wait_closed()
        assert [answer.status for answer in parse_answers(data)] == [413]


async def test_connections_past_the_limit_wait_until_one_ends() -> None:
    async with serving(limits=Limits(connections_max=2)) as (server, host, port):
        held = [await asyncio.open_connection(host, port) for _ in range(2)]
        await until(lambda: server.connection_count == 2 and not server.accepting)
        third = asyncio.ensure_future(exchange(host, port, LAST))
        for _, writer in held:
            writer.write(GET)
        for reader, _ in held:
            assert b"hello" in await asyncio.wait_for(reader.readuntil(b"hello"), 10)
        assert not third.done()
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        assert b"hello" in await asyncio.wait_for(third, 10)


async def test_the_process_limit_of_open_files_leaves_some_to_spare() -> None:
    resource = pytest.importorskip("resource")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(limits=Limits(connections_max=10**9, file_descriptors_spare=soft - 2)) as (
        server,
        host,
        port,
    ):
        pairs = [await asyncio.open_connection(host, port) for _ in range(2)]
        await until(lambda: server.connection_count == 2)
        assert not server.accepting
        for _, writer in pairs:
            writer.close()
            await writer.wait_closed()


async def test_memory_for_a_client_that_does_not_read_is_bounded_and_others_go_on() -> None:
    """R3.7: a slow reader pauses its own stream only; what waits for it is bounded."""
    streams: list[Exchange] = []

    def handler(exchange: Exchange) -> None:
        if exchange.path == "/":
            hello(exchange)
            return
        exchange.start(200, b"")
        streams.append(exchange)

    async with serving(handler) as (_, host, port):
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, port))
        slow.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: streams)
        [stream] = streams
        resumed: list[bool] = []
        stream.on_resume = lambda: resumed.append(True)
        written = 0
        while written < 4_000_000:
            if stream.paused:
                break
            stream.write(b"x" * 8192)
            written += 8192
            await asyncio.sleep(0)
        assert stream.paused
        assert written < 1_000_000, "the kernel's buffer for the client is not bounded"
        assert stream.write_backlog() < 64 * 1024 + 2 * 8192
        assert b"hello" in await exchange(host, port, LAST)
        slow.settimeout(0)
        loop = asyncio.get_running_loop()
        while not resumed:
            await asyncio.wait_for(loop.sock_recv(slow, 65536), 10)
        assert not stream.paused
        stream.abort()
        slow.close()


async def test_a_client_that_leaves_is_told_to_the_handler_at_once() -> None:
    left = asyncio.Event()
    begun = asyncio.Event()

    def handler(exchange: Exchange) -> None:
        exchange.on_gone = left.set
        exchange.start(200, b"")
        begun.set()

    async with serving(handler) as (_, host, port):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(GET)
        await asyncio.wait_for(begun.wait(), 10)
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(left.wait(), 10)


async def test_a_cut_http_1_0_answer_is_a_reset_and_a_cut_stream_has_no_end() -> None:
    def handler(exchange: Exchange) -> None:
        exchange.start(200, b"")
        exchange.write(b"half")
        asyncio.get_running_loop().call_soon(exchange.abort)

    async with serving(handler) as (_, host, port):
        with pytest.raises(ConnectionResetError):
            await exchange(host, port, b"GET / HTTP/1.0\r\n\r\n")
        [answer] = parse_answers(await exchange(host, port, GET))
        assert (answer.body, answer.whole) == (b"half", False)


async def test_draining_lets_a_begun_answer_end_and_takes_nothing_new() -> None:
    streams: list[Exchange] = []

    def handler(exchange: Exchange) -> None:
        exchange.start(200, b"")
        streams.append(exchange)

    async with serving(handler) as (server, host, port):
        _, idle = await asyncio.open_connection(host, port)
        answer = asyncio.ensure_future(exchange(host, port, GET))
        await until(lambda: streams and server.connection_count == 2)
        drained = asyncio.ensure_future(server.drain(20))
        await until(lambda: server.connection_count == 1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)
        assert not drained.done()
        streams[0].finish(b"whole")
        assert [a.body for a in parse_answers(await answer)] == [b"whole"]
        assert await asyncio.wait_for(drained, 10) == 0
        idle.close()
        with contextlib.suppress(ConnectionError):
            await idle.wait_closed()


async def test_draining_past_its_deadline_cuts_and_counts_what_is_left() -> None:
    left: list[bool] = []

    def handler(exchange: Exchange) -> None:
        exchange.on_gone = lambda: left.append(True)
        exchange.start(200, b"")

    async with serving(handler) as (server, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        assert await server.drain(0.01) == 1
        assert left == [True]
        with contextlib.suppress(ConnectionError):
            assert await reader.read(-1) == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_slow_clients_are_swept_away_while_others_are_served() -> None:
    limits = Limits(header_timeout_s=0.3, body_window_s=0.3, sweep_s=0.05)
    async with serving(limits=limits) as (server, host, port):
        slow = [b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"] * 10
        waiting = [asyncio.ensure_future(exchange(host, port, raw)) for raw in slow]
        for _ in range(20):
            assert b"hello" in await exchange(host, port, LAST)
        for data in [await asyncio.wait_for(one, 15) for one in waiting]:
            assert [answer.status for answer in parse_answers(data)] == [408]
        await until(lambda: server.connection_count == 0)


async def test_thousands_of_pipelined_requests_are_all_answered() -> None:
    async with serving() as (_, host, port):
        data = await exchange(host, port, GET * 3000 + LAST)
        assert len(parse_answers(data)) == 3001
