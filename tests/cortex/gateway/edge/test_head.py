"""Heads: what they say together. Their spelling is in test_grammar, their wire in conformance."""

import httptools
import pytest

from helexa.cortex.gateway.edge.head import CHUNKED, NO_HEAD, Head, HeadReader
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import ErrorCode, Refusal


def read(*lines: bytes, first: bytes = b"POST / HTTP/1.1") -> Head:
    head = HeadReader(Limits()).read(b"\r\n".join((first, b"Host: a", *lines, b"", b"")))
    assert isinstance(head, Head), head
    return head


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"close", False),
        (b"Close", False),
        (b"keep-alive, close", False),
        (b"keep-alive", True),
        (b"Keep-Alive", True),
        (b"closed", True),
        (b"upgrade", True),
        (b"", True),
    ],
)
def test_a_connection_is_kept_unless_close_is_among_its_options(
    value: bytes, *, kept: bool
) -> None:
    assert read(b"Connection: " + value).keep_alive is kept


def test_http_1_0_is_never_kept_and_has_no_expectations() -> None:
    head = read(b"Connection: keep-alive", b"Expect: x", first=b"GET / HTTP/1.0")
    assert (head.keep_alive, head.expect, head.minor) == (False, None, 0)


def test_the_length_of_a_body() -> None:
    assert read().length == 0
    assert read(b"Content-Length: 12").length == 12
    assert read(b"Transfer-Encoding: chunked").length == CHUNKED


def test_what_frames_the_body_is_not_among_the_headers() -> None:
    assert read(b"Content-Length: 12").fields == {b"host": b"a"}
    assert read(b"Transfer-Encoding: chunked").fields == {b"host": b"a"}


def test_nothing_of_one_head_is_left_in_the_next() -> None:
    reader = HeadReader(Limits())
    lines = b"A: 1\r\nContent-Length: 5\r\nConnection: close\r\nExpect: 100-continue\r\n"
    first = reader.read(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    second = reader.read(b"GET /x HTTP/1.1\r\nHost: b\r\n\r\n")
    assert second == Head("GET", "/x", fields={b"host": b"b"})
    assert isinstance(first, Head)
    assert first.fields[b"a"] == b"1"
    assert Head() == NO_HEAD


@pytest.mark.parametrize(
    ("value", "taken"), [(b"abc-1", "abc-1"), (b"", ""), (b"a b", ""), (b"\xe9", "")]
)
def test_a_callers_id_is_taken_where_it_is_one(value: bytes, taken: str) -> None:
    assert read(b"X-Request-Id: " + value).request_id == taken


def test_repeated_headers_are_joined_in_order_whatever_their_case() -> None:
    head = read(b"A: 1", b"B: x", b"a:2 ", b"A: \t3")
    assert head.fields[b"a"] == b"1, 2, 3"
    assert head.fields[b"b"] == b"x"


@pytest.mark.parametrize(
    "name",
    [
        b"Host", b"Content-Length", b"Transfer-Encoding", b"Authorization", b"X-Api-Key",
        b"Content-Type", b"Content-Encoding", b"Expect",
    ],
)  # fmt: skip
def test_a_header_that_must_be_single_is_refused_twice(name: bytes) -> None:
    reader = HeadReader(Limits())
    value = b"5" if name == b"Content-Length" else b"chunked"
    host = b"" if name == b"Host" else b"Host: a\r\n"
    head = b"POST / HTTP/1.1\r\n%b%b: %b\r\n%b: %b\r\n\r\n"
    refusal = reader.read(head % (host, name, value, name.lower(), value))
    assert isinstance(refusal, Refusal)
    assert refusal.code == ErrorCode.BAD_REQUEST


def test_limits_are_those_given() -> None:
    reader = HeadReader(Limits(headers_max=2, request_line_bytes_max=40))
    assert isinstance(reader.read(b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"), Head)
    many = reader.read(b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n")
    assert isinstance(many, Refusal)
    assert many.code == ErrorCode.HEADERS_TOO_LARGE
    fits, over = b"a" * (40 - 14), b"a" * (40 - 13)
    assert isinstance(reader.read(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % fits), Head)
    long = reader.read(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % over)
    assert isinstance(long, Refusal)
    assert long.code == ErrorCode.HEADERS_TOO_LARGE


def test_a_refusal_says_what_is_wrong() -> None:
    reader = HeadReader(Limits())
    for lines, words in {
        b"": "needs one Host",
        b"Host: u@a\r\n": "Host header is not",
        b"Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n": "Transfer-Encoding",
        b"Host: a\r\nTransfer-Encoding: gzip, chunked\r\n": "'chunked'",
        b"Host: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n": "Content-Length",
        b"Host: a\r\nBad Name: 5\r\n": "'Bad Name'",
    }.items():
        refusal = reader.read(b"POST / HTTP/1.1\r\n" + lines + b"\r\n")
        assert isinstance(refusal, Refusal)
        assert words in refusal.because


class Lenient:
    """What llhttp makes of a head on its own."""

    def __init__(self) -> None:
        self.done = False

    def on_headers_complete(self) -> None:
        self.done = True


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / RTSP/1.0\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_llhttp_alone_would_take_is_refused_by_our_own_checks(head: bytes) -> None:
    lenient = Lenient()
    httptools.HttpRequestParser(lenient).feed_data(head)
    assert lenient.done, "llhttp has become stricter; the note in grammar.py is out of date"
    assert isinstance(HeadReader(Limits()).read(head), Refusal)
