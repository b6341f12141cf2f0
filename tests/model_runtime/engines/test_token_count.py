"""Prompts are counted by the engine that will read them; an estimate says that it is one."""

import json

import pytest

from helexa.model_runtime.engines.catalogue import ENGINES
from helexa.model_runtime.engines.token_count import (
    IMAGE_TOKENS,
    CountTranslation,
    estimate,
)
from helexa.model_runtime.interfaces import KnownAnswer, OutboundCall
from helexa.protocol.errors import ErrorCode
from helexa.protocol.workload import Operation
from tests.fakes.launches import inbound

CHAT = json.dumps(
    {
        "model": "alias",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
).encode()


def counted(status, body, *, complete=True):
    translation = CountTranslation(otherwise=99)
    translation.on_head(status, {})
    pieces = [body[at : at + 3] for at in range(0, len(body), 3)]
    assert b"".join(map(translation.on_data, pieces)) == b""
    return translation, translation.on_end(complete=complete)


@pytest.mark.parametrize("body", [b'{"input_tokens":12}', b'{"count":12,"tokens":[1,2]}'])
def test_what_the_engine_counted_is_told(body):
    translation, ending = counted(200, body)
    assert json.loads(ending.data) == {"input_tokens": 12}
    assert translation.head.status == 200
    assert ending.usage is None


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_engine_without_the_route_gets_an_estimate_that_says_so(status):
    _, ending = counted(status, b"File Not Found")
    assert json.loads(ending.data) == {"input_tokens": 99, "estimated": True}


@pytest.mark.parametrize(
    ("status", "body", "complete", "code"),
    [
        (200, b"{}", True, ErrorCode.ENGINE_GARBAGE),
        (200, b'{"input_tokens":-1}', True, ErrorCode.ENGINE_GARBAGE),
        (200, b'{"input_tokens":"many"}', True, ErrorCode.ENGINE_GARBAGE),
        (200, b'{"input_tokens":1}', False, ErrorCode.ENGINE_GARBAGE),
        (200, b"\xff", True, ErrorCode.ENGINE_GARBAGE),
        (
            400,
            b'{"error":{"message":"roles must alternate"}}',
            True,
            ErrorCode.INVALID_REQUEST_BODY,
        ),
        (500, b'{"error":{"message":"boom"}}', True, ErrorCode.INTERNAL_ERROR),
    ],
)
def test_what_is_no_count_is_a_failure(status, body, complete, code):
    translation, ending = counted(status, body, complete=complete)
    assert ending.failure.code is code
    assert translation.head is None


@pytest.mark.parametrize(
    ("engine", "path"),
    [
        ("llamacpp", "/v1/chat/completions/input_tokens"),
        ("echo", "/v1/chat/completions/input_tokens"),
        ("vllm", "/tokenize"),
    ],
)
def test_an_engine_is_asked_with_the_same_chat(engine, path):
    call = ENGINES[engine].call(inbound(CHAT, Operation.COUNT_TOKENS))
    assert isinstance(call, OutboundCall)
    assert call.path == path
    sent = json.loads(call.body)
    assert (sent["messages"], sent["tools"]) == (
        [{"role": "user", "content": "hi"}],
        [{"type": "function", "function": {"name": "f"}}],
    )
    assert sent["model"] != "alias"
    assert "stream" not in sent


def test_words_of_the_assistant_are_counted_as_words_that_are_gone_on_with():
    words = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "So"}]
    body = json.dumps({"messages": words}).encode()
    sent = json.loads(ENGINES["vllm"].call(inbound(body, Operation.COUNT_TOKENS)).body)
    assert (sent["add_generation_prompt"], sent["continue_final_message"]) == (False, True)


def test_a_server_that_only_speaks_openai_is_not_asked():
    call = ENGINES["openai"].call(inbound(CHAT, Operation.COUNT_TOKENS))
    assert isinstance(call, KnownAnswer)
    assert json.loads(call.body) == {"input_tokens": len(CHAT) // 4, "estimated": True}


def test_a_picture_is_not_counted_by_its_bytes():
    bare = b'{"url":""}'
    picture = b'{"url":"data:image/png;base64,' + b"A" * 100_000 + b'"}'
    assert estimate(picture) == estimate(bare) + IMAGE_TOKENS
