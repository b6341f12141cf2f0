"""Header lines of answers."""

import pytest

from helexa.cortex.gateway import headers
from helexa.protocol.errors import CODES, ErrorCode, Refusal


@pytest.mark.parametrize("code", ErrorCode)
def test_every_429_and_503_says_when_to_come_back(code: ErrorCode) -> None:
    lines = headers.refusal_lines(Refusal(code, "x"))
    if CODES[code].status in {429, 503}:
        assert b"retry-after: " in lines
    if CODES[code].status < 429:
        assert b"retry-after: " not in lines


@pytest.mark.parametrize(("asked_s", "told_s"), [(0, 1), (7, 7), (900, 30)])
def test_a_retry_time_is_between_1_and_30_seconds(asked_s: int, told_s: int) -> None:
    refusal = Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, "x", None, asked_s)
    assert b"retry-after: %d\r\n" % told_s in headers.refusal_lines(refusal)


def test_what_a_retry_cannot_mend_says_so() -> None:
    assert b"x-should-retry: false" in headers.refusal_lines(Refusal(ErrorCode.ENGINE_GARBAGE, "x"))


def test_a_missing_key_is_asked_for() -> None:
    assert b"www-authenticate: Bearer" in headers.refusal_lines(
        Refusal(ErrorCode.INVALID_API_KEY, "x")
    )


@pytest.mark.parametrize(
    ("content_type", "lines"),
    [
        ("application/json", headers.JSON),
        ("text/event-stream; charset=utf-8", headers.SSE),
        ("text/x\r\nset-cookie: a=b", headers.JSON),
        ("audio/mpeg", b"content-type: audio/mpeg\r\n"),
    ],
)
def test_only_a_plain_content_type_is_passed_on(content_type: str, lines: bytes) -> None:
    """S36: nothing of an engine's headers gets through but its type."""
    assert headers.relayed_lines(content_type, None) == lines


@pytest.mark.parametrize(("asked_s", "told_s"), [(-(10**20), 1), (7, 7), (10**20, 30)])
def test_a_retry_time_of_a_neuron_is_bounded_too(asked_s: int, told_s: int) -> None:
    assert b"retry-after: %d\r\n" % told_s in headers.relayed_lines("application/json", asked_s)
