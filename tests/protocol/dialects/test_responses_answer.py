"""A chat's answer is told as a Response: item after item, numbered, and never ended too early."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from helexa.protocol.dialects.responses_answer import ResponsesInterpreter
from helexa.protocol.inference import Usage
from helexa.protocol.workload import Operation

USAGE = Usage(prompt_tokens=30, completion_tokens=5, cached_tokens=20, reasoning_tokens=2)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ASKED = {"model": "m", "input": "hi", "temperature": 0.25, "metadata": {"a": "b"}}


def interpreter(**fields: Any) -> ResponsesInterpreter:
    one = ResponsesInterpreter(Operation.RESPONSES)
    one.chat(json.dumps({**ASKED, **fields}).encode())
    return one


def chunk(finish: str | None = None, /, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "chatcmpl-7", "created": 17, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def call(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name is not None:
        told |= {"id": f"call_{index}", "type": "function"}
        told["function"]["name"] = name
    return told


def events(data: bytes) -> list[dict[str, Any]]:
    """Return the events, each of a type that OpenAI's client knows, and numbered one by one."""
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        if block.startswith(":") or block == "data: [DONE]":
            continue
        name, body = block.split("\n")
        event = json.loads(body.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == len(found)
        EVENT.validate_python(event)
        found.append(event)
    return found


def told(*chunks: bytes, **fields: Any) -> list[dict[str, Any]]:
    one = interpreter(**fields)
    data = b"".join(one.feed(piece) for piece in chunks) + one.close(USAGE)
    assert not one.problem
    assert data.endswith(b"data: [DONE]\n\n")
    return events(data)


TEXT = (chunk(role="assistant", content=""), chunk(content="He"), chunk(content="llo é🙂"))
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


def test_a_text_is_openais_stream_to_the_letter() -> None:
    found = told(*TEXT, chunk("stop"))
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert found[0]["response"]["status"] == "in_progress"
    assert found[6]["text"] == "Hello é🙂"
    whole = Response.model_validate(found[-1]["response"])
    assert (whole.id, whole.status, whole.output_text) == ("resp_7", "completed", "Hello é🙂")
    assert whole.usage is not None
    assert whole.usage.input_tokens_details.cached_tokens == 20
    assert whole.usage.output_tokens_details.reasoning_tokens == 2
    assert (whole.usage.input_tokens, whole.usage.total_tokens) == (30, 35)


def test_an_answer_repeats_what_was_asked() -> None:
    whole = told(*TEXT, chunk("stop"), tools=[{"type": "web_search"}], store=True)[-1]["response"]
    assert (whole["temperature"], whole["metadata"]) == (0.25, {"a": "b"})
    assert whole["tools"] == [{"type": "web_search"}]
    assert whole["store"] is False, "nothing is kept, whatever was asked"
    assert whole["previous_response_id"] is None


@given(st.lists(st.integers(1, len(WHOLE) - 1), max_size=30))
def test_a_stream_says_the_same_wherever_it_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    found = told(*pieces)
    output = found[-1]["response"]["output"]
    assert [item["type"] for item in output] == [
        "reasoning", "message", "function_call", "function_call",
    ]  # fmt: skip
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "Hm, 🙂"}]
    assert output[1]["content"][0]["text"] == "I call é."
    assert (output[2]["name"], output[2]["call_id"]) == ("first", "call_0")
    assert [item["arguments"] for item in output[2:]] == ['{"a":1}', "{}"]
    assert all(item["status"] == "completed" for item in output)
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert done == output


def test_every_byte_by_itself_says_the_same() -> None:
    assert told(*[WHOLE[at : at + 1] for at in range(len(WHOLE))]) == told(WHOLE)


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_short_is_incomplete(finish: str, reason: str) -> None:
    last = told(*TEXT, chunk(finish))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": reason}
    assert last["response"]["output"][0]["status"] == "incomplete"


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
def test_what_is_not_whole_is_never_completed(pieces: tuple[bytes, ...]) -> None:
    one = interpreter()
    said = b""
    for piece in pieces:
        if not one.problem:
            said += one.feed(piece)
    said += one.close(USAGE)
    assert one.problem
    assert b"response.completed" not in said
    assert b"[DONE]" not in said


def whole(message: dict[str, Any], finish: str = "stop") -> Response:
    one = interpreter()
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "chatcmpl-7", "created": 17, "model": "m", "choices": [choice]}
    return Response.model_validate_json(one.whole(json.dumps(body).encode(), USAGE))


def test_a_whole_answer_is_a_response() -> None:
    calls = [call(0, '{"a": 1}', "f"), call(0, "{}", "g")]
    told = whole({"content": "Hello", "reasoning_content": "Hm", "tool_calls": calls})
    kinds = ["reasoning", "message", "function_call", "function_call"]
    assert [item.type for item in told.output] == kinds
    assert len({item.id for item in told.output}) == 4
    assert (told.output_text, told.status, told.created_at) == ("Hello", "completed", 17)
    cut = whole({"content": "Hel"}, "length")
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b"\xff"])
def test_what_is_no_chat_is_no_response(body: bytes) -> None:
    one = interpreter()
    assert one.whole(body, None) == b""
    assert one.problem


def test_a_servers_error_is_passed_on_as_it_came() -> None:
    assert interpreter().error(429, b'{"error":{}}', "r") == (429, b'{"error":{}}')
