import json

import pytest

from helexa.model_runtime.engines.failures import failure_of, failure_of_event
from helexa.protocol.errors import ErrorCode

CALLERS = [
    (400, "request (9031 tokens) exceeds the available context size (8192 tokens)",
     "exceed_context_size_error", ErrorCode.CONTEXT_LENGTH_EXCEEDED),
    (400, "'messages' is required", "invalid_request_error", ErrorCode.INVALID_REQUEST_BODY),
    (500, "[json.exception.parse_error.101] parse error at line 1", "server_error",
     ErrorCode.INVALID_REQUEST_BODY),
    (501, "This server does not support embeddings. Start it with `--embeddings`",
     "not_supported_error", ErrorCode.NOT_SUPPORTED),
    (500, "input (902 tokens) is too large to process. increase the physical batch size",
     "server_error", ErrorCode.CONTEXT_LENGTH_EXCEEDED),
    (500, "image input is not supported - hint: you may need to provide the mmproj",
     "server_error", ErrorCode.INVALID_REQUEST_BODY),
    (500, "Context size has been exceeded.", "server_error", ErrorCode.CONTEXT_LENGTH_EXCEEDED),
    (404, "File Not Found", "not_found_error", ErrorCode.NOT_SUPPORTED),
    (422, "odd", "", ErrorCode.INVALID_REQUEST_BODY),
    (418, "odd", "", ErrorCode.INVALID_REQUEST_BODY),
]  # fmt: skip


@pytest.mark.parametrize(("status", "message", "kind", "code"), CALLERS)
def test_a_mistake_of_the_caller_never_blames_the_engine(status, message, kind, code):
    body = json.dumps({"error": {"code": status, "message": message, "type": kind}}).encode()
    failure = failure_of(status, body)
    assert (failure.code, failure.blames_engine) == (code, False)
    assert failure.message == message


def test_a_failure_of_the_engine_is_never_told_in_its_own_words():
    secret = "CUDA error at /home/bob/llama.cpp/ggml.cu:77"
    for status in (500, 502, 599):
        failure = failure_of(status, json.dumps({"error": {"message": secret}}).encode())
        assert failure.code is ErrorCode.INTERNAL_ERROR
        assert failure.blames_engine
        assert "/home" not in failure.message
        assert failure.detail == f"the engine answered {status}: {secret}"


def test_what_a_failed_engine_said_is_kept_for_the_log_whatever_its_form():
    """Lesson 5: else the cause of a failure is in no journal. It is bounded."""
    assert failure_of(500, b"Segfault \xff" + b"x" * 5000).detail.startswith(
        "the engine answered 500: Segfault \\xff"
    )
    assert len(failure_of(500, b"x" * 5000).detail) < 1100


def test_a_refused_key_is_a_wrong_listener_and_tells_nothing():
    failure = failure_of(401, b'{"error":{"message":"Invalid API Key k3y"}}')
    assert failure.code is ErrorCode.UPSTREAM_CONNECTION_ERROR
    assert failure.blames_engine
    assert "k3y" not in failure.message + failure.detail


@pytest.mark.parametrize(
    ("status", "code"), [(503, ErrorCode.MODEL_LOADING), (429, ErrorCode.RATE_LIMIT_EXCEEDED)]
)
def test_a_busy_engine_is_not_a_broken_one(status, code):
    failure = failure_of(status, b"")
    assert (failure.code, failure.blames_engine) == (code, False)


def test_vllm_tells_a_long_prompt_by_its_parameter():
    body = b'{"error":{"message":"too many","type":"BadRequestError","param":"input_tokens"}}'
    assert failure_of(400, body).code is ErrorCode.CONTEXT_LENGTH_EXCEEDED


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 9999, b"<html>", b'{"error":7}', b"7"])
def test_an_error_without_a_readable_body_has_a_message(body):
    assert failure_of(400, body).message
    assert failure_of(500, body).blames_engine


def test_an_error_text_and_a_detail_are_messages_too():
    assert failure_of(400, b'{"error":"bad thing"}').message == "bad thing"
    assert failure_of(404, b'{"detail":"Not Found"}').message == "Not Found"
    assert len(failure_of(400, json.dumps({"error": "x" * 9999}).encode()).message) == 1000


@pytest.mark.parametrize("status", [204, 302])
def test_what_is_neither_an_answer_nor_an_error_is_garbage(status):
    assert failure_of(status, b"").code is ErrorCode.ENGINE_GARBAGE


def test_an_error_event_carries_its_status():
    told = b'{"error":{"code":400,"message":"\'x\' is bad","type":"invalid_request_error"}}'
    assert failure_of_event(told).blames_engine is False
    assert failure_of_event(b'{"error":{"code":true,"message":"boom"}}').blames_engine
    assert failure_of_event(b"{half").code is ErrorCode.ENGINE_GARBAGE
    assert failure_of_event(b"7").code is ErrorCode.INTERNAL_ERROR
