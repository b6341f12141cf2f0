"""Requests off the wire: order, bounds, splits, ends."""

import pytest

from helexa.cortex.gateway.edge.connection import HEADS_A_TURN_MAX
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import ErrorCode, Refusal
from tests.conformance.http_wire import parse_answers
from tests.fakes.edge_transport import EdgeBench

GET = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n"


def post(body: bytes, extra: bytes = b"", path: bytes = b"/p") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (
        path,
        extra,
        len(body),
        body,
    )


def later(exchange: Exchange) -> None:
    """A handler that answers when the test does."""


def test_a_request_arrives_as_it_was_sent() -> None:
    bench = EdgeBench()
    bench.send(
        post(
            b"\x00\xff", b"X-One: 1\r\nx-two:  two \r\nAccept: a\r\naccept: b\r\n", b"/p%20/?x=%31"
        )
    )
    [exchange] = bench.seen
    assert (exchange.method, exchange.path, exchange.query) == ("POST", "/p%20/", "x=%31")
    assert exchange.body == b"\x00\xff"
    assert exchange.headers == {
        b"host": b"a",
        b"x-one": b"1",
        b"x-two": b"two",
        b"accept": b"a, b",
    }
    assert (exchange.peer, exchange.secure) == ("127.0.0.1:50000", False)


def test_answers_keep_the_order_of_requests_and_one_is_worked_on_at_a_time() -> None:
    bench = EdgeBench(later)
    bench.send(b"".join(post(b"%d" % n) for n in range(3)))
    assert len(bench.seen) == 1
    for turn in range(3):
        bench.seen[turn].respond(200, b"", b"<%b>" % bench.seen[turn].body)
    assert [a.body for a in parse_answers(bench.sent)] == [b"<0>", b"<1>", b"<2>"]


def test_reading_stops_while_too_much_is_pipelined_and_goes_on_after_the_answer() -> None:
    bench = EdgeBench(later)
    bench.send(GET)
    piece = post(b"x" * 1000)
    sent = 0
    while bench.transport.reading:
        bench.send(piece)
        sent += 1
        assert sent < 1000, "the bytes held are not bounded"
    assert sent * len(piece) <= Limits().pipelined_bytes_max + len(piece)
    answered = 0
    while answered < len(bench.seen):
        bench.seen[answered].respond(204, b"", b"")
        answered += 1
    assert answered == sent + 1
    assert bench.transport.reading


def test_many_small_requests_at_once_give_others_a_turn() -> None:
    bench = EdgeBench()
    bench.connection.data_received(GET * 100)
    assert len(bench.seen) == HEADS_A_TURN_MAX
    bench.turn()
    assert len(bench.seen) == 100
    assert len(parse_answers(bench.sent)) == 100


def test_no_request_is_begun_while_the_client_takes_no_answers() -> None:
    bench = EdgeBench(lambda x: x.respond(200, b"", b"x" * 100_000))
    bench.transport.taking = False
    bench.send(GET * 10)
    assert len(bench.seen) == 1
    bench.transport.take()
    assert len(bench.seen) == 2


def test_a_body_is_collected_over_many_packets() -> None:
    bench = EdgeBench()
    body = bytes(range(256)) * 40
    raw = post(body) + GET
    for at in range(0, len(raw), 13):
        bench.send(raw[at : at + 13])
    assert [exchange.body for exchange in bench.seen] == [body, b""]


def test_100_continue_is_sent_only_when_the_body_is_wanted_and_not_there() -> None:
    head, body = post(b"abc", b"Expect: 100-continue\r\n")[:-3], b"abc"
    wanted = EdgeBench()
    wanted.send(head)
    assert wanted.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    wanted.send(body)
    assert [a.status for a in parse_answers(wanted.sent)] == [100, 200]

    there = EdgeBench()
    there.send(head + body)
    assert [a.status for a in parse_answers(there.sent)] == [200]

    refused = EdgeBench(admit=lambda _: Refusal(ErrorCode.INVALID_API_KEY, "no key"))
    refused.send(head)
    assert [a.status for a in parse_answers(refused.sent)] == [401]

    old = EdgeBench()
    old.send(head.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert old.sent == b""


def test_a_refusal_by_the_head_comes_before_the_body_and_ends_the_connection() -> None:
    asked: list[Exchange] = []

    def admit(exchange: Exchange) -> Refusal | None:
        asked.append(exchange)
        assert exchange.body == b""
        return Refusal(ErrorCode.ROUTE_NOT_FOUND, "nothing here")

    bench = EdgeBench(admit=admit)
    bench.send(post(b"x" * 1000)[:-900])
    [answer] = parse_answers(bench.sent)
    assert answer.status == 404
    assert answer.headers[b"connection"] == b"close"
    assert bench.transport.ended
    assert not bench.seen
    bench.send(b"x" * 900 + GET)
    assert len(parse_answers(bench.sent)) == 1
    assert len(asked) == 1


def test_a_refusal_of_a_request_without_body_leaves_the_connection_open() -> None:
    bench = EdgeBench(admit=lambda _: Refusal(ErrorCode.ROUTE_NOT_FOUND, "nothing here"))
    bench.send(GET, GET)
    assert [a.status for a in parse_answers(bench.sent)] == [404, 404]
    assert not bench.closed


@pytest.mark.parametrize("declared", [True, False])
def test_413_comes_within_a_mebibyte_of_the_limit(*, declared: bool) -> None:
    limit = 4 * 1024 * 1024
    bench = EdgeBench(limits=Limits(body_bytes_max=limit))
    sent = 0
    if declared:
        bench.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (limit + 1))
    else:
        bench.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        while not bench.sent:
            bench.send(piece)
            sent += 65536
            assert sent < limit + 1024 * 1024
    assert [a.status for a in parse_answers(bench.sent)] == [413]
    assert not bench.seen
    # The client can go on sending for a while, and is not reset before it reads the answer.
    bench.send(b"x" * 65536)
    assert not bench.transport.closing


