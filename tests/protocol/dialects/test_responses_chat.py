"""A Responses request becomes the chat that says the same, and nothing else."""

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol.dialects import responses
from helexa.protocol.dialects.chat_shapes import DialectError
from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.dialects.responses_chat import chat_body
from helexa.protocol.errors import Refusal
from helexa.protocol.workload import Operation
from tests.fakes.codex import CODEX

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def chat(**fields: Any) -> dict[str, Any]:
    body, _ = chat_body(json.dumps({"input": "hi", **fields}).encode())
    told: dict[str, Any] = json.loads(body)
    return told


def turns(*items: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = chat(input=list(items), **fields)["messages"]
    return told


def test_a_plain_request_is_a_plain_chat() -> None:
    assert chat() == {"messages": [{"role": "user", "content": "hi"}]}
    told = chat(model="m", max_output_tokens=9, temperature=0.5, top_p=0.1, stream=True)
    assert (told["model"], told["max_tokens"], told["stream"]) == ("m", 9, True)
    assert told["stream_options"] == {"include_usage": True}


def test_what_codex_sends_becomes_a_chat_that_every_template_knows() -> None:
    body, fields = chat_body(json.dumps(CODEX).encode())
    told = json.loads(body)
    calls = [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "shell", "arguments": '{"command":["ls"]}'},
        },
        {"id": "call_2", "type": "function", "function": {"name": "plan", "arguments": "{}"}},
    ]
    assert told["messages"] == [
        {"role": "system", "content": "You write code.\nThe sandbox is read-only."},
        {"role": "user", "content": "<environment_context/>\nFix the test."},
        {
            "role": "assistant",
            "content": "I look at it.",
            "reasoning_content": "Look first.",
            "tool_calls": calls,
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "a.py"},
        {"role": "tool", "tool_call_id": "call_2", "content": "done"},
        {"role": "user", "content": [IMAGE]},
        {"role": "user", "content": "Go on."},
    ]
    assert [tool["function"]["name"] for tool in told["tools"]] == ["shell", "plan"]
    assert told["tools"][0]["function"]["parameters"] == CODEX["tools"][0]["parameters"]
    assert (told["tool_choice"], told["parallel_tool_calls"]) == ("auto", False)
    assert "response_format" not in told
    assert json.loads(bytes(fields["reasoning"])) == CODEX["reasoning"]


def test_items_may_be_bare_unknown_or_empty() -> None:
    """Lesson 55."""
    assert turns(
        {"type": "hologram", "content": {}},
        {"role": "user", "content": [{"type": "new"}, {"type": "input_text", "text": "a"}]},
        {"role": "assistant", "content": None},
        {"type": "item_reference", "id": "x"},
    ) == [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]


def test_system_items_later_on_stay_where_they_are() -> None:
    developer = {"role": "developer", "content": "Hurry."}
    told = turns(developer, {"role": "user", "content": "a"}, developer)
    assert [turn["role"] for turn in told] == ["system", "user", "system"]


def test_a_call_without_words_is_a_turn_of_its_own_after_a_result() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": "ok"}
    told = turns({"role": "user", "content": "a"}, call, result, call)
    assert [turn["role"] for turn in told] == ["user", "assistant", "tool", "assistant"]
    assert told[1]["content"] is None


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "web_search"}, None),
        (None, None),
    ],
)
def test_a_tool_choice_is_the_same_choice(choice: Any, told: Any) -> None:
    tools = [{"type": "function", "name": "f", "parameters": None}]
    sent = chat(tools=tools, tool_choice=choice)
    assert sent.get("tool_choice") == told
    assert sent["tools"] == [{"type": "function", "function": {"name": "f"}}]


def test_a_format_for_the_answer_is_a_response_format() -> None:
    wanted = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    told = chat(text={"format": wanted})["response_format"]
    inner = {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert told == {"type": "json_schema", "json_schema": inner}
    assert chat(text={"format": {"type": "json_object"}})["response_format"] == {
        "type": "json_object"
    }


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([{"role": "wizard", "content": "x"}], "input[0].role"),
        ([{"role": "user", "content": 5}], "input[0].content"),
        (
            [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}],
            "input[0].content[0]",
        ),
        ([{"type": "hologram"}], "input"),
    ],
)
def test_a_bad_item_is_named_by_its_place(items: list[Any], param: str) -> None:
    with pytest.raises(DialectError) as raised:
        chat(input=items)
    assert raised.value.param == param


ODD: list[Any] = [None, True, -1, 1.5, 10**30, "", "\ud83d", [], {}, [{}], {"type": "message"}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


@given(st.sampled_from(sorted(places(CODEX), key=str)), st.sampled_from(ODD))
def test_whatever_stands_in_the_wrong_place_is_ignored_or_refused_and_no_bug(
    path: tuple[Any, ...], odd: Any
) -> None:
    body = copy.deepcopy(CODEX)
    inner: Any = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = odd
    raw = json.dumps(body).encode()
    assert isinstance(responses.read(Operation.RESPONSES, raw), RequestHead | Refusal)
    with contextlib.suppress(DialectError):
        assert json.loads(chat_body(raw)[0])["messages"]
