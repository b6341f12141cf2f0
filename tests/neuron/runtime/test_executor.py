"""Requests over a tunnel to a real HTTP engine on loopback, and every way they can end."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from helexa.neuron.runtime.engine_client import ClientLimits, EngineClient
from helexa.neuron.runtime.executor import Executor
from helexa.neuron.runtime.request import ExecutorLimits
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.inference import Usage
from helexa.util.clock import SystemClock
from helexa.util.metrics import PrometheusMetrics
from helexa.util.tasks import TaskScope
from tests.fakes.engine_server import LAST_CHUNK, EngineServer, answer, chunk, chunked_head
from tests.fakes.exchange_log import until
from tests.fakes.plain_engine import FakeModels, FakeSeats, PlainEngine
from tests.fakes.tunnel_pair import StreamLog, TunnelPair

DONE = b"data: [DONE]\n\n"


class World:
    """A neuron's request side, whole, with one engine."""

    def __init__(self, server, *, limits=None, client_limits=None, seats=64, spawns=True):
        self.server = server
        self.task_failures = []
        self.tasks = TaskScope(lambda name, error: self.task_failures.append((name, error)))
        self.client = EngineClient(self.tasks, client_limits or ClientLimits(sweep_s=0.02))
        self.models = FakeModels()
        self.seats = FakeSeats(seats)
        self.metrics = PrometheusMetrics()
        self.executor = Executor(
            models=self.models,
            seats=self.seats,
            engines={"plain": PlainEngine(spawns)},
            client=self.client,
            clock=SystemClock(),
            metrics=self.metrics,
            limits=limits or ExecutorLimits(sweep_s=0.02),
        )
        self.pair = TunnelPair(self.executor.accept)
        self.open = self.pair.open
        if server is not None:
            self.models.serve(server.endpoint)

    async def close(self):
        """Every test ends here: nothing may be held by anything that is over."""
        await until(lambda: not len(self.executor), "every request to end")
        assert self.seats.admission.active == 0
        assert self.seats.admission.waiting == 0
        assert self.executor._services.bodies._left == self.executor._limits.bodies_bytes_max
        assert not self.executor._services.client._tasks
        self.client.close()
        await self.tasks.close()
        assert self.pair.faults == []
        assert self.task_failures == []


@asynccontextmanager
async def world(script, **options):
    async with EngineServer(script) as server:
        made = World(server, **options)
        yield made
        await made.close()


def replies(*pieces):
    async def script(talk):
        while True:
            await talk.request()
            await talk.send(*pieces)

    return script


def once(*pieces):
    async def script(talk):
        await talk.request()
        await talk.send(*pieces)

    return script


async def hangs(talk):
    await talk.request()
    await talk.send(chunked_head(), chunk(b"data: token\n\n"))
    await talk.gone()


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


async def test_an_answer_that_is_not_streamed_comes_as_one():
    async with world(replies(answer(b'{"object":"list"}'))) as made:
        log = await made.open(operation="embeddings").ended()
        assert (log.head.status, log.data) == (200, b'{"object":"list"}')
        assert log.trailer.first_token_ms is None


async def test_a_large_answer_that_is_not_streamed_comes_whole():
    body = b"x" * (3 << 20)
    async with world(replies(answer(body))) as made:
        log = await made.open().ended()
        assert log.data == body


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


async def test_a_trace_goes_on_to_the_engine_and_nothing_else_does():
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    async with world(replies(answer(b"ok"))) as made:
        await made.open(traceparent=trace).ended()
        await made.open(traceparent="x\r\nevil: 1").ended()
        assert f"traceparent: {trace}" in made.server.requests[0].head
        assert "evil" not in made.server.requests[1].head


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


async def test_a_body_that_the_engine_cannot_be_sent_is_the_callers_fault():
    async with world(replies()) as made:
        log = await made.open(b"BAD").ended()
        assert log.head.status == 400
        error = msgspec.json.decode(log.data)["error"]
        assert error["code"] == "invalid_request_body"
        assert error["request_id"] == "r1"
        assert log.trailer.finish_reason == "error"
        assert made.models.ended == []


