"""What a body must look like, field by field (reliability S23), and what real clients send."""

import json
from typing import Any

import pytest

from helexa.protocol.dialects import openai
from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.workload import Operation

USER = {"role": "user", "content": "hi"}


def chat(**fields: Any) -> RequestHead | Refusal:
    body = {"model": "m", "messages": [USER], **fields}
    return openai.read(Operation.CHAT, json.dumps(body).encode())


def test_a_chat_body_becomes_its_head() -> None:
    """R1.29: the gateway reads a chat completions body."""
    head = chat(stream=True, stream_options={"include_usage": True}, max_tokens=9, n=2)
    assert head == RequestHead(Operation.CHAT, "m", True, True, 9, 2)


def test_max_completion_tokens_beats_max_tokens() -> None:
    head = chat(max_tokens=149, max_completion_tokens=3)
    assert isinstance(head, RequestHead)
    assert head.tokens_max == 3


def test_an_assistant_turn_without_content_is_accepted() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "4"},
    ]
    assert isinstance(chat(messages=turns), RequestHead)


def test_unknown_fields_and_nulls_are_ignored() -> None:
    head = chat(user="u", metadata={"a": "b"}, stream=None, stop=None, n=None, reasoning={"x": 1})
    assert isinstance(head, RequestHead)


def test_images_and_a_trailing_assistant_turn_are_seen() -> None:
    parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "u"}}]
    head = chat(
        messages=[{"role": "user", "content": parts}, {"role": "assistant", "content": "A"}]
    )
    assert isinstance(head, RequestHead)
    assert (head.vision, head.continues) == (True, True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 100_000}, "n"),
        ({"n": 0}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"logit_bias": {str(n): 1 for n in range(301)}}, "logit_bias"),
        ({"top_logprobs": 100}, "top_logprobs"),
        ({"tools": [{"type": "function"}] * 129}, "tools"),
        ({"messages": [USER] * 2049}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "bad", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [5]}]}, "messages[0].tool_calls[0]"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"response_format": {"schema": "x" * 70_000}}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"schema": {"maxItems": 1e9}}}, "response_format"),
        ({"grammar": 'root ::= "a"'}, "grammar"),
        ({"tools": [{"function": {"parameters": {"maxItems": 1e9}}}]}, "tools"),
    ],
)
def test_a_field_out_of_range_is_named(fields: dict[str, Any], param: str) -> None:
    refusal = chat(**fields)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.status, refusal.param) == (
        ErrorCode.INVALID_REQUEST_BODY,
        400,
        param,
    )
    assert refusal.because


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nope",
        b"{}x",
        b"\xef\xbb\xbf{}",
        b'{"a":NaN}',
        b'{"messages":["\\ud800"]}',
        b"\x00",
    ],
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    for operation in Operation:
        refusal = openai.read(operation, body)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.status) == (ErrorCode.MALFORMED_JSON, 400)


@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"5", b"{}"])
def test_json_that_is_no_request_is_invalid(body: bytes) -> None:
    for operation in Operation:
        refusal = openai.read(operation, body)
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.INVALID_REQUEST_BODY


@pytest.mark.parametrize("given", ["cat", ["cat", "dog"], [1, 2, 3], [[1, 2], [3]]])
def test_every_shape_of_embedding_input_is_read(given: Any) -> None:
    """R1.30: the gateway reads an embeddings body."""
    body = json.dumps({"model": "e", "input": given, "encoding_format": "base64"}).encode()
    assert openai.read(Operation.EMBEDDINGS, body) == RequestHead(Operation.EMBEDDINGS, "e")


@pytest.mark.parametrize("given", ["", [], {}, [{}], [1.5], [None], [-1], ["a"] * 2049, None])
def test_other_embedding_inputs_are_refused(given: Any) -> None:
    refusal = openai.read(Operation.EMBEDDINGS, json.dumps({"model": "e", "input": given}).encode())
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.INVALID_REQUEST_BODY


def test_a_completion_body_becomes_its_head() -> None:
    body = json.dumps({"model": "m", "prompt": "Once", "max_tokens": 5}).encode()
    assert openai.read(Operation.COMPLETION, body) == RequestHead(
        Operation.COMPLETION, "m", tokens_max=5
    )


def test_the_least_number_of_tokens_is_told_where_it_is_certain() -> None:
    """Lesson 49: an estimate that errs low; images, tools and batches are not guessed at."""
    long = chat(messages=[{"role": "user", "content": "x" * 1_600}])
    parts = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x" * 1_600}]}])
    assert isinstance(long, RequestHead)
    assert isinstance(parts, RequestHead)
    assert (long.prompt_tokens_min, parts.prompt_tokens_min) == (100, 0)
    for prompt, least in [("x" * 320, 20), ([1, 2, 3], 3), (["x" * 999], 0), ([[1, 2]], 0)]:
        body = json.dumps({"model": "m", "prompt": prompt}).encode()
        head = openai.read(Operation.COMPLETION, body)
        assert isinstance(head, RequestHead)
        assert head.prompt_tokens_min == least


FORECAST = {"name": "forecast", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FORECAST}


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"tools": [TOOL]}, True),
        ({"tools": [TOOL], "tool_choice": "auto"}, True),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, True),
        ({"functions": [FORECAST]}, True),
        ({"tools": [TOOL], "tool_choice": "none"}, False),
        ({"functions": [FORECAST], "function_call": "none"}, False),
        ({"tools": []}, False),
        ({"tools": None}, False),
        ({}, False),
    ],
)
def test_tools_that_the_model_may_call_are_seen(fields: dict[str, Any], asked: bool) -> None:
    head = chat(**fields)
    assert isinstance(head, RequestHead)
    assert head.tools is asked


@pytest.mark.parametrize(
    ("response_format", "asked"),
    [
        ({"type": "json_object"}, True),
        ({"type": "json_schema", "json_schema": {"name": "p", "schema": {}}}, True),
        ({"type": "text"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_an_answer_that_must_be_json_is_seen(response_format: Any, asked: bool) -> None:
    head = chat(response_format=response_format)
    assert isinstance(head, RequestHead)
    assert head.json_schema is asked


def test_a_conversation_is_told_by_the_cache_key_else_by_the_user() -> None:
    def told(**fields: object) -> str:
        head = chat(**fields)
        assert isinstance(head, RequestHead)
        return head.session

    assert told(prompt_cache_key="k", user="u") == "k"
    assert told(user="ü-7") == "ü-7"
    assert told(user=7, prompt_cache_key=None) == ""
    assert told(user={"id": "u"}) == ""
    assert told() == ""
