"""A chat's answer is told as Anthropic's message: block after block, and never ended too early."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol.dialects import anthropic
from helexa.protocol.dialects.anthropic_answer import AnthropicInterpreter
from helexa.protocol.inference import Usage
from helexa.protocol.workload import Operation

USAGE = Usage(prompt_tokens=30, completion_tokens=5, cached_tokens=20)
TOLD_USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 20,
    "output_tokens": 5,
}


def interpreter(*, thinking: bool = False) -> AnthropicInterpreter:
    one = AnthropicInterpreter(Operation.MESSAGES)
    body: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    if thinking:
        body["thinking"] = {"type": "adaptive"}
    one.chat(json.dumps(body).encode())
    return one


def chunk(finish: str | None = None, /, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "chatcmpl-7", "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def call(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name is not None:
        told |= {"id": f"call_{index}", "type": "function"}
        told["function"]["name"] = name
    return told


def events(data: bytes) -> list[dict[str, Any]]:
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        name, body = block.split("\n")
        event = json.loads(body.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def told(*chunks: bytes, thinking: bool = False) -> list[dict[str, Any]]:
    one = interpreter(thinking=thinking)
    return events(b"".join(one.feed(piece) for piece in chunks) + one.close(USAGE))


def blocks(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return each block's type and what its deltas add up to, and check their order."""
    made: list[tuple[str, str]] = []
    opened = -1
    for event in found:
        if event["type"] == "content_block_start":
            assert event["index"] == opened + 1 == len(made)
            opened = event["index"]
            made.append((event["content_block"]["type"], ""))
        elif event["type"] == "content_block_delta":
            assert event["index"] == opened
            delta = event["delta"]
            added = delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
            made[-1] = (made[-1][0], made[-1][1] + added)
        elif event["type"] == "content_block_stop":
            assert event["index"] == opened
    return made


TEXT = (chunk(role="assistant", content=""), chunk(content="He"), chunk(content="llo é🙂"))


def test_a_text_is_anthropics_stream_to_the_letter() -> None:
    found = told(*TEXT, chunk("stop"), b"data: [DONE]\n\n")
    assert [event["type"] for event in found] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    message = found[0]["message"]
    assert message | {"usage": {}} == {
        "id": "msg_7", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {},
    }  # fmt: skip
    assert found[1]["content_block"] == {"type": "text", "text": ""}
    assert found[2]["delta"] == {"type": "text_delta", "text": "He"}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    assert found[-2] == {"type": "message_delta", "delta": delta, "usage": TOLD_USAGE}


def test_the_last_event_is_the_one_that_the_gateway_waits_for() -> None:
    one = interpreter()
    one.feed(b"".join(TEXT) + chunk("stop"))
    assert one.close(USAGE).endswith(anthropic.STOP)


WHOLE = (
    b": prefill 5/10\n\n"
    + chunk(role="assistant", content=None, reasoning_content="Hm, 🙂")
    + chunk(content="I call é.")
    + chunk(tool_calls=[call(0, "", "first")])
    + chunk(tool_calls=[call(0, '{"a":')])
    + chunk(tool_calls=[call(0, "1}")])
    + chunk(tool_calls=[call(1, "{}", "second")])
    + chunk("tool_calls")
    + b"data: [DONE]\n\n"
)


@given(st.lists(st.integers(1, len(WHOLE) - 1), max_size=30), st.booleans())
def test_a_stream_says_the_same_wherever_it_is_cut(cuts: list[int], thinking: bool) -> None:
    """Lesson 18: no character is cut in two."""
    edges = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    found = told(*pieces, thinking=thinking)
    thought = [("thinking", "Hm, 🙂")] if thinking else []
    assert blocks(found) == [
        *thought, ("text", "I call é."), ("tool_use", '{"a":1}'), ("tool_use", "{}"),
    ]  # fmt: skip
    starts = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    assert starts[-2] == {"type": "tool_use", "id": "call_0", "name": "first", "input": {}}
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_every_byte_by_itself_says_the_same() -> None:
    pieces = [WHOLE[at : at + 1] for at in range(len(WHOLE))]
    assert told(*pieces) == told(WHOLE)


def test_a_comment_is_an_event_too_because_clients_idle_by_events() -> None:
    one = interpreter()
    assert one.feed(b": prefill 5/10\n\n") == b": prefill 5/10\n\n" + anthropic.PING


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
        ("abort", "end_turn"),
    ],
)
def test_stop_reasons_are_anthropics(finish: str, reason: str) -> None:
    assert told(*TEXT, chunk(finish))[-2]["delta"]["stop_reason"] == reason