async def test_an_engines_no_to_the_caller_is_a_clean_status():
    """Finding 7: an engine's answer to a caller's mistake is no failure of the engine."""
    async with world(once(answer(b"{}", "400 Bad"))) as made:
        log = await made.open(stream=True).ended()
        assert log.head.status == 400
        assert msgspec.json.decode(log.data)["error"]["code"] == "context_length_exceeded"
        assert made.models.ended == []


async def test_a_body_past_the_bound_is_413():
    async with world(replies(), limits=ExecutorLimits(body_bytes_max=1000, sweep_s=0.02)) as made:
        log = await made.open(b"x" * 100_000).ended()
        assert log.head.status == 413
        assert made.server.requests == []


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
        (b"[" * 5000, "bad_request"),
    ],
)
async def test_a_head_that_cannot_be_understood_is_refused(head, code):
    async with world(replies()) as made:
        log = await made.pair.open_raw(head, b"body").ended()
        assert log.reset.code == code
        assert not log.reset.retry_elsewhere


async def test_a_bug_met_by_one_request_gives_its_seat_back():
    async with world(replies(answer(b"ok"))) as made:
        log = await made.open(b"BUG").ended()
        assert log.head.status == 500
        assert b"bug" not in log.data
        assert (await made.open().ended()).data == b"ok"


# ── failures of the engine ────────────────────────────────────────────────────────────────────


async def test_an_engine_that_is_not_there_leaves_the_request_for_another_neuron():
    async with world(replies()) as made:
        made.models.serve("http://127.0.0.1:1")
        log = await made.open().ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("upstream_connection_error", True)
        assert "127.0.0.1" not in log.reset.message
        assert made.models.ended == [(None, True)]


async def test_an_engine_that_dies_before_its_head_leaves_the_request_for_another_neuron():
    """F01: before the first token a request is tried elsewhere."""
    async with world(once()) as made:
        log = await made.open().ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("engine_crash", True)


async def test_an_engine_that_dies_in_its_answer_cuts_the_stream():
    """P1: no stream ends cleanly when it was cut."""
    async with world(once(chunked_head(), chunk(b"data: token\n\n"))) as made:
        log = await made.open(stream=True).ended()
        assert log.data == b"data: token\n\n"
        assert log.trailer is None
        assert (log.reset.code, log.reset.retry_elsewhere) == ("engine_crash", False)


async def test_a_server_that_is_not_ours_does_not_crash_but_is_lost():
    async with world(once(chunked_head(), chunk(b"data: token\n\n")), spawns=False) as made:
        log = await made.open(stream=True).ended()
        assert log.reset.code == "upstream_connection_error"


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


async def test_an_engine_that_falls_silent_after_its_first_token_is_cut_and_condemned():
    """F03: the stall limit fires, the stream is cut, and the engine is to be replaced."""
    limits = ExecutorLimits(stall_s=0.1, sweep_s=0.02)
    async with world(hangs, limits=limits) as made:
        log = await made.open(stream=True).ended()
        assert log.data == b"data: token\n\n"
        assert (log.reset.code, log.reset.retry_elsewhere) == ("upstream_timeout", False)
        assert made.models.condemned == ["m#1"]


async def test_an_engine_that_never_speaks_is_left_for_another_neuron():
    async def script(talk):
        await talk.request()
        await talk.gone()

    limits = ClientLimits(first_byte_s=0.1, sweep_s=0.02)
    async with world(script, client_limits=limits) as made:
        log = await made.open(stream=True).ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("upstream_timeout", True)
        assert made.models.condemned == ["m#1"]


