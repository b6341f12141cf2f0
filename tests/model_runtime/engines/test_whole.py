import json

import pytest

from helexa.model_runtime.engines.whole import HELD_BYTES_MAX, WholeTranslation
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import Usage
from tests.fakes.llama_stream import translate

SMALL = (
    b'{"object":"list","usage":{"prompt_tokens":3,"total_tokens":3},"data":[{"embedding":[0.5]}]}'
)


def large(usage_first: bool) -> bytes:
    data = '"data":[' + ",".join("[0.123456789]" for _ in range(30_000)) + "]"
    usage = '"usage":{"prompt_tokens":7,"total_tokens":7}'
    parts = (usage, data) if usage_first else (data, usage)
    return ("{" + ",".join(parts) + "}").encode()


def test_a_small_answer_is_checked_before_it_is_told():
    translation = WholeTranslation()
    out, ending = translate(translation, SMALL, size=7)
    assert out == SMALL
    assert ending.usage == Usage(prompt_tokens=3, completion_tokens=0)
    assert translation.head.status == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", SMALL[:-1], b"[]", b'{"x":1}', b'{"data":"\xff"}', b"<html>", b'{"data":[}']
)
def test_a_broken_answer_is_a_clean_failure(body):
    translation = WholeTranslation()
    out, ending = translate(translation, body)
    assert out == b""
    assert translation.head is None
    assert ending.failure.code is ErrorCode.ENGINE_GARBAGE


def test_a_cut_answer_is_a_lost_connection():
    out, ending = translate(WholeTranslation(), SMALL, complete=False)
    assert out == b""
    assert ending.failure.code is ErrorCode.UPSTREAM_CONNECTION_ERROR


@pytest.mark.parametrize("usage_first", [True, False])
def test_a_large_answer_passes_as_it_comes_and_is_counted(usage_first):
    body = large(usage_first)
    translation = WholeTranslation()
    translation.on_head(200, {})
    first = translation.on_data(body[: HELD_BYTES_MAX + 1])
    assert len(first) == HELD_BYTES_MAX + 1
    assert translation.produced
    rest = translation.on_data(body[HELD_BYTES_MAX + 1 :])
    assert first + rest == body
    ending = translation.on_end(complete=True)
    assert ending.failure is None
    assert ending.usage.prompt_tokens == 7


def test_a_large_answer_that_ends_early_is_a_failure():
    body = large(usage_first=True)
    assert translate(WholeTranslation(), body[:-1])[1].failure.code is ErrorCode.ENGINE_GARBAGE
    cut = translate(WholeTranslation(), body, complete=False)[1].failure
    assert cut.code is ErrorCode.UPSTREAM_CONNECTION_ERROR


def test_an_error_keeps_its_meaning():
    body = json.dumps({"error": {"message": "Input content cannot be empty"}}).encode()
    out, ending = translate(WholeTranslation(), body, status=400)
    assert out == b""
    assert ending.failure.blames_engine is False
