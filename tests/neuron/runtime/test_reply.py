"""One answer on its way back: what passes, what is held back, what is cut."""

import asyncio

import pytest
from structlog.testing import capture_logs

from helexa.neuron.runtime.engine_client import ClientLimits
from helexa.neuron.runtime.limits import ExecutorLimits
from tests.fakes.engine_server import LAST_CHUNK, answer, chunk, chunked_head
from tests.fakes.exchange_log import until
from tests.fakes.executor_world import DONE, once, replies, world
from tests.fakes.tunnel_pair import StreamLog


async def test_an_answer_that_is_not_streamed_comes_as_one():
    async with world(replies(answer(b'{"object":"list"}'))) as made:
        log = await made.open(operation="embeddings").ended()
        assert (log.head.status, log.data) == (200, b'{"object":"list"}')
        assert log.trailer.first_token_ms is None


async def test_a_stream_that_failed_in_its_only_read_is_for_another_neuron():
    pieces = chunked_head() + chunk(b"data: token\n\n") + LAST_CHUNK
    async with world(once(pieces)) as made:
        log = await made.open(stream=True).ended()
        assert (log.head, log.data, log.reset.retry_elsewhere) == (None, b"", True)


async def test_a_stream_that_came_in_one_read_goes_out_whole():
    pieces = chunked_head() + chunk(b"data: token\n\n") + chunk(DONE) + LAST_CHUNK
    async with world(once(pieces)) as made:
        log = await made.open(stream=True).ended()
        assert (log.head.status, log.data) == (200, b"data: token\n\n" + DONE)
        assert log.trailer.first_token_ms is not None


@pytest.mark.parametrize("sign", [b"EXPLODE", b"GIVE UP"])
async def test_garbage_in_a_whole_answer_leaves_the_request_for_another_neuron(sign):
    async with world(once(answer(sign))) as made:
        log = await made.open().ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("engine_garbage", True)


async def test_a_large_answer_that_is_not_streamed_comes_whole():
    body = b"x" * (3 << 20)
    async with world(replies(answer(body))) as made:
        log = await made.open().ended()
        assert log.data == body


async def test_a_stream_that_ends_without_done_is_cut_even_if_its_framing_is_whole():
    async with world(once(chunked_head(), chunk(b"data: token\n\n"), LAST_CHUNK)) as made:
        log = await made.open(stream=True).ended()
        assert log.trailer is None
        assert log.reset.code == "upstream_connection_error"


async def test_an_answer_that_is_not_streamed_and_cut_is_not_passed_on():
    async with world(once(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")) as made:
        log = await made.open().ended()
        assert (log.head, log.data) == (None, b"")
        assert (log.reset.code, log.reset.retry_elsewhere) == ("engine_crash", True)


async def test_an_error_status_of_the_engine_is_for_another_neuron():
    async with world(once(answer(b"{}", "500 Oops"))) as made:
        log = await made.open(stream=True).ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("internal_error", True)


async def test_what_a_failed_engine_said_is_in_the_log_and_nowhere_else():
    """Lesson 5: else the cause of a failure is in no journal."""
    with capture_logs() as lines:
        async with world(once(answer(b"{}", "500 Oops"))) as made:
            log = await made.open(stream=True).ended()
    assert "memory" not in log.reset.message
    (line,) = [line for line in lines if line["event"] == "engine_failed_request"]
    assert line["detail"] == "out of memory"


async def test_an_error_that_an_attached_server_answered_counts_as_one():
    async with world(once(answer(b"{}", "504 Late")), spawns=False) as made:
        log = await made.open().ended()
        assert log.head.status == 504
        text = made.metrics.render().decode()
    assert 'operation="chat",outcome="upstream_error"} 1.0' in text


@pytest.mark.parametrize("sign", [b"EXPLODE", b"GIVE UP"])
async def test_garbage_of_the_engine_ends_its_own_stream_only(sign):
    """F07: an error on that stream only; the engine's connection is closed."""

    async def script(talk):
        request = await talk.request()
        bad = request.body == b"bad"
        await talk.send(chunked_head(), chunk(b"data: token\n\n"))
        if bad:
            await talk.send(chunk(sign))
            await talk.gone()
        await talk.send(chunk(DONE), LAST_CHUNK)

    async with world(script) as made:
        bad, good = made.open(b"bad", stream=True), made.open(b"good", stream=True)
        await bad.ended()
        assert (bad.reset.code, bad.reset.retry_elsewhere) == ("engine_garbage", False)
        assert "secret" not in bad.reset.message
        assert (await good.ended()).trailer.finish_reason == "stop"
        await until(lambda: made.server.closed_by_client == 1, "the connection to be closed")


async def test_bytes_that_are_not_http_are_garbage():
    async with world(once(b"\x00\xff\r\n\r\n")) as made:
        log = await made.open(stream=True).ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("engine_garbage", True)


async def test_a_callers_fault_found_after_the_status_cuts_the_stream():
    async with world(once(chunked_head(), chunk(b"data: token\n\n"), chunk(b"CALLER"))) as made:
        log = await made.open(stream=True).ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("invalid_request_body", False)
        assert [failed for _, failed in made.models.ended] == [False]


async def test_a_client_that_does_not_read_holds_back_only_its_own_engine_connection():
    """F15: one stalled reader; what is held for it is bounded, and the others go on."""
    total = 12 << 20

    async def script(talk):
        request = await talk.request()
        await talk.send(chunked_head())
        if request.body == b"big":
            for _ in range(total // 65536):
                await talk.send(chunk(b"x" * 65536))
        await talk.send(chunk(DONE), LAST_CHUNK)

    limits = ExecutorLimits(stall_s=0.2, sweep_s=0.02)
    quick = ClientLimits(first_byte_s=0.2, sweep_s=0.02)
    async with world(script, limits=limits, client_limits=quick) as made:
        slow = made.open(b"big", StreamLog(takes=False), stream=True)
        await until(lambda: slow.unread >= 256 * 1024, "the window to be full")
        for n in range(20):
            log = await made.open(b"small", stream=True, request_id=f"s{n}").ended()
            assert log.data == DONE
        (stream,) = made.pair.neuron._streams.values()
        assert stream.backlog_bytes < 1 << 20
        await asyncio.sleep(0.3)  # longer than the stall limit: a paused engine is not silent
        assert not slow.over
        slow.takes = True
        slow.take_all()
        await slow.ended()
        assert len(slow.data) == total + len(DONE)
        assert slow.trailer is not None
