"""A Messages request becomes the chat that says the same, and nothing else."""

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol.dialects import anthropic
from helexa.protocol.dialects.anthropic_chat import chat_body
from helexa.protocol.dialects.chat_shapes import DialectError
from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.errors import Refusal
from helexa.protocol.workload import Operation
from tests.fakes.claude_code import CLAUDE_CODE, PICTURE

HI: list[Any] = [{"role": "user", "content": "hi"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def chat(**fields: Any) -> dict[str, Any]:
    body, _ = chat_body(json.dumps({"max_tokens": 9, "messages": HI, **fields}).encode())
    told: dict[str, Any] = json.loads(body)
    return told


def turns(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = chat(messages=list(messages), **fields)["messages"]
    return told


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def test_a_plain_request_is_a_plain_chat() -> None:
    assert chat() == {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def test_sampling_is_passed_on_digit_by_digit() -> None:
    body = b'{"model":"m","max_tokens":7,"temperature":0.70,"top_p":1e-1,"top_k":40,"messages":[]'
    sent, _ = chat_body(body[:-2] + b'[{"role":"user","content":"x"}],"stop_sequences":["A","B"]}')
    assert b'"temperature":0.70,"top_p":1e-1,"top_k":40' in sent
    assert json.loads(sent)["stop"] == ["A", "B"]


def test_a_stream_is_asked_for_with_its_usage() -> None:
    told = chat(stream=True)
    assert (told["stream"], told["stream_options"]) == (True, {"include_usage": True})
    assert "stream" not in chat(stream=False)


def test_what_claude_code_sends_becomes_a_chat_that_every_template_knows() -> None:
    body, shows_thinking = chat_body(json.dumps(CLAUDE_CODE).encode())
    told = json.loads(body)
    assert shows_thinking
    assert told["messages"] == [
        {"role": "system", "content": "You write code.\nBe brief."},
        {
            "role": "user",
            "content": "<system-reminder>\nToday is Friday.\n</system-reminder>\nFix the test.",
        },
        {
            "role": "assistant",
            "content": "I look at it.",
            "reasoning_content": "Look first.",
            "tool_calls": [
                {
                    "id": "toolu_01A",
                    "type": "function",
                    "function": {
                        "name": "Read",
                        "arguments": '{"file_path": "/a/test_b.py", "limit": 20}',
                    },
                },
                {
                    "id": "toolu_01B",
                    "type": "function",
                    "function": {"name": "Screenshot", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_01A", "content": "1\tassert 1 == 2"},
        {"role": "tool", "tool_call_id": "toolu_01B", "content": "done"},
        {"role": "user", "content": [IMAGE, text("Go on.")]},
        {"role": "system", "content": "The user switched to plan mode."},
    ]
    assert [tool["function"]["name"] for tool in told["tools"]] == ["Read", "Screenshot"]
    schema = CLAUDE_CODE["tools"][0]["input_schema"]
    assert told["tools"][0]["function"]["parameters"] == schema
    assert set(told) == {"model", "max_tokens", "messages", "stream", "stream_options", "tools"}


def test_the_same_conversation_is_the_same_prompt_whatever_its_billing_line_says() -> None:
    """What differs in each request at the very beginning would keep every cache cold."""
    line = "x-anthropic-billing-header: cc_version=2; cch={};"
    as_block = [turns(*HI, system=[text(line.format(n)), text("Be.")]) for n in "ab"]
    as_text = [turns(*HI, system=line.format(n) + "\nBe.") for n in "ab"]
    assert as_block[0] == as_block[1] == as_text[0] == as_text[1]
    assert as_text[0][0] == {"role": "system", "content": "Be."}
    quoted = turns(*HI, system="Of x-anthropic-billing-header: nothing.")
    assert quoted[0]["content"] == "Of x-anthropic-billing-header: nothing."


@pytest.mark.parametrize(
    ("system", "told"),
    [
        ("Be brief.", "Be brief."),
        ([text("Be"), text("brief.")], "Be\nbrief."),
        ("", None),
        ([], None),
        (None, None),
    ],
)
def test_a_system_prompt_is_the_first_message(system: Any, told: str | None) -> None:
    first = [{"role": "system", "content": told}] if told else []
    assert turns(*HI, system=system) == [*first, *HI]


def test_system_turns_that_open_a_conversation_belong_to_its_system_prompt() -> None:
    opening = {"role": "system", "content": [text("And kind.")]}
    later = {"role": "system", "content": "Now hurry."}
    told = turns(opening, *HI, later, system="Be brief.")
    assert [turn["role"] for turn in told] == ["system", "user", "system"]
    assert told[0]["content"] == "Be brief.\nAnd kind."


def test_images_and_texts_keep_their_order() -> None:
    by_url = {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}
    told = turns(user(text("this"), {"type": "image", "source": PICTURE}, text("or"), by_url))
    there = {"type": "image_url", "image_url": {"url": "https://a/b.png"}}
    assert told == [{"role": "user", "content": [text("this"), IMAGE, text("or"), there]}]


def test_tool_results_come_first_in_a_chat_wherever_they_stand() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "sunny"}
    nothing = {"type": "tool_result", "tool_use_id": "u"}
    assert turns(user(text("and?"), result, nothing)) == [
        {"role": "tool", "tool_call_id": "t", "content": "sunny"},
        {"role": "tool", "tool_call_id": "u", "content": ""},
        {"role": "user", "content": "and?"},
    ]


def test_a_turn_of_nothing_but_calls_has_no_content() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, 2.50]}}
    (turn,) = turns({"role": "assistant", "content": [call]})
    assert turn["content"] is None
    assert turn["tool_calls"][0]["function"]["arguments"] == '{"a": [1, 2.5]}'


def test_documents_of_text_are_text() -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "a report"}
    inside = {"type": "content", "content": [text("a page")]}
    blocks = [{"type": "document", "source": source} for source in (plain, inside)]
    assert turns(user(*blocks)) == [{"role": "user", "content": "a report\na page"}]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "f"},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
        (None, {}),
    ],
)
def test_a_tool_choice_is_the_same_choice(choice: Any, told: dict[str, Any]) -> None:
    tool = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
    sent = chat(tools=[tool], tool_choice=choice)
    assert {name: sent[name] for name in sent if "tool_c" in name} == told
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert sent["tools"] == [{"type": "function", "function": function}]