async def test_a_request_that_crashes_two_engines_is_not_tried_again():
    """F37: the query of death is quarantined, not the fleet."""
    async with world(once()) as made:
        assert (await made.open(b"deadly").ended()).reset.retry_elsewhere
        made.models.serve(made.server.endpoint, attempt=2)
        second = await made.open(b"deadly", request_id="r2").ended()
        assert (second.reset.code, second.reset.retry_elsewhere) == ("engine_crash", False)
        made.models.serve(made.server.endpoint, attempt=3)
        third = await made.open(b"deadly", request_id="r3").ended()
        assert (third.reset.code, third.reset.retry_elsewhere) == ("engine_crash", False)
        assert len(made.server.requests) == 2
        other = await made.open(b"harmless", request_id="r4").ended()
        assert other.reset.retry_elsewhere


# ── the client, the tunnel, time ──────────────────────────────────────────────────────────────


async def test_a_client_that_goes_mid_stream_stops_the_engine_and_frees_the_seat():
    """F31, lesson 20: the work of an abandoned request ends at once."""
    async with world(hangs) as made:
        log = made.open(stream=True)
        await until(lambda: log.data, "the first token")
        log.stream.reset()
        await until(lambda: made.server.closed_by_client == 1, "the engine to be told")
        assert made.seats.admission.active == 0


async def test_a_client_that_goes_while_it_waits_never_reaches_the_engine():
    async with world(hangs, seats=1) as made:
        first, second = made.open(stream=True), made.open(stream=True)
        await until(lambda: made.seats.admission.waiting, "the second to wait")
        second.stream.reset()
        await until(lambda: not made.seats.admission.waiting, "its place to be free")
        first.stream.reset()
        await until(lambda: not len(made.executor), "both to end")
        assert len(made.server.requests) == 1


async def test_a_client_that_goes_before_its_body_is_whole_leaves_nothing():
    async with world(replies()) as made:
        made.pair.requests_held = True
        log = made.open(b"x" * 600_000)
        await until(lambda: len(made.executor), "the request to begin")
        log.stream.reset()
        made.pair.release()
        await until(lambda: not len(made.executor), "the request to be dropped")
        assert made.server.requests == []


async def test_a_lost_tunnel_cancels_every_request_of_it():
    async with world(hangs) as made:
        logs = [made.open(stream=True, request_id=f"r{n}") for n in range(5)]
        await until(lambda: all(log.data for log in logs), "five first tokens")
        made.pair.neuron.close(b"")
        await until(lambda: made.server.closed_by_client == 5, "the engine to be told five times")
        assert made.seats.admission.active == 0
        assert made.models.condemned == []


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


async def test_a_deadline_ends_a_request():
    async with world(hangs) as made:
        log = await made.open(stream=True, deadline_s=0.05).ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("upstream_timeout", False)
        assert made.models.condemned == []
        await until(lambda: made.server.closed_by_client == 1, "the engine to be told")


async def test_a_body_that_never_ends_is_given_up():
    async with world(replies(), limits=ExecutorLimits(collect_s=0.05, sweep_s=0.02)) as made:
        made.pair.requests_held = True
        log = made.open(b"x" * 600_000)
        assert (await log.ended()).reset.code == "request_timeout"


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


async def test_draining_is_bounded_and_cuts_what_is_left():
    async with world(hangs) as made:
        log = made.open(stream=True)
        await until(lambda: log.data, "the first token")
        assert await made.executor.drain(0.02) == 1
        assert (await log.ended()).reset.code == "shutting_down"


async def test_the_numbers_tell_how_requests_ended():
    async with world(once(answer(b"ok"))) as made:
        await made.open().ended()
        await made.open(b"BAD").ended()
        await made.open(model="nope").ended()
        text = made.metrics.render().decode()
    labels = 'model="m",operation="chat",outcome'
    assert f'helexa_neuron_requests_total{{{labels}="ok"}} 1.0' in text
    assert f'helexa_neuron_requests_total{{{labels}="client_error"}} 1.0' in text
    assert 'requests_total{model="other",operation="chat",outcome="rejected"} 1.0' in text
    assert 'helexa_neuron_tokens_total{model="m",type="output"} 7.0' in text
    assert 'helexa_neuron_tokens_total{model="m",type="cached_input"} 2.0' in text
    assert "helexa_neuron_requests_inflight 0.0" in text
