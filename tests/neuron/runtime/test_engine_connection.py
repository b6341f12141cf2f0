"""One connection to an engine: whatever it says, the listener hears a legal story."""

import asyncio
import socket

import pytest

from helexa.neuron.runtime.engine_client import ClientLimits, EngineRequest
from helexa.neuron.runtime.engine_connection import ConnectionLimits
from tests.fakes.engine_exchange import QUICK, client_of, exchange, replies, send
from tests.fakes.engine_server import LAST_CHUNK, EngineServer, answer, chunk, chunked_head
from tests.fakes.exchange_log import ExchangeLog, until


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request):
    """The product runs on uvloop; the plain loop must do as well (Windows, debugging)."""
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


async def test_a_whole_answer_is_told_as_head_data_end():
    log = await exchange(
        replies(answer(b"hello", "200 OK", "Content-Type: text/plain", "Set-Cookie: a=b"))
    )
    assert log.calls == [
        ("head", 200, {"content-type": "text/plain"}), ("data", b"hello"), ("end", True),
    ]  # fmt: skip


async def test_an_answer_that_one_read_completes_is_told_in_one_call():
    assert (await exchange(replies(answer(b"hello")))).whole
    assert (await exchange(replies(chunked_head() + chunk(b"hello") + LAST_CHUNK))).whole
    assert not (await exchange(replies(chunked_head(), chunk(b"hello"), LAST_CHUNK))).whole


async def test_a_whole_answer_past_the_bound_is_refused():
    limits = ClientLimits(connection=ConnectionLimits(body_bytes_max=10))
    log = await exchange(replies(answer(b"x" * 11)), limits)
    assert log.calls == [("error", "too_large")]


async def test_of_an_engines_headers_only_two_are_kept():
    """An engine's cookies, hop-by-hop and CORS headers go nowhere."""
    log = await exchange(
        replies(
            answer(b"", "429 Slow", "Retry-After: 7", "Content-Type: a/b", "X-Evil: 1", "Via: x")
        )
    )
    assert log.calls[0] == ("head", 429, {"retry-after": "7", "content-type": "a/b"})


async def test_all_chunks_of_one_read_are_told_in_one_call():
    pieces = chunked_head() + b"".join(chunk(b"part %d " % n) for n in range(20)) + LAST_CHUNK
    log = await exchange(replies(pieces))
    data = [call for call in log.calls if call[0] == "data"]
    assert data == [("data", b"".join(b"part %d " % n for n in range(20)))]


async def test_a_chunked_body_cut_anywhere_into_bytes_is_the_same_body():
    whole = chunked_head() + chunk(b"one ") + chunk(b"two") + LAST_CHUNK
    log = await exchange(replies(*(whole[i : i + 1] for i in range(len(whole)))))
    assert log.body == b"one two"
    assert log.calls[-1] == ("end", True)


@pytest.mark.parametrize(
    "pieces",
    [
        [chunked_head(), chunk(b"half a st")],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b"not a hundred"],
        [chunked_head() + chunk(b"x") + b"5\r\nab"],
    ],
)
async def test_a_body_that_is_cut_by_its_framing_is_not_complete(pieces):
    log = await exchange(replies(*pieces))
    assert log.calls[-1] == ("end", False)


