"""The HTTP client for engines, against real sockets."""

import asyncio
import socket

import pytest

from helexa.neuron.runtime.engine_client import ClientLimits, EngineRequest
from helexa.neuron.runtime.engine_connection import ConnectionLimits
from tests.fakes.engine_exchange import QUICK, client_of, exchange, send
from tests.fakes.engine_server import LAST_CHUNK, EngineServer, answer, chunk, chunked_head
from tests.fakes.exchange_log import ExchangeLog, until


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request):
    """The product runs on uvloop; the plain loop must do as well (Windows, debugging)."""
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


async def test_a_request_has_its_length_its_type_and_the_engines_headers():
    async def script(talk):
        await talk.request()
        await talk.send(answer(b""))

    async with EngineServer(script) as server, client_of() as client:
        await send(client, server, b'{"a":1}', headers={"Authorization": "Bearer k"}).ended()
    (request,) = server.requests
    assert request.line == "POST /v1/x HTTP/1.1"
    assert request.body == b'{"a":1}'
    lines = request.head.split("\r\n")
    assert "Authorization: Bearer k" in lines
    assert "content-type: application/json" in lines
    assert "accept-encoding: identity" in lines


async def test_nobody_listening_is_a_failed_connection():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with client_of() as client:
            log = ExchangeLog()
            endpoint = f"http://127.0.0.1:{held.getsockname()[1]}"
            client.request(EngineRequest(endpoint, "/"), log)
            assert log.calls == []
            assert (await log.ended()).calls == [("error", "connect_failed")]


async def test_a_server_that_does_not_take_the_connection_times_out():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(0)
        fillers = []
        for _ in range(4):  # a full accept queue drops further connections silently
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(held.getsockname())
            fillers.append(filler)
        async with client_of(ClientLimits(connect_s=0.1)) as client:
            log = ExchangeLog()
            client.request(EngineRequest(f"http://127.0.0.1:{held.getsockname()[1]}", "/"), log)
            assert (await log.ended()).calls == [("error", "connect_timeout")]
        for filler in fillers:
            filler.close()


# ── the pool ──────────────────────────────────────────────────────────────────────────────────


async def serve_for_ever(talk):
    while True:
        await talk.request()
        await talk.send(answer(b"ok"))


async def test_one_connection_serves_requests_that_follow_each_other():
    async with EngineServer(serve_for_ever) as server, client_of() as client:
        for _ in range(20):
            assert (await send(client, server).ended()).body == b"ok"
        assert server.connections == 1


async def test_requests_at_the_same_time_have_their_own_connections():
    async with EngineServer(serve_for_ever) as server, client_of() as client:
        logs = [send(client, server) for _ in range(10)]
        for log in logs:
            assert (await log.ended()).body == b"ok"
        assert server.connections == 10


async def test_an_idle_connection_is_closed_before_the_engine_does_it():
    async with EngineServer(serve_for_ever) as server, client_of(QUICK) as client:
        await send(client, server).ended()
        await until(lambda: client.connection_count == 0, "the idle connection to be closed")


async def test_the_engines_keep_alive_header_shortens_the_idle_time():
    async def script(talk):
        await talk.request()
        await talk.send(answer(b"", "200 OK", "Keep-Alive: timeout=1, max=100"))
        await talk.gone()

    limits = ClientLimits(sweep_s=0.02, connection=ConnectionLimits(idle_s=3600))
    async with EngineServer(script) as server, client_of(limits) as client:
        await send(client, server).ended()
        await until(lambda: server.closed_by_client, "the connection to be given up")


async def test_a_connection_that_the_engine_closed_while_idle_is_not_used():
    """The request goes out on a new one: nothing is lost, and nothing is sent twice."""

    async def script(talk):
        await talk.request()
        await talk.send(answer(b"ok"))

    async with EngineServer(script) as server, client_of() as client:
        assert (await send(client, server).ended()).body == b"ok"
        # The engine's FIN reaches the kernel while our loop is not looking.
        await until(lambda: not server.open_now, "the engine to close")
        assert (await send(client, server).ended()).body == b"ok"
        assert [request.connection for request in server.requests] == [1, 2]


