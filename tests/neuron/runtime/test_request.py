"""One request from its first frame to its last: refusals, failures, the client, time."""

import gc

import msgspec

from helexa.neuron.runtime.engine_client import ClientLimits
from helexa.neuron.runtime.limits import ExecutorLimits
from helexa.neuron.runtime.reply import Reply
from helexa.neuron.runtime.request import Request
from helexa.protocol.inference import Continued
from tests.fakes.engine_server import answer, chunk, chunked_head
from tests.fakes.exchange_log import until
from tests.fakes.executor_world import DONE, hangs, once, replies, world


async def test_a_trace_goes_on_to_the_engine_and_nothing_else_does():
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    async with world(replies(answer(b"ok"))) as made:
        await made.open(traceparent=trace).ended()
        await made.open(traceparent="x\r\nevil: 1").ended()
        assert f"traceparent: {trace}" in made.server.requests[0].head
        assert "evil" not in made.server.requests[1].head


async def test_a_request_that_is_over_is_freed_without_the_garbage_collector():
    async with world(replies(answer(b"token"))) as made:
        gc.collect()
        gc.disable()
        try:
            await made.open().ended()
            left = [one for one in gc.get_objects() if isinstance(one, Request | Reply)]
        finally:
            gc.enable()
        assert left == []


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


async def test_a_bug_met_by_one_request_gives_its_seat_back():
    async with world(replies(answer(b"ok"))) as made:
        log = await made.open(b"BUG").ended()
        assert log.head.status == 500
        assert b"bug" not in log.data
        assert (await made.open().ended()).data == b"ok"


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
        assert log.reset.engine == "m#1"


async def test_the_engine_is_asked_to_go_on_with_a_stream_that_another_neuron_began():
    """Only of a stream: an answer in one piece has no part that a caller already has."""
    part = Continued(id="chatcmpl-1", created=7, completion_tokens=3)
    async with world(replies(chunked_head(), chunk(b"token" + DONE), chunk(b""))) as made:
        await made.open(stream=True, continues=part).ended()
        assert made.engine.last.continues == part
        await made.open(request_id="r2", continues=part).ended()
        assert made.engine.last.continues is None


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
        assert (second.reset.engine, third.reset.engine) == ("m#2", ""), "only one is a crash"
        assert len(made.server.requests) == 2
        other = await made.open(b"harmless", request_id="r4").ended()
        assert other.reset.retry_elsewhere


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


async def test_a_body_that_never_ends_is_given_up():
    async with world(replies(), limits=ExecutorLimits(collect_s=0.05, sweep_s=0.02)) as made:
        made.pair.requests_held = True
        log = made.open(b"x" * 600_000)
        assert (await log.ended()).reset.code == "request_timeout"
