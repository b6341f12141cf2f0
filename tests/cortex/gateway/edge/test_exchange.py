"""One answer per request, and what it looks like on the wire."""

import pytest

from helexa.cortex.gateway.edge.exchange import JOINED_BYTES_MAX, AnswerStateError, Exchange
from tests.conformance.http_wire import parse_answers
from tests.fakes.edge_transport import EdgeBench

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def later(exchange: Exchange) -> None:
    """A handler that answers when the test does."""


def begun(raw: bytes = GET) -> tuple[EdgeBench, Exchange]:
    bench = EdgeBench(later)
    bench.send(raw)
    return bench, bench.seen[0]


def test_an_answer_has_its_length_id_and_date_and_the_given_headers() -> None:
    bench, exchange = begun()
    exchange.respond(201, b"content-type: a/b\r\nx-y: z\r\n", b"body")
    [answer] = parse_answers(bench.sent)
    assert (answer.status, answer.body) == (201, b"body")
    assert answer.headers == {
        b"content-length": b"4",
        b"x-request-id": exchange.request_id.encode(),
        b"date": b"Tue, 14 Nov 2023 22:13:20 GMT",
        b"content-type": b"a/b",
        b"x-y": b"z",
    }


def test_a_small_answer_is_one_write() -> None:
    bench, exchange = begun()
    exchange.respond(200, b"", b"x" * 1000)
    assert len(bench.transport.writes) == 1


def test_a_large_body_is_written_without_being_joined_to_its_head() -> None:
    bench, exchange = begun()
    body = b"x" * (JOINED_BYTES_MAX + 1)
    exchange.respond(200, b"", body)
    assert bench.transport.writes[1] == body
    assert parse_answers(bench.sent)[0].body == body


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_body_has_no_length_and_the_next_one_follows(status: int) -> None:
    bench = EdgeBench(lambda x: x.respond(status, b"", b"not sent"))
    bench.send(GET + GET)
    answers = parse_answers(bench.sent)
    assert [a.status for a in answers] == [status, status]
    assert all(b"content-length" not in a.headers for a in answers)


def test_head_is_told_the_length_and_sent_no_body() -> None:
    for size in (5, JOINED_BYTES_MAX + 1):
        bench, exchange = begun(GET.replace(b"GET", b"HEAD"))
        exchange.respond(200, b"", b"x" * size)
        [answer] = parse_answers(bench.sent, head_only=(0,))
        assert answer.headers[b"content-length"] == b"%d" % size


def test_a_stream_to_head_or_without_body_sends_its_head_only() -> None:
    for raw, status in ((GET.replace(b"GET", b"HEAD"), 200), (GET, 204)):
        bench, exchange = begun(raw)
        exchange.start(status, b"")
        exchange.write(b"data")
        exchange.finish(b"more")
        [answer] = parse_answers(bench.sent, head_only=(0,))
        assert answer.status == status
        assert (b"transfer-encoding" in answer.headers) == (status == 200)
        assert not bench.closed


def test_a_status_without_a_name_is_sent() -> None:
    bench, exchange = begun()
    exchange.respond(599, b"", b"")
    assert bench.sent.startswith(b"HTTP/1.1 599 \r\n")
    assert parse_answers(bench.sent)[0].status == 599


def test_a_stream_is_chunked_and_the_connection_goes_on() -> None:
    bench, exchange = begun()
    exchange.start(200, b"content-type: text/event-stream\r\n")
    exchange.write(b"one")
    exchange.write(b"")
    exchange.write(b"x" * (JOINED_BYTES_MAX + 1))
    exchange.finish(b"end")
    bench.send(GET)
    bench.seen[1].respond(200, b"", b"next")
    answers = parse_answers(bench.sent)
    assert answers[0].body == b"one" + b"x" * (JOINED_BYTES_MAX + 1) + b"end"
    assert answers[1].body == b"next"


@pytest.mark.parametrize("size", [0, 3, JOINED_BYTES_MAX + 1])
def test_a_stream_ends_with_or_without_a_last_piece(size: int) -> None:
    bench, exchange = begun()
    exchange.start(200, b"")
    exchange.finish(b"x" * size)
    [answer] = parse_answers(bench.sent)
    assert (answer.body, answer.whole) == (b"x" * size, True)


def test_each_small_piece_is_one_write_and_so_is_the_end() -> None:
    bench, exchange = begun()
    exchange.start(200, b"")
    exchange.write(b"one")
    exchange.finish(b"two")
    assert bench.transport.writes[1:] == [b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\n\r\n"]


def test_a_stream_to_http_1_0_ends_with_the_connection() -> None:
    bench, exchange = begun(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    exchange.start(200, b"")
    exchange.write(b"one")
    exchange.finish(b"two")
    [answer] = parse_answers(bench.sent)
    assert b"transfer-encoding" not in answer.headers
    assert answer.headers[b"connection"] == b"close"
    assert answer.body == b"onetwo"
    assert bench.transport.closing
    bench, exchange = begun(b"GET / HTTP/1.0\r\n\r\n")
    exchange.start(200, b"")
    exchange.finish()
    assert parse_answers(bench.sent)[0].body == b""


STEPS = {
    "respond": lambda x: x.respond(200, b"", b""),
    "start": lambda x: x.start(200, b""),
    "write": lambda x: x.write(b"x"),
    "finish": lambda x: x.finish(),
}


@pytest.mark.parametrize(
    ("done", "wrong"),
    [
        ((), ("write", "finish")),
        (("start",), ("respond", "start")),
        (("respond",), tuple(STEPS)),
        (("start", "finish"), tuple(STEPS)),
    ],
)
@pytest.mark.parametrize("gone", [False, True])
def test_a_step_out_of_order_is_refused_and_sends_nothing(
    done: tuple[str, ...], wrong: tuple[str, ...], *, gone: bool
) -> None:
    for step in wrong:
        bench, exchange = begun()
        if gone:
            bench.lose()
        for earlier in done:
            STEPS[earlier](exchange)
        sent = bench.sent
        with pytest.raises(AnswerStateError, match=step):
            STEPS[step](exchange)
        assert bench.sent == sent


def test_an_answer_to_a_client_that_is_gone_is_taken_and_sent_nowhere() -> None:
    bench, exchange = begun()
    exchange.start(200, b"")
    bench.lose()
    sent = bench.sent
    exchange.write(b"x")
    exchange.finish(b"y")
    exchange.abort()
    assert bench.sent == sent
    assert not exchange.paused
    assert exchange.write_backlog() == 0


def test_the_handlers_own_mark_stays_on_the_exchange() -> None:
    def admit(exchange: Exchange) -> None:
        exchange.context = "seen by admit"

    bench = EdgeBench(later, admit=admit)
    bench.send(GET)
    assert bench.seen[0].context == "seen by admit"
    assert not bench.seen[0].answer_begun
    bench.seen[0].start(200, b"")
    assert bench.seen[0].answer_begun
