"""Deadlines, refusals, faults, lingering, draining and cutting, on a transport in memory."""

import struct

import pytest

from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import ErrorCode, Refusal
from tests.conformance.http_wire import parse_answers
from tests.fakes.edge_transport import EdgeBench, echo

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


def later(exchange: Exchange) -> None:
    """A handler that answers when the test does."""


def statuses(bench: EdgeBench) -> list[int]:
    return [answer.status for answer in parse_answers(bench.sent)]


def test_a_head_that_arrives_a_byte_at_a_time_is_refused_within_fifteen_seconds() -> None:
    bench = EdgeBench()
    for at in range(3):
        bench.send(GET[at : at + 1])
        bench.wait(5)
    assert statuses(bench) == [408]
    assert bench.transport.ended


def test_a_body_of_a_byte_every_five_seconds_is_refused_within_fifteen_seconds() -> None:
    bench = EdgeBench()
    bench.send(HEAD)
    for _ in range(3):
        bench.send(b"x")
        bench.wait(5)
    assert statuses(bench) == [408]
    assert not bench.seen


def test_a_body_that_stops_after_a_fast_beginning_is_refused() -> None:
    bench = EdgeBench()
    bench.send(HEAD + b"x" * 90_000)
    bench.wait(9)
    assert not bench.sent
    bench.wait(12)
    assert statuses(bench) == [408]


def test_a_slow_but_steady_body_is_taken() -> None:
    bench = EdgeBench()
    bench.send(HEAD)
    for _ in range(50):
        bench.send(b"x" * 2000)
        bench.wait(1)
    assert statuses(bench) == [200]


def test_a_connection_that_never_sends_is_closed_without_an_answer() -> None:
    bench = EdgeBench()
    bench.wait(10.5)
    assert bench.transport.closing
    assert bench.sent == b""


def test_an_idle_connection_is_kept_for_its_time_and_then_closed() -> None:
    bench = EdgeBench()
    bench.send(GET)
    bench.wait(74)
    assert not bench.closed
    bench.send(GET)
    assert statuses(bench) == [200, 200]
    bench.wait(75.5)
    assert bench.transport.closing


def test_an_answer_may_take_as_long_as_it_needs() -> None:
    bench = EdgeBench(later)
    bench.send(GET)
    bench.wait(10_000)
    bench.seen[0].respond(200, b"", b"done")
    assert statuses(bench) == [200]


def test_a_client_that_reads_nothing_is_cut_and_the_handler_told() -> None:
    """F15: after a minute; the handler resets the stream, which frees the engine's seat."""
    left: list[str] = []
    bench = EdgeBench(later)
    bench.transport.taking = False
    bench.send(GET)
    exchange = bench.seen[0]
    exchange.on_gone = lambda: left.append("gone")
    exchange.start(200, b"")
    while not exchange.paused:
        exchange.write(b"x" * 1000)
    assert exchange.write_backlog() > 64 * 1024
    bench.wait(61)
    assert bench.transport.aborted
    assert left == ["gone"]


def test_a_client_that_reads_slowly_is_kept() -> None:
    bench = EdgeBench(later)
    bench.transport.taking = False
    bench.send(GET)
    resumed: list[str] = []
    exchange = bench.seen[0]
    exchange.on_resume = lambda: resumed.append("on")
    exchange.start(200, b"")
    exchange.write(b"x" * 100_000)
    for _ in range(5):
        bench.wait(50)
        bench.transport.take(10_000)
    assert exchange.paused
    assert not resumed
    bench.transport.take()
    assert not exchange.paused
    assert resumed == ["on"]
    bench.wait(200)
    assert not bench.transport.aborted


def test_a_whole_answer_that_nobody_takes_does_not_hold_the_connection_for_ever() -> None:
    bench = EdgeBench(lambda x: x.respond(200, b"", b"x" * 200_000))
    bench.transport.taking = False
    bench.send(GET)
    bench.wait(61)
    assert bench.transport.aborted


def test_lingering_ends_by_time() -> None:
    bench = EdgeBench()
    bench.send(b"bad\r\n\r\n")
    assert bench.transport.ended
    bench.wait(4)
    assert not bench.transport.closing
    bench.wait(1.5)
    assert bench.transport.closing


def test_lingering_ends_by_size() -> None:
    bench = EdgeBench(limits=Limits(linger_bytes_max=100_000))
    bench.send(b"bad\r\n\r\n")
    sent = 0
    while not bench.transport.closing:
        bench.send(b"x" * 10_000)
        sent += 10_000
        assert sent <= 110_000


def test_lingering_ends_with_the_client() -> None:
    bench = EdgeBench()
    bench.send(b"bad\r\n\r\n")
    bench.end()
    bench.lose()
    assert not bench.service.connections


def test_lingering_reads_again_when_reading_was_paused() -> None:
    bench = EdgeBench(later)
    bench.send(GET + GET * 5000)
    assert not bench.transport.reading
    bench.service.draining = True
    bench.seen[0].respond(200, b"", b"")
    assert bench.transport.reading
    assert len(bench.seen) == 1