async def test_a_body_without_a_length_ends_with_the_connection():
    log = await exchange(replies(b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\n\r\nall of ", b"it"))
    assert log.body == b"all of it"
    assert log.calls[-1] == ("end", True)


async def test_a_body_without_a_length_that_is_reset_is_not_complete():
    async def script(talk):
        await talk.request()
        await talk.send(b"HTTP/1.1 200 OK\r\n\r\nsome of it")
        await until(lambda: log.calls[1:], "the body to arrive")
        linger = b"\x01\0\0\0\0\0\0\0"
        talk.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with EngineServer(script) as server, client_of() as client:
        log = send(client, server)
        await log.ended()
    assert log.calls[-1] == ("end", False)


async def test_interim_answers_are_skipped():
    log = await exchange(
        replies(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n", answer(b"ok")
        )
    )
    assert log.calls == [("head", 200, {}), ("data", b"ok"), ("end", True)]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nab"],
        [b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(101)) + b"\r\n"],
        [b"HTTP/1.1 200 OK\r\nbig: " + b"x" * 70_000 + b"\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n", *(b"y" * 8192 for _ in range(10))],
        [b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"],
        [chunked_head() + b"zz\r\n"],
        [chunked_head() + b"1;ext=", *(b"e" * 8192 for _ in range(10))],
        [chunked_head() + b"0\r\n", *(b"t%d: x\r\n" % n for n in range(200))],
    ],
    ids=[
        "not-http", "two-lengths", "coding", "compressed", "many-headers", "large-header",
        "endless-header", "upgrade", "bad-chunk", "endless-extension", "endless-trailers",
    ],
)  # fmt: skip
async def test_garbage_is_malformed_and_its_connection_closed(pieces):
    """F07: a bounded parser; the fault stays with the one exchange."""

    async def script(talk):
        await talk.request()
        await talk.send(*pieces)
        await talk.gone()

    assert (await exchange(script)).calls[-1] == ("error", "malformed")


async def test_a_body_past_the_bound_is_too_large():
    limits = ClientLimits(connection=ConnectionLimits(body_bytes_max=1000))

    async def script(talk):
        await talk.request()
        await talk.send(chunked_head(), chunk(b"x" * 600), chunk(b"x" * 600))
        await talk.gone()

    log = await exchange(script, limits)
    assert log.calls[-1] == ("error", "too_large")


async def test_a_closed_connection_before_the_head_is_lost():
    async def script(talk):
        await talk.request()

    assert (await exchange(script)).calls == [("error", "connection_lost")]


@pytest.mark.parametrize(
    "extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nfoo", b"garbage", b"\0"]
)
async def test_a_connection_over_which_more_came_than_was_asked_for_is_not_used_again(extra):
    """S18: an answer smuggled behind another reaches nobody."""

    async def script(talk):
        await talk.request()
        await talk.send(answer(b"ok") + extra)
        await talk.gone()

    async with EngineServer(script) as server, client_of() as client:
        assert (await send(client, server).ended()).body == b"ok"
        assert (await send(client, server).ended()).body == b"ok"
        assert server.connections == 2


async def test_an_engine_that_speaks_unasked_on_an_idle_connection_is_cut():
    async def script(talk):
        await talk.request()
        await talk.send(answer(b"ok"))
        await until(lambda: log.over, "the first answer to be taken")
        await talk.send(answer(b"poison"))
        await talk.gone()

    async with EngineServer(script) as server, client_of() as client:
        log = send(client, server)
        await log.ended()
        await until(lambda: server.closed_by_client, "the connection to be cut")
        assert log.body == b"ok"


async def test_a_listener_may_cancel_from_its_own_call():
    async def script(talk):
        await talk.request()
        await talk.send(chunked_head() + chunk(b"a"))
        await talk.gone()

    class Impatient(ExchangeLog):
        def on_head(self, status, headers):
            super().on_head(status, headers)
            self.exchange.cancel()

    async with EngineServer(script) as server, client_of() as client:
        log = Impatient()
        log.exchange = client.request(EngineRequest(server.endpoint, "/"), log)
        await until(lambda: server.closed_by_client, "the connection to be closed")
        assert [call[0] for call in log.calls] == ["head"]


async def test_framing_without_a_body_is_silence():
    async def script(talk):
        await talk.request()
        await talk.send(chunked_head() + b"5;")
        while not talk.reader.at_eof():
            await talk.send(b"x")
            await asyncio.sleep(0.005)

    assert (await exchange(script, QUICK)).calls[-1] == ("error", "silent")


async def test_an_early_answer_to_a_large_body_does_not_poison_the_connection():
    async def script(talk):
        await talk.reader.readuntil(b"\r\n\r\n")
        await talk.send(answer(b"too much", "413 Too Large"))
        await talk.gone()

    async with EngineServer(script) as server, client_of() as client:
        log = await send(client, server, b"x" * (16 << 20)).ended()
        assert log.calls[0][1] == 413
        await until(lambda: client.connection_count == 0, "the connection to be closed")
