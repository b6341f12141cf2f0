"""Bytes on their way back: whole, in order, with backpressure, and never a false end."""

import pytest

from helexa.cortex.gateway.metering import Outcome
from helexa.cortex.gateway.relay import ANSWER_HEADS_MAX
from helexa.protocol.inference import Usage
from helexa.protocol.tunnel_frames import WINDOW_BYTES
from tests.fakes.gateway import CHUNK, DONE, World


def test_a_caller_that_leaves_cancels_the_work_on_the_neuron() -> None:
    """R3.9: cancellation reaches the neuron at once."""
    world = World("n1")
    exchange, _ = world.ask(stream=True)
    world.job().begin()
    world.job().say(CHUNK)
    exchange.leave()
    world.carry()
    assert world.job().cancelled is not None
    assert world.job().cancelled.code == "cancelled"
    assert [record.outcome for record in world.records] == [Outcome.CANCELLED]
    assert world.pipeline.inflight.total == 0


def test_a_slow_caller_stalls_its_own_stream_and_memory_is_bounded() -> None:
    """R3.7: backpressure reaches the neuron."""
    world = World("n1")
    exchange, slow = world.ask(stream=True)
    slow_job = world.job()
    _, quick = world.ask(stream=True)
    quick_job = world.job()
    for job in (slow_job, quick_job):
        job.begin()
    slow.write_paused = True
    for job in (slow_job, quick_job):
        job.say(CHUNK * 20_000)
    assert len(quick.body) == len(CHUNK) * 20_000
    assert len(slow.body) == WINDOW_BYTES
    assert slow_job.stream.congested
    slow.write_paused = False
    assert exchange.on_resume is not None
    while len(slow.body) < len(CHUNK) * 20_000:
        exchange.on_resume()
        world.carry()
    assert slow.body == CHUNK * 20_000


@pytest.mark.parametrize("streamed", [True, False])
def test_a_neuron_that_dies_in_the_middle_is_never_a_clean_end(streamed: bool) -> None:
    """P1: a broken stream never looks finished."""
    world = World("n1")
    _, caller = world.ask(stream=streamed)
    world.job().begin(content_type="text/event-stream" if streamed else "application/json")
    world.job().say(CHUNK[:20])
    world.neurons["n1"].die()
    assert caller.error["code"] == "upstream_connection_error"
    if streamed:
        assert (caller.cut_off, caller.complete) == (True, False)
        assert caller.body.startswith(CHUNK[:20] + b"\n\ndata: {")
        assert DONE not in caller.body
    else:
        assert caller.status == 502
    assert world.records[0].outcome is Outcome.UPSTREAM_ERROR


def test_a_whole_answer_is_booked_before_it_is_given_out() -> None:
    world = World("n1")
    for status, outcome in ((200, Outcome.OK), (400, Outcome.CLIENT_ERROR), (200, Outcome.OK)):
        _, caller = world.ask()
        world.job().answer(b'{"a":1}', status, Usage(prompt_tokens=3, completion_tokens=2))
        assert (caller.status, caller.body, caller.complete) == (status, b'{"a":1}', True)
        record = world.records[-1]
        assert (record.outcome, record.status, record.bytes_out) == (outcome, status, 7)
        assert record.trailer is not None
        assert record.first_byte_ms is not None
    assert world.pipeline.inflight.total == 0


def test_a_whole_answer_that_makes_no_sense_is_a_bad_gateway() -> None:
    for head in (b"nonsense", b'{"status":101}', b'{"status":204}', b'{"status":7}'):
        world = World("n1")
        _, caller = world.ask()
        world.job().stream.send_answer(head, b"{}", b"")
        world.carry()
        assert caller.status == 502
        assert len(world.records) == 1
        assert world.pipeline.inflight.total == 0


def test_a_whole_answer_with_an_unreadable_trailer_is_an_answer_all_the_same() -> None:
    world = World("n1")
    _, caller = world.ask()
    world.job().stream.send_answer(b"{}", b"{}", b"\xff")
    world.carry()
    assert (caller.status, world.records[0].trailer) == (200, None)


def test_heads_that_a_neuron_invents_do_not_pile_up() -> None:
    world = World("n1")
    for number in range(ANSWER_HEADS_MAX * 2):
        _, caller = world.ask()
        head = b'{"content_type":"application/x-%d"}' % number
        world.job().stream.send_answer(head, b"{}", b"")
        world.carry()
        assert b"application/x-%d" % number in caller.transport.written
    assert len(world.pipeline.answer_heads) == ANSWER_HEADS_MAX


def test_a_silent_stream_is_committed_after_two_seconds_and_kept_alive_each_second() -> None:
    world = World("n1")
    _, caller = world.ask(stream=True)
    world.later(1.9)
    assert caller.text == ""
    world.later(0.2)
    assert caller.status == 200
    for _ in range(4):
        world.later(1.0)
    assert caller.body == b": keep-alive\n\n" * 5
    world.job().begin()
    world.job().say(CHUNK + DONE)
    world.job().end()
    assert caller.body.endswith(CHUNK + DONE)
    assert caller.complete


def test_a_comment_never_lands_inside_an_event() -> None:
    world = World("n1")
    _, caller = world.ask(stream=True)
    world.job().begin()
    world.job().say(CHUNK[:10])
    world.later(5)
    assert caller.body == CHUNK[:10]
    world.job().say(CHUNK[10:])
    world.later(5)
    assert caller.body == CHUNK + b": keep-alive\n\n"