def test_a_body_at_the_limit_is_taken() -> None:
    limits = Limits(body_bytes_max=1000)
    for raw in (
        post(b"x" * 1000),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n"
        + b"x" * 1000
        + b"\r\n0\r\n\r\n",
    ):
        bench = EdgeBench(limits=limits)
        bench.send(raw)
        assert [exchange.body for exchange in bench.seen] == [b"x" * 1000]


def test_the_end_of_input_while_an_answer_is_owed_means_the_client_is_gone() -> None:
    left: list[str] = []
    bench = EdgeBench(later)
    bench.send(GET)
    exchange = bench.seen[0]
    exchange.on_gone = lambda: left.append("gone")
    bench.end()
    bench.lose()
    assert left == ["gone"]
    assert exchange.gone
    exchange.respond(200, b"", b"late")
    assert bench.sent == b""


def test_the_end_of_input_in_a_request_gives_it_to_nobody() -> None:
    for part in (GET[:10], post(b"abc")[:-1]):
        bench = EdgeBench()
        bench.send(part)
        bench.end()
        bench.lose()
        assert not bench.seen
        assert bench.sent == b""
        assert not bench.service.connections


def test_what_was_pipelined_behind_a_lost_client_is_not_begun() -> None:
    bench = EdgeBench(later)
    bench.send(GET * 3)
    bench.end()
    bench.lose()
    assert len(bench.seen) == 1


def test_a_request_id_is_kept_when_it_is_valid_and_made_when_not() -> None:
    bench = EdgeBench()
    for told in (b"abc-1", b"a b", b"x" * 129, b""):
        bench.send(post(b"", b"X-Request-Id: %b\r\n" % told))
    bench.send(GET)
    ids = [exchange.request_id for exchange in bench.seen]
    assert ids[0] == "abc-1"
    assert len(set(ids)) == 5
    assert all(made.startswith("req-") for made in ids[1:])
    answers = parse_answers(bench.sent)
    assert [a.headers[b"x-request-id"].decode() for a in answers] == ids


def test_a_refused_head_has_a_request_id_too() -> None:
    bench = EdgeBench()
    bench.send(b"nonsense\r\n\r\n")
    [answer] = parse_answers(bench.sent)
    assert answer.headers[b"x-request-id"].startswith(b"req-")
    assert b'"code":"bad_request"' in answer.body


BODIES = Limits(body_bytes_max=1000, bodies_bytes_max=1700, body_bytes_free=100)
BEGUN = {
    "declared": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
    "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
}
MOST = b"x" * 900


@pytest.mark.parametrize("framing", BEGUN)
def test_bodies_of_all_connections_together_are_bounded(framing: str) -> None:
    """P6: a thousand clients that send 32 MB each, slowly, do not take all the memory there is."""
    bench = EdgeBench(limits=BODIES)
    for held in (800, 1600):
        bench.connect()
        bench.send(BEGUN[framing], MOST)
        assert not bench.sent
        assert bench.service.bodies_bytes == held
    bench.connect()
    bench.send(BEGUN[framing], MOST)
    assert [answer.status for answer in parse_answers(bench.sent)] == [429]
    assert bench.closed
    assert bench.service.bodies_bytes == 1600


def test_a_small_body_is_taken_however_much_the_large_ones_have() -> None:
    bench = EdgeBench(limits=BODIES)
    for _ in range(2):
        bench.connect()
        bench.send(BEGUN["declared"], MOST)
    bench.connect()
    bench.send(post(b"x" * 100)[:-50], b"x" * 50)
    assert [answer.status for answer in parse_answers(bench.sent)] == [200]


@pytest.mark.parametrize("end", ["answered", "cut", "lost", "left", "late", "refused"])
def test_the_memory_of_a_body_is_given_back_however_its_request_ends(end: str) -> None:
    bench = EdgeBench(later, limits=BODIES)
    bench.send(BEGUN["chunked"], MOST)
    assert bench.service.bodies_bytes == 800
    if end in {"answered", "cut"}:
        bench.send(b"x" * 100 + b"\r\n0\r\n\r\n")
        assert bench.service.bodies_bytes == 900, "it is held while the request is worked on"
        [exchange] = bench.seen
        if end == "answered":
            exchange.respond(200, b"", b"")
        else:
            exchange.abort()
    elif end == "late":
        bench.wait(11)
    elif end == "refused":
        bench.send(b"x" * 100 + b"no framing")
    else:
        if end == "left":
            bench.end()
        bench.lose()
    assert bench.service.bodies_bytes == 0
