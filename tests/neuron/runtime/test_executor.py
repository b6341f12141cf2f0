"""Requests over a tunnel to a real HTTP engine on loopback, and every way they can end."""

import asyncio

import pytest

from helexa.neuron.runtime.limits import ExecutorLimits
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.inference import Usage
from tests.fakes.engine_server import LAST_CHUNK, answer, chunk, chunked_head
from tests.fakes.exchange_log import until
from tests.fakes.executor_world import DONE, hangs, replies, world

# ── answers ───────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_comes_through_unchanged_and_ends_with_its_trailer():
    """R1.11, R1.14: a chat request reaches the engine of its model and comes back as it is."""
    pieces = [chunk(b"data: token %d\n\n" % n) for n in range(5)]
    async with world(replies(chunked_head(), *pieces, chunk(DONE), LAST_CHUNK)) as made:
        log = await made.open(b'{"messages":[]}', stream=True).ended()
        assert log.head.status == 200
        assert log.head.content_type == "text/event-stream"
        assert log.data == b"".join(b"data: token %d\n\n" % n for n in range(5)) + DONE
        assert log.trailer.usage == Usage(prompt_tokens=5, completion_tokens=7, cached_tokens=2)
        assert log.trailer.finish_reason == "stop"
        assert log.trailer.first_token_ms <= log.trailer.duration_ms
        (request,) = made.server.requests
        assert request.body == b'{"messages":[]}'
        assert "authorization: Bearer k" in request.head
        assert "x-a: b" in request.head
        assert made.models.ended[0][1] is False


async def test_a_large_body_reaches_the_engine_whole():
    body = bytes(range(256)) * 4096 * 4
    async with world(replies(answer(b"ok"))) as made:
        await made.open(body).ended()
        assert made.server.requests[0].body == body


async def test_many_requests_over_one_tunnel_do_not_mix():
    async def script(talk):
        while True:
            request = await talk.request()
            lines = [b"data: token %s %d\n\n" % (request.body, n) for n in range(10)]
            await talk.send(chunked_head(), *map(chunk, lines), chunk(DONE), LAST_CHUNK)

    async with world(script) as made:
        logs = [made.open(b"%d" % n, stream=True, request_id=f"r{n}") for n in range(40)]
        for number, log in enumerate(logs):
            await log.ended()
            assert (
                log.data
                == b"".join(b"data: token %d %d\n\n" % (number, n) for n in range(10)) + DONE
            )


# ── refusals ──────────────────────────────────────────────────────────────────────────────────


async def test_a_model_that_does_not_run_is_refused_for_another_neuron_to_take():
    async with world(replies()) as made:
        log = await made.open(model="other").ended()
        assert log.reset.code == "model_loading"
        assert log.reset.retry_elsewhere
        assert log.reset.retry_after_s == 5
        assert made.server.requests == []


async def test_a_full_model_refuses_with_a_time_to_come_back():
    """Lesson 21: bounded seats and a bounded queue."""
    async with world(hangs, seats=1) as made:
        logs = [made.open(stream=True) for _ in range(10)]
        log = await logs[9].ended()
        assert log.reset.code == "rate_limit_exceeded"
        assert log.reset.retry_elsewhere
        assert 1 <= log.reset.retry_after_s <= 30
        for log in logs[:9]:
            log.stream.reset()


async def test_a_request_that_waits_gets_the_seat_that_comes_free():
    async with world(replies(answer(b"ok")), seats=1) as made:
        logs = [made.open(request_id=f"r{n}") for n in range(5)]
        for log in logs:
            assert (await log.ended()).data == b"ok"
        assert logs[4].trailer.queued_ms > 0


async def test_a_request_that_waits_is_told_when_its_model_stops():
    async with world(hangs, seats=1) as made:
        first, second = made.open(stream=True), made.open(stream=True)
        await until(lambda: made.seats.admission.waiting, "the second to wait")
        stopped = Refusal(ErrorCode.SERVICE_UNAVAILABLE, "the model was stopped")
        made.seats.tell(made.seats.admission.close(stopped))
        log = await second.ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("service_unavailable", True)
        first.stream.reset()


