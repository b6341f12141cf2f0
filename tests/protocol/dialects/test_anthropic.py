"""Anthropic's requests as the gateway reads them, and its errors."""

import json
from typing import Any

import pytest

from helexa.protocol.dialects import anthropic
from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.errors import CODES, ErrorCode, Refusal
from helexa.protocol.workload import Operation
from tests.fakes.claude_code import CLAUDE_CODE, PICTURE

HI: list[Any] = [{"role": "user", "content": "hi"}]
TOOL: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}
SEARCH: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}


def read(operation: Operation = Operation.MESSAGES, **fields: Any) -> RequestHead | Refusal:
    given = {"model": "m", "max_tokens": 9, "messages": HI, **fields}
    body = {name: value for name, value in given.items() if value is not ...}
    return anthropic.read(operation, json.dumps(body).encode())


def good(**fields: Any) -> RequestHead:
    head = read(**fields)
    assert isinstance(head, RequestHead), head
    return head


def bad(**fields: Any) -> Refusal:
    refusal = read(**fields)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    return refusal


def test_what_routing_needs_is_read() -> None:
    head = good(stream=True, tools=[TOOL], metadata={"user_id": "u_session_7"})
    assert head.operation is Operation.MESSAGES
    assert (head.model, head.stream, head.tokens_max) == ("m", True, 9)
    assert (head.tools, head.vision, head.continues) == (True, False, False)
    assert head.session == "u_session_7"


def test_claude_codes_own_body_is_understood() -> None:
    head = anthropic.read(Operation.MESSAGES, json.dumps(CLAUDE_CODE).encode())
    assert isinstance(head, RequestHead), head
    assert (head.stream, head.tools, head.vision) == (True, True, True)
    assert head.session.startswith("user_")
    assert head.prompt_tokens_min > 0


def test_the_prompt_is_measured_by_all_its_texts() -> None:
    block = {"type": "text", "text": "x" * 1600}
    turns = [{"role": "user", "content": [block, block]}]
    assert good(messages=turns, system="x" * 1600).prompt_tokens_min == 300
    assert good(messages=turns, system=[block, {"type": "new", "text": 7}]).prompt_tokens_min == 300


@pytest.mark.parametrize(
    ("content", "sees"),
    [
        ("a picture", False),
        ([{"type": "text", "text": "a picture"}], False),
        ([{"type": "image", "source": PICTURE}], True),
        ([{"type": "tool_result", "tool_use_id": "t", "content": "image"}], False),
        ([{"type": "tool_result", "tool_use_id": "t"}], False),
        (
            [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "image", "source": PICTURE}],
                }
            ],
            True,
        ),
    ],
)
def test_an_image_is_seen_wherever_it_is(content: Any, sees: bool) -> None:
    assert good(messages=[{"role": "user", "content": content}]).vision is sees


def test_an_answer_that_goes_on_with_given_words_is_seen() -> None:
    assert good(messages=[*HI, {"role": "assistant", "content": "So"}]).continues


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        ({}, False),
        ({"tools": []}, False),
        ({"tools": [TOOL]}, True),
        ({"tools": [TOOL], "tool_choice": {"type": "none"}}, False),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, True),
        ({"tools": [SEARCH]}, False),
        ({"tools": [SEARCH, {"type": "custom", **TOOL}]}, True),
    ],
)
def test_only_the_callers_own_tools_count_and_others_are_ignored(
    fields: dict[str, Any], asks: bool
) -> None:
    assert good(**fields).tools is asks


def test_an_answer_that_must_follow_a_schema_is_seen() -> None:
    wanted = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert good(output_config=wanted).json_schema
    assert not good(output_config={"effort": "high"}).json_schema
    assert not good(output_config=None).json_schema


def test_counting_needs_no_bound_and_never_streams() -> None:
    head = read(Operation.COUNT_TOKENS, max_tokens=..., stream=True)
    assert isinstance(head, RequestHead)
    assert (head.operation, head.stream) == (Operation.COUNT_TOKENS, False)


def test_unknown_fields_and_blocks_are_ignored() -> None:
    odd = [{"type": "hologram", "depth": 3}, {"type": "text", "text": "hi", "citations": None}]
    good(messages=[{"role": "user", "content": odd, "mood": 1}], service_tier="auto", container={})


BOMB: dict[str, Any] = {"type": "array", "items": {}, "maxItems": 10**9}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": ...}, "messages"),
        ({"messages": []}, "messages"),
        ({"max_tokens": ...}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1 << 21}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"stop_sequences": ["a"] * 17}, "stop_sequences"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0]"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f", "input_schema": BOMB}]}, "tools"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": BOMB}}},
            "output_config.format.schema",
        ),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], param: str) -> None:
    refusal = bad(**fields)
    assert refusal.code is ErrorCode.INVALID_REQUEST_BODY
    assert refusal.param == param
    assert param.partition("[")[0] in refusal.because


def test_a_schema_that_no_engine_could_follow_is_named_by_its_tool() -> None:
    refusal = bad(tools=[TOOL, {"name": "g", "input_schema": BOMB}])
    assert refusal.because.startswith("tools[1].input_schema.maxItems")


@pytest.mark.parametrize(
    "body", [b"", b"[", b'{"messages": \xff}', b'{"a":' * 200 + b"1" + b"}" * 200, b"NaN"]
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    refusal = anthropic.read(Operation.MESSAGES, body)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400


# ── errors ────────────────────────────────────────────────────────────────────────────────────

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    417: "invalid_request_error",
    421: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_the_type_that_its_status_has_at_anthropic(code: ErrorCode) -> None:
    refusal = Refusal(code, "because")
    error = json.loads(anthropic.envelope(refusal, "req-1"))
    assert error["type"] == "error"
    assert error["request_id"] == "req-1"
    assert error["error"]["type"] == TYPES[anthropic.status_of(refusal)]
    moved = {
        ErrorCode.MODEL_LOADING: 529,
        ErrorCode.SHUTTING_DOWN: 529,
        ErrorCode.NOT_SUPPORTED: 400,
    }
    assert anthropic.status_of(refusal) == moved.get(code, CODES[code].status)


def test_too_much_work_is_never_called_overloaded() -> None:
    """Finding: Claude Code takes the word, whatever the status, and tries seven times and more."""
    body = anthropic.envelope(Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, "full"))
    assert b"overloaded" not in body


def test_a_prompt_that_is_too_long_is_said_in_the_words_that_agents_look_for() -> None:
    body = anthropic.envelope(Refusal(ErrorCode.CONTEXT_LENGTH_EXCEEDED, "9031 of 8192 tokens"))
    assert json.loads(body)["error"]["message"] == "prompt is too long: 9031 of 8192 tokens"
