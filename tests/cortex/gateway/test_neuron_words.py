"""What neurons say of their answers; how a caller is told of it is tested with `relay`."""

import pytest

from helexa.cortex.gateway.metering import Outcome
from helexa.cortex.gateway.neuron_words import (
    AnswerHead,
    AnswerHeads,
    read_head,
    read_reset,
    read_trailer,
)
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.inference import Reset, ResponseHead, Trailer


def test_a_head_is_read_or_it_is_said_what_is_wrong_with_it() -> None:
    assert read_head(b'{"status":404}') == ResponseHead(status=404)
    assert read_head(b"x") == "its head is not readable"
    assert "status 101" in str(read_head(b'{"status":101}'))
    assert "has no body" in str(read_head(b'{"status":204}'))


def test_heads_of_whole_answers_are_learned_once_and_bad_ones_never() -> None:
    heads = AnswerHeads()
    ok = heads[b'{"status":200}']
    assert ok == AnswerHead(200, b"content-type: application/json\r\n", Outcome.OK)
    assert heads[b'{"status":200}'] is ok
    assert heads[b"nonsense"] is None
    assert list(heads) == [b'{"status":200}']


def test_a_trailer_is_read_where_there_is_one() -> None:
    assert read_trailer(b'{"finish_reason":"stop"}') == Trailer(finish_reason="stop")
    assert read_trailer(b"") is read_trailer(b"nonsense") is None


@pytest.mark.parametrize("payload", [b"", b"x", b'{"code":"from_the_future"}'])
def test_a_reset_that_nobody_understands_is_a_lost_connection(payload: bytes) -> None:
    reset, refusal = read_reset(payload)
    assert refusal.code is ErrorCode.UPSTREAM_CONNECTION_ERROR
    assert not reset.retry_elsewhere


def test_a_reset_is_told_as_it_was_said() -> None:
    told = b'{"code":"engine_crash","message":"died","retry_after_s":4,"engine":"m#1"}'
    assert read_reset(told) == (
        Reset(code="engine_crash", message="died", retry_after_s=4, engine="m#1"),
        Refusal(ErrorCode.ENGINE_CRASH, "died", None, 4),
    )