def test_a_transport_that_cannot_half_close_lingers_all_the_same() -> None:
    bench = EdgeBench()
    bench.transport.can_end = False
    bench.send(b"bad\r\n\r\n")
    assert statuses(bench) == [400]
    assert not bench.closed
    bench.wait(6)
    assert bench.transport.closing


def test_while_draining_answers_say_close_and_end_the_connection() -> None:
    bench = EdgeBench(later)
    bench.send(GET)
    bench.service.draining = True
    bench.seen[0].respond(200, b"", b"")
    [answer] = parse_answers(bench.sent)
    assert answer.headers[b"connection"] == b"close"
    assert bench.closed


def test_a_stream_begun_before_draining_is_finished_and_then_closed() -> None:
    bench = EdgeBench(later)
    bench.send(GET)
    bench.seen[0].start(200, b"")
    bench.service.draining = True
    bench.connection.close_idle()
    assert not bench.closed
    bench.seen[0].finish(b"end")
    assert [a.body for a in parse_answers(bench.sent)] == [b"end"]
    assert bench.closed


def test_a_connection_made_while_draining_is_closed() -> None:
    bench = EdgeBench()
    bench.service.draining = True
    bench.connect()
    assert bench.transport.closing


def test_a_handler_that_fails_costs_one_answer_and_leaks_nothing() -> None:
    def broken(_exchange: Exchange) -> None:
        raise ValueError("secret detail")

    bench = EdgeBench(broken)
    bench.send(GET + GET)
    answers = parse_answers(bench.sent)
    assert [a.status for a in answers] == [500, 500]
    assert b"secret" not in bench.sent
    assert [str(fault) for fault in bench.faults] == ["secret detail"] * 2


def test_a_handler_that_fails_in_a_stream_cuts_it() -> None:
    def broken(exchange: Exchange) -> None:
        exchange.start(200, b"")
        exchange.write(b"half")
        raise ValueError("x")

    bench = EdgeBench(broken)
    bench.send(GET)
    [answer] = parse_answers(bench.sent)
    assert not answer.whole
    assert bench.transport.closing


def test_a_handler_that_answers_twice_has_one_answer_sent() -> None:
    def twice(exchange: Exchange) -> None:
        exchange.respond(200, b"", b"one")
        exchange.respond(200, b"", b"two")

    bench = EdgeBench(twice)
    bench.send(GET + GET)
    assert [a.body for a in parse_answers(bench.sent)] == [b"one", b"one"]
    assert len(bench.faults) == 2


def test_a_broken_admit_is_an_internal_error_and_is_told() -> None:
    def broken(_exchange: Exchange) -> Refusal | None:
        raise KeyError("x")

    bench = EdgeBench(admit=broken)
    bench.send(GET)
    assert statuses(bench) == [500]
    assert len(bench.faults) == 1


@pytest.mark.parametrize("raw", [GET, b"bad\r\n\r\n"])
def test_a_broken_refuse_still_answers(raw: bytes) -> None:
    def broken(_exchange: Exchange | None, _refusal: Refusal) -> tuple[int, bytes, bytes]:
        raise KeyError("x")

    bench = EdgeBench(admit=lambda _: Refusal(ErrorCode.BAD_REQUEST, "no"), refuse=broken)
    bench.send(raw)
    assert statuses(bench) == [500]


def test_a_broken_on_gone_is_told_and_the_connection_forgotten() -> None:
    def broken() -> None:
        raise ValueError("x")

    bench = EdgeBench(later)
    bench.send(GET)
    bench.seen[0].on_gone = broken
    bench.lose()
    assert len(bench.faults) == 1
    assert not bench.service.connections


def test_an_aborted_stream_flushes_and_never_ends_properly() -> None:
    bench = EdgeBench(later)
    bench.send(GET)
    exchange = bench.seen[0]
    exchange.start(200, b"")
    exchange.write(b"error event")
    exchange.abort()
    [answer] = parse_answers(bench.sent)
    assert (answer.body, answer.whole) == (b"error event", False)
    assert bench.transport.closing
    assert not bench.transport.aborted
    bench.wait(6)
    assert bench.transport.aborted


@pytest.mark.parametrize("raw", [GET, GET.replace(b"1.1", b"1.0")])
def test_an_abort_that_a_plain_end_would_hide_is_a_reset(raw: bytes) -> None:
    bench = EdgeBench(later)
    bench.send(raw)
    if b"1.0" in raw:
        bench.seen[0].start(200, b"")
        bench.seen[0].write(b"half")
    bench.seen[0].abort()
    assert bench.transport.aborted
    assert [value for *_, value in bench.transport.options] == [struct.pack("ii", 1, 0)]


def test_aborting_twice_or_after_the_end_does_nothing() -> None:
    bench = EdgeBench()
    bench.send(GET)
    bench.seen[0].abort()
    assert not bench.closed
    bench = EdgeBench(later)
    bench.send(GET)
    bench.seen[0].abort()
    bench.seen[0].abort()
    assert len(bench.transport.options) == 1


def test_http_1_0_is_closed_after_its_answer_without_lingering() -> None:
    bench = EdgeBench(echo)
    bench.send(b"GET / HTTP/1.0\r\n\r\n")
    assert statuses(bench) == [200]
    assert bench.transport.closing
    assert not bench.transport.ended
