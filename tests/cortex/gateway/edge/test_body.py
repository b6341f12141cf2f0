"""Bodies out of their framing."""

import pytest

from helexa.cortex.gateway.edge.body import (
    CHUNK_BYTES_AVERAGE_MIN,
    SMALL_CHUNKS_MAX,
    ChunkedBody,
    DeclaredBody,
)
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import ErrorCode

FRAMED = b"3;ext=1\r\nabc\r\n00A\r\n0123456789\r\n0;x\r\nT: v\r\nU: w\r\n\r\n"


@pytest.mark.parametrize("step", range(1, len(FRAMED) + 1))
def test_a_chunked_body_is_the_same_at_every_split_and_ends_where_it_ends(step: int) -> None:
    body, after = ChunkedBody(Limits()), b"GET / HTTP"
    data = FRAMED + after
    for at in range(0, len(data), step):
        piece = b".." + data[at : at + step]
        stop = body.feed(piece, 2) - 2
        if body.done:
            assert at + stop == len(FRAMED)
            break
        assert stop == len(piece) - 2
    assert body.done
    assert body.refusal is None
    assert body.body == b"abc0123456789"


def test_a_declared_body_ends_where_it_ends() -> None:
    body = DeclaredBody(5)
    assert body.feed(b"..abc", 2) == 5
    assert not body.done
    assert body.feed(b"defg", 0) == 2
    assert body.done
    assert body.body == b"abcde"


def refused(framed: bytes, limits: Limits | None = None) -> ErrorCode | None:
    found = set()
    for step in (1, 5, len(framed)):
        body = ChunkedBody(limits or Limits())
        at = 0
        while at < len(framed) and body.refusal is None and not body.done:
            at += body.feed(framed[at : at + step], 0)
        found.add(None if body.refusal is None else body.refusal.code)
    [code] = found
    return code


def test_limits_hold_at_their_border() -> None:
    limits = Limits(body_bytes_max=10, trailer_bytes_max=12, chunk_line_bytes_max=10)
    ten = b"5\r\n01234\r\n5\r\n56789\r\n"
    assert refused(ten + b"0\r\n\r\n", limits) is None
    assert refused(ten + b"1\r\nx\r\n0\r\n\r\n", limits) == ErrorCode.PAYLOAD_TOO_LARGE
    assert refused(ten + b"0\r\nA: b\r\nC: d\r\n\r\n", limits) is None
    assert refused(ten + b"0\r\nA: b\r\nC: dd\r\n\r\n", limits) == ErrorCode.HEADERS_TOO_LARGE
    assert refused(b"1;" + b"a" * 7 + b"\r\n.\r\n0\r\n\r\n", limits) is None
    assert refused(b"1;" + b"a" * 20 + b"\r\n.\r\n0\r\n\r\n", limits) == ErrorCode.BAD_REQUEST


def test_extensions_are_bounded_over_the_whole_body() -> None:
    limits = Limits(chunk_extension_bytes_max=100)
    chunk = b"1;aaaaaaaaa\r\n.\r\n"
    assert refused(chunk * 10 + b"0\r\n\r\n", limits) is None
    assert refused(chunk * 11 + b"0\r\n\r\n", limits) == ErrorCode.BAD_REQUEST


def test_many_small_chunks_are_taken_and_endless_ones_refused() -> None:
    assert refused(b"1\r\n.\r\n" * 3000 + b"0\r\n\r\n") is None
    size = CHUNK_BYTES_AVERAGE_MIN * 2
    steady = b"%x\r\n%b\r\n" % (size, b"x" * size)
    assert refused(steady * (SMALL_CHUNKS_MAX * 2) + b"0\r\n\r\n") is None
    assert refused(b"1\r\n.\r\n" * (SMALL_CHUNKS_MAX * 2)) == ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    "part", [b"x", b"-", b"1 ", b"1\r\nab", b"1\r\na\n", b"1;\x00", b"123456789"]
)
def test_wrong_framing_is_refused_before_its_line_ends(part: bytes) -> None:
    assert refused(part) == ErrorCode.BAD_REQUEST
