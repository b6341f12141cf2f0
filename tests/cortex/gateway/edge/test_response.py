"""Status lines and refusals as bytes."""

import json

from helexa.cortex.gateway.edge import response
from helexa.protocol.errors import CODES, ErrorCode, Refusal


def test_a_known_status_has_its_name_and_an_unknown_one_none() -> None:
    assert response.status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert response.status_line(431) == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    assert response.status_line(520) == b"HTTP/1.1 520 \r\n"


def test_answers_that_never_have_a_body() -> None:
    assert {100, 101, 199, 204, 304} <= response.BODILESS
    assert not {200, 205, 206, 400, 404} & response.BODILESS


def test_every_refusal_is_the_envelope_and_says_when_to_retry() -> None:
    for code, rule in CODES.items():
        status, headers, body = response.refusal_answer(None, Refusal(code, "because"))
        assert status == rule.status
        assert json.loads(body)["error"]["code"] == code
        retry = b"retry-after: %d\r\n" % rule.retry_after_s if rule.retry_after_s else b""
        assert headers == b"content-type: application/json\r\n" + retry


def test_a_refusals_own_time_to_retry_counts() -> None:
    refusal = Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, "x", retry_after_s=7)
    assert b"retry-after: 7\r\n" in response.refusal_answer(None, refusal)[1]
