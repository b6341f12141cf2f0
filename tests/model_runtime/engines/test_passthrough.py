import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.model_runtime.engines.passthrough import ERROR_BYTES_MAX, PassThrough
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import Usage
from tests.fakes import llama_stream as ls

SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}


def run(data, headers=JSON, status=200, complete=True, size=50):
    translation = PassThrough()
    translation.on_head(status, headers)
    out = b"".join(translation.on_data(data[i : i + size]) for i in range(0, len(data), size))
    return out, translation.on_end(complete=complete), translation


USAGE = ls.chunk([], usage={"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6})
STREAM = b": hello\n\n" + ls.role() + ls.delta(content="Hi 🙂") + ls.finish() + USAGE + ls.DONE
ANSWER = json.dumps(
    {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}
).encode()


@given(st.integers(1, len(STREAM)))
def test_every_byte_passes_whatever_the_split(size):
    out, ending, translation = run(STREAM, SSE, size=size)
    assert out + ending.data == STREAM
    assert ending.failure is None
    assert ending.usage == Usage(prompt_tokens=4, completion_tokens=2)
    assert ending.finish_reason == "length"
    assert translation.head.content_type == "text/event-stream; charset=utf-8"
    assert translation.head.status == 200


def test_a_whole_json_answer_passes_and_is_counted():
    out, ending, translation = run(ANSWER)
    assert out == ANSWER
    assert ending.usage == Usage(prompt_tokens=4, completion_tokens=2)
    assert ending.finish_reason == "stop"
    assert translation.produced


def test_the_first_token_is_noticed_and_not_the_role_or_a_comment():
    translation = PassThrough()
    translation.on_head(200, SSE)
    translation.on_data(b": ping\n\n")
    translation.on_data(ls.chunk([{"delta": {"role": "assistant", "content": ""}}]))
    assert not translation.produced
    translation.on_data(ls.delta(content="x"))
    assert translation.produced


def test_an_error_passes_unchanged_with_its_retry_time():
    """Lesson 5."""
    body = b'{"error":{"message":"slow down","code":"rate_limit"}}'
    out, ending, translation = run(body, {**JSON, "retry-after": "7"}, status=429)
    assert out == body
    assert ending.failure is None
    assert (translation.head.status, translation.head.retry_after_s) == (429, 7)


def test_the_body_of_an_error_is_bounded():
    out, _, _ = run(b"x" * (ERROR_BYTES_MAX * 2), status=500, size=1000)
    assert len(out) == ERROR_BYTES_MAX


@pytest.mark.parametrize("told", ["soon", "Wed, 21 Oct 2015 07:28:00 GMT", "-1", "9" * 40, ""])
def test_a_retry_time_that_is_no_number_is_left_out(told):
    assert run(b"{}", {**JSON, "retry-after": told}, status=503)[2].head.retry_after_s is None


def test_a_huge_retry_time_is_capped():
    assert run(b"{}", {"retry-after": "999999"}, status=503)[2].head.retry_after_s == 3600


def test_a_stream_that_just_ends_is_never_a_clean_end():
    """Promise P1: no silent truncation."""
    for data in (b"", ls.role(), ls.role() + ls.delta(content="finish_reason")):
        ending = run(data, SSE)[1]
        assert ending.failure.code is ErrorCode.ENGINE_CRASH, data


def test_a_stream_with_a_finish_or_an_error_but_no_end_mark_is_whole():
    assert run(ls.delta(content="x") + ls.finish(), SSE)[1].failure is None
    assert run(b'data: {"error":{"message":"boom"}}\n\n', SSE)[1].failure is None


def test_a_cut_stream_is_a_lost_connection_unless_it_had_ended():
    cut = run(ls.delta(content="x") + ls.finish(), SSE, complete=False)[1].failure
    assert cut.code is ErrorCode.UPSTREAM_CONNECTION_ERROR
    assert run(STREAM, SSE, complete=False)[1].failure is None


def test_a_cut_or_broken_json_answer_is_a_failure():
    assert run(ANSWER[:-1])[1].failure.code is ErrorCode.ENGINE_GARBAGE
    assert run(ANSWER, complete=False)[1].failure.code is ErrorCode.UPSTREAM_CONNECTION_ERROR
    assert run(b"[1]")[1].failure.code is ErrorCode.ENGINE_GARBAGE


def test_a_long_answer_is_counted_from_either_end():
    filler = "x" * 200_000
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    for fields in ({"usage": usage, "data": filler}, {"data": filler, "usage": usage}):
        body = json.dumps(fields).encode()
        out, ending, translation = run(body, size=4096)
        assert out == body
        assert ending.usage == Usage(prompt_tokens=1, completion_tokens=2)
        assert sum(map(len, translation._kept)) <= 64 << 10
    assert run(json.dumps({"data": filler}).encode()[:-1])[1].failure is not None


def test_an_endless_stream_keeps_little_in_memory():
    translation = PassThrough()
    translation.on_head(200, SSE)
    piece = ls.delta(content="x" * 50)
    for _ in range(20_000):
        translation.on_data(piece)
    assert sum(map(len, translation._kept)) <= 32 << 10


def test_a_redirect_is_not_followed_and_not_passed_on():
    out, ending, translation = run(b"moved", {"location": "http://x"}, status=302)
    assert out == b""
    assert translation.head is None
    assert ending.failure.code is ErrorCode.UPSTREAM_CONNECTION_ERROR


@pytest.mark.parametrize("status", [100, 204, 304, 999])
def test_a_status_that_cannot_be_an_answer_is_garbage(status):
    assert run(b"", status=status)[1].failure.code is ErrorCode.ENGINE_GARBAGE


def test_a_content_type_that_is_none_is_not_passed_on():
    """S36: hostile headers are stripped."""
    head = run(b"{}", {"content-type": "text/html\r\nset-cookie: a=b"})[2].head
    assert head.content_type == "application/octet-stream"