async def test_a_request_that_was_sent_is_never_sent_again():
    async def script(talk):
        await talk.request()
        await talk.send(answer(b"ok"))
        await talk.request()  # and closes without a word

    async with EngineServer(script) as server, client_of() as client:
        await send(client, server).ended()
        assert (await send(client, server).ended()).calls == [("error", "connection_lost")]
        assert len(server.requests) == 2


async def test_connection_close_is_obeyed():
    async def script(talk):
        await talk.request()
        await talk.send(answer(b"ok", "200 OK", "Connection: close"))
        await talk.gone()

    async with EngineServer(script) as server, client_of() as client:
        await send(client, server).ended()
        await until(lambda: client.connection_count == 0, "the connection to be closed")


async def test_after_a_stream_of_llama_cpp_the_next_request_has_a_new_connection():
    """It offers keep-alive and then closes: what is written meanwhile would be lost."""
    head = chunked_head().replace(b"\r\n\r\n", b"\r\nServer: llama.cpp\r\n\r\n")

    async def script(talk):
        await talk.request()
        await talk.send(head + chunk(b"ok") + LAST_CHUNK)
        await talk.gone()

    async with EngineServer(script) as server, client_of() as client:
        for _ in range(2):
            assert (await send(client, server).ended()).body == b"ok"
        assert [request.connection for request in server.requests] == [1, 2]


async def test_connections_to_one_endpoint_are_bounded():
    async def script(talk):
        await talk.request()
        await talk.gone()

    async with EngineServer(script) as server, client_of(ClientLimits(connections_max=2)) as client:
        logs = [send(client, server) for _ in range(3)]
        assert (await logs[2].ended()).calls == [("error", "crowded")]
        for log in logs[:2]:
            log.exchange.cancel()


async def test_forgetting_an_endpoint_closes_its_idle_connections():
    async with EngineServer(serve_for_ever) as server, client_of() as client:
        await send(client, server).ended()
        client.forget(server.endpoint)
        await until(lambda: client.connection_count == 0, "the idle connection to be closed")


async def test_an_endpoint_nobody_talks_to_any_more_is_forgotten():
    async with EngineServer(serve_for_ever) as server, client_of(QUICK) as client:
        await send(client, server).ended()
        await until(lambda: not client._endpoints, "the endpoint to be dropped")


# ── cancel, silence, backpressure ─────────────────────────────────────────────────────────────


async def test_cancelling_closes_the_connection_at_once_and_says_nothing():
    """F31: the engine learns that the client has gone by its TCP connection."""

    async def script(talk):
        await talk.request()
        await talk.send(chunked_head(), chunk(b"first"))
        await talk.gone()

    async with EngineServer(script) as server, client_of() as client:
        log = send(client, server)
        await until(lambda: log.body, "the first chunk")
        log.exchange.cancel()
        log.exchange.cancel()
        await until(lambda: server.closed_by_client == 1, "the engine to notice")
        assert log.calls == [
            ("head", 200, {"content-type": "text/event-stream"}),
            ("data", b"first"),
        ]


async def test_cancelling_while_connecting_says_nothing():
    async with EngineServer(serve_for_ever) as server, client_of() as client:
        log = send(client, server)
        log.exchange.cancel()
        await until(lambda: not client._tasks, "the connecting task to end")
        assert log.calls == []
        assert server.requests == []


async def test_an_engine_that_says_nothing_is_given_up():
    """F03: a stopped engine is found by its silence."""

    async def script(talk):
        await talk.request()
        await talk.gone()

    assert (await exchange(script, QUICK)).calls == [("error", "silent")]


async def test_an_engine_that_falls_silent_in_its_answer_is_given_up():
    async def script(talk):
        await talk.request()
        await talk.send(chunked_head(), chunk(b"word"))
        await talk.gone()

    log = await exchange(script, QUICK)
    assert log.body == b"word"
    assert log.calls[-1] == ("error", "silent")


