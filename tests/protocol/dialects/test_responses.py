"""Requests of the Responses API as the gateway reads them, and the event of a broken stream."""

import json
from typing import Any

import pytest

from helexa.protocol.dialects import responses
from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.errors import ErrorCode, Refusal, envelope
from helexa.protocol.workload import Operation
from tests.fakes.codex import CODEX

TOOL: dict[str, Any] = {"type": "function", "name": "f", "parameters": {"type": "object"}}
BOMB: dict[str, Any] = {"type": "array", "items": {}, "maxItems": 10**9}


def read(**fields: Any) -> RequestHead | Refusal:
    given = {"model": "m", "input": "hi", **fields}
    body = {name: value for name, value in given.items() if value is not ...}
    return responses.read(Operation.RESPONSES, json.dumps(body).encode())


def good(**fields: Any) -> RequestHead:
    head = read(**fields)
    assert isinstance(head, RequestHead), head
    return head


def test_codexs_own_body_is_understood() -> None:
    head = responses.read(Operation.RESPONSES, json.dumps(CODEX).encode())
    assert isinstance(head, RequestHead), head
    assert (head.operation, head.model) == (Operation.RESPONSES, "local")
    assert (head.stream, head.tools, head.vision, head.json_schema) == (True, True, True, False)
    assert head.session == "019f-session"


def test_the_prompt_is_measured_by_all_its_texts() -> None:
    part = {"type": "input_text", "text": "x" * 1600}
    items = [{"role": "user", "content": [part, part]}, {"role": "user", "content": "x" * 1600}]
    assert good(input=items, instructions="x" * 1600).prompt_tokens_min == 400
    assert good(input="x" * 1600).prompt_tokens_min == 100


def test_what_routing_needs_is_read() -> None:
    head = good(max_output_tokens=7, tools=[TOOL], user="u", prompt_cache_key=5)
    assert (head.tokens_max, head.tools, head.stream, head.session) == (7, True, False, "u")
    assert not good(tools=[TOOL], tool_choice="none").tools
    assert not good(tools=[{"type": "web_search"}]).tools
    assert good(input=[{"role": "assistant", "content": "So"}]).continues
    wanted = {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}
    assert good(text=wanted).json_schema
    assert good(text={"format": {"type": "json_object"}}).json_schema
    assert not good(text={"format": {"type": "text"}}).json_schema


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "background", "prompt"])
def test_what_would_need_a_stored_answer_is_refused_clearly(name: str) -> None:
    refusal = read(**{name: True if name == "background" else "resp_1"})
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.param) == (400, name)
    assert "nothing is stored" in refusal.because
    good(**{name: None}, store=True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ...}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{**TOOL, "parameters": BOMB}]}, "tools"),
        ({"text": {"format": {"type": "json_schema", "schema": BOMB}}}, "text.format.schema"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], param: str) -> None:
    refusal = read(**fields)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.INVALID_REQUEST_BODY
    assert refusal.param == param


@pytest.mark.parametrize("body", [b"", b"[", b'{"input": \xff}', b"NaN"])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    refusal = responses.read(Operation.RESPONSES, body)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400


LAST = b'event: response.completed\ndata: {"text":"event: response."}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("before", [b"", b"event: response.output_item.done\ndata: {}\n\n"])
def test_the_last_response_is_the_end_that_clients_wait_for(before: bytes) -> None:
    data = before + LAST
    assert data[responses.ending_at(data) :] == LAST
    assert responses.ending_at(LAST[30:]) == 0, "its beginning is with the client already"


def test_a_broken_stream_ends_in_an_event_with_a_number_of_its_own() -> None:
    """Lesson 16."""
    event = responses.error_event(envelope(Refusal(ErrorCode.ENGINE_CRASH, "it died"), "r"))
    told = json.loads(event.partition(b"data: ")[2])
    assert (told["type"], told["code"], told["message"]) == ("error", "engine_crash", "it died")
    assert told["sequence_number"] > 1_000_000
    assert told["error"]["request_id"] == "r"