def test_a_plain_answer_is_not_committed_early() -> None:
    world = World("n1")
    _, caller = world.ask()
    world.later(5)
    assert caller.text == ""
    world.job().give_up("engine_crash", message="it died")
    assert caller.status == 502


def test_an_engines_refusal_after_the_commit_becomes_an_event_and_a_cut() -> None:
    world = World("n1")
    _, caller = world.ask(stream=True)
    world.later(2.1)
    world.job().answer(b'{"error":{"code":"context_length_exceeded"}}', status=400)
    assert caller.error["code"] == "context_length_exceeded"
    assert (caller.cut_off, caller.complete) == (True, False)


def test_an_engines_refusal_before_the_commit_is_a_clean_status() -> None:
    world = World("n1")
    _, caller = world.ask(stream=True)
    world.job().answer(b'{"error":{"code":"context_length_exceeded"}}', status=400)
    assert (caller.status, caller.error["code"]) == (400, "context_length_exceeded")
    assert caller.complete
    assert world.records[0].outcome is Outcome.CLIENT_ERROR


def test_silence_is_bounded_before_and_after_the_first_token() -> None:
    """R3.8: first-byte and idle timeouts; there is no limit on the whole."""
    world = World("n1")
    world.settings.first_byte_timeout_s, world.settings.idle_timeout_s = 10, 5
    _, caller = world.ask()
    world.later(10)
    assert (caller.status, caller.error["code"]) == (504, "upstream_timeout")
    assert world.job().cancelled is not None
    _, caller = world.ask(stream=True)
    world.job().begin()
    for _ in range(10):
        world.later(4)
        world.job().say(CHUNK)
    assert not caller.cut_off
    world.later(5)
    assert caller.error["code"] == "upstream_timeout"
    assert caller.cut_off
    assert world.records[-1].outcome is Outcome.TIMEOUT


def test_a_caller_that_reads_slowly_is_not_the_models_silence() -> None:
    world = World("n1")
    world.settings.idle_timeout_s = 5
    _, caller = world.ask(stream=True)
    world.job().begin()
    world.job().say(CHUNK)
    caller.write_paused = True
    world.later(100)
    assert not caller.cut_off


def test_an_answer_without_a_head_is_an_error() -> None:
    world = World("n1")
    _, caller = world.ask()
    world.job().end()
    assert (caller.status, caller.error["code"]) == (502, "upstream_connection_error")


def test_a_reset_that_nobody_understands_is_a_lost_connection() -> None:
    world = World("n1")
    for payload in (b"", b"nonsense", b'{"code":"from_the_future"}'):
        _, caller = world.ask()
        job = world.job()
        job.stream.reset(payload)
        world.carry()
        assert caller.error["code"] == "upstream_connection_error"


UNREADABLE = {
    "no JSON": b"xx",
    "a text that is not UTF-8": b'{"status":200,"content_type":"\xff"}',
    "nesting": b'{"status":' + b"[" * 30_000,
    "a status of -1": b'{"status":-1}',
    "a status of 999": b'{"status":999}',
    "an interim status": b'{"status":101}',
    "a status of 40 digits": b'{"status":' + b"1" * 40 + b"}",
    "an answer that has no body": b'{"status":204}',
}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_head_that_is_none_ends_the_request_at_once(name: str, streamed: bool) -> None:
    """S36: what a neuron says becomes a status line only where it is one."""
    world = World("n1")
    _, caller = world.ask(stream=streamed)
    world.job().stream.send_head(UNREADABLE[name])
    world.job().neuron.carry()
    assert (caller.status, caller.error["code"]) == (502, "engine_garbage")
    assert world.job().cancelled is not None
    assert world.pipeline.inflight.total == 0


@pytest.mark.parametrize("streamed", [True, False])
def test_a_second_head_and_a_body_without_one_break_the_answer_off(streamed: bool) -> None:
    world = World("n1")
    _, twice = world.ask(stream=streamed)
    for _ in range(2):
        world.job().begin()
    _, headless = world.ask(stream=streamed)
    world.job().say(CHUNK)
    world.job().say(CHUNK)
    assert twice.error["code"] == headless.error["code"] == "engine_garbage"
    assert (headless.status, twice.cut_off) == (502, streamed)
    assert world.pipeline.inflight.total == 0


@pytest.mark.parametrize("payload", [b'{"finish_reason":"\xff"}', b'{"usage":' + b"[" * 30_000])
def test_a_trailer_that_is_not_readable_costs_the_numbers_and_not_the_answer(
    payload: bytes,
) -> None:
    world = World("n1")
    _, caller = world.ask(stream=True)
    world.job().begin()
    world.job().say(CHUNK + DONE)
    world.job().stream.send_end(payload)
    world.job().neuron.carry()
    assert caller.complete
    assert caller.body == CHUNK + DONE
    assert [record.trailer for record in world.records] == [None]


@pytest.mark.parametrize("payload", [b'{"code":"\xff"}', b'{"code":' + b"[" * 30_000])
def test_a_reason_that_is_not_readable_is_a_lost_connection(payload: bytes) -> None:
    world = World("n1")
    _, caller = world.ask()
    world.job().stream.reset(payload)
    world.job().neuron.carry()
    assert caller.error["code"] == "upstream_connection_error"


def test_a_reason_is_told_in_a_bounded_length() -> None:
    world = World("n1")
    _, caller = world.ask()
    world.job().give_up("engine_crash", message="x" * 50_000)
    assert len(caller.error["message"]) == 1000
