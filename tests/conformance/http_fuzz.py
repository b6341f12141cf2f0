"""What must hold for any bytes whatever: shared by the property tests and the soak's fuzzer."""

from dataclasses import dataclass

import h11

from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.limits import Limits
from tests.conformance.http_wire import parse_answers
from tests.fakes.edge_transport import EdgeBench

# Small enough that random input reaches every one of them.
TIGHT = Limits(
    request_line_bytes_max=60,
    head_bytes_max=300,
    headers_max=8,
    body_bytes_max=200,
    trailer_bytes_max=40,
    chunk_line_bytes_max=24,
    chunk_extension_bytes_max=40,
    pipelined_bytes_max=500,
)
# Which limit or rule a request breaks first may depend on how much of it has been seen; that it
# is refused may not.
REFUSED = frozenset((400, 413, 431))


@dataclass(frozen=True)
class Outcome:
    """What became of some input."""

    requests: tuple[tuple[str, str, tuple[tuple[bytes, bytes], ...], bytes], ...]
    statuses: tuple[int, ...]
    closed: bool


def _answer(exchange: Exchange) -> None:
    if exchange.query == "stream":
        exchange.start(200, b"")
        exchange.write(exchange.body)
        exchange.finish(b"end")
    else:
        exchange.respond(200, b"", exchange.body)


def outcome(pieces: list[bytes]) -> Outcome:
    """Feed the pieces to a fresh connection; check what must always hold; return what came out."""
    heads_read: list[Exchange] = []
    bench = EdgeBench(_answer, heads_read.append, TIGHT)
    bench.send(*pieces)
    assert not bench.faults, bench.faults
    heads = tuple(at for at, exchange in enumerate(heads_read) if exchange.method == "HEAD")
    statuses = _final_statuses(bench.sent, heads)
    # Each head has one answer, but for the last, whose body may be missing; then at most one more,
    # to what is no head.
    assert len(heads_read) - 1 <= len(statuses) <= len(heads_read) + 1, "one answer per request"
    assert statuses.count(200) == len(bench.seen)
    assert set(statuses) <= REFUSED | {200, 417}
    assert not REFUSED & set(statuses[:-1]), "a refused connection goes on"
    if statuses and statuses[-1] in REFUSED:
        assert bench.closed
    requests = tuple(
        (
            exchange.method,
            f"{exchange.path}?{exchange.query}",
            tuple(sorted(exchange.headers.items())),
            exchange.body,
        )
        for exchange in bench.seen
    )
    told = tuple(400 if status in REFUSED else status for status in statuses)
    return Outcome(requests, told, bench.closed)


def _final_statuses(sent: bytes, heads: tuple[int, ...]) -> tuple[int, ...]:
    """Parse the output; places of HEAD answers shift by the interim answers in front of them."""
    plain = sent.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    answers = parse_answers(plain, head_only=heads)
    assert all(answer.whole for answer in answers)
    return tuple(answer.status for answer in answers)


def agrees_with_h11(data: bytes, found: Outcome) -> None:
    """Whatever the edge takes for a request, h11 takes for the same one."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=10_000)
    parser.receive_data(data)
    for method, target, headers, body in found.requests:
        request = parser.next_event()
        assert isinstance(request, h11.Request), request
        assert request.method == method.encode()
        assert request.target.decode().rstrip("?") == target.rstrip("?")
        joined: dict[bytes, bytes] = {}
        for name, value in request.headers:
            joined[name] = joined[name] + b", " + value if name in joined else value
        for framing in (b"transfer-encoding", b"content-length"):  # shows in the body alone
            joined.pop(framing, None)
        assert tuple(sorted(joined.items())) == headers
        collected = b""
        try:
            while isinstance(event := parser.next_event(), h11.Data):
                collected += event.data
        except h11.RemoteProtocolError:
            assert collected == body  # it minds what a trailer says; here trailers are dropped
            return
        assert isinstance(event, h11.EndOfMessage), event
        assert collected == body
        if parser.our_state is h11.SEND_RESPONSE:
            parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            parser.send(h11.EndOfMessage())
        if parser.our_state is h11.MUST_CLOSE:
            return
        parser.start_next_cycle()