async def test_bytes_keep_an_exchange_alive_past_its_limit():
    async def script(talk):
        await talk.request()
        await talk.send(chunked_head())
        for _ in range(12):
            await asyncio.sleep(0.03)
            await talk.send(chunk(b"."))
        await talk.send(LAST_CHUNK)

    log = await exchange(script, ClientLimits(first_byte_s=0.2, sweep_s=0.02))
    assert log.body == b"." * 12
    assert log.calls[-1] == ("end", True)


async def test_the_silence_limit_can_change_while_the_answer_runs():
    async def script(talk):
        await talk.request()
        await talk.send(chunked_head(), chunk(b"first token"))
        await talk.gone()

    async with EngineServer(script) as server, client_of(ClientLimits(sweep_s=0.02)) as client:
        log = send(client, server)
        await until(lambda: log.body, "the first token")
        log.exchange.silence_limit_s = 0.05
        assert (await log.ended()).calls[-1] == ("error", "silent")


async def test_a_paused_exchange_takes_no_bytes_and_is_not_silent():
    """F15: a stalled reader holds back its own engine connection, which is not a fault of it."""
    sent = 0

    async def script(talk):
        nonlocal sent
        await talk.request()
        await talk.send(chunked_head())
        for _ in range(400):
            await talk.send(chunk(b"x" * 65536))
            sent += 1
        await talk.send(LAST_CHUNK)

    async with EngineServer(script) as server, client_of(QUICK) as client:
        log = send(client, server)
        await until(lambda: log.body, "the first bytes")
        log.exchange.pause_reading()
        taken = len(log.body)
        before = -1
        while before != sent:  # until the engine cannot write any more
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 400
        assert len(log.body) <= taken + 65536 * 4
        assert not log.over
        log.exchange.resume_reading()
        assert (await log.ended()).calls[-1] == ("end", True)
        assert len(log.body) == 400 * 65536


async def test_closing_the_client_ends_every_exchange():
    async def script(talk):
        await talk.request()
        await talk.gone()

    async with EngineServer(script) as server, client_of() as client:
        log = send(client, server)
        await until(lambda: server.requests, "the request to arrive")
        client.close()
        assert log.calls == [("error", "closed")]
        assert (await send(client, server).ended()).calls == [("error", "closed")]


# ── what is sent ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("endpoint", "path", "headers"),
    [
        ("http://127.0.0.1:1", "/a b", {}),
        ("http://127.0.0.1:1", "/a\r\nx: y", {}),
        ("http://127.0.0.1:1", "no-slash", {}),
        ("http://127.0.0.1:1", "/", {"x": "1\r\ny: 2"}),
        ("http://127.0.0.1:1", "/", {"x\r\n": "1"}),
        ("http://127.0.0.1:1", "/", {"Content-Length": "7"}),
        ("http://127.0.0.1:1", "/", {"x": "schlüssel"}),
        ("ftp://127.0.0.1:1", "/", {}),
        ("http://", "/", {}),
    ],
)
async def test_a_request_that_would_not_be_one_is_refused(endpoint, path, headers):
    async with client_of() as client:
        with pytest.raises(ValueError, match=r"header|path|endpoint|x|space"):
            client.request(EngineRequest(endpoint, path, headers=headers), ExchangeLog())


async def test_an_endpoints_path_is_put_before_the_requests():
    async with EngineServer(serve_for_ever) as server, client_of() as client:
        log = ExchangeLog()
        client.request(EngineRequest(server.endpoint + "/openai/", "/v1/models", method="GET"), log)
        await log.ended()
    assert server.requests[0].line == "GET /openai/v1/models HTTP/1.1"
    assert "content-type" not in server.requests[0].head


async def test_an_engine_on_a_unix_socket_is_reached(tmp_path):
    path = tmp_path / "engine.sock"
    heads = []

    async def serve(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer(b"by path", "200 OK", "connection: close"))
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with client_of() as client:
        log = ExchangeLog()
        client.request(EngineRequest(f"unix:{path}", "/health", method="GET"), log)
        assert (await log.ended()).body == b"by path"
    server.close()
    assert heads[0].startswith(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