async def test_bodies_of_all_requests_together_are_bounded():
    """P6: memory is bounded by configuration."""
    limits = ExecutorLimits(bodies_bytes_max=1000, sweep_s=0.02)
    async with world(hangs, limits=limits) as made:
        first = made.open(b"x" * 600, stream=True)
        second = await made.open(b"x" * 600).ended()
        assert (second.reset.code, second.reset.retry_elsewhere) == ("rate_limit_exceeded", True)
        first.stream.reset()
        await until(lambda: not len(made.executor), "the first to end")
        third = made.open(b"x" * 600, stream=True)
        await until(lambda: third.data, "the third to be served")
        third.stream.reset()


async def test_requests_at_one_time_are_bounded():
    async with world(hangs, limits=ExecutorLimits(requests_max=1, sweep_s=0.02)) as made:
        first = made.open(stream=True)
        second = await made.open().ended()
        assert second.reset.code == "rate_limit_exceeded"
        first.stream.reset()


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"not json", "bad_request"),
        (b"{}", "bad_request"),
        (b'{"request_id":"r","model":"m","operation":"fly"}', "bad_request"),
        (b'{"request_id":"' + b"r" * 200 + b'","model":"m","operation":"chat"}', "bad_request"),
        (b'{"request_id":"r","model":"m","operation":"chat","dialect":"elf"}', "not_supported"),
        (b'{"request_id":"r\\r\\nx: y","model":"m","operation":"chat"}', "bad_request"),
        (b"[" * 5000, "bad_request"),
    ],
)
async def test_a_head_that_cannot_be_understood_is_refused(head, code):
    async with world(replies()) as made:
        log = await made.pair.open_raw(head, b"body").ended()
        assert log.reset.code == code
        assert not log.reset.retry_elsewhere


# ── failures of the engine ────────────────────────────────────────────────────────────────────


# ── the client, the tunnel, time ──────────────────────────────────────────────────────────────


async def test_a_lost_tunnel_cancels_every_request_of_it():
    async with world(hangs) as made:
        logs = [made.open(stream=True, request_id=f"r{n}") for n in range(5)]
        await until(lambda: all(log.data for log in logs), "five first tokens")
        made.pair.neuron.close(b"")
        await until(lambda: made.server.closed_by_client == 5, "the engine to be told five times")
        assert made.seats.admission.active == 0
        assert made.models.condemned == []


async def test_draining_lets_requests_finish_and_refuses_new_ones():
    release = asyncio.Event()

    async def script(talk):
        await talk.request()
        await talk.send(chunked_head(), chunk(b"data: token\n\n"))
        await release.wait()
        await talk.send(chunk(DONE), LAST_CHUNK)

    async with world(script) as made:
        log = made.open(stream=True)
        await until(lambda: log.data, "the first token")
        drained = made.tasks.start(made.executor.drain(10.0), "drain")
        await asyncio.sleep(0)
        refused = await made.open().ended()
        assert (refused.reset.code, refused.reset.retry_elsewhere) == ("shutting_down", True)
        release.set()
        assert await drained == 0
        assert (await log.ended()).trailer.finish_reason == "stop"


async def test_draining_sends_away_those_that_wait_at_once():
    """Lesson 27: waiters are woken with shutting_down; they can go elsewhere."""
    async with world(hangs, seats=1) as made:
        first, second = made.open(stream=True), made.open(stream=True, request_id="r2")
        await until(lambda: first.data and made.seats.admission.waiting, "one at work, one waiting")
        drained = made.tasks.start(made.executor.drain(10.0), "drain")
        await second.ended()
        assert (second.reset.code, second.reset.retry_elsewhere) == ("shutting_down", True)
        assert not first.over
        first.stream.reset()
        assert await drained == 0


async def test_draining_is_bounded_and_cuts_what_is_left():
    async with world(hangs) as made:
        log = made.open(stream=True)
        await until(lambda: log.data, "the first token")
        assert await made.executor.drain(0.02) == 1
        assert (await log.ended()).reset.code == "shutting_down"