def test_a_stop_sequence_is_told_where_the_engine_tells_it() -> None:
    """vLLM does; llama.cpp does not, so there it is an end_turn."""
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}
    last = b"data: " + json.dumps({"id": "chatcmpl-7", "choices": [choice]}).encode() + b"\n\n"
    delta = told(*TEXT, last)[-2]["delta"]
    assert delta == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert told(*TEXT, last.replace(b'"END"', b"128009"))[-2]["delta"]["stop_sequence"] is None


def test_a_call_is_a_call_also_where_the_engine_says_only_that_it_stopped() -> None:
    found = told(chunk(tool_calls=[call(0, "{}", "f")]), chunk("stop"))
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_an_answer_of_nothing_is_a_message_without_content() -> None:
    found = told(chunk(role="assistant"), chunk("stop"))
    assert [event["type"] for event in found] == ["message_start", "message_delta", "message_stop"]


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        TEXT,
        (*TEXT, b"data: {half\n\n"),
        (*TEXT, b'data: {"error":{"message":"dead"}}\n\n'),
        (
            chunk(tool_calls=[call(0, "{", "f")]),
            chunk(tool_calls=[call(1, "{}", "g")]),
            chunk(tool_calls=[call(0, "}")]),
            chunk("tool_calls"),
        ),
    ],
    ids=["nothing", "unfinished", "garbage", "error", "two at once"],
)
def test_what_is_not_whole_never_ends_in_message_stop(pieces: tuple[bytes, ...]) -> None:
    """Lesson 17."""
    one = interpreter()
    said = b""
    for piece in pieces:
        if not one.problem:
            said += one.feed(piece)
    said += one.close(USAGE)
    assert one.problem
    assert b"message_stop" not in said
    assert b"message_delta" not in said


# ── in one piece ──────────────────────────────────────────────────────────────────────────────


def whole(message: dict[str, Any], finish: str = "stop", *, thinking: bool = False) -> Any:
    one = interpreter(thinking=thinking)
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "chatcmpl-7", "model": "m", "choices": [choice]}
    data = one.whole(json.dumps(body).encode(), USAGE)
    assert bool(data) != bool(one.problem)
    return json.loads(data) if data else None


def test_a_whole_answer_is_a_message() -> None:
    assert whole({"role": "assistant", "content": "Hello"}) == {
        "id": "msg_7", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": TOLD_USAGE,
    }  # fmt: skip


def test_a_whole_answer_with_calls_has_them_as_objects() -> None:
    calls = [call(0, '{"a": 1}', "f"), call(0, "{}", "g")]
    message = {"content": None, "reasoning_content": "Hm", "tool_calls": calls}
    told = whole(message, "tool_calls", thinking=True)
    assert [block["type"] for block in told["content"]] == ["thinking", "tool_use", "tool_use"]
    assert told["content"][1]["input"] == {"a": 1}
    assert told["stop_reason"] == "tool_use"
    assert [block["type"] for block in whole(message)["content"]] == ["tool_use", "tool_use"]


def test_a_call_that_was_cut_is_told_as_cut_and_one_that_is_garbage_as_an_error() -> None:
    message = {"content": "", "tool_calls": [call(0, '{"a": ', "f")]}
    cut = whole(message, "length")
    assert (cut["stop_reason"], cut["content"][0]["input"]) == ("max_tokens", {})
    assert whole(message, "tool_calls") is None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b"\xff"])
def test_what_is_no_chat_is_no_message(body: bytes) -> None:
    one = interpreter()
    assert one.whole(body, None) == b""
    assert one.problem


def test_a_count_is_passed_on() -> None:
    one = AnthropicInterpreter(Operation.COUNT_TOKENS)
    assert one.whole(b'{"input_tokens":7}', None) == b'{"input_tokens":7}'


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (404, b'{"error":{"message":"no such model","type":"x"}}', "not_found_error", "no such"),
        (429, b'{"error":"slow down"}', "rate_limit_error", "slow down"),
        (500, b"<html>", "api_error", "refused the request"),
        (529, b'{"error":{"message":""}}', "overloaded_error", "refused the request"),
    ],
)
def test_a_servers_error_is_told_in_the_dialect(
    status: int, body: bytes, kind: str, message: str
) -> None:
    given, data = interpreter().error(status, body, "req-1")
    error = json.loads(data)
    assert given == status
    assert (error["type"], error["error"]["type"], error["request_id"]) == ("error", kind, "req-1")
    assert message in error["error"]["message"]
