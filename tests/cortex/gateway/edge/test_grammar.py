"""The letters of a head; the wire cases are in conformance."""

import pytest

from helexa.cortex.gateway.edge import grammar
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import ErrorCode

GOOD = b"GET /a?b HTTP/1.1\r\nHost: a\r\nB: c\td\xff\r\n\r\n"


def test_a_good_head_matches_and_no_part_of_it_is_refused() -> None:
    assert grammar.HEAD.fullmatch(GOOD)
    for end in range(1, len(GOOD)):
        for seen in {0, end // 2, end - 1}:
            assert grammar.problem_of_part(GOOD[:end], seen, Limits()) is None


def test_no_byte_outside_the_grammar_is_matched_anywhere() -> None:
    for at in range(len(GOOD)):
        for bad in (0x00, 0x0B, 0x7F):
            broken = GOOD[:at] + bytes((bad,)) + GOOD[at:]
            assert not grammar.HEAD.fullmatch(broken)
            assert grammar.problem_of_head(broken, Limits()).code == ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (b"\x16\x03\x01", "begins with its method"),
        (b"\r\n", "begins with its method"),
        (b"GET / HTTP/1.1\nHost", "LF alone"),
        (b"GET / HTTP/1.1\r\r", "CR stands without"),
        (b"GET / HTTP/1.1\r\nA: b\r\n c", "folded"),
        (b"GET / HTTP/1.1\r\nA: \x01", "0x01"),
    ],
)
def test_a_part_that_can_never_be_a_head_is_refused_with_a_reason(part: bytes, words: str) -> None:
    problem = grammar.problem_of_part(part, 0, Limits())
    assert problem is not None
    assert words in problem.because


def test_a_fault_on_the_border_of_two_packets_is_seen() -> None:
    for part, seen in ((b"GET / HTTP/1.1\r\r", 15), (b"GET / HTTP/1.1\r\n A", 16)):
        assert grammar.problem_of_part(part[:seen], 0, Limits()) is None
        assert grammar.problem_of_part(part, seen, Limits()) is not None


def test_parts_are_bounded() -> None:
    limits = Limits(request_line_bytes_max=50, head_bytes_max=100)
    line = grammar.problem_of_part(b"GET /" + b"a" * 50, 0, limits)
    head = grammar.problem_of_part(b"GET / HTTP/1.1\r\nA: " + b"b" * 100, 0, limits)
    for problem, number in ((line, "50"), (head, "100")):
        assert problem is not None
        assert problem.code == ErrorCode.HEADERS_TOO_LARGE
        assert number in problem.because


def test_hosts() -> None:
    for good in (b"a", b"a.b-c_d~", b"1.2.3.4:80", b"[::1]:80", b"[::ffff:1.2.3.4]"):
        assert grammar.is_host(good)
    for bad in (b"", b"a:", b":80", b"a:b", b"u@a", b"[::1", b"a,b", b"a\n", b"[g]"):
        assert not grammar.is_host(bad)


def test_matching_takes_one_pass_however_hostile_the_input() -> None:
    """A pattern that backtracks would not end within the test's time on these."""
    for hostile in (
        b"GET / HTTP/1.1\r\n" + b"A:" + b" " * 60_000 + b"\x00",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"C",
        b"GET /" + b"a" * 60_000 + b"\x00",
    ):
        assert not grammar.HEAD.fullmatch(hostile)