def test_a_choice_among_no_tools_is_none() -> None:
    assert "tool_choice" not in chat(tool_choice={"type": "any"})


def test_a_schema_for_the_answer_is_a_response_format() -> None:
    wanted = {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}
    told = chat(output_config=wanted)["response_format"]
    assert told["type"] == "json_schema"
    assert told["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("thinking", "shown"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "enabled", "budget_tokens": 1024}, True),
        ({"type": "adaptive"}, True),
        ({"type": "adaptive", "display": "omitted"}, False),
    ],
)
def test_thinking_is_shown_to_who_asked_for_it(thinking: Any, shown: bool) -> None:
    body = json.dumps({"max_tokens": 1, "messages": HI, "thinking": thinking}).encode()
    assert chat_body(body)[1] is shown


def test_what_no_chat_has_a_place_for_is_left_out() -> None:
    server_tools = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "hologram"},
    ]
    told = turns(
        user(text("a"), {"type": "hologram"}), {"role": "assistant", "content": server_tools}
    )
    assert told == [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([user({"type": "text"})], "messages[0].content[0]"),
        ([user(text("a"), {"type": "text", "text": 5})], "messages[0].content[1].text"),
        (
            [user({"type": "image", "source": {"type": "file", "file_id": "f"}})],
            "messages[0].content[0].source.type",
        ),
        (
            [user({"type": "document", "source": {"type": "base64", "data": "JVBERi0="}})],
            "messages[0].content[0].source",
        ),
        ([user({"type": "tool_result"})], "messages[0].content[0]"),
        (
            [user({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]})],
            "messages[0].content[0].content[0]",
        ),
        (
            [*HI, {"role": "assistant", "content": [{"type": "tool_use", "id": "t"}]}],
            "messages[1].content[0]",
        ),
        ([user({"type": "hologram"})], "messages"),
    ],
)
def test_a_bad_block_is_named_by_its_place(messages: list[Any], param: str) -> None:
    with pytest.raises(DialectError) as raised:
        chat(messages=messages)
    assert raised.value.param == param
    assert str(raised.value).startswith(param.rpartition(".type")[0] or param)


ODD: list[Any] = [None, True, -1, 1.5, 10**30, "", "\ud83d", [], {}, [{}], {"type": "text"}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


@given(st.sampled_from(sorted(places(CLAUDE_CODE), key=str)), st.sampled_from(ODD))
def test_whatever_stands_in_the_wrong_place_is_ignored_or_refused_and_no_bug(
    path: tuple[Any, ...], odd: Any
) -> None:
    body = copy.deepcopy(CLAUDE_CODE)
    inner: Any = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = odd
    raw = json.dumps(body).encode()
    assert isinstance(anthropic.read(Operation.MESSAGES, raw), RequestHead | Refusal)
    with contextlib.suppress(DialectError):
        assert json.loads(chat_body(raw)[0])["messages"]


def test_an_unknown_tool_choice_is_refused() -> None:
    with pytest.raises(DialectError, match="none of auto, any, none, tool"):
        chat(tools=[{"name": "f"}], tool_choice={"type": "maybe"})
